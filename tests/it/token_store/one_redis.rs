//! What the store in Redis owes beyond the contract.

use crate::harness::soon;
use crate::token_store::values::{
    GRACE, IDLE, after, id, known, known_to_nobody, millis, rotating, session, start,
};
use crate::token_store::walk::a_walk_comes_to_each_session_that_lives_once;
use crate::token_store::world::{Folder, Home, Log, RedisServer, World, no_log};
use rolemint::domain::secret::Digest;
use rolemint::domain::session::{RefreshState, Refreshed};
use rolemint::token_store::{LogPosition, OneTime, TokenStore, TokenStoreError, Used};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_answers_over_its_unix_socket() {
    let Some(server) = RedisServer::start() else { return };
    let url = format!("redis+unix://{}", server.socket().display());
    TokenStore::open_redis(&url, no_log().await).await.unwrap().ping().await.unwrap();
}

/// The rules of an access list that docs/configuration.md names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_of_redis_needs_no_more_than_is_documented() {
    const RULES: &str = "+@all -@dangerous +config|get +info +role +cluster|slots +cluster|nodes";
    let documentation = include_str!("../../../docs/configuration.md").replace('\n', " ");
    assert!(documentation.contains(RULES));
    let Some(server) = RedisServer::start() else { return };
    let mut user = redis::cmd("ACL");
    user.arg(&["SETUSER", "rolemint", "on", ">pw", "~*", "&rolemint:revocations"]);
    user.arg(RULES.split(' ').collect::<Vec<_>>()).exec(&mut server.connect().unwrap()).unwrap();
    let url = format!("redis://rolemint:pw@127.0.0.1:{}", server.port);
    let log = Log::empty().await;
    let store = TokenStore::open_redis(&url, log.database.clone()).await.unwrap();
    store.ping().await.unwrap();
    let heard = store.announced();
    // Whoever has not begun to listen hears the next one.
    let next = AtomicU64::new(7);
    let hear = async || {
        store.announce(next.fetch_add(1, Ordering::Relaxed));
        (*heard.borrow() >= 7).then_some(())
    };
    soon("an announcement", hear).await;
    let home = Home::Redis(server);
    a_walk_comes_to_each_session_that_lives_once(World { store, log, home }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_would_lose_sessions_is_refused() {
    let evicting = ["--maxmemory-policy", "allkeys-lru"];
    let Some(server) = RedisServer::start_with(&evicting) else { return };
    let error = TokenStore::open_redis(&server.url(), no_log().await).await.err().unwrap();
    assert!(error.to_string().contains("noeviction"), "{error}");

    let replica = ["--replicaof", "127.0.0.1", "1"];
    let Some(server) = RedisServer::start_with(&replica) else { return };
    let error = TokenStore::open_redis(&server.url(), no_log().await).await.err().unwrap();
    assert!(error.to_string().contains("replica"), "{error}");

    let error = TokenStore::open_redis("redis//:secret@x", no_log().await).await.err().unwrap();
    assert!(matches!(error, TokenStoreError::Unsuitable(_)));
    assert!(!format!("{error:?}").contains("secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_gone_is_reported_at_once_and_used_again_when_it_is_back() {
    let Some(mut world) = World::redis().await else { return };
    let Home::Redis(server) = &mut world.home else { panic!() };
    let port = server.port;
    server.kill();
    for _ in 0..3 {
        let asked = Instant::now();
        let answer = world.store.is_alive(&id(1, 1), known_to_nobody(), start()).await;
        assert!(matches!(answer, Err(TokenStoreError::Unavailable(_))), "{answer:?}");
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
    world.home = Home::Redis(RedisServer::start_on(port, Folder::new(), &[]).unwrap().unwrap());
    soon("Redis", async || world.store.ping().await.ok()).await;
    // Scripts are gone with the old one.
    world.begin(id(1, 1), known_to_nobody(), start()).await;
    assert!(world.store.is_alive(&id(1, 1), known_to_nobody(), start()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_silent_is_given_up_soon_and_no_answer_goes_astray() {
    let Some(world) = World::redis().await else { return };
    let Home::Redis(server) = &world.home else { panic!() };
    for number in 0..20 {
        let (key, value) = (Digest::of([number]), [number]);
        let put = world.store.put(OneTime::Code, &key, &value, after(60_000), start());
        assert!(put.await.unwrap());
    }
    server.signal("-STOP");
    let asked = Instant::now();
    let asking: Vec<_> = (0..10_u8)
        .map(|number| {
            let store = world.store.clone();
            tokio::spawn(async move {
                store.use_once(OneTime::Code, &Digest::of([number]), start()).await
            })
        })
        .collect();
    for answer in asking {
        assert!(matches!(answer.await.unwrap(), Err(TokenStoreError::Unavailable(_))));
    }
    assert!(asked.elapsed() < Duration::from_millis(1500), "{:?}", asked.elapsed());
    server.signal("-CONT");
    for number in 0..20_u8 {
        let key = Digest::of([number]);
        let use_once = async || world.store.use_once(OneTime::Code, &key, start()).await.ok();
        match soon("Redis", use_once).await {
            // What was asked for while nobody answered may have been done.
            Used::First(value) | Used::Again(value) => assert_eq!(value, [number]),
            Used::Unknown => panic!("it is known"),
        }
    }
}

/// Nothing has ended in the bucket, but the server remembers that it wrote there with a longer log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_write_moves_the_marker_so_that_going_back_is_noticed_without_an_ending() {
    let Some(world) = World::redis().await else { return };
    world.begin(id(5, 1), known_to_nobody(), start()).await;
    let (world, copy) = world.copy().await;
    let at = LogPosition { required: 0, applied: world.end(id(6, 1)).await };
    for generation in 1..=2 {
        let refreshed = world.refresh(&id(5, 1), generation, at, after(100)).await;
        assert!(matches!(refreshed, Some(Refreshed::Rotated(_))), "{refreshed:?}");
    }
    let world = world.restore(&copy, false).await;
    let refreshed = world.refresh(&id(5, 1), 3, at, after(200)).await;
    assert!(matches!(refreshed, Some(Refreshed::Rotated(_))), "{refreshed:?}");
}

/// A real copy of a real Redis, brought back after a thousand endings: nothing that has ended lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_from_before_a_thousand_endings_revives_none() {
    const SESSIONS: u64 = 1000;
    let Some(mut world) = World::redis().await else { return };
    let nth = |number: u64| id(u8::try_from(number % 256).unwrap(), number);
    for number in 0..SESSIONS + 10 {
        world.begin(nth(number), known_to_nobody(), start()).await;
    }
    let Home::Redis(server) = &mut world.home else { panic!() };
    redis::cmd("SAVE").exec(&mut server.connect().unwrap()).unwrap();
    let snapshot = server.folder.0.join("dump.rdb");
    let copy = std::fs::read(&snapshot).unwrap();
    let mut ended = HashMap::new();
    for number in 0..SESSIONS {
        ended.insert(nth(number).bucket(), world.end(nth(number)).await);
    }
    let Home::Redis(server) = &mut world.home else { panic!() };
    let port = server.port;
    server.kill();
    let folder = Folder::new();
    std::fs::write(folder.0.join("dump.rdb"), copy).unwrap();
    world.home = Home::Redis(RedisServer::start_on(port, folder, &[]).unwrap().unwrap());
    soon("Redis", async || world.store.ping().await.ok()).await;
    for number in 0..SESSIONS {
        let at = known(ended[&nth(number).bucket()]);
        assert!(!world.store.is_alive(&nth(number), at, start()).await.unwrap(), "{number}");
        assert_eq!(world.refresh(&nth(number), 1, at, start()).await, None, "{number}");
    }
    for number in SESSIONS..SESSIONS + 10 {
        let at = known(ended[&nth(number).bucket()]);
        assert!(world.store.is_alive(&nth(number), at, start()).await.unwrap(), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_expires_and_a_session_shares_a_slot_with_its_marker() {
    let Some(world) = World::redis().await else { return };
    let Home::Redis(server) = &world.home else { panic!() };
    let at = known(world.end(id(0xab, 1)).await);
    world.begin(id(0xab, 2), at, start()).await;
    world.refresh(&id(0xab, 2), 1, at, after(5)).await;
    world.refresh(&id(0xab, 2), 1, at, after(5 + GRACE)).await;
    for (kind, key) in [(OneTime::Login, "l"), (OneTime::Code, "c"), (OneTime::Replay, "r")] {
        let key = Digest::of(key);
        assert!(world.store.put(kind, &key, b"v", after(1000), start()).await.unwrap());
    }
    world.store.use_once(OneTime::Code, &Digest::of("c"), start()).await.unwrap();
    let keys = server.keys();
    assert_eq!(keys.len(), 5);
    let mut connection = server.connect().unwrap();
    for key in &keys {
        let left: i64 = redis::cmd("PTTL").arg(key).query(&mut connection).unwrap();
        assert!(left > 0, "{key:?}: {left}");
    }
    let sessions: Vec<_> = keys.iter().filter(|key| key.starts_with(b"{s:ab}")).collect();
    assert_eq!(sessions.len(), 2);
}

/// `cargo test -- --nocapture bytes` prints the figure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_takes_less_than_300_bytes_of_redis() {
    const SESSIONS: u64 = 10_000;
    let Some(world) = World::redis().await else { return };
    let Home::Redis(server) = &world.home else { panic!() };
    world.begin(id(0, 1 << 40), known_to_nobody(), start()).await;
    world.refresh(&id(0, 1 << 40), 1, known_to_nobody(), start()).await;
    let before = server.used_memory();
    let writers: Vec<_> = (0..20)
        .map(|writer| {
            let store = world.store.clone();
            tokio::spawn(async move {
                for n in (writer..SESSIONS).step_by(20) {
                    let id =
                        id(u8::try_from(n % 256).unwrap(), n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                    let session = session(id, start());
                    let ends_at = millis(session.ends_at);
                    let idle = i64::from(IDLE) * 1000;
                    let state = RefreshState::begin(millis(start()), idle, ends_at);
                    let at = known_to_nobody();
                    store.begin(&session, &state, at, start()).await.unwrap();
                    let offer = rotating(1);
                    store.refresh(&id, &offer, at, after(60_000)).await.unwrap().unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let bytes = (server.used_memory() - before) / i64::try_from(SESSIONS).unwrap();
    eprintln!("{bytes} bytes of Redis a session");
    assert!(bytes < 300, "{bytes}");
}
