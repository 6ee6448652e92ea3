//! One table of refreshes, and what every store makes of each.

use crate::token_store::values::{
    GRACE, IDLE, Numbers, after, id, known, known_to_nobody, millis, session, start,
};
use crate::token_store::world::World;
use rolemint::domain::client::RefreshTokens;
use rolemint::domain::session::{Presented, RefreshState, Refreshed};
use rolemint::token_store::Offer;

/// What a refresh meets, in words that a person can check: the record, what is presented when, and what
/// comes of it.
pub(super) struct Case {
    name: &'static str,
    /// How long ago each generation before the current one, 5, was superseded; the last one first.
    superseded: &'static [i64],
    late: (u8, bool),
    presented: u32,
    grace: i64,
    refresh_tokens: RefreshTokens,
    went_back: bool,
    /// The answer, and generation, times since superseding and late generations afterwards.
    expected: (&'static str, u32, &'static [i64], (u8, bool)),
}

pub(super) const ROTATING: Case = Case {
    name: "",
    superseded: &[GRACE],
    late: (0, false),
    presented: 5,
    grace: GRACE,
    refresh_tokens: RefreshTokens::Rotate,
    went_back: false,
    expected: ("", 5, &[GRACE], (0, false)),
};
pub(super) const STABLE: Case = Case { refresh_tokens: RefreshTokens::Stable, ..ROTATING };

