//! A store that went back in time, or was emptied.

use crate::token_store::values::{after, id, known, known_to_nobody, start};
use crate::token_store::world::{Home, World};
use rolemint::domain::secret::Digest;
use rolemint::domain::session::Refreshed;
use rolemint::token_store::{LogPosition, OneTime, TokenStoreError, Used};

pub(super) async fn a_restored_store_is_noticed_by_the_log(world: World) {
    for number in 1..=3 {
        world.begin(id(5, number), known_to_nobody(), start()).await;
    }
    world.begin(id(6, 1), known_to_nobody(), start()).await;
    let (world, copy) = world.copy().await;
    world.end(id(5, 1)).await;
    world.end(id(6, 1)).await;
    let ended = world.end(id(5, 2)).await;
    let world = world.restore(&copy, true).await;
    let at = known(ended);
    assert!(!world.store.is_alive(&id(5, 1), at, start()).await.unwrap());
    assert_eq!(world.store.find(&id(5, 2), at, start()).await.unwrap(), None);
    assert_eq!(world.refresh(&id(5, 2), 1, at, start()).await, None);
    assert!(world.store.is_alive(&id(5, 3), at, start()).await.unwrap());
    let at = LogPosition { required: 2, applied: ended };
    assert_eq!(world.refresh(&id(6, 1), 1, at, start()).await, None);
}

pub(super) async fn a_restored_store_is_noticed_by_a_server_that_remembers(world: World) {
    world.begin(id(5, 1), known_to_nobody(), start()).await;
    let (world, copy) = world.copy().await;
    world.end(id(5, 1)).await;
    // Only Redis can go back while the server runs: then the node need not even know its log.
    let forgetful = matches!(world.home, Home::File(_));
    let at = if forgetful { known(1) } else { known_to_nobody() };
    let world = world.restore(&copy, forgetful).await;
    assert!(!world.store.is_alive(&id(5, 1), at, start()).await.unwrap());
}

pub(super) async fn an_emptied_bucket_does_not_revive_what_ended(world: World) {
    let (world, empty) = world.copy().await;
    world.begin(id(5, 1), known_to_nobody(), start()).await;
    let ended = world.end(id(5, 1)).await;
    let world = world.restore(&empty, false).await;
    let at = known(ended);
    assert!(!world.store.is_alive(&id(5, 1), at, start()).await.unwrap());
    // And the bucket can be used as before.
    world.begin(id(5, 2), at, start()).await;
    assert!(world.store.is_alive(&id(5, 2), at, start()).await.unwrap());
}

pub(super) async fn ahead_counts_only_after_the_store_went_back(world: World) {
    world.begin(id(5, 1), known_to_nobody(), start()).await;
    let (world, copy) = world.copy().await;
    let mut generation = 1;
    for n in 1..=3 {
        let at = known_to_nobody();
        let Some(Refreshed::Rotated(state)) =
            world.refresh(&id(5, 1), generation, at, after(n * 100)).await
        else {
            panic!("it is the current one");
        };
        generation = state.generation;
    }
    let ahead = world.refresh(&id(5, 1), 9, known_to_nobody(), after(400)).await;
    assert_eq!(ahead, Some(Refreshed::Ahead { presented: 9, current: 4 }));
    let ended = world.end(id(5, 2)).await;
    let at = known(ended);
    let ahead = world.refresh(&id(5, 1), 9, at, after(400)).await;
    assert_eq!(ahead, Some(Refreshed::Ahead { presented: 9, current: 4 }), "an ending is no proof");

    let world = world.restore(&copy, true).await;
    let Some(Refreshed::Rotated(state)) = world.refresh(&id(5, 1), 4, at, after(500)).await else {
        panic!("the token is the better witness");
    };
    assert_eq!(state.generation, 5);
    let ahead = world.refresh(&id(5, 1), 9, at, after(600)).await;
    assert_eq!(ahead, Some(Refreshed::Ahead { presented: 9, current: 5 }), "once is enough");
}

/// Between its entry in the log and its deletion in the store a server died, or Redis was away. The next
/// ending in the same bucket must not make the marker pass it.
pub(super) async fn an_ending_that_never_reached_the_store_is_not_passed_over(world: World) {
    world.begin(id(5, 1), known_to_nobody(), start()).await;
    world.begin(id(5, 2), known_to_nobody(), start()).await;
    world.log.append_ending(id(5, 1)).await;
    let ended = world.end(id(5, 2)).await;
    let at = known(ended);
    assert!(!world.store.is_alive(&id(5, 1), at, start()).await.unwrap());
}

pub(super) async fn everything_is_there_after_a_new_start(world: World) {
    let key = Digest::of("a");
    world.begin(id(5, 1), known_to_nobody(), start()).await;
    let at = known(world.end(id(5, 2)).await);
    assert!(world.store.put(OneTime::Code, &key, b"v", after(1000), start()).await.unwrap());
    let Some(Refreshed::Rotated(state)) = world.refresh(&id(5, 1), 1, at, after(5)).await else {
        panic!("it is the current one");
    };
    let world = world.started_again().await;
    let (_, found) = world.store.find(&id(5, 1), at, after(5)).await.unwrap().unwrap();
    assert_eq!(found, state);
    let used = world.store.use_once(OneTime::Code, &key, start()).await.unwrap();
    assert_eq!(used, Used::First(b"v".into()));
}

pub(super) async fn an_unreachable_head_is_not_waited_for_forever(world: World) {
    // The node claims to know an ending that the database does not: nothing is answered rather than
    // something wrong.
    let at = LogPosition { required: 7, applied: 7 };
    let answer = world.store.is_alive(&id(5, 1), at, start()).await;
    assert!(matches!(answer, Err(TokenStoreError::Unavailable(_))), "{answer:?}");
}
