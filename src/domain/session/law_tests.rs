//! What holds for refreshes whatever happens: random histories of a client with several tabs on one
//! storage, a network that delays and loses, thieves who copy, nodes whose clocks differ, a store that
//! is restarted or goes back in time, and revocations. A model without I/O.
//!
//! It keeps books of its own, in another form than the record has: for each generation when it was
//! superseded, and whether it was presented late. What the books say must come out.

use super::*;
use crate::domain::revocation::{Revocation, RevocationTarget, RevocationView};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestCaseResult};
use std::collections::{BTreeMap, BTreeSet};

/// Milliseconds by which the nodes' clocks are off.
const CLOCKS: [i64; 3] = [0, 5_000, -5_000];
const APART: i64 = 10_000;
const IDLE: i64 = 100_000_000_000;
const ENDS: i64 = 1_000_000_000_000;

#[derive(Clone, Debug)]
enum Action {
    /// A tab sends what is in the storage. The request and the answer are on their way for so long.
    Refresh {
        node: usize,
        there: i64,
        back: i64,
        lost: bool,
    },
    /// Somebody copies what is in the storage.
    Copy,
    /// Whoever copied presents it, and keeps what comes back, or goes on with what they have.
    Steal {
        node: usize,
        keep: bool,
    },
    /// The client's profile is changed.
    Profile(RefreshTokens),
    /// A copy of the store is made.
    Save,
    /// The store is what it was when the copy was made, and a node notices, or nobody does.
    GoBack {
        noticed_by: Option<usize>,
    },
    /// What is on its way to the server never arrives.
    Restart,
    Revoke,
}

/// So much later, this.
type Step = (i64, Action);

fn honest_step() -> impl Strategy<Value = Step> {
    let pause = prop_oneof![
        6 => 0_i64..2_000, 4 => 2_000_i64..60_000, 3 => 60_000_i64..1_000_000,
    ];
    (pause, honest_action())
}

fn honest_action() -> impl Strategy<Value = Action> {
    let refresh = (0..CLOCKS.len(), 0_i64..200_000, 0_i64..200_000, any::<bool>());
    let refresh =
        refresh.prop_map(|(node, there, back, lost)| Action::Refresh { node, there, back, lost });
    let profile = prop_oneof![3 => Just(RefreshTokens::Rotate), 1 => Just(RefreshTokens::Stable)];
    prop_oneof![
        20 => refresh,
        1 => profile.prop_map(Action::Profile),
        1 => Just(Action::Save),
        1 => (0..CLOCKS.len()).prop_map(|node| Action::GoBack { noticed_by: Some(node) }),
        1 => Just(Action::Restart),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let hostile = prop_oneof![
        3 => Just(Action::Copy),
        12 => (0..CLOCKS.len(), any::<bool>()).prop_map(|(node, keep)| Action::Steal { node, keep }),
        1 => Just(Action::GoBack { noticed_by: None }),
        1 => Just(Action::Revoke),
    ];
    prop_oneof![
        3 => honest_step(),
        2 => (0_i64..100_000, hostile),
    ]
}

fn grace() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), Just(5_000), Just(30_000), Just(30_000), Just(300_000)]
}

/// What must come of a refresh.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Generation(u32),
    Replayed,
    Ahead,
}

/// What is known of the line from outside.
#[derive(Clone, Debug)]
struct Books {
    current: u32,
    /// When the window of each was opened, or opened anew.
    superseded: BTreeMap<u32, i64>,
    late: BTreeSet<u32>,
    written_at: i64,
}

impl Books {
    /// Late generations in a row, up to this one.
    fn late_up_to(&self, generation: u32) -> usize {
        (1..=generation).rev().take_while(|generation| self.late.contains(generation)).count()
    }

    fn rotate(&mut self, from: u32, now: i64) -> Verdict {
        self.superseded.insert(from, now);
        self.current = from + 1;
        self.written_at = now;
        Verdict::Generation(self.current)
    }

