//! Whether this node can do its work now.

use crate::service::{Service, Unavailable};

impl Service {
    pub async fn check_ready(&self) -> Result<(), Unavailable> {
        self.0.catalog.check_fresh()?;
        Ok(self.0.tokens.ping().await?)
    }
}
