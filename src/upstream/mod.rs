//! External providers: signing people in there, and checking the ID tokens that they give out.
//!
//! The only module that names `openidconnect`, `oauth2` and `reqwest`. Nothing that a provider or a browser
//! says is believed before it has been checked here; what comes out is a [`VerifiedIdentity`].

mod cache;
mod claim;
mod discovery;
mod error;
mod http;
mod id_token;
mod json;
mod jws;
mod login;
mod logout_token;
mod oauth;
mod recheck;
#[cfg(test)]
mod tests;

pub use claim::LEEWAY;
pub use error::{Cause, Misconfiguration, Outage, Refusal, UpstreamError};
pub use login::{CallbackAnswer, LoginOptions, PendingLogin};
pub use logout_token::{SignedOut, VerifiedLogout};

use crate::domain::Time;
use crate::domain::provider::{Provider, ProviderKind};
use crate::domain::secret::Secret;
use crate::domain::subject::VerifiedIdentity;
use chrono::TimeDelta;
use discovery::{Directory, Keys, Known};
use http::Http;
use id_token::{Claims, Expected, Unverified};
use jws::Jws;
use login::Login;
use recheck::Question;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// What a provider may cost us.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamLimits {
    /// For one request, from the name's resolution to the last byte of the answer.
    pub timeout: Duration,
    /// Bytes of one answer.
    pub body: usize,
    /// Keys are asked for again because of an unknown key id at most once in this time.
    pub jwks_cooldown: Duration,
    /// Metadata and keys are asked for again after this time.
    pub metadata_max_age: Duration,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            body: 256 * 1024,
            jwks_cooldown: Duration::from_secs(10),
            metadata_max_age: Duration::from_secs(3600),
        }
    }
}

/// The way to all providers. Clones share what is known of them.
#[derive(Clone)]
pub struct Upstream(Arc<Inner>);

struct Inner {
    http: Http,
    directory: Directory,
}

/// Whom a provider vouches for.
#[derive(Debug)]
pub struct Vouched {
    pub identity: VerifiedIdentity,
    /// What it can be asked with again, if it gave that.
    pub refresh_token: Option<Secret<String>>,
}

/// An ID token that was given to us to be exchanged, after every check but whether it was here before.
#[derive(Clone, Debug)]
pub struct VerifiedSubjectToken {
    pub identity: VerifiedIdentity,
    pub jti: Option<String>,
    pub issued_at: Time,
    pub expires_at: Time,
}

impl Upstream {
    pub fn new(limits: UpstreamLimits) -> Result<Self, UpstreamError> {
        let http = Http::new(limits.timeout, limits.body)?;
        let directory = Directory::new(http.clone(), limits);
        Ok(Self(Arc::new(Inner { http, directory })))
    }

    /// Where to send the browser, and what to remember until it comes back.
    pub async fn begin(
        &self,
        provider: &Provider,
        callback: &Url,
        options: &LoginOptions<'_>,
        now: Time,
    ) -> Result<(Url, PendingLogin), UpstreamError> {
        match &provider.kind {
            ProviderKind::Oidc { issuer, .. } => {
                let known = self.0.directory.of(&provider.id, issuer)?;
                self.begin_oidc(&known, provider, callback, options, now).await
            }
            ProviderKind::OAuth2 { .. } => Self::begin_oauth2(provider, callback, options, now),
        }
    }

    /// Who came back. `pending` must have been taken out of the store: it counts once.
    #[expect(clippy::too_many_arguments, reason = "each is a fact of its own, used once")]
    pub async fn finish(
        &self,
        provider: &Provider,
        client_secret: Option<&Secret<String>>,
        callback: &Url,
        pending: &PendingLogin,
        answer: &CallbackAnswer,
        now: Time,
    ) -> Result<Vouched, UpstreamError> {
        let login = Login { provider, client_secret, callback, pending, answer, now };
        match &provider.kind {
            ProviderKind::Oidc { issuer, .. } => {
                let known = self.0.directory.of(&provider.id, issuer)?;
                self.finish_oidc(&known, &login).await
            }
            ProviderKind::OAuth2 { .. } => self.finish_oauth2(&login).await,
        }
    }

