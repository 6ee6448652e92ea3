//! Whether a Redis can be relied on: what would lose or evict sessions, or cannot run the scripts, is refused when
//! a server starts. Later somebody may change it: then there is an alarm, and the server is not ready.

use crate::token_store::redis::Shared;
use crate::token_store::redis::connection::{Connection, Place};
use crate::token_store::redis::link::Link;
use ::redis::RedisResult;
use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, Weak};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const OLDEST: (u32, u32) = (6, 2);
/// Redis tells nobody when its configuration is changed.
const EXAMINE_EVERY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(2);

/// What is wrong with a Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unsuitable {
    Old(String),
    Replica,
    Evicting(String),
    /// It is asked as one server, and is one of several.
    OfACluster,
    NoCluster,
}

impl fmt::Display for Unsuitable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = OLDEST;
        match self {
            Self::Old(version) => {
                write!(f, "version {major}.{minor} or newer is needed, this one is {version:?}")
            }
            Self::Replica => f.write_str("it is a replica; name the primary"),
            Self::Evicting(policy) => write!(
                f,
                "its maxmemory-policy is {policy}, which throws sessions away; set noeviction"
            ),
            Self::OfACluster => {
                f.write_str("it is a node of a cluster: name that, as redis+cluster://")
            }
            Self::NoCluster => f.write_str("it is no cluster: name it as redis://"),
        }
    }
}

/// Asks every server that leads. None: nothing is wrong.
pub(super) async fn examine(connection: &mut Connection) -> RedisResult<Option<Unsuitable>> {
    let mut info = ::redis::cmd("INFO");
    let in_cluster = matches!(connection, Connection::Cluster(_));
    for (_, info) in connection.ask_leaders::<String>(info.arg("everything")).await? {
        if let Some(wrong) = of_info(&info, in_cluster) {
            return Ok(Some(wrong));
        }
    }
    let policies = policies(connection).await?;
    Ok(policies.iter().flatten().find_map(|(_, policy)| of_policy(policy)))
}

/// None: where Redis is run as a service, nobody may ask.
pub(super) async fn policies(
    connection: &mut Connection,
) -> RedisResult<Option<Vec<(Place, Policy)>>> {
    let mut policy = ::redis::cmd("CONFIG");
    policy.arg("GET").arg("maxmemory-policy");
    match connection.ask_leaders(&policy).await {
        Ok(policies) => Ok(Some(policies)),
        Err(error) if matches!(error.code(), Some("NOPERM" | "ERR")) => Ok(None),
        Err(error) => Err(error),
    }
}

type Policy = HashMap<String, String>;

fn of_info(info: &str, in_cluster: bool) -> Option<Unsuitable> {
    let version = field(info, "redis_version").unwrap_or_default();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
        return Some(Unsuitable::Old(version.to_owned()));
    }
    if field(info, "role") != Some("master") {
        return Some(Unsuitable::Replica);
    }
    match (field(info, "cluster_enabled"), in_cluster) {
        (Some("1"), false) => Some(Unsuitable::OfACluster),
        (Some("0"), true) => Some(Unsuitable::NoCluster),
        _ => None,
    }
}

fn of_policy(policy: &Policy) -> Option<Unsuitable> {
    match policy.get("maxmemory-policy").map(String::as_str) {
        Some("noeviction") | None => None,
        Some(policy) => Some(Unsuitable::Evicting(policy.to_owned())),
    }
}

/// A line of `INFO`.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Until the store is closed. A Redis that cannot be asked is not found to be better: what is known of it stays.
pub(super) async fn watch(link: Link, store: Weak<Shared>) {
    loop {
        sleep(EXAMINE_EVERY).await;
        let examined = timeout(PATIENCE, async {
            let mut connection = link.connection().await.ok()?;
            examine(&mut connection).await.ok()
        });
        let examined = examined.await.ok().flatten();
        let Some(store) = store.upgrade() else { return };
        let Some(found) = examined else { continue };
        let mut known = store.unsuitable.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == found {
            continue;
        }
        if let Some(why) = &found {
            tracing::error!(
                %why,
                "this Redis is not fit to be the token store any more; sessions may be lost until it is mended"
            );
        } else {
            tracing::info!("this Redis is fit to be the token store again");
        }
        *known = found;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(version: &str, role: &str, cluster: &str) -> String {
        format!(
            "# Server\r\nredis_version:{version}\r\nrole:{role}\r\ncluster_enabled:{cluster}\r\n"
        )
    }

    #[test]
    fn what_would_lose_sessions_is_told() {
        for (found, in_cluster, wrong) in [
            (info("6.2.0", "master", "0"), false, None),
            (info("7.0.15", "master", "1"), true, None),
            (info("10.0", "master", "0"), false, None),
            (info("6.0.16", "master", "0"), false, Some(Unsuitable::Old("6.0.16".into()))),
            (info("x", "master", "0"), false, Some(Unsuitable::Old("x".into()))),
            (String::new(), false, Some(Unsuitable::Old(String::new()))),
            (info("7.2.1", "slave", "0"), false, Some(Unsuitable::Replica)),
            (info("7.2.1", "master", "1"), false, Some(Unsuitable::OfACluster)),
            (info("7.2.1", "master", "0"), true, Some(Unsuitable::NoCluster)),
        ] {
            assert_eq!(of_info(&found, in_cluster), wrong, "{found}");
        }
        for (policy, evicts) in
            [("noeviction", false), ("allkeys-lru", true), ("volatile-ttl", true)]
        {
            let policy = HashMap::from([("maxmemory-policy".to_owned(), policy.to_owned())]);
            assert_eq!(of_policy(&policy).is_some(), evicts);
        }
        assert_eq!(of_policy(&HashMap::new()), None);
    }
}
