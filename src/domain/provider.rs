//! An external OpenID Connect or OAuth 2.0 provider: how it is reached, which tenants it may yield,
//! and how its claims become roles.

use crate::domain::ids::{ProviderId, TenantId};
use crate::domain::recheck::Recheck;
use crate::domain::role_mapping::RuleDeclaration;
use crate::domain::subject::VerifiedIdentity;
use crate::domain::tenant::Status;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use url::Url;

/// Algorithms that a provider's entry may allow its ID tokens to be signed with: asymmetric ones only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum UpstreamAlgorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "there are few of them, and none on the hot path")]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ProviderKind {
    /// OpenID Connect: everything else is discovered.
    Oidc {
        issuer: String,
        #[serde(default = "default_algorithms")]
        algorithms: BTreeSet<UpstreamAlgorithm>,
        /// Whether the claims of the userinfo endpoint are asked for too.
        #[serde(default)]
        userinfo: bool,
    },
    /// Plain OAuth 2.0, as GitHub has it: who signed in is what a JSON URL answers to the access token.
    OAuth2 {
        authorization_endpoint: Url,
        token_endpoint: Url,
        userinfo_endpoint: Url,
        /// What `iss` in its answers must be (RFC 9207), where it sends one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        issuer: Option<String>,
        /// JSON pointer to what identifies the person for ever (a string or an integer).
        subject: String,
    },
}

fn default_algorithms() -> BTreeSet<UpstreamAlgorithm> {
    [UpstreamAlgorithm::RS256].into()
}

/// How Rolemint proves who it is at the provider's token endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamAuthentication {
    #[default]
    ClientSecretBasic,
    ClientSecretPost,
}

/// Which tenants a sign-in at this provider may yield. Anything else is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase", deny_unknown_fields)]
pub enum TenantBinding {
    Fixed {
        tenant: TenantId,
    },
    /// The value of a claim (a string), through a table.
    Claim {
        /// JSON pointer into the verified claims.
        claim: String,
        table: BTreeMap<String, TenantId>,
    },
    /// The domain of an e-mail address that the provider has verified, through a table.
    Domain {
        table: BTreeMap<String, TenantId>,
    },
}

/// What ID tokens of this provider must be like to be exchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamExchange {
    /// The applications, by their `client_id` at the provider, whose ID tokens are taken.
    pub audiences: BTreeSet<String>,
    /// Seconds since `iat` after which an ID token is no longer taken.
    #[serde(default = "default_max_age")]
    pub max_age: u32,
    /// Whether an ID token without `jti` is refused. With one, it is taken once only in any case.
    #[serde(default)]
    pub require_jti: bool,
}

