//! Where a provider's entry says so, it is asked again while sessions go on: what it takes from somebody is
//! gone at the next refresh.

use chrono::TimeDelta;
use rolemint::database;
use rolemint::domain::ids::SessionId;
use serde_json::{Value, json};

use crate::harness::deployment::Deployment;
use crate::harness::flow::{PORTAL_URI, Request, claims, session_of};
use crate::harness::world::World;
use crate::harness::{Need, SetUp, Stores, on_both_stores, on_embedded_stores, soon};

on_both_stores!(
    a_role_that_is_taken_at_the_provider_is_gone_at_the_next_refresh,
    a_grant_that_is_taken_back_ends_the_session,
    somebody_who_leaves_the_tenant_does_not_take_the_session_along,
    one_asks_and_the_others_go_on,
    a_provider_that_is_away_is_done_without_for_a_while,
    a_session_that_cannot_be_asked_about_does_not_last,
    what_is_kept_of_the_provider_is_sealed_and_goes_with_the_session,
);
on_embedded_stores!(
    an_answer_about_somebody_else_ends_the_session,
    an_answer_that_is_not_sound_changes_nothing,
    what_was_learnt_counts_everywhere,
    a_provider_that_is_not_to_be_asked_is_not_asked,
    a_provider_that_is_no_longer_asked_loses_its_sessions,
);

/// A world whose provider is asked again after five minutes, and done without for an hour.
struct Rechecked(World);

impl SetUp for Rechecked {
    const NEEDS: &'static [Need] = World::NEEDS;

    async fn set_up(stores: Stores) -> Self {
        Self(World::with(stores, rechecking).await)
    }
}

fn rechecking(mut deployment: Deployment) -> Deployment {
    let rules = toml::toml! { every = 300 at_most = 3600 };
    deployment.provider("corp").insert("recheck".to_owned(), rules.into());
    deployment
}

impl Rechecked {
    async fn control(&self, what: &str, body: Value) {
        self.0.provider.control(what, &body).await;
    }

    async fn roles_at_provider(&self, roles: &[&str]) {
        self.control("person", json!({ "sub": "dana", "claims": { "roles": roles } })).await;
    }

    fn later(&self, seconds: i64) {
        self.0.clock.advance(TimeDelta::seconds(seconds));
    }

    /// The next tokens of the client `web`.
    async fn refreshed(&self, tokens: &Value) -> Value {
        self.0.refresh("web", &tokens["refresh_token"]).await.expect(200).json()
    }

    async fn assert_over(&self, tokens: &Value, why: &str) {
        let answer = self.0.refresh("web", &tokens["refresh_token"]).await;
        answer.expect_error(400, "invalid_grant");
        assert_eq!(self.reason(session_of(&tokens["access_token"])).await.as_deref(), Some(why));
        assert!(!self.0.is_active(&tokens["access_token"]).await);
    }

    async fn reason(&self, session: SessionId) -> Option<String> {
        let database = self.0.database().await;
        let find = move |c: &mut _| database::subjects::find_ended_reason(c, &session);
        database.read(find).await.unwrap()
    }
}

fn roles(tokens: &Value) -> Value {
    let claims = claims(&tokens["access_token"]);
    let mut roles: Vec<_> = claims["roles"].as_array().unwrap().clone();
    roles.sort_by_key(Value::to_string);
    roles.into()
}

async fn a_role_that_is_taken_at_the_provider_is_gone_at_the_next_refresh(world: Rechecked) {
    world.roles_at_provider(&["data-entry", "clerk"]).await;
    let tokens = world.0.sign_in("dana").await;
    assert_eq!(roles(&tokens), json!(["clerk", "data-entry"]));
    world.roles_at_provider(&["data-entry"]).await;
    // Not due yet.
    world.later(299);
    let tokens = world.refreshed(&tokens).await;
    assert_eq!(roles(&tokens), json!(["clerk", "data-entry"]));
    world.later(1);
    let tokens = world.refreshed(&tokens).await;
    assert_eq!(roles(&tokens), json!(["data-entry"]));
    // What was given in its place counts, with each later answer.
    world.roles_at_provider(&["clerk"]).await;
    let tokens = world.refreshed(&tokens).await;
    assert_eq!(roles(&tokens), json!(["data-entry"]));
    world.later(300);
    let tokens = world.refreshed(&tokens).await;
    assert_eq!(roles(&tokens), json!(["clerk"]));
    // Nothing is left: nothing is granted, and the session waits for better days.
    world.roles_at_provider(&[]).await;
    world.later(300);
    let answer = world.0.refresh("web", &tokens["refresh_token"]).await;
    answer.expect_error(400, "invalid_grant");
    assert_eq!(world.reason(session_of(&tokens["access_token"])).await, None);
    assert_eq!(world.0.provider.requests("/token").await, 1 + 3);
}

