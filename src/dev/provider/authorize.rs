//! What an application asks for at the authorization endpoint, and every reason to refuse it.

use crate::dev::provider::application::Application;
use crate::dev::provider::parameters::Parameters;
use crate::domain::scope::ScopeSet;
use url::Url;

#[derive(Debug)]
pub(super) struct AuthorizationRequest {
    pub(super) application: &'static Application,
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) scope: ScopeSet,
    pub(super) challenge: String,
    pub(super) login_hint: Option<String>,
    /// `prompt=none`: answer without showing anything.
    pub(super) silent: bool,
}

#[derive(Debug)]
pub(super) enum Refusal {
    /// SECURITY: nobody vouches for the redirect URI, so nobody is sent there.
    Page(&'static str),
    Redirect(ErrorRedirect),
}

#[derive(Debug)]
pub(super) struct ErrorRedirect {
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    pub(super) error: &'static str,
    pub(super) description: &'static str,
}

/// `callback` is the redirect URI of the server that this provider was started for.
pub(super) fn parse(query: &str, callback: &str) -> Result<AuthorizationRequest, Refusal> {
    let parameters = Parameters::parse(query.as_bytes())
        .ok_or(Refusal::Page("A parameter of the request is repeated."))?;
    let find = |name| parameters.find(name);
    let application = find("client_id")
        .and_then(Application::find)
        .ok_or(Refusal::Page("No application is registered under this client_id."))?;
    let redirect_uri = find("redirect_uri")
        .filter(|uri| application.accepts_redirect(uri, callback))
        .ok_or(Refusal::Page("This redirect_uri is not registered for the application."))?;
    let refuse = |error, description| {
        Refusal::Redirect(ErrorRedirect {
            redirect_uri: redirect_uri.to_owned(),
            state: find("state").map(str::to_owned),
            error,
            description,
        })
    };
    if find("request").is_some() {
        return Err(refuse("request_not_supported", "request objects are not supported"));
    }
    if find("request_uri").is_some() {
        return Err(refuse("request_uri_not_supported", "request objects are not supported"));
    }
    if find("response_type") != Some("code") {
        return Err(refuse("unsupported_response_type", "response_type must be code"));
    }
    if find("response_mode").is_some_and(|mode| mode != "query") {
        return Err(refuse("invalid_request", "response_mode must be query"));
    }
    let scope: ScopeSet = find("scope")
        .unwrap_or_default()
        .parse()
        .map_err(|_| refuse("invalid_scope", "scope is malformed"))?;
    if !scope.contains("openid") {
        return Err(refuse("invalid_scope", "scope must contain openid"));
    }
    let challenge =
        find("code_challenge").filter(|challenge| is_challenge(challenge)).ok_or_else(|| {
            refuse("invalid_request", "code_challenge must be a SHA-256 in base64url")
        })?;
    if find("code_challenge_method") != Some("S256") {
        return Err(refuse("invalid_request", "code_challenge_method must be S256"));
    }
    let prompts: Vec<&str> = find("prompt").unwrap_or_default().split(' ').collect();
    let silent = prompts.contains(&"none");
    if silent && prompts.len() > 1 {
        return Err(refuse("invalid_request", "prompt=none stands alone"));
    }
    Ok(AuthorizationRequest {
        application,
        redirect_uri: redirect_uri.to_owned(),
        state: find("state").map(str::to_owned),
        nonce: find("nonce").map(str::to_owned),
        scope,
        challenge: challenge.to_owned(),
        login_hint: find("login_hint").map(str::to_owned),
        silent,
    })
}

fn is_challenge(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

impl AuthorizationRequest {
    pub(super) fn refuse(self, error: &'static str, description: &'static str) -> ErrorRedirect {
        let Self { redirect_uri, state, .. } = self;
        ErrorRedirect { redirect_uri, state, error, description }
    }
}

/// Where the browser goes with an answer: `iss` is always in it (RFC 9207). None: no URL.
pub(super) fn location(
    redirect_uri: &str,
    answer: &[(&str, &str)],
    state: Option<&str>,
    issuer: &str,
) -> Option<String> {
    let mut url = Url::parse(redirect_uri).ok()?;
    let mut query = url.query_pairs_mut();
    query.extend_pairs(answer);
    if let Some(state) = state {
        query.append_pair("state", state);
    }
    query.append_pair("iss", issuer);
    drop(query);
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLBACK: &str = "http://127.0.0.1:8080/login/callback";
    const GOOD: [(&str, &str); 8] = [
        ("client_id", "rolemint"),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("scope", "openid email"),
        ("state", "s"),
        ("nonce", "n"),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_challenge_method", "S256"),
    ];

    fn with(changes: &[(&str, &str)]) -> Result<AuthorizationRequest, Refusal> {
        let kept = GOOD.iter().filter(|(name, _)| changes.iter().all(|(other, _)| other != name));
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(kept.chain(changes))
            .finish();
        parse(&query, CALLBACK)
    }

    #[test]
    fn nobody_is_sent_to_an_address_that_is_not_registered() {
        assert!(with(&[]).is_ok());
        for redirect_uri in [
            "",
            "http://127.0.0.1:8080/login/callback/",
            "http://127.0.0.1:8081/login/callback",
            "http://127.0.0.1:8080/login/callback?x=1",
            "http://localhost:8080/login/callback",
            "https://evil.example/login/callback",
        ] {
            let refused = with(&[("redirect_uri", redirect_uri)]);
            assert!(matches!(refused, Err(Refusal::Page(_))), "{redirect_uri}");
        }
        assert!(matches!(with(&[("client_id", "other")]), Err(Refusal::Page(_))));
        let twice = with(&[("state", "a"), ("state", "b")]);
        assert!(matches!(twice, Err(Refusal::Page(_))));
    }

    #[test]
    fn an_application_elsewhere_may_listen_on_any_loopback_port() {
        let at = |uri| with(&[("client_id", "demo-backend-app"), ("redirect_uri", uri)]);
        for good in ["http://127.0.0.1:1234/cb", "http://localhost:9/x?y=z", "http://[::1]:80/cb"] {
            let accepted = at(good);
            assert!(accepted.is_ok(), "{good} {accepted:?}");
        }
        for bad in [
            "https://evil.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://u@127.0.0.1:1/cb",
            "http://127.0.0.1:1/cb#f",
            "http://127.0.0.1:1\\@evil.example/",
            "javascript:alert(1)",
        ] {
            assert!(matches!(at(bad), Err(Refusal::Page(_))), "{bad}");
        }
    }

    #[test]
    fn other_mistakes_go_back_to_the_application() {
        for (name, value, expected) in [
            ("response_type", "token", "unsupported_response_type"),
            ("response_mode", "fragment", "invalid_request"),
            ("scope", "email", "invalid_scope"),
            ("code_challenge", "", "invalid_request"),
            ("code_challenge", "short", "invalid_request"),
            ("code_challenge_method", "plain", "invalid_request"),
            ("code_challenge_method", "", "invalid_request"),
            ("prompt", "none login", "invalid_request"),
            ("request", "e30.e30.", "request_not_supported"),
            ("request_uri", "https://x.example", "request_uri_not_supported"),
        ] {
            match with(&[(name, value)]) {
                Err(Refusal::Redirect(refused)) => assert_eq!(refused.error, expected, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_answer_keeps_the_query_that_the_address_has() {
        let location = location("http://127.0.0.1:1/cb?a=b", &[("code", "c")], Some("s&x"), "i");
        assert_eq!(location.as_deref(), Some("http://127.0.0.1:1/cb?a=b&code=c&state=s%26x&iss=i"));
    }
}
