//! Redis cannot be reached, or does not answer: whoever needs it is told so at once, and everybody else goes on.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use crate::harness::flow::Request;
use crate::harness::http::Answer;
use crate::harness::world::World;
use crate::harness::{Need, Pair, Stores, met, run};

/// What a client waits at most for the answer that it cannot be served now.
const LIMIT: Duration = Duration::from_millis(250);

/// Runs a test with a wire between Rolemint and Redis.
fn over_a_wire(test: impl AsyncFnOnce(World)) {
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
        at_once("the end", async || browser.post("/oauth2/revoke", &form).await).await;
        at_once("readiness", async || browser.get("/readyz").await).await;
        for needs_nothing in ["/oauth2/jwks", "/.well-known/openid-configuration", "/healthz"] {
            browser.get(needs_nothing).await.expect(200);
        }
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
