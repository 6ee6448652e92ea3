//! Versions of role templates: what publishing one does to tokens, and what is refused and changes nothing.

use std::time::Instant;

use chrono::TimeDelta;
use rolemint::database::{self, Database};
use rolemint::domain::Time;
use rolemint::domain::audit::EventKind;
use rolemint::domain::template::version::{Conflict, TemplateName, TemplateVersion};
use rolemint::service::templates::{
    self, Author, Content, NotDone, Publication, Published, Recall, Withdrawal,
};
use serde_json::{Value, json};

use crate::harness::flow::{Request, claims};
use crate::harness::world::World;
use crate::harness::{on_both_stores, on_embedded_stores, soon};

on_both_stores!(
    of_many_who_publish_at_once_one_wins,
    a_published_version_counts_from_the_next_refresh,
    a_tenants_own_version_counts_for_that_tenant_alone,
    a_lower_ceiling_cuts_at_once,
    what_a_version_made_can_be_taken_back,
    a_draft_is_published_as_it_was_seen,
    two_versions_that_meet_are_never_both_published,
);
on_embedded_stores!(
    what_does_not_pass_the_gate_changes_nothing,
    what_is_not_there_is_said,
    widening_takes_a_confirmation,
    rolling_back_is_a_new_version,
    a_base_that_changes_says_which_tenants_differ,
    a_recall_spares_who_had_their_own,
    a_recall_ends_the_sessions_of_whom_it_counted_for,
);

const CEILING: &str = r#"{ "expires_in": 900, "permissions": [
    { "role": "readwrite", "cache": "calendar-events", "item": { "keyPrefix": "{{tenant.id}}:" } } ] }"#;

fn base() -> TemplateName {
    "data-entry".parse().unwrap()
}

fn own(tenant: &str) -> TemplateName {
    TemplateName { tenant: Some(tenant.parse().unwrap()), ..base() }
}

fn document(permissions: &Value) -> String {
    json!({ "expires_in": 900, "permissions": permissions }).to_string()
}

/// A permission on the calendar, for the tenant and what follows it.
fn calendar(role: &str, rest: &str) -> Value {
    json!({ "role": role, "cache": "calendar-events", "item": { "keyPrefix": format!("{{{{tenant.id}}}}{rest}") } })
}

fn author() -> Author {
    Author { name: "ada".to_owned(), subject: None, reason: "it is needed".to_owned() }
}

/// To be published in place of `expected`, and allowed to widen.
fn publication(name: &TemplateName, source: &str, expected: Option<u64>) -> Publication {
    Publication {
        name: name.clone(),
        content: Content::Source(source.to_owned()),
        expected,
        widening_confirmed: true,
        author: author(),
    }
}

async fn publish(
    world: &World,
    name: &TemplateName,
    source: &str,
    expected: Option<u64>,
) -> Result<Published, NotDone> {
    let publication = publication(name, source, expected);
    templates::publish(&world.database().await, &publication, world.clock.now()).await
}

/// The permissions and the template versions of an access token.
fn made_of(tokens: &Value) -> (Value, Value) {
    let claims = claims(&tokens["access_token"]);
    (claims["authorization_details"].clone(), claims["tpl"].clone())
}

/// Somebody's token, once it is made of this version.
async fn sign_in_with(world: &World, username: &str, version: &str) -> Value {
    soon(version, async || {
        let tokens = world.sign_in(username).await;
        (made_of(&tokens).1 == json!([version])).then_some(tokens)
    })
    .await
}

async fn sign_in_at_globex(world: &World) -> Value {
    world.sign_in_at(&Request::web().with("tenant", "globex"), "gil").await
}

async fn everything(database: &Database) -> (Vec<String>, u64, i64) {
    let published = database.read(database::templates::list_published).await.unwrap();
    let shown = published.iter().map(|version| format!("{version:?}")).collect();
    let position = database.read(database::templates::position).await.unwrap();
    let count =
        |c: &mut database::DbConnection| database::audit::count(c, EventKind::TemplatePublished);
    (shown, position, database.read(count).await.unwrap())
}

