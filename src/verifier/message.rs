//! What the server tells on the feed, taken from the data of an event or from a snapshot.

use crate::domain::Time;
use crate::domain::ids::TenantId;
use crate::domain::revocation::{Revocation, RevocationTarget, RevocationView};
use crate::verifier::event_stream::Event;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::str::FromStr;
use std::time::Duration;

#[derive(Debug)]
pub(super) enum Message {
    /// What was known is void; the entries until the next position are all that is alive.
    Reset {
        position: u64,
    },
    Entry(Entry),
    /// Everything up to here is told.
    Position {
        position: u64,
        /// So long ago the server knew it.
        age: Duration,
    },
}

/// Data of a message that cannot be read. It is never passed over: it could be what ends a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

#[derive(Deserialize)]
struct At {
    position: u64,
    #[serde(default)]
    age_ms: u64,
}

impl Message {
    /// None: an event that only a later version knows.
    pub(super) fn parse(event: &Event) -> Result<Option<Self>, Unreadable> {
        fn read<T: DeserializeOwned>(data: &str) -> Result<T, Unreadable> {
            serde_json::from_str(data).map_err(|_| Unreadable)
        }
        Ok(Some(match event.name.as_str() {
            "reset" => Self::Reset { position: read::<At>(&event.data)?.position },
            "revocation" => Self::Entry(read(&event.data)?),
            "position" => {
                let At { position, age_ms } = read(&event.data)?;
                Self::Position { position, age: Duration::from_millis(age_ms) }
            }
            _ => return Ok(None),
        }))
    }
}

/// An entry of the log as resource servers are sent it.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    pub(super) position: u64,
    target: String,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    tenant: Value,
    at: i64,
    expires_at: i64,
}

impl Entry {
    /// SECURITY: what is not understood hits everything that it might hit.
    pub(super) fn apply_to(&self, view: &mut RevocationView) {
        let tenant = name::<TenantId>(&self.tenant);
        let expires_at = moment(self.expires_at);
        match self.target() {
            Some(target) => view.apply(&Revocation {
                position: self.position,
                target,
                tenant,
                // The server has looked at it.
                audience: Vec::new(),
                at: moment(self.at),
                expires_at,
            }),
            None => view.apply_unknown(self.position, &tenant, expires_at),
        }
    }

    fn target(&self) -> Option<RevocationTarget> {
        let value = &self.value;
        Some(match self.target.as_str() {
            "token" => RevocationTarget::Token(name(value)?),
            "session" => RevocationTarget::Session(name(value)?),
            "subject" => RevocationTarget::Subject(name(value)?),
            "tenant" => RevocationTarget::Tenant(name(value)?),
            "client" => RevocationTarget::Client(name(value)?),
            "provider" => RevocationTarget::Provider(name(value)?),
            "api_key" => RevocationTarget::ApiKey(name(value)?),
            "role" => RevocationTarget::Role(name(value)?),
            "template_version" => RevocationTarget::TemplateVersion(name(value)?),
            "before" => RevocationTarget::Before(moment(value.as_i64()?)),
            _ => return None,
        })
    }
}

fn name<T: FromStr>(value: &Value) -> Option<T> {
    value.as_str()?.parse().ok()
}

/// A moment that no calendar has lies beyond all tokens.
fn moment(seconds: i64) -> Time {
    Time::from_timestamp(seconds, 0).unwrap_or(Time::MAX_UTC)
}
