//! House rule: every route keeps its guard, and a route that is not in the table is not there.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use rolemint::http::routes::{ENDPOINTS, Endpoint, Guard};

use crate::harness::http::Answer;
use crate::harness::on_embedded_stores;
use crate::harness::world::World;

on_embedded_stores!(every_route_keeps_its_guard, every_other_method_is_refused);

/// What each kind of guard would have to let through, if it let everybody through.
const PLAUSIBLE: &str = "grant_type=refresh_token&refresh_token=x&token=x&code=x&state=x&continue=x&email=dana%40acme.example";

/// A request of somebody who shows nothing.
async fn anonymous(world: &World, method: &Method, path: &str) -> Answer {
    let browser = world.browser();
    if *method == Method::GET {
        return browser.get(&format!("{path}?{PLAUSIBLE}")).await;
    }
    let request = browser.request(method.clone(), path);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    browser.send(request.body(PLAUSIBLE)).await
}

fn method(endpoint: &Endpoint) -> Method {
    endpoint.method.parse().unwrap()
}

async fn every_route_keeps_its_guard(world: World) {
    let mut guarded: BTreeMap<&str, usize> = BTreeMap::new();
    for endpoint in ENDPOINTS {
        let (path, method) = (endpoint.path, method(endpoint));
        let answer = anonymous(&world, &method, path).await;
        let kind = match endpoint.guard {
            Guard::Client => {
                assert!(answer.header("www-authenticate").starts_with("Basic"), "{method} {path}");
                answer.expect_error(401, "invalid_client");
                "client"
            }
            Guard::ResourceServer => {
                assert_eq!(answer.header("www-authenticate"), "Basic realm=\"rolemint\"");
                answer.expect_problem(401, "not-authenticated");
                "resource server"
            }
            Guard::Bearer => {
                assert!(answer.header("www-authenticate").starts_with("Bearer"), "{method} {path}");
                answer.expect(401);
                "bearer"
            }
            Guard::ClientOrBearer => {
                let offered: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
                let expected = ["Basic realm=\"rolemint\"", "Bearer realm=\"rolemint\""];
                assert_eq!(offered, expected, "{method} {path}");
                answer.expect_problem(401, "not-authenticated");
                "client or bearer"
            }
            Guard::Admin => {
                assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"rolemint\"");
                answer.expect_problem(401, "not-authenticated");
                "admin"
            }
            Guard::Metrics => {
                answer.expect(404);
                "metrics"
            }
            Guard::Browser => {
                let page = answer.expect_page(400);
                assert!(page.body.contains("This sign-in cannot go on"), "{method} {path}");
                "browser"
            }
            Guard::Provider => {
                answer.expect_error(400, "invalid_request");
                "provider"
            }
            Guard::Public => {
                let expected = [200, 204, 400].contains(&answer.status);
                assert!(expected, "{method} {path}: {}", answer.status);
                "public"
            }
        };
        *guarded.entry(kind).or_default() += 1;
    }
    // Whoever adds a route looks at what guards it: here, too.
    let expected = [
        ("admin", 38),
        ("bearer", 2),
        ("browser", 2),
        ("client", 3),
        ("client or bearer", 2),
        ("metrics", 1),
        ("provider", 1),
        ("public", 10),
        ("resource server", 4),
    ];
    assert_eq!(guarded, expected.into());
}

async fn every_other_method_is_refused(world: World) {
    let mut by_path: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for endpoint in ENDPOINTS {
        let new = by_path.entry(endpoint.path).or_default().insert(endpoint.method.to_owned());
        assert!(new, "{} {} twice", endpoint.method, endpoint.path);
    }
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "FOO"];
    for (path, allowed) in by_path {
        for method in methods.iter().filter(|method| !allowed.contains(**method)) {
            let answer = anonymous(&world, &method.parse().unwrap(), path).await;
            assert_eq!(answer.status, 405, "{method} {path}");
            let told: BTreeSet<_> = answer.header("allow").split(", ").map(str::to_owned).collect();
            assert_eq!(told, allowed, "{method} {path}");
        }
    }
}
