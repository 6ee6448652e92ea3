//! Whether the provider has to be asked again about somebody whose session goes on.
//!
//! One rule holds whatever happens to the provider: nothing is refreshed on an answer that is older than
//! `at_most`.

use crate::domain::Time;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

/// What a provider's entry says of it, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recheck {
    /// A refresh asks when the last answer is this old.
    pub every: u32,
    /// Without an answer newer than this, there is no refresh.
    pub at_most: u32,
}

/// What is known of a session's provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// When the provider last vouched for the person.
    pub vouched_at: Time,
    /// Whether the provider gave something to ask with.
    pub can_ask: bool,
    /// Until then somebody else asks, or has asked in vain.
    pub asking_until: Time,
}

/// What a refresh has to do first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    GoOn,
    Ask,
    /// Somebody else has asked, and the last answer is too old to do without theirs.
    Wait,
    /// Nobody will ever know again.
    End,
}

impl Recheck {
    pub const fn default_at_most(every: u32) -> u32 {
        if every > 3600 { every } else { 3600 }
    }

    /// Whether a session may go on although its provider does not answer.
    pub fn tolerates(&self, standing: &Standing, now: Time) -> bool {
        now - standing.vouched_at < TimeDelta::seconds(self.at_most.into())
    }

    pub fn next(&self, standing: &Standing, now: Time) -> Next {
        if now - standing.vouched_at < TimeDelta::seconds(self.every.into()) {
            return Next::GoOn;
        }
        let tolerated = self.tolerates(standing, now);
        match (standing.can_ask, now < standing.asking_until) {
            (true, false) => Next::Ask,
            _ if tolerated => Next::GoOn,
            (true, true) => Next::Wait,
            (false, _) => Next::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Recheck = Recheck { every: 300, at_most: 3600 };

    fn at(seconds: i64) -> Time {
        Time::from_timestamp(seconds, 0).unwrap()
    }

    fn next(can_ask: bool, asking_until: i64, now: i64) -> Next {
        let standing = Standing { vouched_at: at(0), can_ask, asking_until: at(asking_until) };
        RULES.next(&standing, at(now))
    }

    #[test]
    fn it_is_asked_when_the_answer_is_old_enough_by_one_at_a_time() {
        assert_eq!(next(true, 0, 299), Next::GoOn);
        assert_eq!(next(true, 0, 300), Next::Ask);
        assert_eq!(next(true, 330, 329), Next::GoOn);
        assert_eq!(next(true, 330, 330), Next::Ask);
    }

    #[test]
    fn an_answer_that_is_too_old_is_good_for_nothing() {
        assert_eq!(next(true, 3630, 3599), Next::GoOn);
        assert_eq!(next(true, 3630, 3600), Next::Wait);
        assert_eq!(next(false, 0, 3599), Next::GoOn);
        assert_eq!(next(false, 0, 3600), Next::End);
    }

    #[test]
    fn a_clock_that_is_behind_asks_later_and_ends_nothing() {
        let standing = Standing { vouched_at: at(100), can_ask: false, asking_until: at(0) };
        assert_eq!(RULES.next(&standing, at(95)), Next::GoOn);
    }
}
