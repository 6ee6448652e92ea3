//! The decision: what a caller gets. granted = rendered ∩ ceiling ∩ what the subject token had ∩ requested.

use crate::domain::client::Client;
use crate::domain::ids::{Role, TenantId};
use crate::domain::permission::{PermissionError, PermissionSet, Vocabulary};
use crate::domain::scope::ScopeSet;
use crate::domain::subject::Subject;
use crate::domain::template::boundary::{self, OutsideTenant};
use crate::domain::template::{RenderError, RenderInput, RoleTemplate, User};
use crate::domain::tenant::{Status, Tenant};
use serde_json::{Map, Value};

/// A role that mapping yielded, with its published template.
#[derive(Clone, Copy, Debug)]
pub struct RoleFacts<'a> {
    pub role: &'a Role,
    pub template: &'a RoleTemplate,
    /// role@version.
    pub version: &'a str,
    pub crosses_tenants: bool,
}

/// What a token that is exchanged for another already grants.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    pub permissions: &'a PermissionSet,
    pub scope: &'a ScopeSet,
    /// Seconds that it still lives.
    pub lives: u32,
}

/// Everything the decision rests on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub tenant: &'a Tenant,
    pub client: &'a Client,
    pub ceiling: Option<&'a RoleTemplate>,
    pub subject: &'a Subject,
    pub roles: &'a [RoleFacts<'a>],
    pub parent: Option<Parent<'a>>,
    pub vocabulary: &'a Vocabulary,
    /// Seconds until the session ends, whatever happens.
    pub session_lives: u32,
}

/// What the caller asks for. None means everything that there is to have.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenRequest<'a> {
    /// Without the protocol scopes.
    pub scope: Option<&'a ScopeSet>,
    /// A JSON array (RFC 9396 §2).
    pub details: Option<&'a Value>,
    /// Asking for more than there is to have is an error, and not cut down to what there is.
    pub exact: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    pub roles: Vec<Role>,
    pub templates: Vec<String>,
    pub permissions: PermissionSet,
    pub scope: ScopeSet,
    /// Seconds.
    pub expires_in: u32,
    /// Claims that the templates add.
    pub claims: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Denied {
    #[error("the tenant {0} is suspended")]
    TenantSuspended(TenantId),
    #[error("the client is suspended")]
    ClientSuspended,
    #[error("the client's users do not sign in through this provider")]
    ProviderNotAllowed,
    #[error("no rule maps this person to a role")]
    NoRole,
    #[error("the role {0} crosses tenants, and {1} is not the platform")]
    CrossesTenants(Role, TenantId),
    #[error("the template of {0} does not render: {1}")]
    Render(String, RenderError),
    #[error("the client's ceiling does not render: {0}")]
    Ceiling(RenderError),
    #[error("the template of {0} leaves its tenant: {1}")]
    OutsideTenant(String, OutsideTenant),
    #[error("two templates disagree on the claim {0:?}")]
    ClaimConflict(String),
    #[error("authorization_details: {0}")]
    Details(PermissionError),
    #[error("authorization_details ask for more than there is to have")]
    DetailsTooWide,
    #[error("scope asks for more than there is to have")]
    ScopeTooWide,
    #[error("nothing would be granted")]
    Nothing,
}

/// The one decision that every way to get a token runs through. Pure.
pub fn decide(facts: &Facts<'_>, request: &TokenRequest<'_>) -> Result<Grant, Denied> {
    check_standing(facts)?;
    let mut grant = render_roles(facts)?;
    bound_by_ceiling(facts, &mut grant)?;
    if let Some(parent) = &facts.parent {
        grant.permissions = grant.permissions.intersection(parent.permissions, facts.vocabulary);
        grant.scope = grant.scope.intersection(parent.scope);
        grant.expires_in = grant.expires_in.min(parent.lives);
    }
    bound_by_request(facts, request, &mut grant)?;
    grant.expires_in = grant.expires_in.min(facts.session_lives);
    if grant.expires_in == 0 || (grant.permissions.is_empty() && grant.scope.is_empty()) {
        return Err(Denied::Nothing);
    }
    Ok(grant)
}

