//! A walk over all sessions that live, page by page, beside everything else that the store is asked. It reads
//! only, and nothing of the store's layout is there for its sake.

use crate::domain::Time;
use crate::domain::ids::SessionId;
use crate::domain::session::Session;
use crate::token_store::record::{Header, milliseconds, unpack};
use crate::token_store::redis::Stretch;
use crate::token_store::{LogPosition, Result, TokenStore};
use std::collections::HashSet;

/// Records of one page. Small, since whoever asks a store in the same moment waits for it.
const PAGE: usize = 256;

/// Sessions that begin while it is under way may be among what it finds, or not.
pub struct SessionWalk {
    store: TokenStore,
    estimate: u64,
    /// None: it has come to the end.
    place: Option<Place>,
}

/// Where to go on.
#[derive(Clone, Debug)]
enum Place {
    /// After this session, in the order of their ids.
    After(Option<SessionId>),
    Scan(Scan),
}

#[derive(Clone, Debug)]
struct Scan {
    at: Stretch,
    named: Named,
}

/// Redis names every key that is there all the while, and some of them twice. 16 bytes each.
#[derive(Clone, Debug, Default)]
struct Named(HashSet<SessionId>);

impl Named {
    fn not_before(&mut self, mut ids: Vec<SessionId>) -> Vec<SessionId> {
        ids.retain(|id| self.0.insert(*id));
        ids
    }
}

#[derive(Debug)]
pub struct SessionPage {
    /// Those that live. What the revocation log has ended since may be among them.
    pub sessions: Vec<Session>,
    /// How many the store named, expired ones included.
    pub named: u64,
}

impl TokenStore {
    /// Begins a walk. A store that went back in time is first told what it has missed; `at` is what the log
    /// says of a bucket.
    pub async fn walk(
        &self,
        at: impl Fn(&SessionId) -> LogPosition,
        now: Time,
    ) -> Result<SessionWalk> {
        for bucket in 0..=u8::MAX {
            let mut first = [0; 16];
            first[0] = bucket;
            let first = SessionId::new(first);
            self.is_alive(&first, at(&first), now).await?;
        }
        let (estimate, place) = match self {
            Self::Embedded(store) => (store.count().await?, Place::After(None)),
            Self::Redis(store) => {
                let scan = Scan { at: store.first_stretch().await?, named: Named::default() };
                (store.count().await?, Place::Scan(scan))
            }
        };
        Ok(SessionWalk { store: self.clone(), estimate, place: Some(place) })
    }
}

impl SessionWalk {
    /// About how many the store will name.
    pub const fn estimate(&self) -> u64 {
        self.estimate
    }

    /// None: that was all. A page can be empty.
    pub async fn next(&mut self, now: Time) -> Result<Option<SessionPage>> {
        let Some(place) = self.place.take() else { return Ok(None) };
        let (records, place) = match (&self.store, place) {
            (TokenStore::Embedded(store), Place::After(after)) => {
                let records = store.page(after.as_ref(), PAGE).await?;
                let last = records.last().map(|(id, _)| *id);
                (records, last.map(|last| Place::After(Some(last))))
            }
            (TokenStore::Redis(store), Place::Scan(Scan { at, mut named })) => {
                let (next, ids) = store.scan(at, PAGE).await?;
                let records = store.records(named.not_before(ids)).await?;
                (records, next.map(|at| Place::Scan(Scan { at, named })))
            }
            (TokenStore::Embedded(_), Place::Scan(_)) | (TokenStore::Redis(_), Place::After(_)) => {
                return Ok(None);
            }
        };
        self.place = place;
        let named = u64::try_from(records.len()).unwrap_or(u64::MAX);
        let now = milliseconds(now);
        let mut sessions = Vec::with_capacity(records.len());
        for (id, record) in records {
            let (header, _) = Header::read(&record)?;
            if now < header.dead_at() {
                sessions.push(unpack(&id, &record)?.0);
            }
        }
        Ok(Some(SessionPage { sessions, named }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_names_twice_counts_once() {
        let id = |byte| SessionId::new([byte; 16]);
        let mut named = Named::default();
        assert_eq!(named.not_before(vec![id(1), id(2), id(1)]), [id(1), id(2)]);
        assert_eq!(named.not_before(vec![id(2), id(3)]), [id(3)]);
    }
}
