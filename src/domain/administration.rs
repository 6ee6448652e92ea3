//! Who may administer what: the answer of a token's permissions on the resource type `rolemint`.

use crate::domain::ids::TenantId;
use crate::domain::permission::Permission;
use crate::domain::permission::PermissionSet;
use crate::domain::permission::Resource;
use crate::domain::permission::Vocabulary;
use serde_json::json;

/// The resource type of administration.
const TYPE: &str = "rolemint";

/// A part of the administration: the selector `area`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    Templates,
    /// Sessions, and what is revoked by hand.
    Sessions,
}

impl Area {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Templates => "templates",
            Self::Sessions => "sessions",
        }
    }
}

/// What is to be done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    View,
    Manage,
}

impl Act {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Manage => "manage",
        }
    }
}

/// Whom it concerns: the selector `tenant`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach<'a> {
    Tenant(&'a TenantId),
    /// Every tenant there is and will be.
    AllTenants,
}

/// Whether a token of the tenant `own`, with these permissions, may do it.
///
/// SECURITY: a tenant's token reaches its own tenant and no further, whatever its permissions say;
/// the boundary check sees to it that they say no more, and this does not rest on it. Reaching all
/// tenants takes a permission for all of them: one for a tenant that is called `*` is not that.
pub fn may(
    permissions: &PermissionSet,
    own: &TenantId,
    act: Act,
    area: Area,
    reach: Reach<'_>,
    v: &Vocabulary,
) -> bool {
    let action = act.as_str();
    match reach {
        Reach::Tenant(tenant) => {
            if tenant != own && !own.is_platform() {
                return false;
            }
            let selectors = [("area", area.as_str()), ("tenant", tenant.as_str())];
            let Ok(resource) = Resource::new(TYPE, selectors, v) else { return false };
            permissions.allows(&resource, action, v).is_some()
        }
        Reach::AllTenants => {
            let whole = json!({
                "type": TYPE, "role": action, "area": area.as_str(), "tenant": { "all": true },
            });
            let Ok(whole) = Permission::parse(&whole, v) else { return false };
            own.is_platform() && permissions.covers(&whole, v)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn vocabulary() -> Vocabulary {
        toml::from_str(include_str!("../../templates/resources.toml")).unwrap()
    }
    fn tenant(id: &str) -> TenantId {
        id.parse().unwrap()
    }
    fn allowed(details: &Value, own: &str, act: Act, reach: Option<&str>) -> bool {
        let v = vocabulary();
        let set = PermissionSet::parse(details, &v).unwrap();
        let wanted = reach.map(tenant);
        let reach = wanted.as_ref().map_or(Reach::AllTenants, Reach::Tenant);
        may(&set, &tenant(own), act, Area::Templates, reach, &v)
    }

    #[test]
    fn a_tenants_admin_reaches_her_own_tenant() {
        let ada = json!([{ "role": "manage", "area": "templates", "tenant": "acme" }]);
        for act in [Act::View, Act::Manage] {
            assert!(allowed(&ada, "acme", act, Some("acme")));
            for other in ["globex", "acme-corp", "platform"] {
                assert!(!allowed(&ada, "acme", act, Some(other)), "{other}");
            }
            assert!(!allowed(&ada, "acme", act, None));
        }
        let otto = json!([{ "role": "view", "area": "templates", "tenant": "acme" }]);
        assert!(allowed(&otto, "acme", Act::View, Some("acme")));
        assert!(!allowed(&otto, "acme", Act::Manage, Some("acme")));
        let elsewhere = json!([{ "role": "manage", "area": "audit", "tenant": "acme" }]);
        assert!(!allowed(&elsewhere, "acme", Act::View, Some("acme")));
    }

    #[test]
    fn all_tenants_are_reached_by_a_permission_for_all_of_them() {
        let root = json!([{ "role": "manage", "area": {"all": true}, "tenant": {"all": true} }]);
        assert!(allowed(&root, "platform", Act::Manage, None));
        assert!(allowed(&root, "platform", Act::Manage, Some("acme")));
        let viewer = json!([{ "role": "view", "area": "templates", "tenant": {"all": true} }]);
        assert!(allowed(&viewer, "platform", Act::View, None));
        assert!(!allowed(&viewer, "platform", Act::Manage, None));
        for less in [json!("*"), json!("platform"), json!({ "namePrefix": "a" })] {
            let details = json!([{ "role": "manage", "area": "templates", "tenant": less }]);
            assert!(!allowed(&details, "platform", Act::View, None), "{less}");
        }
        // One tenant of the platform's choosing.
        let one = json!([{ "role": "manage", "area": "templates", "tenant": "acme" }]);
        assert!(allowed(&one, "platform", Act::Manage, Some("acme")));
        assert!(!allowed(&one, "platform", Act::Manage, Some("globex")));
    }

    #[test]
    fn a_tenants_token_never_reaches_further_than_its_tenant() {
        let all = json!([{ "role": "manage", "area": {"all": true}, "tenant": {"all": true} }]);
        assert!(!allowed(&all, "acme", Act::View, None));
        assert!(!allowed(&all, "acme", Act::View, Some("globex")));
        assert!(allowed(&all, "acme", Act::View, Some("acme")));
    }

    #[test]
    fn without_the_resource_type_nobody_administers() {
        let v = vocabulary();
        let root = json!([{ "role": "manage", "area": {"all": true}, "tenant": {"all": true} }]);
        let set = PermissionSet::parse(&root, &v).unwrap();
        let other: Vocabulary = toml::from_str(
            "[types.lamp]\nselectors = ['lamp']\nkind = 'tenant'\nactions = { on = 'lamp' }\n\
             roles = { switch = ['on'] }\n",
        )
        .unwrap();
        let own = tenant("platform");
        for reach in [Reach::AllTenants, Reach::Tenant(&own)] {
            assert!(!may(&set, &own, Act::View, Area::Templates, reach, &other));
        }
    }
}
