//! The tests of Rolemint from outside: one binary, one file for each feature.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that meets what it did not expect ends there; so does its harness"
)]

mod administration;
mod architecture;
mod authorize;
mod backchannel_logout;
mod binary;
mod browser;
mod callback;
mod database_faults;
mod embedded_crash;
mod evaluation;
mod exchange;
mod feed;
mod feed_readers;
mod harness;
mod impact;
mod introspection;
mod log_bounds;
mod log_writers;
mod metadata;
mod metrics;
mod migrations;
mod oauth2_provider;
mod opaque;
mod previews;
mod propagation;
mod publishing;
mod recheck;
mod redis_answers;
mod redis_away;
mod redis_failover;
mod redis_push;
mod redis_tls;
mod refresh;
mod refresh_faults;
mod refresh_profiles;
mod resource_server;
mod restart;
mod revocation;
mod revocation_order;
mod revocations;
mod routes;
mod servers;
mod sessions;
mod sign_in;
mod template_commands;
mod template_refusals;
mod templates_api;
mod token_endpoint;
mod token_store;
mod typescript_client;
mod userinfo;
