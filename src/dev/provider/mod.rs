//! The demo's OpenID provider: a separate issuer, reached over HTTP like any other.
//!
//! Nobody proves anything here, she only says who she is; in everything else it is as strict as a
//! provider should be.

pub(crate) mod application;
mod authorize;
mod issued;
mod parameters;
mod token;

use crate::clock::Clock;
use crate::dev::people::PEOPLE;
use crate::dev::people::Person;
use crate::dev::provider::authorize::AuthorizationRequest;
use crate::dev::provider::authorize::ErrorRedirect;
use crate::dev::provider::authorize::Refusal;
use crate::dev::provider::issued::Code;
use crate::dev::provider::issued::Issued;
use crate::dev::provider::parameters::Parameters;
use crate::domain::client::SigningAlgorithm;
use crate::http::pages::view::engine;
use crate::http::pages::view::page;
use crate::http::pages::view::style_source;
use crate::http::pages::view::unrendered;
use crate::signing::SigningKey;
use crate::signing::random_text;
use actix_web::dev::Server;
use actix_web::guard::GuardContext;
use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::web;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use handlebars::Handlebars;
use serde_json::{Value, json};
use std::fmt;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const STYLE: &str = include_str!("../assets/provider.css");
const PAGE: &str = include_str!("../assets/provider.hbs");
const BODY_LIMIT: usize = 16 * 1024;

pub(crate) struct Provider {
    issuer: String,
    /// Where the server that this provider was started for takes its answers.
    callback: String,
    key: SigningKey,
    clock: Clock,
    templates: Handlebars<'static>,
    style: String,
    issued: Mutex<Issued>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<demo provider {}>", self.issuer)
    }
}

impl Provider {
    /// `port` is its own; `server_port` that of the server that people sign in to.
    pub(crate) fn new(port: u16, server_port: u16, clock: Clock) -> anyhow::Result<Self> {
        let pkcs8 = SigningKey::generate(SigningAlgorithm::RS256)?;
        let mut templates = engine();
        templates.register_template_string("page", PAGE)?;
        Ok(Self {
            issuer: format!("http://127.0.0.1:{port}"),
            callback: format!("http://127.0.0.1:{server_port}/login/callback"),
            key: SigningKey::parse(SigningAlgorithm::RS256, &pkcs8)?,
            clock,
            templates,
            style: style_source(STYLE),
            issued: Mutex::default(),
        })
    }

    fn now(&self) -> i64 {
        self.clock.now().timestamp()
    }

    fn issued(&self) -> MutexGuard<'_, Issued> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn metadata(&self) -> Value {
        let at = |path| format!("{}{path}", self.issuer);
        json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "userinfo_endpoint": at("/userinfo"),
            "jwks_uri": at("/jwks"),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "profile", "email"],
            "claims_supported": ["sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "at_hash",
                "jti", "name", "email", "email_verified", "roles"],
            "token_endpoint_auth_methods_supported":
                ["client_secret_basic", "client_secret_post", "none"],
            "code_challenge_methods_supported": ["S256"],
            "prompt_values_supported": ["none", "login", "select_account"],
            "authorization_response_iss_parameter_supported": true,
            "request_parameter_supported": false,
            "request_uri_parameter_supported": false,
        })
    }

    /// The sign-in page, or, without a request, a refusal.
    fn show(
        &self,
        status: StatusCode,
        request: Option<(&AuthorizationRequest, &str)>,
        problem: &str,
    ) -> HttpResponse {
        let people = request.map(|(request, _)| {
            let entry = |person: &Person| {
                json!({
                    "username": person.username,
                    "name": person.name,
                    "initial": person.initial(),
                    "about": person.about,
                    "hinted": request.login_hint.as_deref() == Some(person.username),
                })
            };
            PEOPLE.iter().map(entry).collect::<Vec<_>>()
        });
        let values = json!({
            "style": STYLE,
            "problem": problem,
            "people": people.unwrap_or_default(),
            "application": request.map(|(request, _)| request.application.name).unwrap_or_default(),
            "query": request.map(|(_, query)| query).unwrap_or_default(),
        });
        // No `form-action`: browsers hold the redirects after the form to it, and these end at the
        // redirect URI of an application that this provider knows nothing of.
        let sources = format!("style-src {}; img-src data:", self.style);
        match self.templates.render("page", &values) {
            Ok(html) => page(status, &sources, html),
            Err(error) => unrendered(&error),
        }
    }

    fn redirect(&self, uri: &str, answer: &[(&str, &str)], state: Option<&str>) -> HttpResponse {
        match authorize::location(uri, answer, state, &self.issuer) {
            Some(location) => HttpResponse::SeeOther()
                .insert_header((header::LOCATION, location))
                .insert_header((header::CACHE_CONTROL, "no-store"))
                .insert_header((header::REFERRER_POLICY, "no-referrer"))
                .finish(),
            None => self.show(StatusCode::BAD_REQUEST, None, "The redirect_uri is not a URL."),
        }
    }

    fn redirect_error(&self, error: &ErrorRedirect) -> HttpResponse {
        let answer = [("error", error.error), ("error_description", error.description)];
        self.redirect(&error.redirect_uri, &answer, error.state.as_deref())
    }

    fn refuse(&self, refusal: &Refusal) -> HttpResponse {
        match refusal {
            Refusal::Page(problem) => self.show(StatusCode::BAD_REQUEST, None, problem),
            Refusal::Redirect(error) => self.redirect_error(error),
        }
    }

    fn sign_in(&self, request: AuthorizationRequest, person: &'static Person) -> HttpResponse {
        let now = self.now();
        let Ok(text) = random_text("") else {
            return self.redirect_error(&request.refuse("server_error", "no random bytes"));
        };
        let AuthorizationRequest {
            application, redirect_uri, state, nonce, scope, challenge, ..
        } = request;
        let code = Code {
            application,
            redirect_uri: redirect_uri.clone(),
            challenge,
            nonce,
            scope,
            person,
            auth_time: now,
        };
        let inserted = self.issued().insert_code(text.reveal().clone(), code, now);
        if inserted.is_err() {
            return self.redirect_error(&ErrorRedirect {
                redirect_uri,
                state,
                error: "temporarily_unavailable",
                description: "too many sign-ins at once",
            });
        }
        self.redirect(&redirect_uri, &[("code", text.reveal())], state.as_deref())
    }
}