    /// What holds now of somebody who signed in there. Whether it is the same person is for the caller to see.
    pub async fn ask_again(
        &self,
        provider: &Provider,
        client_secret: Option<&Secret<String>>,
        refresh_token: &Secret<String>,
        now: Time,
    ) -> Result<Vouched, UpstreamError> {
        let question = Question { provider, client_secret, refresh_token, now };
        match &provider.kind {
            ProviderKind::Oidc { issuer, .. } => {
                let known = self.0.directory.of(&provider.id, issuer)?;
                self.ask_oidc(&known, &question).await
            }
            ProviderKind::OAuth2 { .. } => self.ask_oauth2(&question).await,
        }
    }

    /// An ID token of this provider that a client wants to exchange (RFC 8693). Whether its `jti` was here
    /// before is for the caller to ask.
    pub async fn verify_id_token(
        &self,
        provider: &Provider,
        token: &str,
        now: Time,
    ) -> Result<VerifiedSubjectToken, UpstreamError> {
        let (ProviderKind::Oidc { issuer, algorithms, .. }, Some(rules)) =
            (&provider.kind, &provider.exchange)
        else {
            return Err(Refusal::NotAllowed.into());
        };
        let known = self.0.directory.of(&provider.id, issuer)?;
        let expected = Expected {
            issuer: &known.issuer,
            algorithms,
            audiences: rules.audiences.iter().map(String::as_str).collect(),
            nonce: None,
            access_token: None,
            now,
        };
        let claims = self.verify(&known, token, &expected).await?;
        if now - claims.issued_at > TimeDelta::seconds(rules.max_age.into()) {
            return Err(Refusal::TooOld.into());
        }
        let jti = claim::text(&claims.all, "jti")?.map(str::to_owned);
        if rules.require_jti && jti.as_ref().is_none_or(String::is_empty) {
            return Err(Refusal::MissingTokenId.into());
        }
        Ok(VerifiedSubjectToken {
            jti,
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
            identity: login::identity(provider, claims),
        })
    }

    /// A provider's word that somebody has signed out there (OpenID Connect Back-Channel Logout 1.0).
    pub async fn verify_logout_token(
        &self,
        provider: &Provider,
        token: &str,
        now: Time,
    ) -> Result<VerifiedLogout, UpstreamError> {
        let (ProviderKind::Oidc { issuer, algorithms, .. }, true) =
            (&provider.kind, provider.backchannel_logout)
        else {
            return Err(Refusal::NotAllowed.into());
        };
        let known = self.0.directory.of(&provider.id, issuer)?;
        let client_id = provider.client_id.as_str();
        let expected = logout_token::Expected { issuer: &known.issuer, algorithms, client_id, now };
        let unverified = logout_token::Unverified::parse(token, &expected)?;
        with_keys(&known, unverified.jws(), |keys| unverified.verify(keys)).await
    }

    fn http(&self) -> &Http {
        &self.0.http
    }

    /// The claims of an ID token.
    async fn verify(
        &self,
        known: &Known,
        token: &str,
        expected: &Expected<'_>,
    ) -> Result<Claims, UpstreamError> {
        let unverified = Unverified::parse(token, expected)?;
        with_keys(known, unverified.jws(), |keys| unverified.verify(keys, expected)).await
    }
}

/// What `verify` makes of a token with the provider's keys as they are, or as they are by now.
async fn with_keys<T>(
    known: &Known,
    token: &Jws<'_>,
    verify: impl Fn(&Keys) -> Result<T, Refusal>,
) -> Result<T, UpstreamError> {
    let keys = known.keys().await?;
    match verify(&keys.value) {
        Err(refusal) if token.may_have_newer_key(refusal) => {
            match known.newer_keys(keys.at).await? {
                Some(newer) => Ok(verify(&newer.value)?),
                None => Err(refusal.into()),
            }
        }
        outcome => Ok(outcome?),
    }
}