    fn judge(&mut self, presented: &Presented) -> Verdict {
        let now = presented.now.max(self.written_at);
        let in_window = |at: &i64| now - at < presented.grace;
        let generation = presented.generation;
        if generation > self.current {
            if !presented.store_went_back {
                return Verdict::Ahead;
            }
            // What the store remembers of being late is of other generations.
            self.superseded.clear();
            self.late.clear();
            return self.rotate(generation, now);
        }
        if generation == self.current {
            if presented.refresh_tokens == RefreshTokens::Stable {
                self.written_at = now;
                return Verdict::Generation(generation);
            }
            if self.superseded.values().filter(|at| in_window(at)).count() >= 16 {
                return Verdict::Generation(generation);
            }
            return self.rotate(generation, now);
        }
        let opened_at = self.superseded.get(&generation);
        let open = opened_at.is_some_and(in_window);
        let newly_open = opened_at.is_some_and(|at| (now - at) * 2 < presented.grace);
        if newly_open || (open && generation + 1 < self.current) {
            return Verdict::Generation(self.current);
        }
        if generation + 1 < self.current {
            return Verdict::Replayed;
        }
        if !open && self.late.insert(generation) && self.late_up_to(generation) >= 3 {
            self.late.remove(&generation);
            return Verdict::Replayed;
        }
        self.superseded.insert(generation, now);
        self.written_at = now;
        Verdict::Generation(self.current)
    }
}

struct Message {
    at: i64,
    node: usize,
    what: Travelling,
}

enum Travelling {
    Request { generation: u32, back: i64, lost: bool },
    Answer { generation: u32 },
}

/// The store, as far as it knows the session.
#[derive(Clone, Debug)]
struct Store {
    /// None: ended, and deleted.
    state: Option<RefreshState>,
    books: Books,
}

struct World {
    grace: i64,
    now: i64,
    store: Store,
    saved: Option<Store>,
    went_back_at: i64,
    profile: RefreshTokens,
    log: RevocationView,
    session: Session,
    under_way: Vec<Message>,
    /// What the tabs share: the newest token that any of them was given.
    storage: u32,
    /// Generations of which an answer was lost.
    lost: BTreeSet<u32>,
    copied: Option<u32>,
    refused: Option<Verdict>,
}

impl World {
    fn begin(grace: i64) -> Self {
        let state = RefreshState::begin(0, IDLE, ENDS);
        let books =
            Books { current: 1, superseded: BTreeMap::new(), late: BTreeSet::new(), written_at: 0 };
        Self {
            grace,
            now: 0,
            store: Store { state: Some(state), books },
            saved: None,
            went_back_at: 0,
            profile: RefreshTokens::Rotate,
            log: RevocationView::default(),
            session: session(),
            under_way: Vec::new(),
            storage: 1,
            lost: BTreeSet::new(),
            copied: None,
            refused: None,
        }
    }

    /// The longest that anything is on its way: half a window is enough for an answer and a request, by
    /// any clock. A client that waits longer has lost the answer.
    fn slowest(&self) -> i64 {
        ((self.grace / 2 - APART - 1) / 2).max(0)
    }

    fn live(&mut self, (pause, action): &Step) -> TestCaseResult {
        self.travel(self.now + pause)?;
        let slowest = self.slowest();
        match *action {
            Action::Refresh { node, there, back, lost } => {
                let (there, back) = (there % (slowest + 1), back % (slowest + 1));
                let what = Travelling::Request { generation: self.storage, back, lost };
                self.under_way.push(Message { at: self.now + there, node, what });
            }
            Action::Copy => self.copied = Some(self.storage),
            Action::Steal { node, keep } => {
                if let Some(generation) = self.copied
                    && let Some(given) = self.present(generation, node)?
                    && !keep
                {
                    self.copied = Some(given);
                }
            }
            Action::Profile(profile) => self.profile = profile,
            Action::Save => self.saved = Some(self.store.clone()),
            Action::GoBack { noticed_by } => self.go_back(noticed_by),
            Action::Restart => self.under_way.retain(Message::is_answer),
            Action::Revoke => self.end(),
        }
        self.travel(self.now)
    }

    /// A copy that is younger than the clocks are apart is not known for one.
    fn go_back(&mut self, noticed_by: Option<usize>) {
        let Some(saved) = &self.saved else { return };
        if saved.books.written_at + APART >= self.now {
            return;
        }
        self.store = saved.clone();
        if let Some(node) = noticed_by {
            self.went_back_at = self.went_back_at.max(self.now + CLOCKS[node]);
        }
        // Nobody was served meanwhile, and what had been answered has arrived.
        for message in std::mem::take(&mut self.under_way) {
            if let Travelling::Answer { generation } = message.what {
                self.storage = self.storage.max(generation);
            }
        }
    }

