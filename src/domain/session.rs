//! A session, and the state machine of its refresh tokens.
//!
//! Dana's browser holds generation 4 and sends it. The answer carries generation 5 and is lost on the
//! way. Within the grace window she sends 4 again, or a second tab does, and everybody is handed 5.
//! After the window, 4 is *late*: she is handed 5 still, but that is counted. A thief who copied 4 does
//! the same as she does, and as both go on, every generation is presented late; the third in a row
//! ends the session. Whoever presents 3 by then holds something that no honest client would send.

use crate::domain::Time;
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

/// What changes at each refresh. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshState {
    pub generation: u32,
    /// Of the last change. Never goes back.
    pub changed_at: i64,
    /// The session ends then unless it is refreshed before.
    pub idle_ends_at: i64,
    /// When `generation - 1`, `generation - 2`, … were superseded: those that may still be in the window.
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
    /// The token store went back in time after the record was last changed: the token, which only we
    /// can have made, is the better witness.
    pub store_went_back: bool,
}

/// The decision on a presented refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// Hand out the (new) current generation; `state` is to be stored.
    Rotated(RefreshState),
    /// Hand out the current generation again. A late one changes the state.
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
            let kept: Vec<i64> = self.superseded.iter().copied().filter(in_window).collect();
            if kept.len() >= REMEMBERED_GENERATIONS {
                return Refreshed::Repeated(None);
            }
            return self.rotate(self.generation, &kept, now, presented);
        }
        let index = usize::try_from(age.saturating_sub(1)).unwrap_or(usize::MAX);
        if self.superseded.get(index).is_some_and(in_window) {
            return Refreshed::Repeated(None);
        }
        if age > 1 {
            return Refreshed::Replayed(self.replay(presented.generation, self.late));
        }
        if self.late_counted {
            return Refreshed::Repeated(None);
        }
        let late = self.late.saturating_add(1);
        if late >= LATE_LIMIT {
            return Refreshed::Replayed(self.replay(presented.generation, late));
        }
        let state = Self { late, late_counted: true, changed_at: now, ..self.clone() };
        Refreshed::Repeated(Some(state))
    }

    fn rotate(&self, from: u32, kept: &[i64], now: i64, presented: &Presented) -> Refreshed {
        let Some(generation) = from.checked_add(1) else { return Refreshed::Expired };
        let mut superseded = Vec::with_capacity(kept.len().saturating_add(1));
        superseded.push(now);
        superseded.extend_from_slice(kept);
        Refreshed::Rotated(Self {
            generation,
            changed_at: now,
            idle_ends_at: now.saturating_add(presented.idle).min(presented.ends_at),
            superseded,
            // A generation superseded without a late repeat of the one before sets the count back.
            late: if self.late_counted { self.late } else { 0 },
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
    use proptest::prelude::*;

    const GRACE: i64 = 30_000;
    const ENDS: i64 = 1_000_000_000;

    fn present(state: &RefreshState, generation: u32, now: i64) -> Refreshed {
        state.refresh(&Presented {
            generation,
            now,
            grace: GRACE,
            idle: 10_000_000,
            ends_at: ENDS,
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
        assert_eq!(present(&second, 1, 1000 + GRACE - 1), Refreshed::Repeated(None));
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
            store_went_back: true,
        };
        let Refreshed::Rotated(state) = state.refresh(&presented) else { panic!() };
        assert_eq!(state.generation, 6);
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

    proptest! {
        /// Whoever presents the newest token that they were given, or repeats a request whose answer
        /// was lost (fewer than three losses in a row outside the window), is never logged out.
        #[test]
        fn an_honest_client_is_never_logged_out(steps in prop::collection::vec((0_i64..90_000, any::<bool>()), 1..200)) {
            let mut state = RefreshState::begin(0, ENDS, ENDS);
            let (mut held, mut now, mut losses_in_a_row) = (1_u32, 0_i64, 0);
            for (pause, lost) in steps {
                now += pause;
                let lost = match present(&state, held, now) {
                    Refreshed::Rotated(next) => {
                        state = next;
                        let lost = lost && losses_in_a_row < 2;
                        losses_in_a_row = if lost { losses_in_a_row + 1 } else { 0 };
                        lost
                    }
                    Refreshed::Repeated(Some(next)) => {
                        state = next;
                        lost
                    }
                    Refreshed::Repeated(None) => lost,
                    other => {
                        prop_assert!(false, "logged out: {other:?}");
                        lost
                    }
                };
                if !lost {
                    held = state.generation;
                }
            }
        }

        /// Two holders who both keep refreshing, outside the window, are found within three generations.
        #[test]
        fn two_holders_are_found(who_starts in any::<bool>(), pauses in prop::collection::vec(GRACE..GRACE * 4, 12)) {
            let mut state = RefreshState::begin(0, ENDS, ENDS);
            let mut held = [1_u32, 1];
            let (mut now, mut rotations) = (0, 0);
            for (turn, pause) in pauses.into_iter().enumerate() {
                let holder = &mut held[(turn + usize::from(who_starts)) % 2];
                now += pause;
                match present(&state, *holder, now) {
                    Refreshed::Rotated(next) => { rotations += 1; state = next; }
                    Refreshed::Repeated(Some(next)) => state = next,
                    Refreshed::Repeated(None) => {}
                    Refreshed::Replayed(_) => {
                        prop_assert!(rotations <= 4);
                        return Ok(());
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
                *holder = state.generation;
            }
            prop_assert!(false, "never found");
        }
    }
}
