//! An authorization request (RFC 6749 §4.1.1, RFC 7636, RFC 9396, OpenID Connect Core §3.1.2.1): what it
//! must be like, and proof of possession of its code.

use crate::domain::client::{Client, GrantType};
use crate::domain::ids::TenantId;
use crate::domain::scope::ScopeSet;
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// `error` values that clients see (RFC 6749 §4.1.2.1 and §5.2, RFC 8693 §2.2.2, RFC 9396 §5, OpenID
/// Connect Core §3.1.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    InvalidRequest,
    InvalidClient,
    InvalidGrant,
    InvalidScope,
    InvalidTarget,
    InvalidAuthorizationDetails,
    UnauthorizedClient,
    UnsupportedGrantType,
    UnsupportedResponseType,
    UnsupportedTokenType,
    AccessDenied,
    LoginRequired,
    InteractionRequired,
    ConsentRequired,
    AccountSelectionRequired,
    RequestNotSupported,
    RequestUriNotSupported,
    RegistrationNotSupported,
    ServerError,
    TemporarilyUnavailable,
}

impl ErrorCode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidAuthorizationDetails => "invalid_authorization_details",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::UnsupportedTokenType => "unsupported_token_type",
            Self::AccessDenied => "access_denied",
            Self::LoginRequired => "login_required",
            Self::InteractionRequired => "interaction_required",
            Self::ConsentRequired => "consent_required",
            Self::AccountSelectionRequired => "account_selection_required",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::RegistrationNotSupported => "registration_not_supported",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }
}

/// An error as the client is told it: fixed text, nothing that anybody sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {description}", code.as_str())]
pub struct ProtocolError {
    pub code: ErrorCode,
    pub description: &'static str,
}

impl ProtocolError {
    pub const fn new(code: ErrorCode, description: &'static str) -> Self {
        Self { code, description }
    }
}

/// The parameters as they came, empty ones left out.
#[expect(clippy::struct_excessive_bools, reason = "each says that a parameter is there")]
#[derive(Clone, Debug, Default)]
pub struct RawAuthorization {
    pub response_type: Option<String>,
    pub response_mode: Option<String>,
    pub scope: Option<String>,
    pub state: Option<String>,
    pub nonce: Option<String>,
    pub code_challenge: Option<String>,
    pub code_challenge_method: Option<String>,
    pub audience: Vec<String>,
    pub authorization_details: Option<String>,
    pub tenant: Option<String>,
    pub login_hint: Option<String>,
    pub prompt: Option<String>,
    pub max_age: Option<String>,
    /// A parameter stood there twice.
    pub repeated: bool,
    /// Parameters that we declare not to support.
    pub request: bool,
    pub request_uri: bool,
    pub registration: bool,
}

/// What a client asks for in words of its own, checked for form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// None: no scope was named, which means everything. Without protocol scopes.
    pub scope: Option<ScopeSet>,
    pub protocol_scope: ScopeSet,
    /// A JSON array.
    pub details: Option<Value>,
    pub audience: Vec<String>,
}

/// A request that is in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuthorizationRequest {
    pub redirect_uri: String,
    pub state: Option<String>,
    pub nonce: Option<String>,
    /// S256, as it was sent.
    pub code_challenge: String,
    pub wanted: Wanted,
    pub tenant: Option<TenantId>,
    pub login_hint: Option<String>,
    pub prompt: Option<Prompt>,
    pub max_age: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    None,
    Login,
    Consent,
    SelectAccount,
}

impl Prompt {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Login => "login",
            Self::Consent => "consent",
            Self::SelectAccount => "select_account",
        }
    }
}

/// More bytes than any of these parameters may have.
const PARAMETER_LIMIT: usize = 2048;
const DETAILS_LIMIT: usize = 16 * 1024;

const fn bad(description: &'static str) -> ProtocolError {
    ProtocolError::new(ErrorCode::InvalidRequest, description)
}

/// Scope, permissions and audiences as any request may name them.
pub fn parse_wanted(
    scope: Option<&str>,
    details: Option<&str>,
    audience: &[String],
) -> Result<Wanted, ProtocolError> {
    let invalid_scope = |_| ProtocolError::new(ErrorCode::InvalidScope, "scope is malformed");
    let scope: Option<ScopeSet> = scope.map(str::parse).transpose().map_err(invalid_scope)?;
    let (protocol_scope, rest) = scope.as_ref().map(ScopeSet::split_protocol).unwrap_or_default();
    let details = details.map(parse_details).transpose()?;
    Ok(Wanted { scope: scope.map(|_| rest), protocol_scope, details, audience: audience.to_vec() })
}

