//! From what is written to what is meant.

use crate::config::source::{Environment, Section, Written};
use crate::config::{
    Config, DatabaseConfig, DatabaseUrl, FeedConfig, HttpConfig, RevocationConfig, SessionsConfig,
    TokenStoreConfig, UpstreamConfig, stores,
};
use crate::domain::address::ForwardedHeader;
use crate::domain::secret::Secret;
use crate::domain::transport;
use crate::signing::SealingKey;
use crate::telemetry::{self, LogConfig, LogFormat};
use crate::token_store::{ClientCertificate, RedisCredentials};
use crate::toml_reader::{Node, Problem, Problems, Table, shown};
use chrono::TimeDelta;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use url::Url;

const LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

pub(super) fn config(
    path: Option<&Path>,
    source: &str,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Config, Vec<Problem>> {
    let problems = Problems::new(path.map(|path| path.display().to_string()), source);
    let environment = Environment::new(env);
    let directory = path.and_then(Path::parent).unwrap_or(Path::new(""));
    let Some(document) = problems.parse() else { return Err(problems.take()) };
    let table = path.map(|_| Table::root(&document, &problems));
    let root = Section::root(table, &environment, &problems, directory);
    let config = meaning(&root);
    environment.finish(&problems);
    let found = problems.take();
    match config {
        Some(config) if found.is_empty() => Ok(config),
        _ => Err(found),
    }
}

/// None: something that must be there is not, and was reported.
fn meaning(root: &Section<'_>) -> Option<Config> {
    let mut warnings = Vec::new();
    // Every section is read before any of them may give up.
    let issuer = issuer(root);
    let listen = root.get("listen").map_or(Some(LISTEN), |node| {
        let address = node.string()?.parse();
        address.map_err(|_| node.note("must be an address and a port, such as 127.0.0.1:8080")).ok()
    });
    let database = database(&root.section("database"), &mut warnings);
    let token_store = token_store(&root.section("token_store"));
    let encryption_key = encryption_key(&root.section("keys"));
    let http = http(&root.section("http"));
    let sessions = sessions(&root.section("sessions"));
    let revocation = revocation(&root.section("revocation"));
    let feed = feed(&root.section("feed"));
    let metrics_token = metrics_token(&root.section("metrics"));
    let upstream = upstream(&root.section("upstream"));
    let log = log(&root.section("log"));
    root.finish();

    if let (
        Some(DatabaseConfig { url: DatabaseUrl::Sqlite(database), .. }),
        Some(TokenStoreConfig::Embedded(tokens)),
    ) = (&database, &token_store)
        && database == tokens
    {
        root.section("token_store").note("url", "names the database's file: they are two files");
    }
    let (issuer, issuer_text) = issuer?;
    Some(Config {
        issuer,
        issuer_text,
        listen: listen?,
        database: database?,
        token_store: token_store?,
        encryption_key: encryption_key?,
        http: http?,
        sessions: sessions?,
        revocation: revocation?,
        feed: feed?,
        metrics_token: metrics_token?,
        upstream: upstream?,
        log: log?,
        warnings,
    })
}

fn issuer(root: &Section<'_>) -> Option<(Url, String)> {
    let Some(node) = root.get("issuer") else {
        root.missing(
            "issuer",
            "the URL that clients reach this server under: issuer = \"https://tokens.example.com\"",
        );
        return None;
    };
    let text = node.string()?;
    let Ok(url) = Url::parse(text) else {
        node.note(format_args!("{} is not a URL", shown(text)));
        return None;
    };
    let written = url.as_str().trim_end_matches('/');
    if !transport::is_protected(&url) {
        node.note("must be an https URL (http only on 127.0.0.1, [::1] and localhost)");
    } else if !url.username().is_empty() || url.password().is_some() {
        node.note("must not hold a user or a password");
    } else if url.query().is_some() || url.fragment().is_some() {
        node.note("must have neither a query nor a fragment");
    } else if written != text {
        // Issuers are compared as strings, so there is one way to write this one.
        node.note(format_args!("write it as {}", shown(written)));
    } else {
        return Some((url, text.to_owned()));
    }
    None
}

fn database(section: &Section<'_>, warnings: &mut Vec<String>) -> Option<DatabaseConfig> {
    let url = section.secret("url", "url_file");
    if url.is_none() {
        section.missing("url", "url = \"sqlite:PATH\" or \"postgres://…\" (or `url_file`)");
    }
    let url = url.flatten().and_then(|url| stores::database(&url, warnings));
    let max_connections = section
        .get("max_connections")
        .map_or(Some(DatabaseConfig::DEFAULT_CONNECTIONS), |node| node.number(1, 1000));
    section.finish();
    Some(DatabaseConfig { url: url?, max_connections: max_connections? })
}

fn token_store(section: &Section<'_>) -> Option<TokenStoreConfig> {
    let url = section.secret("url", "url_file");
    if url.is_none() {
        section.missing("url", "url = \"embedded:PATH\" or \"redis://…\" (or `url_file`)");
    }
    let authority = section.file("ca_file");
    let chain = section.file("client_certificate_file");
    let key = section.file("client_key_file");
    if chain.is_some() != key.is_some() {
        section.note(
            "client_certificate_file",
            "and `client_key_file` stand together, or neither does",
        );
    }
    let sentinel_password = section.secret("sentinel_password", "sentinel_password_file");
    section.finish();
    let text = |written: Written<'_>| Secret::new(written.text);
    let client = chain.flatten().zip(key.flatten());
    let credentials = RedisCredentials {
        sentinel_password: sentinel_password.flatten().map(text),
        authority: authority.flatten().map(|written| written.text),
        client: client.map(|(chain, key)| ClientCertificate {
            chain: chain.text,
            key: Secret::new(key.text),
        }),
    };
    stores::token_store(&url.flatten()?, &credentials)
}

fn encryption_key(section: &Section<'_>) -> Option<Secret<String>> {
    const MAKE: &str = "make one with `rolemint key generate` \
                        or `openssl rand -base64 32 | tr '+/' '-_' | tr -d '='`";
    let key = section.secret("encryption_key", "encryption_key_file");
    if key.is_none() {
        section.missing(
            "encryption_key",
            &format!("encryption_key_file = \"PATH\" (or `encryption_key`); {MAKE}"),
        );
    }
    section.finish();
    let key = key.flatten()?;
    let text = Secret::new(key.text);
    if SealingKey::parse(&text).is_ok() {
        return Some(text);
    }
    key.node.note(format_args!("is not 32 bytes in base64url without padding: {MAKE}"));
    None
}

fn http(section: &Section<'_>) -> Option<HttpConfig> {
    let default = HttpConfig::default();
    let workers =
        section.get("workers").map_or(Some(default.workers), |node| node.number(1, 1024).map(Some));
    let body_limit = section
        .get("body_limit")
        .map_or(Some(default.body_limit), |node| node.number(1024, 16 * 1024 * 1024));
    let trusted_proxies = section.get("trusted_proxies").map_or(Some(Vec::new()), |node| {
        // Each that is wrong is reported.
        Some(node.list()?.iter().filter_map(Node::parse).collect())
    });
    let forwarded_header =
        section.get("forwarded_header").map_or(Some(default.forwarded_header), |node| {
            node.one_of(&[
                ("x-forwarded-for", ForwardedHeader::XForwardedFor),
                ("forwarded", ForwardedHeader::Forwarded),
            ])
        });
    section.finish();
    Some(HttpConfig {
        workers: workers?,
        body_limit: body_limit?,
        trusted_proxies: trusted_proxies?,
        forwarded_header: forwarded_header?,
    })
}

fn sessions(section: &Section<'_>) -> Option<SessionsConfig> {
    let default = SessionsConfig::default();
    let keep_ended = section
        .get("keep_ended_days")
        .map_or(Some(default.keep_ended), |node| node.number(1, 3650).map(TimeDelta::days));
    section.finish();
    Some(SessionsConfig { keep_ended: keep_ended? })
}

fn revocation(section: &Section<'_>) -> Option<RevocationConfig> {
    let default = RevocationConfig::default();
    let stale_after = seconds(section.get("stale_after"), default.stale_after, 3600);
    let poll_interval =
        section.get("poll_interval_ms").map_or(Some(default.poll_interval), |node| {
            node.number(10, 60_000).map(Duration::from_millis)
        });
    section.finish();
    let (stale_after, poll_interval) = (stale_after?, poll_interval?);
    if stale_after <= poll_interval {
        section.note(
            "stale_after",
            "must be longer than `poll_interval_ms`, or the server is always stale",
        );
    }
    Some(RevocationConfig { stale_after, poll_interval })
}

fn feed(section: &Section<'_>) -> Option<FeedConfig> {
    let default = FeedConfig::default();
    let max_streams = section
        .get("max_streams")
        .map_or(Some(default.max_streams), |node| node.number(1, 100_000));
    let max_streams_per_client = section
        .get("max_streams_per_client")
        .map_or(Some(default.max_streams_per_client), |node| node.number(1, 100_000));
    section.finish();
    Some(FeedConfig { max_streams: max_streams?, max_streams_per_client: max_streams_per_client? })
}

#[expect(clippy::option_option, reason = "whether there is one, and whether it can be used")]
fn metrics_token(section: &Section<'_>) -> Option<Option<Secret<String>>> {
    const LEAST: usize = 16;
    let token = section.secret("token", "token_file");
    section.finish();
    let Some(token) = token else { return Some(None) };
    let token = token?;
    if token.text.len() < LEAST {
        token.node.note(format_args!("must have at least {LEAST} characters"));
        return None;
    }
    Some(Some(Secret::new(token.text)))
}

fn upstream(section: &Section<'_>) -> Option<UpstreamConfig> {
    let default = UpstreamConfig::default();
    let timeout = seconds(section.get("timeout"), default.timeout, 120);
    let jwks_cooldown = seconds(section.get("jwks_cooldown"), default.jwks_cooldown, 3600);
    section.finish();
    Some(UpstreamConfig { timeout: timeout?, jwks_cooldown: jwks_cooldown? })
}

fn seconds(node: Option<Node<'_>>, default: Duration, most: u64) -> Option<Duration> {
    node.map_or(Some(default), |node| node.number(1, most).map(Duration::from_secs))
}

fn log(section: &Section<'_>) -> Option<LogConfig> {
    let default = LogConfig::default();
    let format = section.get("format").map_or(Some(default.format), |node| {
        node.one_of(&[("text", LogFormat::Text), ("json", LogFormat::Json)])
    });
    let level = section.get("level").map_or(Some(default.level), |node| {
        let level = node.string()?;
        let known = telemetry::filter(level).map_err(|error| node.note(error));
        known.ok().map(|_| level.to_owned())
    });
    section.finish();
    Some(LogConfig { format: format?, level: level? })
}
