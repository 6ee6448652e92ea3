//! What a provider says about itself: its metadata and its keys.

use crate::domain::ids::ProviderId;
use crate::upstream::UpstreamLimits;
use crate::upstream::cache::{Cell, Fetched};
use crate::upstream::error::Misconfiguration;
use crate::upstream::error::Outage;
use crate::upstream::error::UpstreamError;
use crate::upstream::http::{Http, Reach};
use crate::upstream::json;
use data_encoding::BASE64URL_NOPAD;
use oauth2::HttpRequest;
use oauth2::http::HeaderValue;
use oauth2::http::header::ACCEPT;
use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType,
    CoreJsonWebKey, CoreJsonWebKeySet, CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{
    AdditionalProviderMetadata, AuthUrl, DiscoveryError, IssuerUrl, JsonWebKeySetUrl,
    ProviderMetadata, TokenUrl,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use url::Url;

/// RFC 9207 §3.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct ResponseIssuer {
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}
impl AdditionalProviderMetadata for ResponseIssuer {}

type Document = ProviderMetadata<
    ResponseIssuer,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// Metadata whose issuer and endpoints have been looked at.
pub(super) struct Metadata {
    pub(super) authorization_endpoint: AuthUrl,
    pub(super) token_endpoint: TokenUrl,
    pub(super) userinfo_endpoint: Option<Url>,
    /// Whether every answer of the authorization endpoint bears `iss`.
    pub(super) answers_with_issuer: bool,
    jwks_uri: JsonWebKeySetUrl,
}

/// The keys of one JWKS document that can verify anything.
pub(super) struct Keys {
    uri: JsonWebKeySetUrl,
    pub(super) keys: Vec<CoreJsonWebKey>,
}

/// A provider as it is known now.
pub(super) struct Known {
    pub(super) issuer: IssuerUrl,
    pub(super) reach: Reach,
    http: Http,
    metadata: Arc<Cell<Metadata>>,
    keys: Arc<Cell<Keys>>,
}

/// All of them. One entry for each configured provider, so it is as large as the configuration.
pub(super) struct Directory {
    http: Http,
    limits: UpstreamLimits,
    known: Mutex<HashMap<ProviderId, Arc<Known>>>,
}

impl Directory {
    pub(super) fn new(http: Http, limits: UpstreamLimits) -> Self {
        Self { http, limits, known: Mutex::default() }
    }

    /// What is known of a provider. An entry whose issuer was changed begins anew.
    pub(super) fn of(&self, id: &ProviderId, issuer: &str) -> Result<Arc<Known>, UpstreamError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(id).filter(|found| found.issuer.as_str() == issuer) {
            return Ok(found.clone());
        }
        let issuer = IssuerUrl::new(issuer.to_owned()).map_err(|_| Misconfiguration::Issuer)?;
        let reach = Reach::of(issuer.url());
        // OpenID Connect Discovery 1.0 §3: https, no query, no fragment.
        if !reach.allows(issuer.url()) || issuer.url().query().is_some() {
            return Err(Misconfiguration::Issuer.into());
        }
        let (max_age, cooldown) = (self.limits.metadata_max_age, self.limits.jwks_cooldown);
        let entry = Arc::new(Known {
            issuer,
            reach,
            http: self.http.clone(),
            metadata: Arc::new(Cell::new(max_age, cooldown)),
            keys: Arc::new(Cell::new(max_age, cooldown)),
        });
        known.insert(id.clone(), entry.clone());
        Ok(entry)
    }
}

impl Known {
    pub(super) async fn metadata(&self) -> Result<Arc<Metadata>, UpstreamError> {
        let (http, reach, issuer) = (self.http.clone(), self.reach, self.issuer.clone());
        let fetch = move || async move { discover(&http, reach, &issuer).await };
        Ok(self.metadata.current(|_| true, fetch).await?.value)
    }

    pub(super) async fn keys(&self) -> Result<Fetched<Keys>, UpstreamError> {
        let uri = self.metadata().await?.jwks_uri.clone();
        let (http, reach, expected) = (self.http.clone(), self.reach, uri.clone());
        let fetch = move || async move { fetch_keys(&http, reach, uri).await };
        self.keys.current(move |keys| keys.uri == expected, fetch).await
    }

