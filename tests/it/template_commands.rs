//! `rolemint template`: on files alone, and on an installation.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::flow::claims;
use crate::harness::process::Output;
use crate::harness::servers::scratch;
use crate::harness::world::World;
use crate::harness::{binary, on_both_stores, on_embedded_stores, soon};

on_both_stores!(
    what_is_pushed_is_what_tokens_hold,
    several_templates_are_pushed_at_once_or_not_at_all,
    a_version_is_taken_back,
);
on_embedded_stores!(
    a_push_is_refused_and_changes_nothing,
    a_pull_writes_over_nothing,
    a_tenants_own_version_is_pushed_and_withdrawn,
);

const SHIPPED: &str = include_str!("../../templates/roles/data-entry.json");

/// A folder with a template, run as its owner would.
fn on_files(files: &[(&str, &str)], arguments: &[&str]) -> Output {
    let folder = with_files(files);
    binary::command(arguments, folder.path())
}

fn with_files(files: &[(&str, &str)]) -> TempDir {
    let folder = scratch();
    for (name, text) in files {
        put(folder.path(), name, text);
    }
    folder
}

fn put(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

fn document(permissions: &Value) -> String {
    json!({ "expires_in": 900, "permissions": permissions }).to_string()
}

fn calendar(role: &str, rest: &str) -> Value {
    json!({ "role": role, "cache": "calendar-events", "item": { "keyPrefix": format!("{{{{tenant.id}}}}{rest}") } })
}

// ---- On files alone ----

#[test]
fn the_bare_prefix_of_the_first_idea_is_refused() {
    let bare = SHIPPED.replace("{{tenant.id}}:\"", "{{tenant.id}}\"");
    assert_ne!(bare, SHIPPED);
    let arguments = ["template", "lint", "data-entry.json"];
    let output = on_files(&[("data-entry.json", &bare)], &arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(include_str!("../../README.md").contains(&output.stdout), "{}", output.stdout);
    let line = output.stdout.lines().next().unwrap();
    assert_eq!(
        line,
        "data-entry.json:5:5: $.permissions[0]: tenants `acme` and `acme-corp`: item `acme-corp:7` would be open to both, \
         because the `item` prefix `{{tenant.id}}` has no delimiter (: / | #) right after the tenant; write `{{tenant.id}}:`"
    );
}

#[test]
fn a_mistake_is_said_with_its_place_and_how_to_mend_it() {
    let broken = SHIPPED.replace("\"readonly\"", "\"raedonly\"").replace("900", "0");
    let files = [("roles/data-entry.json", broken.as_str())];
    let output = on_files(&files, &["template", "lint", ".", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let found = json_of(&output);
    assert_eq!((&found["errors"], &found["proof"]), (&json!(2), &Value::Null));
    let mistakes = found["findings"].as_array().unwrap();
    for (finding, path) in mistakes.iter().zip(["$.expires_in", "$.permissions[0].role"]) {
        assert_eq!(finding["path"], path, "{found}");
        let (line, column) = (&finding["line"], &finding["column"]);
        let line = usize::try_from(line.as_u64().unwrap()).unwrap();
        assert!(broken.lines().count() >= line && column.as_u64().unwrap() > 1, "{found}");
    }
    assert!(mistakes[1]["message"].as_str().unwrap().contains("readonly"), "{found}");
}

#[test]
fn a_folder_is_checked_tested_and_proved() {
    let admin = include_str!("../../templates/roles/admin.json");
    let own = document(&json!([calendar("readonly", ":own:")]));
    let files = [
        ("roles/data-entry.json", SHIPPED),
        ("roles/admin.json", admin),
        ("tenants/acme/data-entry.json", &own),
    ];
    let lint = on_files(&files, &["template", "lint", "."]);
    assert!(lint.status.success(), "{lint:?}");
    assert!(lint.stdout.contains("3 templates: 0 errors"), "{}", lint.stdout);
    assert!(lint.stdout.contains("proved: no two tenants meet"), "{}", lint.stdout);
    let test = json_of(&on_files(&files, &["template", "test", ".", "--format", "json"]));
    assert_eq!((&test["passed"], &test["failed"]), (&json!(3), &json!(0)), "{test}");
    let hostile = &test["templates"][0]["hostile"];
    assert!(hostile["rendered"].as_u64().unwrap() + hostile["refused"].as_u64().unwrap() > 0);

    // A tenant's own template in another's name.
    let meets = document(
        &json!([{ "role": "readonly", "cache": "calendar-events", "item": { "keyPrefix": "globex:" } }]),
    );
    let files = [("roles/data-entry.json", SHIPPED), ("tenants/acme/data-entry.json", &meets)];
    let lint = on_files(&files, &["template", "lint", "."]);
    assert_eq!(lint.status.code(), Some(1), "{lint:?}");
    assert!(lint.stdout.contains("tenants/acme/data-entry.json"), "{}", lint.stdout);
}

#[test]
fn a_test_that_fails_says_which_and_how() {
    let failing = SHIPPED.replacen("\"deny\"", "\"allow\"", 1);
    assert_ne!(failing, SHIPPED);
    let output =
        on_files(&[("data-entry.json", &failing)], &["template", "test", "data-entry.json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.contains("0 passed, 1 failed"), "{}", output.stdout);
    let line = output.stdout.lines().next().unwrap();
    assert!(line.starts_with("data-entry.json:") && line.contains("$.tests["), "{line}");
}

#[test]
fn rendering_says_where_each_permission_comes_from() {
    let files = [("data-entry.json", SHIPPED)];
    let render = ["template", "render", "data-entry.json", "--tenant", "acme"];
    let shown = on_files(&files, &render).success();
    assert!(shown.contains(r#""keyPrefix":"acme:""#), "{shown}");
    assert!(shown.contains("from $.permissions[0]: tenant.id = acme"), "{shown}");
    let regions = json!({ "expires_in": 900, "permissions": [{ "$each": "user.claims.regions", "$as": "region",
        "role": "readonly", "cache": "reports", "item": { "keyPrefix": "{{tenant.id}}:{{region}}:" } }] });
    let files = [("reader.json", regions.to_string())];
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let with = |claims: &str| {
        let arguments =
            ["template", "render", "reader.json", "--tenant", "acme", "--claims", claims];
        on_files(&files, &arguments)
    };
    let shown = with(r#"{"regions":["eu"]}"#).success();
    assert!(shown.contains("acme:eu:") && shown.contains("user.claims.regions[0] = eu"), "{shown}");
    let shown = with(r#"{"regions":[]}"#).success();
    assert!(shown.contains("nothing from $.permissions[0]"), "{shown}");
    let refused = with("{}");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stdout.contains("user.claims.regions"), "{}", refused.stdout);
    let refused = with("nothing.json");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}

#[test]
fn a_comparison_says_what_is_granted_more() {
    let more = SHIPPED.replacen("readonly", "readwrite", 1);
    let files = [("old.json", SHIPPED), ("new.json", more.as_str())];
    let output = on_files(&files, &["template", "diff", "old.json", "new.json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.contains("widened"), "{}", output.stdout);
    let output =
        on_files(&files, &["template", "diff", "new.json", "old.json", "--format", "json"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(json_of(&output)["widens"], false);
}

#[test]
fn what_cannot_be_done_is_told_from_what_is_wrong() {
    for arguments in [
        &["template", "lint", "nowhere.json"][..],
        &["template", "lint", "Bad Name.json"],
        &["template", "lint", "."],
        &["template", "lint"],
        &["template", "history", "data-entry", "--config", "nowhere.toml"],
    ] {
        let output = on_files(&[("Bad Name.json", "{}"), ("x.txt", "")], arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

// ---- On an installation ----

/// `rolemint template …` in the folder of the server's files.
fn run(world: &World, arguments: &[&str]) -> Output {
    let mut all = vec!["template"];
    all.extend(arguments);
    world.command(&all)
}

fn push(world: &World, more: &[&str]) -> Output {
    let mut all = vec!["push", "repository", "--reason", "it is needed", "--by", "ada"];
    all.extend(more);
    run(world, &all)
}

fn version_of(world: &World, name: &str) -> String {
    let entries = json_of(&run(world, &["history", name, "--format", "json"]));
    entries[0]["version"]["version"].as_str().unwrap().to_owned()
}

async fn token_of(world: &World, version: &str) -> Value {
    soon(version, async || {
        let tokens = world.sign_in("dana").await;
        (claims(&tokens["access_token"])["tpl"] == json!([version])).then_some(tokens)
    })
    .await
}

async fn what_is_pushed_is_what_tokens_hold(world: World) {
    let source = document(&json!([calendar("readonly", ":")]));
    put(world.folder(), "repository/roles/data-entry.json", &source);
    let dry = push(&world, &["--dry-run"]).success();
    assert!(dry.contains("nothing was published: this was --dry-run"), "{dry}");
    assert_eq!(version_of(&world, "data-entry"), "data-entry@1");
    let pushed = push(&world, &[]).success();
    assert!(pushed.contains("published data-entry@2 in place of data-entry@1"), "{pushed}");
    let tokens = token_of(&world, "data-entry@2").await;
    let details = &claims(&tokens["access_token"])["authorization_details"];
    assert_eq!(details.as_array().unwrap().len(), 1, "{details}");
    let again = push(&world, &[]).success();
    assert_eq!(again.trim(), "unchanged: data-entry@2");
    let history = run(&world, &["history", "data-entry"]).success();
    assert!(
        history.contains("ada: it is needed") && history.contains("rolemint apply"),
        "{history}"
    );
    assert!(history.contains("- topic publishsubscribe"), "{history}");
}

/// Each alone would meet what is published of the other; together they do not.
async fn several_templates_are_pushed_at_once_or_not_at_all(world: World) {
    let topic = |text: &str| {
        document(&json!([{ "role": "subscribeonly", "cache": "fresh", "topic": text }]))
    };
    let write = |role: &str, text: &str| {
        put(world.folder(), &format!("repository/roles/{role}.json"), &topic(text));
    };
    write("data-entry", "{{tenant.id}}-events");
    write("admin", "{{tenant.id}}-b-events");
    let refused = push(&world, &["--confirm-widening"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stdout.contains("reachable by both"), "{}", refused.stdout);
    assert_eq!(refused.stdout.matches("reachable by both").count(), 1, "{}", refused.stdout);
    assert_eq!(version_of(&world, "admin"), "admin@1");
    write("data-entry", "{{tenant.id}}:events");
    write("admin", "{{tenant.id}}:b-events");
    push(&world, &["--confirm-widening"]).success();
    // Back to the old form: each of the two alone would be refused beside the other.
    write("data-entry", "{{tenant.id}}-events");
    write("admin", "{{tenant.id}}-events");
    let pushed = push(&world, &["--confirm-widening", "--format", "json"]);
    assert!(pushed.status.success(), "{pushed:?}");
    let versions: Vec<_> = json_of(&pushed)["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["published"].clone())
        .collect();
    assert_eq!(versions, ["admin@3", "data-entry@3"]);
}

async fn a_push_is_refused_and_changes_nothing(world: World) {
    let write = |source: &str| put(world.folder(), "repository/roles/data-entry.json", source);
    let refused = |more: &[&str], code: &str, says: &str| {
        let mut all = more.to_vec();
        all.extend(["--format", "json"]);
        let output = push(&world, &all);
        assert_eq!(output.status.code(), Some(1), "{says}: {output:?}");
        let outcome = json_of(&output);
        let found = if code == "finding" {
            outcome["findings"][0]["message"].clone()
        } else {
            assert_eq!(outcome["refusal"]["code"], code, "{outcome}");
            outcome["refusal"]["message"].clone()
        };
        assert!(found.as_str().unwrap().contains(says), "{says}: {outcome}");
        assert_eq!(version_of(&world, "data-entry"), "data-entry@1");
    };
    write(&document(&json!([calendar("readwrite", ":")])));
    refused(&[], "needs_confirmation", "confirm it");
    refused(
        &["--confirm-widening", "--expect", "data-entry@7"],
        "conflict",
        "version 1 is published",
    );
    write(&document(&json!([calendar("readonly", "")])));
    refused(&["--confirm-widening"], "finding", "write `{{tenant.id}}:`");
    write(&SHIPPED.replacen("\"deny\"", "\"allow\"", 1));
    refused(&[], "finding", "");
    write(&document(&json!([calendar("readonly", ":")])));
    put(world.folder(), "repository/data-entry.json", SHIPPED);
    let twice =
        run(&world, &["push", "repository/roles", "repository/data-entry.json", "--reason", "x"]);
    assert_eq!(twice.status.code(), Some(2), "{twice:?}");
    let none = run(&world, &["push", "repository", "--reason", " "]);
    assert_ne!(none.status.code(), Some(0), "{none:?}");
    put(world.folder(), "repository/roles/nobody.json", SHIPPED);
    let unknown = push(&world, &[]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("there is no role nobody"), "{}", unknown.stderr);
    assert_eq!(version_of(&world, "data-entry"), "data-entry@1");
}

async fn a_pull_writes_over_nothing(world: World) {
    let pulled = run(&world, &["pull", "repository"]).success();
    assert!(
        pulled.contains("written: repository/roles/data-entry.json (data-entry@1)"),
        "{pulled}"
    );
    let path = world.folder().join("repository/roles/data-entry.json");
    assert_eq!(fs::read_to_string(&path).unwrap(), SHIPPED);
    assert!(push(&world, &[]).success().contains("unchanged: data-entry@1"));
    fs::write(&path, "mine").unwrap();
    fs::remove_file(world.folder().join("repository/roles/admin.json")).unwrap();
    let refused = run(&world, &["pull", "repository"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    assert!(!world.folder().join("repository/roles/admin.json").exists());
    run(&world, &["pull", "repository", "--force", "--role", "data-entry"]).success();
    assert_eq!(fs::read_to_string(&path).unwrap(), SHIPPED);
    assert!(!world.folder().join("repository/roles/admin.json").exists());
    let unknown = run(&world, &["pull", "repository", "--role", "nobody"]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
}

async fn a_version_is_taken_back(world: World) {
    let before = world.sign_in("dana").await;
    let source = document(&json!([calendar("readonly", ":")]));
    put(world.folder(), "repository/roles/data-entry.json", &source);
    push(&world, &[]).success();
    let narrow = token_of(&world, "data-entry@2").await;
    let back = ["rollback", "data-entry@1", "--reason", "it was too little", "--by", "ada"];
    let refused = run(&world, &back);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stdout.contains("--confirm-widening"), "{}", refused.stdout);
    let stale = [&back[..], &["--expect", "1", "--confirm-widening"]].concat();
    let stale = run(&world, &stale);
    assert_eq!(stale.status.code(), Some(1), "{stale:?}");
    let done = run(&world, &[&back[..], &["--confirm-widening"]].concat()).success();
    assert!(done.contains("published data-entry@3, as data-entry@1 was"), "{done}");
    token_of(&world, "data-entry@3").await;

    let recall = |how: &str| {
        run(&world, &["recall", "data-entry@2", how, "--reason", "it was wrong", "--by", "ada"])
    };
    assert!(recall("let-expire").success().contains("nothing is revoked"));
    assert!(world.is_active(&narrow["access_token"]).await);
    recall("refresh-now").success();
    soon("the end of the token", async || {
        (!world.is_active(&narrow["access_token"]).await).then_some(())
    })
    .await;
    world.refresh("web", &narrow["refresh_token"]).await.expect(200);
    assert!(world.is_active(&before["access_token"]).await);
    let unknown = run(&world, &["recall", "data-entry@9", "revoke", "--reason", "x"]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("there is no version data-entry@9"), "{}", unknown.stderr);
}

async fn a_tenants_own_version_is_pushed_and_withdrawn(mut world: World) {
    let own = document(&json!([calendar("readonly", ":own:")]));
    put(world.folder(), "repository/tenants/acme/data-entry.json", &own);
    let refused = push(&world, &[]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains("declare `ceiling`"), "{}", refused.stderr);
    world.allow_own_versions(SHIPPED);
    push(&world, &[]).success();
    let tokens = token_of(&world, "data-entry@1/acme").await;
    let details = &claims(&tokens["access_token"])["authorization_details"];
    assert_eq!(details[0]["item"], json!({ "keyPrefix": "acme:own:" }));
    let pulled = run(&world, &["pull", "pulled"]).success();
    assert!(pulled.contains("pulled/tenants/acme/data-entry.json"), "{pulled}");
    let withdraw = ["withdraw", "data-entry/acme", "--reason", "the base will do"];
    let refused = run(&world, &withdraw);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    run(&world, &[&withdraw[..], &["--confirm-widening"]].concat()).success();
    token_of(&world, "data-entry@1").await;
    let again = run(&world, &withdraw);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    let base = run(&world, &["withdraw", "data-entry", "--reason", "x"]);
    assert!(base.stderr.contains("ROLE/TENANT"), "{}", base.stderr);
}
