//! The steps of a client's way through the protocol, each with every part of it open to change.

use chrono::{DateTime, Utc};
use data_encoding::BASE64URL_NOPAD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, StatusCode};
use rolemint::domain::ids::SessionId;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use toml::{Table, toml};
use url::{Url, form_urlencoded};

use super::deployment::{Deployment, EXCHANGE};
use super::http::{Answer, Browser, parameter};
use super::world::World;
use super::{secrets, unguessable};

pub(crate) const REDIRECT_URI: &str = "http://127.0.0.1:49152/callback";
pub(crate) const PORTAL_URI: &str = "https://portal.example/callback";
pub(crate) const API: &str = "https://api.example";
pub(crate) const REPORTS: &str = "https://reports.example";
pub(crate) const APP_ORIGIN: &str = "https://app.example";
pub(crate) const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

type Pairs<'a> = [(&'a str, &'a str)];

impl Deployment {
    /// Beside `web` and `backend`: a client of each kind, and a role with scopes.
    #[must_use]
    pub(crate) fn with_every_kind_of_client(mut self) -> Self {
        let more: Table = toml! {
            [[roles]]
            role = "clerk"
            template = "templates/roles/clerk.json"

            [[clients]]
            id = "portal"
            name = "Portal"
            authentication = "client_secret_basic"
            grants = ["authorization_code", "refresh_token", "token-exchange"]
            redirect_uris = ["https://portal.example/callback", "https://portal.example/other?fixed=1"]
            audiences = ["https://api.example", "https://reports.example"]
            exchange = { access_tokens = true }

            [[clients]]
            id = "posting"
            name = "Sends its secret in the body"
            authentication = "client_secret_post"
            grants = ["authorization_code"]
            redirect_uris = ["https://posting.example/callback"]

            [[clients]]
            id = "api"
            name = "Resource server"
            authentication = "client_secret_basic"
            grants = []
            introspects = ["https://api.example"]

            [[clients]]
            id = "narrow"
            name = "Exchanges its own tokens only"
            authentication = "client_secret_basic"
            grants = ["token-exchange"]
            exchange = { access_tokens = true }

            [[clients]]
            id = "neighbour"
            name = "Another public client"
            authentication = "none"
            grants = ["authorization_code", "refresh_token"]
            redirect_uris = ["http://127.0.0.1:7777/callback", "com.example.neighbour:/callback"]
            lifetimes = { session_absolute = 3600 }

            [[clients]]
            id = "opaque"
            name = "Opaque tokens"
            authentication = "none"
            grants = ["authorization_code", "refresh_token"]
            redirect_uris = ["http://127.0.0.1/callback"]
            token_format = "opaque"

            [[clients]]
            id = "es256"
            name = "Tokens with ES256"
            authentication = "none"
            grants = ["authorization_code"]
            redirect_uris = ["http://127.0.0.1/callback"]
            algorithm = "ES256"

            [[clients]]
            id = "rs256"
            name = "Tokens with RS256"
            authentication = "none"
            grants = ["authorization_code"]
            redirect_uris = ["http://127.0.0.1/callback"]
            algorithm = "RS256"
        };
        for kind in ["roles", "clients"] {
            let more = more[kind].as_array().unwrap().clone();
            self.0[kind].as_array_mut().unwrap().extend(more);
        }
        for id in ["portal", "posting", "api", "narrow"] {
            // Not the same when it is form-encoded, as RFC 6749 §2.3.1 wants it in the header.
            let secret = format!("{}+/%41:é", unguessable());
            secrets::note(&secret);
            self.client(id).insert("client_secret".to_owned(), secret.into());
        }
        let rule = toml! { claim = "/roles" contains = "clerk" role = "clerk" };
        let mappings = self.provider("corp")["mappings"].as_array_mut().unwrap();
        mappings.push(rule.into());
        let origins = toml::Value::Array(vec![APP_ORIGIN.into()]);
        self.client("web").insert("origins".to_owned(), origins);
        self
    }
}

/// An authorization code, and what redeems it.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) client: String,
    pub(crate) redirect_uri: String,
    pub(crate) value: String,
    pub(crate) verifier: String,
}

/// The parameters of an authorization request that is in order, each to be changed, removed (`None`) or added.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) verifier: String,
}

impl Request {
    pub(crate) fn of(client: &str, redirect_uri: &str) -> Self {
        let verifier = unguessable();
        secrets::note(&verifier);
        let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(&verifier));
        let parameters = [
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", redirect_uri),
            ("scope", "openid"),
            ("state", "st4te"),
            ("tenant", "acme"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self { parameters: parameters.map(owned).to_vec(), verifier }
    }

    pub(crate) fn web() -> Self {
        Self::of("web", REDIRECT_URI)
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.adding(name, value)
    }

    #[must_use]
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.parameters.retain(|(other, _)| other != name);
        self
    }