async fn a_grant_that_is_taken_back_ends_the_session(world: Rechecked) {
    let tokens = world.0.sign_in("dana").await;
    world.control("revoke", json!({ "sub": "dana" })).await;
    let tokens = world.refreshed(&tokens).await;
    world.later(300);
    world.assert_over(&tokens, "the provider no longer vouches for this person").await;
}

async fn somebody_who_leaves_the_tenant_does_not_take_the_session_along(world: Rechecked) {
    for (email, verified) in [("dana@globex.example", true), ("dana@acme.example", false)] {
        let here = json!({ "email": "dana@acme.example", "email_verified": true });
        world.control("person", json!({ "sub": "dana", "claims": here })).await;
        let tokens = world.0.sign_in("dana").await;
        let there = json!({ "email": email, "email_verified": verified });
        world.control("person", json!({ "sub": "dana", "claims": there })).await;
        world.later(300);
        let why = "at the provider, this person no longer belongs to the tenant";
        world.assert_over(&tokens, why).await;
    }
}

async fn one_asks_and_the_others_go_on(world: Rechecked) {
    world.roles_at_provider(&["data-entry", "clerk"]).await;
    let tokens = world.0.sign_in("dana").await;
    world.roles_at_provider(&["data-entry"]).await;
    world.later(300);
    world.control("hold", json!({ "paths": ["/token"] })).await;
    let asking = async {
        let asked = world.refreshed(&tokens).await;
        assert_eq!(roles(&asked), json!(["data-entry"]));
    };
    let others = async {
        soon("the provider is asked", async || {
            (world.0.provider.requests("/token").await == 2).then_some(())
        })
        .await;
        // It has not answered: they have what they had.
        for _ in 0..5 {
            assert_eq!(roles(&world.refreshed(&tokens).await), json!(["clerk", "data-entry"]));
        }
        world.control("hold", json!({})).await;
    };
    tokio::join!(asking, others);
    assert_eq!(world.0.provider.requests("/token").await, 2);
    assert_eq!(roles(&world.refreshed(&tokens).await), json!(["data-entry"]));
}

