//! What the provider says by now about somebody whose session goes on: asked before a refresh, where its
//! entry says so.

use crate::catalog::KnownProvider;
use crate::database::upstream_tokens::UpstreamToken;
use crate::database::{self, DatabaseError};
use crate::domain::Time;
use crate::domain::audit::{EndReason, EventKind};
use crate::domain::ids::{SessionId, SubjectId, TenantId};
use crate::domain::recheck::Next;
use crate::domain::secret::Secret;
use crate::domain::session::Session;
use crate::domain::subject::{Subject, VerifiedIdentity};
use crate::service::refresh::{NotRefreshed, ended, event};
use crate::service::{Inner, Shared, Unavailable};
use crate::signing::{KeyError, SealingKey};
use crate::upstream::{Outage, Refusal, UpstreamError, Vouched};
use chrono::TimeDelta;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// For one question, with all requests that it takes.
const QUESTION: Duration = Duration::from_secs(25);
/// So long nobody else asks about the session: longer than a question takes.
const TURN: TimeDelta = TimeDelta::seconds(30);
/// So long nobody asks after a question that came to nothing.
const PAUSE: TimeDelta = TimeDelta::seconds(10);

/// What was sealed for one session opens for no other.
fn purpose(session: &SessionId) -> String {
    format!("upstream token of {session}")
}

/// A provider's refresh token as it is stored.
pub(super) fn seal(
    sealing: &SealingKey,
    session: &SessionId,
    token: &Secret<String>,
) -> Result<String, KeyError> {
    sealing.seal(&purpose(session), token.reveal().as_bytes())
}

/// A question about one session, with all that is needed to make something of the answer.
struct Question {
    known: Arc<KnownProvider>,
    session: SessionId,
    subject: SubjectId,
    tenant: TenantId,
    sealed: String,
    asking_until: Time,
}

/// What came of a question.
enum Answer {
    /// These claims are to be kept.
    Vouched(Map<String, Value>),
    Over(EndReason),
    Silent(UpstreamError),
    /// Nobody was asked, or somebody else has asked at the same moment.
    NotAsked,
}

/// What an answer means for a session.
enum Judged {
    Same(Subject),
    Over(EndReason),
    Silent(UpstreamError),
}

impl Inner {
    /// Gives the session the claims that its provider last vouched for, having asked it where that is due.
    /// A session for which it no longer vouches ends.
    pub(super) async fn recheck(
        &self,
        session: &mut Session,
        now: Time,
    ) -> Result<(), NotRefreshed> {
        let known = self.catalog.provider(&session.provider).await.map_err(Unavailable::from)?;
        // The decision refuses a provider that is gone.
        let Some(known) = known else { return Ok(()) };
        let Some(rules) = known.provider.recheck else { return Ok(()) };
        let token = self.upstream_token(session).await?;
        let standing = token.standing();
        let last = || UpstreamError::Unreachable(Outage::TimedOut);
        let answer = match (rules.next(&standing, now), token.sealed) {
            (Next::GoOn, _) => Answer::NotAsked,
            (Next::Wait, _) => return Err(Unavailable::from(last()).into()),
            (Next::End, _) | (Next::Ask, None) => Answer::Over(EndReason::NotRechecked),
            (Next::Ask, Some(sealed)) => {
                let question = Question {
                    known,
                    session: session.id,
                    subject: session.subject.clone(),
                    tenant: session.tenant.clone(),
                    sealed,
                    asking_until: standing.asking_until,
                };
                // The provider may give a new token for the one that it is asked with. Whoever goes away
                // meanwhile must not take that along.
                let asked = tokio::spawn(Arc::clone(&self.shared).ask(question, now)).await;
                asked.map_err(DatabaseError::from).map_err(Unavailable::from)??
            }
        };
        if let Some(claims) = token.claims {
            session.claims = claims;
        }
        match answer {
            Answer::Vouched(claims) => {
                session.claims = claims;
                Ok(())
            }
            Answer::Over(reason) => {
                let detail = json!({ "provider": session.provider.as_str() });
                let event = event(session, EventKind::SessionEnded, detail, now);
                let ended = ended(session, reason, None, now);
                self.end_session(ended, session.audience.clone(), event).await?;
                Err(NotRefreshed::Invalid("the provider no longer vouches for the session"))
            }
            _ if rules.tolerates(&standing, now) => Ok(()),
            Answer::Silent(error) => Err(Unavailable::from(error).into()),
            Answer::NotAsked => Err(Unavailable::from(last()).into()),
        }
    }

