//! The one way out to providers: which URLs may be called, and how much of an answer is waited for and read.

use crate::upstream::error::Cause;
use crate::upstream::error::Misconfiguration;
use crate::upstream::error::Outage;
use crate::upstream::error::UpstreamError;
use oauth2::http::HeaderMap;
use oauth2::http::header::CONTENT_TYPE;
use oauth2::{HttpRequest, HttpResponse};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use url::{Host, Url};

/// What a provider's URLs may point at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// https, and nothing on this machine.
    Web,
    /// This machine too, there also by http: the provider itself is on it.
    Loopback,
}

impl Reach {
    /// The reach of a provider whose own URL (its issuer) is this one.
    pub(super) fn of(url: &Url) -> Self {
        if is_loopback(url) { Self::Loopback } else { Self::Web }
    }

    /// SECURITY: a discovery document is a stranger's text. It may not send us to plain http, and not to
    /// this machine or its link (cloud metadata services) unless the operator's own entry is there.
    pub(super) fn allows(self, url: &Url) -> bool {
        let loopback = is_loopback(url);
        let scheme = match url.scheme() {
            "https" => true,
            "http" => loopback,
            _ => false,
        };
        let host = match url.host() {
            Some(Host::Ipv4(ip)) => loopback || !is_local(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => loopback || !is_local(IpAddr::V6(ip)),
            Some(Host::Domain(_)) => true,
            None => false,
        };
        let plain =
            url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        scheme && host && plain && (self == Self::Loopback || !loopback)
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Addresses that no provider elsewhere has. Private networks are not among them: a company's provider may
/// well be in one.
fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_local_v4(ip),
        IpAddr::V6(ip) => match ip.segments() {
            // NAT64 (RFC 6052) leads to the IPv4 address in the last 32 bits.
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                is_local_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
            }
            _ => {
                ip.is_loopback()
                    || ip.is_unspecified()
                    || ip.is_multicast()
                    || ip.is_unicast_link_local()
            }
        },
    }
}

fn is_local_v4(ip: Ipv4Addr) -> bool {
    let [first, ..] = ip.octets();
    first == 0 || ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || ip.is_broadcast()
}

/// SECURITY: names are resolved once and the connection goes to the addresses that were looked at, so a
/// name cannot turn into an address of this machine between the look and the connection.
struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses = tokio::task::spawn_blocking(move || {
                let found = (name.as_str(), 0).to_socket_addrs()?.collect();
                permitted(name.as_str(), found)
            })
            .await??;
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

/// One address that is not allowed spoils the answer: which of several is taken is not ours to say.
fn permitted(name: &str, found: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    let local = name == "localhost";
    if found.iter().all(|address| is_local(address.ip()) == local) {
        Ok(found)
    } else {
        Err(io::Error::other("the name leads to an address that is not allowed"))
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<HttpResponse, UpstreamError>> + Send>>;

#[derive(Clone)]
pub(super) struct Http {
    plain: reqwest::Client,
    /// Not there on a machine without root certificates; a provider on loopback does without.
    tls: Result<reqwest::Client, Cause>,
    body: usize,
}

impl Http {
    pub(super) fn new(timeout: Duration, body: usize) -> Result<Self, UpstreamError> {
        let builder = || {
            reqwest::Client::builder()
                .user_agent("rolemint")
                .timeout(timeout)
                .redirect(Policy::none())
                .no_proxy()
                .referer(false)
                .dns_resolver(Resolver)
        };
        let plain = builder().tls_certs_only([]).build();
        Ok(Self {
            plain: plain.map_err(|error| Misconfiguration::HttpClient(Arc::new(error)))?,
            tls: builder().https_only(true).build().map_err(|error| -> Cause { Arc::new(error) }),
            body,
        })
    }

    /// [`Http::send`] in the shape that the `oauth2` and `openidconnect` crates call.
    pub(super) fn sender(&self, reach: Reach) -> impl Fn(HttpRequest) -> Answer + use<> {
        let http = self.clone();
        move |request| {
            let http = http.clone();
            Box::pin(async move { http.send(reach, request).await })
        }
    }

    /// One request and the whole answer, which is JSON when it is a success.
    pub(super) async fn send(
        &self,
        reach: Reach,
        request: HttpRequest,
    ) -> Result<HttpResponse, UpstreamError> {
        let request =
            reqwest::Request::try_from(request).map_err(|_| Misconfiguration::Endpoint)?;
        if !reach.allows(request.url()) {
            return Err(Misconfiguration::Endpoint.into());
        }
        let client = match (request.url().scheme(), &self.tls) {
            ("http", _) => &self.plain,
            (_, Ok(client)) => client,
            (_, Err(cause)) => return Err(Misconfiguration::HttpClient(cause.clone()).into()),
        };
        let mut response = client.execute(request).await.map_err(broken)?;
        let status = response.status();
        if status.is_redirection() {
            return Err(Misconfiguration::Redirected.into());
        }
        if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
            return Err(Outage::Status(status.as_u16()).into());
        }
        if status.is_success() && !is_json(response.headers()) {
            return Err(Outage::NotJson.into());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len().saturating_add(chunk.len()) > self.body {
                return Err(Outage::TooLarge.into());
            }
            body.extend_from_slice(&chunk);
        }
        let mut answer = HttpResponse::new(body);
        *answer.status_mut() = status;
        std::mem::swap(answer.headers_mut(), response.headers_mut());
        Ok(answer)
    }
}

fn broken(error: reqwest::Error) -> UpstreamError {
    if error.is_timeout() {
        Outage::TimedOut.into()
    } else {
        Outage::Connection(Arc::new(error)).into()
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    ["application/json", "application/jwk-set+json"]
        .iter()
        .any(|expected| essence.eq_ignore_ascii_case(expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_elsewhere_or_is_localhost() {
        let check = |name: &str, ips: &[&str]| {
            let found = ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
            permitted(name, found).is_ok()
        };
        assert!(check("provider.example", &["198.51.100.7", "2001:db8::7", "10.0.0.7"]));
        for bad in
            ["127.0.0.1", "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "::1"]
        {
            assert!(!check("provider.example", &[bad]), "{bad}");
            assert!(!check("provider.example", &["198.51.100.7", bad]), "{bad}");
        }
        for bad in ["::", "fe80::1", "ff02::1", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe"] {
            assert!(!check("provider.example", &[bad]), "{bad}");
        }
        assert!(check("localhost", &["127.0.0.1", "::1"]));
        assert!(!check("localhost", &["198.51.100.7"]));
    }
}
