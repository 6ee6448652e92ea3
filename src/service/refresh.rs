//! A refresh token for the next access token of its session (RFC 6749 §6), with roles and templates as
//! they are now.

use crate::domain::Time;
use crate::domain::audit::{AuditEvent, EndReason, EndedSession, EventKind};
use crate::domain::authorization::Wanted;
use crate::domain::client::GrantType;
use crate::domain::grant::{Denied, TokenRequest};
use crate::domain::secret::Secret;
use crate::domain::session::{Refreshed, Replay, Session};
use crate::domain::token::{RefreshClaims, UnverifiedRefreshToken};
use crate::service::authenticate::AuthenticatedClient;
use crate::service::issue::{Claimant, Decided, Issued, Mint, NotIssued, seconds_until};
use crate::service::{Inner, Service, Unavailable};
use crate::token_store::Offer;
use serde_json::{Value, json};
use std::net::IpAddr;

#[derive(Debug)]
pub struct RefreshRequest {
    pub refresh_token: Secret<String>,
    pub wanted: Wanted,
    /// Where it came from.
    pub address: Option<IpAddr>,
}

#[derive(Debug, thiserror::Error)]
pub enum NotRefreshed {
    #[error("the client may not use this grant")]
    GrantNotAllowed,
    /// One answer for everything that a refresh token can be wrong in.
    #[error("the refresh token is not good: {0}")]
    Invalid(&'static str),
    #[error("an audience that the session does not have")]
    Audience,
    #[error(transparent)]
    NotIssued(#[from] NotIssued),
}

impl From<Unavailable> for NotRefreshed {
    fn from(error: Unavailable) -> Self {
        Self::NotIssued(error.into())
    }
}

impl Service {
    pub async fn refresh(
        &self,
        client: &AuthenticatedClient,
        request: &RefreshRequest,
    ) -> Result<Issued, NotRefreshed> {
        let inner = &self.0;
        let known = client.known();
        if !known.client.may_use(GrantType::RefreshToken) {
            return Err(NotRefreshed::GrantNotAllowed);
        }
        let now = inner.clock.now();
        let revision = inner.revision().map_err(Unavailable::from)?;
        let token = UnverifiedRefreshToken::parse(request.refresh_token.reveal());
        let token = token.ok_or(NotRefreshed::Invalid("malformed"))?;
        let claims = inner.keys.verify_refresh_token(&token, &known.client.id);
        let claims = claims.map_err(|_| NotRefreshed::Invalid("not this client's"))?;
        let wanted = &request.wanted;
        if wanted.scope.is_some() || wanted.details.is_some() || !wanted.audience.is_empty() {
            // A request that asks for too much must not cost the client a generation.
            let at = inner.log_position(&claims.session);
            let found = inner.tokens.find(&claims.session, at, now).await;
            let (mut session, _) =
                found.map_err(Unavailable::from)?.ok_or(NotRefreshed::Invalid("unknown"))?;
            inner.use_current_claims(&mut session).await?;
            inner.decide_refresh(client, &session, wanted, now).await?;
        }
        let (mut session, generation) = inner.step(client, &claims, request.address, now).await?;
        inner.recheck(&mut session, now).await?;
        let (decided, audience) = inner.decide_refresh(client, &session, wanted, now).await?;
        if wanted.scope.is_some() {
            // Whoever names scopes gets those and no others; for this token only.
            session.protocol_scope = wanted.protocol_scope.clone();
        }
        let mint = Mint {
            known,
            session: &session,
            grant: &decided.grant,
            audience: &audience,
            ancestors: &[],
            revision,
            now,
        };
        let mut issued = inner.mint(&mint).map_err(Unavailable::from)?;
        issued.id_token = inner.id_token(known, &session, None, now).map_err(Unavailable::from)?;
        issued.refresh_token =
            inner.refresh_token(&session, generation).map_err(Unavailable::from)?;
        Ok(issued)
    }
}

impl Inner {
    /// The state machine's answer, recorded; the session and the generation to hand out.
    async fn step(
        &self,
        client: &AuthenticatedClient,
        claims: &RefreshClaims,
        address: Option<IpAddr>,
        now: Time,
    ) -> Result<(Session, u32), NotRefreshed> {
        let client = &client.known().client;
        let grace = i64::from(client.lifetimes.refresh_grace).saturating_mul(1000);
        let (generation, refresh_tokens) = (claims.generation, client.refresh_tokens());
        let offer = Offer { generation, grace, refresh_tokens };
        let at = self.log_position(&claims.session);
        let found = self.tokens.refresh(&claims.session, &offer, at, now).await;
        let found = found.map_err(Unavailable::from)?;
        let (session, state, refreshed) = found.ok_or(NotRefreshed::Invalid("unknown session"))?;
        // The log decides, whatever the store says; the endings of this very moment included.
        if self.is_over(&session).await? {
            return Err(NotRefreshed::Invalid("revoked session"));
        }
        self.counters.count_refresh(&refreshed);
        match refreshed {
            Refreshed::Rotated(_) | Refreshed::Kept(_) | Refreshed::Repeated(_) => {
                Ok((session, state.generation))
            }
            Refreshed::Expired => Err(NotRefreshed::Invalid("expired session")),
            Refreshed::Replayed(replay) => {
                let changed_at = Time::from_timestamp_millis(state.changed_at).unwrap_or(now);
                let current_for = (now - changed_at).num_seconds().max(0);
                let ended = ended(&session, replayed(replay, current_for), address, now);
                self.end_replayed_session(&session, replay, ended).await?;
                Err(NotRefreshed::Invalid("replayed"))
            }
            Refreshed::Ahead { presented, current } => {
                let detail =
                    json!({ "presented": presented, "current": current, "address": address });
                tracing::error!(
                    session = %session.id, presented, current,
                    "a refresh token is ahead of the token store: was the store restored from an old copy?"
                );
                self.record(event(&session, EventKind::RefreshAhead, detail, now)).await?;
                Err(NotRefreshed::Invalid("ahead of the store"))
            }
        }
    }

    async fn end_replayed_session(
        &self,
        session: &Session,
        replay: Replay,
        ended: EndedSession,
    ) -> Result<(), Unavailable> {
        let Replay { presented, current, late } = replay;
        let detail = json!({
            "presented": presented, "current": current, "late": late, "address": ended.address,
        });
        let event = event(session, EventKind::RefreshReplayed, detail, ended.at);
        self.end_session(ended, session.audience.clone(), event).await
    }

    async fn decide_refresh(
        &self,
        client: &AuthenticatedClient,
        session: &Session,
        wanted: &Wanted,
        now: Time,
    ) -> Result<(Decided, Vec<String>), NotRefreshed> {
        let audience = if wanted.audience.is_empty() {
            session.audience.clone()
        } else if wanted.audience.iter().all(|wanted| session.audience.contains(wanted)) {
            wanted.audience.clone()
        } else {
            return Err(NotRefreshed::Audience);
        };
        if !wanted.protocol_scope.is_subset(&session.protocol_scope) {
            return Err(NotIssued::from(Denied::ScopeTooWide).into());
        }
        let subject = session.subject();
        let lives = seconds_until(session.ends_at, now).min(session.idle);
        if lives == 0 {
            return Err(NotRefreshed::Invalid("of a session in its last second"));
        }
        let claimant = Claimant {
            subject: &subject,
            tenant: &session.tenant,
            parent: None,
            session_lives: lives,
        };
        let whole = self.decide(client.known(), claimant, &session.request()).await?;
        if wanted.scope.is_none() && wanted.details.is_none() {
            return Ok((whole, audience));
        }
        // Narrower than the session, never wider (RFC 6749 §6), and for this one token only.
        let parent = crate::domain::grant::Parent {
            permissions: &whole.grant.permissions,
            scope: &whole.grant.scope,
            lives,
        };
        let claimant = Claimant { parent: Some(parent), ..claimant };
        let request: TokenRequest<'_> = wanted.request(true);
        Ok((self.decide(client.known(), claimant, &request).await?, audience))
    }
}

pub(super) fn event(session: &Session, kind: EventKind, detail: Value, now: Time) -> AuditEvent {
    AuditEvent {
        kind,
        at: now,
        tenant: Some(session.tenant.clone()),
        subject: Some(session.subject.clone()),
        client: Some(session.client.clone()),
        session: Some(session.id),
        detail,
    }
}

/// Why a replay ends the session. `current_for`: seconds.
const fn replayed(replay: Replay, current_for: i64) -> EndReason {
    let Replay { presented, current, .. } = replay;
    if current.abs_diff(presented) == 1 {
        EndReason::LateTooOften
    } else {
        EndReason::Replayed { presented, current, current_for }
    }
}

pub(super) fn ended(
    session: &Session,
    reason: EndReason,
    address: Option<IpAddr>,
    now: Time,
) -> EndedSession {
    EndedSession {
        session: session.id,
        subject: session.subject.clone(),
        tenant: session.tenant.clone(),
        client: session.client.clone(),
        at: now,
        reason,
        address,
        would_have_ended_at: session.ends_at,
    }
}