    /// The claims that the session's provider last vouched for, where that is asked again.
    pub(super) async fn use_current_claims(
        &self,
        session: &mut Session,
    ) -> Result<(), Unavailable> {
        let known = self.catalog.provider(&session.provider).await?;
        if known.is_some_and(|known| known.provider.recheck.is_some())
            && let Some(claims) = self.upstream_token(session).await?.claims
        {
            session.claims = claims;
        }
        Ok(())
    }

    async fn upstream_token(&self, session: &Session) -> Result<UpstreamToken, Unavailable> {
        let id = session.id;
        let found = self.database.read(move |c| database::upstream_tokens::find(c, &id)).await?;
        Ok(found.unwrap_or_else(|| UpstreamToken::absent(session.begun_at)))
    }
}

impl Shared {
    /// One question, by one node at a time.
    async fn ask(self: Arc<Self>, question: Question, now: Time) -> Result<Answer, Unavailable> {
        let (id, seen, turn) = (question.session, question.asking_until, now + TURN);
        let take =
            self.database.write(move |c| database::upstream_tokens::take_turn(c, &id, seen, turn));
        if !take.await? {
            return Ok(Answer::NotAsked);
        }
        let (judged, refresh_token) = match self.vouched(&question, now).await? {
            Ok(Vouched { identity, refresh_token }) => (judge(&question, &identity), refresh_token),
            Err(UpstreamError::Refused(Refusal::Grant)) => {
                (Judged::Over(EndReason::NoLongerVouchedFor), None)
            }
            Err(error) => (Judged::Silent(error), None),
        };
        match judged {
            Judged::Same(subject) => {
                let claims = subject.claims.clone();
                // Without a new one, the old one stays good (RFC 6749 §6).
                let sealed = match refresh_token {
                    Some(token) => seal(&self.sealing, &id, &token)?,
                    None => question.sealed,
                };
                let write = self.database.write(move |c| {
                    let claims = &subject.claims;
                    database::upstream_tokens::put_answer(c, &id, turn, &sealed, claims, now)?;
                    database::subjects::put_claims(c, &subject.id, claims)
                });
                write.await?;
                Ok(Answer::Vouched(claims))
            }
            Judged::Over(reason) => Ok(Answer::Over(reason)),
            Judged::Silent(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let (provider, cause) = (&question.known.provider.id, cause.unwrap_or_default());
                tracing::warn!(
                    %provider, session = %id, %error, cause,
                    "a provider was asked again about somebody in vain"
                );
                let pause = now + PAUSE;
                let pause = self
                    .database
                    .write(move |c| database::upstream_tokens::take_turn(c, &id, turn, pause));
                pause.await?;
                Ok(Answer::Silent(error))
            }
        }
    }

    /// Whom the provider vouches for.
    async fn vouched(
        &self,
        question: &Question,
        now: Time,
    ) -> Result<Result<Vouched, UpstreamError>, Unavailable> {
        let provider = &question.known.provider;
        let bytes = self.sealing.open(&purpose(&question.session), &question.sealed)?;
        let token = String::from_utf8(bytes.reveal().clone()).map_err(|_| KeyError::Malformed)?;
        let token = Secret::new(token);
        let secret = self.open_client_secret(provider)?;
        let asked = self.upstream.ask_again(provider, secret.as_ref(), &token, now);
        let asked = tokio::time::timeout(QUESTION, asked).await;
        Ok(asked.unwrap_or_else(|_| Err(Outage::TimedOut.into())))
    }
}

/// SECURITY: the session goes on for the person and the tenant that it began for, and for nobody else.
fn judge(question: &Question, identity: &VerifiedIdentity) -> Judged {
    let provider = &question.known.provider;
    if SubjectId::person(&provider.id, &identity.upstream_subject) != question.subject {
        return Judged::Over(EndReason::NoLongerVouchedFor);
    }
    if provider.resolve_tenant(identity).as_ref() != Ok(&question.tenant) {
        return Judged::Over(EndReason::LeftTenant);
    }
    match Subject::from_identity(identity, &provider.keep_claims) {
        Ok(subject) => Judged::Same(subject),
        // Nor could they sign in.
        Err(_) => Judged::Over(EndReason::ClaimsTooLarge),
    }
}
