//! What is used once: codes, sign-ins under way, tokens that were seen.

use crate::token_store::values::{after, start};
use crate::token_store::world::World;
use chrono::TimeDelta;
use rolemint::domain::secret::Digest;
use rolemint::token_store::{OneTime, Used};

pub(super) async fn what_is_put_is_there_once(world: World) {
    let (store, key) = (&world.store, Digest::of("a"));
    let put = async |value: &'static [u8], expires_at, now| {
        store.put(OneTime::Replay, &key, value, expires_at, now).await.unwrap()
    };
    assert!(put(b"1", after(60_000), start()).await);
    assert!(!put(b"2", after(60_000), start()).await);
    assert!(!put(b"2", after(120_000), after(59_999)).await);
    assert!(put(b"3", after(120_000), after(60_000)).await, "it had expired");
    assert_eq!(
        store.take(OneTime::Replay, &key, after(60_000)).await.unwrap().as_deref(),
        Some(b"3".as_slice())
    );
    assert!(put(b"", after(60_000), start()).await, "it had been taken");
    assert_eq!(
        store.take(OneTime::Replay, &key, start()).await.unwrap().as_deref(),
        Some(b"".as_slice())
    );
}

pub(super) async fn what_is_taken_is_gone(world: World) {
    let (store, key) = (&world.store, Digest::of("a"));
    let value: Vec<u8> = (0..=255).cycle().take(5000).collect();
    assert_eq!(store.take(OneTime::Login, &key, start()).await.unwrap(), None);
    assert!(store.put(OneTime::Login, &key, &value, after(1000), start()).await.unwrap());
    assert_eq!(store.take(OneTime::Login, &key, after(999)).await.unwrap(), Some(value));
    assert_eq!(store.take(OneTime::Login, &key, start()).await.unwrap(), None);
}

pub(super) async fn kinds_never_meet(world: World) {
    let (store, key) = (&world.store, Digest::of("a"));
    let kinds = [OneTime::Login, OneTime::Code, OneTime::Replay];
    for (kind, value) in kinds.into_iter().zip([b"l", b"c", b"r"]) {
        assert!(store.put(kind, &key, value, after(1000), start()).await.unwrap());
    }
    for (kind, value) in kinds.into_iter().zip([b"l", b"c", b"r"]) {
        let taken = store.take(kind, &key, start()).await.unwrap();
        assert_eq!(taken.as_deref(), Some(value.as_slice()));
    }
}

pub(super) async fn a_use_is_remembered_beyond_expiry(world: World) {
    let (store, key) = (&world.store, Digest::of("a"));
    let ten_minutes = 10 * 60 * 1000;
    let use_once = async |now| store.use_once(OneTime::Code, &key, now).await.unwrap();
    assert_eq!(use_once(start()).await, Used::Unknown);
    assert!(store.put(OneTime::Code, &key, b"v", after(60_000), start()).await.unwrap());
    assert_eq!(use_once(after(59_999)).await, Used::First(b"v".into()));
    assert_eq!(use_once(after(59_999)).await, Used::Again(b"v".into()));
    assert_eq!(use_once(after(60_000 + ten_minutes - 1)).await, Used::Again(b"v".into()));
    assert!(!store.put(OneTime::Code, &key, b"w", after(999_999), after(60_001)).await.unwrap());
    assert_eq!(use_once(after(60_000 + ten_minutes)).await, Used::Unknown);
    assert_eq!(store.take(OneTime::Code, &key, start()).await.unwrap(), None, "it was used");

    let late = Digest::of("late");
    assert!(store.put(OneTime::Code, &late, b"v", after(60_000), start()).await.unwrap());
    let used = store.use_once(OneTime::Code, &late, after(60_000)).await.unwrap();
    assert_eq!(used, Used::Unknown, "it had expired before its first use");
}

pub(super) async fn our_now_decides_on_expiry(world: World) {
    let (store, key) = (&world.store, Digest::of("a"));
    // Long past by any other clock, and days away from each other: only the values count.
    for now in [start() - TimeDelta::days(4000), start(), start() + TimeDelta::days(4000)] {
        let expires_at = now + TimeDelta::seconds(60);
        assert!(store.put(OneTime::Login, &key, b"v", expires_at, now).await.unwrap());
        assert!(!store.put(OneTime::Login, &key, b"v", expires_at, now).await.unwrap());
        let taken = store.take(OneTime::Login, &key, expires_at - TimeDelta::milliseconds(1));
        assert!(taken.await.unwrap().is_some());
        assert!(store.put(OneTime::Login, &key, b"v", expires_at, now).await.unwrap());
        assert!(store.take(OneTime::Login, &key, expires_at).await.unwrap().is_none());
    }
}

pub(super) async fn one_of_fifty_uses_is_the_first(world: World) {
    let key = Digest::of("a");
    assert!(world.store.put(OneTime::Code, &key, b"v", after(1000), start()).await.unwrap());
    let uses: Vec<_> = (0..50)
        .map(|_| {
            let store = world.store.clone();
            tokio::spawn(async move { store.use_once(OneTime::Code, &key, start()).await.unwrap() })
        })
        .collect();
    let (mut first, mut again) = (0, 0);
    for used in uses {
        match used.await.unwrap() {
            Used::First(_) => first += 1,
            Used::Again(_) => again += 1,
            Used::Unknown => panic!("it is known"),
        }
    }
    assert_eq!((first, again), (1, 49));
}

pub(super) async fn one_of_fifty_takes_gets_it(world: World) {
    let key = Digest::of("a");
    assert!(world.store.put(OneTime::Login, &key, b"v", after(1000), start()).await.unwrap());
    let takes: Vec<_> = (0..50)
        .map(|_| {
            let store = world.store.clone();
            tokio::spawn(async move { store.take(OneTime::Login, &key, start()).await.unwrap() })
        })
        .collect();
    let mut got = 0;
    for taken in takes {
        got += usize::from(taken.await.unwrap().is_some());
    }
    assert_eq!(got, 1);
}
