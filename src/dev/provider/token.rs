//! The token endpoint of the demo provider: a code and its verifier in, an ID token out.

use crate::dev::people::Person;
use crate::dev::provider::Provider;
use crate::dev::provider::application::Application;
use crate::dev::provider::issued::ACCESS_LIFETIME;
use crate::dev::provider::issued::Code;
use crate::dev::provider::parameters::Parameters;
use crate::domain::scope::ScopeSet;
use crate::domain::token::ID_TOKEN_TYPE;
use crate::signing::KeyError;
use crate::signing::random_text;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// An error of RFC 6749 §5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenError {
    pub(super) status: u16,
    pub(super) error: &'static str,
    pub(super) description: &'static str,
}

const fn refuse(error: &'static str, description: &'static str) -> TokenError {
    TokenError { status: 400, error, description }
}
const fn invalid_client(description: &'static str) -> TokenError {
    TokenError { status: 401, error: "invalid_client", description }
}
const fn failed(_: KeyError) -> TokenError {
    TokenError { status: 500, error: "server_error", description: "signing failed" }
}

/// The application that speaks, by exactly one method.
fn authenticate(
    authorization: Option<&str>,
    form: &Parameters,
) -> Result<&'static Application, TokenError> {
    let (id, secret) = if let Some(header) = authorization {
        if form.find("client_secret").is_some() {
            return Err(refuse("invalid_request", "more than one client authentication"));
        }
        let (id, secret) = basic(header).ok_or(invalid_client("malformed credentials"))?;
        if form.find("client_id").is_some_and(|other| other != id) {
            return Err(refuse("invalid_request", "client_id differs from the credentials"));
        }
        (id, Some(secret))
    } else {
        let id = form.find("client_id").ok_or(invalid_client("no client authentication"))?;
        (id.to_owned(), form.find("client_secret").map(str::to_owned))
    };
    Application::find(&id)
        .filter(|application| application.is_proved_by(secret.as_deref()))
        .ok_or(invalid_client("unknown client or wrong secret"))
}

/// RFC 6749 §2.3.1: both halves are form-encoded before they are put together.
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, credentials) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64.decode(credentials.trim().as_bytes()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decode = |part: &str| {
        let mut pairs = url::form_urlencoded::parse(part.as_bytes());
        let (name, value) = pairs.next()?;
        (value.is_empty() && pairs.next().is_none()).then(|| name.into_owned())
    };
    Some((decode(id)?, decode(secret)?))
}

/// RFC 7636 §4.1 and §4.6.
fn verifier_fits(verifier: &str, challenge: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    (43..=128).contains(&verifier.len())
        && verifier.bytes().all(plain)
        && BASE64URL_NOPAD.encode(&Sha256::digest(verifier)) == challenge
}

/// What the scopes open, as the ID token and userinfo tell it. Roles are the applications' business
/// and always told.
pub(super) fn claims_of(person: &Person, scope: &ScopeSet) -> Map<String, Value> {
    let mut claims = Map::new();
    let mut insert = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    insert("sub", json!(person.subject));
    insert("roles", json!(person.roles));
    if scope.contains("profile") {
        insert("name", json!(person.name));
    }
    if scope.contains("email") {
        insert("email", json!(person.username));
        insert("email_verified", json!(true));
    }
    claims
}

/// `at_hash` (OpenID Connect Core §3.1.3.6).
fn access_token_hash(token: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(token).into();
    BASE64URL_NOPAD.encode(digest.first_chunk::<16>().map_or(&[], |half| half.as_slice()))
}

