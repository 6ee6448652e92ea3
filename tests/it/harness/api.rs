//! Requests to `/v1` and `/api/v1`, in JSON, and the problems that they answer.

use std::ops::{Deref, DerefMut};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use toml::{Table, toml};
use url::form_urlencoded;

use super::deployment::Deployment;
use super::flow::Request;
use super::http::{Answer, Browser};
use super::servers::Stores;
use super::world::World;
use super::{Need, SetUp};

impl Answer {
    /// A problem (RFC 9457) of this kind.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, kind: &str) -> Self {
        let answer = self.expect(status);
        let problem = answer.json();
        assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.body);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(problem["type"], format!("urn:rolemint:problem:{kind}"), "{}", answer.body);
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{}", answer.body);
        answer
    }

    /// Where the mistakes of a problem are, as JSON pointers.
    #[track_caller]
    pub(crate) fn pointers(&self) -> Vec<String> {
        let problem = self.json();
        let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("{}", self.body));
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
    }
}

impl World {
    /// The Authorization header of a confidential client.
    pub(crate) fn basic(&self, client: &str) -> String {
        let encoded =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair =
            format!("{}:{}", encoded(client), encoded(&self.deployment.client_secret(client)));
        format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()))
    }

    /// A JSON body under this Authorization header.
    pub(crate) async fn post_json(&self, authorization: &str, path: &str, body: &Value) -> Answer {
        let browser = self.browser();
        let request = browser.request(Method::POST, path).header(AUTHORIZATION, authorization);
        let request = request.header(CONTENT_TYPE, "application/json");
        browser.send(request.body(body.to_string())).await
    }
}

/// The role that administrators of the tests change: tenants may have their own version of it.
const ROLE: &str = "data-entry";
/// Its template, and that of one tenant, below `/api/v1`.
pub(crate) const BASE: &str = "/roles/data-entry/template";
pub(crate) const ACME: &str = "/roles/data-entry/tenants/acme/template";
/// The version that the deployment file has made.
pub(crate) const FIRST: Seen<'_> = Seen::Tag("\"1\"");

/// A world with administrators: of the platform (`root`, `petra`), of tenants (`ada`, `gus`), and one who may
/// only look (`otto`).
pub(crate) struct Administered(World);

impl SetUp for Administered {
    const NEEDS: &'static [Need] = World::NEEDS;

    async fn set_up(stores: Stores) -> Self {
        Self(World::with(stores, Deployment::with_administrators).await)
    }
}

impl Deref for Administered {
    type Target = World;
    fn deref(&self) -> &World {
        &self.0
    }
}

impl DerefMut for Administered {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.0
    }
}

impl Deployment {
    fn with_administrators(mut self) -> Self {
        let more: Table = toml! {
            [[roles]]
            role = "platform-admin"
            template = "templates/roles/platform-admin.json"
            crosses_tenants = true

            [[roles]]
            role = "auditor"
            template = "templates/roles/auditor.json"

            [[tenants]]
            id = "platform"
            name = "Platform"

            [[tenants]]
            id = "island"
            name = "Nobody signs in there"

            [[providers]]
            id = "asleep"
            kind = "oidc"
            issuer = "https://asleep.example"
            client_id = "rolemint"
            status = "suspended"
            keep_claims = ["roles"]
            tenants = { by = "domain", table = { "island.example" = "island" } }
            mappings = [{ claim = "/roles", contains = "data-entry", role = "data-entry" }]

            [[mappings]]
            claim = "/roles"
            contains = "platform-admin"
            role = "platform-admin"
            tenant = "platform"

            [[mappings]]
            claim = "/roles"
            contains = "auditor"
            role = "auditor"

            [ceiling]
            expires_in = 1800
            scope = ["reports:read"]
            [[ceiling.permissions]]
            role = "readwrite"
            cache = "calendar-events"
            item = { keyPrefix = "{{tenant.id}}:" }
            [[ceiling.permissions]]
            role = "readonly"
            cache = "reports"
            item = { keyPrefix = "{{tenant.id}}:" }
            [[ceiling.permissions]]
            role = "publishsubscribe"
            cache = "collaboration"
            topic = "{{tenant.id}}-events"
            [[ceiling.permissions]]
            role = "subscribeonly"
            cache = "news"
            topic = { namePrefix = "{{tenant.id}}-" }
        };
        for kind in ["roles", "tenants", "providers"] {
            let more = more[kind].as_array().unwrap().clone();
            self.0[kind].as_array_mut().unwrap().extend(more);
        }
        let roles = self.0["roles"].as_array_mut().unwrap();
        let role = roles.iter_mut().find(|role| role["role"].as_str() == Some(ROLE)).unwrap();
        role.as_table_mut().unwrap().insert("ceiling".to_owned(), more["ceiling"].clone());
        let provider = self.provider("corp");
        let mappings = more["mappings"].as_array().unwrap().clone();
        provider["mappings"].as_array_mut().unwrap().extend(mappings);
        let domains = provider["tenants"]["table"].as_table_mut().unwrap();
        domains.insert("platform.example".to_owned(), "platform".into());
        self
    }
}

