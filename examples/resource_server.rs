//! A resource server that checks Rolemint's access tokens by itself: by signature, by claims, and by what it
//! hears was revoked. It never asks about a token.
//!
//! `cargo run --example resource_server` beside `rolemint dev`, or configured by the environment: see
//! [`Configuration`]. The HTTP server is actix-web here; the verifier needs none.
#![expect(clippy::print_stdout, reason = "it tells whoever tries it what to try")]

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Path};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, ResponseError, web};
use rolemint::domain::secret::Secret;
use rolemint::verifier::{
    Follow, INSUFFICIENT_SCOPE, NotVerified, OnStale, Settings, Verified, Verifier, bearer,
};
use serde_json::json;
use std::error::Error;
use std::net::TcpListener;
use std::time::Duration;

/// Where an environment variable says nothing, it fits `rolemint dev`.
struct Configuration {
    settings: Settings,
    listen: String,
}

impl Configuration {
    fn from_environment() -> Result<Self, Box<dyn Error>> {
        let variable = |name: &str, usual: &str| std::env::var(name).unwrap_or(usual.to_owned());
        let issuer = variable("ISSUER", "http://127.0.0.1:8080");
        let audience = variable("AUDIENCE", &issuer);
        let client_id = variable("CLIENT_ID", "demo-backend");
        let client_secret = Secret::new(variable("CLIENT_SECRET", "demo-backend-secret"));
        let mut settings = Settings::new(issuer, audience, client_id, client_secret);
        settings.reader = Some(variable("READER", "example-1"));
        if let Ok(milliseconds) = std::env::var("STALE_AFTER_MS") {
            settings.stale_after = Duration::from_millis(milliseconds.parse()?);
        }
        if let Ok(milliseconds) = std::env::var("SNAPSHOT_EVERY_MS") {
            settings.follow =
                Follow::Snapshot { every: Duration::from_millis(milliseconds.parse()?) };
        }
        Ok(Self { settings, listen: variable("LISTEN", "127.0.0.1:8090") })
    }
}

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    NotVerified(#[from] NotVerified),
    #[error("the token does not allow this")]
    Forbidden,
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::NotVerified(error) => {
                StatusCode::from_u16(error.status()).unwrap_or(StatusCode::UNAUTHORIZED)
            }
            Self::Forbidden => StatusCode::FORBIDDEN,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let challenge = match self {
            Self::NotVerified(error) => error.www_authenticate(),
            Self::Forbidden => Some(INSUFFICIENT_SCOPE),
        };
        let mut response = HttpResponse::build(self.status_code());
        match challenge {
            Some(challenge) => response.insert_header((header::WWW_AUTHENTICATE, challenge)),
            // It may go well in a moment.
            None => response.insert_header((header::RETRY_AFTER, "1")),
        };
        response.json(json!({ "error": self.to_string() }))
    }
}

async fn verified(
    request: &HttpRequest,
    verifier: &Verifier,
    on_stale: OnStale,
) -> Result<Verified, NotVerified> {
    let header = request.headers().get(header::AUTHORIZATION);
    let token = bearer(header.and_then(|value| value.to_str().ok()))?;
    verifier.verify(token, on_stale).await
}

/// Somebody's data: nothing is served while a token may have been revoked without our knowing.
async fn show_item(
    request: HttpRequest,
    item: Path<String>,
    verifier: Data<Verifier>,
) -> Result<HttpResponse, Refusal> {
    let token = verified(&request, &verifier, OnStale::Refuse).await?;
    if !token.allows("get", &json!({ "cache": "calendar-events", "item": *item })) {
        return Err(Refusal::Forbidden);
    }
    Ok(HttpResponse::Ok().json(json!({ "item": *item, "read_by": token.claims().sub })))
}

/// What does little harm: served on, although Rolemint is away.
async fn show_opening_hours(
    request: HttpRequest,
    verifier: Data<Verifier>,
) -> Result<HttpResponse, Refusal> {
    let token = verified(&request, &verifier, OnStale::Allow).await?;
    Ok(HttpResponse::Ok().json(json!({ "open": "always", "stale": token.is_stale() })))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_env_filter("info").with_ansi(false).init();
    let Configuration { settings, listen } = Configuration::from_environment()?;
    let issuer = settings.issuer.clone();
    let verifier = Data::new(Verifier::start(settings)?);
    let listener = TcpListener::bind(listen)?;
    let address = listener.local_addr()?;
    let server = HttpServer::new(move || {
        App::new()
            .app_data(verifier.clone())
            .route("/calendar/{item}", web::get().to(show_item))
            .route("/opening-hours", web::get().to(show_opening_hours))
    });
    let server = server.workers(2).listen(listener)?.run();
    println!("listening on http://{address}");
    println!("With an access token of {issuer} in $ACCESS:");
    println!("  curl -si -H \"Authorization: Bearer $ACCESS\" http://{address}/calendar/acme:7");
    println!("  curl -si -H \"Authorization: Bearer $ACCESS\" http://{address}/calendar/globex:7");
    println!("  curl -si -H \"Authorization: Bearer $ACCESS\" http://{address}/opening-hours");
    println!("Then revoke it, and stop the server, and try again.");
    Ok(server.await?)
}
