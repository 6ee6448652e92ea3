//! Signing a person in at their provider: the authorization code flow, from the browser's way out to what
//! comes back.

use crate::domain::Time;
use crate::domain::ids::ProviderId;
use crate::domain::provider::{Provider, ProviderKind};
use crate::domain::secret::Secret;
use crate::domain::subject::VerifiedIdentity;
use crate::upstream::claim::LEEWAY;
use crate::upstream::discovery::{Known, Metadata};
use crate::upstream::error::Misconfiguration;
use crate::upstream::error::Refusal;
use crate::upstream::error::UpstreamError;
use crate::upstream::http::Reach;
use crate::upstream::id_token::{Claims, Expected};
use crate::upstream::oauth::{self, Exchange, Tokens};
use crate::upstream::{Upstream, Vouched};
use chrono::TimeDelta;
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreJsonWebKeySet};
use openidconnect::{
    AccessToken, AuthUrl, ClientId, CsrfToken, LoginHint, Nonce, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, Scope, TokenUrl,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;
use url::Url;

/// How a person is to be signed in.
#[derive(Clone, Copy, Debug)]
pub struct LoginOptions<'a> {
    pub state: &'a str,
    pub prompt: Option<&'a str>,
    pub max_age: Option<u32>,
    pub login_hint: Option<&'a str>,
}

/// What has to be remembered, on our side only, until the browser comes back. It is used once.
#[derive(Clone, Serialize, Deserialize)]
pub struct PendingLogin {
    /// SECURITY: an answer counts only for the provider that was asked (mix-up, RFC 9700 §4.4).
    provider: ProviderId,
    nonce: String,
    pkce_verifier: String,
    max_age: Option<u32>,
    begun_at: Time,
}

impl fmt::Debug for PendingLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingLogin")
            .field("provider", &self.provider)
            .field("nonce", &"<secret>")
            .field("pkce_verifier", &"<secret>")
            .field("max_age", &self.max_age)
            .field("begun_at", &self.begun_at)
            .finish()
    }
}

/// What the browser brought back.
#[derive(Clone, Debug)]
pub struct CallbackAnswer {
    pub code: Secret<String>,
    pub iss: Option<String>,
}

/// One answer, with everything that is needed to make something of it.
pub(super) struct Login<'a> {
    pub(super) provider: &'a Provider,
    pub(super) client_secret: Option<&'a Secret<String>>,
    pub(super) callback: &'a Url,
    pub(super) pending: &'a PendingLogin,
    pub(super) answer: &'a CallbackAnswer,
    pub(super) now: Time,
}

impl PendingLogin {
    /// A new one, and the PKCE challenge for the way out.
    fn begin(
        provider: &Provider,
        options: &LoginOptions<'_>,
        now: Time,
    ) -> (Self, PkceCodeChallenge) {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let pending = Self {
            provider: provider.id.clone(),
            nonce: Nonce::new_random_len(32).secret().clone(),
            pkce_verifier: PkceCodeVerifier::into_secret(verifier),
            max_age: options.max_age,
            begun_at: now,
        };
        (pending, challenge)
    }
}

impl Upstream {
    pub(super) async fn begin_oidc(
        &self,
        known: &Known,
        provider: &Provider,
        callback: &Url,
        options: &LoginOptions<'_>,
        now: Time,
    ) -> Result<(Url, PendingLogin), UpstreamError> {
        let metadata = known.metadata().await?;
        let (pending, challenge) = PendingLogin::begin(provider, options, now);
        // Only the URL is made here: the keys are not needed for it.
        let client = CoreClient::new(
            ClientId::new(provider.client_id.clone()),
            known.issuer.clone(),
            CoreJsonWebKeySet::default(),
        )
        .set_auth_uri(metadata.authorization_endpoint.clone())
        .set_redirect_uri(RedirectUrl::from_url(callback.clone()));
        let state = CsrfToken::new(options.state.to_owned());
        let nonce = Nonce::new(pending.nonce.clone());
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let mut request = client
            .authorize_url(flow, move || state, move || nonce)
            // The library asks for `openid` by itself.
            .add_scopes(scopes(provider).filter(|scope| scope.as_str() != "openid"))
            .set_pkce_challenge(challenge);
        if let Some(prompt) = options.prompt {
            request = request.add_extra_param("prompt", prompt);
        }
        if let Some(max_age) = options.max_age {
            request = request.set_max_age(Duration::from_secs(max_age.into()));
        }
        if let Some(hint) = options.login_hint {
            request = request.set_login_hint(LoginHint::new(hint.to_owned()));
        }
        let (url, _, _) = request.url();
        Ok((url, pending))
    }

