//! Redis cannot be reached, or does not answer: whoever needs it is told so at once, and everybody else goes on.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use crate::harness::flow::Request;
use crate::harness::http::Answer;
use crate::harness::world::World;
use crate::harness::{Need, Pair, Stores, met, run, soon};

/// What a client waits at most for the answer that it cannot be served now.
const LIMIT: Duration = Duration::from_millis(250);

/// Runs a test with a wire between Rolemint and Redis.
pub(crate) fn over_a_wire(test: impl AsyncFnOnce(World)) {
    if met(&[Pair::PostgresRedis.needs(), &[Need::Node]].concat()) {
        run(async {
            let stores = Stores::start(Pair::PostgresRedis).over_a_wire();
            test(World::with(stores, |deployment| deployment).await).await;
        });
    }
}

#[test]
fn a_redis_that_hangs_is_answered_for_at_once() {
    over_a_wire(async |mut world| {
        let tokens = world.sign_in("dana").await;
        let code = world.code(&Request::web(), "dana").await;
        let (access_token, refresh_token) =
            (text(&tokens["access_token"]), text(&tokens["refresh_token"]));
        let secret = world.deployment.client_secret("backend");
        let browser = world.browser();
        browser.get("/healthz").await.expect(200);
        world.stores().wire.as_ref().unwrap().hold();

        let form = [("token", access_token)];
        let introspect =
            async || browser.post_as(("backend", &secret), "/oauth2/introspect", &form).await;
        at_once("introspection", introspect).await;
        let user_info =
            async || browser.bearer(Method::GET, "/oauth2/userinfo", access_token).await;
        at_once("userinfo", user_info).await;
        let form = [
            ("client_id", "web"),
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
        ];
        at_once("a refresh", async || browser.post("/oauth2/token", &form).await).await;
        let form = [vec![("client_id", "web")], code.form()].concat();
        at_once("a code", async || browser.post("/oauth2/token", &form).await).await;
        let form = [("client_id", "web"), ("token", refresh_token)];
        // The token says whose it is, and the log ends it.
        browser.post("/oauth2/revoke", &form).await.expect(200);
        at_once("readiness", async || browser.get("/readyz").await).await;
        for needs_nothing in ["/oauth2/jwks", "/.well-known/openid-configuration", "/healthz"] {
            browser.get(needs_nothing).await.expect(200);
        }
    });
}

#[test]
fn whoever_lost_redis_comes_back_soon_and_without_a_stampede() {
    over_a_wire(async |mut world| {
        let tokens = world.sign_in("dana").await;
        let browser = world.browser();
        let form = [
            ("client_id", "web"),
            ("grant_type", "refresh_token"),
            ("refresh_token", text(&tokens["refresh_token"])),
        ];
        let refresh = async || browser.post("/oauth2/token", &form).await.status;
        let wire = world.stores().wire.as_ref().unwrap();
        wire.refuse();
        let (before, began) = (wire.connections(), Instant::now());
        let mut refused = 0;
        while began.elapsed() < Duration::from_secs(3) {
            assert_eq!(refresh().await, 503);
            refused += 1;
        }
        // Each thread that serves has a connection, and the server three more.
        let threads = std::thread::available_parallelism().unwrap().get();
        let attempts = wire.connections() - before;
        assert!(attempts <= u64::try_from(threads + 3).unwrap() * 18, "{attempts} attempts");
        assert!(refused > 20, "{refused} refusals");

        wire.pass();
        let back = Instant::now();
        let served = async || {
            for _ in 0..20 {
                if refresh().await != 200 {
                    return None;
                }
            }
            Some(())
        };
        soon("service", served).await;
        eprintln!("{attempts} attempts beside {refused} refusals; back after {:?}", back.elapsed());
        assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    });
}

/// Nobody is logged out by an alarm: an evicting Redis loses sessions, and revives none.
#[test]
fn a_policy_that_begins_to_evict_is_an_alarm() {
    over_a_wire(async |mut world| {
        let mut tokens = world.sign_in("dana").await;
        let redis = world.stores().redis.as_ref().unwrap();
        let mut connection = redis.connection();
        let mut set = |policy: &str| {
            let set = ["SET", "maxmemory-policy", policy];
            redis::cmd("CONFIG").arg(&set).exec(&mut connection).unwrap();
        };
        let ready = async |status: u16| {
            let noticed =
                async || (world.browser().get("/readyz").await.status == status).then_some(());
            soon("readiness", noticed).await;
        };
        ready(200).await;
        set("allkeys-lru");
        ready(503).await;
        tokens = world.refresh("web", &tokens["refresh_token"]).await.expect(200).json();
        set("noeviction");
        ready(200).await;
        world.refresh("web", &tokens["refresh_token"]).await.expect(200);
    });
}

#[test]
fn a_redis_that_is_made_a_replica_is_asked_nothing_until_it_leads_again() {
    over_a_wire(async |mut world| {
        let tokens = world.sign_in("dana").await;
        let mut connection = world.stores().redis.as_ref().unwrap().connection();
        let mut follow = |whom: [&str; 2]| {
            redis::cmd("REPLICAOF").arg(&whom).exec(&mut connection).unwrap();
        };
        follow(["127.0.0.1", "1"]);
        let browser = world.browser();
        let form = [("token", text(&tokens["access_token"]))];
        let secret = world.deployment.client_secret("backend");
        let look = async || {
            browser.post_as(("backend", &secret), "/oauth2/introspect", &form).await.status
        };
        // It can be read from, but what it says may be old.
        let refused = async || {
            for _ in 0..20 {
                if look().await != 503 {
                    return None;
                }
            }
            Some(())
        };
        soon("a refusal", refused).await;
        follow(["NO", "ONE"]);
        soon("service", async || (look().await == 200).then_some(())).await;
    });
}

fn text(token: &Value) -> &str {
    token.as_str().unwrap()
}

/// 503 every time; and the quickest in time, since a machine that does other things may be late with any one.
async fn at_once(what: &str, ask: impl AsyncFn() -> Answer) {
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let asked = Instant::now();
        let answer = ask().await;
        quickest = quickest.min(asked.elapsed());
        assert_eq!(answer.status, 503, "{what}: {}", answer.body);
        assert_eq!(answer.header("retry-after"), "1", "{what}");
    }
    assert!(quickest < LIMIT, "{what}: {quickest:?}");
}
