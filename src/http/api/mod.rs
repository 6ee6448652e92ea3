//! `/v1`: JSON in, JSON out, problem+json (RFC 9457) when it cannot be done, and nothing is to be stored.

pub(super) mod evaluation;
mod json;
mod problem;
