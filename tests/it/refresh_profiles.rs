//! What clients and tenants declare of refresh tokens: whether they rotate, the window, how long sessions live.

use chrono::TimeDelta;
use serde_json::Value;
use toml::toml;

use crate::harness::flow::{PORTAL_URI, Request};
use crate::harness::servers::Stores;
use crate::harness::world::World;
use crate::harness::{Need, SetUp, on_both_stores, on_embedded_stores};

on_both_stores!(
    a_profile_is_changed_under_a_running_session,
    without_a_window_each_repeat_is_late,
    a_window_is_as_long_as_its_client_declares,
    a_session_keeps_the_lifetimes_that_it_began_with,
    a_token_that_stays_the_same_is_used_up_all_the_same,
    a_tenants_lifetimes_count_where_they_are_shorter,
);
on_embedded_stores!(a_public_client_cannot_keep_its_refresh_tokens);

/// The client `portal` keeps its refresh tokens; `web` has no window, `neighbour` the longest one. Sessions of the
/// tenant `acme` are shorter than any client's, those of `globex` longer.
struct Declared(World);

impl SetUp for Declared {
    const NEEDS: &'static [Need] = World::NEEDS;

    async fn set_up(stores: Stores) -> Self {
        let world = World::with(stores, |mut deployment| {
            deployment.client("portal").insert("refresh_tokens".to_owned(), "stable".into());
            for (tenant, idle, absolute) in [("acme", 120, 300), ("globex", 86_400, 31_536_000)] {
                let tenant = deployment.tenant(tenant);
                tenant.insert("session_idle".to_owned(), idle.into());
                tenant.insert("session_absolute".to_owned(), absolute.into());
            }
            for (client, lifetimes) in [
                ("portal", toml! { session_idle = 600 session_absolute = 3600 }),
                ("web", toml! { refresh_grace = 0 session_idle = 600 session_absolute = 3600 }),
                ("neighbour", toml! { refresh_grace = 300 }),
            ] {
                deployment.client(client).insert("lifetimes".to_owned(), lifetimes.into());
            }
            deployment
        });
        Self(world.await)
    }
}

const NEIGHBOUR_URI: &str = "http://127.0.0.1:7777/callback";

async fn refreshed(world: &World, client: &str, token: &Value) -> Value {
    world.refresh(client, token).await.expect(200).json()["refresh_token"].clone()
}

async fn refused(world: &World, client: &str, token: &Value) {
    world.refresh(client, token).await.expect_error(400, "invalid_grant");
}

async fn at_portal(world: &World) -> Value {
    let request = Request::of("portal", PORTAL_URI).with("tenant", "globex");
    world.sign_in_at(&request, "gil").await
}

async fn a_profile_is_changed_under_a_running_session(Declared(mut world): Declared) {
    let profile = async |world: &mut World, profile: &str| {
        let portal = world.deployment.client("portal");
        portal.insert("refresh_tokens".to_owned(), profile.into());
        world.apply(&[]);
        world.catch_up().await;
        world.clock.advance(TimeDelta::minutes(1));
    };
    let first = at_portal(&world).await["refresh_token"].clone();
    assert_eq!(refreshed(&world, "portal", &first).await, first);
    profile(&mut world, "rotate").await;
    let second = refreshed(&world, "portal", &first).await;
    assert_ne!(second, first);
    assert_eq!(refreshed(&world, "portal", &first).await, second, "in the window");
    let third = refreshed(&world, "portal", &second).await;
    profile(&mut world, "stable").await;
    assert_eq!(refreshed(&world, "portal", &third).await, third);
    // What was superseded before is judged as it was.
    assert_eq!(refreshed(&world, "portal", &second).await, third, "an answer may have been lost");
    profile(&mut world, "rotate").await;
    let fourth = refreshed(&world, "portal", &third).await;
    assert_ne!(fourth, third);
    profile(&mut world, "stable").await;
    assert_eq!(refreshed(&world, "portal", &fourth).await, fourth);
    refused(&world, "portal", &second).await;
    refused(&world, "portal", &fourth).await;
}

async fn without_a_window_each_repeat_is_late(Declared(world): Declared) {
    let mut before = world.sign_in("dana").await["refresh_token"].clone();
    for _ in 0..2 {
        let current = refreshed(&world, "web", &before).await;
        for _ in 0..3 {
            assert_eq!(refreshed(&world, "web", &before).await, current);
        }
        before = current;
    }
    let current = refreshed(&world, "web", &before).await;
    refused(&world, "web", &before).await;
    refused(&world, "web", &current).await;
}