impl Administered {
    /// A new access token of somebody of this tenant.
    pub(crate) async fn token(&self, username: &str, tenant: &str) -> String {
        let tokens = self.sign_in_at(&Request::web().with("tenant", tenant), username).await;
        tokens["access_token"].as_str().unwrap().to_owned()
    }

    /// What an administrator calls, below `/api/v1`.
    pub(crate) async fn admin(&self, username: &str, tenant: &str) -> Desk<'_> {
        self.desk(self.token(username, tenant).await)
    }

    pub(crate) fn desk(&self, token: String) -> Desk<'_> {
        Desk { world: self, token }
    }
}

/// Somebody with an access token, before `/api/v1`.
pub(crate) struct Desk<'a> {
    world: &'a World,
    pub(crate) token: String,
}

/// What a caller says that they have seen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen<'a> {
    Unsaid,
    Nothing,
    Tag(&'a str),
}

impl Desk<'_> {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, Seen::Unsaid, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, Seen::Unsaid, Some(body.to_string())).await
    }

    pub(crate) async fn post_seen(&self, path: &str, seen: Seen<'_>, body: &Value) -> Answer {
        self.call(Method::POST, path, seen, Some(body.to_string())).await
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        seen: Seen<'_>,
        body: Option<String>,
    ) -> Answer {
        let browser = self.world.browser();
        let request = self.request(&browser, method, path);
        let request = match seen {
            Seen::Unsaid => request,
            Seen::Nothing => request.header(IF_NONE_MATCH, "*"),
            Seen::Tag(tag) => request.header(IF_MATCH, tag),
        };
        let request = match body {
            None => request,
            Some(body) => request.header(CONTENT_TYPE, "application/json").body(body),
        };
        browser.send(request).await
    }

    pub(crate) fn request(&self, browser: &Browser, method: Method, path: &str) -> RequestBuilder {
        browser.request(method, &format!("/api/v1{path}")).bearer_auth(&self.token)
    }
}

pub(crate) fn reading(cache: &str) -> Value {
    json!({ "role": "readonly", "cache": cache, "item": { "keyPrefix": "{{tenant.id}}:" } })
}

/// What `data-entry` begins with, and these permissions.
pub(crate) fn document(more: &[Value]) -> Value {
    let mut permissions = vec![
        reading("calendar-events"),
        json!({ "role": "publishsubscribe", "cache": "collaboration", "topic": "{{tenant.id}}-events" }),
    ];
    permissions.extend(more.iter().cloned());
    json!({ "description": "Enter data", "expires_in": 900, "permissions": permissions })
}

pub(crate) fn publication(document: &Value) -> Value {
    json!({ "document": document, "reason": "as they asked", "confirm_widening": true })
}

pub(crate) async fn publish(
    desk: &Desk<'_>,
    template: &str,
    seen: Seen<'_>,
    document: &Value,
) -> Answer {
    desk.post_seen(&format!("{template}/publish"), seen, &publication(document)).await
}
