//! The guard of `/api/v1`: nothing of a request is looked at before its access token, and nothing is told
//! before the token's permissions say that it may be.

use crate::domain::administration::{Act, Area, Reach};
use crate::domain::ids::{Role, TenantId};
use crate::domain::template::review::Review;
use crate::domain::template::version::TemplateName;
use crate::http::api::problem::{Kind, Problem};
use crate::http::bearer::bearer;
use crate::service::Service;
use crate::service::administration::Administrator;
use crate::service::templates::Author;
use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use std::pin::Pin;
use std::str::FromStr;

/// Whoever calls, with a live access token of ours that is for this server alone.
pub(in crate::http) struct Admin {
    pub(super) administrator: Administrator,
    pub(super) service: Data<Service>,
    request: HttpRequest,
}

impl FromRequest for Admin {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let service = request.app_data::<Data<Service>>().cloned();
            let unready = || Problem::new(Kind::Unavailable, "the server is not ready yet");
            let service = service.ok_or_else(unready)?;
            let detail = "send an access token in the Authorization header (Bearer)";
            let missing = || Problem::new(Kind::NotAuthenticated, detail);
            let token = bearer(&request).ok_or_else(missing)?;
            let administrator = service.administrator(token).await?;
            Ok(Self { administrator, service, request })
        })
    }
}

impl Admin {
    /// What concerns the role templates of all tenants.
    pub(super) fn permit_all(&self, act: Act) -> Result<(), Problem> {
        self.permit(act, Reach::AllTenants)
    }

    /// The tenant that the address names.
    pub(super) fn tenant(&self, act: Act) -> Result<TenantId, Problem> {
        let tenant = self.named("tenant")?;
        self.permit(act, Reach::Tenant(&tenant))?;
        Ok(tenant)
    }

    /// The role that the address names, for whoever may do this for all tenants.
    pub(super) fn role(&self, act: Act) -> Result<Role, Problem> {
        self.permit_all(act)?;
        self.named("role")
    }

    /// The template that the address names: a role's, or a tenant's own.
    pub(super) fn template(&self, act: Act) -> Result<TemplateName, Problem> {
        let tenant = if self.request.match_info().get("tenant").is_some() {
            Some(self.tenant(act)?)
        } else {
            self.permit_all(act)?;
            None
        };
        Ok(TemplateName { role: self.named("role")?, tenant })
    }

    /// Whom something of this area may be done for: the tenant that is wanted; without one, a tenant's own, and
    /// all (None) for the platform.
    pub(super) fn scope(
        &self,
        area: Area,
        act: Act,
        wanted: Option<TenantId>,
    ) -> Result<Option<TenantId>, Problem> {
        let own = self.administrator.tenant();
        let scope = wanted.or_else(|| (!own.is_platform()).then(|| own.clone()));
        self.permit_in(area, act, scope.as_ref().map_or(Reach::AllTenants, Reach::Tenant))?;
        Ok(scope)
    }

    /// A number that the address names.
    pub(super) fn number(&self, name: &str) -> Result<u64, Problem> {
        self.named(name)
    }

    fn permit(&self, act: Act, reach: Reach<'_>) -> Result<(), Problem> {
        self.permit_in(Area::Templates, act, reach)
    }

    pub(super) fn permit_in(&self, area: Area, act: Act, reach: Reach<'_>) -> Result<(), Problem> {
        Ok(self.service.permit(&self.administrator, act, area, reach)?)
    }

    /// What is not a name is not there.
    pub(super) fn named<T: FromStr>(&self, name: &str) -> Result<T, Problem> {
        let text = self.request.match_info().get(name);
        text.and_then(|text| text.parse().ok()).ok_or_else(Problem::not_found)
    }

    pub(super) fn author(&self, reason: String) -> Author {
        let subject = self.administrator.subject();
        Author { name: subject.to_string(), subject: Some(subject.clone()), reason }
    }

    /// SECURITY: a tenant's administrator is told nothing of what other tenants have.
    pub(super) fn may_see(&self, review: Review) -> Review {
        let tenant = self.administrator.tenant();
        if tenant.is_platform() { review } else { review.concealed_from(tenant) }
    }
}
