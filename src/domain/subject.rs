//! A verified person and the claims that are kept of them.

use crate::domain::Time;
use crate::domain::ids::{ProviderId, SubjectId};
use serde_json::{Map, Value};

/// What the product keeps of a sign-in: at most this many bytes of JSON.
pub const KEPT_CLAIMS_LIMIT: usize = 4096;

/// What an upstream provider has vouched for. Only `upstream` builds one, after every check.
#[derive(Clone, Debug)]
pub struct VerifiedIdentity {
    pub provider: ProviderId,
    /// The provider's own `sub`. Serves mapping only.
    pub upstream_subject: String,
    /// Every claim that was verified, the upstream `sub` included.
    pub claims: Map<String, Value>,
    /// When the person last authenticated there, if the provider says so.
    pub authenticated_at: Option<Time>,
    /// The person's session there (`sid`), if the provider says which.
    pub session: Option<String>,
}

/// A person as the rest of the product knows them.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    pub id: SubjectId,
    pub provider: ProviderId,
    pub claims: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the claims to keep take {0} bytes; at most {KEPT_CLAIMS_LIMIT} are kept: name fewer in `keep_claims`"
)]
pub struct ClaimsTooLarge(pub usize);

impl Subject {
    /// The subject behind a verified identity, holding only the claims that the provider's entry declares.
    pub fn from_identity(
        identity: &VerifiedIdentity,
        keep_claims: &[String],
    ) -> Result<Self, ClaimsTooLarge> {
        let VerifiedIdentity { provider, upstream_subject, claims, .. } = identity;
        Self::of(provider, upstream_subject, claims, keep_claims)
    }

    /// As above, of claims that nobody has vouched for: to be looked at, never to be minted for.
    pub fn of(
        provider: &ProviderId,
        upstream_subject: &str,
        claims: &Map<String, Value>,
        keep_claims: &[String],
    ) -> Result<Self, ClaimsTooLarge> {
        let mut kept = Map::new();
        for name in keep_claims {
            if let Some(value) = claims.get(name) {
                kept.insert(name.clone(), value.clone());
            }
        }
        let size = serde_json::to_string(&kept).map_or(usize::MAX, |text| text.len());
        if size > KEPT_CLAIMS_LIMIT {
            return Err(ClaimsTooLarge(size));
        }
        let id = SubjectId::person(provider, upstream_subject);
        Ok(Self { id, provider: provider.clone(), claims: kept })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn identity(claims: Value) -> VerifiedIdentity {
        let Value::Object(claims) = claims else { panic!("an object") };
        VerifiedIdentity {
            provider: "demo".parse().unwrap(),
            upstream_subject: "dana".into(),
            claims,
            authenticated_at: None,
            session: None,
        }
    }

    #[test]
    fn only_declared_claims_are_kept() {
        let identity = identity(json!({ "email": "d@acme.example", "phone": "1" }));
        let subject = Subject::from_identity(&identity, &["email".into(), "name".into()]).unwrap();
        assert_eq!(Value::Object(subject.claims), json!({ "email": "d@acme.example" }));
    }

    #[test]
    fn claims_over_the_limit_are_refused_and_not_cut() {
        let identity = identity(json!({ "groups": ["x".repeat(KEPT_CLAIMS_LIMIT)] }));
        assert!(Subject::from_identity(&identity, &["groups".into()]).is_err());
    }
}
