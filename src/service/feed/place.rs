//! So many streams at once, and so many of one client, so that none takes the connections of all.

use crate::domain::ids::ClientId;
use crate::service::feed::FeedLimits;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Clone)]
pub(super) struct Places {
    limits: FeedLimits,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    in_all: usize,
    by_client: HashMap<ClientId, usize>,
}

/// One stream's. It is free when this is dropped.
pub(super) struct Place {
    client: ClientId,
    places: Places,
}

impl Places {
    pub(super) fn new(limits: FeedLimits) -> Self {
        Self { limits, taken: Arc::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn taken_in_all(&self) -> usize {
        self.taken().in_all
    }

    /// None: there is none left.
    pub(super) fn take(&self, client: &ClientId) -> Option<Place> {
        let mut taken = self.taken();
        let own = taken.by_client.get(client).copied().unwrap_or(0);
        if taken.in_all >= self.limits.streams || own >= self.limits.streams_per_client {
            return None;
        }
        taken.in_all = taken.in_all.saturating_add(1);
        taken.by_client.insert(client.clone(), own.saturating_add(1));
        Some(Place { client: client.clone(), places: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.in_all = taken.in_all.saturating_sub(1);
        let own = taken.by_client.get(&self.client).map_or(0, |own| own.saturating_sub(1));
        if own == 0 {
            taken.by_client.remove(&self.client);
        } else {
            taken.by_client.insert(self.client.clone(), own);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_for_each_and_for_all_and_come_back() {
        let places = Places::new(FeedLimits { streams: 3, streams_per_client: 2 });
        let [a, b] = ["a", "b"].map(|id| id.parse().unwrap());
        let first = places.take(&a).unwrap();
        let second = places.take(&a).unwrap();
        assert!(places.take(&a).is_none(), "its own are taken");
        let third = places.take(&b).unwrap();
        assert!(places.take(&b).is_none(), "all are taken");
        drop(first);
        assert!(places.take(&a).is_some());
        drop((second, third));
        assert!(places.taken().by_client.is_empty());
        assert_eq!(places.taken().in_all, 0);
    }
}
