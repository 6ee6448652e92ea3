//! The revocation log with many writers at once: whoever follows it sees neither a gap nor a late arrival, and
//! its head holds nobody up.
//!
//! `ROLEMINT_LONG_LOG=100000` appends so many entries instead of a few thousand.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use rolemint::clock::Clock;
use rolemint::database::Database;
use rolemint::database::log::{append_revocation, read_after};
use rolemint::domain::ids::TokenId;
use rolemint::domain::revocation::{NewRevocation, RevocationTarget};
use rolemint::signing::random;

use crate::harness::servers::Postgres;
use crate::harness::world::{open, open_with};
use crate::harness::{Need, Pair, Stores, met, on_both_stores, rounds, run};

on_both_stores!(whoever_follows_the_log_sees_it_whole);

const WRITERS: u64 = 10;
const READERS: u64 = 4;

/// What no other entry names: its writer, and which of that writer's it is.
fn name(writer: u64, number: u64) -> TokenId {
    let [mut id, number] = [writer, number].map(|part| part.to_be_bytes().to_vec());
    id.extend(number);
    TokenId::new(id.try_into().unwrap())
}

fn revocation(id: TokenId) -> NewRevocation {
    NewRevocation {
        target: RevocationTarget::Token(id),
        tenant: None,
        audience: Vec::new(),
        expires_at: Clock::System.now() + TimeDelta::hours(1),
        by: None,
        reason: "a test".to_owned(),
    }
}

fn below(limit: u64) -> u64 {
    u64::from_be_bytes(random().unwrap()) % limit
}

/// Every seventh is taken back, and some take their time: positions are given out in another order than
/// that in which others would have committed.
async fn write(database: &Database, writer: u64, count: u64) -> BTreeMap<u64, TokenId> {
    let mut acknowledged = BTreeMap::new();
    for number in 0..count {
        let id = name(writer, number);
        let taken_back = number % 7 == 3;
        let delay = Duration::from_micros(below(4) * 300);
        let written = database.attempt(move |c| {
            let entry = append_revocation(c, &revocation(id), Clock::System.now())?;
            std::thread::sleep(delay);
            Ok(if taken_back { Err(()) } else { Ok(entry.position) })
        });
        match written.await {
            Ok(Ok(position)) => assert!(acknowledged.insert(position, id).is_none()),
            Ok(Err(())) => assert!(taken_back),
            // Its connection was cut: it may stand in the log, but nobody was told so.
            Err(_) => {}
        }
    }
    acknowledged
}

/// Follows the log from a random position of those that there are, until all that was written was seen.
async fn follow(database: Database, over: Arc<AtomicBool>) -> BTreeMap<u64, TokenId> {
    let mut seen = BTreeMap::new();
    let mut after = None;
    loop {
        let last = over.load(Ordering::SeqCst);
        let read =
            move |from: u64| move |c: &mut _| read_after(c, from, u64::MAX, Clock::System.now());
        let batch = match database.read(read(after.unwrap_or(0))).await {
            Ok(batch) => batch,
            Err(_) if !last => continue,
            Err(error) => panic!("{error}"),
        };
        let Some(from) = after else {
            after = Some(below(batch.revocation_head + 1));
            continue;
        };
        let positions: Vec<_> = batch.revocations.iter().map(|entry| entry.position).collect();
        let expected: RangeInclusive<u64> = from + 1..=batch.revocation_head;
        assert!(positions.iter().copied().eq(expected), "after {from}: {positions:?}");
        for entry in batch.revocations {
            let RevocationTarget::Token(id) = entry.target else { panic!("{entry:?}") };
            assert!(seen.insert(entry.position, id).is_none());
        }
        after = Some(batch.revocation_head);
        if last {
            return seen;
        }
        tokio::time::sleep(Duration::from_micros(below(5000))).await;
    }
}

