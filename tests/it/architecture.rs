//! House rules: who may know whom, held against the text of `src`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

/// A file of `src`, without comments, and without tests, which may know more.
struct Source {
    /// Under `src`, such as `http/login.rs`.
    path: String,
    text: String,
}

impl Source {
    /// The module right under the crate's root that it belongs to.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// Where the pattern stands, as `file:line: line`.
    fn find<'a>(&'a self, pattern: &'a Regex) -> impl Iterator<Item = String> + 'a {
        let found = self.lines().filter(|(_, line)| pattern.is_match(line));
        found.map(|(at, line)| format!("src/{}:{at}: {}", self.path, line.trim()))
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    list(&root, &mut files);
    let sources = files.into_iter().filter_map(|file| {
        let path = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let tests = path.ends_with("tests.rs") || path.contains("/tests/");
        (!tests).then(|| Source { text: product(&fs::read_to_string(&file).unwrap()), path })
    });
    let sources: Vec<_> = sources.collect();
    assert!(sources.len() > 80, "the whole of src");
    sources
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

/// Lines stay where they are, so that what is found can be pointed at.
fn product(text: &str) -> String {
    let text = text.split_once("#[cfg(test)]\nmod tests {").map_or(text, |(before, _)| before);
    let lines =
        text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// The crate, named by itself and not as a part of another path.
fn names(crate_name: &str) -> Regex {
    Regex::new(&format!(r"(?:^|[^:\w]):{{0,2}}{crate_name}::")).unwrap()
}

#[track_caller]
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn modules_know_only_whom_they_may_know() {
    // Itself is always allowed; None: all may be known.
    let rules: &[(&str, Option<&[&str]>)] = &[
        ("domain", Some(&[])),
        ("database", Some(&["domain"])),
        ("upstream", Some(&["domain"])),
        ("jws", Some(&["domain"])),
        ("signing", Some(&["domain", "jws"])),
        ("verifier", Some(&["domain", "jws", "clock"])),
        ("catalog", Some(&["domain", "database", "clock"])),
        ("token_store", Some(&["domain", "database"])),
        (
            "service",
            Some(&[
                "domain",
                "database",
                "upstream",
                "signing",
                "catalog",
                "token_store",
                "clock",
                "deployment",
            ]),
        ),
        ("http", Some(&["domain", "service"])),
        ("clock", Some(&["domain"])),
        ("telemetry", Some(&["config"])),
        ("toml_reader", Some(&[])),
        ("config", Some(&["domain", "toml_reader", "signing", "telemetry", "token_store"])),
        ("deployment", Some(&["domain", "toml_reader"])),
        ("app", None),
        ("cli", None),
        ("dev", None),
        ("main", None),
        ("lib", None),
    ];
    let reference = Regex::new(r"\bcrate::(\w+)").unwrap();
    let mut found = Vec::new();
    for source in sources() {
        let module = source.module().to_owned();
        let rule = rules.iter().find(|(name, _)| *name == module);
        let (_, allowed) = rule.unwrap_or_else(|| panic!("no rule for the module {module}"));
        let Some(allowed) = allowed else { continue };
        for (at, line) in source.lines() {
            let others = reference.captures_iter(line).map(|found| found[1].to_owned());
            let others =
                others.filter(|other| *other != module && !allowed.contains(&other.as_str()));
            found.extend(
                others.map(|other| {
                    format!("src/{}:{at}: knows {other}: {}", source.path, line.trim())
                }),
            );
        }
    }
    assert_none("modules that know whom they may not", &found);
}

#[test]
fn a_crate_is_named_where_it_is_at_home() {
    let homes: &[(&str, &[&str])] = &[
        ("diesel", &["database/"]),
        ("diesel_migrations", &["database/"]),
        ("redis", &["token_store/redis/"]),
        ("openidconnect", &["upstream/"]),
        ("oauth2", &["upstream/"]),
        ("reqwest", &["upstream/", "verifier/"]),
        ("jsonwebtoken", &["signing.rs", "jws.rs"]),
        ("aws_lc_rs", &["signing.rs", "jws.rs"]),
        ("actix_web", &["http/", "dev/"]),
        ("clap", &["cli/"]),
        ("handlebars", &["domain/template/", "http/pages/", "dev/"]),
    ];
    let mut found = Vec::new();
    for source in sources() {
        for (name, homes) in homes {
            if homes.iter().any(|home| source.path.starts_with(home)) {
                continue;
            }
            let elsewhere = names(name);
            // The one thing that the assembly holds of the server.
            let handle = |line: &String| {
                source.path == "app.rs" && line.contains("actix_web::dev::ServerHandle")
            };
            found.extend(source.find(&elsewhere).filter(|line| !handle(line)));
        }
    }
    assert_none("crates that are named away from home", &found);
}

#[test]
fn the_domain_is_pure() {
    let allowed = [
        "chrono",
        "data_encoding",
        "handlebars",
        "regex",
        "serde",
        "serde_json",
        "sha2",
        "thiserror",
        "url",
    ];
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let mut dependencies: BTreeSet<String> = BTreeSet::new();
    for section in ["dependencies", "dev-dependencies"] {
        dependencies.extend(
            manifest[section].as_table().unwrap().keys().map(|name| name.replace('-', "_")),
        );
    }
    let impure = [
        r"\basync\b",
        r"\.await\b",
        r"\bstd::(fs|env|process|thread|io|net::(Tcp|Udp|ToSocket|\{))\b",
        r"\bUtc::now\b",
        r"\bSystemTime\b",
        r"\bInstant\b",
        r"\bstatic\s+mut\b",
        r"\bMutex\b",
        r"\bRwLock\b",
        r"\bOnceLock\b",
        r"\bthread_local!",
        r"\bprintln!",
        r"\btracing\b",
        r"\bunsafe\b",
    ];
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.module() == "domain") {
        for name in dependencies.iter().filter(|name| !allowed.contains(&name.as_str())) {
            found.extend(source.find(&names(name)));
        }
        for pattern in impure {
            found.extend(source.find(&Regex::new(pattern).unwrap()));
        }
    }
    assert_none("the domain does what only its callers may do", &found);
}

#[test]
fn the_wall_clock_is_read_in_one_place() {
    let reading = Regex::new(r"\bUtc::now\b|\bLocal::now\b|\bSystemTime::now\b").unwrap();
    let elsewhere = |source: &&Source| source.path != "clock.rs";
    let sources = sources();
    let found: Vec<_> =
        sources.iter().filter(elsewhere).flat_map(|source| source.find(&reading)).collect();
    assert_none("the wall clock is read beside clock.rs", &found);
}

#[test]
fn the_embedded_stores_queries_are_its_own() {
    let queries = Regex::new(r"\bdatabase::tokens\b").unwrap();
    let elsewhere = |source: &&Source| source.path != "token_store/embedded.rs";
    let sources = sources();
    let found: Vec<_> =
        sources.iter().filter(elsewhere).flat_map(|source| source.find(&queries)).collect();
    assert_none("database::tokens is used beside the embedded store", &found);
}

#[test]
fn no_module_is_a_drawer_for_anything() {
    let drawer = Regex::new(r"(^|/)(utils?|helpers?|common|managers?|misc)(\.rs|/)").unwrap();
    let found =
        sources().into_iter().map(|source| source.path).filter(|path| drawer.is_match(path));
    assert_none("modules without a subject", &found.collect::<Vec<_>>());
}

#[test]
fn an_import_says_where_it_is_from() {
    let group = Regex::new(r"\buse crate::\{|\buse crate::\w+::\*|\buse super::super\b").unwrap();
    let sources = sources();
    let found: Vec<_> = sources.iter().flat_map(|source| source.find(&group)).collect();
    assert_none("imports that a reader cannot search for", &found);
}

#[test]
fn a_server_stands_behind_its_feature() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let mut without: BTreeSet<&str> = BTreeSet::new();
    let mut for_verifiers: BTreeSet<&str> = BTreeSet::new();
    let mut condition = "";
    for line in lib.lines() {
        if let Some(module) = line.strip_prefix("pub mod ") {
            match condition {
                "" => without.insert(module),
                condition => condition.contains("\"verifier\"") && for_verifiers.insert(module),
            };
        }
        condition = if line.starts_with("#[cfg(") { line } else { "" };
    }
    assert_eq!(without, ["domain;"].into(), "without a feature there is the domain");
    assert_eq!(for_verifiers, ["clock;", "jws;", "verifier;"].into());
}

#[test]
fn a_resource_server_needs_neither_the_http_server_nor_the_database() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none"])
        .args(["--no-default-features", "--features", "verifier"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.contains("reqwest"), "{tree}");
    let heavy = ["actix", "diesel", "redis", "openidconnect", "oauth2", "libsqlite3", "clap"];
    let found: Vec<_> = tree
        .lines()
        .filter(|line| heavy.iter().any(|name| line.starts_with(name)))
        .map(str::to_owned)
        .collect();
    assert_none("dependencies of the verifier", &found);
}

#[test]
fn a_verifier_asks_about_no_token() {
    let asking = Regex::new(r"/oauth2/|introspect").unwrap();
    let sources = sources();
    let verifier = sources.iter().filter(|source| source.module() == "verifier");
    let found: Vec<_> = verifier.flat_map(|source| source.find(&asking)).collect();
    let told = |line: &&String| !line.contains("only introspection can read it");
    assert_none("the verifier asks", &found.iter().filter(told).cloned().collect::<Vec<_>>());
}
