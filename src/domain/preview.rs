//! What a person would get if a role's template were another one, and why: claim → rule → role →
//! place in the template → values.

use crate::domain::grant;
use crate::domain::grant::Facts;
use crate::domain::grant::Grant;
use crate::domain::grant::RoleFacts;
use crate::domain::grant::TokenRequest;
use crate::domain::ids::Role;
use crate::domain::permission::Permission;
use crate::domain::permission::Vocabulary;
use crate::domain::provenance::Granted;
use crate::domain::provenance::Provenance;
use crate::domain::provenance::TracedRole;
use crate::domain::role_mapping::TraceEntry;
use crate::domain::scope::ScopeSet;
use crate::domain::template::Origin;
use crate::domain::template::RenderError;
use crate::domain::template::RenderInput;
use crate::domain::template::Skipped;
use crate::domain::template::Traced;
use crate::domain::template::User;
use serde::Serialize;
use serde_json::{Map, Value};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preview {
    /// Every rule's part.
    pub mapping: Vec<TraceEntry>,
    pub roles: Vec<RolePreview>,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What one role's template makes for this person.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RolePreview {
    pub role: Role,
    pub template: String,
    /// Whether this is the template that is being tried.
    pub candidate: bool,
    /// Whether it is for this person: the rules map them to the role, and their tenant has no version
    /// of its own. If not, the template is rendered to be looked at, and what it makes is not granted.
    pub counts: bool,
    #[serde(flatten)]
    pub rendering: Rendering,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Rendering {
    Rendered {
        /// Before any was folded into another.
        permissions: Vec<Origin>,
        /// Empty lists and conditions that came out false.
        skipped: Vec<Skipped>,
        scope: ScopeSet,
        claims: Map<String, Value>,
    },
    Failed {
        error: Failure,
    },
}

/// A value that the template needs and cannot use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    pub at: Box<str>,
    pub value: Box<str>,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Granted(TokenPreview),
    /// Nothing is minted, and why.
    Denied(String),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenPreview {
    pub permissions: Vec<Explained>,
    /// What the templates make and the client's ceiling takes away, wholly or in part.
    pub cut: Vec<Permission>,
    pub scope: ScopeSet,
    /// Seconds.
    pub expires_in: u32,
    pub claims: Map<String, Value>,
    pub tpl: Vec<String>,
    /// Of the access token that would be minted.
    pub token_bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    pub permission: Permission,
    /// All that the roles give and that covers it.
    pub from: Vec<Granted>,
}

/// The template that is tried.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub role: RoleFacts<'a>,
    /// Whether it is among the roles of the facts.
    pub counts: bool,
}

/// The decision that mints tokens, with somebody looking on. `measure` says how large a token is.
pub fn preview<E>(
    facts: &Facts<'_>,
    mapping: Vec<TraceEntry>,
    candidate: &Candidate<'_>,
    measure: impl FnOnce(&Grant) -> Result<usize, E>,
) -> Result<Preview, E> {
    let v = facts.vocabulary;
    let apart = Some(&candidate.role).filter(|_| !candidate.counts);
    let shown = facts.roles.iter().map(|role| (role, true)).chain(apart.map(|role| (role, false)));
    let rendered = shown.map(|(role, counts)| (role, counts, trace(facts, role)));
    let rendered: Vec<(&RoleFacts<'_>, bool, Result<Traced, RenderError>)> = rendered.collect();
    let traced: Vec<TracedRole<'_>> = rendered
        .iter()
        .filter(|(_, counts, _)| *counts)
        .filter_map(|(role, _, traced)| {
            let traced = traced.as_ref().ok()?;
            Some(TracedRole { role: role.role, version: role.version, traced })
        })
        .collect();
    let provenance = Provenance::of(&traced, &mapping, v);
    let outcome = match grant::decide(facts, &TokenRequest::default()) {
        Ok(grant) => {
            let token_bytes = measure(&grant)?;
            Outcome::Granted(token(grant, &provenance, token_bytes, v))
        }
        Err(denied) => Outcome::Denied(denied.to_string()),
    };
    let roles = rendered.into_iter().map(|(role, counts, traced)| RolePreview {
        role: role.role.clone(),
        template: role.version.to_owned(),
        candidate: role.version == candidate.role.version,
        counts,
        rendering: traced.into(),
    });
    let roles = roles.collect();
    Ok(Preview { mapping, roles, outcome })
}

fn trace(facts: &Facts<'_>, role: &RoleFacts<'_>) -> Result<Traced, RenderError> {
    let input = RenderInput {
        tenant: facts.tenant,
        user: Some(User { id: &facts.subject.id, claims: &facts.subject.claims }),
        client: &facts.client.id,
    };
    role.template.trace(&input, facts.vocabulary)
}

impl From<Result<Traced, RenderError>> for Rendering {
    fn from(traced: Result<Traced, RenderError>) -> Self {
        match traced {
            Ok(Traced { rendered, origins, skipped }) => Self::Rendered {
                permissions: origins,
                skipped,
                scope: rendered.scope,
                claims: rendered.claims,
            },
            Err(error) => Self::Failed {
                error: Failure { message: error.to_string(), at: error.at, value: error.value },
            },
        }
    }
}

fn token(
    grant: Grant,
    provenance: &Provenance,
    token_bytes: usize,
    v: &Vocabulary,
) -> TokenPreview {
    let Grant { templates, permissions, scope, expires_in, claims, .. } = grant;
    let made = provenance.iter().map(|granted| &granted.permission);
    let cut = made.filter(|permission| !permissions.covers(permission, v)).cloned().collect();
    let explained = permissions.iter().map(|permission| Explained {
        permission: permission.clone(),
        from: provenance.behind(permission, v).cloned().collect(),
    });
    TokenPreview {
        permissions: explained.collect(),
        cut,
        scope,
        expires_in,
        claims,
        tpl: templates,
        token_bytes,
    }
}