/// Serves the provider on a listener that is bound already, so that its port is known.
pub(crate) fn serve(provider: Provider, listener: TcpListener) -> anyhow::Result<Server> {
    anyhow::ensure!(listener.local_addr()?.ip().is_loopback(), "the demo stays on this machine");
    let provider: web::Data<Provider> = Arc::new(provider).into();
    let server = HttpServer::new(move || {
        let host = provider.issuer.trim_start_matches("http://").to_owned();
        App::new().app_data(provider.clone()).app_data(web::PayloadConfig::new(BODY_LIMIT)).service(
            web::scope("")
                .guard(actix_web::guard::fn_guard(move |context| is_meant(context, &host)))
                .route("/.well-known/openid-configuration", web::get().to(metadata))
                .route("/jwks", web::get().to(jwks))
                .route("/authorize", web::get().to(show_sign_in))
                .route("/authorize", web::post().to(take_sign_in))
                .route("/token", web::post().to(token))
                .route("/userinfo", web::get().to(userinfo))
                .route("/userinfo", web::post().to(userinfo)),
        )
    });
    Ok(server.workers(1).disable_signals().listen(listener)?.run())
}

/// SECURITY: a site whose name is pointed at this machine (DNS rebinding) would otherwise read the
/// pages of a provider that lets everybody in.
fn is_meant(context: &GuardContext<'_>, host: &str) -> bool {
    let named = context.head().headers().get(header::HOST).and_then(|value| value.to_str().ok());
    named == Some(host)
}

async fn metadata(provider: web::Data<Provider>) -> HttpResponse {
    HttpResponse::Ok().json(provider.metadata())
}

async fn jwks(provider: web::Data<Provider>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "keys": [provider.key.jwk()] }))
}

async fn show_sign_in(http: HttpRequest, provider: web::Data<Provider>) -> HttpResponse {
    let query = http.query_string();
    match authorize::parse(query, &provider.callback) {
        Err(refusal) => provider.refuse(&refusal),
        // There are no sessions here: everybody signs in each time.
        Ok(request) if request.silent => {
            provider.redirect_error(&request.refuse("login_required", "nobody is signed in here"))
        }
        Ok(request) => provider.show(StatusCode::OK, Some((&request, query)), ""),
    }
}

async fn take_sign_in(
    http: HttpRequest,
    body: web::Bytes,
    provider: web::Data<Provider>,
) -> HttpResponse {
    let query = http.query_string();
    // SECURITY: another site may not choose who signs in. Browsers say where a form comes from.
    let site = http.headers().get("sec-fetch-site").and_then(|value| value.to_str().ok());
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        let problem = "This sign-in was not begun on this page.";
        return provider.show(StatusCode::FORBIDDEN, None, problem);
    }
    let request = match authorize::parse(query, &provider.callback) {
        Ok(request) => request,
        Err(refusal) => return provider.refuse(&refusal),
    };
    let form = Parameters::parse(&body);
    let username = form.as_ref().and_then(|form| form.find("username")).unwrap_or_default();
    let again = |status, problem| provider.show(status, Some((&request, query)), problem);
    match Person::find(username) {
        None => again(StatusCode::BAD_REQUEST, "There is nobody of that name here."),
        Some(person) => provider.sign_in(request, person),
    }
}

async fn token(http: HttpRequest, body: web::Bytes, provider: web::Data<Provider>) -> HttpResponse {
    let authorization = http.headers().get(header::AUTHORIZATION);
    // A header that is no text is no credential; it must not count as absent.
    let authorization = authorization.map(|value| value.to_str().unwrap_or_default());
    let (status, json) = match token::answer(&provider, authorization, &body) {
        Ok(json) => (200, json),
        Err(error) => {
            (error.status, json!({ "error": error.error, "error_description": error.description }))
        }
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"token\""));
    }
    response.json(json)
}

async fn userinfo(http: HttpRequest, provider: web::Data<Provider>) -> HttpResponse {
    let header = http.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.split_once(' '));
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let now = provider.now();
    let found = token.and_then(|(_, token)| provider.issued().find_access(token, now).cloned());
    match found {
        Some(access) => HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(token::claims_of(access.person, &access.scope)),
        None => HttpResponse::Unauthorized()
            .insert_header((header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""))
            .finish(),
    }
}

#[cfg(test)]
mod tests;
