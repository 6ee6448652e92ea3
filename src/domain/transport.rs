//! Which URLs may carry secrets.

use url::{Host, Url};

/// Whether this machine alone can be reached under the URL's host.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// https anywhere, http where nothing leaves the machine.
pub fn is_protected(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.has_host(),
        "http" => is_loopback(url),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_the_machine() {
        for (url, protected) in [
            ("https://a.example", true),
            ("http://127.0.0.1:8081", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://a.example", false),
            ("http://localhost.a.example", false),
            ("http://128.0.0.1", false),
            ("ftp://127.0.0.1", false),
        ] {
            assert_eq!(is_protected(&Url::parse(url).unwrap()), protected, "{url}");
        }
    }
}
