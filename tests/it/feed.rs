//! The revocation feed: what resource servers hear, all of it, in order, and only whoever may.

use chrono::TimeDelta;
use rolemint::database::{Database, DbConnection, log};
use rolemint::domain::Time;
use rolemint::domain::revocation::{NewRevocation, RevocationTarget};
use serde_json::{Value, json};

use crate::harness::feed::Stream;
use crate::harness::flow::{API, PORTAL_URI, Request, claims};
use crate::harness::http::Browser;
use crate::harness::servers::Postgres;
use crate::harness::world::{World, open};
use crate::harness::{Pair, on, on_both_stores, on_embedded_stores, rounds, soon};

on_both_stores!(
    what_ends_is_told,
    what_ends_tokens_of_others_is_not_told,
    whoever_comes_back_misses_nothing_and_hears_nothing_twice,
    what_is_revoked_here_is_told_here_without_a_poll,
);
on_embedded_stores!(
    only_a_client_that_introspects_may_read,
    whoever_asks_for_an_audience_of_others_is_refused,
    a_reader_of_one_tenant_is_spared_the_others,
    a_reader_whom_little_concerns_is_told_to_the_end,
    a_position_that_is_none_begins_over,
    a_slow_reader_misses_nothing,
    what_can_hit_nothing_any_more_is_not_told,
    a_client_that_changes_has_to_come_again,
    streams_are_bounded_and_places_come_back,
    a_server_that_stops_ends_its_streams,
);

#[test]
fn a_node_that_cannot_read_the_log_ends_its_streams() {
    on(Pair::PostgresRedis, async |mut world: World| {
        world.restart_with("revocation", "stale_after", 1).await;
        let mut stream = world.feed("api").await;
        stream.alive().await;
        let database = world.stores().database_url.rsplit_once('/').unwrap().1;
        let database = database.split('?').next().unwrap().to_owned();
        Postgres::shared().sql(&database, "alter table heads rename to elsewhere");
        while stream.next().await.is_some() {}
        let api = world.basic("api");
        for path in ["", "/snapshot"] {
            let answer = world.feed_refused(Some(&api), path).await;
            answer.expect_problem(503, "unavailable");
        }
        Postgres::shared().sql(&database, "alter table elsewhere rename to heads");
        soon("the feed", async || {
            let answer = world.browser().get("/readyz").await;
            (answer.status == 200).then_some(())
        })
        .await;
        world.feed("api").await.alive().await;
    });
}

/// As where an asynchronous standby took over: positions that this node knows are given out once more.
#[test]
fn a_log_that_went_back_is_read_no_more() {
    on(Pair::PostgresRedis, async |mut world: World| {
        world.restart_with("revocation", "stale_after", 1).await;
        let tokens = world.sign_in("dana").await;
        world.append(key("k_1"), None).await;
        world.catch_up().await;
        let database = world.stores().database_url.rsplit_once('/').unwrap().1;
        let database = database.split('?').next().unwrap().to_owned();
        let head = |position: u64| {
            let set = format!("update heads set position = {position} where name = 'revocations'");
            Postgres::shared().sql(&database, &set);
        };
        let introspected = async |world: &World| {
            let form = [("token", tokens["access_token"].as_str().unwrap())];
            world.post_as("backend", "/oauth2/introspect", &form).await.status
        };
        assert_eq!(introspected(&world).await, 200);
        head(0);
        soon("a refusal", async || (introspected(&world).await == 503).then_some(())).await;
        // Nor when it has grown as long again.
        head(2);
        assert!(!world.can_read_the_log().await);
        assert_eq!(introspected(&world).await, 503);
        world.restart_with("revocation", "stale_after", 1).await;
        assert_eq!(introspected(&world).await, 200);
    });
}

fn key(name: &str) -> RevocationTarget {
    RevocationTarget::ApiKey(name.to_owned())
}

fn entry(target: RevocationTarget, tenant: Option<&str>, expires_at: Time) -> NewRevocation {
    let tenant = tenant.map(|tenant| tenant.parse().unwrap());
    let reason = "a test ended it".into();
    NewRevocation { target, tenant, audience: Vec::new(), expires_at, by: None, reason }
}