    /// In the log first; then the store deletes it.
    fn end(&mut self) {
        self.log.apply(&Revocation {
            audience: Vec::new(),
            position: self.log.applied() + 1,
            target: RevocationTarget::Session(self.session.id),
            tenant: None,
            at: self.session.begun_at,
            expires_at: self.session.ends_at,
        });
        self.store.state = None;
    }

    /// Whatever arrives until then, in the order in which it does.
    fn travel(&mut self, until: i64) -> TestCaseResult {
        loop {
            let arriving = self.under_way.iter().enumerate().filter(|(_, m)| m.at <= until);
            let next = arriving.min_by_key(|(at, message)| (message.at, *at)).map(|(at, _)| at);
            let Some(next) = next else { break };
            let Message { at, node, what } = self.under_way.remove(next);
            self.now = at;
            match what {
                Travelling::Answer { generation } => self.storage = self.storage.max(generation),
                Travelling::Request { generation, back, lost } => {
                    if let Some(generation) = self.present(generation, node)?
                        && !(lost && self.may_be_lost(generation))
                    {
                        let what = Travelling::Answer { generation };
                        self.under_way.push(Message { at: self.now + back, node, what });
                    }
                }
            }
        }
        self.now = until;
        Ok(())
    }

    /// Fewer than three in a row.
    fn may_be_lost(&mut self, generation: u32) -> bool {
        self.lost.insert(generation);
        let run = |from: u32, step: i64| {
            let all = (1..).map(|n| i64::from(from) + n * step);
            all.take_while(|n| u32::try_from(*n).is_ok_and(|n| self.lost.contains(&n))).count()
        };
        let may = run(generation, -1) + 1 + run(generation, 1) < 3;
        if !may {
            self.lost.remove(&generation);
        }
        may
    }

    /// One refresh, held to the books; the generation that is handed out.
    fn present(&mut self, generation: u32, node: usize) -> Result<Option<u32>, TestCaseError> {
        let Some(before) = self.store.state.clone() else { return Ok(None) };
        let presented = Presented {
            generation,
            now: self.now + CLOCKS[node],
            grace: self.grace,
            idle: IDLE,
            ends_at: ENDS,
            refresh_tokens: self.profile,
            store_went_back: before.changed_at < self.went_back_at,
        };
        let verdict = self.store.books.judge(&presented);
        let refreshed = before.refresh(&presented);
        let (after, said) = match &refreshed {
            Refreshed::Rotated(state)
            | Refreshed::Kept(state)
            | Refreshed::Repeated(Some(state)) => {
                (state.clone(), Verdict::Generation(state.generation))
            }
            Refreshed::Repeated(None) => (before.clone(), Verdict::Generation(before.generation)),
            Refreshed::Replayed(_) => (before.clone(), Verdict::Replayed),
            Refreshed::Ahead { .. } => (before.clone(), Verdict::Ahead),
            Refreshed::Expired => {
                return Err(TestCaseError::fail(format!("{presented:?} of {before:?} expired")));
            }
        };
        prop_assert_eq!(&said, &verdict, "{:?} of {:?}", presented, before);
        prop_assert!(after.generation >= before.generation, "a generation goes down");
        prop_assert!(after.changed_at >= before.changed_at, "time goes back");
        prop_assert!(after.superseded.len() <= REMEMBERED_GENERATIONS);
        prop_assert!(usize::from(after.late) < 3);
        if let Refreshed::Rotated(_) | Refreshed::Kept(_) = refreshed {
            let now = presented.now.max(before.changed_at);
            prop_assert_eq!(after.idle_ends_at, now + IDLE);
        }
        self.store.state = Some(after.clone());
        let Verdict::Generation(given) = said else {
            if said == Verdict::Replayed {
                self.end();
            }
            self.refused = Some(said);
            return Ok(None);
        };
        prop_assert_eq!(given, after.generation);
        // Whoever asks the same at this moment is told the same.
        if self.grace > 0 {
            let again = after.refresh(&presented);
            let same = match &again {
                Refreshed::Repeated(None) => after.generation == given,
                Refreshed::Kept(state) => state.generation == given,
                _ => false,
            };
            prop_assert!(same, "{:?} after {:?}", again, refreshed);
        }
        // The log has the last word.
        Ok((!self.log.ends_session(&self.session)).then_some(given))
    }
}