pub(super) const CASES: &[Case] = &[
    Case {
        name: "the current one rotates",
        expected: ("rotated", 6, &[0], (0, false)),
        ..ROTATING
    },
    Case {
        name: "what is still in the window is remembered",
        superseded: &[GRACE - 1, GRACE],
        expected: ("rotated", 6, &[0, GRACE - 1], (0, false)),
        ..ROTATING
    },
    Case {
        name: "superseded in time, the count goes back to none",
        late: (2, false),
        expected: ("rotated", 6, &[0], (0, false)),
        ..ROTATING
    },
    Case {
        name: "superseded after a late one, the count stays",
        late: (2, true),
        expected: ("rotated", 6, &[0], (2, false)),
        ..ROTATING
    },
    Case {
        name: "sixteen in the window are enough",
        superseded: &[1; 16],
        expected: ("repeated", 5, &[1; 16], (0, false)),
        ..ROTATING
    },
    Case {
        name: "fifteen are not",
        superseded: &[1; 15],
        expected: ("rotated", 6, &[0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], (0, false)),
        ..ROTATING
    },
    Case {
        name: "the one before, in the first half of the window",
        superseded: &[GRACE / 2 - 1],
        presented: 4,
        expected: ("repeated", 5, &[GRACE / 2 - 1], (0, false)),
        ..ROTATING
    },
    Case {
        name: "the one before, in the second half of the window",
        superseded: &[GRACE / 2, GRACE - 1],
        presented: 4,
        late: (2, false),
        expected: ("opened anew", 5, &[0, GRACE - 1], (2, false)),
        ..ROTATING
    },
    Case {
        name: "the one before, in the last moment of the window, after a late answer",
        superseded: &[GRACE - 1],
        presented: 4,
        late: (2, true),
        expected: ("opened anew", 5, &[0], (2, true)),
        ..ROTATING
    },
    Case {
        name: "the first one after four rotations, in the window",
        superseded: &[1, 2, 3, GRACE - 1],
        presented: 1,
        expected: ("repeated", 5, &[1, 2, 3, GRACE - 1], (0, false)),
        ..ROTATING
    },
    Case {
        name: "the one before, late for the first time",
        presented: 4,
        expected: ("opened anew", 5, &[0], (1, true)),
        ..ROTATING
    },
    Case {
        name: "without a window it is late at once",
        superseded: &[0],
        presented: 4,
        grace: 0,
        expected: ("opened anew", 5, &[0], (1, true)),
        ..ROTATING
    },
    Case {
        name: "late again for the same generation counts once",
        presented: 4,
        late: (1, true),
        expected: ("opened anew", 5, &[0], (1, true)),
        ..ROTATING
    },
    Case {
        name: "the second late generation",
        presented: 4,
        late: (1, false),
        expected: ("opened anew", 5, &[0], (2, true)),
        ..ROTATING
    },
    Case {
        name: "the third late generation",
        presented: 4,
        late: (2, false),
        expected: ("replayed", 5, &[GRACE], (2, false)),
        ..ROTATING
    },
    Case {
        name: "older, and out of the window",
        superseded: &[GRACE - 1, GRACE],
        presented: 3,
        expected: ("replayed", 5, &[GRACE - 1, GRACE], (0, false)),
        ..ROTATING
    },
    Case {
        name: "older than is remembered",
        presented: 1,
        expected: ("replayed", 5, &[GRACE], (0, false)),
        ..ROTATING
    },
    Case {
        name: "never handed out",
        presented: 6,
        expected: ("ahead", 5, &[GRACE], (0, false)),
        ..ROTATING
    },
    Case {
        name: "never heard of by a store that went back",
        presented: 9,
        late: (2, true),
        went_back: true,
        expected: ("rotated", 10, &[0], (0, false)),
        ..ROTATING
    },
    Case {
        name: "the current one of a store that went back",
        went_back: true,
        expected: ("rotated", 6, &[0], (0, false)),
        ..ROTATING
    },
    Case {
        name: "a stable one stays",
        superseded: &[GRACE - 1, GRACE],
        late: (2, true),
        expected: ("kept", 5, &[GRACE - 1, GRACE], (2, true)),
        ..STABLE
    },
    Case {
        name: "a stable one stays, however full the memory",
        superseded: &[1; 16],
        expected: ("kept", 5, &[1; 16], (0, false)),
        ..STABLE
    },
    Case {
        name: "one that was superseded before it was stable, in the window",
        superseded: &[GRACE / 2, GRACE - 1],
        presented: 3,
        expected: ("repeated", 5, &[GRACE / 2, GRACE - 1], (0, false)),
        ..STABLE
    },
    Case {
        name: "one that was superseded before it was stable, late",
        presented: 4,
        expected: ("opened anew", 5, &[0], (1, true)),
        ..STABLE
    },
    Case {
        name: "an older one than the stable one",
        presented: 3,
        expected: ("replayed", 5, &[GRACE], (0, false)),
        ..STABLE
    },
    Case {
        name: "one ahead of the stable one",
        presented: 6,
        expected: ("ahead", 5, &[GRACE], (0, false)),
        ..STABLE
    },
    Case {
        name: "one ahead of the stable one, where the store went back",
        presented: 8,
        went_back: true,
        expected: ("rotated", 9, &[0], (0, false)),
        ..STABLE
    },
];

/// The table holds the pure function and both stores.
pub(super) async fn every_case_of_the_table_is_decided_so(world: World) {
    let now = after(1_000_000);
    for (number, case) in CASES.iter().enumerate() {
        let session = session(id(u8::try_from(number).unwrap(), 1), start());
        let ends_at = millis(session.ends_at);
        let ago = |ages: &[i64]| ages.iter().map(|age| millis(now) - age).collect::<Vec<_>>();
        let state = |generation, superseded, (late, late_counted), changed_at, idle_ends_at| {
            RefreshState { generation, changed_at, idle_ends_at, superseded, late, late_counted }
        };
        let idle_before = millis(now) + 1;
        let before = state(5, ago(case.superseded), case.late, millis(now) - 1, idle_before);
        world.store.begin(&session, &before, known_to_nobody(), now).await.unwrap();
        // Its bucket lacks an ending, then.
        let ended = if case.went_back {
            world.log.append_ending(id(session.id.bucket(), 2)).await
        } else {
            0
        };
        let (answer, generation, superseded, late) = case.expected;
        let idle_ends_at = match answer {
            "rotated" | "kept" => millis(now) + i64::from(IDLE) * 1000,
            _ => idle_before,
        };
        let changed = matches!(answer, "rotated" | "kept" | "opened anew");
        let changed_at = millis(now) - i64::from(!changed);
        let after = state(generation, ago(superseded), late, changed_at, idle_ends_at);

        let pure = before.refresh(&Presented {
            generation: case.presented,
            now: millis(now),
            grace: case.grace,
            idle: i64::from(IDLE) * 1000,
            ends_at,
            refresh_tokens: case.refresh_tokens,
            store_went_back: case.went_back,
        });
        assert_eq!(name(&pure), answer, "{}", case.name);
        let &Case { presented: generation, grace, refresh_tokens, .. } = case;
        let offer = Offer { generation, grace, refresh_tokens };
        let refreshed = world.store.refresh(&session.id, &offer, known(ended), now).await;
        let (_, stored, refreshed) = refreshed.unwrap().unwrap();
        assert_eq!(refreshed, pure, "{}", case.name);
        assert_eq!(stored, after, "{}", case.name);
        let found = world.store.find(&session.id, known(ended), now).await.unwrap();
        assert_eq!(found, Some((session, after)), "{}", case.name);
    }
}

