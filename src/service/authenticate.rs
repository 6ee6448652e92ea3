//! Which client is calling (RFC 6749 §2.3).

use crate::catalog::KnownClient;
use crate::domain::client::ClientAuthentication;
use crate::domain::ids::ClientId;
use crate::domain::secret::{Digest, Secret};
use crate::domain::tenant::Status;
use crate::service::{Service, Unavailable};
use std::sync::Arc;

/// What a request says of its client. A secret may come in the header or in the body, never in both.
#[derive(Debug)]
pub struct Credentials {
    pub id: String,
    pub secret: Option<Secret<String>>,
}

/// A client that has proved who it is, or a public one that has nothing to prove.
#[derive(Clone, Debug)]
pub struct AuthenticatedClient(Arc<KnownClient>);

impl AuthenticatedClient {
    pub fn known(&self) -> &KnownClient {
        &self.0
    }
    pub(super) fn into_known(self) -> Arc<KnownClient> {
        self.0
    }
}

#[derive(Debug, thiserror::Error)]
pub enum NotAuthenticated {
    /// SECURITY: one answer for an unknown client, a wrong secret, a missing one, and a suspended client.
    #[error("client authentication failed")]
    Failed,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Service {
    pub async fn authenticate_client(
        &self,
        credentials: &Credentials,
    ) -> Result<AuthenticatedClient, NotAuthenticated> {
        let id = credentials.id.parse::<ClientId>().ok();
        let known = match &id {
            Some(id) => self.0.catalog.client(id).await.map_err(Unavailable::from)?,
            None => None,
        };
        let presented = credentials.secret.as_ref().map(|secret| Digest::of(secret.reveal()));
        let Some(known) = known else { return Err(NotAuthenticated::Failed) };
        let proved = match (&known.client.authentication, &presented) {
            (ClientAuthentication::None, None) => true,
            (
                ClientAuthentication::ClientSecretBasic { secrets }
                | ClientAuthentication::ClientSecretPost { secrets },
                Some(presented),
            ) => secrets.contains(presented),
            _ => false,
        };
        if proved && known.client.status == Status::Active {
            Ok(AuthenticatedClient(known))
        } else {
            Err(NotAuthenticated::Failed)
        }
    }
}
