//! The end of a sign-in: the provider's answer becomes an authorization code, or a refusal.

use crate::catalog::KnownClient;
use crate::database;
use crate::domain::Time;
use crate::domain::audit::{AuditEvent, EventKind};
use crate::domain::authorization::{ErrorCode, ProtocolError};
use crate::domain::client::{Client, GrantType};
use crate::domain::grant::Denied;
use crate::domain::ids::{ClientId, ProviderId, Role, SessionId, SubjectId, TenantId};
use crate::domain::secret::{Digest, Secret};
use crate::domain::session::{RegisteredSession, Session};
use crate::domain::subject::{Subject, VerifiedIdentity};
use crate::domain::tenant::Status;
use crate::domain::token::Audience;
use crate::service::authorize::{
    LoginState, NotAuthorized, ReplyTo, Step, Unanswerable, log_upstream, upstream_problem,
};
use crate::service::issue::{Claimant, NotIssued};
use crate::service::{Inner, Service, Shared, Unavailable, recheck};
use crate::signing::{self, random_text};
use crate::token_store::OneTime;
use crate::upstream::{CallbackAnswer, Vouched};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// How the provider sent the browser back.
#[derive(Debug)]
pub enum Callback {
    Answer {
        code: Secret<String>,
        /// RFC 9207.
        iss: Option<String>,
    },
    /// `error` of RFC 6749 §4.1.2.1, as it was sent.
    Error(String),
}

/// Where to send the browser, and with what.
#[derive(Debug)]
pub struct SignedIn {
    pub to: ReplyTo,
    pub code: Secret<String>,
}

/// What an authorization code stands for.
#[derive(Serialize, Deserialize)]
pub(super) struct CodeGrant {
    pub(super) client: ClientId,
    pub(super) redirect_uri: String,
    pub(super) code_challenge: String,
    pub(super) nonce: Option<String>,
    pub(super) session: SessionSeed,
}

/// A session that begins when its code is redeemed. Its id is settled now, so that a second use of
/// the code knows what the first one made.
#[derive(Serialize, Deserialize)]
pub(super) struct SessionSeed {
    pub(super) id: SessionId,
    pub(super) subject: SubjectId,
    pub(super) tenant: TenantId,
    pub(super) provider: ProviderId,
    pub(super) claims: serde_json::Map<String, serde_json::Value>,
    pub(super) wanted: crate::domain::authorization::Wanted,
    pub(super) authenticated_at: Option<Time>,
    pub(super) begun: u64,
}

impl SessionSeed {
    fn register(
        &self,
        client: &Client,
        upstream_session: Option<String>,
        lifetimes: &SessionLifetimes,
        now: Time,
    ) -> RegisteredSession {
        RegisteredSession {
            id: self.id,
            subject: self.subject.clone(),
            tenant: self.tenant.clone(),
            client: client.id.clone(),
            provider: self.provider.clone(),
            upstream_session,
            begun_at: now,
            begun: self.begun,
            ends_at: now + lifetimes.longest(client),
        }
    }

    pub(super) fn into_session(
        self,
        client: &ClientId,
        audience: Vec<String>,
        refresh_key: Option<u32>,
        lifetimes: &SessionLifetimes,
        now: Time,
    ) -> Session {
        Session {
            id: self.id,
            subject: self.subject,
            tenant: self.tenant,
            client: client.clone(),
            provider: self.provider,
            claims: self.claims,
            requested_scope: self.wanted.scope,
            protocol_scope: self.wanted.protocol_scope,
            requested_details: self.wanted.details,
            audience,
            refresh_key,
            begun_at: now,
            authenticated_at: self.authenticated_at,
            begun: self.begun,
            ends_at: now + TimeDelta::seconds(i64::from(lifetimes.absolute)),
            idle: lifetimes.idle,
        }
    }
}

/// In seconds: the shorter of what the client and the tenant declare.
pub(super) struct SessionLifetimes {
    pub(super) idle: u32,
    pub(super) absolute: u32,
}

impl SessionLifetimes {
    /// How long a session lives that is never refreshed: no access token outlives it.
    pub(super) const fn shorter(&self) -> u32 {
        if self.idle < self.absolute { self.idle } else { self.absolute }
    }

