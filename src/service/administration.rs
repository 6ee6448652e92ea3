//! Who administers: the holder of one of our access tokens whose permissions say so.

use crate::domain::administration::{self, Act, Area, Reach};
use crate::domain::ids::{SubjectId, TenantId};
use crate::domain::permission::PermissionSet;
use crate::domain::token::AccessClaims;
use crate::service::{Inner, Service, Unavailable};
use std::sync::Arc;

/// Somebody who has shown a live access token of ours, made for us. What they may do is asked with
/// [`Service::permit`] at every call.
#[derive(Clone, Debug)]
pub struct Administrator {
    claims: Arc<AccessClaims>,
    permissions: PermissionSet,
}

impl Administrator {
    /// The token's `sub`: who is named as having done it.
    pub fn subject(&self) -> &SubjectId {
        &self.claims.sub
    }
    /// The tenant that they belong to.
    pub fn tenant(&self) -> &TenantId {
        &self.claims.tenant
    }
    pub(super) fn claims(&self) -> &AccessClaims {
        &self.claims
    }
}

#[derive(Debug, thiserror::Error)]
pub enum NotAdministrator {
    #[error("the access token is not good, or not for this server")]
    InvalidToken,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    #[error("the access token holds no permission for this")]
    Forbidden,
    /// SECURITY: what another tenant has is not told, nor whether there is such a tenant.
    #[error("it is another tenant's, or there is no such tenant")]
    NotFound,
}

impl Service {
    pub async fn administrator(
        &self,
        access_token: &str,
    ) -> Result<Administrator, NotAdministrator> {
        let inner = &self.0;
        let now = inner.clock.now();
        inner.revision().map_err(Unavailable::from)?;
        let claims = inner.verify_access_token(access_token);
        let claims = claims.ok_or(NotAdministrator::InvalidToken)?;
        if !inner.is_for_us_alone(&claims) || !inner.is_active(&claims, now).await? {
            return Err(NotAdministrator::InvalidToken);
        }
        // A vocabulary that has changed since may no longer know its permissions: then it has none.
        let permissions = inner.permissions_of(&claims).unwrap_or_default();
        Ok(Administrator { claims, permissions })
    }

    /// Whether the administrator may do this for whom it concerns.
    pub fn permit(
        &self,
        administrator: &Administrator,
        act: Act,
        area: Area,
        reach: Reach<'_>,
    ) -> Result<(), NotPermitted> {
        let Administrator { claims, permissions } = administrator;
        let v = self.0.catalog.vocabulary();
        let may = |act| administration::may(permissions, &claims.tenant, act, area, reach, &v);
        if may(act) {
            return Ok(());
        }
        match reach {
            Reach::Tenant(tenant) if *tenant != claims.tenant && !may(Act::View) => {
                Err(NotPermitted::NotFound)
            }
            Reach::Tenant(_) | Reach::AllTenants => Err(NotPermitted::Forbidden),
        }
    }
}

impl Inner {
    /// SECURITY: a token with another audience is shown to that resource server, which could use it
    /// here; so the one for administration is for the issuer and for nobody beside it.
    fn is_for_us_alone(&self, claims: &AccessClaims) -> bool {
        claims.aud.iter().all(|audience| audience == self.issuer)
            && claims.aud.contains(&self.issuer)
    }
}
