//! What a person would get with a template that is not published yet.

use crate::catalog::{KnownClient, KnownProvider, RoleInForce};
use crate::database::{self, DatabaseError};
use crate::domain::grant::{Facts, Grant, RoleFacts};
use crate::domain::ids::{ClientId, ProviderId, Role, SessionId, SubjectId, TenantId, TokenId};
use crate::domain::preview::{self, Candidate, Preview};
use crate::domain::role_mapping;
use crate::domain::scope::ScopeSet;
use crate::domain::subject::{ClaimsTooLarge, Subject};
use crate::domain::template::version::TemplateName;
use crate::domain::template::{Bound, RoleTemplate, TemplateErrors};
use crate::domain::tenant::{Status, Tenant};
use crate::domain::token::{AccessClaims, Audience};
use crate::service::administration::Administrator;
use crate::service::templates::{self, NotDone};
use crate::service::{Inner, Service, Unavailable};
use crate::signing::{self, KeyError};
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Whom to try it on.
#[derive(Clone, Debug)]
pub enum Person {
    /// Somebody who has signed in, with the claims of the last time.
    Known(SubjectId),
    TypedIn {
        tenant: TenantId,
        provider: ProviderId,
        /// What stands for the provider's `sub`.
        subject: String,
        claims: Map<String, Value>,
    },
}

#[derive(Clone, Debug)]
pub struct PreviewRequest<'a> {
    /// Of a tenant's own version: for people of this tenant alone.
    pub name: &'a TemplateName,
    /// The template to try.
    pub source: &'a str,
    pub person: Person,
    /// For which client, which has its own ceiling and lifetimes. None: that of the administrator's token.
    pub client: Option<ClientId>,
}

/// The preview, and whom it is of.
#[derive(Clone, Debug, Serialize)]
pub struct PreviewOf {
    pub subject: SubjectId,
    pub tenant: TenantId,
    pub provider: ProviderId,
    pub client: ClientId,
    /// Those that the provider's entry keeps.
    pub claims: Map<String, Value>,
    /// Names of claims that were typed in and that a sign-in would not keep.
    pub claims_not_kept: Vec<String>,
    /// The tenant's own version, which counts there instead of the base that is tried.
    pub overridden_by: Option<String>,
    #[serde(flatten)]
    pub preview: Preview,
}