    /// Beside what may stand there under the same name.
    #[must_use]
    pub(crate) fn adding(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn query(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.parameters).finish()
    }

    pub(crate) fn path(&self) -> String {
        format!("/oauth2/authorize?{}", self.query())
    }

    fn value(&self, name: &str) -> String {
        let mut found = self.parameters.iter().filter(|(other, _)| other == name);
        found.next().unwrap().1.clone()
    }
}

impl World {
    /// Where the person's browser comes back to the application.
    pub(crate) async fn landing(&self, request: &Request, username: &str) -> Url {
        self.landing_in(&self.browser(), request, username).await
    }

    /// In a browser that may be signed in at the provider already.
    pub(crate) async fn landing_in(
        &self,
        browser: &Browser,
        request: &Request,
        username: &str,
    ) -> Url {
        let start = browser.url(&request.path());
        let until = request.value("redirect_uri");
        match browser.walk(start, username, &until).await {
            Ok(landing) => landing,
            Err(page) => panic!("{} at {}: {}", page.status, page.url, page.body),
        }
    }

    pub(crate) async fn code(&self, request: &Request, username: &str) -> Code {
        let landing = self.landing(request, username).await;
        let code = parameter(&landing, "code").unwrap_or_else(|| panic!("no code in {landing}"));
        secrets::note(&code);
        Code {
            client: request.value("client_id"),
            redirect_uri: request.value("redirect_uri"),
            value: code,
            verifier: request.verifier.clone(),
        }
    }

    /// A form to the token endpoint, the client's secret in the header where it has one.
    pub(crate) async fn token(&self, client: &str, form: &Pairs<'_>) -> Answer {
        self.post_as(client, "/oauth2/token", form).await
    }

    /// A form of this client's, authenticated as it is declared.
    pub(crate) async fn post_as(&self, client: &str, path: &str, form: &Pairs<'_>) -> Answer {
        self.post_at(&self.browser(), client, path, form).await
    }

    /// As [`World::post_as`], to the server that the browser is at.
    pub(crate) async fn post_at(
        &self,
        browser: &Browser,
        client: &str,
        path: &str,
        form: &Pairs<'_>,
    ) -> Answer {
        let declared = self.deployment.clone().client(client).clone();
        if !declared.contains_key("client_secret") {
            return browser.post(path, &[&[("client_id", client)], form].concat()).await;
        }
        let secret = self.deployment.client_secret(client);
        browser.post_as((client, &secret), path, form).await
    }

    pub(crate) async fn redeem(&self, code: &Code) -> Answer {
        self.token(&code.client, &code.form()).await
    }

    /// A person signs in to the public client `web`; the token answer.
    pub(crate) async fn sign_in(&self, username: &str) -> Value {
        self.sign_in_at(&Request::web(), username).await
    }

    pub(crate) async fn sign_in_at(&self, request: &Request, username: &str) -> Value {
        let code = self.code(request, username).await;
        self.redeem(&code).await.expect(200).json()
    }

    pub(crate) async fn refresh(&self, client: &str, token: &Value) -> Answer {
        self.refresh_for(client, token, &[]).await
    }

