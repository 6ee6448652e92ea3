//! What a test needs beside Rust. Where it is absent the test is left out, and says so; under
//! `scripts/test` (`ROLEMINT_TEST_REQUIRE_SERVERS=1`) an absent server is a failure.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use super::logs;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Redis,
    Postgres,
    Node,
    /// The verifier for resource servers, to be built.
    TypeScript,
    Chromium,
    /// The example of a resource server, which `cargo test` builds unless it is told what to build.
    Example,
}

impl Need {
    /// What is missing, in words; nothing if it is there.
    fn missing(self) -> Option<&'static str> {
        match self {
            Self::Redis => on_path("redis-server").is_none().then_some("redis-server"),
            Self::Postgres if !cfg!(feature = "postgres") => Some("the feature `postgres`"),
            Self::Postgres if postgres_programs().is_none() => Some("postgresql"),
            Self::Postgres => on_path("openssl").is_none().then_some("openssl"),
            Self::Node if on_path("node").is_none() => Some("node"),
            Self::Node => (!super::node::folder().join("node_modules").is_dir())
                .then_some("npm ci in tests/js"),
            Self::Example => (!super::resource_server::example().is_file())
                .then_some("cargo build --example resource_server"),
            Self::TypeScript => (!super::node::typescript_folder().join("node_modules").is_dir())
                .then_some("npm ci in clients/typescript"),
            Self::Chromium => chromium().is_none().then_some("chromium"),
        }
    }
}

/// Whether the running test can go on. If not, it is over: `if !met(&[Need::Redis]) { return; }`
pub(crate) fn met(needs: &[Need]) -> bool {
    let missing: Vec<_> = needs.iter().filter_map(|need| need.missing()).collect();
    if missing.is_empty() {
        return true;
    }
    let name = super::test_name();
    let missing = missing.join(", ");
    assert!(
        env::var("ROLEMINT_TEST_REQUIRE_SERVERS").as_deref() != Ok("1"),
        "{name} needs {missing}, and ROLEMINT_TEST_REQUIRE_SERVERS=1 lets nothing be left out"
    );
    // Past the capture of the test runner, which hides what a passing test prints.
    let line = format!("left out: {name}: needs {missing}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    logs::append("left-out.txt", &line);
    false
}

pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let sbin = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(sbin).map(|dir| dir.join(program)).find(|file| file.is_file())
}

pub(crate) fn chromium() -> Option<PathBuf> {
    match env::var_os("CHROMIUM") {
        Some(path) => Some(PathBuf::from(path)).filter(|path| path.is_file()),
        None => on_path("chromium"),
    }
}

/// The folder of `initdb` and `postgres`, of the newest version that is installed.
pub(crate) fn postgres_programs() -> Option<PathBuf> {
    let version = |path: &Path| -> Option<u32> { path.file_name()?.to_str()?.parse().ok() };
    let mut found: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter_map(|path| Some((version(&path)?, path.join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").is_file() && bin.join("postgres").is_file())
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin).or_else(|| on_path("initdb")?.parent().map(Path::to_path_buf))
}