/// Appends to the log beside the server, in one transaction.
async fn append(database: &Database, entries: Vec<NewRevocation>, now: Time) {
    let append = move |c: &mut DbConnection| {
        for entry in &entries {
            log::append_revocation(c, entry, now)?;
        }
        Ok(())
    };
    database.write(append).await.unwrap();
}

impl World {
    async fn append(&self, target: RevocationTarget, tenant: Option<&str>) {
        let now = self.clock.now();
        let entries = vec![entry(target, tenant, now + TimeDelta::minutes(10))];
        append(&self.database().await, entries, now).await;
    }
}

async fn what_ends_is_told(world: World) {
    let kept = world.sign_in_at(&Request::of("portal", PORTAL_URI), "dana").await;
    let over = world.sign_in_at(&Request::of("portal", PORTAL_URI), "dana").await;
    world.revoke("portal", &over["refresh_token"]).await.expect(200);
    let mut stream = world.feed("api").await;
    let (alive, position) = stream.alive().await;
    assert_eq!(alive.len(), 1, "{alive:?}");
    assert_eq!(alive[0]["target"], "session");
    assert_eq!(alive[0]["value"], claims(&over["access_token"])["sid"]);
    assert_eq!(alive[0]["position"], position);
    assert_eq!(alive[0]["tenant"], "acme");

    world.revoke("portal", &kept["access_token"]).await.expect(200);
    let told = stream.news().await;
    let token = claims(&kept["access_token"]);
    assert_eq!((told.id, told.name.as_str()), (Some(position + 1), "revocation"));
    assert_eq!(told.data["target"], "token");
    assert_eq!(told.data["value"], token["jti"]);
    assert_eq!(told.data["tenant"], "acme");
    assert!(told.data.get("audience").is_none(), "it is nobody's business");
    // Five minutes longer than it lives: clocks differ.
    assert_eq!(told.data["expires_at"], token["exp"].as_i64().unwrap() + 300);
    assert_eq!(told.data["at"], world.clock.now().timestamp());
    let after = stream.next().await.unwrap();
    assert_eq!((after.id, after.name.as_str()), (Some(position + 1), "position"));
    // Nothing happens, and there is a sign of life.
    let life = stream.next().await.unwrap();
    assert_eq!((life.position(), life.name.as_str()), (position + 1, "position"));

    // And on from there.
    let last = (position + 1).to_string();
    let mut resumed = world.feed_at(&world.browser(), "api", "", Some(&last)).await;
    let first = resumed.next().await.unwrap();
    assert_eq!((first.position(), first.name.as_str()), (position + 1, "position"));
    let query = format!("?after={position}");
    let mut resumed = world.feed_at(&world.browser(), "api", &query, None).await;
    assert_eq!(resumed.next().await.unwrap(), told);
    let mut resumed = world.feed_at(&world.browser(), "api", &query, Some(&last)).await;
    let same = resumed.next().await.unwrap();
    assert_eq!((same.position(), same.id), (position + 1, first.id), "the header counts");
}

async fn what_ends_tokens_of_others_is_not_told(world: World) {
    let kept = world.sign_in_at(&Request::of("portal", PORTAL_URI), "dana").await;
    let over = world.sign_in_at(&Request::of("portal", PORTAL_URI), "dana").await;
    world.revoke("portal", &over["refresh_token"]).await.expect(200);
    // It checks the tokens of the issuer, and these are of an API.
    let mut other = world.feed("backend").await;
    assert_eq!(other.alive().await, (Vec::new(), 1));
    let browser = world.browser();
    let mut elsewhere = world.feed_at(&browser, "api", "?tenant=globex", None).await;
    assert_eq!(elsewhere.alive().await, (Vec::new(), 1));
    world.revoke("portal", &kept["access_token"]).await.expect(200);
    let own = world.sign_in("dana").await;
    world.revoke("web", &own["access_token"]).await.expect(200);
    let told = other.news().await;
    assert_eq!(told.position(), 3, "{told:?}");
    assert_eq!(told.data["value"], claims(&own["access_token"])["jti"]);
    let mut concerned = world.feed_at(&browser, "api", "?tenant=acme", Some("0")).await;
    let heard = [concerned.news().await, concerned.news().await].map(|event| event.position());
    assert_eq!(heard, [1, 2]);
    loop {
        let event = elsewhere.next().await.unwrap();
        assert_eq!(event.name, "position", "{event:?}");
        if event.position() == 3 {
            break;
        }
    }
}