async fn of_many_who_publish_at_once_one_wins(world: World) {
    let database = world.database().await;
    let now = world.clock.now();
    let attempts = (0..8).map(|number| {
        let database = database.clone();
        let source = document(&json!([calendar("readonly", &format!(":{number}:"))]));
        tokio::spawn(async move {
            templates::publish(&database, &publication(&base(), &source, Some(1)), now).await
        })
    });
    let mut won = Vec::new();
    for attempt in attempts.collect::<Vec<_>>() {
        match attempt.await.unwrap() {
            Ok(published) => won.push(published.version),
            Err(NotDone::Conflict { conflict: Conflict::Published(Some(2)), .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won, [base().at(2)]);
    let history = templates::history(&database, &base(), None, 10).await.unwrap();
    assert_eq!(history.len(), 2);
}

async fn a_published_version_counts_from_the_next_refresh(world: World) {
    let tokens = world.sign_in("dana").await;
    let before = made_of(&tokens);
    let source = document(&json!([calendar("readwrite", ":")]));
    let begun = Instant::now();
    publish(&world, &base(), &source, Some(1)).await.unwrap();
    let refreshed = soon("the new version", async || {
        let refreshed = world.refresh("web", &tokens["refresh_token"]).await.expect(200).json();
        (made_of(&refreshed) != before).then_some(refreshed)
    });
    let (permissions, version) = made_of(&refreshed.await);
    eprintln!("a published version counted after {} ms", begun.elapsed().as_millis());
    assert_eq!(version, json!(["data-entry@2"]));
    assert_eq!(permissions[0]["role"], "readwrite");
    assert_eq!(permissions.as_array().unwrap().len(), 1);
    // What was made before lives on to its own end.
    assert!(world.is_active(&tokens["access_token"]).await);
}

async fn a_tenants_own_version_counts_for_that_tenant_alone(mut world: World) {
    world.allow_own_versions(CEILING);
    let base_of = made_of(&sign_in_at_globex(&world).await);
    let source = document(&json!([calendar("readonly", ":own:")]));
    publish(&world, &own("acme"), &source, None).await.unwrap();
    let tokens = sign_in_with(&world, "dana", "data-entry@1/acme").await;
    assert_eq!(made_of(&tokens).0[0]["item"], json!({ "keyPrefix": "acme:own:" }));
    assert_eq!(made_of(&sign_in_at_globex(&world).await), base_of);
    // Given up, the base counts again.
    let withdrawal = |expected| Withdrawal {
        role: base().role,
        tenant: "acme".parse().unwrap(),
        expected,
        widening_confirmed: true,
        author: author(),
    };
    let (database, now) = (world.database().await, world.clock.now());
    let stale = Withdrawal { widening_confirmed: false, ..withdrawal(7) };
    let stale = templates::withdraw(&database, &stale, now).await;
    assert!(matches!(stale, Err(NotDone::Conflict { .. })), "{stale:?}");
    let unconfirmed = Withdrawal { widening_confirmed: false, ..withdrawal(1) };
    let unconfirmed = templates::withdraw(&database, &unconfirmed, now).await;
    assert!(matches!(unconfirmed, Err(NotDone::NeedsConfirmation(_))), "{unconfirmed:?}");
    templates::withdraw(&database, &withdrawal(1), now).await.unwrap();
    sign_in_with(&world, "dana", "data-entry@1").await;
    // A number is never given twice.
    let again = publish(&world, &own("acme"), &source, None).await.unwrap();
    assert_eq!(again.version, own("acme").at(2));
}

async fn a_lower_ceiling_cuts_at_once(mut world: World) {
    world.allow_own_versions(CEILING);
    let source = document(&json!([calendar("readwrite", ":")]));
    publish(&world, &own("acme"), &source, None).await.unwrap();
    let tokens = sign_in_with(&world, "dana", "data-entry@1/acme").await;
    assert_eq!(made_of(&tokens).0[0]["role"], "readwrite");
    let lower = CEILING.replace("readwrite", "readonly");
    world.allow_own_versions(&lower);
    soon("the cut", async || {
        let tokens = world.sign_in("dana").await;
        (made_of(&tokens).0[0]["role"] == "readonly").then_some(())
    })
    .await;
    let above = publish(&world, &own("acme"), &source.replace('9', "8"), Some(1)).await;
    let Err(NotDone::Refused(review)) = above else { panic!("{above:?}") };
    assert!(review.refusal().contains("above the ceiling"), "{}", review.refusal());
}

async fn recall(world: &World, version: &TemplateVersion, how: Recall) -> Option<u64> {
    let (database, now) = (world.database().await, world.clock.now());
    let stale_after = std::time::Duration::from_secs(5);
    let recalled = templates::recall(&database, version, how, stale_after, &author(), now).await;
    recalled.unwrap().position
}

async fn what_a_version_made_can_be_taken_back(world: World) {
    let tokens = world.sign_in("dana").await;
    let admin = world.sign_in("ada").await;
    let first = base().at(1);
    assert_eq!(recall(&world, &first, Recall::LetExpire).await, None);
    assert!(world.is_active(&tokens["access_token"]).await);

    assert!(recall(&world, &first, Recall::RefreshNow).await.is_some());
    let dead = async |token: &Value| (!world.is_active(token).await).then_some(());
    soon("the end of the access token", async || dead(&tokens["access_token"]).await).await;
    let source = document(&json!([calendar("readonly", ":")]));
    publish(&world, &base(), &source, Some(1)).await.unwrap();
    let refreshed = soon("a token of the new version", async || {
        let answer = world.refresh("web", &tokens["refresh_token"]).await.expect(200).json();
        (made_of(&answer).1 == json!(["data-entry@2"])).then_some(answer)
    })
    .await;
    assert!(world.is_active(&refreshed["access_token"]).await);

    // The session began under the first version.
    assert!(recall(&world, &first, Recall::Revoke).await.is_some());
    soon("the end of the session", async || dead(&refreshed["access_token"]).await).await;
    world.refresh("web", &refreshed["refresh_token"]).await.expect_error(400, "invalid_grant");
    assert!(world.is_active(&admin["access_token"]).await, "another role's");
    // Who signs in anew is not hit.
    let anew = world.sign_in("dana").await;
    assert!(world.is_active(&anew["access_token"]).await);
}

async fn a_draft_is_published_as_it_was_seen(world: World) {
    let (database, now) = (world.database().await, world.clock.now());
    let save = async |source: &str, expected| {
        templates::save_draft(&database, &base(), source, expected, &author(), now).await
    };
    // A draft may be wrong.
    let first = save("{", None).await.unwrap();
    let other = save("{}", None).await;
    assert!(
        matches!(&other, Err(NotDone::Conflict { conflict: Conflict::Draft(_), .. })),
        "{other:?}"
    );
    let source = document(&json!([calendar("readonly", ":")]));
    let second = save("{ ", Some(first.revision)).await.unwrap();
    let publish_draft = async |revision| {
        let content = Content::Draft { revision };
        let publication = Publication { content, ..publication(&base(), "", Some(1)) };
        templates::publish(&database, &publication, now).await
    };
    let stale = publish_draft(first.revision).await;
    assert!(
        matches!(&stale, Err(NotDone::Conflict { conflict: Conflict::Draft(_), .. })),
        "{stale:?}"
    );
    let third = save(&source, Some(second.revision)).await.unwrap();
    assert_eq!(publish_draft(third.revision).await.unwrap().version, base().at(2));
    assert_eq!(templates::find_draft(&database, &base()).await.unwrap(), None);
    let gone = templates::delete_draft(&database, &base(), third.revision, &author(), now).await;
    assert!(gone.is_err());
    let shown = templates::show(&database, &base(), None).await.unwrap();
    assert_eq!(shown.source, source);
    // It may come to be again, and be thrown away.
    let fourth = save("{}", None).await.unwrap();
    assert!(fourth.revision > third.revision, "a revision is never given twice");
    templates::delete_draft(&database, &base(), fourth.revision, &author(), now).await.unwrap();
    assert_eq!(templates::find_draft(&database, &base()).await.unwrap(), None);
}

/// `data-entry` and `admin` each pass alone, and would meet: `a-b` of one is `a` of the other.
async fn two_versions_that_meet_are_never_both_published(world: World) {
    let topic = |text: &str| {
        document(&json!([{ "role": "subscribeonly", "cache": "fresh", "topic": text }]))
    };
    let (database, now) = (world.database().await, world.clock.now());
    let admin: TemplateName = "admin".parse().unwrap();
    let published = [(base(), "{{tenant.id}}-events"), (admin, "{{tenant.id}}-b-events")].map(
        |(name, text)| {
            let database = database.clone();
            let publication = publication(&name, &topic(text), Some(1));
            tokio::spawn(async move { templates::publish(&database, &publication, now).await })
        },
    );
    let mut won = 0;
    for attempt in published {
        match attempt.await.unwrap() {
            Ok(_) => won += 1,
            Err(NotDone::Refused(review)) => {
                let refusal = review.refusal();
                assert!(review.unproved.is_some() && refusal.contains("-b-events"), "{refusal}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won, 1);
}

async fn what_does_not_pass_the_gate_changes_nothing(mut world: World) {
    let limits = toml::toml! { max_expires_in = 3600 };
    world.deployment.0.insert("templates".to_owned(), limits.into());
    world.allow_own_versions(CEILING);
    let database = world.database().await;
    let before = everything(&database).await;
    let with = |members: Value| {
        let mut document = json!({ "expires_in": 900, "permissions": [calendar("readonly", ":")] });
        document.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        document.to_string()
    };
    let denied = json!({ "tests": [{ "name": "may delete", "given": { "tenant": { "id": "acme" } },
        "allow": [{ "cache": "calendar-events", "item": "acme:1", "action": "delete" }] }] });
    let refused = [
        (base(), Some(1), "{".to_owned(), "is not the JSON of a template"),
        (base(), Some(1), with(json!({ "colour": "red" })), "colour"),
        (base(), Some(1), with(json!({ "expires_in": 0 })), "expires_in"),
        (base(), Some(1), with(json!({ "expires_in": 3601 })), "write 3600 or less"),
        (base(), Some(1), document(&json!([calendar("readonly", "")])), "write `{{tenant.id}}:`"),
        (base(), Some(1), with(denied), "may delete"),
        (own("acme"), None, document(&json!([calendar("readonly", "#")])), "above the ceiling"),
    ];
    for (name, expected, source, says) in refused {
        let answer = publish(&world, &name, &source, expected).await;
        let Err(NotDone::Refused(review)) = answer else { panic!("{says}: {answer:?}") };
        assert!(review.refusal().contains(says), "{says}: {}", review.refusal());
    }
    let shipped = include_str!("../../templates/roles/data-entry.json");
    let unchanged = publish(&world, &base(), shipped, Some(1)).await;
    assert!(matches!(unchanged, Err(NotDone::Unchanged(_))), "{unchanged:?}");
    for reason in ["", "   ", &"x".repeat(1025)] {
        let author = Author { reason: reason.to_owned(), ..author() };
        let publication = Publication { author, ..publication(&base(), &with(json!({})), Some(1)) };
        let now = world.clock.now();
        let answer = templates::publish(&database, &publication, now).await;
        assert!(matches!(answer, Err(NotDone::Reason)), "{answer:?}");
    }
    assert_eq!(everything(&database).await, before);
}

async fn what_is_not_there_is_said(mut world: World) {
    let source = document(&json!([calendar("readonly", ":")]));
    let answer = publish(&world, &"nobody".parse().unwrap(), &source, None).await;
    assert!(matches!(answer, Err(NotDone::NoRole(_))), "{answer:?}");
    let answer = publish(&world, &own("acme"), &source, None).await;
    assert!(matches!(answer, Err(NotDone::NoCeiling(_))), "{answer:?}");
    world.allow_own_versions(CEILING);
    let answer = publish(&world, &own("nowhere"), &source, None).await;
    assert!(matches!(answer, Err(NotDone::NoTenant(_))), "{answer:?}");
    let (database, now) = (world.database().await, world.clock.now());
    let answer = templates::rollback(&database, &base().at(7), Some(1), true, &author(), now).await;
    assert!(matches!(answer, Err(NotDone::NoVersion(_))), "{answer:?}");
    let stale_after = std::time::Duration::from_secs(5);
    let version = own("acme").at(1);
    let how = Recall::Revoke;
    let answer = templates::recall(&database, &version, how, stale_after, &author(), now).await;
    assert!(matches!(answer, Err(NotDone::NoVersion(_))), "{answer:?}");
}

async fn widening_takes_a_confirmation(world: World) {
    let (database, now) = (world.database().await, world.clock.now());
    let attempt = async |source: &str, expected, widening_confirmed| {
        let publication =
            Publication { widening_confirmed, ..publication(&base(), source, Some(expected)) };
        templates::publish(&database, &publication, now).await
    };
    let more = document(&json!([calendar("readwrite", ":")]));
    let answer = attempt(&more, 1, false).await;
    let Err(NotDone::NeedsConfirmation(review)) = answer else { panic!("{answer:?}") };
    assert!(review.widens && review.passes());
    attempt(&more, 1, true).await.unwrap();
    let less = document(&json!([calendar("readonly", ":")]));
    let published = attempt(&less, 2, false).await.unwrap();
    assert!(!published.review.widens);
}

async fn rolling_back_is_a_new_version(world: World) {
    let (database, now) = (world.database().await, world.clock.now());
    let source = document(&json!([calendar("readonly", ":")]));
    publish(&world, &base(), &source, Some(1)).await.unwrap();
    let back = async |expected, confirmed, now: Time| {
        templates::rollback(&database, &base().at(1), expected, confirmed, &author(), now).await
    };
    // Before anything else that could be wrong: nobody is asked to confirm what cannot be.
    let stale = back(Some(1), false, now).await;
    assert!(matches!(stale, Err(NotDone::Conflict { .. })), "{stale:?}");
    let unconfirmed = back(Some(2), false, now).await;
    assert!(matches!(unconfirmed, Err(NotDone::NeedsConfirmation(_))), "{unconfirmed:?}");
    assert_eq!(back(Some(2), true, now).await.unwrap().version, base().at(3));
    let tokens = sign_in_with(&world, "dana", "data-entry@3").await;
    assert_eq!(made_of(&tokens).0.as_array().unwrap().len(), 2);
    let shipped = include_str!("../../templates/roles/data-entry.json");
    assert_eq!(templates::show(&database, &base(), None).await.unwrap().source, shipped);
    let history = templates::history(&database, &base(), None, 10).await.unwrap();
    let shown = serde_json::to_value(&history).unwrap();
    let versions: Vec<_> =
        shown.as_array().unwrap().iter().map(|entry| &entry["version"]).collect();
    assert_eq!(versions.len(), 3, "{shown}");
}

async fn a_base_that_changes_says_which_tenants_differ(mut world: World) {
    world.allow_own_versions(CEILING);
    let own_source = document(&json!([calendar("readonly", ":own:")]));
    publish(&world, &own("acme"), &own_source, None).await.unwrap();
    let same = document(&json!([calendar("readonly", ":")]));
    publish(&world, &own("globex"), &same, None).await.unwrap();
    let published = publish(&world, &base(), &same, Some(1)).await.unwrap();
    assert_eq!(published.overrides, 2);
    let differing: Vec<_> = published
        .differing
        .iter()
        .map(|one| (one.tenant.as_str(), one.version.to_string()))
        .collect();
    assert_eq!(differing, [("acme", "data-entry@1/acme".to_owned())]);
    assert!(!published.differing[0].diff.is_empty());
}

async fn a_recall_ends_the_sessions_of_whom_it_counted_for(mut world: World) {
    world.allow_own_versions(CEILING);
    let source = document(&json!([calendar("readonly", ":")]));
    publish(&world, &own("acme"), &source, None).await.unwrap();
    // Longer than nodes may be behind: no session of acme can have begun under the second version.
    world.clock.advance(TimeDelta::seconds(60));
    publish(&world, &base(), &source, Some(1)).await.unwrap();
    let apart = sign_in_with(&world, "dana", "data-entry@1/acme").await;
    let of_base = soon("the second version", async || {
        let tokens = sign_in_at_globex(&world).await;
        (made_of(&tokens).1 == json!(["data-entry@2"])).then_some(tokens)
    })
    .await;
    recall(&world, &base().at(2), Recall::Revoke).await;
    soon("the end of the base's session", async || {
        (!world.is_active(&of_base["access_token"]).await).then_some(())
    })
    .await;
    world.refresh("web", &of_base["refresh_token"]).await.expect_error(400, "invalid_grant");
    world.refresh("web", &apart["refresh_token"]).await.expect(200);
}

async fn a_recall_spares_who_had_their_own(mut world: World) {
    world.allow_own_versions(CEILING);
    let source = document(&json!([calendar("readonly", ":")]));
    publish(&world, &own("acme"), &source, None).await.unwrap();
    let apart = sign_in_with(&world, "dana", "data-entry@1/acme").await;
    let of_base = sign_in_at_globex(&world).await;
    recall(&world, &base().at(1), Recall::RefreshNow).await;
    soon("the end of the base's token", async || {
        (!world.is_active(&of_base["access_token"]).await).then_some(())
    })
    .await;
    assert!(world.is_active(&apart["access_token"]).await);
    recall(&world, &own("acme").at(1), Recall::Revoke).await;
    soon("the end of the tenant's token", async || {
        (!world.is_active(&apart["access_token"]).await).then_some(())
    })
    .await;
    world.refresh("web", &apart["refresh_token"]).await.expect_error(400, "invalid_grant");
    world.refresh("web", &of_base["refresh_token"]).await.expect(200);
}
