//! What Rolemint decides, as plain functions over plain values.
//!
//! Pure: no I/O, no async, no clock, no globals. Whoever calls passes `now` and random bytes in.

pub mod ids;
pub mod scope;
pub mod secret;
pub mod tenant;

/// A moment, in UTC. It always comes from `clock`, never from a store.
pub type Time = chrono::DateTime<chrono::Utc>;
