//! Sessions for whoever administers them: what became of one, and which ones live.

pub use crate::database::sessions::{Place, Whose};

use crate::database::{self, Database, DatabaseError, DbConnection, log};
use crate::domain::Time;
use crate::domain::client::Lifetimes;
use crate::domain::explanation::{
    Ending, Explanation, InStore, RecordedEnd, SessionFacts, explain,
};
use crate::domain::ids::{Role, SessionId, TenantId};
use crate::domain::revocation::{RecordedRevocation, RevocationTarget};
use crate::domain::role_mapping::{self, RoleMapping};
use crate::domain::session::{RefreshState, RegisteredSession, Session};
use crate::service::{Service, Unavailable};
use chrono::TimeDelta;
use std::collections::HashMap;

/// So many entries of the register are looked at for one that is asked for, at most: whoever lists the live
/// sessions of somebody who ended nearly all of them gets short pages.
const LOOKED_AT: u32 = 4;

/// What the database knows of a session.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// None: it began with no sign-in, or before there was a register, or very long ago.
    pub registered: Option<RegisteredSession>,
    pub ended: Option<RecordedEnd>,
    revocations: Vec<RecordedRevocation>,
    roles: Vec<Role>,
}

/// A session and what became of it.
#[derive(Clone, Debug)]
pub struct ExplainedSession {
    pub id: SessionId,
    pub tenant: TenantId,
    pub registered: Option<RegisteredSession>,
    pub explanation: Explanation,
}

/// One that lives.
#[derive(Clone, Debug)]
pub struct LiveSession {
    pub registered: RegisteredSession,
    pub idle_ends_at: Time,
}

#[derive(Clone, Debug)]
pub struct LiveSessions {
    pub sessions: Vec<LiveSession>,
    /// Where to go on; None: that was all.
    pub next: Option<Place>,
}

impl Recorded {
    fn read(c: &mut DbConnection, id: &SessionId) -> Result<Self, DatabaseError> {
        let registered = database::sessions::find(c, id)?;
        let ended = database::sessions::find_end(c, id)?;
        let (mut revocations, mut roles) = (Vec::new(), Vec::new());
        if let (Some(registered), None) = (&registered, &ended) {
            revocations = log::list_about(c, registered)?;
            let recalls = |entry: &RecordedRevocation| {
                matches!(entry.target, RevocationTarget::TemplateVersionAndSessions(_))
            };
            if revocations.iter().any(recalls) {
                roles = roles_of(c, registered)?;
            }
        }
        Ok(Self { registered, ended, revocations, roles })
    }

    /// None: nothing is known of it.
    fn explain(
        self,
        id: SessionId,
        in_store: InStore,
        over_by_log: bool,
        code_until: Time,
        now: Time,
    ) -> Option<ExplainedSession> {
        let Self { registered, ended, revocations, roles } = self;
        let (tenant, explanation) = match (&registered, ended) {
            (Some(registered), ended) => {
                let facts = SessionFacts {
                    registered: registered.clone(),
                    ended,
                    in_store,
                    over_by_log,
                    revocations,
                    roles,
                    code_until,
                };
                (registered.tenant.clone(), explain(facts, now))
            }
            (None, Some(end)) => {
                let tenant = end.tenant.clone();
                let ending = Ending::Recorded(end);
                (tenant, Explanation::Ended(ending))
            }
            (None, None) => return None,
        };
        Some(ExplainedSession { id, tenant, registered, explanation })
    }
}

/// Of whoever a session is of, by today's rules and the claims of their last sign-in.
fn roles_of(c: &mut DbConnection, session: &RegisteredSession) -> Result<Vec<Role>, DatabaseError> {
    let Some((subject, _)) = database::subjects::find(c, &session.subject)? else {
        return Ok(Vec::new());
    };
    let Some(provider) = database::providers::find(c, &session.provider)? else {
        return Ok(Vec::new());
    };
    let rules = provider.mappings.iter();
    let rules = rules.map(|rule| RoleMapping::parse(rule, &provider.keep_claims));
    let rules: Vec<RoleMapping> =
        rules.collect::<Result<_, _>>().map_err(|_| DatabaseError::Corrupt("role mapping"))?;
    let mapped = role_mapping::map(&rules, &subject.claims, &session.tenant);
    Ok(mapped.roles.into_iter().collect())
}

