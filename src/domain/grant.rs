//! The decision: what a caller gets. granted = rendered ∩ ceiling ∩ what the subject token had ∩ requested.

use crate::domain::client::Client;
use crate::domain::ids::{Role, TenantId};
use crate::domain::permission::{PermissionError, PermissionSet, Vocabulary};
use crate::domain::scope::ScopeSet;
use crate::domain::subject::Subject;
use crate::domain::template::boundary::{self, OutsideTenant};
use crate::domain::template::{Bound, RenderError, RenderInput, RoleTemplate, User};
use crate::domain::tenant::{Status, Tenant};
use serde_json::{Map, Value};

/// A role that mapping yielded, with its published template.
#[derive(Clone, Copy, Debug)]
pub struct RoleFacts<'a> {
    pub role: &'a Role,
    pub template: &'a RoleTemplate,
    /// For a tenant's own template, the most that it may grant.
    pub ceiling: Option<&'a Bound>,
    /// `data-entry@17`, `data-entry@3/acme`.
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
    /// Seconds that any token may live, as the platform says.
    pub max_expires_in: Option<u32>,
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
    for most in [facts.max_expires_in, facts.tenant.max_expires_in].into_iter().flatten() {
        grant.expires_in = grant.expires_in.min(most);
    }
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
        let mut rendered = rendered.map_err(|error| Denied::Render(version(), error))?;
        if let Some(ceiling) = role.ceiling {
            // SECURITY: cut each time, and not only looked at when it is published: the ceiling may have
            // come down since.
            ceiling.cut(&mut rendered, &input, facts.vocabulary);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn vocabulary() -> Vocabulary {
        toml::from_str(include_str!("../../templates/resources.toml")).unwrap()
    }
    fn tenant(id: &str) -> Tenant {
        serde_json::from_value(json!({ "id": id, "name": id })).unwrap()
    }
    fn client() -> Client {
        let client = json!({
            "id": "web", "name": "Web", "authentication": { "method": "none" },
            "grants": ["authorization_code"],
        });
        serde_json::from_value(client).unwrap()
    }
    fn subject() -> Subject {
        let provider = "demo".parse().unwrap();
        let id = crate::domain::ids::SubjectId::person(&provider, "dana");
        Subject { id, provider, claims: Map::new() }
    }

    /// What the decision on one role's template is, with everything else at its plainest.
    struct Case {
        vocabulary: Vocabulary,
        tenant: Tenant,
        client: Client,
        subject: Subject,
        role: Role,
        template: RoleTemplate,
        crosses_tenants: bool,
    }

    impl Case {
        fn of(source: &str) -> Self {
            let vocabulary = vocabulary();
            Self {
                template: RoleTemplate::compile(source, &vocabulary, false).unwrap(),
                vocabulary,
                tenant: tenant("acme"),
                client: client(),
                subject: subject(),
                role: "data-entry".parse().unwrap(),
                crosses_tenants: false,
            }
        }
        fn seed() -> Self {
            Self::of(include_str!("../../templates/roles/data-entry.json"))
        }
        fn decide(
            &self,
            request: &TokenRequest<'_>,
            parent: Option<Parent<'_>>,
        ) -> Result<Grant, Denied> {
            self.decide_for(request, parent, None, 3600)
        }
        fn decide_for(
            &self,
            request: &TokenRequest<'_>,
            parent: Option<Parent<'_>>,
            ceiling: Option<&RoleTemplate>,
            session_lives: u32,
        ) -> Result<Grant, Denied> {
            let role = RoleFacts {
                role: &self.role,
                template: &self.template,
                version: "data-entry@1",
                ceiling: None,
                crosses_tenants: self.crosses_tenants,
            };
            let facts = Facts {
                tenant: &self.tenant,
                client: &self.client,
                ceiling,
                subject: &self.subject,
                roles: &[role],
                parent,
                vocabulary: &self.vocabulary,
                max_expires_in: None,
                session_lives,
            };
            decide(&facts, request)
        }
        fn permissions(&self, json: &Value) -> PermissionSet {
            PermissionSet::parse(json, &self.vocabulary).unwrap()
        }
    }

    const EVERYTHING: TokenRequest<'_> = TokenRequest { scope: None, details: None, exact: false };

    fn read_items() -> Value {
        json!([{ "role": "readonly", "cache": "calendar-events", "item": { "keyPrefix": "acme:" } }])
    }

    #[test]
    fn the_seeds_data_entry_clerk_gets_two_permissions_for_fifteen_minutes() {
        let case = Case::seed();
        let grant = case.decide(&EVERYTHING, None).unwrap();
        assert_eq!((grant.permissions.len(), grant.expires_in), (2, 900));
        assert_eq!(grant.templates, ["data-entry@1"]);
        let short = case.decide_for(&EVERYTHING, None, None, 60).unwrap();
        assert_eq!(short.expires_in, 60, "never past the session's end");
        assert_eq!(case.decide_for(&EVERYTHING, None, None, 0), Err(Denied::Nothing));
    }

    #[test]
    fn who_is_suspended_or_has_no_role_gets_nothing() {
        let mut case = Case::seed();
        case.tenant.status = Status::Suspended;
        assert!(matches!(case.decide(&EVERYTHING, None), Err(Denied::TenantSuspended(_))));
        let mut case = Case::seed();
        case.client.status = Status::Suspended;
        assert_eq!(case.decide(&EVERYTHING, None), Err(Denied::ClientSuspended));
        let mut case = Case::seed();
        case.client.providers = Some(["other".parse().unwrap()].into());
        assert_eq!(case.decide(&EVERYTHING, None), Err(Denied::ProviderNotAllowed));
        let case = Case::seed();
        let facts = Facts {
            tenant: &case.tenant,
            client: &case.client,
            ceiling: None,
            subject: &case.subject,
            roles: &[],
            parent: None,
            vocabulary: &case.vocabulary,
            max_expires_in: None,
            session_lives: 3600,
        };
        assert_eq!(decide(&facts, &EVERYTHING), Err(Denied::NoRole));
    }

    #[test]
    fn a_role_that_crosses_tenants_is_for_the_platform_only() {
        let source = include_str!("../../templates/roles/platform-admin.json");
        let mut case = Case::seed();
        case.template = RoleTemplate::compile(source, &case.vocabulary, true).unwrap();
        case.crosses_tenants = true;
        assert!(matches!(case.decide(&EVERYTHING, None), Err(Denied::CrossesTenants(..))));
        case.tenant = tenant("platform");
        assert!(case.decide(&EVERYTHING, None).is_ok());
        // The mark stands beside the template: without it the same template leaves its tenant.
        case.crosses_tenants = false;
        assert!(matches!(case.decide(&EVERYTHING, None), Err(Denied::OutsideTenant(..))));
    }

    #[test]
    fn the_clients_ceiling_is_the_most_that_there_is() {
        let case = Case::seed();
        let ceiling = |source: &str| RoleTemplate::compile(source, &case.vocabulary, true).unwrap();
        let only_reading = ceiling(
            r#"{"permissions": [{"role": "readonly", "cache": "calendar-events", "item": {"keyPrefix": "{{tenant.id}}:"}}]}"#,
        );
        let grant = case.decide_for(&EVERYTHING, None, Some(&only_reading), 3600).unwrap();
        assert_eq!(grant.permissions, case.permissions(&read_items()));
        let something_else = ceiling(
            r#"{"permissions": [{"role": "readonly", "cache": "other", "item": {"keyPrefix": "{{tenant.id}}:"}}]}"#,
        );
        let nothing = case.decide_for(&EVERYTHING, None, Some(&something_else), 3600);
        assert_eq!(nothing, Err(Denied::Nothing), "empty is an error, never everything");
    }

    #[test]
    fn a_request_narrows_and_an_exact_one_may_not_ask_for_more() {
        let case = Case::seed();
        let narrower = read_items();
        let request = TokenRequest { details: Some(&narrower), exact: true, ..EVERYTHING };
        assert_eq!(case.decide(&request, None).unwrap().permissions, case.permissions(&narrower));
        for wider in [
            json!([{ "role": "readonly", "cache": "calendar-events", "item": { "keyPrefix": "acme" } }]),
            json!([{ "role": "readonly", "cache": "calendar-events", "item": { "keyPrefix": "globex:" } }]),
            json!([{ "role": "readwrite", "cache": "calendar-events", "item": { "keyPrefix": "acme:" } }]),
            json!([{ "role": "readonly", "cache": "calendar-events", "item": { "all": true } }]),
            json!([{ "role": "readonly", "cache": { "all": true }, "item": { "keyPrefix": "acme:" } }]),
            json!([narrower[0], { "role": "readonly", "cache": "other", "item": { "keyPrefix": "acme:" } }]),
            json!([]),
        ] {
            let request = TokenRequest { details: Some(&wider), exact: true, ..EVERYTHING };
            assert_eq!(case.decide(&request, None), Err(Denied::DetailsTooWide), "{wider}");
        }
        let unknown = json!([{ "role": "readonly", "bucket": "b" }]);
        let request = TokenRequest { details: Some(&unknown), ..EVERYTHING };
        assert!(matches!(case.decide(&request, None), Err(Denied::Details(_))));
    }

    #[test]
    fn a_child_never_has_more_than_its_parent_nor_lives_longer() {
        let case = Case::seed();
        let permissions = case.permissions(&read_items());
        let scope = ScopeSet::default();
        let parent = Parent { permissions: &permissions, scope: &scope, lives: 10 };
        let grant = case.decide(&EVERYTHING, Some(parent)).unwrap();
        assert_eq!((grant.permissions, grant.expires_in), (permissions.clone(), 10));
        let topic =
            json!([{ "role": "subscribeonly", "cache": "collaboration", "topic": "acme-events" }]);
        let request = TokenRequest { details: Some(&topic), exact: true, ..EVERYTHING };
        assert_eq!(case.decide(&request, Some(parent)), Err(Denied::DetailsTooWide));
    }

    #[test]
    fn scopes_narrow_scopes_only() {
        let source = r#"{"scope": ["a:read", "b:read"], "permissions": [{"role": "readonly", "cache": "c", "item": {"keyPrefix": "{{tenant.id}}:"}}]}"#;
        let case = Case::of(source);
        let scope: ScopeSet = "a:read".parse().unwrap();
        let request = TokenRequest { scope: Some(&scope), exact: true, ..EVERYTHING };
        let grant = case.decide(&request, None).unwrap();
        assert_eq!((grant.scope, grant.permissions.len()), (scope, 1));
        let wider: ScopeSet = "a:read z:all".parse().unwrap();
        let request = TokenRequest { scope: Some(&wider), exact: true, ..EVERYTHING };
        assert_eq!(case.decide(&request, None), Err(Denied::ScopeTooWide));
        let other: ScopeSet = "z:all".parse().unwrap();
        let request = TokenRequest { scope: Some(&other), ..EVERYTHING };
        assert_eq!(case.decide(&request, None), Err(Denied::ScopeTooWide));
    }

    #[test]
    fn one_template_that_does_not_render_and_there_is_nothing() {
        let source = r#"{"permissions": [{"role": "readonly", "cache": "c", "item": {"keyPrefix": "{{tenant.id}}:{{user.claims.region}}:"}}]}"#;
        assert!(matches!(Case::of(source).decide(&EVERYTHING, None), Err(Denied::Render(..))));
    }
}
