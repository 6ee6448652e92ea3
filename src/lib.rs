//! Rolemint: a token server for multi-tenant SaaS back ends.
//!
//! `http` calls `service`; `service` gathers facts, asks `domain` to decide, records the outcome and
//! answers. `domain` calls nobody. `docs/architecture.md` is the map.

#[cfg(feature = "server")]
pub mod catalog;
#[cfg(feature = "server")]
pub mod clock;
#[cfg(feature = "server")]
pub mod database;
#[cfg(feature = "server")]
pub mod dev;
pub mod domain;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod signing;
#[cfg(feature = "server")]
pub mod token_store;
#[cfg(feature = "server")]
pub mod upstream;
