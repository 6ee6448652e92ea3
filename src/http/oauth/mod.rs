//! The OAuth and OpenID Connect endpoints. Errors are RFC 6749 JSON, and nothing is to be stored.

pub(super) mod authorize;
pub(super) mod caller;
pub(super) mod cors;
pub(super) mod error;
pub(super) mod introspect;
pub(super) mod metadata;
pub(super) mod revoke;
pub(super) mod token;
pub(super) mod userinfo;