async fn a_window_is_as_long_as_its_client_declares(Declared(world): Declared) {
    let request = Request::of("neighbour", NEIGHBOUR_URI).with("tenant", "globex");
    let first = world.sign_in_at(&request, "gil").await["refresh_token"].clone();
    let second = refreshed(&world, "neighbour", &first).await;
    world.clock.advance(TimeDelta::milliseconds(299_999));
    let third = refreshed(&world, "neighbour", &second).await;
    assert_eq!(refreshed(&world, "neighbour", &first).await, third);
    world.clock.advance(TimeDelta::milliseconds(1));
    refused(&world, "neighbour", &first).await;
    refused(&world, "neighbour", &third).await;
}

async fn a_session_keeps_the_lifetimes_that_it_began_with(Declared(mut world): Declared) {
    let request = Request::web().with("tenant", "globex");
    let before = world.sign_in_at(&request, "gil").await["refresh_token"].clone();
    let lifetimes = toml! { session_idle = 1 session_absolute = 31_536_000 };
    world.deployment.client("web").insert("lifetimes".to_owned(), lifetimes.into());
    world.apply(&[]);
    world.catch_up().await;
    let after = world.sign_in_at(&request, "gil").await["refresh_token"].clone();
    world.clock.advance(TimeDelta::milliseconds(999));
    let after = refreshed(&world, "web", &after).await;
    world.clock.advance(TimeDelta::seconds(1));
    refused(&world, "web", &after).await;
    world.clock.advance(TimeDelta::seconds(590));
    refreshed(&world, "web", &before).await;
}

async fn a_token_that_stays_the_same_is_used_up_all_the_same(Declared(world): Declared) {
    let (idle, used) = (at_portal(&world).await, at_portal(&world).await);
    let (idle, used) = (&idle["refresh_token"], &used["refresh_token"]);
    world.clock.advance(TimeDelta::seconds(599));
    assert_eq!(&refreshed(&world, "portal", used).await, used);
    world.clock.advance(TimeDelta::seconds(1));
    refused(&world, "portal", idle).await;
    for _ in 0..5 {
        world.clock.advance(TimeDelta::seconds(598));
        assert_eq!(&refreshed(&world, "portal", used).await, used);
    }
    // Used again and again, it comes to the end of its session.
    let last = world.refresh("portal", used).await.expect(200).json();
    assert!([9, 10].contains(&last["expires_in"].as_i64().unwrap()), "{last}");
    // No token lives for a part of a second.
    world.clock.advance(TimeDelta::seconds(last["expires_in"].as_i64().unwrap()));
    let refusal =
        async || world.refresh("portal", used).await.expect_error(400, "invalid_grant").body;
    let in_the_last_second = refusal().await;
    world.clock.advance(TimeDelta::seconds(1));
    assert_eq!(in_the_last_second, refusal().await);
}

async fn a_tenants_lifetimes_count_where_they_are_shorter(Declared(world): Declared) {
    let of_acme = world.sign_in("dana").await["refresh_token"].clone();
    let idle = world.sign_in("dana").await["refresh_token"].clone();
    let request = Request::web().with("tenant", "globex");
    let of_globex = world.sign_in_at(&request, "gil").await["refresh_token"].clone();
    world.clock.advance(TimeDelta::seconds(119));
    let of_acme = refreshed(&world, "web", &of_acme).await;
    world.clock.advance(TimeDelta::seconds(1));
    refused(&world, "web", &idle).await;
    world.clock.advance(TimeDelta::seconds(118));
    let of_acme = refreshed(&world, "web", &of_acme).await;
    world.clock.advance(TimeDelta::seconds(62));
    refused(&world, "web", &of_acme).await;
    // The client's, which are shorter than this tenant's.
    world.clock.advance(TimeDelta::seconds(299));
    let of_globex = refreshed(&world, "web", &of_globex).await;
    world.clock.advance(TimeDelta::seconds(600));
    refused(&world, "web", &of_globex).await;
}

async fn a_public_client_cannot_keep_its_refresh_tokens(Declared(mut world): Declared) {
    world.deployment.client("web").insert("refresh_tokens".to_owned(), "stable".into());
    let path = world.deployment.write(world.folder());
    let path = path.to_str().unwrap();
    for command in [&["check", "--deployment", path][..], &["apply", "--yes", path]] {
        let said = world.command(command).failure();
        assert!(said.contains("a public client's refresh tokens rotate"), "{said}");
    }
    let token = world.sign_in("dana").await["refresh_token"].clone();
    assert_ne!(refreshed(&world, "web", &token).await, token);
}