async fn whoever_follows_the_log_sees_it_whole(stores: Stores) {
    let url = stores.database_url.clone();
    open(&url).await.migrate().await.unwrap();
    let each = rounds("ROLEMINT_LONG_LOG", 2_000) / WRITERS;
    let over = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(tokio::spawn(follow(open(&url).await, Arc::clone(&over))));
    }
    // Half of them in one process, each other in one of its own.
    let shared = open_with(&url, 5).await;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let database = if writer % 2 == 0 { shared.clone() } else { open(&url).await };
        writers.push(tokio::spawn(async move { write(&database, writer, each).await }));
    }
    if stores.pair == Pair::PostgresRedis {
        // Now and then somebody's connection ends in the middle of whatever it is doing.
        let name = url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
        while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
            let cut = format!(
                "select count(pg_terminate_backend(pid)) from (select pid from pg_stat_activity \
                 where datname = '{name}' order by random() limit 1) victims"
            );
            let sql = move || Postgres::shared().sql("postgres", &cut);
            tokio::task::spawn_blocking(sql).await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let mut acknowledged = BTreeMap::new();
    for writer in writers {
        for (position, id) in writer.await.unwrap() {
            assert!(acknowledged.insert(position, id).is_none(), "{position} was given out twice");
        }
    }
    over.store(true, Ordering::SeqCst);

    let read = |c: &mut _| read_after(c, 0, u64::MAX, Clock::System.now());
    let log = open(&url).await.read(read).await.unwrap();
    let head = log.revocation_head;
    assert!(log.revocations.iter().map(|entry| entry.position).eq(1..=head), "without a gap");
    let log = log.revocations.into_iter().map(|entry| match entry.target {
        RevocationTarget::Token(id) => (entry.position, id),
        other => panic!("{other:?}"),
    });
    let log: BTreeMap<_, _> = log.collect();
    for (position, id) in &acknowledged {
        assert_eq!(log.get(position), Some(id), "acknowledged at {position}");
    }
    for writer in 0..WRITERS {
        for number in (3..each).step_by(7) {
            let id = name(writer, number);
            assert!(log.values().all(|other| *other != id), "{number} was taken back");
        }
    }
    let cut = log.len() - acknowledged.len();
    assert!(cut == 0 || stores.pair == Pair::PostgresRedis, "{cut} that nobody was told of");
    for reader in readers {
        let seen = reader.await.unwrap();
        let from = seen.keys().next().copied().unwrap_or(head + 1);
        let tail: BTreeMap<_, _> = log.range(from..).map(|(at, id)| (*at, *id)).collect();
        assert_eq!(seen, tail, "what it saw is the log");
    }
}

/// Entries a second, each in a transaction of its own and acknowledged.
async fn rate(database: &Database, parallel: u64, length: Duration) -> f64 {
    let appended = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let writers = (0..parallel).map(|_| {
        let (database, appended) = (database.clone(), Arc::clone(&appended));
        tokio::spawn(async move {
            while began.elapsed() < length {
                let revocation = revocation(TokenId::new(random().unwrap()));
                let now = Clock::System.now();
                let append = move |c: &mut _| append_revocation(c, &revocation, now);
                // On a machine that does too many other things it may come to nothing in time.
                if database.write(append).await.is_ok() {
                    appended.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let appended = u32::try_from(appended.load(Ordering::Relaxed)).unwrap();
    f64::from(appended) / began.elapsed().as_secs_f64()
}

/// Many at once are not slower than one alone, with a margin for a machine that does other things too.
/// How many there are in a second is printed (`--nocapture`); 10,000 in a minute are 167.
async fn hold_up_nobody(what: &str, url: &str) {
    let database = open_with(url, 10).await;
    database.migrate().await.unwrap();
    let mut rates = Vec::new();
    for parallel in [1, 8, 64] {
        let rate = rate(&database, parallel, Duration::from_secs(2)).await;
        eprintln!("{what}: {parallel} at once: {rate:.0} entries a second");
        rates.push(rate);
    }
    assert!(rates.iter().all(|rate| *rate > rates[0] / 3.0), "{what}: {rates:?}");
}

#[test]
fn the_head_of_the_log_is_no_bottleneck_on_sqlite() {
    run(async {
        let stores = Stores::start(Pair::SqliteEmbedded);
        hold_up_nobody("SQLite", &stores.database_url).await;
    });
}

#[test]
fn the_head_of_the_log_is_no_bottleneck_on_postgresql() {
    if !met(&[Need::Postgres]) {
        return;
    }
    run(async {
        // One that really writes to the disk.
        let cluster = Postgres::start();
        cluster.set("fsync", "on");
        hold_up_nobody("PostgreSQL", &cluster.database()).await;
    });
}
