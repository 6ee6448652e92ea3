//! The guard of what resource servers are told: a confidential client that introspects.

use crate::http::api::problem::{Kind, Problem, Scheme};
use crate::http::oauth::caller::basic;
use crate::service::Service;
use crate::service::resource_server::ResourceServer;
use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use std::pin::Pin;

/// Whoever calls, with the id and secret of such a client.
pub(in crate::http) struct Reader {
    pub(super) server: ResourceServer,
    pub(super) service: Data<Service>,
}

impl FromRequest for Reader {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let service = request.app_data::<Data<Service>>().cloned();
            let unready = || Problem::new(Kind::Unavailable, "the server is not ready yet");
            let service = service.ok_or_else(unready)?;
            let nobody = || {
                let detail = "send the client's id and secret in the Authorization header (Basic)";
                Problem::new(Kind::NotAuthenticated, detail).challenging(&[Scheme::Basic])
            };
            let (id, secret) = basic(&request).map_err(|_| nobody())?.ok_or_else(nobody)?;
            let server = service.resource_server(id, secret).await?;
            Ok(Self { server, service })
        })
    }
}
