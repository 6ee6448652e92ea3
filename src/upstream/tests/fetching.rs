//! What a provider's server may do to us: nothing.

use super::{World, limits, misconfiguration, now, outage, upstream};
use crate::domain::provider::Provider;
use crate::upstream::LoginOptions;
use crate::upstream::Misconfiguration;
use crate::upstream::Outage;
use crate::upstream::Upstream;
use crate::upstream::UpstreamError;
use crate::upstream::UpstreamLimits;
use crate::upstream::http::Reach;
use serde_json::json;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use url::Url;

const DISCOVERY: &str = "/.well-known/openid-configuration";

async fn begin(upstream: &Upstream, provider: &Provider) -> Result<Url, UpstreamError> {
    let callback = "https://us.example/login/callback".parse().unwrap();
    let options = LoginOptions { state: "s", prompt: None, max_age: None, login_hint: None };
    let (url, _) = upstream.begin(provider, &callback, &options, now()).await?;
    Ok(url)
}

#[tokio::test]
async fn only_the_issuer_that_was_asked_may_answer() {
    let world = World::new(&[]);
    for other in [
        json!("https://evil.example"),
        json!(format!("{}/", world.base)),
        json!([world.base]),
        json!(null),
    ] {
        world.discovery(|document| document["issuer"] = other);
        let found = misconfiguration(begin(&upstream(), &world.provider()).await);
        assert!(matches!(found, Misconfiguration::OtherIssuer), "{found:?}");
    }
}

#[tokio::test]
async fn issuers_are_https_urls_or_on_this_machine() {
    for bad in [
        "http://provider.example",
        "ftp://provider.example",
        "https://provider.example?x",
        "https://provider.example#x",
        "https://u:p@provider.example",
        "https://169.254.169.254",
        "provider.example",
        "",
    ] {
        let world = World::new(&[]);
        let provider = world.provider_with(|entry| entry["issuer"] = json!(bad));
        let found = misconfiguration(begin(&upstream(), &provider).await);
        assert!(matches!(found, Misconfiguration::Issuer), "{bad} {found:?}");
    }
}

#[tokio::test]
async fn endpoints_are_https_unless_the_provider_is_on_this_machine() {
    let world = World::new(&[]);
    for name in ["authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"] {
        for bad in ["http://provider.example/x", "ftp://127.0.0.1/x", "javascript:alert(1)"] {
            world.discovery(|document| document[name] = json!(bad));
            let found = misconfiguration(begin(&upstream(), &world.provider()).await);
            assert!(matches!(found, Misconfiguration::Endpoint), "{name} {bad} {found:?}");
        }
        world.discovery(|document| document[name] = json!("https://provider.example/x"));
        begin(&upstream(), &world.provider()).await.unwrap();
    }
}

