//! Everything that is alive, signed: for readers that poll.

use crate::catalog::News;
use crate::domain::feed::{FeedEntry, FeedFilter};
use crate::domain::ids::{ClientId, TenantId};
use crate::service::feed::NotOpened;
use crate::service::feed::place::Place;
use crate::service::resource_server::ResourceServer;
use crate::service::{Service, Unavailable};
use data_encoding::HEXLOWER;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// `typ` of a snapshot.
const SNAPSHOT_TYPE: &str = "revocations+jwt";
/// Seconds for which whoever gets one may take it for what was true then.
const LIVES: i64 = 300;

#[derive(Serialize)]
struct SnapshotClaims<'a> {
    iss: &'a str,
    aud: &'a ClientId,
    iat: i64,
    exp: i64,
    position: u64,
    entries: Vec<Arc<FeedEntry>>,
}

/// What one reader is shown at one position of the log.
pub struct Snapshot {
    reader: ResourceServer,
    filter: FeedFilter,
    position: u64,
    /// How long ago it was known to be all.
    age: Duration,
    _place: Place,
}

impl Snapshot {
    pub const fn age(&self) -> Duration {
        self.age
    }

    /// The same for as long as there is nothing new.
    pub fn tag(&self) -> String {
        let mut filter = Sha256::new().chain_update(self.reader.client().id.as_str());
        let audiences = self.filter.audiences.iter().map(String::as_str);
        for name in audiences.chain(self.filter.tenants.iter().map(TenantId::as_str)) {
            filter.update([0]);
            filter.update(name);
        }
        let [a, b, c, d, ..]: [u8; 32] = filter.finalize().into();
        format!("{}-{}", self.position, HEXLOWER.encode(&[a, b, c, d]))
    }
}

impl Service {
    /// What a reader would be shown now.
    pub fn snapshot(
        &self,
        reader: ResourceServer,
        wanted: FeedFilter,
    ) -> Result<Snapshot, NotOpened> {
        let filter = wanted.allowed_to(reader.client()).ok_or(NotOpened::Audience)?;
        let position = self.0.revision().map_err(Unavailable::from)?;
        let place = self.0.feed.0.places.take(&reader.client().id).ok_or(NotOpened::TooMany)?;
        let age = self.0.catalog.age();
        Ok(Snapshot { reader, filter, position, age, _place: place })
    }

    pub async fn sign_snapshot(&self, snapshot: &Snapshot) -> Result<String, Unavailable> {
        let inner = &self.0;
        let Snapshot { reader, filter, position, .. } = snapshot;
        let iat = inner.clock.now().timestamp();
        let (mut entries, mut read) = (Vec::new(), 0);
        loop {
            let News { entries: more, upto } = inner.read_feed(read, *position).await?;
            entries.extend(more.into_iter().filter(|entry| filter.lets_through(entry)));
            if upto >= *position {
                break;
            }
            read = upto;
        }
        let client = reader.client();
        let claims = SnapshotClaims {
            iss: &inner.issuer,
            aud: &client.id,
            iat,
            exp: iat.saturating_add(LIVES),
            position: *position,
            entries,
        };
        Ok(inner.keys.sign(client.algorithm, SNAPSHOT_TYPE, &claims)?)
    }
}