/// What became of a session, for whoever has the database alone: whether one lives that nothing ended is for
/// the token store to say. None: nothing is known of it.
pub async fn explain_from_database(
    database: &Database,
    id: SessionId,
    now: Time,
) -> Result<Option<ExplainedSession>, DatabaseError> {
    let recorded = database.read(move |c| Recorded::read(c, &id)).await?;
    Ok(recorded.explain(id, InStore::NotAsked, false, now, now))
}

impl Service {
    /// What became of a session. None: nothing is known of it.
    pub async fn explain_session(
        &self,
        id: SessionId,
    ) -> Result<Option<ExplainedSession>, Unavailable> {
        let inner = &self.0;
        let now = inner.clock.now();
        // The log as it is now: an ending that was acknowledged anywhere is told.
        inner.catalog.catch_up().await?;
        let mut recorded = inner.database.read(move |c| Recorded::read(c, &id)).await?;
        let found = inner.tokens.find(&id, inner.log_position(&id), now).await?;
        let (mut in_store, mut over_by_log) =
            (InStore::Absent, inner.catalog.revocations().knows_end_of(&id));
        if let Some((session, state)) = found {
            let idle_ends_at = idle_end(&session, &state);
            in_store = InStore::Alive { idle_ends_at, ends_at: session.ends_at };
            over_by_log = inner.is_over(&session).await?;
            // An exchange makes sessions that are in no register.
            recorded.registered.get_or_insert_with(|| (&session).into());
        }
        let code_until = match &recorded.registered {
            None => now,
            Some(registered) => {
                let client = inner.catalog.client(&registered.client).await?;
                let code = client.map_or(Lifetimes::LONGEST_CODE, |it| it.client.lifetimes.code);
                registered.begun_at + TimeDelta::seconds(i64::from(code))
            }
        };
        Ok(recorded.explain(id, in_store, over_by_log, code_until, now))
    }

    /// Those that live, of a tenant or a person, the one that ends last first. The page may be short, or empty,
    /// and there may be more all the same.
    pub async fn list_sessions(
        &self,
        whose: &Whose,
        after: Option<Place>,
        limit: u32,
    ) -> Result<LiveSessions, Unavailable> {
        let inner = &self.0;
        let now = inner.clock.now();
        inner.revision()?;
        let (whose, look) = (whose.clone(), limit.saturating_mul(LOOKED_AT));
        let list =
            move |c: &mut DbConnection| database::sessions::list(c, &whose, after, look, now);
        let registered = inner.database.read(list).await?;
        let ids: Vec<SessionId> = registered.iter().map(|session| session.id).collect();
        let mut alive: HashMap<SessionId, Time> = HashMap::new();
        let found = inner.tokens.find_among(&ids, |id| inner.log_position(id), now).await?;
        for (session, state) in found {
            if !inner.is_over(&session).await? {
                alive.insert(session.id, idle_end(&session, &state));
            }
        }
        let all_read = u32::try_from(registered.len()).is_ok_and(|count| count < look);
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let (mut sessions, mut place) = (Vec::new(), None);
        let mut rest = registered.into_iter();
        while sessions.len() < most {
            let Some(registered) = rest.next() else { break };
            place = Some(Place { ends_at: registered.ends_at, session: registered.id });
            if let Some(idle_ends_at) = alive.get(&registered.id).copied() {
                sessions.push(LiveSession { registered, idle_ends_at });
            }
        }
        let more = !all_read || rest.next().is_some();
        Ok(LiveSessions { sessions, next: place.filter(|_| more) })
    }
}

fn idle_end(session: &Session, state: &RefreshState) -> Time {
    let idle = Time::from_timestamp_millis(state.idle_ends_at);
    idle.unwrap_or(session.ends_at).min(session.ends_at)
}