#[test]
fn a_provider_elsewhere_may_not_send_us_to_this_machine() {
    let url = |text: &str| Url::parse(text).unwrap();
    let web = Reach::of(&url("https://provider.example"));
    for bad in [
        "http://provider.example",
        "http://127.0.0.1",
        "https://127.0.0.1",
        "https://localhost",
        "https://[::1]",
        "https://[::ffff:127.0.0.1]",
        "https://[64:ff9b::7f00:1]",
        "https://[fe80::1]",
        "https://0.0.0.0",
        "https://169.254.169.254",
        "https://2130706433",
        "https://u@provider.example",
        "https://provider.example/#x",
    ] {
        assert!(!web.allows(&url(bad)), "{bad}");
    }
    for good in ["https://login.example:8443/x?y", "https://10.0.0.7/", "https://8.8.8.8"] {
        assert!(web.allows(&url(good)), "{good}");
    }
    let here = Reach::of(&url("http://127.0.0.1:8081"));
    for good in ["http://127.0.0.1:1", "http://localhost:2/x", "http://[::1]/", "https://x.example"]
    {
        assert!(here.allows(&url(good)), "{good}");
    }
    for bad in ["http://10.0.0.7", "http://x.example", "http://localhost.evil.example"] {
        assert!(!here.allows(&url(bad)), "{bad}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (world, canary) = (World::new(&[]), World::new(&[]));
    let target = format!("Location: {}", canary.url(DISCOVERY));
    for status in [301, 302, 303, 307, 308] {
        world.text(DISCOVERY, status, &target, "");
        let found = misconfiguration(begin(&upstream(), &world.provider()).await);
        assert!(matches!(found, Misconfiguration::Redirected), "{found:?}");
    }
    assert_eq!(canary.total(), 0);
}

#[tokio::test]
async fn a_broken_provider_is_an_outage() {
    let world = World::new(&[]);
    world.text(DISCOVERY, 500, "Content-Type: application/json", "{}");
    assert!(matches!(outage(begin(&upstream(), &world.provider()).await), Outage::Status(500)));
    world.text(DISCOVERY, 200, "Content-Type: application/json", "<html>");
    assert!(matches!(outage(begin(&upstream(), &world.provider()).await), Outage::Garbage));
    world.text(DISCOVERY, 200, "Content-Type: text/html", "{}");
    assert!(matches!(outage(begin(&upstream(), &world.provider()).await), Outage::NotJson));
    world.text(DISCOVERY, 200, "X: y", "{}");
    assert!(matches!(outage(begin(&upstream(), &world.provider()).await), Outage::NotJson));
    world.raw(DISCOVERY, |_| {});
    assert!(matches!(outage(begin(&upstream(), &world.provider()).await), Outage::Connection(_)));
    world.text(DISCOVERY, 404, "X: y", "");
    let found = misconfiguration(begin(&upstream(), &world.provider()).await);
    assert!(matches!(found, Misconfiguration::Status(404)));
    let nobody = world.provider_with(|entry| entry["issuer"] = json!("http://127.0.0.1:1"));
    assert!(matches!(outage(begin(&upstream(), &nobody).await), Outage::Connection(_)));
}

#[tokio::test]
async fn a_slow_provider_costs_the_timeout_and_no_more() {
    let world = World::new(&[]);
    let upstream =
        Upstream::new(UpstreamLimits { timeout: Duration::from_millis(400), ..limits() }).unwrap();
    // A byte now and then: every read succeeds, the whole never comes.
    world.raw(DISCOVERY, |stream| {
        drop(stream.write_all(b"HTTP/1.1 200 -\r\nContent-Type: application/json\r\n\r\n{"));
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let start = Instant::now();
    assert!(matches!(outage(begin(&upstream, &world.provider()).await), Outage::TimedOut));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_huge_answer_is_not_read_to_its_end() {
    let world = World::new(&[]);
    let written = Arc::new(AtomicUsize::new(0));
    let counter = written.clone();
    world.raw(DISCOVERY, move |stream| {
        drop(stream.write_all(b"HTTP/1.1 200 -\r\nContent-Type: application/json\r\n\r\n"));
        let chunk = vec![b' '; 64 * 1024];
        for _ in 0..1024 {
            if stream.write_all(&chunk).is_err() {
                break;
            }
            counter.fetch_add(chunk.len(), Ordering::Relaxed);
        }
    });
    assert!(matches!(outage(begin(&upstream(), &world.provider()).await), Outage::TooLarge));
    // What was under way in the socket's buffers, and not the 64 MiB that were on offer.
    assert!(written.load(Ordering::Relaxed) < 32 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_who_asks_at_once_shares_one_request_and_its_failure() {
    let world = World::new(&[]);
    world.delay(DISCOVERY, Duration::from_millis(200));
    let upstream = upstream();
    let all = |upstream: &Upstream| {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (upstream, provider) = (upstream.clone(), world.provider());
            all.spawn(async move { begin(&upstream, &provider).await.is_ok() });
        }
        all.join_all()
    };
    assert_eq!(all(&upstream).await, [true; 50]);
    assert_eq!(world.count(DISCOVERY), 1);
    let fresh = Upstream::new(limits()).unwrap();
    world.text(DISCOVERY, 500, "X: y", "");
    world.delay(DISCOVERY, Duration::from_millis(800));
    assert_eq!(all(&fresh).await, [false; 50]);
    assert_eq!(world.count(DISCOVERY), 2);
    // And the next to ask tries again.
    world.discovery(|_| {});
    begin(&fresh, &world.provider()).await.unwrap();
}

#[tokio::test]
async fn an_entry_with_another_issuer_begins_anew() {
    let (one, two) = (World::new(&[]), World::new(&[]));
    let upstream = upstream();
    assert!(begin(&upstream, &one.provider()).await.unwrap().as_str().starts_with(&one.base));
    assert!(begin(&upstream, &two.provider()).await.unwrap().as_str().starts_with(&two.base));
}
