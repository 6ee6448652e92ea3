//! An authorization code for the tokens of the session that begins with it (RFC 6749 §4.1.3).

use crate::domain::Time;
use crate::domain::audit::{AuditEvent, EndReason, EndedSession, EventKind};
use crate::domain::authorization::{is_code_verifier, proves};
use crate::domain::client::GrantType;
use crate::domain::revocation::RevocationTarget;
use crate::domain::secret::{Digest, Secret};
use crate::domain::session::{RefreshState, Session};
use crate::service::authenticate::AuthenticatedClient;
use crate::service::issue::{Claimant, Issued, Mint, NotIssued};
use crate::service::login::CodeGrant;
use crate::service::{Inner, Service, Unavailable};
use crate::token_store::{OneTime, Used};
use chrono::TimeDelta;
use serde_json::json;
use std::net::IpAddr;

#[derive(Debug)]
pub struct CodeRequest {
    pub code: Secret<String>,
    pub redirect_uri: Option<String>,
    pub verifier: Option<Secret<String>>,
    /// Where it came from.
    pub address: Option<IpAddr>,
}

#[derive(Debug, thiserror::Error)]
pub enum NotRedeemed {
    #[error("the client may not use this grant")]
    GrantNotAllowed,
    /// Unknown, expired, used, another client's, another redirect URI, or without the right verifier:
    /// one answer for all.
    #[error("the code cannot be redeemed: {0}")]
    Invalid(&'static str),
    #[error(transparent)]
    NotIssued(#[from] NotIssued),
}

impl From<Unavailable> for NotRedeemed {
    fn from(error: Unavailable) -> Self {
        Self::NotIssued(error.into())
    }
}

impl Service {
    pub async fn redeem_code(
        &self,
        client: &AuthenticatedClient,
        request: &CodeRequest,
    ) -> Result<Issued, NotRedeemed> {
        let inner = &self.0;
        let known = client.known();
        if !known.client.may_use(GrantType::AuthorizationCode) {
            return Err(NotRedeemed::GrantNotAllowed);
        }
        let verifier =
            request.verifier.as_ref().filter(|verifier| is_code_verifier(verifier.reveal()));
        let verifier = verifier.ok_or(NotRedeemed::Invalid("no code_verifier"))?;
        let now = inner.clock.now();
        // What was revoked before the sign-in is applied here before anything is minted; and while the log cannot
        // be read, the code is not used up.
        inner.catalog.catch_up().await.map_err(Unavailable::from)?;
        let revision = inner.revision().map_err(Unavailable::from)?;
        let key = Digest::of(request.code.reveal());
        let used = inner.tokens.use_once(OneTime::Code, &key, now).await;
        let (bytes, again) = match used.map_err(Unavailable::from)? {
            Used::First(bytes) => (bytes, false),
            Used::Again(bytes) => (bytes, true),
            Used::Unknown => return Err(NotRedeemed::Invalid("unknown or expired")),
        };
        let grant: CodeGrant =
            serde_json::from_slice(&bytes).map_err(|_| NotRedeemed::Invalid("unreadable"))?;
        if again {
            inner.end_replayed(grant, request.address, now).await?;
            return Err(NotRedeemed::Invalid("used before"));
        }
        // From here on the code is used up, whatever comes of it.
        if grant.client != known.client.id {
            return Err(NotRedeemed::Invalid("another client's"));
        }
        if request.redirect_uri.as_deref() != Some(grant.redirect_uri.as_str()) {
            return Err(NotRedeemed::Invalid("another redirect URI"));
        }
        if !proves(verifier.reveal(), &grant.code_challenge) {
            return Err(NotRedeemed::Invalid("another verifier"));
        }
        inner.begin_session(client, grant, revision, now).await
    }
}

impl Inner {
    async fn begin_session(
        &self,
        client: &AuthenticatedClient,
        grant: CodeGrant,
        revision: u64,
        now: Time,
    ) -> Result<Issued, NotRedeemed> {
        let known = client.known();
        let lifetimes = self.session_lifetimes(known, &grant.session.tenant).await?;
        let refreshes = known.client.may_use(GrantType::RefreshToken);
        let refresh_key = refreshes.then(|| self.keys.newest_derivation());
        let audience = self.audience(&grant.session.wanted.audience, known);
        let mut session =
            grant.session.into_session(&known.client.id, audience, refresh_key, &lifetimes, now);
        let subject = session.subject();
        let claimant = Claimant {
            subject: &subject,
            tenant: &session.tenant,
            parent: None,
            session_lives: lifetimes.shorter(),
        };
        let decided = self.decide(known, claimant, &session.request()).await?;
        if !refreshes {
            // Nothing of it outlives its one access token.
            session.ends_at = now + TimeDelta::seconds(i64::from(decided.grant.expires_in));
        }
        let mint = Mint {
            known,
            session: &session,
            grant: &decided.grant,
            audience: &session.audience,
            ancestors: &[],
            revision,
            now,
        };
        let mut issued = self.mint(&mint).map_err(Unavailable::from)?;
        issued.id_token = self
            .id_token(known, &session, grant.nonce.as_deref(), now)
            .map_err(Unavailable::from)?;
        let state = self.track(&session, now).await?;
        self.refuse_if_ended_meanwhile(&session).await?;
        issued.refresh_token =
            self.refresh_token(&session, state.generation).map_err(Unavailable::from)?;
        Ok(issued)
    }

    /// The session is in the token store before the answer leaves; what the store does not know is dead.
    pub(super) async fn track(
        &self,
        session: &Session,
        now: Time,
    ) -> Result<RefreshState, NotRedeemed> {
        let millis = |time: Time| time.timestamp_millis();
        let idle = i64::from(session.idle).saturating_mul(1000);
        let state = RefreshState::begin(millis(now), idle, millis(session.ends_at));
        if self.is_over(session).await? {
            return Err(NotRedeemed::Invalid("revoked meanwhile"));
        }
        let at = self.log_position(&session.id);
        self.tokens.begin(session, &state, at, now).await.map_err(Unavailable::from)?;
        Ok(state)
    }

    /// SECURITY: a second use of the code may have ended the session just before it was stored. The log is
    /// read once more: an ending that is committed later finds the session in the store and deletes it.
    async fn refuse_if_ended_meanwhile(&self, session: &Session) -> Result<(), NotRedeemed> {
        self.catalog.catch_up().await.map_err(Unavailable::from)?;
        if !self.is_over(session).await? {
            return Ok(());
        }
        let position = self.catalog.revocations().applied();
        self.tokens.end(&session.id, position).await.map_err(Unavailable::from)?;
        Err(NotRedeemed::Invalid("ended meanwhile"))
    }

    /// RFC 6749 §4.1.2: a code used twice ends what its first use made.
    async fn end_replayed(
        &self,
        grant: CodeGrant,
        address: Option<IpAddr>,
        now: Time,
    ) -> Result<(), Unavailable> {
        let seed = grant.session;
        // One at a time: whoever comes second finds the ending of the first.
        let _turn = self.code_replays.lock().await;
        if self.catalog.revocations().knows_end_of(&seed.id) {
            // A third use and a thousandth add nothing to the log.
            return Ok(());
        }
        // How long the session that the first use made may live is not known here.
        let ends_at = RevocationTarget::Session(seed.id).outlived_at(now);
        let ended = EndedSession {
            session: seed.id,
            subject: seed.subject.clone(),
            tenant: seed.tenant.clone(),
            client: grant.client.clone(),
            at: now,
            reason: EndReason::CodeUsedTwice,
            address,
            would_have_ended_at: ends_at,
        };
        let event = AuditEvent {
            kind: EventKind::CodeReplayed,
            at: now,
            tenant: Some(seed.tenant),
            subject: Some(seed.subject),
            client: Some(grant.client),
            session: Some(seed.id),
            detail: json!({ "address": address }),
        };
        // Nor which audience it was given.
        self.end_session(ended, Vec::new(), event).await
    }
}
