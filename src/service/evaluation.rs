//! Whether a token allows something, and why.

use crate::catalog::RoleInForce;
use crate::domain::evaluation::{self, Evaluation, Lack, Nearest, Question, Unanswerable};
use crate::domain::ids::{Role, TenantId};
use crate::domain::permission::{Permission, PermissionSet, Vocabulary};
use crate::domain::provenance::{Granted, Provenance, TracedRole};
use crate::domain::role_mapping;
use crate::domain::session::Session;
use crate::domain::template::{RenderInput, Traced, User};
use crate::domain::token::AccessClaims;
use crate::service::authenticate::AuthenticatedClient;
use crate::service::introspection::may_introspect;
use crate::service::{Inner, Service, Unavailable};
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// Who asks.
pub enum Evaluator {
    /// A client that has shown its secret, about the tokens that it may introspect.
    Client(AuthenticatedClient),
    /// The holder of a live token, about that token.
    Holder { token: String, claims: Arc<AccessClaims> },
}

#[derive(Debug, thiserror::Error)]
pub enum NotEvaluated {
    #[error("the access token that authenticates is not good")]
    InvalidToken,
    #[error("a token asks about another one")]
    AnotherToken,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What is to be done to what.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub action: &'a str,
    pub resource_type: &'a str,
    /// The text of the selector that the action acts on.
    pub id: &'a str,
    /// The other selectors. The one that is `id` may be repeated.
    pub selectors: &'a [(&'a str, &'a str)],
}

/// A question that has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Senseless {
    /// The part of the question, such as `/resource/type`.
    pub pointer: String,
    pub message: String,
}

/// A live token, and where its permissions come from as far as can be told.
pub struct Examined {
    claims: Arc<AccessClaims>,
    permissions: PermissionSet,
    vocabulary: Arc<Vocabulary>,
    provenance: Provenance,
}

/// A permission of the token, which ceilings and requests may have narrowed, and what it comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LedBack {
    pub permission: Permission,
    /// All that the roles give and that covers it.
    pub from: Vec<Granted>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    Allowed { by: LedBack },
    Refused { nearest: Option<LedBack>, lacks: Vec<Lack> },
}

impl Service {
    pub async fn evaluating_holder(&self, token: &str) -> Result<Evaluator, NotEvaluated> {
        let claims = self.0.live_claims(token, |_| true).await?;
        let claims = claims.ok_or(NotEvaluated::InvalidToken)?;
        Ok(Evaluator::Holder { token: token.to_owned(), claims })
    }

    /// None: the token is not alive, or the client may not know whether it is. It is one answer, as
    /// with introspection.
    pub async fn examine(
        &self,
        by: &Evaluator,
        token: &str,
    ) -> Result<Option<Examined>, NotEvaluated> {
        let inner = &self.0;
        let claims = match by {
            Evaluator::Client(client) => {
                let may = |claims: &AccessClaims| may_introspect(client.known(), claims);
                match inner.live_claims(token, may).await? {
                    Some(claims) => claims,
                    None => return Ok(None),
                }
            }
            Evaluator::Holder { token: own, claims } if own == token => Arc::clone(claims),
            Evaluator::Holder { .. } => return Err(NotEvaluated::AnotherToken),
        };
        let vocabulary = inner.catalog.vocabulary();
        // A vocabulary that has changed since may no longer know its permissions: then it has none.
        let permissions = inner.permissions_of(&claims).unwrap_or_default();
        let provenance = inner.provenance(&claims, &vocabulary).await?;
        Ok(Some(Examined { claims, permissions, vocabulary, provenance }))
    }
}

impl Examined {
    pub fn tenant(&self) -> &TenantId {
        &self.claims.tenant
    }
    pub fn roles(&self) -> &[Role] {
        &self.claims.roles
    }
    pub fn templates(&self) -> &[String] {
        &self.claims.tpl
    }

