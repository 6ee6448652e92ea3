//! A registered application: how it proves who it is, and what it may ask for.

use crate::domain::ids::{ClientId, InvalidName, ProviderId};
use crate::domain::secret::Digest;
use crate::domain::tenant::Status;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;
use url::{Host, Url};

/// `grant_type` values (RFC 6749, RFC 8693) that a client may declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GrantType {
    #[serde(rename = "authorization_code")]
    AuthorizationCode,
    #[serde(rename = "refresh_token")]
    RefreshToken,
    #[serde(rename = "urn:ietf:params:oauth:grant-type:token-exchange", alias = "token-exchange")]
    TokenExchange,
}

impl GrantType {
    pub const ALL: [Self; 3] = [Self::AuthorizationCode, Self::RefreshToken, Self::TokenExchange];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.as_str() == text)
    }
}

/// `token_endpoint_auth_method` (RFC 7591 §2), with what proves it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// A public client.
    None,
    ClientSecretBasic {
        /// Any of these is right, so that a secret can be changed without a gap.
        secrets: Vec<Digest>,
    },
    ClientSecretPost {
        secrets: Vec<Digest>,
    },
}

/// JWS algorithms (RFC 7518, RFC 8037) that access and ID tokens may be signed with.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum SigningAlgorithm {
    #[default]
    EdDSA,
    ES256,
    RS256,
}

impl SigningAlgorithm {
    pub const ALL: [Self; 3] = [Self::EdDSA, Self::ES256, Self::RS256];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDSA => "EdDSA",
            Self::ES256 => "ES256",
            Self::RS256 => "RS256",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenFormat {
    /// RFC 9068.
    #[default]
    Jwt,
    /// The same claims, sealed: only introspection can read it.
    Opaque,
}

/// What becomes of a refresh token that is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefreshTokens {
    /// Each refresh gives the next one, and a copy is found.
    #[default]
    Rotate,
    /// It stays the same. For clients that authenticate, to which their refresh tokens are bound
    /// (RFC 9700 §2.2.2, §4.14.2).
    Stable,
}

/// What a client may exchange (RFC 8693). Default: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExchangePolicy {
    /// Providers whose ID tokens it may bring.
    pub id_tokens_of: BTreeSet<ProviderId>,
    /// Whether it may bring our access tokens: those issued to it, and those of the audiences that it introspects.
    pub access_tokens: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    pub id: ClientId,
    pub name: String,
    #[serde(default)]
    pub status: Status,
    pub authentication: ClientAuthentication,
    pub grants: BTreeSet<GrantType>,
    #[serde(default)]
    pub redirect_uris: Vec<RedirectUri>,
    /// Audiences that its tokens may have; the first is the default. None: the issuer.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Audiences whose tokens it may introspect.
    #[serde(default)]
    pub introspects: BTreeSet<String>,
    /// The most that any token of this client can hold, as a template document.
    #[serde(default)]
    pub ceiling: Option<Value>,
    /// Browser origins that may call token, userinfo and revoke.
    #[serde(default)]
    pub origins: BTreeSet<String>,
    /// Providers through which its users may sign in. None: all.
    #[serde(default)]
    pub providers: Option<BTreeSet<ProviderId>>,
    #[serde(default)]
    pub exchange: ExchangePolicy,
    #[serde(default)]
    pub token_format: TokenFormat,
    #[serde(default)]
    pub algorithm: SigningAlgorithm,
    #[serde(default)]
    pub lifetimes: Lifetimes,
    #[serde(default)]
    pub refresh_tokens: RefreshTokens,
}

/// All in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lifetimes {
    pub code: u32,
    pub access_token: u32,
    pub session_idle: u32,
    pub session_absolute: u32,
    /// How long a superseded refresh token is answered with its successor.
    pub refresh_grace: u32,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            code: 60,
            access_token: 900,
            session_idle: 7 * 24 * 3600,
            session_absolute: 30 * 24 * 3600,
            refresh_grace: 30,
        }
    }
}

impl Lifetimes {
    /// The longest that any access token may live, whatever is declared.
    pub const LONGEST_ACCESS_TOKEN: u32 = 24 * 3600;
    /// The longest that any authorization code may wait to be redeemed, whatever is declared.
    pub const LONGEST_CODE: u32 = 600;
    /// The longest that any session may live, whatever is declared.
    pub const LONGEST_SESSION: u32 = 365 * 24 * 3600;

