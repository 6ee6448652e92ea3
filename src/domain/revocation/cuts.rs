//! Entries on everything that was issued before a moment. However many there are, one look says whether any of them
//! hits: of two of which one hits whatever the other does, one is kept.

use super::Entry;
use crate::domain::Time;
use crate::domain::ids::TenantId;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Unbounded};

/// By their moments; the later the moment, the lower the position.
type Stairs = BTreeMap<Time, Entry>;

#[derive(Clone, Debug, Default)]
pub(super) struct Cuts {
    everywhere: Stairs,
    tenants: HashMap<TenantId, Stairs>,
}

impl Cuts {
    pub(super) fn note(&mut self, moment: Time, within: Option<&TenantId>, mut entry: Entry) {
        let stairs = match within {
            None => &mut self.everywhere,
            Some(tenant) => self.tenants.entry(tenant.clone()).or_default(),
        };
        if let Some((_, above)) = stairs.range_mut(moment..).next()
            && above.position >= entry.position
        {
            above.expires_at = above.expires_at.max(entry.expires_at);
            return;
        }
        while let Some((&covered, below)) = stairs.range(..=moment).next_back()
            && below.position <= entry.position
        {
            entry.expires_at = entry.expires_at.max(below.expires_at);
            stairs.remove(&covered);
        }
        stairs.insert(moment, entry);
    }

    /// Whether what was issued then, where the log was applied up to `revision`, is over.
    pub(super) fn hit(&self, issued_at: Time, revision: u64, tenant: &TenantId) -> bool {
        let hits = |stairs: &Stairs| {
            let first = stairs.range((Excluded(issued_at), Unbounded)).next();
            first.is_some_and(|(_, entry)| revision < entry.position)
        };
        hits(&self.everywhere) || self.tenants.get(tenant).is_some_and(hits)
    }

    pub(super) fn len(&self) -> usize {
        let of_tenants: usize = self.tenants.values().map(BTreeMap::len).sum();
        self.everywhere.len().saturating_add(of_tenants)
    }

    pub(super) fn forget(&mut self, now: Time) {
        self.everywhere.retain(|_, entry| now < entry.expires_at);
        self.tenants.retain(|_, stairs| {
            stairs.retain(|_, entry| now < entry.expires_at);
            !stairs.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Time {
        Time::from_timestamp(i64::try_from(seconds).unwrap(), 0).unwrap()
    }

    proptest! {
        #[test]
        fn it_hits_what_one_of_all_entries_hits(
            entries in prop::collection::vec((0_u64..8, 0_u64..12, 0_usize..3), 0..12),
            issued in 0_u64..8,
            revision in 0_u64..12,
        ) {
            let tenants: [Option<TenantId>; 3] =
                [None, Some("acme".parse().unwrap()), Some("globex".parse().unwrap())];
            let mut cuts = Cuts::default();
            for (moment, position, within) in &entries {
                let entry = Entry { position: *position, expires_at: at(100) };
                cuts.note(at(*moment), tenants[*within].as_ref(), entry);
            }
            let expected = entries.iter().any(|(moment, position, within)| {
                *within < 2 && issued < *moment && revision < *position
            });
            prop_assert_eq!(cuts.hit(at(issued), revision, tenants[1].as_ref().unwrap()), expected);
            cuts.forget(at(100));
            prop_assert_eq!(cuts.len(), 0);
        }
    }

    #[test]
    fn those_that_later_ones_cover_are_not_held() {
        let mut cuts = Cuts::default();
        for number in 1..=1000 {
            let entry = Entry { position: number, expires_at: at(5000) };
            cuts.note(at(number), None, entry);
        }
        assert_eq!(cuts.len(), 1);
        assert!(cuts.hit(at(999), 999, &"acme".parse().unwrap()));
        assert!(!cuts.hit(at(1000), 0, &"acme".parse().unwrap()));
    }
}
