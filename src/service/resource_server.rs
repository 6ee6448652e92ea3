//! Whoever checks our tokens without asking about each: a confidential client that introspects.

use crate::catalog::KnownClient;
use crate::domain::client::Client;
use crate::domain::secret::Secret;
use crate::domain::tenant::Status;
use crate::service::authenticate::{Credentials, NotAuthenticated};
use crate::service::{Inner, Service, Unavailable};
use std::sync::Arc;

/// A client that has proved that it is one.
#[derive(Clone, Debug)]
pub struct ResourceServer(Arc<KnownClient>);

impl ResourceServer {
    pub fn client(&self) -> &Client {
        &self.0.client
    }
}

#[derive(Debug, thiserror::Error)]
pub enum NotResourceServer {
    #[error("the client introspects no audience")]
    IntrospectsNothing,
    #[error(transparent)]
    NotAuthenticated(#[from] NotAuthenticated),
}

impl Service {
    /// A public client has no secret, and so it is never one.
    pub async fn resource_server(
        &self,
        id: String,
        secret: Secret<String>,
    ) -> Result<ResourceServer, NotResourceServer> {
        let credentials = Credentials { id, secret: Some(secret) };
        let client = self.authenticate_client(&credentials).await?.into_known();
        if client.client.introspects.is_empty() {
            return Err(NotResourceServer::IntrospectsNothing);
        }
        Ok(ResourceServer(client))
    }

    /// The vocabulary in force, as JSON: always the same text for the same vocabulary.
    pub fn resource_types(&self, _: &ResourceServer) -> String {
        serde_json::to_string(&*self.0.catalog.vocabulary()).unwrap_or_default()
    }
}

impl Inner {
    /// Whether a client is still as it was when it proved who it is. If it is not, it has to do so again.
    pub(super) async fn is_still(&self, reader: &ResourceServer) -> Result<bool, Unavailable> {
        let was = reader.client();
        let now = self.catalog.client(&was.id).await?;
        Ok(now.is_some_and(|now| {
            now.client.status == Status::Active
                && now.client.authentication == was.authentication
                && now.client.introspects == was.introspects
        }))
    }
}