    /// Keys newer than those that came at `seen`; nothing if newer ones were asked for a moment ago.
    pub(super) async fn newer_keys(
        &self,
        seen: Instant,
    ) -> Result<Option<Fetched<Keys>>, UpstreamError> {
        let uri = self.metadata().await?.jwks_uri.clone();
        let (http, reach) = (self.http.clone(), self.reach);
        self.keys.newer(seen, move || async move { fetch_keys(&http, reach, uri).await }).await
    }
}

/// OpenID Connect Discovery 1.0 §4.
async fn discover(
    http: &Http,
    reach: Reach,
    issuer: &IssuerUrl,
) -> Result<Metadata, UpstreamError> {
    let url =
        issuer.join(".well-known/openid-configuration").map_err(|_| Misconfiguration::Issuer)?;
    let mut request = HttpRequest::new(Vec::new());
    *request.uri_mut() = url.as_str().parse().map_err(|_| Misconfiguration::Issuer)?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    let response = http.send(reach, request).await?;
    if response.status().as_u16() != 200 {
        return Err(Misconfiguration::Status(response.status().as_u16()).into());
    }
    let document = json::parse_object(response.body()).ok_or(Outage::Garbage)?;
    // §4.3: exactly the issuer that the document was asked of, as a string.
    if document.get("issuer").and_then(Value::as_str) != Some(issuer.as_str()) {
        return Err(Misconfiguration::OtherIssuer.into());
    }
    let document: Document = serde_json::from_value(Value::Object(document))
        .map_err(|error| Misconfiguration::Metadata(Arc::new(error)))?;
    let metadata = Metadata {
        authorization_endpoint: document.authorization_endpoint().clone(),
        token_endpoint: document.token_endpoint().ok_or(Misconfiguration::NoTokenEndpoint)?.clone(),
        userinfo_endpoint: document.userinfo_endpoint().map(|url| url.url().clone()),
        answers_with_issuer: document
            .additional_metadata()
            .authorization_response_iss_parameter_supported,
        jwks_uri: document.jwks_uri().clone(),
    };
    let endpoints = [
        metadata.authorization_endpoint.url(),
        metadata.token_endpoint.url(),
        metadata.jwks_uri.url(),
    ];
    if endpoints.into_iter().chain(&metadata.userinfo_endpoint).all(|url| reach.allows(url)) {
        Ok(metadata)
    } else {
        Err(Misconfiguration::Endpoint.into())
    }
}

async fn fetch_keys(
    http: &Http,
    reach: Reach,
    uri: JsonWebKeySetUrl,
) -> Result<Keys, UpstreamError> {
    let send = http.sender(reach);
    let set = CoreJsonWebKeySet::fetch_async(&uri, &send).await.map_err(|error| match error {
        DiscoveryError::Request(error) => error,
        DiscoveryError::Response(status, ..) => Misconfiguration::Status(status.as_u16()).into(),
        _ => Outage::Garbage.into(),
    })?;
    let keys = set.keys().iter().filter(|key| is_strong(key)).cloned().collect();
    Ok(Keys { uri, keys })
}

/// RFC 7518 §3.3: RSA keys of 2048 bits or more. The library takes any, and tells the modulus only as JSON.
fn is_strong(key: &CoreJsonWebKey) -> bool {
    let Ok(key) = serde_json::to_value(key) else { return false };
    if key.get("kty").and_then(Value::as_str) != Some("RSA") {
        return true;
    }
    let modulus = key.get("n").and_then(Value::as_str).unwrap_or_default();
    let modulus = BASE64URL_NOPAD.decode(modulus.as_bytes()).unwrap_or_default();
    let mut significant = modulus.iter().skip_while(|byte| **byte == 0);
    let first = significant.next().copied().unwrap_or_default();
    let rest = significant.count();
    rest >= 256 || (rest == 255 && first >= 0x80)
}
