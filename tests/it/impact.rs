//! What a template would do to live sessions and known people, before it is published.

use chrono::TimeDelta;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use rolemint::database::{DbConnection, log, subjects};
use rolemint::domain::ids::SubjectId;
use rolemint::domain::revocation::{NewRevocation, RevocationTarget};
use rolemint::domain::subject::Subject;
use serde_json::{Value, json};

use crate::harness::api::{
    ACME, Administered, BASE, Desk, FIRST, Seen, document, publish, reading,
};
use crate::harness::{on_both_stores, on_embedded_stores, soon};

on_both_stores!(
    everybody_is_counted_once,
    what_has_ended_does_not_count,
    a_tenants_own_version_is_about_that_tenant_alone,
);
on_embedded_stores!(
    who_gets_nothing_any_more_comes_first,
    one_at_a_time_and_it_stops_when_nobody_reads,
    what_could_not_be_published_is_refused,
    only_who_may_change_templates_may_look,
);

fn calendar(role: &str) -> Value {
    json!({ "role": role, "cache": "calendar-events", "item": { "keyPrefix": "{{tenant.id}}:" } })
}

fn only(permissions: &[Value]) -> Value {
    json!({ "expires_in": 900, "permissions": permissions })
}

/// The lines of a run that was read to its end: the report, after any number of lines of progress.
async fn run(desk: &Desk<'_>, template: &str, document: &Value) -> Value {
    let answer = desk.post(&format!("{template}/impact"), &json!({ "document": document })).await;
    let answer = answer.expect(200);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    assert_eq!(answer.header("cache-control"), "no-store");
    let lines: Vec<Value> =
        answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, progress) = lines.split_last().unwrap();
    for line in progress {
        assert!(line["progress"]["percent"].as_u64().unwrap() <= 100, "{line}");
    }
    let report = &last["report"];
    assert!(report.is_object(), "{last}");
    report.clone()
}

fn counts(fails: u64, loses: u64, both: u64, gains: u64, unchanged: u64) -> Value {
    json!({ "fails": fails, "loses": loses, "loses_and_gains": both, "gains": gains, "unchanged": unchanged })
}

