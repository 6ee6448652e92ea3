//! Why a sign-in at a provider, or a token of theirs, came to nothing.
//!
//! Each variant is a fact with a fixed text. What a library or the provider said is kept as `source` for one
//! log line, and no variant holds a token, a code, a secret or a claim.

use std::error::Error;
use std::sync::Arc;

/// What went wrong underneath, for the log.
pub type Cause = Arc<dyn Error + Send + Sync>;

#[derive(Clone, Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It may work a moment later.
    #[error("the provider cannot be reached")]
    Unreachable(#[source] Outage),
    /// It will not work before somebody changes the entry or the provider.
    #[error("the provider's entry or its metadata cannot be used")]
    Misconfigured(#[source] Misconfiguration),
    /// What came back was not good enough.
    #[error("the provider's answer was refused")]
    Refused(#[source] Refusal),
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum Outage {
    #[error("no complete answer in time")]
    TimedOut,
    #[error("the connection failed")]
    Connection(#[source] Cause),
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("the answer is larger than allowed")]
    TooLarge,
    #[error("the answer is not JSON")]
    NotJson,
    #[error("the answer is not what the protocol says")]
    Garbage,
    #[error("the request was interrupted")]
    Interrupted,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum Misconfiguration {
    #[error("the HTTP client cannot be set up")]
    HttpClient(#[source] Cause),
    #[error("the issuer is not an https URL without query and fragment")]
    Issuer,
    #[error("the discovery document names another issuer")]
    OtherIssuer,
    #[error("the discovery document cannot be used")]
    Metadata(#[source] Cause),
    #[error("the discovery document names no token endpoint")]
    NoTokenEndpoint,
    #[error("userinfo is asked for, and the discovery document names no such endpoint")]
    NoUserInfoEndpoint,
    #[error("an endpoint is not an https URL that a provider may use")]
    Endpoint,
    #[error("an endpoint redirects, and redirects are not followed")]
    Redirected,
    #[error("an endpoint answered with status {0}")]
    Status(u16),
    #[error("the token endpoint does not accept this client")]
    Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this provider's entry does not allow it")]
    NotAllowed,
    #[error("the sign-in was begun at another provider")]
    OtherProvider,
    #[error("the issuer is another one")]
    WrongIssuer,
    #[error("the provider announces `iss` in its answers, and it is missing")]
    MissingIssuer,
    #[error("the authorization code was not accepted")]
    Code,
    #[error("what was granted is no longer honoured")]
    Grant,
    #[error("the refresh token was not accepted")]
    RefreshToken,
    #[error("the token response has no ID token")]
    NoIdToken,
    #[error("the token is not well-formed")]
    Malformed,
    #[error("the token is longer than allowed")]
    TooLong,
    #[error("the token is of another kind")]
    TokenType,
    #[error("the signature algorithm is not allowed for this provider")]
    Algorithm,
    #[error("the header demands something that is not supported")]
    Critical,
    #[error("no key of the provider fits the token")]
    UnknownKey,
    #[error("the signature is wrong")]
    Signature,
    #[error("the audience is another one")]
    Audience,
    #[error("the authorized party is another one")]
    AuthorizedParty,
    #[error("the token has expired")]
    Expired,
    #[error("the token is from the future")]
    IssuedInFuture,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token was issued too long ago")]
    TooOld,
    #[error("the nonce is another one")]
    Nonce,
    #[error("the token does not say that the person authenticated recently enough")]
    AuthTime,
    #[error("the ID token belongs to another access token")]
    AccessTokenHash,
    #[error("the token has no id")]
    MissingTokenId,
    #[error("the user info was not given")]
    UserInfo,
    #[error("the user info is about somebody else")]
    SubjectMismatch,
    #[error("there is no usable subject")]
    Subject,
}

impl From<Refusal> for UpstreamError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
impl From<Outage> for UpstreamError {
    fn from(outage: Outage) -> Self {
        Self::Unreachable(outage)
    }
}
impl From<Misconfiguration> for UpstreamError {
    fn from(misconfiguration: Misconfiguration) -> Self {
        Self::Misconfigured(misconfiguration)
    }
}