/// Numbers that look random, and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

/// Reads until `upto`, going away in the middle of everything and coming back at another node.
async fn read_with_breaks(
    world: &World,
    nodes: &[Browser],
    mut dice: Dice,
    upto: u64,
) -> Vec<Value> {
    let (mut read, mut last, mut connections) = (Vec::new(), None, 0);
    loop {
        let node = &nodes[usize::try_from(dice.below(2)).unwrap() % nodes.len()];
        let mut stream = world.feed_at(node, "api", "", last.as_deref()).await;
        connections += 1;
        for _ in 0..=dice.below(40) {
            let event = stream.next().await.expect("more");
            match event.name.as_str() {
                "reset" => {
                    assert_eq!(last, None, "what was read is good: {event:?}");
                    read.clear();
                }
                "revocation" => read.push(event.data.clone()),
                "position" if event.position() == upto => {
                    assert!(connections > 1, "no break");
                    return read;
                }
                _ => {}
            }
            last = event.id.map(|id| id.to_string()).or(last);
        }
    }
}

async fn whoever_comes_back_misses_nothing_and_hears_nothing_twice(mut world: World) {
    const WRITERS: u64 = 4;
    let each = rounds("ROLEMINT_LONG_FEED_ENTRIES", 60);
    let mut nodes = vec![world.browser()];
    let mut other = None;
    if world.stores().pair == Pair::PostgresRedis {
        let (running, browser) = world.another_node().await;
        nodes.push(browser);
        other = Some(running);
    }
    let url = world.stores().database_url.clone();
    let now = world.clock.now();
    let writer = |number: u64| {
        let url = url.clone();
        tokio::spawn(async move {
            let database = open(&url).await;
            for count in 0..each {
                let target = key(&format!("k_{number}_{count}"));
                append(&database, vec![entry(target, None, now + TimeDelta::minutes(10))], now)
                    .await;
            }
        })
    };
    let writers: Vec<_> = (0..WRITERS).map(writer).collect();
    let read = |seed| read_with_breaks(&world, &nodes, Dice(seed), WRITERS * each);
    let (a, b, c) = tokio::join!(read(1), read(2), read(3));
    for writer in writers {
        writer.await.unwrap();
    }
    let list = move |c: &mut DbConnection| log::list_live(c, 0, u64::MAX, None, now);
    let entries = world.database().await.read(list).await.unwrap();
    let expected: Vec<_> = entries
        .iter()
        .map(|entry| match &entry.target {
            RevocationTarget::ApiKey(name) => (json!(entry.position), json!(name)),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(expected.len(), usize::try_from(WRITERS * each).unwrap());
    for read in [a, b, c] {
        let read: Vec<_> = read
            .into_iter()
            .map(|mut data| (data["position"].take(), data["value"].take()))
            .collect();
        assert_eq!(read, expected);
    }
    if let Some(other) = other {
        other.stop().await.unwrap();
    }
}

async fn what_is_revoked_here_is_told_here_without_a_poll(mut world: World) {
    // Whatever is told within this test is not told because the log was polled.
    world.restart_with("revocation", "stale_after", 3600).await;
    world.restart_with("revocation", "poll_interval_ms", 60_000).await;
    let tokens = world.sign_in_at(&Request::of("portal", PORTAL_URI), "dana").await;
    let mut stream = world.feed("api").await;
    stream.alive().await;
    world.revoke("portal", &tokens["access_token"]).await.expect(200);
    assert_eq!(stream.news().await.data["value"], claims(&tokens["access_token"])["jti"]);
    world.revoke("portal", &tokens["refresh_token"]).await.expect(200);
    assert_eq!(stream.news().await.data["value"], claims(&tokens["access_token"])["sid"]);
}

async fn only_a_client_that_introspects_may_read(world: World) {
    world.feed_refused(None, "").await.expect_problem(401, "not-authenticated");
    let token = world.sign_in("dana").await;
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    world.feed_refused(Some(&bearer), "").await.expect_problem(401, "not-authenticated");
    let basic = |pair: &str| format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()));
    for pair in ["api:wrong", "nobody:wrong", "web:", "web:x"] {
        let answer = world.feed_refused(Some(&basic(pair)), "").await;
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"rolemint\"");
        answer.expect_problem(401, "invalid-client");
    }
    // A secret alone is not enough.
    let answer = world.feed_refused(Some(&world.basic("narrow")), "").await;
    assert_eq!(answer.header("www-authenticate"), "");
    answer.expect_problem(403, "forbidden");
}

