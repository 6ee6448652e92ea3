//! Where a request came from: the peer, or what proxies that are trusted say of it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address, or all that begin alike: `10.0.0.0/8`, `2001:db8::/32`, `127.0.0.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// Bits that have to agree.
    prefix: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an address or a network, such as 10.0.0.7 or 10.0.0.0/8, with nothing after its prefix"
)]
pub struct NotANetwork;

/// The bits of an address, at the top of 128, and how many it has. One that stands for an IPv4 address within
/// IPv6 is that IPv4 address: a socket for both sees it so.
fn bits(address: IpAddr) -> (u128, u32) {
    match address.to_canonical() {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        let ((network, width), (address, other)) = (bits(self.address), bits(address));
        width == other
            && network.checked_shr(128_u32.saturating_sub(self.prefix)).unwrap_or(0)
                == address.checked_shr(128_u32.saturating_sub(self.prefix)).unwrap_or(0)
    }
}

impl FromStr for Network {
    type Err = NotANetwork;
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = match text.split_once('/') {
            None => (text, None),
            Some((address, prefix)) => (address, Some(prefix)),
        };
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let (all, width) = bits(address);
        let prefix = prefix.map_or(Ok(width), |prefix| {
            let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
            prefix.parse().ok().filter(|prefix| digits && *prefix <= width).ok_or(NotANetwork)
        })?;
        // A host in a network's place is a slip: which of the two is meant is not known.
        if all.checked_shl(prefix).unwrap_or(0) != 0 {
            return Err(NotANetwork);
        }
        Ok(Self { address: address.to_canonical(), prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The header that proxies write.
///
/// SECURITY: one and no other. A proxy that writes one of them passes the other on as its caller wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

/// Whoever called: the last one on the way to us that is no proxy of ours. `forwarded`: what the proxies
/// wrote, the nearest last; None is what is no address.
///
/// SECURITY: whatever stands before the first one that is not trusted may have been written by anybody.
pub fn caller(peer: IpAddr, forwarded: &[Option<IpAddr>], trusted: &[Network]) -> IpAddr {
    let mut caller = peer.to_canonical();
    for said in forwarded.iter().rev() {
        let is_proxy = trusted.iter().any(|network| network.contains(caller));
        match said {
            Some(before) if is_proxy => caller = before.to_canonical(),
            _ => break,
        }
    }
    caller
}

/// One element of `X-Forwarded-For`, or the `for` of `Forwarded` (RFC 7239 §6) without its quotes: an address,
/// maybe with a port. Names (`unknown`, `_hidden`) are no addresses.
pub fn parse_node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return address.parse().ok().filter(|address: &IpAddr| port && address.is_ipv6());
    }
    let (address, port) = text.split_once(':')?;
    address.parse().ok().filter(|address: &IpAddr| is_port(port) && address.is_ipv4())
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }
    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_holds_what_begins_alike() {
        for (net, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.0.0.7", "10.0.0.7", "10.0.0.6"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.1.2.3"),
            ("::ffff:10.0.0.7", "10.0.0.7", "10.0.0.8"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("192.168.4.0/22", "192.168.7.255", "192.168.8.0"),
        ] {
            assert!(network(net).contains(address(inside)), "{net} {inside}");
            assert!(!network(net).contains(address(outside)), "{net} {outside}");
        }
        assert!(network("0.0.0.0/0").contains(address("1.2.3.4")));
        assert!(!network("0.0.0.0/0").contains(address("::1")), "the other family");
        for bad in
            ["", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/", "10.0.0.0/+8", "host", "::/129", "1.2.3"]
        {
            assert_eq!(bad.parse::<Network>(), Err(NotANetwork), "{bad}");
        }
    }

    /// Who calls, as seen with these proxies.
    fn seen(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let forwarded: Vec<_> = forwarded.iter().map(|said| parse_node(said)).collect();
        let trusted: Vec<_> = trusted.iter().map(|net| network(net)).collect();
        caller(address(peer), &forwarded, &trusted).to_string()
    }

    #[test]
    fn nobody_says_where_they_call_from_but_through_a_trusted_proxy() {
        let proxies = ["10.0.0.0/8", "192.0.2.1"];
        // Without a proxy in between, what is claimed is a claim.
        assert_eq!(seen("203.0.113.9", &["198.51.100.1"], &proxies), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", &["198.51.100.1"], &[]), "10.0.0.1");
        // The proxy adds at the end; what the caller had written stands before that.
        assert_eq!(seen("10.0.0.1", &["1.1.1.1", "203.0.113.9"], &proxies), "203.0.113.9");
        // Two proxies in a row; a caller cannot pass for one further off by naming a proxy's address.
        assert_eq!(seen("10.0.0.1", &["203.0.113.9", "192.0.2.1"], &proxies), "203.0.113.9");
        assert_eq!(
            seen("10.0.0.1", &["1.1.1.1", "203.0.113.9", "192.0.2.1"], &proxies),
            "203.0.113.9"
        );
        // What is no address ends the way: nothing before it is believed.
        assert_eq!(seen("10.0.0.1", &["1.1.1.1", "unknown", "192.0.2.1"], &proxies), "192.0.2.1");
        assert_eq!(seen("10.0.0.1", &[], &proxies), "10.0.0.1");
        assert_eq!(seen("::ffff:10.0.0.1", &["203.0.113.9"], &proxies), "203.0.113.9");
    }

    #[test]
    fn an_element_is_an_address_with_or_without_a_port() {
        for (text, read) in [
            (" 203.0.113.9 ", Some("203.0.113.9")),
            ("203.0.113.9:4711", Some("203.0.113.9")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:4711", Some("2001:db8::1")),
            ("[203.0.113.9]:4711", None),
            ("203.0.113.9:", None),
            ("203.0.113.9:x", None),
            ("[2001:db8::1]4711", None),
            ("unknown", None),
            ("_hidden", None),
            ("", None),
        ] {
            assert_eq!(parse_node(text), read.map(address), "{text}");
        }
    }
}
