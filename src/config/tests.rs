use super::*;
use crate::telemetry::LogFormat;

const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const GOOD: &str = r#"issuer = "https://t.example"
[database]
url = "sqlite:a.db"
[token_store]
url = "embedded:t.db"
[keys]
encryption_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
"#;

fn read(source: &str, env: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    read::config(Some(Path::new("c.toml")), source, env)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}
fn problems(source: &str, env: &[(&str, &str)]) -> Vec<String> {
    read(source, env).unwrap_err()
}

#[test]
fn defaults_stand_where_nothing_is_written() {
    let config = read(GOOD, &[]).unwrap();
    assert_eq!(config.issuer_text, "https://t.example");
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.database.max_connections, 10);
    assert_eq!(config.http.body_limit, 65_536);
    assert_eq!(config.http.workers, None);
    assert_eq!(config.revocation.stale_after, Duration::from_secs(5));
    assert_eq!(config.revocation.poll_interval, Duration::from_millis(200));
    assert_eq!(config.log.format, LogFormat::Text);
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn the_environment_stands_over_the_file_and_is_enough_alone() {
    let config = read(
        GOOD,
        &[
            ("ROLEMINT_ISSUER", "https://e.example"),
            ("ROLEMINT_HTTP__WORKERS", "3"),
            ("ROLEMINT_LOG__LEVEL", ""),
            ("PATH", "/bin"),
            ("ROLEMINT_PORT", "tcp://10.0.0.1:80"),
            ("ROLEMINT_SERVICE_HOST", "10.0.0.1"),
        ],
    )
    .unwrap();
    assert_eq!(config.issuer_text, "https://e.example");
    assert_eq!(config.http.workers, Some(3));
    let env = [
        ("ROLEMINT_ISSUER", "https://e.example"),
        ("ROLEMINT_DATABASE__URL", "sqlite:/var/a.db"),
        ("ROLEMINT_TOKEN_STORE__URL", "redis://:pw@127.0.0.1/0"),
        ("ROLEMINT_KEYS__ENCRYPTION_KEY", KEY),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert!(Config::load(None, env.into_iter()).is_ok());
}

#[test]
fn everything_wrong_is_reported_at_once_with_its_key_and_line() {
    let source = r#"
issuer = "http://t.example"
listen = 8080
isuer = "x"
[database]
url = "mysql://root:s3cr3t@db/x"
max_connections = 0
[token_store]
url = "memcached://s3cr3t"
[keys]
encryption_key = "s3cr3t"
[http]
workers = "four"
body_limit = 12
[revocation]
stale_after = 1
poll_interval_ms = 1000
[upstreams]
timeout = 3
[log]
format = "xml"
level = "loud"
"#;
    let env = [("ROLEMINT_DATABSE__URL", "s3cr3t"), ("ROLEMINT_UPSTREAM__TIMEOUT", "soon")];
    let found = problems(source, &env);
    assert_eq!(
        found,
        [
            "c.toml:2: issuer: must be an https URL (http only on 127.0.0.1, [::1] and localhost)",
            "c.toml:3: listen: expected a string, found integer",
            "c.toml:4: isuer: unknown key; known here: database, feed, http, issuer, keys, listen, log, metrics, revocation, sessions, token_store, upstream",
            "c.toml:6: database.url: must be `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`",
            "c.toml:7: database.max_connections: must be 1 to 1000",
            "c.toml:9: token_store.url: must be `embedded:PATH`, `redis://USER:PASSWORD@HOST:PORT/DATABASE`, `redis+unix:///PATH`, `redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/DATABASE` or `redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT`; over TLS `rediss`",
            "c.toml:11: keys.encryption_key: is not 32 bytes in base64url without padding: make one with `rolemint key generate` or `openssl rand -base64 32 | tr '+/' '-_' | tr -d '='`",
            "c.toml:13: http.workers: expected a whole number, found string",
            "c.toml:14: http.body_limit: must be 1024 to 16777216",
            "c.toml:18: upstreams: unknown key; known here: database, feed, http, issuer, keys, listen, log, metrics, revocation, sessions, token_store, upstream",
            "c.toml:21: log.format: must be one of \"text\", \"json\", not \"xml\"",
            "c.toml:22: log.level: must be one of error, warn, info, debug and trace, or directives such as \"warn,rolemint::http=debug\"",
            "c.toml: revocation.stale_after: must be longer than `poll_interval_ms`, or the server is always stale",
            "ROLEMINT_UPSTREAM__TIMEOUT: expected a whole number",
            "ROLEMINT_DATABSE__URL: unknown variable; section and key are joined by two underscores, as in ROLEMINT_DATABASE__URL",
        ]
    );
    assert!(!format!("{found:?}").contains("s3cr3t"));
}

#[test]
fn what_is_missing_is_named_with_what_to_write() {
    assert_eq!(
        problems("", &[]),
        [
            "c.toml: issuer: missing: write the URL that clients reach this server under: issuer = \"https://tokens.example.com\", or set ROLEMINT_ISSUER",
            "c.toml: database.url: missing: write url = \"sqlite:PATH\" or \"postgres://…\" (or `url_file`), or set ROLEMINT_DATABASE__URL",
            "c.toml: token_store.url: missing: write url = \"embedded:PATH\" or \"redis://…\" (or `url_file`), or set ROLEMINT_TOKEN_STORE__URL",
            "c.toml: keys.encryption_key: missing: write encryption_key_file = \"PATH\" (or `encryption_key`); make one with `rolemint key generate` or `openssl rand -base64 32 | tr '+/' '-_' | tr -d '='`, or set ROLEMINT_KEYS__ENCRYPTION_KEY",
        ]
    );
}

#[test]
fn a_proxy_that_is_no_network_is_told() {
    let env = [("ROLEMINT_HTTP__TRUSTED_PROXIES", "10.0.0.7, 10.0.0.1/8")];
    let found = problems("", &env);
    let told = found.iter().filter(|problem| problem.starts_with("ROLEMINT_HTTP__TRUSTED_PROXIES"));
    assert_eq!(told.count(), 1, "{found:?}");
}

#[test]
fn an_issuer_has_one_way_to_be_written() {
    let https = "must be an https URL (http only on 127.0.0.1, [::1] and localhost)";
    for (issuer, problem) in [
        ("https://t.example/", "write it as \"https://t.example\""),
        ("https://t.example/a/", "write it as \"https://t.example/a\""),
        ("https://T.example", "write it as \"https://t.example\""),
        ("https://t.example:443", "write it as \"https://t.example\""),
        ("https://t.example?a=1", "must have neither a query nor a fragment"),
        ("https://t.example/#", "must have neither a query nor a fragment"),
        ("https://u:p@t.example", "must not hold a user or a password"),
        ("http://10.0.0.1:8080", https),
        ("ftp://t.example", https),
        ("t.example", "\"t.example\" is not a URL"),
    ] {
        let found = problems(GOOD, &[("ROLEMINT_ISSUER", issuer)]);
        assert_eq!(found, [format!("ROLEMINT_ISSUER: {problem}")], "{issuer}");
    }
    for issuer in
        ["http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost", "https://t.example/a"]
    {
        let config = read(GOOD, &[("ROLEMINT_ISSUER", issuer)]).unwrap();
        assert_eq!(config.issuer_text, issuer);
    }
}

#[test]
fn a_secret_stands_in_one_place() {
    let directory = tempdir("config-secret");
    std::fs::write(directory.join("url"), "redis://:s3cr3t@127.0.0.1/0\n").unwrap();
    let file = directory.join("c.toml");
    let load = |source: &str, env: &[(&str, &str)]| {
        std::fs::write(&file, source).unwrap();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(Some(&file), env)
    };
    let with_file = GOOD.replace("url = \"embedded:t.db\"", "url_file = \"url\"");
    let config = load(&with_file, &[]).unwrap();
    assert!(matches!(config.token_store, TokenStoreConfig::Redis(_)), "{config:?}");
    let shown = format!("{config:?}");
    assert!(!shown.contains("s3cr3t") && !shown.contains(KEY), "{shown}");
    // A path starts from the file that names it.
    let DatabaseUrl::Sqlite(path) = &config.database.url else { panic!("{config:?}") };
    assert_eq!(*path, directory.join("a.db"));

    let both = GOOD.replace("[token_store]", "[token_store]\nurl_file = \"url\"");
    let shown = load(&both, &[]).unwrap_err().to_string();
    let place = file.display();
    assert_eq!(
        shown,
        format!(
            "the configuration cannot be used\n  {place}:6: token_store.url: stands beside `url_file`: keep one of the two"
        )
    );
    // The environment replaces both.
    let config = load(&with_file, &[("ROLEMINT_TOKEN_STORE__URL", "embedded:/x/t.db")]).unwrap();
    assert!(matches!(config.token_store, TokenStoreConfig::Embedded(_)));
    let absent = load(&with_file.replace("\"url\"", "\"nowhere\""), &[]).unwrap_err().to_string();
    assert!(absent.contains(":5: token_store.url_file: cannot read "), "{absent}");
}

#[test]
fn what_redis_wants_beside_its_address_stands_beside_one_that_can_use_it() {
    let directory = tempdir("config-redis");
    for name in ["ca", "certificate", "key"] {
        std::fs::write(directory.join(name), "-----BEGIN s3cr3t-----").unwrap();
    }
    let file = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (authority, certificate, key) = (file("ca"), file("certificate"), file("key"));
    let (ca, chain) =
        ("ROLEMINT_TOKEN_STORE__CA_FILE", "ROLEMINT_TOKEN_STORE__CLIENT_CERTIFICATE_FILE");
    let client_key = ("ROLEMINT_TOKEN_STORE__CLIENT_KEY_FILE", key.as_str());
    let sentinel = ("ROLEMINT_TOKEN_STORE__SENTINEL_PASSWORD", "s3cr3t");
    for (url, beside, wrong) in [
        ("redis+sentinel://h/main", &[sentinel][..], None),
        ("redis://h", &[sentinel], Some("names no Sentinels")),
        ("redis://h", &[(ca, &authority)], Some("write it with `rediss`")),
        ("rediss://h", &[(ca, "/nowhere")], Some("cannot read /nowhere")),
        ("rediss://h", &[(ca, &authority)], Some("they are not PEM")),
        ("rediss://h", &[(chain, &certificate)], Some("stand together")),
        ("rediss://h", &[(chain, &certificate), client_key], Some("they are not PEM")),
    ] {
        let url = [("ROLEMINT_TOKEN_STORE__URL", url)];
        let found = read(GOOD, &[&url, beside].concat());
        match (found, wrong) {
            (Ok(_), None) => {}
            (Err(problems), Some(wrong)) => {
                let problems = problems.join("\n");
                assert!(problems.contains(wrong), "{wrong}: {problems}");
                assert!(!problems.contains("s3cr3t"), "{problems}");
            }
            (found, _) => panic!("{url:?} {wrong:?}: {found:?}"),
        }
    }
}

#[test]
fn stores_are_told_by_their_urls() {
    let store = |url: &str| read(GOOD, &[("ROLEMINT_TOKEN_STORE__URL", url)]);
    for good in [
        "redis+unix:///run/redis.sock",
        "rediss://:p@h",
        "redis+sentinel://:p@h:1,i:2/main",
        "rediss+cluster://:p@h:1,i:2",
    ] {
        assert!(store(good).is_ok(), "{good}");
    }
    for bad in ["redis:", "redis+unix://", "embedded:", "embedded::memory:", "redis+tls://h", "x"] {
        assert!(store(bad).is_err(), "{bad}");
    }
    let database = |url: &str| read(GOOD, &[("ROLEMINT_DATABASE__URL", url)]);
    let path = |url: &str| match database(url).unwrap().database.url {
        DatabaseUrl::Sqlite(path) => path.display().to_string(),
        DatabaseUrl::Postgres(_) => panic!("PostgreSQL"),
    };
    assert_eq!(path("sqlite:a.db"), "a.db");
    assert_eq!(path("sqlite:/var/a.db"), "/var/a.db");
    assert_eq!(path("sqlite:///var/a.db"), "/var/a.db");
    for bad in ["sqlite:", "sqlite::memory:", "sqlite:a.db?mode=ro", "a.db", "mysql://h/x"] {
        assert!(database(bad).is_err(), "{bad}");
    }
    let one_file =
        [("ROLEMINT_DATABASE__URL", "sqlite:/a"), ("ROLEMINT_TOKEN_STORE__URL", "embedded:/a")];
    assert_eq!(
        problems(GOOD, &one_file),
        ["c.toml: token_store.url: names the database's file: they are two files"]
    );
}

#[test]
fn postgresql_needs_its_feature_and_wants_its_certificate_verified() {
    let config = read(GOOD, &[("ROLEMINT_DATABASE__URL", "postgres://u:s3cr3t@db.example/x")]);
    if cfg!(feature = "postgres") {
        let config = config.unwrap();
        assert_eq!(
            config.warnings,
            [
                "ROLEMINT_DATABASE__URL: PostgreSQL is on another machine and its certificate is not verified: \
                 add `?sslmode=verify-full` (and `&sslrootcert=FILE`)"
            ]
        );
        assert!(!format!("{config:?}").contains("s3cr3t"));
    } else {
        assert_eq!(
            config.unwrap_err(),
            ["ROLEMINT_DATABASE__URL: names PostgreSQL, and this program was built without it: \
                 build it with `cargo build --release --features postgres`"]
        );
    }
}

#[test]
fn the_example_can_be_used() {
    let source = include_str!("../../rolemint.example.toml");
    let config = read(source, &[("ROLEMINT_KEYS__ENCRYPTION_KEY", KEY)]).unwrap();
    assert_eq!(config.warnings, Vec::<String>::new());
    assert_eq!(config.log.format, LogFormat::Json);
}

fn tempdir(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("rolemint-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}
