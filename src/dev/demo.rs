//! The sample web app at `/demo`: a public client that lives in the browser, and the two things
//! that a browser cannot do: check a token, and guard the items that a token opens.
//!
//! It is written as an application of somebody else would be: it speaks to the server over HTTP,
//! and of the crate it takes what a resource server takes, the permissions of `domain`.

use crate::dev::loopback::Request;
use crate::dev::loopback::send;
use crate::domain::permission::Pattern;
use crate::domain::permission::Permission;
use crate::domain::permission::PermissionSet;
use crate::domain::permission::Resource;
use crate::domain::permission::Vocabulary;
use actix_web::HttpResponse;
use actix_web::HttpResponseBuilder;
use actix_web::http::header;
use actix_web::web;
use actix_web::{HttpRequest, Responder};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use url::form_urlencoded;

pub(crate) const BACKEND_ID: &str = "demo-backend";
pub(crate) const BACKEND_SECRET: &str = "demo-backend-secret";

const PAGE: &str = include_str!("assets/demo.html");
const SCRIPT: &str = include_str!("assets/demo.js");
const STYLE: &str = include_str!("assets/demo.css");
const ICON: &str = include_str!("assets/icon.svg");
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";
/// Longer than any token that the server makes.
const BODY_LIMIT: usize = 64 * 1024;

/// The action that reading an item is.
const READ: &str = "get";

/// The confidential half of the sample app.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    /// Where the server listens on this machine.
    port: u16,
    vocabulary: Arc<Vocabulary>,
}

impl Backend {
    pub(crate) fn new(port: u16) -> Result<Self, toml::de::Error> {
        let vocabulary = toml::from_str(include_str!("../../templates/resources.toml"))?;
        Ok(Self { port, vocabulary: Arc::new(vocabulary) })
    }
}

/// Adds the sample app to the server that it demonstrates.
pub(crate) fn routes(config: &mut web::ServiceConfig, backend: Backend) {
    config.route("/", web::get().to(|| async { web::Redirect::to("/demo").see_other() }));
    config.service(
        web::scope("/demo")
            .app_data(web::Data::new(backend))
            .app_data(web::JsonConfig::default().limit(BODY_LIMIT))
            .route("", web::get().to(show))
            .route("/", web::get().to(show))
            .route("/callback", web::get().to(show))
            .route("/app.js", web::get().to(|| asset("text/javascript; charset=utf-8", SCRIPT)))
            .route("/app.css", web::get().to(|| asset("text/css; charset=utf-8", STYLE)))
            .route("/icon.svg", web::get().to(|| asset("image/svg+xml", ICON)))
            .route("/check", web::post().to(check))
            .route("/items/{cache}/{key:.+}", web::get().to(read_item)),
    );
}

fn secured(mut response: HttpResponseBuilder) -> HttpResponseBuilder {
    response
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    response
}

async fn show() -> impl Responder {
    secured(HttpResponse::Ok())
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_FRAME_OPTIONS, "DENY"))
        .body(PAGE)
}

fn asset(kind: &'static str, text: &'static str) -> Ready<HttpResponse> {
    ready(secured(HttpResponse::Ok()).insert_header((header::CONTENT_TYPE, kind)).body(text))
}

/// What introspection (RFC 7662) says of a token, as far as this app asks.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Checked {
    active: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<String>>,
    #[serde(default, skip_serializing)]
    authorization_details: Value,
}

async fn introspect(backend: &Backend, token: &str) -> io::Result<Checked> {
    let credentials = format!("{BACKEND_ID}:{BACKEND_SECRET}");
    let authorization = format!("Basic {}", BASE64.encode(credentials.as_bytes()));
    let mut form = form_urlencoded::Serializer::new(String::new());
    let body = form.append_pair("token", token).finish();
    let request = Request {
        method: "POST",
        target: "/oauth2/introspect",
        headers: &[
            ("authorization", &authorization),
            ("content-type", "application/x-www-form-urlencoded"),
            ("accept", "application/json"),
        ],
        body: &body,
    };
    let answer = send(backend.port, &request).await?;
    if answer.status != 200 {
        return Err(io::Error::other(format!("introspection answered {}", answer.status)));
    }
    serde_json::from_str(&answer.body).map_err(io::Error::other)
}

fn unavailable(error: &io::Error) -> HttpResponse {
    tracing::warn!(%error, "the sample app could not check a token");
    let why = "The sample app could not reach the server to check the token.";
    secured(HttpResponse::BadGateway()).json(json!({ "why": why }))
}

#[derive(Deserialize)]
struct CheckRequest {
    token: String,
}

