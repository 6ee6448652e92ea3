//! A session, and the state machine of its refresh tokens.
//!
//! Dana's browser holds generation 4 and sends it. The answer carries generation 5 and is lost on the
//! way. Within the grace window she sends 4 again, or a second tab does, and everybody is handed 5.
//! After the window, 4 is *late*: she is handed 5 still, but that is counted. A thief who copied 4 does
//! the same as she does, and as both go on, every generation is presented late; the third in a row
//! ends the session. Whoever presents 3 by then holds something that no honest client would send.
//!
//! An answer that is late, or comes in the second half of the window, opens the window for 4 anew: a
//! second tab that woke up with her, and whose request arrives a moment after she has gone on to 6, has
//! done nothing wrong.

#[cfg(test)]
mod law_tests;

use crate::domain::Time;
use crate::domain::client::RefreshTokens;
use crate::domain::ids::{ClientId, ProviderId, SessionId, SubjectId, TenantId};
use crate::domain::scope::ScopeSet;
use serde_json::{Map, Value};

/// So many superseded generations are remembered; when all are inside the window, none is added.
pub const REMEMBERED_GENERATIONS: usize = 16;
/// The session ends at this many late generations in a row.
pub const LATE_LIMIT: u8 = 3;

/// What never changes between the beginning and the end of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    pub id: SessionId,
    pub subject: SubjectId,
    pub tenant: TenantId,
    pub client: ClientId,
    pub provider: ProviderId,
    /// The claims that the provider's entry says to keep.
    pub claims: Map<String, Value>,
    /// What the client asked for; None: every scope that the roles give.
    pub requested_scope: Option<ScopeSet>,
    /// The protocol scopes that were asked for (`openid`, `profile`, `email`).
    pub protocol_scope: ScopeSet,
    /// What the client asked for, as it was written; None: every permission that the roles give.
    pub requested_details: Option<Value>,
    pub audience: Vec<String>,
    /// The key that its refresh tokens are made with; None: it has none.
    pub refresh_key: Option<u32>,
    pub begun_at: Time,
    /// When the person authenticated at the provider.
    pub authenticated_at: Option<Time>,
    /// Position of the revocation log that had been applied when it began.
    pub begun: u64,
    /// Ends then, whatever happens.
    pub ends_at: Time,
    /// Seconds without a refresh after which it ends.
    pub idle: u32,
}

/// What the register keeps of a session that began with a sign-in, until long after its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredSession {
    pub id: SessionId,
    pub subject: SubjectId,
    pub tenant: TenantId,
    pub client: ClientId,
    pub provider: ProviderId,
    /// The session at the provider that it came from, as the provider names it.
    pub upstream_session: Option<String>,
    /// When the person signed in; the session itself begins when its code is redeemed.
    pub begun_at: Time,
    /// Position of the revocation log that had been applied then.
    pub begun: u64,
    /// Nothing of it lives then, whenever its code is redeemed.
    pub ends_at: Time,
}

impl From<&Session> for RegisteredSession {
    fn from(session: &Session) -> Self {
        Self {
            id: session.id,
            subject: session.subject.clone(),
            tenant: session.tenant.clone(),
            client: session.client.clone(),
            provider: session.provider.clone(),
            upstream_session: None,
            begun_at: session.begun_at,
            begun: session.begun,
            ends_at: session.ends_at,
        }
    }
}

/// What changes at each refresh. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshState {
    pub generation: u32,
    /// Of the last change. Never goes back.
    pub changed_at: i64,
    /// The session ends then unless it is refreshed before.
    pub idle_ends_at: i64,
    /// Since when the windows of `generation - 1`, `generation - 2`, … are open: those that may still be.
    pub superseded: Vec<i64>,
    /// Late generations in a row.
    pub late: u8,
    /// Whether the generation before the current one was already presented late.
    pub late_counted: bool,
}

/// What a client presents and what holds for it now.
#[derive(Clone, Copy, Debug)]
pub struct Presented {
    pub generation: u32,
    /// Milliseconds since 1970.
    pub now: i64,
    /// Milliseconds.
    pub grace: i64,
    /// Milliseconds that the session may stay idle from now on.
    pub idle: i64,
    /// The session's end, in milliseconds since 1970.
    pub ends_at: i64,
    /// What becomes of the current generation.
    pub refresh_tokens: RefreshTokens,
    /// The token store went back in time after the record was last changed: the token, which only we
    /// can have made, is the better witness.
    pub store_went_back: bool,
}