    pub(super) async fn finish_oidc(
        &self,
        known: &Known,
        login: &Login<'_>,
    ) -> Result<Vouched, UpstreamError> {
        let Login { provider, pending, answer, .. } = login;
        let ProviderKind::Oidc { algorithms, userinfo, .. } = &provider.kind else {
            return Err(Refusal::NotAllowed.into());
        };
        if pending.provider != provider.id {
            return Err(Refusal::OtherProvider.into());
        }
        // RFC 9207 §2.4: before the code goes anywhere.
        if answer.iss.as_ref().is_some_and(|issuer| issuer != known.issuer.as_str()) {
            return Err(Refusal::WrongIssuer.into());
        }
        let metadata = known.metadata().await?;
        if answer.iss.is_none() && metadata.answers_with_issuer {
            return Err(Refusal::MissingIssuer.into());
        }
        let tokens = self.redeem(login, known.reach, metadata.token_endpoint.clone()).await?;
        let expected = Expected {
            issuer: &known.issuer,
            algorithms,
            audiences: [provider.client_id.as_str()].into(),
            nonce: Some(&pending.nonce),
            access_token: Some(&tokens.access_token),
            now: login.now,
        };
        let id_token = tokens.id_token.as_deref().ok_or(Refusal::NoIdToken)?;
        let mut claims = self.verify(known, id_token, &expected).await?;
        check_authentication(pending, &claims)?;
        if *userinfo {
            self.add_user_info(known, &metadata, &tokens, &mut claims).await?;
        }
        let refresh_token = tokens.refresh_token;
        Ok(Vouched { identity: identity(provider, claims), refresh_token })
    }

    pub(super) async fn add_user_info(
        &self,
        known: &Known,
        metadata: &Metadata,
        tokens: &Tokens,
        claims: &mut Claims,
    ) -> Result<(), UpstreamError> {
        let endpoint =
            metadata.userinfo_endpoint.as_ref().ok_or(Misconfiguration::NoUserInfoEndpoint)?;
        let more =
            oauth::user_info(self.http(), known.reach, endpoint, &tokens.access_token).await?;
        // OpenID Connect Core §5.3.4: without this, token substitution gives one person another's claims.
        if more.get("sub").and_then(Value::as_str) != Some(&claims.subject) {
            return Err(Refusal::SubjectMismatch.into());
        }
        merge(&mut claims.all, more);
        Ok(())
    }

    pub(super) fn begin_oauth2(
        provider: &Provider,
        callback: &Url,
        options: &LoginOptions<'_>,
        now: Time,
    ) -> Result<(Url, PendingLogin), UpstreamError> {
        let ProviderKind::OAuth2 { authorization_endpoint, .. } = &provider.kind else {
            return Err(Refusal::NotAllowed.into());
        };
        if !Reach::of(authorization_endpoint).allows(authorization_endpoint) {
            return Err(Misconfiguration::Endpoint.into());
        }
        // Plain OAuth 2.0 never says when somebody authenticated.
        if options.max_age.is_some() {
            return Err(Refusal::AuthTime.into());
        }
        let (pending, challenge) = PendingLogin::begin(provider, options, now);
        let client = oauth2::basic::BasicClient::new(ClientId::new(provider.client_id.clone()))
            .set_auth_uri(AuthUrl::from_url(authorization_endpoint.clone()))
            .set_redirect_uri(RedirectUrl::from_url(callback.clone()));
        let mut request = client
            .authorize_url(|| CsrfToken::new(options.state.to_owned()))
            .add_scopes(scopes(provider))
            .set_pkce_challenge(challenge);
        // Not of RFC 6749, which has the server ignore what it does not know; GitHub and others know them.
        for (name, value) in [("prompt", options.prompt), ("login_hint", options.login_hint)] {
            if let Some(value) = value {
                request = request.add_extra_param(name, value);
            }
        }
        let (url, _) = request.url();
        Ok((url, pending))
    }

    pub(super) async fn finish_oauth2(&self, login: &Login<'_>) -> Result<Vouched, UpstreamError> {
        let Login { provider, pending, answer, .. } = login;
        let ProviderKind::OAuth2 { authorization_endpoint, token_endpoint, issuer, .. } =
            &provider.kind
        else {
            return Err(Refusal::NotAllowed.into());
        };
        if pending.provider != provider.id {
            return Err(Refusal::OtherProvider.into());
        }
        // An answer that names an issuer is another provider's unless the entry names the same.
        if answer.iss.is_some() && answer.iss != *issuer {
            return Err(Refusal::WrongIssuer.into());
        }
        let reach = Reach::of(authorization_endpoint);
        let endpoint = TokenUrl::from_url(token_endpoint.clone());
        let tokens = self.redeem(login, reach, endpoint).await?;
        let identity = self.who_has(provider, reach, &tokens.access_token).await?;
        Ok(Vouched { identity, refresh_token: tokens.refresh_token })
    }

