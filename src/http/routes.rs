//! The whole route table, with who may call each.

use crate::http::{api, login, oauth, operation};
use actix_web::http::header;
use actix_web::{HttpResponse, Route, guard, web};
use std::collections::BTreeMap;

/// What a caller must show before anything else happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    Public,
    /// A client's authentication (RFC 6749 §2.3).
    Client,
    /// An access token (RFC 6750).
    Bearer,
    /// A client's authentication, or the very access token that is asked about.
    ClientOrBearer,
    /// The cookie of the browser that began a sign-in.
    Browser,
}

pub struct Endpoint {
    pub method: &'static str,
    pub path: &'static str,
    pub guard: Guard,
    route: fn() -> Route,
}

const fn endpoint(
    method: &'static str,
    path: &'static str,
    guard: Guard,
    route: fn() -> Route,
) -> Endpoint {
    Endpoint { method, path, guard, route }
}

/// GET, and HEAD with it (RFC 9110 §9.3.2), where asking changes nothing.
fn read() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

#[rustfmt::skip]
pub const ENDPOINTS: &[Endpoint] = &[
    endpoint("GET", "/.well-known/openid-configuration", Guard::Public, || read().to(oauth::metadata::show_metadata)),
    endpoint("GET", "/.well-known/oauth-authorization-server", Guard::Public, || read().to(oauth::metadata::show_metadata)),
    endpoint("GET", "/oauth2/jwks", Guard::Public, || read().to(oauth::metadata::show_jwks)),
    endpoint("GET", "/oauth2/authorize", Guard::Public, || web::get().to(oauth::authorize::begin_by_get)),
    endpoint("POST", "/oauth2/authorize", Guard::Public, || web::post().to(oauth::authorize::begin_by_post)),
    endpoint("POST", "/oauth2/token", Guard::Client, || web::post().to(oauth::token::issue_token)),
    endpoint("OPTIONS", "/oauth2/token", Guard::Public, || web::method(actix_web::http::Method::OPTIONS).to(oauth::cors::answer_preflight)),
    endpoint("POST", "/oauth2/introspect", Guard::Client, || web::post().to(oauth::introspect::introspect_token)),
    endpoint("POST", "/oauth2/revoke", Guard::Client, || web::post().to(oauth::revoke::revoke_token)),
    endpoint("OPTIONS", "/oauth2/revoke", Guard::Public, || web::method(actix_web::http::Method::OPTIONS).to(oauth::cors::answer_preflight)),
    endpoint("GET", "/oauth2/userinfo", Guard::Bearer, || web::get().to(oauth::userinfo::show_user_info)),
    endpoint("POST", "/oauth2/userinfo", Guard::Bearer, || web::post().to(oauth::userinfo::show_user_info)),
    endpoint("OPTIONS", "/oauth2/userinfo", Guard::Public, || web::method(actix_web::http::Method::OPTIONS).to(oauth::cors::answer_preflight)),
    endpoint("POST", "/v1/evaluation", Guard::ClientOrBearer, || web::post().to(api::evaluation::evaluate)),
    endpoint("POST", "/v1/evaluations", Guard::ClientOrBearer, || web::post().to(api::evaluation::evaluate_several)),
    endpoint("GET", "/login/callback", Guard::Browser, || web::get().to(login::finish_login)),
    endpoint("POST", "/login/provider", Guard::Browser, || web::post().to(login::continue_login)),
    endpoint("GET", "/healthz", Guard::Public, || read().to(operation::show_health)),
    endpoint("GET", "/readyz", Guard::Public, || read().to(operation::show_readiness)),
];

pub(super) fn configure(config: &mut web::ServiceConfig) {
    let mut by_path: BTreeMap<&str, Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in ENDPOINTS {
        by_path.entry(endpoint.path).or_default().push(endpoint);
    }
    for (path, endpoints) in by_path {
        let methods: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.method).collect();
        let allow = methods.join(", ");
        let mut resource = web::resource(path);
        for endpoint in endpoints {
            resource = resource.route((endpoint.route)());
        }
        let not_allowed = move || {
            let response = HttpResponse::MethodNotAllowed()
                .insert_header((header::ALLOW, allow.clone()))
                .finish();
            std::future::ready(response)
        };
        config.service(resource.default_service(web::to(not_allowed)));
    }
}
