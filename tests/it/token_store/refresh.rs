//! Sessions, from their beginning to their end, and their refreshes.

use crate::token_store::refresh_table::{any_state, name};
use crate::token_store::values::{
    GRACE, IDLE, Numbers, after, id, known, known_to_nobody, millis, rotating, session, start,
};
use crate::token_store::world::{Home, World};
use chrono::DateTime;
use rolemint::domain::client::RefreshTokens;
use rolemint::domain::session::{Presented, RefreshState, Refreshed, Session};
use rolemint::token_store::Offer;
use std::collections::HashSet;

pub(super) async fn a_session_is_found_as_it_was_begun(world: World) {
    let at = known_to_nobody();
    assert_eq!(world.store.find(&id(1, 1), at, start()).await.unwrap(), None);
    assert!(!world.store.is_alive(&id(1, 1), at, start()).await.unwrap());
    let begun = world.begin(id(1, 1), at, start()).await;
    assert_eq!(world.store.find(&id(1, 1), at, start()).await.unwrap(), Some(begun));
    assert!(world.store.is_alive(&id(1, 1), at, start()).await.unwrap());
    assert!(!world.store.is_alive(&id(1, 2), at, start()).await.unwrap());

    // Claims up to 4 KiB, and everything that can be absent.
    let claims = serde_json::json!({ "groups": vec!["ünicode"; 400], "n": -1.5, "x": null });
    let bare = Session {
        claims: claims.as_object().unwrap().clone(),
        requested_scope: None,
        requested_details: Some(serde_json::json!([{ "type": "cache", "cache": "c" }])),
        audience: vec![],
        refresh_key: None,
        authenticated_at: None,
        begun: 1 << 40,
        ..session(id(1, 3), start())
    };
    let state = RefreshState::begin(millis(start()), 1000, millis(bare.ends_at));
    world.store.begin(&bare, &state, at, start()).await.unwrap();
    assert_eq!(world.store.find(&bare.id, at, start()).await.unwrap(), Some((bare, state)));
}

pub(super) async fn a_session_ends(world: World) {
    world.begin(id(1, 1), known_to_nobody(), start()).await;
    world.begin(id(1, 2), known_to_nobody(), start()).await;
    let ended = world.end(id(1, 1)).await;
    let at = known(ended);
    assert!(!world.store.is_alive(&id(1, 1), at, start()).await.unwrap());
    assert!(world.store.is_alive(&id(1, 2), at, start()).await.unwrap());
    assert_eq!(world.refresh(&id(1, 1), 1, at, start()).await, None);
    // An ending of what is not there, or once more, is nothing.
    world.store.end(&id(1, 1), ended).await.unwrap();
    world.end(id(1, 9)).await;
}

pub(super) async fn a_session_expires_by_our_now(world: World) {
    let at = known_to_nobody();
    world.begin(id(1, 1), at, start()).await;
    let idle = i64::from(IDLE) * 1000;
    assert!(world.store.is_alive(&id(1, 1), at, after(idle - 1)).await.unwrap());
    assert!(!world.store.is_alive(&id(1, 1), at, after(idle)).await.unwrap());
    assert_eq!(world.store.find(&id(1, 1), at, after(idle)).await.unwrap(), None);
    assert_eq!(world.refresh(&id(1, 1), 1, at, after(idle)).await, Some(Refreshed::Expired));
    let Some(Refreshed::Rotated(_)) = world.refresh(&id(1, 1), 1, at, after(idle - 1)).await else {
        panic!("it was in time");
    };
    assert!(world.store.is_alive(&id(1, 1), at, after(idle)).await.unwrap());
}