    /// The person behind an access token of a provider that knows plain OAuth 2.0 only.
    pub(super) async fn who_has(
        &self,
        provider: &Provider,
        reach: Reach,
        access_token: &AccessToken,
    ) -> Result<VerifiedIdentity, UpstreamError> {
        let ProviderKind::OAuth2 { userinfo_endpoint, subject, .. } = &provider.kind else {
            return Err(Refusal::NotAllowed.into());
        };
        let mut claims =
            oauth::user_info(self.http(), reach, userinfo_endpoint, access_token).await?;
        let subject = subject_at(&claims, subject).ok_or(Refusal::Subject)?;
        claims.entry("sub").or_insert_with(|| Value::String(subject.clone()));
        Ok(VerifiedIdentity {
            provider: provider.id.clone(),
            upstream_subject: subject,
            claims,
            authenticated_at: None,
            session: None,
        })
    }

    async fn redeem(
        &self,
        login: &Login<'_>,
        reach: Reach,
        token_endpoint: TokenUrl,
    ) -> Result<Tokens, UpstreamError> {
        let exchange = Exchange {
            token_endpoint,
            callback: login.callback,
            code: &login.answer.code,
            pkce_verifier: &login.pending.pkce_verifier,
            client_secret: login.client_secret,
        };
        oauth::exchange(self.http(), reach, login.provider, exchange).await
    }
}

/// Somebody as their ID token says.
pub(super) fn identity(provider: &Provider, claims: Claims) -> VerifiedIdentity {
    VerifiedIdentity {
        provider: provider.id.clone(),
        upstream_subject: claims.subject,
        claims: claims.all,
        authenticated_at: claims.authenticated_at,
        session: claims.session,
    }
}

fn scopes(provider: &Provider) -> impl Iterator<Item = Scope> {
    provider.scopes().into_iter().map(|scope| Scope::new(scope.to_owned()))
}

/// OpenID Connect Core §3.1.3.7 step 13. The age is that at the time we asked: a person who takes a minute
/// over a consent page has not authenticated any less.
fn check_authentication(pending: &PendingLogin, claims: &Claims) -> Result<(), Refusal> {
    let Some(max_age) = pending.max_age else { return Ok(()) };
    let at = claims.authenticated_at.ok_or(Refusal::AuthTime)?;
    let oldest = pending.begun_at - TimeDelta::seconds(max_age.into()) - LEEWAY;
    if at < oldest { Err(Refusal::AuthTime) } else { Ok(()) }
}

/// SECURITY: user info is not signed, so it adds and never replaces. An address and the word that it is
/// verified belong together: they come from one document, or agree.
fn merge(claims: &mut Map<String, Value>, mut more: Map<String, Value>) {
    for (value, verified) in
        [("email", "email_verified"), ("phone_number", "phone_number_verified")]
    {
        let known = claims.contains_key(value) || claims.contains_key(verified);
        if known && claims.get(value) != more.get(value) {
            more.remove(value);
            more.remove(verified);
        }
    }
    for (name, value) in more {
        claims.entry(name).or_insert(value);
    }
}

/// A text or an integer: anything else does not identify anybody for ever.
fn subject_at(claims: &Map<String, Value>, pointer: &str) -> Option<String> {
    let claims = Value::Object(claims.clone());
    match claims.pointer(pointer)? {
        Value::String(text) if !text.is_empty() && text.len() <= 255 => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(object) = value else { panic!("an object") };
        object
    }

    #[test]
    fn user_info_adds_and_never_replaces() {
        let merged = |claims: Value, more: Value| {
            let mut claims = object(claims);
            merge(&mut claims, object(more));
            Value::Object(claims)
        };
        assert_eq!(
            merged(json!({ "sub": "1", "name": "A" }), json!({ "sub": "1", "name": "B", "x": 1 })),
            json!({ "sub": "1", "name": "A", "x": 1 })
        );
        let other = json!({ "email": "b@b.example", "email_verified": true });
        assert_eq!(
            merged(json!({ "email": "a@a.example" }), other.clone()),
            json!({ "email": "a@a.example" })
        );
        assert_eq!(
            merged(json!({ "email_verified": true }), other.clone()),
            json!({ "email_verified": true })
        );
        assert_eq!(merged(json!({ "email": "b@b.example" }), other.clone()), other);
        assert_eq!(merged(json!({}), other.clone()), other);
    }

    #[test]
    fn a_subject_is_a_text_or_an_integer() {
        let claims = object(
            json!({ "id": 42, "user": { "id": "x" }, "e": "", "f": 1.0, "b": true, "n": null }),
        );
        assert_eq!(subject_at(&claims, "/id").as_deref(), Some("42"));
        assert_eq!(subject_at(&claims, "/user/id").as_deref(), Some("x"));
        for pointer in ["", "/e", "/f", "/b", "/n", "/user", "/absent"] {
            assert_eq!(subject_at(&claims, pointer), None, "{pointer}");
        }
    }
}