    /// What is out of bounds, in words that name the key.
    pub fn check(&self) -> Result<(), &'static str> {
        match *self {
            Self { code: 0 | 601.., .. } => Err("`code` must be 1 to 600 seconds"),
            Self { access_token: 0 | 86_401.., .. } => {
                Err("`access_token` must be 1 to 86400 seconds")
            }
            Self { session_idle: 0 | 31_536_001.., .. } => {
                Err("`session_idle` must be 1 to 31536000 seconds")
            }
            Self { session_absolute: 0 | 31_536_001.., .. } => {
                Err("`session_absolute` must be 1 to 31536000 seconds")
            }
            Self { refresh_grace: 301.., .. } => Err("`refresh_grace` must be 0 to 300 seconds"),
            _ => Ok(()),
        }
    }
}

impl Client {
    pub const fn is_public(&self) -> bool {
        matches!(self.authentication, ClientAuthentication::None)
    }
    pub fn may_use(&self, grant: GrantType) -> bool {
        self.grants.contains(&grant)
    }
    /// What becomes of its refresh tokens. SECURITY: nothing but rotation finds a copy of a public client's.
    pub const fn refresh_tokens(&self) -> RefreshTokens {
        if self.is_public() { RefreshTokens::Rotate } else { self.refresh_tokens }
    }
    pub fn allows_provider(&self, provider: &ProviderId) -> bool {
        self.providers.as_ref().is_none_or(|allowed| allowed.contains(provider))
    }
    /// The registered redirect URI that a request's one stands for, if any.
    pub fn accepts_redirect(&self, requested: &str) -> bool {
        self.redirect_uris.iter().any(|registered| registered.matches(requested))
    }
}

/// A registered redirect URI: compared as a string, but for the port of a loopback address that was
/// registered without one (or with `*`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RedirectUri {
    text: String,
    /// What stands before and after the port, where any port will do (RFC 8252 §7.3).
    any_port: Option<(String, String)>,
}

impl RedirectUri {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn matches(&self, requested: &str) -> bool {
        if self.any_port.is_none() || requested == self.text {
            return requested == self.text && !requested.contains('*');
        }
        let Some((before, after)) = &self.any_port else { return false };
        let Some(rest) = requested.strip_prefix(before.as_str()) else { return false };
        if rest == after.as_str() {
            return true;
        }
        let Some(rest) = rest.strip_prefix(':') else { return false };
        let Some(port) = rest.strip_suffix(after.as_str()) else { return false };
        // One way to write each port, so that the comparison stays a comparison of strings.
        port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port)
    }
}

impl TryFrom<String> for RedirectUri {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        const FORM: &str = "an absolute https URI, a private-use scheme with a dot in it, or http on 127.0.0.1 or [::1]; no fragment, no user, at most 2048 printable ASCII characters";
        let invalid = || InvalidName(text.chars().take(80).collect(), "redirect URI", FORM);
        if text.len() > 2048
            || !text.bytes().all(|b| (0x21..=0x7e).contains(&b))
            || text.contains('\\')
        {
            return Err(invalid());
        }
        let any_port = ["http://127.0.0.1", "http://[::1]"].iter().find_map(|before| {
            let rest = text.strip_prefix(before)?;
            let after = rest.strip_prefix(":*").unwrap_or(rest);
            after.starts_with('/').then(|| ((*before).to_owned(), after.to_owned()))
        });
        let sample = any_port.as_ref().map_or_else(|| text.clone(), |(a, b)| format!("{a}:1{b}"));
        let url = Url::parse(&sample).map_err(|_| invalid())?;
        let host_is_loopback = match url.host() {
            Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
            Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
            _ => false,
        };
        let scheme_is_fine = match url.scheme() {
            "https" => url.has_host(),
            "http" => host_is_loopback,
            // RFC 8252 §7.1: a private-use scheme is a reversed domain name.
            scheme => scheme.contains('.'),
        };
        // The parser must not have seen anything but what is written: what is compared is the string.
        let written_plainly = url.as_str() == sample || url.as_str() == format!("{sample}/");
        let plain = url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
            && !sample.contains('#')
            && !sample.contains('*');
        if scheme_is_fine && written_plainly && plain {
            Ok(Self { text, any_port })
        } else {
            Err(invalid())
        }
    }
}