fn parse_details(text: &str) -> Result<Value, ProtocolError> {
    let invalid = ProtocolError::new(
        ErrorCode::InvalidAuthorizationDetails,
        "authorization_details must be a JSON array of permissions of at most 16 KiB",
    );
    if text.len() > DETAILS_LIMIT {
        return Err(invalid);
    }
    let value: Value = serde_json::from_str(text).map_err(|_| invalid)?;
    if value.is_array() { Ok(value) } else { Err(invalid) }
}

impl AuthorizationRequest {
    /// `redirect_uri` and the client were judged before: whatever is wrong here is told to the client.
    pub fn parse(
        raw: &RawAuthorization,
        redirect_uri: String,
        client: &Client,
    ) -> Result<Self, ProtocolError> {
        use ErrorCode as Code;
        if raw.repeated {
            return Err(bad("a parameter is repeated"));
        }
        if raw.request {
            return Err(ProtocolError::new(Code::RequestNotSupported, "request is not supported"));
        }
        if raw.request_uri {
            let what = "request_uri is not supported";
            return Err(ProtocolError::new(Code::RequestUriNotSupported, what));
        }
        if raw.registration {
            let what = "registration is not supported";
            return Err(ProtocolError::new(Code::RegistrationNotSupported, what));
        }
        match raw.response_type.as_deref() {
            Some("code") => {}
            None => return Err(bad("response_type is missing")),
            Some(_) => {
                let what = "the only response_type is code";
                return Err(ProtocolError::new(Code::UnsupportedResponseType, what));
            }
        }
        if !client.may_use(GrantType::AuthorizationCode) {
            let what = "the client may not use the authorization code grant";
            return Err(ProtocolError::new(Code::UnauthorizedClient, what));
        }
        if raw.response_mode.as_deref().is_some_and(|mode| mode != "query") {
            return Err(bad("the only response_mode is query"));
        }
        let code_challenge = parse_challenge(raw)?;
        for value in [&raw.state, &raw.nonce, &raw.login_hint].into_iter().flatten() {
            if value.len() > PARAMETER_LIMIT {
                return Err(bad("state, nonce and login_hint have at most 2048 bytes"));
            }
        }
        let details = raw.authorization_details.as_deref();
        let wanted = parse_wanted(raw.scope.as_deref(), details, &raw.audience)?;
        check_audience(&wanted.audience, client)?;
        Ok(Self {
            redirect_uri,
            state: raw.state.clone(),
            nonce: raw.nonce.clone(),
            code_challenge,
            wanted,
            tenant: raw
                .tenant
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(|_| bad("tenant is not the id of a tenant"))?,
            login_hint: raw.login_hint.clone(),
            prompt: raw.prompt.as_deref().map(parse_prompt).transpose()?.flatten(),
            max_age: raw
                .max_age
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(|_| bad("max_age must be a number of seconds"))?,
        })
    }
}

/// RFC 7636 §4.3; only S256, and required of everybody (RFC 9700 §2.1.1).
fn parse_challenge(raw: &RawAuthorization) -> Result<String, ProtocolError> {
    let challenge = raw.code_challenge.as_deref().ok_or(bad("code_challenge is missing"))?;
    if raw.code_challenge_method.as_deref() != Some("S256") {
        return Err(bad("the only code_challenge_method (transform) is S256"));
    }
    let decoded = BASE64URL_NOPAD.decode(challenge.as_bytes());
    if decoded.is_ok_and(|digest| digest.len() == 32) {
        Ok(challenge.to_owned())
    } else {
        Err(bad("code_challenge must be 43 characters of base64url"))
    }
}

/// OpenID Connect Core §3.1.2.1: `none` stands alone. What we do not know is not an error.
fn parse_prompt(text: &str) -> Result<Option<Prompt>, ProtocolError> {
    let values: Vec<&str> = text.split(' ').filter(|value| !value.is_empty()).collect();
    if values.contains(&"none") && values.len() > 1 {
        return Err(bad("prompt none must stand alone"));
    }
    let known = [Prompt::None, Prompt::Login, Prompt::SelectAccount, Prompt::Consent];
    Ok(known.into_iter().find(|prompt| values.contains(&prompt.as_str())))
}