fn default_max_age() -> u32 {
    300
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provider {
    pub id: ProviderId,
    #[serde(default)]
    pub status: Status,
    #[serde(flatten)]
    pub kind: ProviderKind,
    pub client_id: String,
    /// Sealed by `signing` under the configured key; absent for a public client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SealedSecret>,
    #[serde(default)]
    pub authentication: UpstreamAuthentication,
    /// Asked for at the provider. None: `openid profile email` for OpenID Connect, nothing for OAuth 2.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    pub tenants: TenantBinding,
    #[serde(default = "default_keep_claims")]
    pub keep_claims: Vec<String>,
    #[serde(default)]
    pub mappings: Vec<RuleDeclaration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<UpstreamExchange>,
    /// Whether it may tell us that somebody has signed out there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backchannel_logout: bool,
    /// Whether it is asked again while sessions go on. None: what it said at the sign-in counts to their end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recheck: Option<Recheck>,
}

/// A secret as it is stored: ciphertext in base64url.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealedSecret(pub String);

fn default_keep_claims() -> Vec<String> {
    ["email", "email_verified", "name", "groups"].map(str::to_owned).to_vec()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTenant {
    #[error("the claim that names the tenant is absent or not a string")]
    Claim,
    #[error("the e-mail address is absent or not verified by the provider")]
    UnverifiedEmail,
    #[error("this provider may not yield that tenant")]
    NotInTable,
}

impl Provider {
    pub fn scopes(&self) -> Vec<&str> {
        match (&self.scopes, &self.kind) {
            (Some(scopes), _) => scopes.iter().map(String::as_str).collect(),
            (None, ProviderKind::Oidc { .. }) => vec!["openid", "profile", "email"],
            (None, ProviderKind::OAuth2 { .. }) => Vec::new(),
        }
    }

    /// Every tenant that this provider may yield.
    pub fn tenants(&self) -> BTreeSet<&TenantId> {
        match &self.tenants {
            TenantBinding::Fixed { tenant } => [tenant].into(),
            TenantBinding::Claim { table, .. } | TenantBinding::Domain { table } => {
                table.values().collect()
            }
        }
    }

    /// E-mail domains that lead a person to this provider.
    pub fn domains(&self) -> Vec<&str> {
        match &self.tenants {
            TenantBinding::Domain { table } => table.keys().map(String::as_str).collect(),
            TenantBinding::Fixed { .. } | TenantBinding::Claim { .. } => Vec::new(),
        }
    }

    /// The one tenant that a verified sign-in belongs to.
    pub fn resolve_tenant(&self, identity: &VerifiedIdentity) -> Result<TenantId, NoTenant> {
        match &self.tenants {
            TenantBinding::Fixed { tenant } => Ok(tenant.clone()),
            TenantBinding::Claim { claim, table } => {
                let claims = Value::Object(identity.claims.clone());
                let value = claims.pointer(claim).and_then(Value::as_str).ok_or(NoTenant::Claim)?;
                table.get(value).cloned().ok_or(NoTenant::NotInTable)
            }
            TenantBinding::Domain { table } => {
                let domain = verified_domain(&identity.claims).ok_or(NoTenant::UnverifiedEmail)?;
                table.get(&domain).cloned().ok_or(NoTenant::NotInTable)
            }
        }
    }
}

/// SECURITY: only the boolean `true` is verified. "true", 1 and an absent claim are not.
fn verified_domain(claims: &Map<String, Value>) -> Option<String> {
    if claims.get("email_verified") != Some(&Value::Bool(true)) {
        return None;
    }
    email_domain(claims.get("email")?.as_str()?)
}

/// The domain of a plain address, in lower case (domains are compared without case, RFC 1035 §2.3.3).
pub fn email_domain(address: &str) -> Option<String> {
    let (local, domain) = address.split_once('@')?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    let well_formed = !local.is_empty()
        && address.len() <= 254
        && domain.contains('.')
        && domain.bytes().all(plain)
        && domain.split('.').all(|label| !label.is_empty());
    well_formed.then(|| domain.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn provider(tenants: &Value) -> Provider {
        let entry = json!({ "id": "p", "kind": "oidc", "issuer": "https://p.example", "client_id": "c", "tenants": tenants });
        serde_json::from_value(entry).unwrap()
    }
    fn resolve(provider: &Provider, claims: &Value) -> Result<String, NoTenant> {
        let Value::Object(claims) = claims.clone() else { panic!("an object") };
        let identity = VerifiedIdentity {
            provider: provider.id.clone(),
            upstream_subject: "s".into(),
            claims,
            authenticated_at: None,
            session: None,
        };
        provider.resolve_tenant(&identity).map(|tenant| tenant.to_string())
    }

    #[test]
    fn a_domain_counts_only_when_the_provider_verified_the_address() {
        let provider = provider(&json!({ "by": "domain", "table": { "acme.example": "acme" } }));
        let with =
            |verified: Value| json!({ "email": "d@acme.example", "email_verified": verified });
        assert_eq!(resolve(&provider, &with(json!(true))), Ok("acme".into()));
        for not_verified in [
            json!("true"),
            json!("false"),
            json!(false),
            json!(1),
            json!("1"),
            json!(0),
            json!(null),
            json!([]),
            json!([true]),
            json!({}),
            json!("TRUE"),
            json!(""),
        ] {
            assert_eq!(resolve(&provider, &with(not_verified)), Err(NoTenant::UnverifiedEmail));
        }
        assert_eq!(
            resolve(&provider, &json!({ "email": "d@acme.example" })),
            Err(NoTenant::UnverifiedEmail)
        );
        let email =
            |email: &str| resolve(&provider, &json!({ "email": email, "email_verified": true }));
        assert_eq!(email("d@ACME.example"), Ok("acme".into()));
        assert_eq!(email("d@globex.example"), Err(NoTenant::NotInTable));
        assert_eq!(email("d@sub.acme.example"), Err(NoTenant::NotInTable));
        for odd in [
            "d@evil@acme.example",
            "acme.example",
            "@acme.example",
            "d@acme.example.",
            "d@аcme.example",
            "d@",
        ] {
            assert_eq!(email(odd), Err(NoTenant::UnverifiedEmail), "{odd}");
        }
    }

    #[test]
    fn a_claim_names_the_tenant_through_the_table_only() {
        let provider =
            provider(&json!({ "by": "claim", "claim": "/org", "table": { "o-1": "acme" } }));
        assert_eq!(resolve(&provider, &json!({ "org": "o-1" })), Ok("acme".into()));
        assert_eq!(resolve(&provider, &json!({ "org": "acme" })), Err(NoTenant::NotInTable));
        assert_eq!(resolve(&provider, &json!({ "org": ["o-1"] })), Err(NoTenant::Claim));
        assert_eq!(resolve(&provider, &json!({})), Err(NoTenant::Claim));
    }
}
