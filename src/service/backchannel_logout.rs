//! A provider tells that somebody has signed out there (OpenID Connect Back-Channel Logout 1.0): what came
//! from that ends here.

use crate::database::logouts::LONGEST_SIGN_IN;
use crate::database::{self, DatabaseError, DbConnection, log};
use crate::domain::Time;
use crate::domain::audit::{AuditEvent, EndReason, EndedSession, EventKind};
use crate::domain::ids::{ProviderId, SessionId, SubjectId};
use crate::domain::provider::Provider;
use crate::domain::revocation::{NewRevocation, RevocationTarget};
use crate::domain::secret::Secret;
use crate::domain::session::RegisteredSession;
use crate::domain::tenant::Status;
use crate::service::ending::write_ending;
use crate::service::{Inner, Service, Unavailable};
use crate::upstream::{LEEWAY, Refusal, SignedOut, UpstreamError, VerifiedLogout};
use chrono::TimeDelta;
use serde_json::json;

/// Sessions that are ended one by one. Where one session at a provider has given rise to more, their people's
/// end as a whole: what a logout costs does not grow with what somebody does before it.
const ONE_BY_ONE: u32 = 100;

#[derive(Debug, thiserror::Error)]
pub enum NotLoggedOut {
    #[error("no provider of this name tells of logouts")]
    NoSuchProvider,
    #[error("the logout token is not good: {0}")]
    Refused(#[source] Refusal),
    #[error("the logout token was heeded before")]
    Replayed,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Service {
    /// Ok also where there is nothing to end. What is Ok is durable; anything else has changed nothing, and
    /// the same token may be presented again.
    pub async fn hear_of_logout(
        &self,
        provider: &str,
        logout_token: &Secret<String>,
    ) -> Result<(), NotLoggedOut> {
        let inner = &self.0;
        let now = inner.clock.now();
        let id: ProviderId = provider.parse().map_err(|_| NotLoggedOut::NoSuchProvider)?;
        let known = inner.catalog.provider(&id).await.map_err(Unavailable::from)?;
        let known = known.filter(|known| {
            known.provider.status == Status::Active && known.provider.backchannel_logout
        });
        let known = known.ok_or(NotLoggedOut::NoSuchProvider)?;
        let token = logout_token.reveal();
        let logout = inner.upstream.verify_logout_token(&known.provider, token, now).await;
        let logout = logout.map_err(|error| match error {
            UpstreamError::Refused(refusal) => NotLoggedOut::Refused(refusal),
            other => Unavailable::from(other).into(),
        })?;
        inner.end_signed_out(&known.provider, logout, now).await
    }
}

impl Inner {
    /// The token counts as heeded in the transaction that ends what it names: neither is without the other.
    async fn end_signed_out(
        &self,
        provider: &Provider,
        logout: VerifiedLogout,
        now: Time,
    ) -> Result<(), NotLoggedOut> {
        let (until, provider) = (now + remembered(provider), provider.id.clone());
        let write = self.database.write(move |c| {
            if !database::logouts::heed(c, &provider, &logout.id, logout.expires_at)? {
                return Ok(Err(NotLoggedOut::Replayed));
            }
            write_logout(c, &provider, &logout.signed_out, until, now).map(Ok)
        });
        let ended = write.await.map_err(Unavailable::from)??;
        // It stands, and the token is used up: the provider need not tell again. A node that cannot read the log
        // calls nothing active before long.
        if let Err(error) = self.catalog.catch_up().await {
            tracing::warn!(%error, "a logout is recorded, and this node has not read it yet");
        }
        for (session, position) in ended {
            self.delete_ended(&session, position).await;
        }
        Ok(())
    }
}

/// For so long nothing begins that came from a session that is over there.
fn remembered(provider: &Provider) -> TimeDelta {
    // What a provider has said before may be brought for so long.
    let brought = provider.exchange.as_ref().map(|rules| TimeDelta::seconds(rules.max_age.into()));
    brought.map_or(LONGEST_SIGN_IN, |brought| LONGEST_SIGN_IN.max(brought + LEEWAY))
}

/// `until`: so long the session there counts as over.
///
/// The sessions that were ended by themselves, with the positions of their entries.
fn write_logout(
    c: &mut DbConnection,
    provider: &ProviderId,
    signed_out: &SignedOut,
    until: Time,
    now: Time,
) -> Result<Vec<(SessionId, u64)>, DatabaseError> {
    let (session, subject) = match signed_out {
        SignedOut::Person { subject } => {
            end_person(c, SubjectId::person(provider, subject), now)?;
            return Ok(Vec::new());
        }
        SignedOut::Session { session, subject } => (session, subject),
    };
    let subject = subject.as_ref().map(|subject| SubjectId::person(provider, subject));
    database::logouts::note_end(c, provider, session, until)?;
    let came_from_it = database::sessions::list_of_upstream(
        c,
        (provider, session),
        subject.as_ref(),
        now,
        ONE_BY_ONE.saturating_add(1),
    )?;
    if came_from_it.len() > usize::try_from(ONE_BY_ONE).unwrap_or(usize::MAX) {
        for person in database::sessions::people_of_upstream(c, (provider, session), now)? {
            if subject.as_ref().is_none_or(|subject| *subject == person) {
                end_person(c, person, now)?;
            }
        }
        return Ok(Vec::new());
    }
    came_from_it.into_iter().map(|session| end_one(c, session, now)).collect()
}

fn end_one(
    c: &mut DbConnection,
    session: RegisteredSession,
    now: Time,
) -> Result<(SessionId, u64), DatabaseError> {
    let id = session.id;
    let detail = json!({ "provider": session.provider.as_str() });
    let event = AuditEvent::of(&session, EventKind::SessionEnded, detail, now);
    let ended = EndedSession::of(session, EndReason::SignedOutAtProvider, None, now);
    let position = write_ending(c, &ended, Vec::new())?;
    database::audit::insert(c, &event)?;
    Ok((id, position))
}

/// Everything of theirs that began before.
fn end_person(c: &mut DbConnection, subject: SubjectId, now: Time) -> Result<(), DatabaseError> {
    let target = RevocationTarget::Subject(subject.clone());
    let revocation = NewRevocation {
        expires_at: target.outlived_at(now),
        target,
        tenant: None,
        audience: Vec::new(),
        by: None,
        reason: EndReason::SignedOutAtProvider.to_string(),
    };
    log::append_revocation(c, &revocation, now)?;
    let event = AuditEvent {
        kind: EventKind::SessionEnded,
        at: now,
        tenant: None,
        subject: Some(subject),
        client: None,
        session: None,
        detail: json!({ "sessions": "all of this person" }),
    };
    database::audit::insert(c, &event)
}
