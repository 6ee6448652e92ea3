//! `/v1`, and the administration below `/api/v1`: JSON in, JSON out, problem+json (RFC 9457) when it cannot be done, and nothing is to be stored.

mod admin;
mod answer;
mod candidate;
pub(super) mod drafts;
pub(super) mod evaluation;
pub(super) mod feed;
pub(super) mod impact;
mod json;
mod page;
mod pointer;
mod precondition;
pub(super) mod previews;
mod problem;
pub(super) mod publishing;
pub(super) mod readers;
mod resource_server;
pub(super) mod resource_types;
pub(super) mod revocations;
pub(super) mod roles;
pub(super) mod sessions;
mod template_problem;
pub(super) mod versions;
mod view;