/// Rather than that it is not told, which nobody would notice.
async fn whoever_asks_for_an_audience_of_others_is_refused(world: World) {
    let encoded = |audience: &str| {
        url::form_urlencoded::Serializer::new("?".to_owned())
            .append_pair("audience", audience)
            .finish()
    };
    let (api, own) = (encoded(API), encoded(&world.issuer));
    for query in [api.clone(), format!("{own}&audience=x")] {
        let backend = world.basic("backend");
        world.feed_refused(Some(&backend), &query).await.expect_problem(403, "forbidden");
    }
    // And who introspects several hears of those alone for which it asks.
    let kept = world.sign_in_at(&Request::of("portal", PORTAL_URI), "dana").await;
    world.revoke("portal", &kept["access_token"]).await.expect(200);
    let browser = world.browser();
    let mut of_api = world.feed_at(&browser, "api", &api, None).await;
    assert_eq!(of_api.alive().await.0.len(), 1);
}

/// More than is read and sent at once, and not a word of it for this reader.
async fn a_reader_whom_little_concerns_is_told_to_the_end(world: World) {
    let now = world.clock.now();
    let others =
        |number| entry(key(&format!("k_{number}")), Some("globex"), now + TimeDelta::minutes(10));
    append(&world.database().await, (0..600).map(others).collect(), now).await;
    world.append(key("k_acme"), Some("acme")).await;
    world.catch_up().await;
    let browser = world.browser();
    let mut stream = world.feed_at(&browser, "api", "?tenant=acme", None).await;
    let (alive, position) = stream.alive().await;
    assert_eq!((alive.len(), position), (1, 601));
    // And of what comes after.
    let mut late = world.feed_at(&browser, "api", "?tenant=acme", Some("0")).await;
    assert_eq!(late.news().await.position(), 601);
}

async fn a_reader_of_one_tenant_is_spared_the_others(world: World) {
    world.append(key("k_before"), Some("globex")).await;
    let heads = soon("the entry", async || {
        let (alive, position) = world.feed("api").await.alive().await;
        (position == 1).then_some(alive)
    });
    assert_eq!(heads.await.len(), 1, "a reader of all hears of it");
    let browser = world.browser();
    let mut acme = world.feed_at(&browser, "api", "?tenant=acme", None).await;
    assert_eq!(acme.alive().await, (Vec::new(), 1));
    let mut both = world.feed_at(&browser, "api", "?tenant=acme&tenant=globex", None).await;
    assert_eq!(both.alive().await.0.len(), 1);
    world.append(key("k_globex"), Some("globex")).await;
    world.append(key("k_acme"), Some("acme")).await;
    world.append(key("k_all"), None).await;
    let heard = async |stream: &mut Stream| {
        let mut heard = Vec::new();
        loop {
            let event = stream.next().await.unwrap();
            match event.name.as_str() {
                "revocation" => heard.push(event.data["value"].as_str().unwrap().to_owned()),
                _ if event.position() == 4 => return heard,
                _ => {}
            }
        }
    };
    assert_eq!(heard(&mut acme).await, ["k_acme", "k_all"], "and of the position all the same");
    assert_eq!(heard(&mut both).await, ["k_globex", "k_acme", "k_all"]);
    for wrong in ["?tenant=ACME", "?tenant=acme&tenant=*", "?after=1&after=2", "?tenant=%ff"] {
        let answer = world.feed_refused(Some(&world.basic("api")), wrong).await;
        answer.expect_problem(400, "invalid-request");
    }
}