    pub fn decide(&self, asked: &Asked<'_>) -> Result<Decision, Senseless> {
        let v = &*self.vocabulary;
        let Asked { action, resource_type, id, selectors } = *asked;
        let known = v.find(resource_type);
        let acted_on = known.and_then(|known| {
            let (_, level) = known.action(action)?;
            known.selectors().nth(level)
        });
        let mut all: Vec<(&str, &str)> = selectors.to_vec();
        if let Some(acted_on) = acted_on {
            if let Some((key, _)) = all.iter().find(|(key, text)| *key == acted_on && *text != id) {
                let message = "is what the action acts on: leave it out, or repeat `id`".to_owned();
                return Err(Senseless { pointer: property(key), message });
            }
            all.retain(|(key, _)| *key != acted_on);
            all.push((acted_on, id));
        }
        let question = Question { resource_type, selectors: &all, action };
        let evaluation = evaluation::evaluate(&self.permissions, &question, v);
        let evaluation = evaluation.map_err(|error| {
            let pointer = match &error {
                Unanswerable::ResourceType { .. } => "/resource/type".to_owned(),
                Unanswerable::Action { .. } => "/action/name".to_owned(),
                Unanswerable::Selector { name, .. } => property(name),
                Unanswerable::Missing { key, .. } => property(key),
                Unanswerable::Resource(error) => match error.at.strip_prefix("$.") {
                    Some(key) if Some(key) != acted_on => property(key),
                    _ => "/resource/id".to_owned(),
                },
            };
            Senseless { pointer, message: error.to_string() }
        })?;
        let trace = |permission: Permission| LedBack {
            from: self.provenance.behind(&permission, v).cloned().collect(),
            permission,
        };
        Ok(match evaluation {
            Evaluation::Allowed { by } => Decision::Allowed { by: trace(by) },
            Evaluation::Refused { nearest: None } => {
                Decision::Refused { nearest: None, lacks: Vec::new() }
            }
            Evaluation::Refused { nearest: Some(nearest) } => {
                let Nearest { permission, lacks } = nearest;
                Decision::Refused { nearest: Some(trace(permission)), lacks }
            }
        })
    }
}

fn property(key: &str) -> String {
    format!("/resource/properties/{}", key.replace('~', "~0").replace('/', "~1"))
}

impl Decision {
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed { .. } => f.write_str("a permission of the token allows it"),
            Self::Refused { nearest: None, .. } => {
                f.write_str("the token has no permission for this type of resource")
            }
            Self::Refused { lacks, .. } => {
                f.write_str("no permission of the token allows it; the nearest one lacks this: ")?;
                let lacks: Vec<String> = lacks.iter().map(ToString::to_string).collect();
                f.write_str(&lacks.join("; "))
            }
        }
    }
}

impl Inner {
    async fn live_claims(
        &self,
        token: &str,
        may: impl FnOnce(&AccessClaims) -> bool,
    ) -> Result<Option<Arc<AccessClaims>>, Unavailable> {
        let now = self.clock.now();
        self.revision()?;
        let Some(claims) = self.verify_access_token(token).filter(|claims| may(claims)) else {
            return Ok(None);
        };
        Ok(self.is_active(&claims, now).await?.then_some(claims))
    }

    /// Those of the token's templates that are still the published ones, rendered once more from what
    /// is kept of the person. An older version, or a tenant that was changed, leads back to nothing.
    async fn provenance(
        &self,
        claims: &AccessClaims,
        v: &Vocabulary,
    ) -> Result<Provenance, Unavailable> {
        let (now, at) = (self.clock.now(), self.log_position(&claims.sid));
        let nothing = || Provenance::of(&[], &[], v);
        let Some((session, _)) = self.tokens.find(&claims.sid, at, now).await? else {
            return Ok(nothing());
        };
        let Some(tenant) = self.catalog.tenant(&session.tenant).await? else {
            return Ok(nothing());
        };
        let Session { subject, claims: kept, .. } = &session;
        let mapping = match self.catalog.provider(&session.provider).await? {
            Some(known) => role_mapping::map(&known.rules, kept, &tenant.id).trace,
            None => Vec::new(),
        };
        let user = Some(User { id: subject, claims: kept });
        let input = RenderInput { tenant: &tenant, user, client: &claims.client_id };
        let mut rendered: Vec<(RoleInForce, Traced)> = Vec::with_capacity(claims.roles.len());
        for role in &claims.roles {
            let in_force = self.catalog.role(role, &tenant.id).await?;
            let same = in_force.filter(|in_force| claims.tpl.contains(&in_force.known.version));
            let Some(in_force) = same else { continue };
            if let Ok(traced) = in_force.known.template.trace(&input, v) {
                rendered.push((in_force, traced));
            }
        }
        let roles: Vec<TracedRole<'_>> = rendered
            .iter()
            .map(|(RoleInForce { known, .. }, traced)| TracedRole {
                role: &known.role,
                version: &known.version,
                traced,
            })
            .collect();
        Ok(Provenance::of(&roles, &mapping, v))
    }

    /// The permissions of a token, as the vocabulary has them now.
    pub(super) fn permissions_of(&self, claims: &AccessClaims) -> Option<PermissionSet> {
        let details = serde_json::from_str(claims.authorization_details.get()).ok()?;
        PermissionSet::parse(&details, &self.catalog.vocabulary()).ok()
    }
}
