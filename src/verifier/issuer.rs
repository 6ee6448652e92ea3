//! The one way to the issuer: what is asked there, for how long an answer is waited for, and how much of it
//! is read.

use crate::domain::secret::Secret;
use crate::domain::transport;
use crate::verifier::error::Misconfigured;
use data_encoding::BASE64;
use reqwest::header::{
    ACCEPT, AGE, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use std::time::Duration;
use url::{Url, form_urlencoded};

/// A whole answer, other than a stream, takes no longer.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// More than metadata, keys or a vocabulary have.
pub(super) const DOCUMENT: usize = 1024 * 1024;
/// Entries of a snapshot are about 150 bytes each.
pub(super) const SNAPSHOT: usize = 64 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("the issuer cannot be reached: {0}")]
    Connection(reqwest::Error),
    #[error("the issuer answers {0}")]
    Status(u16),
    #[error("the issuer does not answer in time")]
    TooSlow,
    #[error("the answer is too long")]
    TooLong,
    #[error("the answer is not what was asked for")]
    Garbage,
}

impl From<reqwest::Error> for Failed {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() { Self::TooSlow } else { Self::Connection(error.without_url()) }
    }
}

pub(super) struct Document {
    /// None: it is as it was under the entity tag that was sent.
    pub(super) body: Option<Vec<u8>>,
    /// To ask for a newer one with.
    pub(super) etag: Option<HeaderValue>,
    /// So long ago it was so (RFC 9111 §5.1).
    pub(super) age: Duration,
}

pub(super) struct Issuer {
    /// As it stands in tokens.
    name: String,
    url: Url,
    http: Client,
    credentials: HeaderValue,
}

impl Issuer {
    pub(super) fn new(
        name: &str,
        client_id: &str,
        client_secret: &Secret<String>,
    ) -> Result<Self, Misconfigured> {
        let url = Url::parse(name).map_err(|_| Misconfigured::Issuer)?;
        let plain = url.query().is_none() && url.fragment().is_none();
        if !transport::is_protected(&url) || !plain || name.ends_with('/') {
            return Err(Misconfigured::Issuer);
        }
        let builder = Client::builder()
            .user_agent("rolemint-verifier")
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(Policy::none())
            .no_proxy()
            .referer(false);
        // Without TLS no root certificates are needed, and a small machine may have none.
        let builder = if url.scheme() == "http" { builder.tls_certs_only([]) } else { builder };
        let http = builder.build().map_err(|error| Misconfigured::Http(error.to_string()))?;
        // RFC 6749 §2.3.1: both halves are form-encoded.
        let half =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = format!("{}:{}", half(client_id), half(client_secret.reveal()));
        let credentials = format!("Basic {}", BASE64.encode(pair.as_bytes()));
        let mut credentials =
            HeaderValue::try_from(credentials).map_err(|_| Misconfigured::Issuer)?;
        credentials.set_sensitive(true);
        Ok(Self { name: name.to_owned(), url, http, credentials })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// SECURITY: only what lies at the issuer itself is fetched, whatever its metadata says.
    pub(super) fn is_at_issuer(&self, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| url.origin() == self.url.origin())
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.name)
    }

    /// What anybody may have.
    pub(super) async fn public_json(&self, url: &str) -> Result<Value, Failed> {
        let request = self.http.get(url).header(ACCEPT, "application/json").timeout(TIMEOUT);
        let response = successful(request.send().await?)?;
        let body = body(response, DOCUMENT).await?;
        serde_json::from_slice(&body).map_err(|_| Failed::Garbage)
    }

    pub(super) async fn metadata(&self) -> Result<Value, Failed> {
        self.public_json(&self.at("/.well-known/oauth-authorization-server")).await
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(self.at(path)).header(AUTHORIZATION, self.credentials.clone())
    }

    pub(super) async fn newer(
        &self,
        path: &str,
        etag: Option<&HeaderValue>,
        limit: usize,
    ) -> Result<Document, Failed> {
        let mut request = self.get(path).timeout(TIMEOUT);
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let response = request.send().await?;
        let age = response.headers().get(AGE).and_then(|age| age.to_str().ok()?.parse().ok());
        let age = Duration::from_secs(age.unwrap_or(0));
        if response.status().as_u16() == 304 && etag.is_some() {
            return Ok(Document { body: None, etag: etag.cloned(), age });
        }
        let response = successful(response)?;
        let etag = response.headers().get(ETAG).cloned();
        Ok(Document { body: Some(body(response, limit).await?), etag, age })
    }

    /// A stream of events, as soon as it begins.
    pub(super) async fn events(&self, path: &str, last: Option<u64>) -> Result<Response, Failed> {
        let mut request = self.get(path).header(ACCEPT, "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        let begun = tokio::time::timeout(TIMEOUT, request.send()).await;
        let response = successful(begun.map_err(|_| Failed::TooSlow)??)?;
        if is_stream(response.headers()) { Ok(response) } else { Err(Failed::Garbage) }
    }

    pub(super) async fn post(&self, path: &str, document: &Value) -> Result<(), Failed> {
        let request = self.http.post(self.at(path)).timeout(TIMEOUT);
        let request = request
            .header(AUTHORIZATION, self.credentials.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(document.to_string());
        successful(request.send().await?).map(drop)
    }
}

fn successful(response: Response) -> Result<Response, Failed> {
    let status = response.status();
    if status.is_success() { Ok(response) } else { Err(Failed::Status(status.as_u16())) }
}

fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("text/event-stream")
}

async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, Failed> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(Failed::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
