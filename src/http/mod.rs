//! The edge: parse, call one service function, render. The only module of the product that names `actix_web`.

mod address;
mod api;
mod backchannel_logout;
mod bearer;
mod body;
mod login;
mod metrics;
mod oauth;
mod operation;
pub mod pages;
mod parameters;
pub mod routes;

pub use crate::http::address::Proxies;

use crate::domain::secret::{Digest, Secret};
use crate::http::pages::Pages;
use crate::service::Service;
use actix_web::dev::Server;
use actix_web::middleware::{Condition, DefaultHeaders};
use actix_web::web::{Data, PayloadConfig, ServiceConfig};
use actix_web::{App, HttpServer};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// Routes beside those of the product: the demo's.
pub type ExtraRoutes = Arc<dyn Fn(&mut ServiceConfig) + Send + Sync>;

pub struct Settings {
    /// None: one for each core.
    pub workers: Option<usize>,
    /// Bytes.
    pub body_limit: usize,
    /// The issuer is https: cookies are `Secure` and bound to the host.
    pub secure: bool,
    pub proxies: Proxies,
    /// None: there are no metrics to be had.
    pub metrics_token: Option<Secret<String>>,
    pub extra_routes: Option<ExtraRoutes>,
}

/// What handlers know of how they are reached.
#[derive(Clone, Copy)]
struct Edge {
    secure: bool,
    metrics_token: Option<Digest>,
}

/// A request has so long to arrive with its headers.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// What is being answered when the server is told to stop has so long.
const SHUTDOWN_SECONDS: u64 = 10;

/// The server, ready to be awaited.
pub fn serve(
    service: Service,
    settings: Settings,
    listener: TcpListener,
) -> anyhow::Result<Server> {
    let pages = Pages::new()?;
    let Settings { workers, body_limit, secure, proxies, metrics_token, extra_routes } = settings;
    let metrics_token = metrics_token.map(|token| Digest::of(token.reveal()));
    let (edge, proxies) = (Edge { secure, metrics_token }, Data::new(proxies));
    let app = move || {
        let service = service.clone();
        let headers = DefaultHeaders::new()
            .add(("X-Content-Type-Options", "nosniff"))
            .add(("Referrer-Policy", "no-referrer"));
        let hsts = DefaultHeaders::new().add(("Strict-Transport-Security", "max-age=31536000"));
        let extra_routes = extra_routes.clone();
        App::new()
            .wrap(headers)
            .wrap(Condition::new(secure, hsts))
            // Called within the worker's own thread.
            .data_factory(move || std::future::ready(service.for_this_thread()))
            .app_data(Data::new(pages.clone()))
            .app_data(Data::new(edge))
            .app_data(proxies.clone())
            .app_data(PayloadConfig::new(body_limit))
            .configure(routes::configure)
            .configure(move |config| {
                if let Some(extra) = extra_routes {
                    extra(config);
                }
            })
    };
    let mut server = HttpServer::new(app)
        .client_request_timeout(REQUEST_TIMEOUT)
        .shutdown_timeout(SHUTDOWN_SECONDS)
        .disable_signals();
    if let Some(workers) = workers {
        server = server.workers(workers);
    }
    Ok(server.listen(listener)?.run())
}
