//! The beginning of a sign-in: an authorization request is judged, and the person is sent to the
//! provider that their company has.

use crate::catalog::{KnownClient, KnownProvider};
use crate::database;
use crate::domain::Time;
use crate::domain::authorization::{
    AuthorizationRequest, ErrorCode, Prompt, ProtocolError, RawAuthorization,
};
use crate::domain::ids::{ClientId, ProviderId};
use crate::domain::provider::email_domain;
use crate::domain::secret::{Digest, Secret};
use crate::domain::tenant::Status;
use crate::service::{Inner, Service, Unavailable};
use crate::signing::random_text;
use crate::token_store::OneTime;
use crate::upstream::{LoginOptions, PendingLogin, UpstreamError};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use url::Url;

/// A person has so long to sign in at their provider.
pub const LOGIN_LIFETIME: TimeDelta = TimeDelta::minutes(10);

/// Where a client is told how its request went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    pub redirect_uri: String,
    pub state: Option<String>,
}

/// SECURITY: until the client and its redirect URI are known to belong together, nothing is sent
/// anywhere: the person is told on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    #[error("the client is unknown or suspended")]
    Client,
    #[error("the redirect URI is not registered for this client")]
    RedirectUri,
    #[error("this sign-in is not known here")]
    UnknownLogin,
}