pub(super) fn answer(
    provider: &Provider,
    authorization: Option<&str>,
    body: &[u8],
) -> Result<Value, TokenError> {
    let form = Parameters::parse(body).ok_or(refuse("invalid_request", "repeated parameter"))?;
    let application = authenticate(authorization, &form)?;
    let required = |name| form.find(name).ok_or(refuse("invalid_request", "missing parameter"));
    if required("grant_type")? != "authorization_code" {
        return Err(refuse("unsupported_grant_type", "only authorization_code"));
    }
    let (text, redirect_uri) = (required("code")?, required("redirect_uri")?);
    let verifier = required("code_verifier")?;
    let now = provider.now();
    let code = provider
        .issued()
        .redeem(text, application, now)
        .filter(|code| code.redirect_uri == redirect_uri)
        .filter(|code| verifier_fits(verifier, &code.challenge))
        .ok_or(refuse("invalid_grant", "the code is unknown, spent, expired or not yours"))?;
    let access_token = random_text("").map_err(failed)?.reveal().clone();
    let id_token = id_token(provider, &code, &access_token, now).map_err(failed)?;
    let scope = code.scope.to_string();
    provider
        .issued()
        .insert_access(access_token.clone(), text.to_owned(), (code.person, code.scope), now)
        .map_err(|_| TokenError {
            status: 503,
            error: "temporarily_unavailable",
            description: "too many sign-ins at once",
        })?;
    Ok(json!({
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": ACCESS_LIFETIME,
        "scope": scope,
        "id_token": id_token,
    }))
}

fn id_token(
    provider: &Provider,
    code: &Code,
    access_token: &str,
    now: i64,
) -> Result<String, KeyError> {
    let mut claims = claims_of(code.person, &code.scope);
    let mut insert = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    insert("iss", json!(provider.issuer));
    insert("aud", json!(code.application.id));
    insert("iat", json!(now));
    insert("exp", json!(now.saturating_add(ACCESS_LIFETIME)));
    insert("auth_time", json!(code.auth_time));
    insert("at_hash", json!(access_token_hash(access_token)));
    insert("jti", json!(random_text("")?.reveal()));
    if let Some(nonce) = &code.nonce {
        insert("nonce", json!(nonce));
    }
    provider.key.sign(ID_TOKEN_TYPE, &claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_form_encoded_halves() {
        let header = |text: &str| basic(&format!("Basic {}", BASE64.encode(text.as_bytes())));
        assert_eq!(header("rolemint:dev-only"), Some(("rolemint".into(), "dev-only".into())));
        assert_eq!(header("a%20b:c%3Ad"), Some(("a b".into(), "c:d".into())));
        for bad in ["a", "a=b:c", "a&b:c", ":c", "a:"] {
            assert_eq!(header(bad), None, "{bad}");
        }
    }

    #[test]
    fn one_method_at_a_time_and_the_right_secret() {
        let at = |authorization: Option<&str>, form: &str| {
            let form = Parameters::parse(form.as_bytes()).unwrap();
            authenticate(authorization, &form).map(|application| application.id)
        };
        let basic = format!("basic {}", BASE64.encode(b"rolemint:dev-only"));
        let wrong = format!("Basic {}", BASE64.encode(b"rolemint:dev-onlz"));
        assert_eq!(at(Some(&basic), ""), Ok("rolemint"));
        assert_eq!(at(None, "client_id=rolemint&client_secret=dev-only"), Ok("rolemint"));
        assert_eq!(at(None, "client_id=demo-backend-app"), Ok("demo-backend-app"));
        for (authorization, form, error) in [
            (Some(wrong.as_str()), "", "invalid_client"),
            (Some(&basic), "client_secret=dev-only", "invalid_request"),
            (Some(&basic), "client_id=demo-backend-app", "invalid_request"),
            (Some("Bearer x"), "", "invalid_client"),
            (None, "client_id=rolemint", "invalid_client"),
            (None, "client_id=demo-backend-app&client_secret=x", "invalid_client"),
            (None, "client_id=nobody", "invalid_client"),
            (None, "", "invalid_client"),
        ] {
            assert_eq!(at(authorization, form).unwrap_err().error, error, "{form}");
        }
    }

    #[test]
    fn the_example_of_the_standard_verifies() {
        // RFC 7636, appendix B.
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert!(verifier_fits(verifier, challenge));
        assert!(!verifier_fits(challenge, challenge));
        assert!(!verifier_fits("", challenge));
    }
}