impl Presented {
    fn idle_ends_at(&self, now: i64) -> i64 {
        now.saturating_add(self.idle).min(self.ends_at)
    }
}

/// The decision on a presented refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// Hand out the (new) current generation; `state` is to be stored.
    Rotated(RefreshState),
    /// Hand out the current generation, which stays; the session is no longer idle.
    Kept(RefreshState),
    /// Hand out the current generation again. One that opens the window anew changes the state.
    Repeated(Option<RefreshState>),
    /// The session is over, and nothing changes.
    Expired,
    /// End the session: somebody holds what they should not.
    Replayed(Replay),
    /// Never handed out as far as the store knows. Refuse, end nothing, raise an alarm.
    Ahead { presented: u32, current: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay {
    pub presented: u32,
    pub current: u32,
    pub late: u8,
}

impl RefreshState {
    /// The first generation of a session that begins now.
    pub fn begin(now: i64, idle: i64, ends_at: i64) -> Self {
        Self {
            generation: 1,
            changed_at: now,
            idle_ends_at: now.saturating_add(idle).min(ends_at),
            superseded: Vec::new(),
            late: 0,
            late_counted: false,
        }
    }

    pub fn is_alive(&self, now: i64, ends_at: i64) -> bool {
        now < self.idle_ends_at && now < ends_at
    }

    /// The one decision on a refresh. `token_store/refresh.lua` makes the same one; a test holds both
    /// to the same cases.
    pub fn refresh(&self, presented: &Presented) -> Refreshed {
        // Time inside a record never goes back, whatever a node's clock says.
        let now = presented.now.max(self.changed_at);
        if !self.is_alive(now, presented.ends_at) {
            return Refreshed::Expired;
        }
        if presented.generation > self.generation {
            if presented.store_went_back {
                return self.rotate(presented.generation, &[], now, presented);
            }
            let (presented, current) = (presented.generation, self.generation);
            return Refreshed::Ahead { presented, current };
        }
        let age = self.generation.abs_diff(presented.generation);
        let in_window = |superseded_at: &i64| now.saturating_sub(*superseded_at) < presented.grace;
        if age == 0 {
            if presented.refresh_tokens == RefreshTokens::Stable {
                let idle_ends_at = presented.idle_ends_at(now);
                return Refreshed::Kept(Self { changed_at: now, idle_ends_at, ..self.clone() });
            }
            let kept: Vec<i64> = self.superseded.iter().copied().filter(in_window).collect();
            if kept.len() >= REMEMBERED_GENERATIONS {
                return Refreshed::Repeated(None);
            }
            return self.rotate(self.generation, &kept, now, presented);
        }
        let index = usize::try_from(age.saturating_sub(1)).unwrap_or(usize::MAX);
        let opened_at = self.superseded.get(index);
        let late = !opened_at.is_some_and(in_window);
        if age > 1 {
            if late {
                return Refreshed::Replayed(self.replay(presented.generation, self.late));
            }
            return Refreshed::Repeated(None);
        }
        if opened_at.is_some_and(|at| now.saturating_sub(*at).saturating_mul(2) < presented.grace) {
            return Refreshed::Repeated(None);
        }
        self.reopen(late, now, presented)
    }

    /// The generation before the current one, in the second half of its window or after it.
    fn reopen(&self, late: bool, now: i64, presented: &Presented) -> Refreshed {
        // The same lost answer counts once.
        let counts = late && !self.late_counted;
        let in_a_row = self.late.saturating_add(u8::from(counts));
        if counts && in_a_row >= LATE_LIMIT {
            return Refreshed::Replayed(self.replay(presented.generation, in_a_row));
        }
        let older = self.superseded.iter().skip(1).copied();
        Refreshed::Repeated(Some(Self {
            changed_at: now,
            superseded: std::iter::once(now).chain(older).collect(),
            late: in_a_row,
            late_counted: late || self.late_counted,
            ..self.clone()
        }))
    }

    fn rotate(&self, from: u32, kept: &[i64], now: i64, presented: &Presented) -> Refreshed {
        let Some(generation) = from.checked_add(1) else { return Refreshed::Expired };
        let mut superseded = Vec::with_capacity(kept.len().saturating_add(1));
        superseded.push(now);
        superseded.extend_from_slice(kept);
        // A generation superseded without a late repeat of the one before sets the count back; and what a
        // store that went back remembers is of other generations.
        let in_a_row = self.late_counted && from == self.generation;
        Refreshed::Rotated(Self {
            generation,
            changed_at: now,
            idle_ends_at: presented.idle_ends_at(now),
            superseded,
            late: if in_a_row { self.late } else { 0 },
            late_counted: false,
        })
    }

    const fn replay(&self, presented: u32, late: u8) -> Replay {
        Replay { presented, current: self.generation, late }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: i64 = 30_000;
    const ENDS: i64 = 1_000_000_000;

    fn present(state: &RefreshState, generation: u32, now: i64) -> Refreshed {
        state.refresh(&Presented {
            generation,
            now,
            grace: GRACE,
            idle: 10_000_000,
            ends_at: ENDS,
            refresh_tokens: RefreshTokens::Rotate,
            store_went_back: false,
        })
    }
    fn rotated(state: &RefreshState, generation: u32, now: i64) -> RefreshState {
        match present(state, generation, now) {
            Refreshed::Rotated(state) => state,
            other => panic!("not rotated: {other:?}"),
        }
    }

    #[test]
    fn the_current_generation_rotates_and_its_repeat_within_the_window_gets_the_same_successor() {
        let first = RefreshState::begin(0, 10_000_000, ENDS);
        let second = rotated(&first, 1, 1000);
        assert_eq!((second.generation, second.superseded.as_slice()), (2, [1000].as_slice()));
        assert_eq!(present(&second, 1, 1000 + GRACE / 2 - 1), Refreshed::Repeated(None));
        for within in [GRACE / 2, GRACE - 1] {
            let now = 1000 + within;
            let opened = RefreshState { changed_at: now, superseded: vec![now], ..second.clone() };
            assert_eq!(present(&second, 1, now), Refreshed::Repeated(Some(opened)), "{within}");
        }
    }

    #[test]
    fn the_third_late_generation_in_a_row_ends_the_session() {
        let mut state = RefreshState::begin(0, 10_000_000, ENDS);
        let mut now = 0;
        for round in 1..=3_u32 {
            state = rotated(&state, round, now);
            now += GRACE;
            match present(&state, round, now) {
                Refreshed::Repeated(Some(late)) if round < 3 => {
                    assert_eq!(u32::from(late.late), round);
                    // The same lost answer asked for twice counts once.
                    assert_eq!(present(&late, round, now + 1), Refreshed::Repeated(None));
                    state = late;
                }
                Refreshed::Replayed(replay) if round == 3 => assert_eq!(replay.late, 3),
                other => panic!("round {round}: {other:?}"),
            }
        }
    }

    /// Two tabs wake up after the window with the same token, and one of them refreshes twice before the
    /// other's request arrives.
    #[test]
    fn a_late_answer_opens_the_window_anew() {
        let mut state = rotated(&RefreshState::begin(0, 10_000_000, ENDS), 1, 0);
        for now in [GRACE, GRACE * 3] {
            let Refreshed::Repeated(Some(late)) = present(&state, 1, now) else { panic!() };
            assert_eq!((late.late, late.superseded.as_slice()), (1, [now].as_slice()));
            let gone_on = rotated(&late, 2, now + 1);
            assert_eq!(present(&gone_on, 1, now + GRACE - 1), Refreshed::Repeated(None));
            assert!(matches!(present(&gone_on, 1, now + GRACE), Refreshed::Replayed(_)));
            // Or the answer is lost once more, and asked for later.
            state = late;
        }
    }

    #[test]
    fn a_stable_generation_stays_and_the_session_is_no_longer_idle() {
        let state = rotated(&RefreshState::begin(0, 1000, ENDS), 1, 500);
        let presented = Presented {
            generation: 2,
            now: 1499,
            grace: GRACE,
            idle: 1000,
            ends_at: ENDS,
            refresh_tokens: RefreshTokens::Stable,
            store_went_back: false,
        };
        let expected = RefreshState { changed_at: 1499, idle_ends_at: 2499, ..state.clone() };
        assert_eq!(state.refresh(&presented), Refreshed::Kept(expected.clone()));
        let last = Presented { now: ENDS - 1, idle: i64::MAX, ..presented };
        let idle = RefreshState { idle_ends_at: ENDS, ..expected };
        let Refreshed::Kept(kept) = idle.refresh(&last) else { panic!() };
        assert_eq!(kept.idle_ends_at, ENDS);
        // What was superseded before the profile was changed is judged as it always was.
        let rotating = Presented { refresh_tokens: RefreshTokens::Rotate, ..presented };
        for generation in [1, 3] {
            for now in [1499, 500 + GRACE] {
                let presented = Presented { generation, now, ..presented };
                let rotating = Presented { generation, now, ..rotating };
                let state = RefreshState { idle_ends_at: ENDS, ..state.clone() };
                assert_eq!(state.refresh(&presented), state.refresh(&rotating), "{presented:?}");
            }
        }
        let Refreshed::Rotated(next) = kept.refresh(&Presented { now: ENDS - 1, ..rotating })
        else {
            panic!()
        };
        assert_eq!(next.generation, 3);
    }

    #[test]
    fn a_generation_superseded_without_a_late_repeat_sets_the_count_back() {
        let state = rotated(&RefreshState::begin(0, 10_000_000, ENDS), 1, 0);
        let Refreshed::Repeated(Some(state)) = present(&state, 1, GRACE) else { panic!() };
        let state = rotated(&state, 2, GRACE + 1);
        assert_eq!(state.late, 1);
        let state = rotated(&state, 3, GRACE + 2);
        assert_eq!(state.late, 0);
    }

    #[test]
    fn anything_older_outside_the_window_is_a_replay() {
        let state = rotated(&RefreshState::begin(0, 10_000_000, ENDS), 1, 0);
        let state = rotated(&state, 2, GRACE);
        assert_eq!(
            present(&state, 1, GRACE),
            Refreshed::Replayed(Replay { presented: 1, current: 3, late: 0 })
        );
    }

    #[test]
    fn ten_rotations_within_a_second_are_all_answered_with_the_current_token_within_the_window() {
        let mut state = RefreshState::begin(0, 10_000_000, ENDS);
        for n in 1..=10 {
            state = rotated(&state, n, i64::from(n) * 100);
        }
        for older in 1..=10 {
            assert_eq!(present(&state, older, 1_100), Refreshed::Repeated(None), "{older}");
        }
        for older in 1..=9 {
            let answer = present(&state, older, 1_000 + GRACE);
            assert!(matches!(answer, Refreshed::Replayed(_)), "{older}: {answer:?}");
        }
        assert!(matches!(present(&state, 10, 1_000 + GRACE), Refreshed::Repeated(Some(_))));
    }

    #[test]
    fn when_the_memory_is_full_the_current_token_is_handed_back_without_rotating() {
        let mut state = RefreshState::begin(0, 10_000_000, ENDS);
        for n in 1..=16 {
            state = rotated(&state, n, 0);
        }
        assert_eq!(present(&state, 17, 1), Refreshed::Repeated(None));
        assert_eq!(rotated(&state, 17, GRACE).superseded, [GRACE]);
    }

    #[test]
    fn a_generation_ahead_counts_only_where_the_store_went_back() {
        let state = RefreshState::begin(0, 10_000_000, ENDS);
        assert_eq!(present(&state, 5, 1), Refreshed::Ahead { presented: 5, current: 1 });
        let presented = Presented {
            generation: 5,
            now: 1,
            grace: GRACE,
            idle: 1000,
            ends_at: ENDS,
            refresh_tokens: RefreshTokens::Rotate,
            store_went_back: true,
        };
        let Refreshed::Rotated(next) = state.refresh(&presented) else { panic!() };
        assert_eq!(next.generation, 6);
        // What the old copy counted is of other generations.
        let counted = RefreshState { late: 2, late_counted: true, ..state };
        let Refreshed::Rotated(next) = counted.refresh(&presented) else { panic!() };
        assert_eq!(next.late, 0);
    }

    #[test]
    fn an_idle_or_finished_session_is_over() {
        let state = RefreshState::begin(0, 1000, ENDS);
        assert_eq!(present(&state, 1, 1000), Refreshed::Expired);
        let state = RefreshState::begin(0, ENDS * 2, ENDS);
        assert_eq!(present(&state, 1, ENDS), Refreshed::Expired);
        // Not even a replay is news then.
        assert_eq!(present(&state, 0, ENDS), Refreshed::Expired);
    }

    #[test]
    fn a_clock_that_went_back_does_not_reopen_the_window_or_the_session() {
        let state = rotated(&RefreshState::begin(0, 10_000_000, ENDS), 1, 100_000);
        let state = rotated(&state, 2, 100_000 + GRACE);
        assert!(matches!(present(&state, 1, 0), Refreshed::Replayed(_)));
    }
}
