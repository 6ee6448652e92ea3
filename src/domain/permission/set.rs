//! A set of permissions, normalised: none is covered by another one, and the order is stable.

use crate::domain::permission::single::Extent;
use crate::domain::permission::single::Permission;
use crate::domain::permission::single::PermissionError;
use crate::domain::permission::single::Resource;
use crate::domain::permission::vocabulary::Actions;
use crate::domain::permission::vocabulary::Vocabulary;
use serde::Serialize;
use serde_json::Value;

/// The most permissions that one `authorization_details` may hold.
pub const MAX_PARSED: usize = 256;

/// How many pairs of permissions an intersection takes up. Each may meet each, and a request chooses
/// one of the sides, so without a bound it could make a node work for minutes.
const MAX_MET: usize = 2048;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct PermissionSet(Vec<Permission>);

/// A permission with what tells quickly that it cannot cover another one. Each may cover each, so that
/// a set of a thousand asks this a million times.
struct Measured {
    permission: Permission,
    actions: Actions,
    extent: Extent,
}

impl Measured {
    fn new(permission: Permission, v: &Vocabulary) -> Self {
        let (actions, extent) = (permission.listed_actions(v), permission.extent());
        Self { permission, actions, extent }
    }
    fn covers(&self, other: &Self) -> bool {
        self.extent.may_cover(other.extent)
            && other.actions.is_subset(self.actions)
            && self.permission.selects_all_of(&other.permission)
    }
}

impl PermissionSet {
    /// An `authorization_details` array (RFC 9396).
    pub fn parse(value: &Value, v: &Vocabulary) -> Result<Self, PermissionError> {
        let Value::Array(list) = value else {
            return Err(PermissionError::new("$", "permissions are a JSON array"));
        };
        if list.len() > MAX_PARSED {
            let problem = format!("holds more than {MAX_PARSED} permissions");
            return Err(PermissionError::new("$", problem));
        }
        let parse = |(index, value)| {
            Permission::parse(value, v).map_err(|error| error.within(&format!("$[{index}]")))
        };
        let parsed: Vec<_> = list.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        Ok(Self::from_permissions(parsed, v))
    }

    pub fn from_permissions(
        permissions: impl IntoIterator<Item = Permission>,
        v: &Vocabulary,
    ) -> Self {
        let mut found: Vec<Permission> = permissions.into_iter().collect();
        found.sort();
        found.dedup();
        let mut kept: Vec<Measured> = Vec::with_capacity(found.len());
        for permission in found {
            let measured = Measured::new(permission, v);
            if !kept.iter().any(|other| other.covers(&measured)) {
                kept.retain(|other| !measured.covers(other));
                kept.push(measured);
            }
        }
        Self(kept.into_iter().map(|measured| measured.permission).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Permission> {
        self.0.iter()
    }

    #[must_use]
    pub fn union(&self, other: &Self, v: &Vocabulary) -> Self {
        Self::from_permissions(self.0.iter().chain(&other.0).cloned(), v)
    }

    /// What both allow, in the roles that the vocabulary has for it: never more than either. It is
    /// less than both allow where no role fits, and where it would take absurdly many permissions.
    #[must_use]
    pub fn intersection(&self, other: &Self, v: &Vocabulary) -> Self {
        let pairs = self.0.iter().flat_map(|own| other.0.iter().map(move |other| (own, other)));
        let met = pairs.flat_map(|(own, other)| own.intersection(other, v));
        Self::from_permissions(met.take(MAX_MET), v)
    }

    /// Whether all that the permission allows is allowed here, if need be by several together.
    pub fn covers(&self, permission: &Permission, v: &Vocabulary) -> bool {
        let listed = permission.listed_actions(v);
        let selecting = self.0.iter().filter(|own| own.selects_all_of(permission));
        // SECURITY: a role that the vocabulary does not know lists nothing, and that is not covered.
        !listed.is_empty()
            && selecting
                .fold(listed, |missing, own| missing.without(own.listed_actions(v)))
                .is_empty()
    }

    pub fn covers_all(&self, other: &Self, v: &Vocabulary) -> bool {
        other.0.iter().all(|permission| self.covers(permission, v))
    }

    /// The permission that lets this request act, if there is one.
    pub fn allows(&self, request: &Resource, action: &str, v: &Vocabulary) -> Option<&Permission> {
        self.0.iter().find(|permission| permission.allows(request, action, v))
    }
}
