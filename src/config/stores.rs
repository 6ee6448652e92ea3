//! Where things are kept: the URLs of the database and of the token store.

use crate::config::source::Written;
use crate::config::{DatabaseUrl, TokenStoreConfig};
use crate::domain::secret::Secret;
use crate::token_store::{RedisAddress, RedisCredentials};
use std::net::IpAddr;
use std::path::PathBuf;

/// SECURITY: a URL may hold a password, so no message here repeats any of it.
pub(super) fn database(url: &Written<'_>, warnings: &mut Vec<String>) -> Option<DatabaseUrl> {
    if let Some(path) = file_path(url, "sqlite") {
        return path.map(DatabaseUrl::Sqlite);
    }
    let text = url.text.as_str();
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    if !matches!(scheme, Some("postgres" | "postgresql")) {
        url.node.note("must be `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`");
        return None;
    }
    if !cfg!(feature = "postgres") {
        url.node.note(
            "names PostgreSQL, and this program was built without it: \
             build it with `cargo build --release --features postgres`",
        );
        return None;
    }
    if crosses_the_network_unverified(text) {
        warnings.push(format!(
            "{}: PostgreSQL is on another machine and its certificate is not verified: \
             add `?sslmode=verify-full` (and `&sslrootcert=FILE`)",
            url.key
        ));
    }
    Some(DatabaseUrl::Postgres(Secret::new(text.to_owned())))
}

pub(super) fn token_store(
    url: &Written<'_>,
    credentials: &RedisCredentials,
) -> Option<TokenStoreConfig> {
    if let Some(path) = file_path(url, "embedded") {
        return path.map(TokenStoreConfig::Embedded);
    }
    let text = url.text.as_str();
    let with_certificates = credentials.authority.is_some() || credentials.client.is_some();
    if with_certificates && !text.starts_with("rediss") {
        url.node
            .note("stands beside certificates: write it with `rediss`, which is Redis over TLS");
    }
    if credentials.sentinel_password.is_some() && !text.contains("+sentinel://") {
        url.node.note("names no Sentinels, and there is a `sentinel_password`");
    }
    match RedisAddress::parse(text, credentials) {
        Ok(address) => Some(TokenStoreConfig::Redis(Box::new(address))),
        Err(error) => {
            url.node.note(error);
            None
        }
    }
}

/// None: the URL is not of this scheme. Some(None): it is, and no file.
#[expect(clippy::option_option, reason = "whether it is ours, and whether it is right")]
fn file_path(url: &Written<'_>, scheme: &str) -> Option<Option<PathBuf>> {
    let path = url.text.strip_prefix(scheme)?.strip_prefix(':')?;
    // `sqlite:///var/lib/x.db` is how some write an absolute path.
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.starts_with(':') || path.contains('?') {
        url.node.note(format_args!("must name a file: `{scheme}:PATH`, without parameters"));
        return Some(None);
    }
    Some(Some(url.base.join(path)))
}

/// Whether a PostgreSQL URL leads to another machine without checking that it is the right one.
fn crosses_the_network_unverified(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = place.split('/').next().unwrap_or_default();
    let written = authority.rsplit('@').next().unwrap_or_default();
    // libpq takes several hosts, parted by commas, and lets parameters overrule what stands before them.
    let mut hosts = written.to_owned();
    let mut verified = false;
    for (key, value) in url::form_urlencoded::parse(parameters.as_bytes()) {
        match key.as_ref() {
            "host" | "hostaddr" => hosts = value.into_owned(),
            "sslmode" => verified = value == "verify-full",
            _ => {}
        }
    }
    !verified && hosts.split(',').any(|host| !is_this_machine(host))
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None if host.parse::<IpAddr>().is_ok() => host,
        None => host.split(':').next().unwrap_or_default(),
    };
    // Nothing, a path and an abstract name are Unix sockets.
    name.is_empty()
        || name.starts_with(['/', '@'])
        || name.to_ascii_lowercase().starts_with("%2f")
        || name == "localhost"
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_across_the_network_wants_its_certificate_verified() {
        for (url, unverified) in [
            ("postgres://u:p@db.example/x", true),
            ("postgres://u:p@db.example/x?sslmode=require", true),
            ("postgres://u:p@db.example/x?sslmode=verify-full&sslrootcert=a", false),
            ("postgres://u:p@127.0.0.1:5432/x", false),
            ("postgres://u:p@[::1]:5432/x", false),
            ("postgres://u:p@localhost/x", false),
            ("postgres://u:p%40@10.0.0.1/x", true),
            ("postgres:///x", false),
            ("postgres:///x?host=/run/postgresql", false),
            ("postgres:///x?host=db.example", true),
            ("postgres://%2Frun%2Fpostgresql/x", false),
            ("postgres://localhost,db.example/x", true),
        ] {
            assert_eq!(crosses_the_network_unverified(url), unverified, "{url}");
        }
    }
}
