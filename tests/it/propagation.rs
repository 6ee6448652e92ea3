//! How soon a revocation counts on every other node: three processes on one PostgreSQL and one Redis.
//!
//! `ROLEMINT_LONG_PROPAGATION=10000` revokes so many tokens; what was measured is printed (`--nocapture`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::binary::Served;
use crate::harness::http::with_form;
use crate::harness::process::Server;
use crate::harness::{Need, Pair, SetUp as _, Stores, http, met, rounds, run, secrets};

/// Revocations that are under way at once.
const AT_ONCE: usize = 8;
/// A node that hears of nothing for so long refuses; none may be later.
const LIMIT: Duration = Duration::from_secs(5);

struct Cluster {
    served: Served,
    /// The first is the issuer's.
    addresses: Vec<String>,
    http: reqwest::Client,
    backend_secret: String,
    _others: Vec<Server>,
}

impl Cluster {
    async fn start() -> Self {
        let served = Served::set_up(Stores::start(Pair::PostgresRedis)).await;
        let mut addresses = vec![served.rolemint.issuer.clone()];
        let mut others = Vec::new();
        for _ in 0..2 {
            let (another, address) = served.rolemint.start_another();
            addresses.push(address);
            others.push(another);
        }
        let backend_secret = served.deployment.client_secret("backend");
        Self { served, addresses, http: http::client(), backend_secret, _others: others }
    }

    /// What a node answers, once it does: a machine that does too many other things may be told to try again.
    async fn ask(
        &self,
        node: usize,
        path: &str,
        secret: Option<&str>,
        form: &[(&str, &str)],
    ) -> String {
        loop {
            let mut request = self.http.post(format!("{}{path}", self.addresses[node]));
            if secret.is_some() {
                request = request.basic_auth("backend", secret);
            }
            let answer = with_form(request, form).send().await.unwrap();
            let status = answer.status();
            let body = answer.text().await.unwrap();
            if status != 503 {
                assert_eq!(status, 200, "{path}: {body}");
                return body;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn sign_in(&self) -> String {
        self.served.sign_in().await["tokens"]["refresh_token"].as_str().unwrap().to_owned()
    }

    /// Another access token of a session; within the grace window its refresh token stays good.
    async fn mint(&self, node: usize, refresh_token: &str) -> [String; 2] {
        let form = [
            ("client_id", "web"),
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
        ];
        let tokens = self.ask(node, "/oauth2/token", None, &form).await;
        let tokens: Value = serde_json::from_str(&tokens).unwrap();
        secrets::note_json(&tokens);
        ["access_token", "refresh_token"].map(|name| tokens[name].as_str().unwrap().to_owned())
    }

    async fn is_active(&self, node: usize, token: &str) -> bool {
        let secret = Some(self.backend_secret.as_str());
        let answer = self.ask(node, "/oauth2/introspect", secret, &[("token", token)]).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["active"].as_bool().unwrap()
    }

    async fn revoke(&self, node: usize, token: &str) {
        self.ask(node, "/oauth2/revoke", None, &[("client_id", "web"), ("token", token)]).await;
    }

    /// From the answer of one node until each other refuses, the longer of the two.
    async fn measure(&self, number: usize, token: &str) -> Duration {
        let nodes = self.addresses.len();
        let at = number % nodes;
        self.revoke(at, token).await;
        let acknowledged = Instant::now();
        assert!(!self.is_active(at, token).await, "where it was revoked it is over at once");
        let until_refused = async |node: usize| {
            while self.is_active(node, token).await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            acknowledged.elapsed()
        };
        let (one, other) =
            tokio::join!(until_refused((at + 1) % nodes), until_refused((at + 2) % nodes));
        one.max(other)
    }

    async fn measure_all(self: Arc<Self>, count: usize) -> Vec<Duration> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut measuring = Vec::new();
        for worker in 0..AT_ONCE {
            let (cluster, next) = (Arc::clone(&self), Arc::clone(&next));
            let mut refresh_token = cluster.sign_in().await;
            measuring.push(tokio::spawn(async move {
                let mut took = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return took;
                    }
                    let minted = cluster.mint(worker % 3, &refresh_token).await;
                    let [access_token, newest] = minted;
                    refresh_token = newest;
                    took.push(cluster.measure(number, &access_token).await);
                }
            }));
        }
        let mut took = Vec::new();
        for measured in measuring {
            took.extend(measured.await.unwrap());
        }
        took.sort();
        took
    }
}

fn count_everywhere_soon(how: &str, prepare: impl FnOnce(&Cluster)) {
    if !met(&[Pair::PostgresRedis.needs(), &[Need::Node]].concat()) {
        return;
    }
    run(async {
        let count = usize::try_from(rounds("ROLEMINT_LONG_PROPAGATION", 200)).unwrap();
        let cluster = Cluster::start().await;
        prepare(&cluster);
        let took = Arc::new(cluster).measure_all(count).await;
        assert_eq!(took.len(), count);
        let (median, last) = (took[count / 2], took[count - 1]);
        let late = took[count * 99 / 100];
        eprintln!(
            "{how}: {count} revocations on three nodes: {median:?}, 1 in 100 {late:?}, at most {last:?}"
        );
        assert!(last < LIMIT, "{how}: {last:?}");
    });
}

#[test]
fn a_revocation_counts_everywhere_soon() {
    count_everywhere_soon("with push", |_| {});
}

/// As where a firewall or a proxy before Redis lets no messages through: the nodes read the log by themselves.
#[test]
fn a_revocation_counts_everywhere_without_push() {
    count_everywhere_soon("without push", |cluster| {
        let redis = cluster.served.rolemint.stores.redis.as_ref().unwrap();
        let mut connection = redis.connection();
        let mut forbid = redis::cmd("ACL");
        // `-ssubscribe` is unknown before Redis 7, where there is nothing to forbid.
        forbid.arg(&["SETUSER", "default", "-subscribe", "-psubscribe"]);
        let _: () = forbid.query(&mut connection).unwrap();
        let mut cut = redis::cmd("CLIENT");
        let _: u64 = cut.arg(&["KILL", "TYPE", "pubsub"]).query(&mut connection).unwrap();
    });
}
