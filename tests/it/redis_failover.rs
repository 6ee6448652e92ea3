//! Servers of Redis die or hang while people use the sessions that they hold, and others take their place.

use std::time::Duration;

use rolemint::clock::Clock;
use rolemint::database::{Database, Location};
use rolemint::domain::secret::{Digest, Secret};
use rolemint::token_store::{OneTime, RedisAddress, RedisCredentials, TokenStore};
use toml::Table;

use crate::harness::crowd::Crowd;
use crate::harness::redis_sets::{RedisCluster, Watched};
use crate::harness::world::World;
use crate::harness::{Need, Pair, Stores, met, run, soon};

/// Runs a test on PostgreSQL and the Redis of this section of the configuration.
async fn on(token_store: Table) -> World {
    World::with(Stores::start(Pair::PostgresRedis).elsewhere(token_store), |it| it).await
}

fn all_there() -> bool {
    met(&[Pair::PostgresRedis.needs(), &[Need::Node]].concat())
}

#[test]
fn leaders_of_a_cluster_die_and_hang_and_nothing_is_lost_that_was_acknowledged() {
    if !all_there() {
        return;
    }
    run(async {
        let mut cluster = RedisCluster::start();
        let section = Table::from_iter([("url".to_owned(), cluster.url().into())]);
        let world = Box::pin(on(section)).await;
        let crowd = Crowd::during(&world, async || {
            let three_lead = async |cluster: &RedisCluster| {
                let three = async || (cluster.leaders().len() == 3).then_some(());
                soon("another that leads", three).await;
            };
            cluster.nodes[0].kill();
            three_lead(&cluster).await;
            cluster.heals();
            cluster.nodes[0].start_again();
            tokio::time::sleep(Duration::from_secs(1)).await;
            // One that hangs answers nothing, and closes nothing either.
            let hangs = cluster.leaders()[1];
            cluster.nodes[hangs].pause();
            three_lead(&cluster).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            cluster.nodes[hangs].resume();
            cluster.heals();
        });
        Box::pin(Box::pin(crowd).await.expect_nothing_broken(&world)).await;
    });
}

#[test]
fn a_watched_leader_dies_and_hangs_and_nothing_is_lost_that_was_acknowledged() {
    if !all_there() {
        return;
    }
    run(async {
        let mut watched = Watched::start();
        let (url, password) = (watched.url(), watched.sentinel_password.clone());
        let section = [("url", url), ("sentinel_password", password)];
        let section = section.map(|(name, value)| (name.to_owned(), value.into()));
        let world = Box::pin(on(Table::from_iter(section))).await;
        let crowd = Crowd::during(&world, async || {
            let first = watched.leader();
            watched.servers[first].kill();
            // One Sentinel of three may be away too.
            watched.sentinels[0].kill();
            watched.replaces(first);
            watched.servers[first].start_again();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let second = watched.leader();
            watched.servers[second].pause();
            watched.replaces(second);
            tokio::time::sleep(Duration::from_secs(2)).await;
            // It comes back and takes itself for the one that leads, until it is told.
            watched.servers[second].resume();
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        Box::pin(Box::pin(crowd).await.expect_nothing_broken(&world)).await;
    });
}

#[test]
fn sentinels_are_asked_with_their_own_password() {
    if !met(&[Need::Redis]) {
        return;
    }
    run(async {
        let watched = Watched::start();
        let open = async |password: Option<&str>| {
            let sentinel_password = password.map(|password| Secret::new(password.to_owned()));
            let credentials = RedisCredentials { sentinel_password, ..RedisCredentials::default() };
            let address = RedisAddress::parse(&watched.url(), &credentials).unwrap();
            let database = Database::open(Location::Sqlite(":memory:".into()), 1).await.unwrap();
            TokenStore::open_redis_at(address, database).await
        };
        let store = open(Some(&watched.sentinel_password)).await.unwrap();
        let (key, now) = (Digest::of("k"), Clock::System.now());
        let later = now + chrono::TimeDelta::minutes(1);
        assert!(store.put(OneTime::Code, &key, b"v", later, now).await.unwrap());
        for wrong in [None, Some("another")] {
            let error = open(wrong).await.err().unwrap();
            assert!(!format!("{error:?}").contains(&watched.sentinel_password), "{error:?}");
        }
    });
}
