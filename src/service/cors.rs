//! Which browser origins may read the answers meant for a client.

use crate::domain::ids::ClientId;
use crate::service::{Service, Unavailable};

/// A scheme, a name of 253 bytes, a port: what is longer is nobody's, and is not remembered as absent.
const LONGEST_ORIGIN: usize = 300;

impl Service {
    /// Whether pages of this origin may read what the client is told.
    pub async fn allows_origin(&self, client: &str, origin: &str) -> Result<bool, Unavailable> {
        let Ok(id) = client.parse::<ClientId>() else { return Ok(false) };
        let known = self.0.catalog.client(&id).await?;
        Ok(known.is_some_and(|known| known.client.origins.contains(origin)))
    }

    /// Whether any client has declared this origin: all that a preflight can be asked.
    pub async fn knows_origin(&self, origin: &str) -> Result<bool, Unavailable> {
        Ok(origin.len() <= LONGEST_ORIGIN && self.0.catalog.origin_is_declared(origin).await?)
    }
}