#[derive(Debug, thiserror::Error)]
pub enum NotAuthorized {
    #[error(transparent)]
    Unanswerable(#[from] Unanswerable),
    #[error("{error}")]
    Refused { to: ReplyTo, error: ProtocolError },
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What binds a sign-in to the browser that began it: a cookie of this name and value.
#[derive(Debug)]
pub struct BrowserBinding {
    /// Different for each sign-in, so that several can go on in one browser.
    pub name: String,
    pub value: Secret<String>,
}

/// The next step of a sign-in.
#[derive(Debug)]
pub enum Begun {
    /// Send the browser to the provider.
    Provider { location: Url, binding: BrowserBinding },
    /// Ask for the e-mail address, and come back with this token.
    AskEmail { continuation: Secret<String>, binding: BrowserBinding, unknown: bool },
}

/// A sign-in under way, as it is remembered.
#[derive(Serialize, Deserialize)]
pub(super) struct LoginState {
    pub(super) client: ClientId,
    pub(super) request: AuthorizationRequest,
    /// Of the cookie's value.
    pub(super) binding: Digest,
    pub(super) step: Step,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Step {
    AskedEmail,
    SentTo(ProviderId, PendingLogin),
}

impl LoginState {
    pub(super) fn reply_to(&self) -> ReplyTo {
        let AuthorizationRequest { redirect_uri, state, .. } = &self.request;
        ReplyTo { redirect_uri: redirect_uri.clone(), state: state.clone() }
    }
}

/// The cookie that belongs to a `state` or a continuation.
pub fn binding_name(token: &str) -> String {
    let digest: String = Digest::of(token).into();
    digest.chars().take(10).collect()
}

impl Service {
    /// Judges an authorization request and begins the sign-in.
    pub async fn authorize(
        &self,
        client: Option<&str>,
        redirect_uri: Option<&str>,
        raw: &RawAuthorization,
    ) -> Result<Begun, NotAuthorized> {
        let inner = &self.0;
        let id: Option<ClientId> = client.and_then(|id| id.parse().ok());
        let id = id.ok_or(Unanswerable::Client)?;
        let known = inner.catalog.client(&id).await.map_err(Unavailable::from)?;
        let known = known.filter(|known| known.client.status == Status::Active);
        let known = known.ok_or(Unanswerable::Client)?;
        let redirect_uri = redirect_uri
            .filter(|uri| known.client.accepts_redirect(uri))
            .ok_or(Unanswerable::RedirectUri)?;
        let to = ReplyTo { redirect_uri: redirect_uri.to_owned(), state: raw.state.clone() };
        let refused = |error| NotAuthorized::Refused { to: to.clone(), error };
        let request = AuthorizationRequest::parse(raw, redirect_uri.to_owned(), &known.client)
            .map_err(refused)?;
        inner.begin(&known, request).await
    }

    /// The person typed their e-mail address.
    pub async fn continue_with_email(
        &self,
        continuation: &str,
        binding: Option<&Secret<String>>,
        email: &str,
    ) -> Result<Begun, NotAuthorized> {
        let inner = &self.0;
        let state = inner.take_login(continuation, binding).await?;
        let Step::AskedEmail = state.step else {
            return Err(Unanswerable::UnknownLogin.into());
        };
        let known = inner.catalog.client(&state.client).await.map_err(Unavailable::from)?;
        let known = known.ok_or(Unanswerable::Client)?;
        let mut request = state.request;
        let found = inner.provider_for_email(email, &known).await?;
        if let Some(provider) = found {
            request.login_hint = Some(email.to_owned());
            return inner.send_to(&provider, &known, request).await;
        }
        inner.ask_email(&known, request, true).await
    }
}

impl Inner {
    async fn begin(
        &self,
        known: &KnownClient,
        request: AuthorizationRequest,
    ) -> Result<Begun, NotAuthorized> {
        if let Some(provider) = self.choose_provider(&request, known).await? {
            return self.send_to(&provider, known, request).await;
        }
        let to =
            ReplyTo { redirect_uri: request.redirect_uri.clone(), state: request.state.clone() };
        if request.tenant.is_some() {
            // SECURITY: the same for a tenant that does not exist and one that cannot sign in here.
            let what = "there is no way to sign in for that tenant";
            let error = ProtocolError::new(ErrorCode::AccessDenied, what);
            return Err(NotAuthorized::Refused { to, error });
        }
        if request.prompt == Some(Prompt::None) {
            let error = ProtocolError::new(ErrorCode::LoginRequired, "the person must sign in");
            return Err(NotAuthorized::Refused { to, error });
        }
        self.ask_email(known, request, false).await
    }

    /// The way to the right provider: the tenant, the hint, or the only one that there is.
    async fn choose_provider(
        &self,
        request: &AuthorizationRequest,
        known: &KnownClient,
    ) -> Result<Option<Arc<KnownProvider>>, Unavailable> {
        if let Some(tenant) = request.tenant.clone() {
            let find = move |c: &mut _| database::providers::find_by_tenant(c, &tenant);
            let ids = self.database.read(find).await?;
            return self.first_usable(ids, known).await;
        }
        if let Some(hint) = &request.login_hint
            && let Some(found) = self.provider_for_email(hint, known).await?
        {
            return Ok(Some(found));
        }
        let ids: Vec<ProviderId> = if let Some(allowed) = &known.client.providers {
            allowed.iter().cloned().collect()
        } else {
            let all = self.database.read(database::providers::list).await?;
            let active = all.into_iter().filter(|p| p.status == Status::Active);
            active.map(|provider| provider.id).collect()
        };
        if ids.len() == 1 { self.first_usable(ids, known).await } else { Ok(None) }
    }

    async fn provider_for_email(
        &self,
        email: &str,
        known: &KnownClient,
    ) -> Result<Option<Arc<KnownProvider>>, Unavailable> {
        let Some(domain) = email_domain(email.trim()) else { return Ok(None) };
        let find = move |c: &mut _| database::providers::find_by_domain(c, &domain);
        let id = self.database.read(find).await?;
        self.first_usable(id.into_iter().collect(), known).await
    }

    async fn first_usable(
        &self,
        ids: Vec<ProviderId>,
        known: &KnownClient,
    ) -> Result<Option<Arc<KnownProvider>>, Unavailable> {
        for id in ids.iter().filter(|id| known.client.allows_provider(id)) {
            let found = self.catalog.provider(id).await?;
            if let Some(found) = found.filter(|found| found.provider.status == Status::Active) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn send_to(
        &self,
        known_provider: &KnownProvider,
        known: &KnownClient,
        request: AuthorizationRequest,
    ) -> Result<Begun, NotAuthorized> {
        let now = self.clock.now();
        let state = random_text("").map_err(Unavailable::from)?;
        let options = LoginOptions {
            state: state.reveal(),
            prompt: request.prompt.map(Prompt::as_str),
            max_age: request.max_age,
            login_hint: request.login_hint.as_deref(),
        };
        let provider = &known_provider.provider;
        let begun = self.upstream.begin(provider, &self.callback, &options, now).await;
        let (location, pending) = begun.map_err(|error| {
            log_upstream(&provider.id, &error);
            let to = ReplyTo {
                redirect_uri: request.redirect_uri.clone(),
                state: request.state.clone(),
            };
            NotAuthorized::Refused { to, error: upstream_problem(&error) }
        })?;
        let step = Step::SentTo(provider.id.clone(), pending);
        let binding = self.remember_login(state.reveal(), known, request, step, now).await?;
        Ok(Begun::Provider { location, binding })
    }

    async fn ask_email(
        &self,
        known: &KnownClient,
        request: AuthorizationRequest,
        unknown: bool,
    ) -> Result<Begun, NotAuthorized> {
        let continuation = random_text("").map_err(Unavailable::from)?;
        let now = self.clock.now();
        let binding = self
            .remember_login(continuation.reveal(), known, request, Step::AskedEmail, now)
            .await?;
        Ok(Begun::AskEmail { continuation, binding, unknown })
    }

    async fn remember_login(
        &self,
        token: &str,
        known: &KnownClient,
        request: AuthorizationRequest,
        step: Step,
        now: Time,
    ) -> Result<BrowserBinding, Unavailable> {
        let value = random_text("")?;
        let state = LoginState {
            client: known.client.id.clone(),
            request,
            binding: Digest::of(value.reveal()),
            step,
        };
        let bytes = serde_json::to_vec(&state).map_err(|_| crate::signing::KeyError::Library)?;
        let key = Digest::of(token);
        self.tokens.put(OneTime::Login, &key, &bytes, now + LOGIN_LIFETIME, now).await?;
        Ok(BrowserBinding { name: binding_name(token), value })
    }

    /// The sign-in that a token stands for: once, and only in the browser that began it.
    pub(super) async fn take_login(
        &self,
        token: &str,
        binding: Option<&Secret<String>>,
    ) -> Result<LoginState, NotAuthorized> {
        let now = self.clock.now();
        // SECURITY: a browser without the cookie does not even use the sign-in up.
        let binding = binding.ok_or(Unanswerable::UnknownLogin)?;
        let found = self.tokens.take(OneTime::Login, &Digest::of(token), now).await;
        let bytes = found.map_err(Unavailable::from)?.ok_or(Unanswerable::UnknownLogin)?;
        let state: LoginState =
            serde_json::from_slice(&bytes).map_err(|_| Unanswerable::UnknownLogin)?;
        if state.binding == Digest::of(binding.reveal()) {
            Ok(state)
        } else {
            Err(Unanswerable::UnknownLogin.into())
        }
    }
}

pub(super) fn log_upstream(provider: &ProviderId, error: &UpstreamError) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::warn!(%provider, %error, cause, "a sign-in at the provider came to nothing");
}

/// What the client is told when the provider is the reason.
pub(super) const fn upstream_problem(error: &UpstreamError) -> ProtocolError {
    match error {
        UpstreamError::Unreachable(_) => ProtocolError::new(
            ErrorCode::TemporarilyUnavailable,
            "the identity provider cannot be reached; try again later",
        ),
        UpstreamError::Misconfigured(_) => ProtocolError::new(
            ErrorCode::ServerError,
            "signing in through this identity provider is not set up correctly",
        ),
        UpstreamError::Refused(_) => ProtocolError::new(
            ErrorCode::AccessDenied,
            "the identity provider's answer was refused",
        ),
    }
}
