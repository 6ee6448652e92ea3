//! A token that was taken, and what it allows.

use crate::domain::permission::{PermissionSet, Resource, Vocabulary};
use crate::domain::token::AccessClaims;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// What the claims allow under the vocabulary that was in force.
pub(super) struct Permitted {
    permissions: PermissionSet,
    vocabulary: Arc<Vocabulary>,
}

impl Permitted {
    /// SECURITY: one permission that the vocabulary does not know makes the claim allow nothing, as on the
    /// server.
    pub(super) fn of(claims: &AccessClaims, vocabulary: &Arc<Vocabulary>) -> Self {
        let details = serde_json::from_str(claims.authorization_details.get()).unwrap_or_default();
        let permissions = PermissionSet::parse(&details, vocabulary).unwrap_or_default();
        Self { permissions, vocabulary: Arc::clone(vocabulary) }
    }

    pub(super) fn is_under(&self, vocabulary: &Arc<Vocabulary>) -> bool {
        Arc::ptr_eq(&self.vocabulary, vocabulary)
    }
}

/// An access token whose signature, claims and revocations were looked at.
#[derive(Clone)]
pub struct Verified {
    pub(super) claims: Arc<AccessClaims>,
    /// None: no vocabulary is known.
    pub(super) permitted: Option<Arc<Permitted>>,
    pub(super) stale: bool,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<verified token of {}>", self.claims.sub)
    }
}

impl Verified {
    pub fn claims(&self) -> &AccessClaims {
        &self.claims
    }

    /// Whether it was taken on a route that allows it although what is known of revocations is old.
    pub const fn is_stale(&self) -> bool {
        self.stale
    }

    /// Whether a permission of the token lets its bearer do this: `allows("get", &json!({"cache":
    /// "calendar-events", "item": "acme:7"}))`. The resource has a text for each selector, at least down to
    /// the one that the action acts on. What makes no sense is not allowed, and nothing is while no
    /// vocabulary is known.
    pub fn allows(&self, action: &str, resource: &Value) -> bool {
        let Some(Permitted { permissions, vocabulary }) = self.permitted.as_deref() else {
            return false;
        };
        Resource::parse(resource, action, vocabulary)
            .is_ok_and(|resource| permissions.allows(&resource, action, vocabulary).is_some())
    }
}
