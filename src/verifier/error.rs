//! Why a token is not taken, and what its bearer is told (RFC 6750 §3).

/// Nothing of the token is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotVerified {
    #[error("the request bears no access token")]
    Missing,
    #[error("it is not built like an access token")]
    Malformed,
    #[error("it is opaque: only introspection can read it")]
    Opaque,
    /// Such as an ID token.
    #[error("it is no access token, but one of another kind")]
    OtherType,
    #[error("it names a key that the issuer does not have")]
    UnknownKey,
    #[error("its signature is not right")]
    Signature,
    #[error("it is of another issuer")]
    Issuer,
    #[error("it is for another audience")]
    Audience,
    #[error("it is of a tenant that is not served here")]
    Tenant,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYetValid,
    #[error("it was revoked")]
    Revoked,
    #[error("what is known of revocations is older than this route allows")]
    Stale,
    #[error("the issuer's keys cannot be fetched")]
    NoKeys,
}

/// `WWW-Authenticate` of an answer 403: the token is good, and does not allow this.
pub const INSUFFICIENT_SCOPE: &str = "Bearer error=\"insufficient_scope\"";

impl NotVerified {
    /// 401: the token is not taken. 503: nobody could tell, and the same request may succeed in a moment.
    pub const fn status(self) -> u16 {
        match self {
            Self::Stale | Self::NoKeys => 503,
            _ => 401,
        }
    }

    /// The value of `WWW-Authenticate` in an answer 401.
    pub const fn www_authenticate(self) -> Option<&'static str> {
        Some(match self {
            // RFC 6750 §3.1: who shows no token is told no error code.
            Self::Missing => "Bearer realm=\"rolemint\"",
            Self::Expired => {
                "Bearer error=\"invalid_token\", error_description=\"the access token has expired\""
            }
            Self::Revoked => {
                "Bearer error=\"invalid_token\", error_description=\"the access token was revoked\""
            }
            Self::Audience => {
                "Bearer error=\"invalid_token\", error_description=\"the access token is for another audience\""
            }
            Self::Stale | Self::NoKeys => return None,
            _ => "Bearer error=\"invalid_token\"",
        })
    }
}

/// Settings that no verifier can work with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misconfigured {
    #[error(
        "the issuer must be an https URL (http only on this machine) without query and fragment"
    )]
    Issuer,
    #[error("`stale_after` must be longer than the time between two snapshots")]
    StaleAfter,
    #[error("the name of a reader is 1 to 64 of A-Z, a-z, 0-9, `.`, `_` and `-`")]
    Reader,
    #[error("a verifier starts within a tokio runtime")]
    NoRuntime,
    #[error("no HTTP client can be made: {0}")]
    Http(String),
}
