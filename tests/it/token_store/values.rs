//! Sessions, times and numbers that tests begin with.

use chrono::{DateTime, TimeDelta};
use rolemint::domain::Time;
use rolemint::domain::client::RefreshTokens;
use rolemint::domain::ids::SessionId;
use rolemint::domain::session::Session;
use rolemint::token_store::{LogPosition, Offer};

pub(super) const GRACE: i64 = 30_000;
pub(super) const IDLE: u32 = 7 * 24 * 3600;

pub(super) fn start() -> Time {
    DateTime::from_timestamp_millis(1_700_000_000_000).unwrap()
}

pub(super) fn after(milliseconds: i64) -> Time {
    start() + TimeDelta::milliseconds(milliseconds)
}

pub(super) fn millis(time: Time) -> i64 {
    time.timestamp_millis()
}

/// The `number`th session of a bucket.
pub(super) fn id(bucket: u8, number: u64) -> SessionId {
    let mut bytes = [0; 16];
    bytes[0] = bucket;
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    SessionId::new(bytes)
}

pub(super) fn session(id: SessionId, now: Time) -> Session {
    Session {
        id,
        subject: "u_mfrggzdfmztwq2lknnwg23tpob".parse().unwrap(),
        tenant: "acme".parse().unwrap(),
        client: "demo-web".parse().unwrap(),
        provider: "demo".parse().unwrap(),
        claims: serde_json::Map::new(),
        requested_scope: Some("calendar:read".parse().unwrap()),
        protocol_scope: "openid profile email".parse().unwrap(),
        requested_details: None,
        audience: vec!["https://api.acme.example".into()],
        refresh_key: Some(1),
        begun_at: now,
        authenticated_at: Some(now - TimeDelta::seconds(2)),
        begun: 0,
        ends_at: now + TimeDelta::days(30),
        idle: IDLE,
    }
}

/// A refresh token of a client with everything at its default.
pub(super) fn rotating(generation: u32) -> Offer {
    Offer { generation, grace: GRACE, refresh_tokens: RefreshTokens::Rotate }
}

/// What a node asks with that knows the log up to the last ending in the bucket.
pub(super) const fn known(ended: u64) -> LogPosition {
    LogPosition { required: ended, applied: ended }
}

pub(super) const fn known_to_nobody() -> LogPosition {
    LogPosition { required: 0, applied: 0 }
}

/// Numbers that look random and are the same in each run.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(u64::try_from(from.len()).unwrap())).unwrap()]
    }
}
