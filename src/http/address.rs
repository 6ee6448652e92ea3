//! The address that a request came from, for the record: it forms no URL and decides nothing.

use crate::domain::address::{ForwardedHeader, Network, caller, parse_node};
use actix_web::HttpRequest;
use actix_web::web::Data;
use std::net::IpAddr;

/// Longer chains of proxies are not followed: what stands before is left out.
const LONGEST_WAY: usize = 16;

/// Who is believed about where a request came from.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    pub trusted: Vec<Network>,
    pub header: ForwardedHeader,
}

/// None: the server does not know, or its peer is no address.
pub(super) fn caller_of(request: &HttpRequest) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip();
    let proxies = request.app_data::<Data<Proxies>>()?;
    if proxies.trusted.is_empty() {
        return Some(peer.to_canonical());
    }
    let (name, read): (_, fn(&str) -> Option<IpAddr>) = match proxies.header {
        ForwardedHeader::XForwardedFor => ("x-forwarded-for", parse_node),
        ForwardedHeader::Forwarded => ("forwarded", read_forwarded),
    };
    // Several headers are one list in their order (RFC 9110 §5.3).
    let mut way: Vec<Option<IpAddr>> = Vec::new();
    for value in request.headers().get_all(name) {
        match value.to_str() {
            Ok(text) => way.extend(text.split(',').map(read)),
            Err(_) => way.push(None),
        }
    }
    let nearest = way.get(way.len().saturating_sub(LONGEST_WAY)..).unwrap_or_default();
    Some(caller(peer, nearest, &proxies.trusted))
}

/// The `for` of one element of `Forwarded` (RFC 7239 §4). A comma within quotes parts it all the same: such
/// an element is no address.
fn read_forwarded(element: &str) -> Option<IpAddr> {
    let mut found = element.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    });
    let (node, None) = (found.next()?, found.next()) else { return None };
    let unquoted = node.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    parse_node(unquoted.unwrap_or(node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn seen(header: ForwardedHeader, headers: &[(&str, &str)]) -> String {
        let trusted = vec!["127.0.0.0/8".parse().unwrap()];
        let mut request = TestRequest::default()
            .peer_addr("127.0.0.1:4711".parse().unwrap())
            .app_data(Data::new(Proxies { trusted, header }));
        for pair in headers {
            request = request.append_header(*pair);
        }
        caller_of(&request.to_http_request()).unwrap().to_string()
    }

    #[test]
    fn several_headers_are_one_list_and_the_other_header_is_not_read() {
        use ForwardedHeader as Header;
        let spoofed = ("x-forwarded-for", "198.51.100.1");
        let headers = [spoofed, ("x-forwarded-for", "203.0.113.9, 127.0.0.2")];
        assert_eq!(seen(Header::XForwardedFor, &headers), "203.0.113.9");
        assert_eq!(seen(Header::Forwarded, &headers), "127.0.0.1");
        let forwarded = ("forwarded", "for=1.2.3.4, proto=https;For=\"[2001:db8::1]:47\";by=x");
        assert_eq!(seen(Header::Forwarded, &[spoofed, forwarded]), "2001:db8::1");
        assert_eq!(seen(Header::XForwardedFor, &[forwarded]), "127.0.0.1");
        for nothing in ["for=unknown", "proto=https", "for=1.2.3.4;for=5.6.7.8", "for=\"1.2.3.4"] {
            assert_eq!(
                seen(Header::Forwarded, &[("forwarded", nothing)]),
                "127.0.0.1",
                "{nothing}"
            );
        }
    }

    #[test]
    fn a_long_way_is_followed_from_its_near_end() {
        let way = ["198.51.100.1"].into_iter().chain(["127.0.0.3"; LONGEST_WAY]);
        let way = way.collect::<Vec<_>>().join(",");
        assert_eq!(seen(ForwardedHeader::XForwardedFor, &[("x-forwarded-for", &way)]), "127.0.0.3");
    }
}
