//! The last entries of the revocation log, ready to be sent: whoever is up to date reads no database.

use crate::domain::Time;
use crate::domain::feed::FeedEntry;
use crate::domain::revocation::Revocation;
use std::collections::VecDeque;
use std::sync::Arc;

/// Entries that are held at most.
const CAPACITY: usize = 4096;

/// Everything of the log after one position and up to another that can still hit something.
#[derive(Debug, Default)]
pub(super) struct Recent {
    after: u64,
    upto: u64,
    entries: VecDeque<Arc<FeedEntry>>,
}

/// What came after a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// In the order of the log.
    pub entries: Vec<Arc<FeedEntry>>,
    /// They are everything up to here.
    pub upto: u64,
}

impl Recent {
    /// Entries come in the order of the log, and `upto` is where it was read to.
    pub(super) fn append(&mut self, revocations: &[Revocation], upto: u64) {
        for revocation in revocations {
            if self.entries.len() >= CAPACITY
                && let Some(oldest) = self.entries.pop_front()
            {
                self.after = oldest.position;
            }
            self.entries.push_back(Arc::new(FeedEntry::of(revocation)));
        }
        self.upto = self.upto.max(upto);
    }

    /// So many entries at most. None: it is further back than what is held.
    pub(super) fn after(&self, position: u64, limit: usize) -> Option<News> {
        if position < self.after {
            return None;
        }
        let known = self.entries.partition_point(|entry| entry.position <= position);
        let mut news = self.entries.iter().skip(known);
        let entries: Vec<_> = news.by_ref().take(limit).cloned().collect();
        let last = entries.last().map_or(self.upto, |entry| entry.position);
        let upto = if news.next().is_some() { last } else { self.upto };
        Some(News { entries, upto })
    }

    pub(super) fn forget(&mut self, now: Time) {
        self.entries.retain(|entry| now < entry.expires_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::revocation::RevocationTarget;

    fn entries(positions: std::ops::RangeInclusive<u64>) -> Vec<Revocation> {
        let entry = |position: u64| Revocation {
            position,
            target: RevocationTarget::ApiKey(format!("k_{position}")),
            tenant: None,
            audience: Vec::new(),
            at: Time::default(),
            expires_at: Time::from_timestamp(i64::try_from(position).unwrap(), 0).unwrap(),
        };
        positions.map(entry).collect()
    }
    fn positions(news: &News) -> Vec<u64> {
        news.entries.iter().map(|entry| entry.position).collect()
    }

    #[test]
    fn what_came_after_a_position_is_told_in_portions_and_in_order() {
        let mut recent = Recent::default();
        recent.append(&entries(1..=5), 7);
        let news = recent.after(0, 2).unwrap();
        assert_eq!((positions(&news), news.upto), (vec![1, 2], 2));
        let news = recent.after(2, 3).unwrap();
        assert_eq!((positions(&news), news.upto), (vec![3, 4, 5], 7), "nothing is alive after 5");
        let news = recent.after(7, 3).unwrap();
        assert_eq!((positions(&news), news.upto), (vec![], 7));
    }

    #[test]
    fn it_is_bounded_and_says_when_it_does_not_know() {
        let mut recent = Recent::default();
        let last = u64::try_from(CAPACITY).unwrap() + 10;
        recent.append(&entries(1..=last), last);
        assert_eq!(recent.entries.len(), CAPACITY);
        assert_eq!(recent.after(9, 1), None);
        assert_eq!(positions(&recent.after(10, 1).unwrap()), [11]);
    }

    #[test]
    fn what_can_hit_nothing_any_more_is_forgotten_and_is_not_missed() {
        let mut recent = Recent::default();
        recent.append(&entries(1..=5), 5);
        recent.forget(Time::from_timestamp(3, 0).unwrap());
        let news = recent.after(0, 10).unwrap();
        assert_eq!((positions(&news), news.upto), (vec![4, 5], 5));
    }
}
