//! The walk over all sessions.

use crate::token_store::values::{IDLE, after, id, known, known_to_nobody, start};
use crate::token_store::world::World;
use rolemint::domain::Time;
use rolemint::domain::ids::SessionId;
use rolemint::domain::secret::Digest;
use rolemint::domain::session::Session;
use rolemint::token_store::{LogPosition, OneTime};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// The sessions that a walk comes to, in that order, with something done after each page.
pub(super) async fn walked(
    world: &World,
    at: LogPosition,
    now: Time,
    between: impl AsyncFn(&[Session]),
) -> Vec<SessionId> {
    let mut walk = world.store.walk(|_| at, now).await.unwrap();
    let mut found = Vec::new();
    while let Some(page) = walk.next(now).await.unwrap() {
        between(&page.sessions).await;
        found.extend(page.sessions.iter().map(|session| session.id));
    }
    found
}

pub(super) async fn a_walk_comes_to_each_session_that_lives_once(world: World) {
    assert_eq!(walked(&world, known_to_nobody(), start(), async |_| {}).await, []);
    let now = after(1000 * i64::from(IDLE));
    let all: Vec<SessionId> =
        (0..1500_u64).map(|n| id(u8::try_from(n % 256).unwrap(), n)).collect();
    for (n, id) in all.iter().enumerate() {
        // The first ones are idle for too long by now, and one is refreshed in time.
        let begun_at = if n < 10 { start() } else { now };
        world.begin(*id, known_to_nobody(), begun_at).await;
        world.store.put(OneTime::Code, &Digest::of(n.to_string()), b"v", now, now).await.unwrap();
    }
    world.refresh(&all[0], 1, known_to_nobody(), after(1)).await;
    let ended = all[20];
    world.end(ended).await;
    let expected = || {
        let idle = |(n, id): (usize, &SessionId)| (!(1..10).contains(&n)).then_some(*id);
        all.iter().enumerate().filter_map(idle).filter(|id| *id != ended).collect::<HashSet<_>>()
    };
    let found = walked(&world, known_to_nobody(), now, async |_| {}).await;
    assert_eq!((found.len(), found.into_iter().collect()), (expected().len(), expected()));

    // What is there all the while is found, whatever else comes and changes meanwhile.
    let next = AtomicU64::new(10_000);
    let found = walked(&world, known_to_nobody(), now, async |page| {
        for session in page {
            world.refresh(&session.id, 1, known_to_nobody(), now).await;
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number < 14_000 {
                let bucket = u8::try_from(number % 256).unwrap();
                world.begin(id(bucket, number), known_to_nobody(), now).await;
            }
        }
    })
    .await;
    let different: HashSet<SessionId> = found.iter().copied().collect();
    assert_eq!(different.len(), found.len());
    assert!(expected().is_subset(&different));
}

pub(super) async fn a_walk_through_a_restored_store_does_not_come_to_what_ended(world: World) {
    world.begin(id(7, 1), known_to_nobody(), start()).await;
    world.begin(id(7, 2), known_to_nobody(), start()).await;
    let (world, copy) = world.copy().await;
    let ended = world.end(id(7, 1)).await;
    let world = world.restore(&copy, true).await;
    assert_eq!(walked(&world, known(ended), start(), async |_| {}).await, [id(7, 2)]);
}

pub(super) async fn the_store_answers_a_ping(world: World) {
    world.store.ping().await.unwrap();
    world.store.for_this_thread().unwrap().ping().await.unwrap();
}
