//! Rolemint: a token server for multi-tenant SaaS back ends.
//!
//! `http` calls `service`; `service` gathers facts, asks `domain` to decide, records the outcome and
//! answers. `domain` calls nobody. `docs/architecture.md` is the map.

#[cfg(feature = "server")]
pub mod app;
#[cfg(feature = "server")]
pub mod catalog;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(any(feature = "server", feature = "verifier"))]
pub mod clock;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod database;
#[cfg(feature = "server")]
pub mod deployment;
#[cfg(feature = "server")]
pub mod dev;
pub mod domain;
#[cfg(feature = "server")]
pub mod http;
#[cfg(any(feature = "server", feature = "verifier"))]
pub mod jws;
#[cfg(feature = "server")]
pub mod service;
#[cfg(feature = "server")]
pub mod signing;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(feature = "server")]
pub mod token_store;
#[cfg(feature = "server")]
pub mod toml_reader;
#[cfg(feature = "server")]
pub mod upstream;
#[cfg(feature = "verifier")]
pub mod verifier;
