//! The instances of resource servers that read the revocation feed, and how far behind they are.

use crate::domain::Time;
use crate::domain::ids::{ClientId, ReaderName};
use chrono::TimeDelta;

/// What an instance has said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderReport {
    pub client: ClientId,
    pub reader: ReaderName,
    /// Everything up to here it has applied.
    pub position: u64,
    pub reported_at: Time,
}

/// What an instance lacks, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Entries of the log after its position. It may not be concerned by all of them.
    pub entries: u64,
    /// Since the first of them was written.
    pub seconds: i64,
}

impl ReaderReport {
    /// One that is silent for so long is taken to be gone: another that took its place has another name.
    pub const SILENT: TimeDelta = TimeDelta::minutes(10);
    /// For so long it is kept what it said last.
    pub const KEPT: TimeDelta = TimeDelta::days(7);

    /// `missed`: when the first entry after its position was written, if there is one still.
    pub fn lag(&self, log: u64, missed: Option<Time>, now: Time) -> Lag {
        let entries = log.saturating_sub(self.position);
        if entries == 0 {
            return Lag::default();
        }
        // None of them is left; it lacks them since its last word at most.
        let since = missed.unwrap_or(self.reported_at);
        Lag { entries, seconds: (now - since).num_seconds().max(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn a_reader_lags_by_what_it_lacks_and_since_that_was_written() {
        let report = ReaderReport {
            client: "api".parse().unwrap(),
            reader: "api-1".parse().unwrap(),
            position: 118,
            reported_at: at(100),
        };
        assert_eq!(report.lag(118, None, at(500)), Lag::default());
        assert_eq!(report.lag(117, None, at(500)), Lag::default(), "another node knows more");
        assert_eq!(report.lag(121, Some(at(105)), at(107)), Lag { entries: 3, seconds: 2 });
        assert_eq!(report.lag(121, Some(at(109)), at(107)), Lag { entries: 3, seconds: 0 });
        assert_eq!(report.lag(121, None, at(107)), Lag { entries: 3, seconds: 7 });
    }
}