pub(super) async fn a_hundred_refreshes_of_one_generation_have_one_successor(world: World) {
    let at = known_to_nobody();
    world.begin(id(1, 1), at, start()).await;
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let store = world.store.clone();
            tokio::spawn(async move {
                let offer = rotating(1);
                store.refresh(&id(1, 1), &offer, at, after(n)).await.unwrap().unwrap()
            })
        })
        .collect();
    let mut rotations = 0;
    for task in tasks {
        let (session, state, refreshed) = task.await.unwrap();
        assert_eq!(session.id, id(1, 1));
        assert_eq!(state.generation, 2);
        rotations += usize::from(matches!(refreshed, Refreshed::Rotated(_)));
    }
    assert_eq!(rotations, 1);
}

/// Any state at all, and then a walk from there: each answer of the store is compared with the pure
/// function's, and so is what is stored afterwards.
pub(super) async fn every_refresh_is_decided_as_the_pure_function_decides(world: World) {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut outcomes = HashSet::new();
    let walks = match world.home {
        Home::File(_) => 60,
        Home::Redis(_) => 250,
        Home::Cluster(_) => 100,
    };
    let (mut ended, mut went_back_at) = (0, 0);
    for walk in 0..walks {
        let session =
            Session { idle: numbers.pick(&[60, 600, IDLE]), ..session(id(7, walk), start()) };
        let ends_at = millis(session.ends_at);
        let mut state = any_state(&mut numbers, ends_at);
        let mut now = state.changed_at;
        let at = known(ended);
        world.store.begin(&session, &state, at, after(now - millis(start()))).await.unwrap();
        for step in 0..30 {
            now += numbers.pick(&[0, 0, 1, 5, 1000, GRACE - 1, GRACE, GRACE + 1, 60_000, -1000]);
            now += if numbers.below(40) == 0 { 3600 * 1000 } else { 0 };
            let time = DateTime::from_timestamp_millis(now).unwrap();
            if numbers.below(25) == 0 {
                // A bucket behind: another session was ended, and its ending never arrived.
                ended = world.log.append_ending(id(7, 1_000_000)).await;
                went_back_at = went_back_at.max(now);
            }
            let generation = match numbers.below(10) {
                0..=3 => state.generation,
                4..=6 => state.generation.saturating_sub(1),
                7 => state.generation.saturating_sub(u32::try_from(numbers.below(20)).unwrap()),
                8 => state.generation.saturating_add(1),
                _ => state.generation.saturating_add(u32::try_from(numbers.below(50)).unwrap()),
            };
            let presented = Presented {
                generation,
                now,
                grace: numbers.pick(&[GRACE, GRACE, GRACE, 0]),
                idle: i64::from(session.idle) * 1000,
                ends_at,
                refresh_tokens: numbers.pick(&[
                    RefreshTokens::Rotate,
                    RefreshTokens::Rotate,
                    RefreshTokens::Stable,
                ]),
                store_went_back: state.changed_at < went_back_at,
            };
            let expected = state.refresh(&presented);
            let Presented { grace, refresh_tokens, .. } = presented;
            let offer = Offer { generation, grace, refresh_tokens };
            let at = known(ended);
            let answer = world.store.refresh(&session.id, &offer, at, time).await.unwrap();
            // What expired a while ago may have been collected.
            let gone = || (session.clone(), state.clone(), Refreshed::Expired);
            let (_, stored, refreshed) = answer.unwrap_or_else(gone);
            assert_eq!(refreshed, expected, "walk {walk}, step {step}: {presented:?} of {state:?}");
            outcomes.insert(name(&refreshed));
            if let Refreshed::Rotated(next)
            | Refreshed::Kept(next)
            | Refreshed::Repeated(Some(next)) = expected
            {
                state = next;
            }
            assert_eq!(stored, state, "walk {walk}, step {step}: {presented:?}");
            if matches!(refreshed, Refreshed::Expired | Refreshed::Replayed(_)) {
                state = any_state(&mut numbers, ends_at);
                now = state.changed_at;
                let time = DateTime::from_timestamp_millis(now).unwrap();
                world.store.begin(&session, &state, at, time).await.unwrap();
            }
        }
    }
    assert_eq!(outcomes.len(), 7, "{outcomes:?}");
}
