//! What Rolemint decides, as plain functions over plain values.
//!
//! Pure: no I/O, no async, no clock, no globals. Whoever calls passes `now` and random bytes in.

pub mod address;
pub mod administration;
pub mod audit;
pub mod authorization;
pub mod client;
pub mod deployment;
pub mod evaluation;
pub mod explanation;
pub mod feed;
pub mod feed_reader;
pub mod grant;
pub mod ids;
pub mod impact;
pub mod permission;
pub mod preview;
pub mod provenance;
pub mod provider;
pub mod recheck;
pub mod revocation;
pub mod role_mapping;
pub mod scope;
pub mod secret;
pub mod session;
pub mod subject;
pub mod template;
pub mod tenant;
pub mod token;
pub mod transport;

/// A moment, in UTC. It always comes from `clock`, never from a store.
pub type Time = chrono::DateTime<chrono::Utc>;