pub(super) async fn a_profile_can_be_changed_while_a_session_runs(world: World) {
    let at = known_to_nobody();
    world.begin(id(1, 1), at, start()).await;
    let mut seen = Vec::new();
    for (n, (generation, refresh_tokens)) in [
        (1, RefreshTokens::Rotate),
        (2, RefreshTokens::Stable),
        (2, RefreshTokens::Stable),
        (2, RefreshTokens::Rotate),
        (3, RefreshTokens::Rotate),
        (4, RefreshTokens::Stable),
        // Lost, and asked for late under either profile.
        (3, RefreshTokens::Stable),
        (3, RefreshTokens::Rotate),
    ]
    .into_iter()
    .enumerate()
    {
        let offer = Offer { generation, grace: GRACE, refresh_tokens };
        let now = after(i64::try_from(n).unwrap() * 2 * GRACE);
        let answer = world.store.refresh(&id(1, 1), &offer, at, now).await.unwrap();
        let (_, state, refreshed) = answer.unwrap();
        seen.push((name(&refreshed), state.generation));
    }
    let expected = [
        ("rotated", 2),
        ("kept", 2),
        ("kept", 2),
        ("rotated", 3),
        ("rotated", 4),
        ("kept", 4),
        ("opened anew", 4),
        ("opened anew", 4),
    ];
    assert_eq!(seen, expected);
}

pub(super) fn any_state(numbers: &mut Numbers, ends_at: i64) -> RefreshState {
    let changed_at = millis(start()) + i64::try_from(numbers.below(100_000)).unwrap();
    let count = numbers.pick(&[0, 1, 1, 2, 3, 15, 16, 16]);
    let mut superseded_at = changed_at;
    let mut superseded = Vec::new();
    for _ in 0..count {
        superseded.push(superseded_at);
        superseded_at -= numbers.pick(&[0, 1, 100, GRACE / 2, GRACE]);
    }
    RefreshState {
        generation: numbers.pick(&[1, 2, 3, 20, 1000, u32::MAX - 1, u32::MAX]),
        changed_at,
        idle_ends_at: (changed_at + numbers.pick(&[1, 60_000, 600_000, 1 << 40])).min(ends_at),
        superseded,
        late: numbers.pick(&[0, 1, 2, 3, 254, 255]),
        late_counted: numbers.below(2) == 0,
    }
}

pub(super) fn name(refreshed: &Refreshed) -> &'static str {
    match refreshed {
        Refreshed::Rotated(_) => "rotated",
        Refreshed::Kept(_) => "kept",
        Refreshed::Repeated(None) => "repeated",
        Refreshed::Repeated(Some(_)) => "opened anew",
        Refreshed::Expired => "expired",
        Refreshed::Replayed(_) => "replayed",
        Refreshed::Ahead { .. } => "ahead",
    }
}