    /// From the sign-in to the last moment of a session whose code is redeemed at the last moment.
    fn longest(&self, client: &Client) -> TimeDelta {
        let session = if client.may_use(GrantType::RefreshToken) {
            self.absolute
        } else {
            // Nothing of it outlives its one access token.
            self.shorter().min(client.lifetimes.access_token)
        };
        TimeDelta::seconds(i64::from(session) + i64::from(client.lifetimes.code))
    }
}

impl Inner {
    pub(super) async fn session_lifetimes(
        &self,
        known: &KnownClient,
        tenant: &TenantId,
    ) -> Result<SessionLifetimes, Unavailable> {
        let tenant = self.catalog.tenant(tenant).await?;
        let of = |own: u32, tenants: Option<u32>| own.min(tenants.unwrap_or(u32::MAX));
        let lifetimes = &known.client.lifetimes;
        Ok(SessionLifetimes {
            idle: of(lifetimes.session_idle, tenant.as_ref().and_then(|t| t.session_idle)),
            absolute: of(lifetimes.session_absolute, tenant.and_then(|t| t.session_absolute)),
        })
    }
}

/// Somebody whom their provider has vouched for.
struct Arrived {
    identity: VerifiedIdentity,
    /// What the provider gave to ask with again, if it gave that.
    refresh_token: Option<Secret<String>>,
    /// Whether it will be asked again.
    rechecked: bool,
    subject: Subject,
    tenant: TenantId,
    /// The position of the log before the provider was asked.
    begun: u64,
    now: Time,
}

/// What the database keeps of a sign-in.
struct Written {
    subject: Subject,
    upstream_subject: String,
    session: RegisteredSession,
    rechecked: bool,
    refresh_token: Option<Secret<String>>,
    event: AuditEvent,
}

/// The session at the provider ended while we were told of it.
struct SignedOutMeanwhile;

fn denied(what: &'static str) -> ProtocolError {
    ProtocolError::new(ErrorCode::AccessDenied, what)
}

impl Service {
    pub async fn finish_login(
        &self,
        state: &str,
        binding: Option<&Secret<String>>,
        callback: Callback,
    ) -> Result<SignedIn, NotAuthorized> {
        let inner = &self.0;
        let mut login = inner.take_login(state, binding).await?;
        let to = login.reply_to();
        let step = std::mem::replace(&mut login.step, Step::AskedEmail);
        let Step::SentTo(provider, pending) = step else {
            return Err(Unanswerable::UnknownLogin.into());
        };
        let refused = |error| NotAuthorized::Refused { to: to.clone(), error };
        let answer = match callback {
            Callback::Answer { code, iss } => CallbackAnswer { code, iss },
            Callback::Error(error) => return Err(refused(upstream_error(&error))),
        };
        let known = inner.catalog.provider(&provider).await.map_err(Unavailable::from)?;
        let known = known
            .filter(|known| known.provider.status == Status::Active)
            .ok_or_else(|| refused(denied("this identity provider is not in use")))?;
        let now = inner.clock.now();
        let secret = inner.open_client_secret(&known.provider)?;
        // Before the provider is asked: whatever is revoked from here on ends the session that begins now, and
        // so does a logout that the provider tells of while its answer to us is under way.
        inner.catalog.catch_up().await.map_err(Unavailable::from)?;
        let begun = inner.revision().map_err(Unavailable::from)?;
        let vouched = inner
            .upstream
            .finish(&known.provider, secret.as_ref(), &inner.callback, &pending, &answer, now)
            .await;
        let Vouched { identity, refresh_token } = vouched.map_err(|error| {
            log_upstream(&provider, &error);
            refused(upstream_problem(&error))
        })?;
        let tenant = known.provider.resolve_tenant(&identity);
        let tenant = tenant.map_err(|reason| {
            tracing::info!(%provider, %reason, "a person belongs to no tenant of the provider");
            refused(denied("your account does not belong to a customer of this service"))
        })?;
        if login.request.tenant.as_ref().is_some_and(|wanted| *wanted != tenant) {
            return Err(refused(denied("your account belongs to another tenant")));
        }
        let subject = Subject::from_identity(&identity, &known.provider.keep_claims);
        let subject = subject.map_err(|reason| {
            tracing::warn!(%provider, %reason, "a sign-in was refused");
            refused(ProtocolError::new(
                ErrorCode::ServerError,
                "the account's claims are too large",
            ))
        })?;
        let rechecked = known.provider.recheck.is_some();
        let arrived = Arrived { identity, refresh_token, rechecked, subject, tenant, begun, now };
        inner.sign_in(login, arrived).await
    }
}