fn check_standing(facts: &Facts<'_>) -> Result<(), Denied> {
    if facts.tenant.status == Status::Suspended {
        return Err(Denied::TenantSuspended(facts.tenant.id.clone()));
    }
    if facts.client.status == Status::Suspended {
        return Err(Denied::ClientSuspended);
    }
    if !facts.client.allows_provider(&facts.subject.provider) {
        return Err(Denied::ProviderNotAllowed);
    }
    if facts.roles.is_empty() {
        return Err(Denied::NoRole);
    }
    Ok(())
}

/// The union of what the roles give. One template that does not render, and there is nothing.
fn render_roles(facts: &Facts<'_>) -> Result<Grant, Denied> {
    let input = RenderInput {
        tenant: facts.tenant,
        user: Some(User { id: &facts.subject.id, claims: &facts.subject.claims }),
        client: &facts.client.id,
    };
    let mut grant = Grant {
        roles: Vec::with_capacity(facts.roles.len()),
        templates: Vec::with_capacity(facts.roles.len()),
        permissions: PermissionSet::default(),
        scope: ScopeSet::default(),
        expires_in: facts.client.lifetimes.access_token,
        claims: Map::new(),
    };
    for role in facts.roles {
        let tenant = &facts.tenant.id;
        if role.crosses_tenants && !tenant.is_platform() {
            return Err(Denied::CrossesTenants(role.role.clone(), tenant.clone()));
        }
        let version = || role.version.to_owned();
        let rendered = role.template.render(&input, facts.vocabulary);
        let rendered = rendered.map_err(|error| Denied::Render(version(), error))?;
        if !role.crosses_tenants {
            boundary::check(&rendered.permissions, tenant, facts.vocabulary)
                .map_err(|outside| Denied::OutsideTenant(version(), outside))?;
        }
        grant.permissions = if grant.roles.is_empty() {
            rendered.permissions
        } else {
            grant.permissions.union(&rendered.permissions, facts.vocabulary)
        };
        grant.scope = grant.scope.union(&rendered.scope);
        grant.expires_in = grant.expires_in.min(rendered.expires_in.unwrap_or(u32::MAX));
        for (name, value) in rendered.claims {
            if grant.claims.get(&name).is_some_and(|other| *other != value) {
                return Err(Denied::ClaimConflict(name));
            }
            grant.claims.insert(name, value);
        }
        grant.roles.push(role.role.clone());
        grant.templates.push(version());
    }
    Ok(grant)
}

fn bound_by_ceiling(facts: &Facts<'_>, grant: &mut Grant) -> Result<(), Denied> {
    let Some(ceiling) = facts.ceiling else { return Ok(()) };
    let input = RenderInput { tenant: facts.tenant, user: None, client: &facts.client.id };
    let ceiling = ceiling.render(&input, facts.vocabulary).map_err(Denied::Ceiling)?;
    grant.permissions = grant.permissions.intersection(&ceiling.permissions, facts.vocabulary);
    grant.scope = grant.scope.intersection(&ceiling.scope);
    grant.expires_in = grant.expires_in.min(ceiling.expires_in.unwrap_or(u32::MAX));
    Ok(())
}

fn bound_by_request(
    facts: &Facts<'_>,
    request: &TokenRequest<'_>,
    grant: &mut Grant,
) -> Result<(), Denied> {
    if let Some(scope) = request.scope {
        if request.exact && !scope.is_subset(&grant.scope) {
            return Err(Denied::ScopeTooWide);
        }
        let wanted_something = !scope.is_empty();
        grant.scope = grant.scope.intersection(scope);
        if wanted_something && grant.scope.is_empty() {
            return Err(Denied::ScopeTooWide);
        }
    }
    if let Some(details) = request.details {
        let wanted = PermissionSet::parse(details, facts.vocabulary).map_err(Denied::Details)?;
        if wanted.is_empty()
            || (request.exact && !grant.permissions.covers_all(&wanted, facts.vocabulary))
        {
            return Err(Denied::DetailsTooWide);
        }
        grant.permissions = grant.permissions.intersection(&wanted, facts.vocabulary);
        if grant.permissions.is_empty() {
            return Err(Denied::DetailsTooWide);
        }
    }
    Ok(())
}