async fn a_position_that_is_none_begins_over(world: World) {
    world.append(key("k_1"), None).await;
    let browser = world.browser();
    for last in ["2", "99", "x", "-1", "1.0", "18446744073709551616"] {
        let mut stream = world.feed_at(&browser, "api", "", Some(last)).await;
        let (alive, position) = stream.alive().await;
        // One ahead of what the node knows makes it look.
        let looked = last == "2" || last == "99";
        assert!(!looked || (alive.len(), position) == (1, 1), "{last}: {alive:?}");
    }
}

async fn a_slow_reader_misses_nothing(world: World) {
    const MANY: usize = 4500;
    const AT_ONCE: usize = 250;
    let mut stream = world.feed("api").await;
    stream.alive().await;
    let now = world.clock.now();
    let name = |number: usize| format!("k_{number}_{}", "x".repeat(200));
    let one = |number| entry(key(&name(number)), None, now + TimeDelta::minutes(10));
    // More than the node holds ready, and more than the connection takes.
    let database = world.database().await;
    for first in (0..MANY).step_by(AT_ONCE) {
        append(&database, (first..first + AT_ONCE).map(one).collect(), now).await;
    }
    soon("the log", async || {
        let mut other = world.feed_at(&world.browser(), "api", "", Some("4499")).await;
        (other.next().await.unwrap().name == "revocation").then_some(())
    })
    .await;
    for number in 0..MANY {
        let event = stream.news().await;
        assert_eq!(event.data["value"], name(number));
        assert_eq!(event.id, Some(u64::try_from(number).unwrap() + 1));
    }
}

async fn what_can_hit_nothing_any_more_is_not_told(world: World) {
    world.append(key("k_1"), None).await;
    soon("the entry", async || (world.feed("api").await.alive().await.1 == 1).then_some(())).await;
    assert_eq!(world.feed("api").await.alive().await.0.len(), 1);
    world.clock.advance(TimeDelta::minutes(10));
    assert_eq!(world.feed("api").await.alive().await, (Vec::new(), 1));
}

async fn a_client_that_changes_has_to_come_again(mut world: World) {
    let mut stream = world.feed("api").await;
    stream.alive().await;
    let mut unconcerned = world.feed("backend").await;
    unconcerned.alive().await;
    world.deployment.client("api").insert("introspects".into(), vec!["https://b.example"].into());
    world.apply(&[]);
    while stream.next().await.is_some() {}
    let mut stream = world.feed("api").await;
    world.deployment.client("api").insert("status".into(), "suspended".into());
    world.apply(&[]);
    while stream.next().await.is_some() {}
    world.feed_refused(Some(&world.basic("api")), "").await.expect_problem(401, "invalid-client");
    let told = unconcerned.news().await;
    assert_eq!((&told.data["target"], &told.data["value"]), (&json!("client"), &json!("api")));
}

async fn streams_are_bounded_and_places_come_back(mut world: World) {
    world.restart_with("feed", "max_streams", 3).await;
    world.restart_with("feed", "max_streams_per_client", 2).await;
    let first = world.feed("api").await;
    let _second = world.feed("api").await;
    let answer = world.feed_refused(Some(&world.basic("api")), "").await;
    assert_eq!(answer.header("retry-after"), "1");
    answer.expect_problem(503, "unavailable");
    // A snapshot takes a place while it is made.
    let answer = world.feed_refused(Some(&world.basic("api")), "/snapshot").await;
    answer.expect_problem(503, "unavailable");
    let third = world.feed("backend").await;
    let answer = world.feed_refused(Some(&world.basic("backend")), "").await;
    answer.expect_problem(503, "unavailable");
    drop((first, third));
    soon("a place", async || {
        let request = world.browser().request(reqwest::Method::GET, "/v1/revocations");
        let request = request.header("authorization", world.basic("api"));
        (request.send().await.unwrap().status() == 200).then_some(())
    })
    .await;
}

async fn a_server_that_stops_ends_its_streams(mut world: World) {
    let mut stream = world.feed("api").await;
    stream.alive().await;
    world.stop().await;
    // To its proper end: it was not cut off when the server's patience was over.
    while stream.next().await.is_some() {}
}