impl Shared {
    /// A provider's secret in the clear, for as long as one call takes.
    pub(super) fn open_client_secret(
        &self,
        provider: &crate::domain::provider::Provider,
    ) -> Result<Option<Secret<String>>, Unavailable> {
        let Some(sealed) = &provider.client_secret else { return Ok(None) };
        let bytes = self.sealing.open(PROVIDER_SECRET, &sealed.0)?;
        let text = String::from_utf8(bytes.reveal().clone());
        Ok(Some(Secret::new(text.map_err(|_| signing::KeyError::Malformed)?)))
    }
}

impl Inner {
    async fn sign_in(
        &self,
        login: LoginState,
        arrived: Arrived,
    ) -> Result<SignedIn, NotAuthorized> {
        let Arrived { identity, refresh_token, rechecked, subject, tenant, begun, now } = arrived;
        let to = login.reply_to();
        let refused = |error| NotAuthorized::Refused { to: to.clone(), error };
        let known = self.catalog.client(&login.client).await.map_err(Unavailable::from)?;
        let known = known.ok_or(Unanswerable::Client)?;
        // Rules and templates as they are at this moment.
        self.catalog.catch_up().await.map_err(Unavailable::from)?;
        let lifetimes = self.session_lifetimes(&known, &tenant).await?;
        let claimant = Claimant {
            subject: &subject,
            tenant: &tenant,
            parent: None,
            session_lives: lifetimes.shorter(),
        };
        let wanted = &login.request.wanted;
        let decided = self.decide(&known, claimant, &wanted.request(false)).await;
        let record = |kind, detail| AuditEvent {
            kind,
            at: now,
            tenant: Some(tenant.clone()),
            subject: Some(subject.id.clone()),
            client: Some(login.client.clone()),
            session: None,
            detail,
        };
        let decided = match decided {
            Ok(decided) => decided,
            Err(NotIssued::Unavailable(error)) => return Err(error.into()),
            Err(reason) => {
                tracing::info!(subject = %subject.id, %tenant, %reason, "a sign-in was refused");
                let event =
                    record(EventKind::SignInRefused, json!({ "reason": reason.to_string() }));
                self.record(event).await?;
                return Err(refused(refusal(&reason)));
            }
        };
        let session = SessionId::new(signing::random().map_err(Unavailable::from)?);
        let roles: Vec<&str> = decided.grant.roles.iter().map(Role::as_str).collect();
        let mut event =
            record(EventKind::SignedIn, json!({ "roles": roles, "mapping": decided.trace }));
        event.session = Some(session);
        let of = subject.clone();
        let seed = SessionSeed {
            id: session,
            subject: subject.id,
            tenant,
            provider: subject.provider,
            claims: subject.claims,
            wanted: login.request.wanted,
            authenticated_at: identity.authenticated_at,
            begun,
        };
        let registered = seed.register(&known.client, identity.session, &lifetimes, now);
        let written = self.write_down(Written {
            subject: of,
            upstream_subject: identity.upstream_subject,
            session: registered,
            rechecked,
            refresh_token,
            event,
        });
        written.await?.map_err(|SignedOutMeanwhile| {
            let what = "you have signed out at the identity provider meanwhile";
            refused(ProtocolError::new(ErrorCode::LoginRequired, what))
        })?;
        let grant = CodeGrant {
            client: login.client,
            redirect_uri: to.redirect_uri.clone(),
            code_challenge: login.request.code_challenge,
            nonce: login.request.nonce,
            session: seed,
        };
        let expires = now + TimeDelta::seconds(i64::from(known.client.lifetimes.code));
        Ok(SignedIn { to, code: self.hand_out(&grant, expires, now).await? })
    }

    /// A code that stands for `grant`.
    async fn hand_out(
        &self,
        grant: &CodeGrant,
        expires: Time,
        now: Time,
    ) -> Result<Secret<String>, Unavailable> {
        let code = random_text("rmc_")?;
        let bytes = serde_json::to_vec(grant).map_err(|_| signing::KeyError::Library)?;
        let key = Digest::of(code.reveal());
        self.tokens.put(OneTime::Code, &key, &bytes, expires, now).await?;
        Ok(code)
    }

