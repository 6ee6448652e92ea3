//! Somebody made up, for whom a template is rendered when it is tested.

use crate::domain::ids::ClientId;
use crate::domain::ids::SubjectId;
use crate::domain::ids::TenantId;
use crate::domain::template::values::RenderInput;
use crate::domain::template::values::Source;
use crate::domain::template::values::User;
use crate::domain::tenant::AttributeValue;
use crate::domain::tenant::Status;
use crate::domain::tenant::Tenant;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

pub(super) const DEFAULT_USER: &str = "u_test";
pub(super) const DEFAULT_CLIENT: &str = "test";

/// A tenant, a user of it perhaps, and a client.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) tenant: Tenant,
    pub(super) user: Option<(SubjectId, Map<String, Value>)>,
    pub(super) client: ClientId,
}

/// A tenant that is called as its id.
pub(super) fn tenant(id: TenantId) -> Tenant {
    Tenant {
        name: id.to_string(),
        id,
        attributes: BTreeMap::new(),
        status: Status::Active,
        session_idle: None,
        session_absolute: None,
        max_expires_in: None,
    }
}

impl Given {
    pub(super) fn input(&self) -> RenderInput<'_> {
        let user = self.user.as_ref().map(|(id, claims)| User { id, claims });
        RenderInput { tenant: &self.tenant, user, client: &self.client }
    }

    /// Puts a value where a template reads it. `false` where such a value cannot come to be: the
    /// name of a tenant is always text, an id is always one.
    pub(super) fn put(&mut self, source: &Source, value: &Value) -> bool {
        let Some((user, claims)) = &mut self.user else { return false };
        let text = value.as_str();
        match source {
            Source::TenantId | Source::Variable(_) => false,
            Source::TenantName => text.map(|text| text.clone_into(&mut self.tenant.name)).is_some(),
            Source::TenantAttribute(name) => {
                let value = serde_json::from_value::<AttributeValue>(value.clone());
                let put = value.map(|value| self.tenant.attributes.insert(name.to_string(), value));
                put.is_ok()
            }
            Source::UserId => {
                let id = text.and_then(|text| format!("u_{text}").parse().ok());
                id.map(|id| *user = id).is_some()
            }
            Source::ClientId => {
                let id = text.and_then(|text| text.parse().ok());
                id.map(|id| self.client = id).is_some()
            }
            Source::Groups => {
                claims.insert("groups".into(), value.clone());
                true
            }
            Source::Claim(names) => put_claim(claims, names, value),
        }
    }
}

fn put_claim(claims: &mut Map<String, Value>, names: &[Box<str>], value: &Value) -> bool {
    match names {
        [] => false,
        [name] => {
            claims.insert(name.to_string(), value.clone());
            true
        }
        [name, rest @ ..] => {
            let inner = claims.entry(name.to_string()).or_insert_with(|| Map::new().into());
            if !inner.is_object() {
                *inner = Map::new().into();
            }
            inner.as_object_mut().is_some_and(|inner| put_claim(inner, rest, value))
        }
    }
}
