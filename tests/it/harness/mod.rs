//! What the tests share: real servers, real clients, and three ways to run Rolemint.
//!
//! [`binary::Binary`] is the executable as a process (killed, restarted, with the machine's clock),
//! [`world::World`] is a server in this process with a clock that the test moves, [`nodes::Nodes`] is
//! several of them on the same stores, and a test over both pairs of stores is an `async fn` that
//! takes one, named in [`on_both_stores!`].

pub(crate) mod api;
pub(crate) mod binary;
pub(crate) mod crowd;
pub(crate) mod deployment;
pub(crate) mod feed;
pub(crate) mod flow;
pub(crate) mod http;
pub(crate) mod logs;
pub(crate) mod needs;
pub(crate) mod node;
pub(crate) mod nodes;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod redis_sets;
pub(crate) mod resource_server;
pub(crate) mod secrets;
pub(crate) mod servers;
pub(crate) mod world;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest as _, Sha256};

pub(crate) use self::needs::{Need, met};
pub(crate) use self::servers::{Pair, Stores};

/// Makes two tests, `name::sqlite_embedded` and `name::postgres_redis`, of each `async fn name(x: X)`
/// where `X` is set up on stores ([`SetUp`]).
macro_rules! on_both_stores {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[test]
            fn sqlite_embedded() {
                $crate::harness::on($crate::harness::Pair::SqliteEmbedded, super::$name);
            }

            #[test]
            fn postgres_redis() {
                $crate::harness::on($crate::harness::Pair::PostgresRedis, super::$name);
            }
        })+
    };
}
pub(crate) use on_both_stores;

/// As [`on_both_stores!`], for what no store has a part in: on the embedded ones alone.
macro_rules! on_embedded_stores {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[test]
            fn sqlite_embedded() {
                $crate::harness::on($crate::harness::Pair::SqliteEmbedded, super::$name);
            }
        })+
    };
}
pub(crate) use on_embedded_stores;

/// Something that a test is given, on stores of its own.
pub(crate) trait SetUp: Sized {
    /// What it needs beside the stores.
    const NEEDS: &'static [Need];

    async fn set_up(stores: Stores) -> Self;
}

impl SetUp for Stores {
    const NEEDS: &'static [Need] = &[];

    async fn set_up(stores: Stores) -> Self {
        stores
    }
}

/// Runs a test on stores of its own, or leaves it out.
pub(crate) fn on<T: SetUp>(pair: Pair, test: impl AsyncFnOnce(T)) {
    if met(&[pair.needs(), T::NEEDS].concat()) {
        run(async { test(T::set_up(Stores::start(pair)).await).await });
    }
}

/// How often a test does what it repeats. Its long form is this variable set to a bigger number, and may
/// take an hour.
pub(crate) fn rounds(variable: &str, usual: u64) -> u64 {
    assert!(variable.starts_with(LONG), "{variable}");
    std::env::var(variable).map_or(usual, |rounds| rounds.parse().unwrap())
}

const LONG: &str = "ROLEMINT_LONG_";

/// Runs an asynchronous test, for at most three minutes.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let long = std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with(LONG));
    let limit = Duration::from_secs(if long { 3600 } else { 180 });
    runtime.block_on(async { tokio::time::timeout(limit, test).await.expect("done in time") })
}

/// What comes of asking again and again. How soon is measured elsewhere: here a busy machine may take its time.
pub(crate) async fn soon<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let answer = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| panic!("{what}: not in {limit:?}"))
}

/// The name of the running test, as long as the test runner gives each its own thread.
pub(crate) fn test_name() -> String {
    std::thread::current().name().unwrap_or("unnamed").to_owned()
}

/// A port that nothing listens on. It is below the range from which the system takes ports for
/// connections, and is given out once, so that it is still free when its server takes it.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 16_000;
    const COUNT: u16 = 16_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..1000 {
        let offset = u64::from(std::process::id()).wrapping_mul(7919) % u64::from(COUNT);
        let next = u64::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + u16::try_from((offset + next) % u64::from(COUNT)).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// 32 bytes that are different at every call, in base64url: a password, a secret, a key.
pub(crate) fn unguessable() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let seed = format!("{} {number} {:p}", std::process::id(), &raw const NUMBER);
    BASE64URL_NOPAD.encode(&Sha256::digest(seed))
}