async fn a_provider_that_is_away_is_done_without_for_a_while(world: Rechecked) {
    let tokens = world.0.sign_in("dana").await;
    world.control("away", json!({ "paths": ["/token"] })).await;
    world.later(300);
    let tokens = world.refreshed(&tokens).await;
    // It is left alone for some seconds.
    let tokens = world.refreshed(&tokens).await;
    assert_eq!(world.0.provider.requests("/token").await, 2);
    world.later(10);
    let tokens = world.refreshed(&tokens).await;
    assert_eq!(world.0.provider.requests("/token").await, 3);
    // Until its last word is too old, whoever asks.
    world.later(3290);
    for _ in 0..2 {
        let answer = world.0.refresh("web", &tokens["refresh_token"]).await;
        let answer = answer.expect_error(503, "temporarily_unavailable");
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert_eq!(world.0.provider.requests("/token").await, 4);
    // Nothing is over: when it is back, so is the session.
    world.control("away", json!({})).await;
    world.later(10);
    world.refreshed(&tokens).await;
}

async fn a_session_that_cannot_be_asked_about_does_not_last(world: Rechecked) {
    world.control("refresh-tokens", json!({ "give": false })).await;
    let tokens = world.0.sign_in("dana").await;
    world.later(3599);
    let tokens = world.refreshed(&tokens).await;
    world.later(1);
    let why = "the provider gave nothing to ask again with about this person";
    world.assert_over(&tokens, why).await;
}

async fn what_is_kept_of_the_provider_is_sealed_and_goes_with_the_session(world: Rechecked) {
    let [first, second] = [world.0.sign_in("dana").await, world.0.sign_in("dana").await];
    let ids = [&first, &second].map(|tokens| session_of(&tokens["access_token"]));
    let database = world.0.database().await;
    let kept = async |id: SessionId| {
        let find = move |c: &mut _| database::upstream_tokens::find(c, &id);
        database.read(find).await.unwrap()
    };
    let [one, other] = [kept(ids[0]).await.unwrap(), kept(ids[1]).await.unwrap()];
    let (sealed, others) = (one.sealed.unwrap(), other.sealed.clone().unwrap());
    assert_ne!(sealed, others);
    // Nobody's token opens for another session: put there, it makes that one no better.
    let (id, vouched_at) = (ids[0], one.vouched_at);
    let swap = move |c: &mut _| {
        database::upstream_tokens::delete(c, &id)?;
        let ends_at = vouched_at + TimeDelta::days(30);
        database::upstream_tokens::insert(c, &id, Some(&others), vouched_at, ends_at)
    };
    database.write(swap).await.unwrap();
    world.later(300);
    let answer = world.0.refresh("web", &first["refresh_token"]).await;
    answer.expect_error(503, "temporarily_unavailable");
    // A new one comes with each answer, and none is left when the session is over.
    let second = world.refreshed(&second).await;
    assert_ne!(kept(ids[1]).await.unwrap().sealed, other.sealed);
    let form = [("token", second["refresh_token"].as_str().unwrap())];
    world.0.post_as("web", "/oauth2/revoke", &form).await.expect(200);
    assert!(kept(ids[1]).await.is_none());
}

async fn an_answer_about_somebody_else_ends_the_session(world: Rechecked) {
    let tokens = world.0.sign_in("dana").await;
    let adas = json!({ "sub": "ada", "roles": ["admin"] });
    world.control("tamper", json!({ "claims": adas })).await;
    world.later(300);
    world.assert_over(&tokens, "the provider no longer vouches for this person").await;
}

async fn an_answer_that_is_not_sound_changes_nothing(world: Rechecked) {
    for how in [
        json!({ "key": "unknown", "header": { "kid": "x" }, "claims": { "roles": ["admin"] } }),
        json!({ "claims": { "iss": "https://evil.example", "roles": ["admin"] } }),
        json!({ "claims": { "aud": "web-app", "roles": ["admin"] } }),
        json!({ "alg": "none", "claims": { "roles": ["admin"] } }),
    ] {
        world.control("tamper", json!({})).await;
        let tokens = world.0.sign_in("dana").await;
        world.control("tamper", how.clone()).await;
        world.later(300);
        let tokens = world.refreshed(&tokens).await;
        assert_eq!(roles(&tokens), json!(["data-entry"]), "{how}");
        world.later(3300);
        let answer = world.0.refresh("web", &tokens["refresh_token"]).await;
        assert!([400, 503].contains(&answer.status), "{how}: {}", answer.body);
    }
}

async fn what_was_learnt_counts_everywhere(world: Rechecked) {
    world.roles_at_provider(&["data-entry", "clerk"]).await;
    let request = Request::of("portal", PORTAL_URI).with("scope", "openid profile");
    let tokens = world.0.sign_in_at(&request, "dana").await;
    let name = json!({ "name": "Dana Doe", "roles": ["data-entry"] });
    world.control("person", json!({ "sub": "dana", "claims": name })).await;
    world.later(300);
    let refreshed = world.0.refresh("portal", &tokens["refresh_token"]).await.expect(200).json();
    assert_eq!(claims(&refreshed["id_token"])["name"], "Dana Doe");
    let told = world.0.user_info(&refreshed["access_token"]).await.expect(200).json();
    assert_eq!(told["name"], "Dana Doe");
    // A token from before has its roles until it expires; nothing is made of it that they no longer give.
    let old = tokens["access_token"].as_str().unwrap();
    let exchanged = world.0.exchange("portal", old, crate::harness::flow::ACCESS_TOKEN, &[]).await;
    let exchanged = exchanged.expect(200).json();
    assert_eq!(roles(&exchanged), json!(["data-entry"]));
    // What the role that is gone gave cannot be asked for any more.
    let details = json!([{
        "type": "cache", "role": "readwrite", "cache": "calendar-events",
        "item": { "keyPrefix": "acme:" },
    }]);
    let asked = [("authorization_details", &*details.to_string())];
    let answer = world.0.refresh_for("portal", &refreshed["refresh_token"], &asked).await;
    answer.expect_error(400, "invalid_authorization_details");
}

async fn a_provider_that_is_not_to_be_asked_is_not_asked(world: World) {
    let tokens = world.sign_in("dana").await;
    let session = session_of(&tokens["access_token"]);
    world.clock.advance(TimeDelta::hours(2));
    world.refresh("web", &tokens["refresh_token"]).await.expect(200);
    assert_eq!(world.provider.requests("/token").await, 1);
    let find = move |c: &mut _| database::upstream_tokens::find(c, &session);
    let database = world.database().await;
    assert!(database.read(find).await.unwrap().is_none());
}

async fn a_provider_that_is_no_longer_asked_loses_its_sessions(mut world: Rechecked) {
    let tokens = world.0.sign_in("dana").await;
    world.0.deployment.provider("corp").remove("recheck");
    world.0.apply(&[]);
    soon("the change counts", async || {
        (!world.0.is_active(&tokens["access_token"]).await).then_some(())
    })
    .await;
    world.0.refresh("web", &tokens["refresh_token"]).await.expect_error(400, "invalid_grant");
}
