//! Readers of the revocation feed: signed snapshots for those who poll, and how far everybody is.

use chrono::TimeDelta;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, IF_NONE_MATCH};
use serde_json::{Value, json};

use crate::harness::api::Administered;
use crate::harness::flow::{PORTAL_URI, Request, claims, header};
use crate::harness::http::Answer;
use crate::harness::world::World;
use crate::harness::{on_both_stores, on_embedded_stores, soon};

on_both_stores!(a_snapshot_holds_all_that_concerns_its_reader, who_lags_is_known);
on_embedded_stores!(
    a_snapshot_is_for_a_client_that_introspects,
    what_was_not_told_cannot_have_been_applied,
    only_the_platform_sees_who_lags,
);

impl World {
    async fn snapshot(&self, client: &str, query: &str, seen: &str) -> Answer {
        let browser = self.browser();
        let request = browser.request(Method::GET, &format!("/v1/revocations/snapshot{query}"));
        let request = request.header(AUTHORIZATION, self.basic(client));
        browser.send(request.header(IF_NONE_MATCH, seen)).await
    }

    async fn applied(&self, client: &str, report: &Value) -> Answer {
        self.post_json(&self.basic(client), "/v1/revocations/applied", report).await
    }
}

fn entries(snapshot: &Answer) -> Vec<Value> {
    claims(&json!(snapshot.body))["entries"].as_array().unwrap().clone()
}

async fn a_snapshot_holds_all_that_concerns_its_reader(world: World) {
    let over = world.sign_in_at(&Request::of("portal", PORTAL_URI), "dana").await;
    world.revoke("portal", &over["refresh_token"]).await.expect(200);
    let first = world.snapshot("api", "", "").await.expect(200);
    assert_eq!(first.header("content-type"), "application/jwt");
    assert_eq!(first.header("cache-control"), "private, no-cache");
    let (head, body) = (header(&json!(first.body)), claims(&json!(first.body)));
    assert_eq!((&head["typ"], &head["alg"]), (&json!("revocations+jwt"), &json!("EdDSA")));
    let jwks = world.browser().get("/oauth2/jwks").await.expect(200).json();
    let keys = jwks["keys"].as_array().unwrap();
    assert!(keys.iter().any(|key| key["kid"] == head["kid"]), "{head}");
    let now = world.clock.now().timestamp();
    assert_eq!((&body["iss"], &body["aud"]), (&json!(world.issuer), &json!("api")));
    assert_eq!((&body["iat"], &body["exp"]), (&json!(now), &json!(now + 300)));
    assert_eq!(body["position"], 1);
    assert_eq!(entries(&first), world.feed("api").await.alive().await.0);

    // Nothing has happened.
    let tag = first.header("etag");
    let again = world.snapshot("api", "", tag).await.expect(304);
    assert_eq!((again.header("etag"), again.body.as_str()), (tag, ""));
    world.snapshot("api", "", &format!("\"other\", {tag}")).await.expect(304);
    // What another would be shown is another thing.
    for (client, query) in [("backend", ""), ("api", "?tenant=globex")] {
        let other = world.snapshot(client, query, tag).await.expect(200);
        assert_eq!(entries(&other), Vec::<Value>::new(), "{client} {query}");
    }
    let more = world.sign_in_at(&Request::of("portal", PORTAL_URI), "dana").await;
    world.revoke("portal", &more["access_token"]).await.expect(200);
    let second = world.snapshot("api", "", tag).await.expect(200);
    assert_eq!(entries(&second).len(), 2);
    assert_eq!(claims(&json!(second.body))["position"], 2);
    // The token is over by itself, also where clocks are behind, and nothing speaks of it any more.
    world.clock.advance(TimeDelta::minutes(20));
    let later = world.snapshot("api", "", "").await.expect(200);
    assert_eq!(entries(&later).len(), 1, "the session's tokens may live for a day");
}

async fn a_snapshot_is_for_a_client_that_introspects(world: World) {
    let browser = world.browser();
    let path = "/v1/revocations/snapshot";
    browser.get(path).await.expect_problem(401, "not-authenticated");
    world.snapshot("narrow", "", "").await.expect_problem(403, "forbidden");
    // Nor of tokens that it does not introspect.
    let others = "?audience=https%3A%2F%2Fothers.example";
    world.snapshot("api", others, "").await.expect_problem(403, "forbidden");
    let answer = world.applied("narrow", &json!({ "reader": "a", "position": 0 })).await;
    answer.expect_problem(403, "forbidden");
}

async fn who_lags_is_known(world: Administered) {
    let report = |reader: &str, position: u64| json!({ "reader": reader, "position": position });
    world.applied("api", &report("api-1", 0)).await.expect(204);
    world.applied("backend", &report("b.2_x", 0)).await.expect(204);
    let token = world.sign_in_at(&Request::of("portal", PORTAL_URI), "dana").await;
    world.revoke("portal", &token["access_token"]).await.expect(200);
    world.applied("api", &report("api-1", 1)).await.expect(204);
    world.clock.advance(TimeDelta::seconds(7));
    let root = world.admin("root", "platform").await;
    let readers = soon("both reports", async || {
        let shown = root.get("/revocations/readers").await.expect(200).json();
        let readers = shown["readers"].as_array().unwrap().clone();
        (readers.len() == 2 && readers[0]["position"] == 1).then_some(shown)
    });
    let shown = readers.await;
    assert_eq!(shown["position"], 1);
    let facts = |reader: &Value| {
        ["client_id", "reader", "behind", "lag_seconds"].map(|name| reader[name].clone())
    };
    assert_eq!(facts(&shown["readers"][0]), [json!("api"), json!("api-1"), json!(0), json!(0)]);
    assert_eq!(facts(&shown["readers"][1]), [json!("backend"), json!("b.2_x"), json!(1), json!(7)]);
    assert!(shown["readers"][0]["reported_at"].is_string(), "{shown}");
}

async fn what_was_not_told_cannot_have_been_applied(world: World) {
    for (position, pointers) in [(json!(1), vec!["/position"]), (json!(99), vec!["/position"])] {
        let report = json!({ "reader": "api-1", "position": position });
        let answer = world.applied("api", &report).await.expect_problem(400, "invalid-request");
        assert_eq!(answer.pointers(), pointers);
    }
    let long = "x".repeat(65);
    for reader in ["", "a b", "a/b", "ä", &long] {
        let report = json!({ "reader": reader, "position": 0 });
        world.applied("api", &report).await.expect_problem(400, "invalid-request");
    }
    for report in [json!({ "reader": "a", "position": -1 }), json!({ "position": 0 })] {
        world.applied("api", &report).await.expect_problem(400, "invalid-request");
    }
    let long = "x".repeat(64);
    world.applied("api", &json!({ "reader": long, "position": 0 })).await.expect(204);
}

async fn only_the_platform_sees_who_lags(world: Administered) {
    let ada = world.admin("ada", "acme").await;
    ada.get("/revocations/readers").await.expect_problem(403, "forbidden");
    let root = world.admin("root", "platform").await;
    let shown = root.get("/revocations/readers").await.expect(200).json();
    assert_eq!(shown, json!({ "position": 0, "readers": [] }));
}
