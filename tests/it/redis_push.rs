//! What one server writes into the revocation log the others hear of through Redis, and read for themselves where
//! they hear nothing.

use std::time::Duration;

use redis::Connection;
use serde_json::Value;
use toml::Table;

use crate::harness::nodes::{Apart, Nodes};
use crate::harness::{Need, Pair, Stores, met, run, soon};

/// Two nodes that read the log at their start, and then once a minute.
async fn hardly_reading() -> Nodes {
    let mut nodes = Nodes::one(Stores::start(Pair::PostgresRedis), |deployment| deployment).await;
    let slow = |configuration: &mut Table| {
        let revocation: Table = toml::toml! { poll_interval_ms = 60000 stale_after = 600 };
        configuration.insert("revocation".to_owned(), revocation.into());
    };
    nodes.world.reconfigure(slow).await;
    nodes.add(Apart::default()).await;
    nodes
}

async fn is_active(nodes: &Nodes, node: usize, token: &Value) -> bool {
    nodes.introspect(node, token).await.expect(200).json()["active"].as_bool().unwrap()
}

/// An access token of its own: its end stands in the log alone.
async fn token(nodes: &Nodes) -> Value {
    let token = nodes.world.sign_in("dana").await["access_token"].clone();
    for node in 0..2 {
        assert!(is_active(nodes, node, &token).await);
    }
    token
}

fn allow(connection: &mut Connection, rule: &str) {
    redis::cmd("ACL").arg(&["SETUSER", "default", rule]).exec(connection).unwrap();
}

/// How many servers listen.
fn listeners(connection: &mut Connection) -> usize {
    let question = ["NUMSUB", "rolemint:revocations"];
    let (_, count): (String, usize) =
        redis::cmd("PUBSUB").arg(&question).query(connection).unwrap();
    count
}

fn on_redis(test: impl AsyncFnOnce()) {
    if met(&[Pair::PostgresRedis.needs(), &[Need::Node]].concat()) {
        run(async { Box::pin(test()).await });
    }
}

#[test]
fn what_one_node_revokes_the_other_hears_of() {
    on_redis(async || {
        let nodes = Box::pin(hardly_reading()).await;
        for (here, there) in [(0, 1), (1, 0)] {
            let token = token(&nodes).await;
            nodes.revoke(here, "web", &token).await.expect(200);
            let heard = async || (!is_active(&nodes, there, &token).await).then_some(());
            soon("the end of a token", heard).await;
        }
    });
}

#[test]
fn whoever_begins_to_listen_catches_up_on_what_was_missed() {
    on_redis(async || {
        let mut nodes = Box::pin(hardly_reading()).await;
        let token = token(&nodes).await;
        let mut connection = nodes.world.stores().redis.as_ref().unwrap().connection();
        allow(&mut connection, "-subscribe");
        redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).exec(&mut connection).unwrap();
        assert_eq!(listeners(&mut connection), 0);
        nodes.revoke(0, "web", &token).await.expect(200);
        assert!(is_active(&nodes, 1, &token).await, "it cannot know");
        allow(&mut connection, "+subscribe");
        let heard = async || (!is_active(&nodes, 1, &token).await).then_some(());
        soon("the end of a token", heard).await;
    });
}

#[test]
fn whoever_hears_nothing_reads_the_log() {
    on_redis(async || {
        let nodes = Nodes::one(Stores::start(Pair::PostgresRedis), |deployment| deployment);
        let mut nodes = Box::pin(nodes).await;
        Box::pin(nodes.add(Apart::default())).await;
        let token = token(&nodes).await;
        let mut connection = nodes.world.stores().redis.as_ref().unwrap().connection();
        for rule in ["-subscribe", "-publish"] {
            allow(&mut connection, rule);
        }
        redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).exec(&mut connection).unwrap();
        nodes.revoke(0, "web", &token).await.expect(200);
        let read = async || (!is_active(&nodes, 1, &token).await).then_some(());
        tokio::time::timeout(Duration::from_secs(5), soon("the end of a token", read))
            .await
            .expect("within five seconds");
    });
}