    /// All that the database keeps of a sign-in.
    async fn write_down(
        &self,
        written: Written,
    ) -> Result<Result<(), SignedOutMeanwhile>, Unavailable> {
        let Written { subject, upstream_subject, session, rechecked, refresh_token, event } =
            written;
        let token = refresh_token.filter(|_| rechecked);
        if rechecked && token.is_none() {
            tracing::warn!(
                provider = %session.provider, session = %session.id,
                "the provider gave nothing to ask again with: the session will not last"
            );
        }
        let seal = |token: &Secret<String>| recheck::seal(&self.sealing, &session.id, token);
        let sealed = token.as_ref().map(seal).transpose()?;
        let write = self.database.write(move |c| {
            let now = session.begun_at;
            if !database::sessions::begin(c, &session)? {
                return Ok(Err(SignedOutMeanwhile));
            }
            database::subjects::put(c, &subject, &upstream_subject, &session.tenant, now)?;
            if rechecked {
                let (id, ends_at) = (&session.id, session.ends_at);
                database::upstream_tokens::insert(c, id, sealed.as_deref(), now, ends_at)?;
            }
            database::audit::insert(c, &event).map(Ok)
        });
        Ok(write.await?)
    }

    pub(super) async fn record(&self, event: AuditEvent) -> Result<(), Unavailable> {
        Ok(self.database.write(move |c| database::audit::insert(c, &event)).await?)
    }
}

/// The purpose that providers' secrets are sealed for.
pub(super) const PROVIDER_SECRET: &str = "provider secret";

/// What a person may be told of the reason for which they get nothing.
fn refusal(reason: &NotIssued) -> ProtocolError {
    match reason {
        NotIssued::Denied(Denied::NoRole) => {
            denied("your account has no role in this application; ask your administrator for one")
        }
        NotIssued::Denied(Denied::TenantSuspended(_)) | NotIssued::TenantGone(_) => {
            denied("your organisation's access is suspended")
        }
        NotIssued::Denied(Denied::ClientSuspended | Denied::ProviderNotAllowed)
        | NotIssued::ProviderGone(_) => denied("this application cannot be used with your account"),
        NotIssued::Denied(Denied::CrossesTenants(..)) | NotIssued::NoTemplate(_) => {
            denied("your role is not in use in this application")
        }
        NotIssued::Denied(Denied::ScopeTooWide) => {
            ProtocolError::new(ErrorCode::InvalidScope, "nothing of the scope can be granted")
        }
        NotIssued::Denied(Denied::Details(_) | Denied::DetailsTooWide) => ProtocolError::new(
            ErrorCode::InvalidAuthorizationDetails,
            "authorization_details are malformed, or nothing of them can be granted",
        ),
        NotIssued::Denied(Denied::Nothing) => denied("your account has no permission here"),
        NotIssued::Denied(
            Denied::Render(..)
            | Denied::Ceiling(_)
            | Denied::OutsideTenant(..)
            | Denied::ClaimConflict(_),
        ) => ProtocolError::new(
            ErrorCode::ServerError,
            "the template of your role cannot be used for your account; your administrator can see why",
        ),
        NotIssued::Unavailable(_) => {
            ProtocolError::new(ErrorCode::TemporarilyUnavailable, "try again later")
        }
    }
}

/// The provider said no. Only codes that we know are passed on.
fn upstream_error(error: &str) -> ProtocolError {
    let known = [
        ErrorCode::LoginRequired,
        ErrorCode::InteractionRequired,
        ErrorCode::ConsentRequired,
        ErrorCode::AccountSelectionRequired,
        ErrorCode::TemporarilyUnavailable,
    ];
    match known.into_iter().find(|code| code.as_str() == error) {
        Some(code) => ProtocolError::new(code, "the identity provider could not sign you in"),
        None => denied("the identity provider did not sign you in"),
    }
}

/// One audience or several, as the session keeps them.
pub(super) fn audience_list(audience: &Audience) -> Vec<String> {
    audience.iter().map(str::to_owned).collect()
}