async fn check(backend: web::Data<Backend>, request: web::Json<CheckRequest>) -> HttpResponse {
    match introspect(&backend, &request.token).await {
        Ok(checked) => secured(HttpResponse::Ok()).json(checked),
        Err(error) => unavailable(&error),
    }
}

/// A guarded resource: the item is there for whoever's token says so.
async fn read_item(
    http: HttpRequest,
    backend: web::Data<Backend>,
    path: web::Path<(String, String)>,
) -> HttpResponse {
    let (cache, key) = path.into_inner();
    let header = http.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = header.and_then(|value| value.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, token)) = bearer else {
        return secured(HttpResponse::Unauthorized())
            .insert_header((header::WWW_AUTHENTICATE, "Bearer"))
            .json(json!({ "allowed": false, "why": "There is no token with this request." }));
    };
    let checked = match introspect(&backend, token).await {
        Ok(checked) => checked,
        Err(error) => return unavailable(&error),
    };
    if !checked.active {
        return secured(HttpResponse::Unauthorized())
            .insert_header((header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""))
            .json(json!({ "allowed": false, "why": "The token is no longer active." }));
    }
    match decide(&checked.authorization_details, (&cache, &key), &backend.vocabulary) {
        Ok(()) => secured(HttpResponse::Ok()).json(json!({
            "allowed": true,
            "cache": cache,
            "key": key,
            "value": format!("Sample item {key}"),
        })),
        Err(why) => secured(HttpResponse::Forbidden())
            .insert_header((header::WWW_AUTHENTICATE, "Bearer error=\"insufficient_scope\""))
            .json(json!({ "allowed": false, "why": why })),
    }
}

/// Whether the permissions of a token let their bearer read this item; if not, why not.
fn decide(
    authorization_details: &Value,
    (cache, key): (&str, &str),
    vocabulary: &Vocabulary,
) -> Result<(), String> {
    // Fails closed: a permission that is not understood makes the whole set one that is not.
    let permissions = PermissionSet::parse(authorization_details, vocabulary)
        .map_err(|_| "the token holds permissions that this app does not know".to_owned())?;
    let item = Resource::new("cache", [("cache", cache), ("item", key)], vocabulary)
        .map_err(|_| format!("no item of `{cache}` can have that key"))?;
    if permissions.allows(&item, READ, vocabulary).is_some() {
        return Ok(());
    }
    let readable: Vec<String> = permissions
        .iter()
        .filter(|permission| reads(permission, vocabulary))
        .filter(|permission| {
            let own = pattern(permission, "cache");
            own.is_some_and(|own| own.matches(cache))
        })
        .filter_map(|permission| pattern(permission, "item").map(describe))
        .collect();
    Err(if readable.is_empty() {
        format!("your token reads no item of `{cache}`")
    } else {
        let readable = readable.join(" or ");
        format!("your token reads items of `{cache}` {readable}; `{key}` does not")
    })
}

fn reads(permission: &Permission, vocabulary: &Vocabulary) -> bool {
    let find = || {
        let cache = vocabulary.find("cache").filter(|_| permission.resource_type() == "cache")?;
        Some((cache.role(permission.role())?.actions, cache.action(READ)?.0))
    };
    find().is_some_and(|(actions, read)| read.is_subset(actions))
}

fn pattern<'a>(permission: &'a Permission, selector: &str) -> Option<&'a Pattern> {
    permission.selectors().find(|(name, _)| *name == selector).map(|(_, pattern)| pattern)
}

