//! The ceiling of a role as it bounds what a tenant's own template renders to.

use crate::domain::permission::PermissionSet;
use crate::domain::permission::Vocabulary;
use crate::domain::scope::ScopeSet;
use crate::domain::template::render::Body;
use crate::domain::template::render::ClaimTemplate;
use crate::domain::template::render::Item;
use crate::domain::template::render::Rendered;
use crate::domain::template::render::RoleTemplate;
use crate::domain::template::values::RenderInput;

/// A ceiling in parts, each of which stands for itself: one that needs a value that somebody does not have
/// grants nothing, and takes nothing away from what the others allow. `ceiling` reads it in the same way.
#[derive(Clone, Debug)]
pub struct Bound {
    /// Templates of one permission or one claim each.
    parts: Vec<RoleTemplate>,
    scope: ScopeSet,
    expires_in: Option<u32>,
}

impl Bound {
    pub fn of(ceiling: &RoleTemplate) -> Self {
        let mut alone = Vec::new();
        for item in &ceiling.items {
            alone.extend(permissions_of(item));
        }
        let part = |items: Vec<Item>, claims: Vec<(String, ClaimTemplate)>| RoleTemplate {
            items,
            claims,
            scope: ScopeSet::default(),
            ..ceiling.clone()
        };
        let permissions = alone.into_iter().map(|item| part(vec![item], Vec::new()));
        let claims = ceiling.claims.iter().map(|claim| part(Vec::new(), vec![claim.clone()]));
        Self {
            parts: permissions.chain(claims).collect(),
            scope: ceiling.scope.clone(),
            expires_in: ceiling.expires_in,
        }
    }

    /// Leaves of what was rendered what the ceiling grants too. A claim can mean anything to whoever reads
    /// it, so it stays only if the ceiling gives the same.
    pub fn cut(&self, rendered: &mut Rendered, input: &RenderInput<'_>, v: &Vocabulary) {
        let mut permissions = PermissionSet::default();
        let mut claims = serde_json::Map::new();
        for part in self.parts.iter().filter_map(|part| part.render(input, v).ok()) {
            permissions = permissions.union(&part.permissions, v);
            claims.extend(part.claims);
        }
        rendered.permissions = rendered.permissions.intersection(&permissions, v);
        rendered.scope = rendered.scope.intersection(&self.scope);
        rendered.expires_in = match (rendered.expires_in, self.expires_in) {
            (Some(own), Some(most)) => Some(own.min(most)),
            (own, most) => own.or(most),
        };
        rendered.claims.retain(|name, value| claims.get(name) == Some(value));
    }
}

/// Each permission below an object, with the conditions and lists around it.
fn permissions_of(item: &Item) -> Vec<Item> {
    let Body::Group(inner) = &item.body else { return vec![item.clone()] };
    let alone = inner.iter().flat_map(permissions_of);
    alone.map(|inner| Item { body: Body::Group(vec![inner]), ..item.clone() }).collect()
}
