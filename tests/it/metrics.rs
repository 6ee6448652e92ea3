//! `/metrics`: for whoever has its token, and nobody else.

use serde_json::json;

use crate::harness::flow::{PORTAL_URI, Request};
use crate::harness::world::World;
use crate::harness::{on_both_stores, on_embedded_stores, secrets, soon, unguessable};

on_both_stores!(what_happened_is_counted);
on_embedded_stores!(only_the_token_opens_metrics);

async fn metrics(world: &World, token: &str) -> String {
    let answer = world.browser().bearer(reqwest::Method::GET, "/metrics", token).await.expect(200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.body
}

/// The value of a sample, by its name with its labels.
fn value(metrics: &str, sample: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
}

async fn what_happened_is_counted(mut world: World) {
    let token = unguessable();
    secrets::note(&token);
    world.restart_with("metrics", "token", token.as_str()).await;
    let signed_in = world.sign_in("dana").await;
    let next = world.refresh("web", &signed_in["refresh_token"]).await.expect(200).json();
    world.refresh("web", &signed_in["refresh_token"]).await.expect(200);
    let report = json!({ "reader": "api-1", "position": 0 });
    let applied = "/v1/revocations/applied";
    world.post_json(&world.basic("api"), applied, &report).await.expect(204);
    let portal = world.sign_in_at(&Request::of("portal", PORTAL_URI), "dana").await;
    world.revoke("portal", &portal["access_token"]).await.expect(200);
    world.revoke("web", &next["refresh_token"]).await.expect(200);
    let mut stream = world.feed("api").await;
    stream.alive().await;
    let lag = "rolemint_revocation_reader_lag_entries{client_id=\"api\",reader=\"api-1\"}";
    let told = soon("the reader's report", async || {
        let told = metrics(&world, &token).await;
        value(&told, lag).map(|_| told)
    });
    let told = told.await;
    for (sample, expected) in [
        ("rolemint_refreshes_total{outcome=\"rotated\"}", 1.0),
        ("rolemint_refreshes_total{outcome=\"repeated\"}", 1.0),
        ("rolemint_refreshes_total{outcome=\"replayed\"}", 0.0),
        ("rolemint_revocations_written_total", 2.0),
        ("rolemint_revocation_log_position", 2.0),
        ("rolemint_revocation_entries_held", 2.0),
        ("rolemint_feed_streams_open", 1.0),
        (lag, 2.0),
        ("rolemint_revocation_reader_lag_seconds{client_id=\"api\",reader=\"api-1\"}", 0.0),
    ] {
        assert_eq!(value(&told, sample), Some(expected), "{sample}: {told}");
    }
    assert!(value(&told, "rolemint_revocation_view_age_seconds").unwrap() < 5.0, "{told}");
    for line in told.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        assert_eq!(told.matches(&format!("# TYPE {name} ")).count(), 1, "{line}");
    }
}

async fn only_the_token_opens_metrics(mut world: World) {
    let browser = world.browser();
    browser.get("/metrics").await.expect(404);
    let token = unguessable();
    secrets::note(&token);
    world.restart_with("metrics", "token", token.as_str()).await;
    browser.get("/metrics").await.expect(401);
    let access_token = world.sign_in("dana").await;
    let access_token = access_token["access_token"].as_str().unwrap();
    for wrong in ["x", &token[1..], &format!("{token}x"), access_token] {
        let answer = browser.bearer(reqwest::Method::GET, "/metrics", wrong).await;
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
        assert!(!answer.expect(401).body.contains("rolemint_"));
    }
    metrics(&world, &token).await;
}