fn describe(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Exact(own) => format!("whose key is `{own}`"),
        Pattern::Prefix(prefix) => format!("whose key begins with `{prefix}`"),
        Pattern::All => "whatever their key".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::permission::tests::vocabulary;
    use actix_web::test::{TestRequest, call_service, init_service};
    use actix_web::{App, HttpServer};
    use std::net::{Ipv4Addr, TcpListener};

    fn details() -> Value {
        json!([
            { "type": "cache", "role": "readonly", "cache": "calendar-events", "item": { "keyPrefix": "acme:" } },
            { "type": "cache", "role": "writeonly", "cache": "reports", "item": { "all": true } },
            { "type": "topic", "role": "publishsubscribe", "cache": "collaboration", "topic": "acme-events" },
        ])
    }

    #[test]
    fn a_refusal_says_what_the_token_reads() {
        let vocabulary = vocabulary();
        let decide = |cache: &str, key: &str| decide(&details(), (cache, key), &vocabulary);
        assert_eq!(decide("calendar-events", "acme:7"), Ok(()));
        let why = "your token reads items of `calendar-events` whose key begins with `acme:`; `globex:7` does not";
        assert_eq!(decide("calendar-events", "globex:7"), Err(why.into()));
        for key in ["acme", "acme-corp:7", "acme-corp", "Acme:7", " acme:7"] {
            assert!(decide("calendar-events", key).is_err(), "{key}");
        }
        let nothing = Err("your token reads no item of `reports`".to_owned());
        assert_eq!(decide("reports", "acme:7"), nothing);
    }

    #[test]
    fn a_permission_that_is_not_understood_opens_nothing() {
        for selector in [
            json!(null),
            json!({}),
            json!({ "keyPrefix": "" , "all": true }),
            json!({ "all": "true" }),
            json!({ "keySuffix": "7" }),
            json!(["acme:7"]),
        ] {
            let detail =
                json!([{ "type": "cache", "role": "readonly", "cache": "c", "item": selector }]);
            assert!(decide(&detail, ("c", "acme:7"), &vocabulary()).is_err());
        }
        assert!(decide(&Value::Null, ("c", "k"), &vocabulary()).is_err());
    }

    async fn introspection(http: HttpRequest, body: String) -> HttpResponse {
        let expected = format!("Basic {}", BASE64.encode(b"demo-backend:demo-backend-secret"));
        assert_eq!(http.headers().get("authorization").unwrap(), expected.as_str());
        let active = body == "token=good%26token";
        let answer = if active {
            json!({ "active": true, "exp": 1, "tenant": "acme", "roles": ["data-entry"], "sub": "u_x",
                "authorization_details": details() })
        } else {
            json!({ "active": false })
        };
        HttpResponse::Ok().json(answer)
    }

    #[actix_web::test]
    async fn the_app_checks_a_token_and_guards_its_items() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = || App::new().route("/oauth2/introspect", web::post().to(introspection));
        let server = HttpServer::new(server).workers(1).disable_signals().listen(listener);
        actix_web::rt::spawn(server.unwrap().run());
        let app =
            init_service(App::new().configure(|c| routes(c, Backend::new(port).unwrap()))).await;
        for (token, expected) in [
            (
                "good&token",
                json!({ "active": true, "exp": 1, "tenant": "acme", "roles": ["data-entry"] }),
            ),
            ("other", json!({ "active": false })),
        ] {
            let request =
                TestRequest::post().uri("/demo/check").set_json(json!({ "token": token }));
            let response = call_service(&app, request.to_request()).await;
            let body: Value = actix_web::test::read_body_json(response).await;
            assert_eq!(body, expected);
        }
        for (uri, token, status) in [
            ("/demo/items/calendar-events/acme%3A7", Some("good&token"), 200),
            ("/demo/items/calendar-events/globex%3A7", Some("good&token"), 403),
            ("/demo/items/calendar-events/acme%3A7", Some("other"), 401),
            ("/demo/items/calendar-events/acme%3A7", None, 401),
        ] {
            let mut request = TestRequest::get().uri(uri);
            if let Some(token) = token {
                request = request.insert_header(("authorization", format!("Bearer {token}")));
            }
            assert_eq!(call_service(&app, request.to_request()).await.status(), status, "{uri}");
        }
    }

    #[actix_web::test]
    async fn the_page_and_all_that_it_loads_are_there_and_it_runs_no_other_script() {
        let app = init_service(App::new().configure(|c| routes(c, Backend::new(1).unwrap()))).await;
        for uri in
            ["/demo", "/demo/callback?code=x", "/demo/app.js", "/demo/app.css", "/demo/icon.svg"]
        {
            let response = call_service(&app, TestRequest::get().uri(uri).to_request()).await;
            assert_eq!(response.status(), 200, "{uri}");
            assert_eq!(response.headers().get("x-content-type-options").unwrap(), "nosniff");
        }
        assert!(POLICY.contains("script-src 'self'") && !POLICY.contains("unsafe"));
        for source in PAGE.split("src=\"").chain(PAGE.split("href=\"")).skip(1) {
            assert!(source.starts_with("/demo") || source.starts_with("<!doctype"), "{source}");
        }
        assert!(!PAGE.contains(" style=") && !PAGE.contains("onclick"));
        for id in [
            "sign-in",
            "who",
            "tenant",
            "roles",
            "permissions",
            "expires-in",
            "refresh",
            "check",
            "check-result",
            "other-tenant",
            "other-tenant-result",
            "sign-out",
            "sign-out-result",
            "refused",
        ] {
            assert!(PAGE.contains(&format!("data-testid=\"{id}\"")), "{id}");
        }
    }
}