impl Message {
    const fn is_answer(&self) -> bool {
        matches!(self.what, Travelling::Answer { .. })
    }
}

fn session() -> Session {
    let at = |milliseconds| Time::from_timestamp_millis(milliseconds).unwrap();
    Session {
        id: SessionId::new([7; 16]),
        subject: "u_abcdefghijklmnopqrstuvwxyz".parse().unwrap(),
        tenant: "acme".parse().unwrap(),
        client: "web".parse().unwrap(),
        provider: "corp".parse().unwrap(),
        claims: Map::new(),
        requested_scope: None,
        protocol_scope: ScopeSet::default(),
        requested_details: None,
        audience: vec![],
        refresh_key: Some(1),
        begun_at: at(0),
        authenticated_at: None,
        begun: 0,
        ends_at: at(ENDS),
        idle: 100_000_000,
    }
}

proptest! {
    /// A client that presents the newest token that it was given, or repeats a request whose answer it
    /// lost (fewer than three losses in a row), is never logged out: whichever node it asks, with however
    /// many tabs, however slow the network is within the window, whatever becomes of the store.
    #[test]
    fn an_honest_client_is_never_logged_out(
        grace in grace(),
        steps in prop::collection::vec(honest_step(), 1..120),
    ) {
        let mut world = World::begin(grace);
        for step in &steps {
            world.live(step)?;
            prop_assert!(world.refused.is_none(), "{:?} at {}", world.refused, world.now);
        }
        world.travel(world.now + world.slowest() * 2)?;
        prop_assert!(world.refused.is_none(), "{:?} at {}", world.refused, world.now);
        let last = world.present(world.storage, 0)?;
        prop_assert!(last.is_some_and(|generation| generation >= world.storage));
    }

    /// Every answer is the one that the books say, thieves or not: three late generations in a row are
    /// the end, and so is anything older. What has ended once, by itself or by a revocation, hands out
    /// nothing for ever, also from an old copy of the store.
    #[test]
    fn what_has_ended_hands_out_nothing(
        grace in grace(),
        steps in prop::collection::vec(any_step(), 1..120),
    ) {
        let mut world = World::begin(grace);
        for step in &steps {
            let ended = world.log.knows_end_of(&world.session.id);
            let (storage, copied) = (world.storage, world.copied);
            world.live(step)?;
            if ended && world.under_way.iter().all(|message| !message.is_answer()) {
                prop_assert_eq!(world.present(storage, 0)?, None);
                if let Some(copied) = copied {
                    prop_assert_eq!(world.present(copied, 1)?, None);
                }
            }
        }
    }

    /// Two who both go on refreshing outside the window are found at the third late generation at the
    /// latest, whatever the line has been through before.
    #[test]
    fn two_holders_are_found(
        before in prop::collection::vec(honest_step(), 0..40),
        turns in prop::collection::vec((0..CLOCKS.len(), any::<bool>(), 0_i64..100_000), 4),
    ) {
        const GRACE: i64 = 30_000;
        let mut world = World::begin(GRACE);
        for step in &before {
            world.live(step)?;
        }
        world.travel(world.now + world.slowest() * 2)?;
        world.profile = RefreshTokens::Rotate;
        let late_before = world.store.books.late.clone();
        let copy = world.storage;
        let (mut held, mut generations) = ([copy, copy], 0);
        for (node, thief_first, more) in turns {
            world.travel(world.now + GRACE * 20)?;
            for holder in if thief_first { [1, 0] } else { [0, 1] } {
                let Some(given) = world.present(held[holder], node)? else {
                    prop_assert_eq!(world.refused.as_ref(), Some(&Verdict::Replayed));
                    let late = world.store.books.late.difference(&late_before).count() + 1;
                    prop_assert!(late <= 3, "{} late generations", late);
                    return Ok(());
                };
                held[holder] = given;
                world.travel(world.now + GRACE + APART + more)?;
            }
            generations += 1;
        }
        prop_assert!(false, "not found in {} generations", generations);
    }
}