impl From<RedirectUri> for String {
    fn from(uri: RedirectUri) -> Self {
        uri.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Result<RedirectUri, InvalidName> {
        text.to_owned().try_into()
    }

    #[test]
    fn a_public_clients_refresh_tokens_rotate_whatever_is_declared() {
        let client = |authentication: &str| -> Client {
            let document = format!(
                r#"{{"id": "a", "name": "A", "authentication": {authentication}, "grants": [],
                    "refresh_tokens": "stable"}}"#
            );
            serde_json::from_str(&document).unwrap()
        };
        let public = client(r#"{"method": "none"}"#);
        assert_eq!(public.refresh_tokens(), RefreshTokens::Rotate);
        let confidential = client(r#"{"method": "client_secret_basic", "secrets": []}"#);
        assert_eq!(confidential.refresh_tokens(), RefreshTokens::Stable);
    }

    #[test]
    fn redirect_uris_are_compared_as_strings() {
        let registered = uri("https://app.example/cb").unwrap();
        assert!(registered.matches("https://app.example/cb"));
        for other in [
            "https://app.example/cb/",
            "https://app.example//cb",
            "https://app.example/CB",
            "https://APP.example/cb",
            "HTTPS://app.example/cb",
            "https://app.example:443/cb",
            "https://app.example/cb?x=1",
            "https://app.example/cb#",
            "https://app.example/./cb",
            "https://app.example/x/../cb",
            "https://app.example/cb%00",
            "https://app.example/cb;a=b",
            "https://good@app.example/cb",
            "https://app.example\\cb",
            " https://app.example/cb",
            "https://app.example.evil/cb",
            "http://app.example/cb",
            "https://app.example/c",
            "",
        ] {
            assert!(!registered.matches(other), "{other}");
        }
    }

    #[test]
    fn only_the_port_of_a_loopback_address_may_differ() {
        for registered in ["http://127.0.0.1/callback", "http://127.0.0.1:*/callback"] {
            let registered = uri(registered).unwrap();
            for good in [
                "http://127.0.0.1/callback",
                "http://127.0.0.1:1/callback",
                "http://127.0.0.1:65535/callback",
            ] {
                assert!(registered.matches(good), "{good}");
            }
            for bad in [
                "http://127.0.0.1:0/callback",
                "http://127.0.0.1:080/callback",
                "http://127.0.0.1:65536/callback",
                "http://127.0.0.1:/callback",
                "http://127.0.0.1:+80/callback",
                "http://127.0.0.1:80/other",
                "http://127.0.0.1:80/callback/",
                "http://127.0.0.1:80@evil.example/callback",
                "http://127.0.0.1.evil.example/callback",
                "http://localhost:80/callback",
                "http://127.0.0.2:80/callback",
                "https://127.0.0.1:80/callback",
                "HTTP://127.0.0.1:80/callback",
                "http://127.0.0.1:*/x",
            ] {
                assert!(!registered.matches(bad), "{bad}");
            }
        }
        let fixed = uri("http://127.0.0.1:8080/demo/callback").unwrap();
        assert!(fixed.matches("http://127.0.0.1:8080/demo/callback"));
        assert!(!fixed.matches("http://127.0.0.1:8081/demo/callback"));
        assert!(!fixed.matches("http://127.0.0.1/demo/callback"));
    }

    #[test]
    fn a_redirect_uri_that_is_not_safe_cannot_be_registered() {
        for bad in [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "data:text/html,x",
            "http://app.example/cb",
            "http://localhost/cb",
            "https://app.example/cb#f",
            "https://app.example/cb#",
            "https://u@app.example/cb",
            "https://*.app.example/cb",
            "https://app.example/*",
            "https://app.example/a/../cb",
            "https://APP.example/cb",
            "/cb",
            "",
            "https://app.example/c b",
            "https://app.example:*/cb",
        ] {
            assert!(uri(bad).is_err(), "{bad}");
        }
        for good in [
            "com.example.app:/cb",
            "http://[::1]/cb",
            "https://app.example",
            "https://app.example/cb?a=b",
        ] {
            assert!(uri(good).is_ok(), "{good}");
        }
    }
}