/// The audiences of a new token: what was asked for, or the client's default; None: the issuer.
pub fn check_audience(wanted: &[String], client: &Client) -> Result<(), ProtocolError> {
    if wanted.iter().all(|audience| client.audiences.contains(audience)) {
        Ok(())
    } else {
        let what = "the client may not ask for that audience";
        Err(ProtocolError::new(ErrorCode::InvalidTarget, what))
    }
}

/// RFC 7636 §4.1: 43 to 128 unreserved characters.
pub fn is_code_verifier(text: &str) -> bool {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    (43..=128).contains(&text.len()) && text.bytes().all(unreserved)
}

/// RFC 7636 §4.6.
pub fn proves(verifier: &str, challenge: &str) -> bool {
    is_code_verifier(verifier)
        && BASE64URL_NOPAD.encode(&Sha256::digest(verifier.as_bytes())) == challenge
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn client() -> Client {
        let client = json!({
            "id": "web", "name": "Web", "authentication": { "method": "none" },
            "grants": ["authorization_code"], "redirect_uris": ["https://app.example/cb"],
            "audiences": ["https://api.example"],
        });
        serde_json::from_value(client).unwrap()
    }
    fn raw() -> RawAuthorization {
        RawAuthorization {
            response_type: Some("code".into()),
            code_challenge: Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".into()),
            code_challenge_method: Some("S256".into()),
            ..RawAuthorization::default()
        }
    }
    fn refused(change: impl FnOnce(&mut RawAuthorization)) -> &'static str {
        let mut raw = raw();
        change(&mut raw);
        AuthorizationRequest::parse(&raw, "https://app.example/cb".into(), &client())
            .unwrap_err()
            .code
            .as_str()
    }

    #[test]
    fn the_example_of_rfc_7636_appendix_b() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert!(proves(verifier, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"));
        assert!(!proves(verifier, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cN"));
        for bad in [
            "a".repeat(42),
            "a".repeat(129),
            format!("{}=", "a".repeat(43)),
            format!("{} ", "a".repeat(43)),
        ] {
            assert!(!is_code_verifier(&bad));
        }
    }

    #[test]
    fn what_is_not_in_order_is_refused_with_the_codes_of_the_standards() {
        assert!(
            AuthorizationRequest::parse(&raw(), "https://app.example/cb".into(), &client()).is_ok()
        );
        assert_eq!(refused(|r| r.response_type = None), "invalid_request");
        assert_eq!(
            refused(|r| r.response_type = Some("token".into())),
            "unsupported_response_type"
        );
        assert_eq!(refused(|r| r.code_challenge = None), "invalid_request");
        assert_eq!(refused(|r| r.code_challenge = Some("short".into())), "invalid_request");
        assert_eq!(refused(|r| r.code_challenge_method = None), "invalid_request");
        assert_eq!(refused(|r| r.code_challenge_method = Some("plain".into())), "invalid_request");
        assert_eq!(refused(|r| r.response_mode = Some("fragment".into())), "invalid_request");
        assert_eq!(refused(|r| r.prompt = Some("none login".into())), "invalid_request");
        assert_eq!(refused(|r| r.max_age = Some("-1".into())), "invalid_request");
        assert_eq!(refused(|r| r.scope = Some("a\\b".into())), "invalid_scope");
        assert_eq!(refused(|r| r.tenant = Some("ACME".into())), "invalid_request");
        assert_eq!(
            refused(|r| r.audience = vec!["https://other.example".into()]),
            "invalid_target"
        );
        assert_eq!(
            refused(|r| r.authorization_details = Some("{}".into())),
            "invalid_authorization_details"
        );
        assert_eq!(
            refused(|r| r.authorization_details = Some("[".into())),
            "invalid_authorization_details"
        );
        assert_eq!(refused(|r| r.repeated = true), "invalid_request");
        assert_eq!(refused(|r| r.request = true), "request_not_supported");
        assert_eq!(refused(|r| r.request_uri = true), "request_uri_not_supported");
        assert_eq!(refused(|r| r.state = Some("x".repeat(2049))), "invalid_request");
    }
}
