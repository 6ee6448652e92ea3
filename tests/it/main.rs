//! The integration tests: one binary.

mod token_store;