async fn everybody_is_counted_once(world: Administered) {
    let root = world.admin("root", "platform").await;
    // Two sessions of one person, and one of another tenant's.
    for _ in 0..2 {
        world.token("dana", "acme").await;
    }
    world.token("gil", "globex").await;
    let report = run(&root, BASE, &only(&[calendar("readonly")])).await;
    assert_eq!(report["sessions"], counts(0, 3, 0, 0, 0), "{report}");
    assert_eq!(report["subjects"], counts(0, 2, 0, 0, 0), "{report}");
    // The session and the person of whoever asks.
    assert_eq!(report["not_concerned"], 2, "{report}");
    assert_eq!(report["tenants_affected"], 2);
    assert_eq!(report["tenants"][0]["tenant"], "acme", "the most first: {report}");
    assert_eq!(report["tenants"][0]["sessions"], counts(0, 2, 0, 0, 0));
    let cases = report["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 5, "{report}");
    let of_acme = cases.iter().find(|case| case["tenant"] == "acme").unwrap();
    let lost = &of_acme["effect"]["changes"]["lost"];
    assert_eq!(lost.as_array().unwrap().len(), 1, "{report}");
    assert_eq!(lost[0]["topic"], "acme-events", "{report}");

    let report = run(&root, BASE, &document(&[reading("reports")])).await;
    assert_eq!(report["sessions"], counts(0, 0, 0, 3, 0), "{report}");
    let report = run(&root, BASE, &document(&[])).await;
    assert_eq!(report["sessions"], counts(0, 0, 0, 0, 3), "{report}");
    assert_eq!(report["cases"], json!([]));
    let both = only(&[calendar("readonly"), reading("reports")]);
    let report = run(&root, BASE, &both).await;
    assert_eq!(report["sessions"], counts(0, 0, 3, 0, 0), "{report}");
    // Nothing was published.
    let shown = root.get(BASE).await.expect(200).json();
    assert_eq!(shown["version"], 1, "{shown}");
}

async fn what_has_ended_does_not_count(world: Administered) {
    let root = world.admin("root", "platform").await;
    let kept = world.token("dana", "acme").await;
    let over = world.sign_in("dana").await;
    world.revoke("web", &over["refresh_token"]).await.expect(200);
    let report = run(&root, BASE, &only(&[calendar("readonly")])).await;
    assert_eq!(report["sessions"]["loses"], 1, "{report}");
    // The store has the session still, and the log has ended it.
    world.token("gil", "globex").await;
    let now = world.clock.now();
    let revocation = NewRevocation {
        target: RevocationTarget::Tenant("globex".parse().unwrap()),
        tenant: None,
        audience: Vec::new(),
        expires_at: now + TimeDelta::days(1),
        by: None,
        reason: "a test ended it".into(),
    };
    let append = move |c: &mut DbConnection| log::append_revocation(c, &revocation, now);
    world.database().await.write(append).await.unwrap();
    soon("the ending", async || {
        let report = run(&root, BASE, &only(&[calendar("readonly")])).await;
        (report["sessions"]["loses"] == 1 && report["subjects"]["loses"] == 2).then_some(())
    })
    .await;
    // A session that a recalled version has ended, too, whatever the token store says of it.
    let recalled = json!({ "how": "revoke", "reason": "it was wrong" });
    root.post(&format!("{BASE}/versions/1/recall"), &recalled).await.expect(200);
    soon("the end of the session", async || (!world.is_active(&json!(kept)).await).then_some(()))
        .await;
    let report = run(&root, BASE, &only(&[calendar("readonly")])).await;
    assert_eq!(report["sessions"]["loses"], 0, "{report}");
    assert_eq!(report["subjects"]["loses"], 2, "{report}");
}

async fn a_tenants_own_version_is_about_that_tenant_alone(world: Administered) {
    let ada = world.admin("ada", "acme").await;
    let root = world.admin("root", "platform").await;
    world.token("dana", "acme").await;
    world.token("gil", "globex").await;
    let less = only(&[calendar("readonly")]);
    let report = run(&ada, ACME, &less).await;
    assert_eq!(report["sessions"], counts(0, 1, 0, 0, 0), "{report}");
    assert_eq!(report["tenants"].as_array().unwrap().len(), 1);
    assert!(!report.to_string().contains("globex"), "{report}");
    // Where a tenant has its own, the base says nothing to it.
    publish(&ada, ACME, Seen::Nothing, &less).await.expect(201);
    let report = soon("the tenant's own version", async || {
        let report = run(&root, BASE, &less).await;
        (report["sessions"]["loses"] == 1).then_some(report)
    });
    let report = report.await;
    assert_eq!(report["tenants"][0]["tenant"], "globex", "{report}");
    assert_eq!(report["sessions"], counts(0, 1, 0, 0, 0), "{report}");
}

async fn who_gets_nothing_any_more_comes_first(world: Administered) {
    let root = world.admin("root", "platform").await;
    world.token("dana", "acme").await;
    let strict = json!({ "expires_in": 900, "permissions": [{ "$each": "user.claims.regions", "$as": "region",
        "role": "readonly", "cache": "reports", "item": { "keyPrefix": "{{tenant.id}}:{{region}}:" } }] });
    let report = run(&root, BASE, &strict).await;
    assert_eq!(report["sessions"], counts(1, 0, 0, 0, 0), "{report}");
    let why = report["cases"][0]["effect"]["fails"]["why"].as_str().unwrap();
    assert!(why.contains("user.claims.regions"), "{why}");
}

async fn one_at_a_time_and_it_stops_when_nobody_reads(world: Administered) {
    let root = world.admin("root", "platform").await;
    let database = world.database().await;
    let now = world.clock.now();
    let people = |first: usize| {
        move |c: &mut DbConnection| {
            for number in first..first + 500 {
                let provider = "corp".parse().unwrap();
                let upstream = format!("person-{number}");
                let id = SubjectId::person(&provider, &upstream);
                let claims =
                    json!({ "email": format!("{upstream}@acme.example"), "roles": ["data-entry"] });
                let claims = claims.as_object().unwrap().clone();
                let subject = Subject { id, provider, claims };
                subjects::put(c, &subject, &upstream, &"acme".parse().unwrap(), now)?;
            }
            Ok(())
        }
    };
    for first in (0..10_000).step_by(500) {
        database.write(people(first)).await.unwrap();
    }
    let body = json!({ "document": only(&[calendar("readonly")]) });
    let browser = world.browser();
    let begin = async || {
        let request = root.request(&browser, Method::POST, &format!("{BASE}/impact"));
        request.header(CONTENT_TYPE, "application/json").body(body.to_string()).send().await
    };
    let under_way = begin().await.unwrap();
    assert_eq!(under_way.status(), 200);
    let busy = root.post(&format!("{BASE}/impact"), &body).await.expect_problem(429, "busy");
    assert_eq!(busy.header("retry-after"), "1");
    // A tenant's own is another place.
    let report = run(&root, ACME, &only(&[calendar("readonly")])).await;
    assert_eq!(report["subjects"]["loses"], 10_000, "{report}");
    drop(under_way);
    // To its end: all of them, and told in between.
    let answer = soon("the place", async || {
        let answer = root.post(&format!("{BASE}/impact"), &body).await;
        (answer.status == 200).then_some(answer)
    });
    let answer = answer.await;
    assert!(answer.body.lines().count() > 1, "no progress: {}", answer.body);
    let first: Value = serde_json::from_str(answer.body.lines().next().unwrap()).unwrap();
    assert_eq!(first["progress"]["phase"], "sessions", "{first}");
    let last: Value = serde_json::from_str(answer.body.lines().last().unwrap()).unwrap();
    assert_eq!(last["report"]["subjects"]["loses"], 10_000, "{last}");
}

async fn what_could_not_be_published_is_refused(world: Administered) {
    let root = world.admin("root", "platform").await;
    let bare = json!({ "role": "readonly", "cache": "calendar-events", "item": { "keyPrefix": "{{tenant.id}}" } });
    let body = json!({ "document": only(&[bare]) });
    let answer = root.post(&format!("{BASE}/impact"), &body).await.expect_problem(422, "refused");
    assert_eq!(answer.pointers(), ["/permissions/0"]);
    let two = json!({ "document": document(&[]), "draft": 1 });
    root.post(&format!("{BASE}/impact"), &two).await.expect_problem(400, "invalid-request");
    let stale = json!({ "draft": 7 });
    root.post(&format!("{BASE}/impact"), &stale).await.expect_problem(412, "precondition-failed");
    publish(&root, BASE, FIRST, &document(&[reading("reports")])).await.expect(201);
}

async fn only_who_may_change_templates_may_look(world: Administered) {
    let otto = world.admin("otto", "acme").await;
    let ada = world.admin("ada", "acme").await;
    let body = json!({ "document": document(&[]) });
    otto.post(&format!("{ACME}/impact"), &body).await.expect_problem(403, "forbidden");
    ada.post(&format!("{BASE}/impact"), &body).await.expect_problem(403, "forbidden");
    let other = ACME.replace("acme", "globex");
    ada.post(&format!("{other}/impact"), &body).await.expect_problem(404, "not-found");
}
