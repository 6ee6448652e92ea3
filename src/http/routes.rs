//! The whole route table, with who may call each.

use crate::http::{api, backchannel_logout, login, metrics, oauth, operation};
use actix_web::http::header;
use actix_web::web::PayloadConfig;
use actix_web::{HttpResponse, Route, guard, web};
use std::collections::BTreeMap;

/// What a caller must show before anything else happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    Public,
    /// A client's authentication (RFC 6749 §2.3).
    Client,
    /// The authentication of a confidential client that introspects (RFC 7617).
    ResourceServer,
    /// An access token (RFC 6750).
    Bearer,
    /// A client's authentication, or the very access token that is asked about.
    ClientOrBearer,
    /// An access token for this server alone. What it may do depends on what is asked for.
    Admin,
    /// The token that is configured for metrics; without one there are none.
    Metrics,
    /// The cookie of the browser that began a sign-in.
    Browser,
    /// A logout token that the provider in the path has signed.
    Provider,
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

const ADMINISTRATION: &str = "/api/v1/";
/// Bytes of a body with a document, which may be a draft that is still too long for a template.
const DOCUMENT_LIMIT: usize = 288 * 1024;

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
    endpoint("GET", "/v1/revocations", Guard::ResourceServer, || web::get().to(api::feed::stream)),
    endpoint("GET", "/v1/revocations/snapshot", Guard::ResourceServer, || read().to(api::feed::show_snapshot)),
    endpoint("POST", "/v1/revocations/applied", Guard::ResourceServer, || web::post().to(api::feed::hear_applied)),
    endpoint("GET", "/api/v1/revocations/readers", Guard::Admin, || read().to(api::readers::list_readers)),
    endpoint("GET", "/v1/resource-types", Guard::ResourceServer, || read().to(api::resource_types::show_resource_types)),
    endpoint("GET", "/api/v1/roles", Guard::Admin, || read().to(api::roles::list_roles)),
    endpoint("GET", "/api/v1/roles/{role}", Guard::Admin, || read().to(api::roles::show_role)),
    endpoint("GET", "/api/v1/roles/{role}/tenants", Guard::Admin, || read().to(api::roles::list_overrides)),
    endpoint("GET", "/api/v1/roles/{role}/tenants/{tenant}", Guard::Admin, || read().to(api::roles::show_role_of_tenant)),
    endpoint("GET", "/api/v1/tenants/{tenant}/roles", Guard::Admin, || read().to(api::roles::list_roles_of_tenant)),
    endpoint("GET", "/api/v1/roles/{role}/template", Guard::Admin, || read().to(api::versions::show_published)),
    endpoint("GET", "/api/v1/roles/{role}/template/versions", Guard::Admin, || read().to(api::versions::list_versions)),
    endpoint("GET", "/api/v1/roles/{role}/template/versions/{version}", Guard::Admin, || read().to(api::versions::show_version)),
    endpoint("POST", "/api/v1/roles/{role}/template/versions/{version}/recall", Guard::Admin, || web::post().to(api::publishing::recall)),
    endpoint("GET", "/api/v1/roles/{role}/template/diff", Guard::Admin, || read().to(api::versions::show_diff)),
    endpoint("GET", "/api/v1/roles/{role}/template/draft", Guard::Admin, || read().to(api::drafts::show_draft)),
    endpoint("PUT", "/api/v1/roles/{role}/template/draft", Guard::Admin, || web::put().to(api::drafts::save_draft)),
    endpoint("DELETE", "/api/v1/roles/{role}/template/draft", Guard::Admin, || web::delete().to(api::drafts::delete_draft)),
    endpoint("POST", "/api/v1/roles/{role}/template/review", Guard::Admin, || web::post().to(api::publishing::review)),
    endpoint("POST", "/api/v1/roles/{role}/template/preview", Guard::Admin, || web::post().to(api::previews::preview)),
    endpoint("POST", "/api/v1/roles/{role}/template/impact", Guard::Admin, || web::post().to(api::impact::stream)),
    endpoint("POST", "/api/v1/roles/{role}/template/publish", Guard::Admin, || web::post().to(api::publishing::publish)),
    endpoint("POST", "/api/v1/roles/{role}/template/rollback", Guard::Admin, || web::post().to(api::publishing::roll_back)),
    endpoint("GET", "/api/v1/roles/{role}/tenants/{tenant}/template", Guard::Admin, || read().to(api::versions::show_published)),
    endpoint("GET", "/api/v1/roles/{role}/tenants/{tenant}/template/versions", Guard::Admin, || read().to(api::versions::list_versions)),
    endpoint("GET", "/api/v1/roles/{role}/tenants/{tenant}/template/versions/{version}", Guard::Admin, || read().to(api::versions::show_version)),
    endpoint("POST", "/api/v1/roles/{role}/tenants/{tenant}/template/versions/{version}/recall", Guard::Admin, || web::post().to(api::publishing::recall)),
    endpoint("GET", "/api/v1/roles/{role}/tenants/{tenant}/template/diff", Guard::Admin, || read().to(api::versions::show_diff)),
    endpoint("GET", "/api/v1/roles/{role}/tenants/{tenant}/template/draft", Guard::Admin, || read().to(api::drafts::show_draft)),
    endpoint("PUT", "/api/v1/roles/{role}/tenants/{tenant}/template/draft", Guard::Admin, || web::put().to(api::drafts::save_draft)),
    endpoint("DELETE", "/api/v1/roles/{role}/tenants/{tenant}/template/draft", Guard::Admin, || web::delete().to(api::drafts::delete_draft)),
    endpoint("POST", "/api/v1/roles/{role}/tenants/{tenant}/template/review", Guard::Admin, || web::post().to(api::publishing::review)),
    endpoint("POST", "/api/v1/roles/{role}/tenants/{tenant}/template/preview", Guard::Admin, || web::post().to(api::previews::preview)),
    endpoint("POST", "/api/v1/roles/{role}/tenants/{tenant}/template/impact", Guard::Admin, || web::post().to(api::impact::stream)),
    endpoint("POST", "/api/v1/roles/{role}/tenants/{tenant}/template/publish", Guard::Admin, || web::post().to(api::publishing::publish)),
    endpoint("POST", "/api/v1/roles/{role}/tenants/{tenant}/template/rollback", Guard::Admin, || web::post().to(api::publishing::roll_back)),
    endpoint("POST", "/api/v1/roles/{role}/tenants/{tenant}/template/withdraw", Guard::Admin, || web::post().to(api::publishing::withdraw)),
    endpoint("GET", "/api/v1/sessions", Guard::Admin, || read().to(api::sessions::list_sessions)),
    endpoint("GET", "/api/v1/sessions/{session}", Guard::Admin, || read().to(api::sessions::show_session)),
    endpoint("POST", "/api/v1/sessions/{session}/revoke", Guard::Admin, || web::post().to(api::sessions::revoke_session)),
    endpoint("GET", "/api/v1/revocations", Guard::Admin, || read().to(api::revocations::list_revocations)),
    endpoint("POST", "/api/v1/revocations", Guard::Admin, || web::post().to(api::revocations::revoke)),
    endpoint("GET", "/login/callback", Guard::Browser, || web::get().to(login::finish_login)),
    endpoint("POST", "/login/provider", Guard::Browser, || web::post().to(login::continue_login)),
    endpoint("POST", "/login/backchannel-logout/{provider}", Guard::Provider, || web::post().to(backchannel_logout::hear_of_logout)),
    endpoint("GET", "/healthz", Guard::Public, || read().to(operation::show_health)),
    endpoint("GET", "/metrics", Guard::Metrics, || read().to(metrics::show_metrics)),
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
        if path.starts_with(ADMINISTRATION) {
            resource = resource.app_data(PayloadConfig::new(DOCUMENT_LIMIT));
        }
        if endpoints.iter().any(|endpoint| endpoint.guard == Guard::Provider) {
            resource = resource.app_data(PayloadConfig::new(backchannel_logout::LIMIT));
        }
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