#[derive(Debug, thiserror::Error)]
pub enum NotPreviewed {
    #[error(transparent)]
    Template(#[from] TemplateErrors),
    #[error(transparent)]
    NotDone(#[from] NotDone),
    #[error("the person has the role {0} too, which has no published template")]
    NoTemplate(Role),
    #[error("there is no such person, or not in this tenant")]
    NoSubject,
    #[error("there is no such tenant")]
    NoTenant,
    #[error("there is no active provider of this name that may yield this tenant")]
    NoProvider,
    #[error("there is no such client")]
    NoClient,
    #[error(transparent)]
    Claims(#[from] ClaimsTooLarge),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Everything that was gathered about the person.
struct Gathered {
    subject: Subject,
    claims_not_kept: Vec<String>,
    tenant: Arc<Tenant>,
    provider: Arc<KnownProvider>,
    client: Arc<KnownClient>,
}

impl Service {
    /// Reads only; nothing is minted that leaves this function.
    pub async fn preview(
        &self,
        administrator: &Administrator,
        request: &PreviewRequest<'_>,
    ) -> Result<PreviewOf, NotPreviewed> {
        let inner = &self.0;
        let vocabulary = inner.catalog.vocabulary();
        let TemplateName { role, tenant: only } = request.name;
        let stored = templates::show_role(&inner.database, role).await?;
        let crosses_tenants = stored.crosses_tenants && only.is_none();
        let template = RoleTemplate::compile(request.source, &vocabulary, crosses_tenants)?;
        let ceiling = stored.ceiling.filter(|_| only.is_some());
        let compile = |ceiling: String| RoleTemplate::compile(&ceiling, &vocabulary, true);
        let ceiling = ceiling.map(compile).transpose().map_err(|_| corrupt("ceiling"))?;
        let ceiling = ceiling.as_ref().map(Bound::of);
        let gathered = inner.gather(administrator, request).await?;
        let Gathered { subject, tenant, provider, client, .. } = &gathered;
        let mapped = role_mapping::map(&provider.rules, &subject.claims, &tenant.id);
        // Whoever is of a tenant with its own version is given that one, whatever the base says.
        let overridden_by = match only {
            Some(_) => None,
            None => inner.own_version(role, &tenant.id).await?,
        };
        let counts = mapped.roles.contains(role) && overridden_by.is_none();
        let mut others: Vec<RoleInForce> = Vec::with_capacity(mapped.roles.len());
        for other in mapped.roles.iter().filter(|other| !counts || *other != role) {
            let found = inner.catalog.role(other, &tenant.id).await.map_err(Unavailable::from)?;
            others.push(found.ok_or_else(|| NotPreviewed::NoTemplate(other.clone()))?);
        }
        let version = candidate_version(request.name);
        let candidate = RoleFacts {
            role,
            template: &template,
            ceiling: ceiling.as_ref(),
            version: &version,
            crosses_tenants,
        };
        let mut roles: Vec<RoleFacts<'_>> = others.iter().map(RoleInForce::facts).collect();
        if counts {
            roles.push(candidate);
        }
        // As a sign-in would have them.
        roles.sort_by(|one, other| one.role.cmp(other.role));
        let facts = Facts {
            tenant,
            client: &client.client,
            ceiling: client.ceiling.as_ref(),
            subject,
            roles: &roles,
            parent: None,
            vocabulary: &vocabulary,
            max_expires_in: inner.catalog.limits().max_expires_in,
            session_lives: u32::MAX,
        };
        let candidate = Candidate { role: candidate, counts };
        let measure = |grant: &Grant| inner.token_size(&gathered, grant);
        let preview = preview::preview(&facts, mapped.trace, &candidate, measure);
        let preview = preview.map_err(Unavailable::from)?;
        Ok(PreviewOf {
            subject: subject.id.clone(),
            tenant: tenant.id.clone(),
            provider: provider.provider.id.clone(),
            client: client.client.id.clone(),
            claims: subject.claims.clone(),
            claims_not_kept: gathered.claims_not_kept,
            overridden_by,
            preview,
        })
    }
}

fn candidate_version(name: &TemplateName) -> String {
    match &name.tenant {
        None => format!("{}@draft", name.role),
        Some(tenant) => format!("{}@draft/{tenant}", name.role),
    }
}

fn corrupt(what: &'static str) -> Unavailable {
    Unavailable::from(DatabaseError::Corrupt(what))
}

impl Inner {
    /// The tenant's own version of a role, if that is what counts there.
    async fn own_version(
        &self,
        role: &Role,
        tenant: &TenantId,
    ) -> Result<Option<String>, Unavailable> {
        let in_force = self.catalog.role(role, tenant).await?;
        // A ceiling stands beside a tenant's own version alone.
        let own = in_force.filter(|in_force| in_force.ceiling.is_some());
        Ok(own.map(|own| own.known.version.clone()))
    }

    async fn gather(
        &self,
        administrator: &Administrator,
        request: &PreviewRequest<'_>,
    ) -> Result<Gathered, NotPreviewed> {
        let client = request.client.as_ref().unwrap_or(&administrator.claims().client_id);
        let client = self.catalog.client(client).await.map_err(Unavailable::from)?;
        let client = client.ok_or(NotPreviewed::NoClient)?;
        let concerned =
            |tenant: &TenantId| request.name.tenant.as_ref().is_none_or(|only| only == tenant);
        match &request.person {
            Person::Known(id) => {
                let wanted = id.clone();
                let find = move |c: &mut _| database::subjects::find(c, &wanted);
                let found = self.database.read(find).await.map_err(Unavailable::from)?;
                // SECURITY: whoever is not of this tenant is not there.
                let found = found.filter(|(_, tenant)| concerned(tenant));
                let (subject, tenant) = found.ok_or(NotPreviewed::NoSubject)?;
                let (tenant, provider) = self.place(&tenant, &subject.provider).await?;
                Ok(Gathered { subject, claims_not_kept: Vec::new(), tenant, provider, client })
            }
            Person::TypedIn { tenant, provider, subject, claims } => {
                if !concerned(tenant) {
                    return Err(NotPreviewed::NoTenant);
                }
                let (tenant, provider) = self.place(tenant, provider).await?;
                let keep = &provider.provider.keep_claims;
                let subject = Subject::of(&provider.provider.id, subject, claims, keep)?;
                let claims_not_kept = claims.keys().filter(|name| !keep.contains(name));
                let claims_not_kept = claims_not_kept.cloned().collect();
                Ok(Gathered { subject, claims_not_kept, tenant, provider, client })
            }
        }
    }

    async fn place(
        &self,
        tenant: &TenantId,
        provider: &ProviderId,
    ) -> Result<(Arc<Tenant>, Arc<KnownProvider>), NotPreviewed> {
        let found = self.catalog.tenant(tenant).await.map_err(Unavailable::from)?;
        let tenant = found.ok_or(NotPreviewed::NoTenant)?;
        let found = self.catalog.provider(provider).await.map_err(Unavailable::from)?;
        let may = |known: &Arc<KnownProvider>| {
            known.provider.status == Status::Active && known.provider.tenants().contains(&tenant.id)
        };
        let provider = found.filter(may).ok_or(NotPreviewed::NoProvider)?;
        Ok((tenant, provider))
    }

    /// Of the token with all that is granted and the protocol scopes. It is of no session, so that
    /// it is worth nothing, and it goes no further than this function.
    fn token_size(&self, gathered: &Gathered, grant: &Grant) -> Result<usize, KeyError> {
        let Gathered { subject, tenant, provider, client, .. } = gathered;
        let now = self.clock.now().timestamp();
        let mut scope = ScopeSet::default();
        if let Ok(protocol) = "openid profile email".parse() {
            scope = scope.union(&protocol);
        }
        let details = serde_json::value::to_raw_value(&grant.permissions);
        let claims = AccessClaims {
            iss: self.issuer.clone(),
            sub: subject.id.clone(),
            aud: Audience::from(self.audience(&[], client)),
            exp: now.saturating_add(i64::from(grant.expires_in)),
            iat: now,
            jti: TokenId::new(signing::random()?),
            client_id: client.client.id.clone(),
            sid: SessionId::new(signing::random()?),
            tenant: tenant.id.clone(),
            provider: provider.provider.id.clone(),
            roles: grant.roles.clone(),
            scope: scope.union(&grant.scope).to_string(),
            authorization_details: details.map_err(|_| KeyError::Library)?,
            tpl: grant.templates.clone(),
            rev: self.catalog.revocations().applied(),
            ancestors: Vec::new(),
            session_client: None,
            session_iat: Some(now),
            added: grant.claims.clone(),
        };
        Ok(self.write_access_token(client, &claims)?.len())
    }
}