    pub(crate) async fn refresh_for(
        &self,
        client: &str,
        token: &Value,
        more: &Pairs<'_>,
    ) -> Answer {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token.as_str().unwrap())];
        self.token(client, &[&form, more].concat()).await
    }

    /// What the back end, which may check tokens for the issuer, is told.
    pub(crate) async fn introspect(&self, token: &Value) -> Value {
        self.introspect_as("backend", token.as_str().unwrap()).await
    }

    pub(crate) async fn introspect_as(&self, client: &str, token: &str) -> Value {
        let answer = self.post_as(client, "/oauth2/introspect", &[("token", token)]).await;
        answer.expect(200).json()
    }

    pub(crate) async fn is_active(&self, token: &Value) -> bool {
        let answer = self.introspect(token).await;
        let active = answer["active"].as_bool().unwrap();
        assert!(active || answer == json!({ "active": false }), "{answer}");
        active
    }

    pub(crate) async fn revoke(&self, client: &str, token: &Value) -> Answer {
        let form = [("token", token.as_str().unwrap())];
        self.post_as(client, "/oauth2/revoke", &form).await
    }

    pub(crate) async fn exchange(
        &self,
        client: &str,
        token: &str,
        kind: &str,
        more: &Pairs<'_>,
    ) -> Answer {
        let form =
            [("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", kind)];
        self.token(client, &[&form, more].concat()).await
    }

    /// An ID token as the provider gives it to the web app, fresh by this world's clock.
    pub(crate) async fn id_token(&self, username: &str, change: &Value) -> String {
        self.id_token_signed(username, change, &json!({})).await
    }

    pub(crate) async fn id_token_signed(
        &self,
        username: &str,
        change: &Value,
        how: &Value,
    ) -> String {
        let person = super::node::people()[username].clone();
        let now = self.clock.now().timestamp();
        let mut claims = json!({
            "iss": self.provider.issuer, "sub": username, "aud": "web-app", "iat": now, "exp": now + 600,
        });
        for source in [&person, change] {
            for (name, value) in source.as_object().unwrap() {
                claims[name] = value.clone();
            }
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let mut what = json!({ "claims": claims });
        for (name, value) in how.as_object().unwrap() {
            what[name] = value.clone();
        }
        self.provider.sign(&what).await
    }

    pub(crate) async fn user_info(&self, token: &Value) -> Answer {
        let token = token.as_str().unwrap();
        self.browser().bearer(Method::GET, "/oauth2/userinfo", token).await
    }

    /// A body that no form encoder would write.
    pub(crate) async fn post_body(&self, path: &str, kind: &str, body: Vec<u8>) -> Answer {
        let browser = self.browser();
        let request = browser.request(Method::POST, path).header(CONTENT_TYPE, kind).body(body);
        browser.send(request).await
    }

    /// With an `Authorization` header of the test's own making.
    pub(crate) async fn post_with(&self, header: &str, path: &str, form: &Pairs<'_>) -> Answer {
        let browser = self.browser();
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = browser.request(Method::POST, path).header(AUTHORIZATION, header);
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        browser.send(request.body(body)).await
    }
}

impl Code {
    pub(crate) fn form(&self) -> Vec<(&str, &str)> {
        vec![
            ("grant_type", "authorization_code"),
            ("code", &self.value),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", &self.verifier),
        ]
    }

    /// The form with one value changed, or left out where the new one is empty.
    pub(crate) fn form_with<'a>(&'a self, name: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut form = self.form();
        form.iter_mut().filter(|(other, _)| *other == name).for_each(|pair| pair.1 = value);
        form.retain(|(_, value)| !value.is_empty());
        form
    }
}

impl Browser {
    /// An authorization request, as far as this server's own answer to it.
    pub(crate) async fn authorize(&self, request: &Request) -> Answer {
        self.get(&request.path()).await
    }
}

impl Answer {
    /// Told to the person on a page, and to nobody else.
    #[track_caller]
    pub(crate) fn expect_page(self, status: u16) -> Self {
        let answer = self.expect(status);
        assert!(answer.location().is_none() && !answer.headers.contains_key("location"));
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        answer
    }

    /// Told to the client at its redirect URI; the error.
    #[track_caller]
    pub(crate) fn error_at(&self, redirect_uri: &str) -> String {
        assert_eq!(self.status, StatusCode::SEE_OTHER.as_u16(), "{}", self.body);
        let location = self.location().unwrap();
        error_in(&location, redirect_uri)
    }
}

/// The error with which a client's redirect URI was reached.
#[track_caller]
pub(crate) fn error_in(location: &Url, redirect_uri: &str) -> String {
    assert!(location.as_str().starts_with(redirect_uri), "{location}");
    assert_eq!(parameter(location, "code"), None, "{location}");
    assert!(parameter(location, "iss").is_some(), "RFC 9207: {location}");
    parameter(location, "error").unwrap_or_else(|| panic!("no error in {location}"))
}

/// The claims of a JWT, unverified.
pub(crate) fn claims(token: &Value) -> Value {
    part(token, 1)
}

pub(crate) fn header(token: &Value) -> Value {
    part(token, 0)
}

fn part(token: &Value, at: usize) -> Value {
    let part = token.as_str().unwrap().split('.').nth(at).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
}

/// A JWT whose header and claims are changed and whose signature stays.
pub(crate) fn forged(token: &Value, header_changes: &Value, claim_changes: &Value) -> String {
    let changed = |mut part: Value, changes: &Value| {
        for (name, value) in changes.as_object().unwrap() {
            part[name] = value.clone();
        }
        BASE64URL_NOPAD.encode(part.to_string().as_bytes())
    };
    let signature = token.as_str().unwrap().rsplit_once('.').unwrap().1;
    let (header, claims) =
        (changed(header(token), header_changes), changed(claims(token), claim_changes));
    format!("{header}.{claims}.{signature}")
}

/// The session of an access token.
pub(crate) fn session_of(token: &Value) -> SessionId {
    claims(token)["sid"].as_str().unwrap().parse().unwrap()
}

pub(crate) fn seconds(token: &Value, claim: &str) -> DateTime<Utc> {
    DateTime::from_timestamp(claims(token)[claim].as_i64().unwrap(), 0).unwrap()
}
