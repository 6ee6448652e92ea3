//! The one line that every way to get a token runs along: map → render → bound → mint.

use crate::catalog::{KnownClient, RoleInForce};
use crate::domain::Time;
use crate::domain::authorization::Wanted;
use crate::domain::client::TokenFormat;
use crate::domain::grant::{self, Denied, Facts, Grant, Parent, RoleFacts, TokenRequest};
use crate::domain::ids::{ProviderId, Role, SubjectId, TenantId, TokenId};
use crate::domain::role_mapping::{self, Mapped, TraceEntry};
use crate::domain::secret::Secret;
use crate::domain::session::Session;
use crate::domain::subject::Subject;
use crate::domain::tenant::Tenant;
use crate::domain::token::{
    ACCESS_TOKEN_TYPE, AccessClaims, Audience, ID_TOKEN_TYPE, IdClaims, RefreshClaims,
    profile_claims,
};
use crate::service::{Inner, Unavailable};
use crate::signing::{self, KeyError};
use serde_json::value::RawValue;
use std::sync::Arc;

/// An answer of the token endpoint.
#[derive(Debug)]
pub struct Issued {
    pub access_token: Secret<String>,
    /// Seconds.
    pub expires_in: u32,
    pub expires_at: Time,
    pub scope: String,
    /// The permissions, as JSON.
    pub authorization_details: Box<RawValue>,
    pub refresh_token: Option<Secret<String>>,
    pub id_token: Option<Secret<String>>,
}

#[derive(Debug, thiserror::Error)]
pub enum NotIssued {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("the provider {0} is suspended or gone")]
    ProviderGone(ProviderId),
    #[error("the tenant {0} is gone")]
    TenantGone(TenantId),
    #[error("the role {0} has no published template")]
    NoTemplate(Role),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Who it is for, and from what.
#[derive(Clone, Copy)]
pub(super) struct Claimant<'a> {
    pub(super) subject: &'a Subject,
    pub(super) tenant: &'a TenantId,
    pub(super) parent: Option<Parent<'a>>,
    /// Seconds until the session ends.
    pub(super) session_lives: u32,
}

pub(super) struct Decided {
    pub(super) grant: Grant,
    pub(super) trace: Vec<TraceEntry>,
}

/// What a new access token is made of.
#[derive(Clone, Copy)]
pub(super) struct Mint<'a> {
    pub(super) known: &'a KnownClient,
    pub(super) session: &'a Session,
    pub(super) grant: &'a Grant,
    pub(super) audience: &'a [String],
    /// The access tokens that it descends from.
    pub(super) ancestors: &'a [TokenId],
    pub(super) revision: u64,
    pub(super) now: Time,
}

pub(super) fn seconds_until(end: Time, now: Time) -> u32 {
    u32::try_from((end - now).num_seconds().max(0)).unwrap_or(u32::MAX)
}

impl Wanted {
    pub(super) fn request(&self, exact: bool) -> TokenRequest<'_> {
        TokenRequest { scope: self.scope.as_ref(), details: self.details.as_ref(), exact }
    }
}

impl Session {
    pub(super) fn subject(&self) -> Subject {
        Subject {
            id: SubjectId::clone(&self.subject),
            provider: self.provider.clone(),
            claims: self.claims.clone(),
        }
    }
    pub(super) fn request(&self) -> TokenRequest<'_> {
        TokenRequest {
            scope: self.requested_scope.as_ref(),
            details: self.requested_details.as_ref(),
            exact: false,
        }
    }
}

/// Where somebody stands before anything is rendered.
pub(super) struct Standing {
    pub(super) tenant: Arc<Tenant>,
    pub(super) mapped: Mapped,
}

impl Inner {
    /// map, with the rules as they are now.
    pub(super) async fn standing(
        &self,
        subject: &Subject,
        tenant: &TenantId,
    ) -> Result<Standing, NotIssued> {
        let provider = self.catalog.provider(&subject.provider).await.map_err(Unavailable::from)?;
        // A tenant that was taken from the provider's table is taken from its people.
        let provider = provider
            .filter(|found| found.may_yield(tenant))
            .ok_or_else(|| NotIssued::ProviderGone(subject.provider.clone()))?;
        let found = self.catalog.tenant(tenant).await.map_err(Unavailable::from)?;
        let tenant = found.ok_or_else(|| NotIssued::TenantGone(tenant.clone()))?;
        let mapped = role_mapping::map(&provider.rules, &subject.claims, &tenant.id);
        Ok(Standing { tenant, mapped })
    }

    /// The template that counts for a role in a tenant.
    pub(super) async fn in_force(
        &self,
        role: &Role,
        tenant: &TenantId,
    ) -> Result<RoleInForce, NotIssued> {
        let known = self.catalog.role(role, tenant).await.map_err(Unavailable::from)?;
        known.ok_or_else(|| NotIssued::NoTemplate(role.clone()))
    }

    /// map → render → bound, with templates and rules as they are now.
    pub(super) async fn decide(
        &self,
        known: &KnownClient,
        claimant: Claimant<'_>,
        request: &TokenRequest<'_>,
    ) -> Result<Decided, NotIssued> {
        let Claimant { subject, tenant, parent, session_lives } = claimant;
        let Standing { tenant, mapped } = self.standing(subject, tenant).await?;
        let mut roles: Vec<RoleInForce> = Vec::with_capacity(mapped.roles.len());
        for role in &mapped.roles {
            roles.push(self.in_force(role, &tenant.id).await?);
        }
        let roles: Vec<RoleFacts<'_>> = roles.iter().map(RoleInForce::facts).collect();
        let facts = Facts {
            tenant: &tenant,
            client: &known.client,
            ceiling: known.ceiling.as_ref(),
            subject,
            roles: &roles,
            parent,
            vocabulary: &self.catalog.vocabulary(),
            max_expires_in: self.catalog.limits().max_expires_in,
            session_lives,
        };
        Ok(Decided { grant: grant::decide(&facts, request)?, trace: mapped.trace })
    }

    /// A signed (or sealed) access token.
    pub(super) fn mint(&self, mint: &Mint<'_>) -> Result<Issued, KeyError> {
        let Mint { known, session, grant, now, .. } = *mint;
        let exp = now.timestamp().saturating_add(i64::from(grant.expires_in));
        let scope = session.protocol_scope.union(&grant.scope).to_string();
        let details = serde_json::value::to_raw_value(&grant.permissions);
        let details = details.map_err(|_| KeyError::Library)?;
        let claims = AccessClaims {
            iss: self.issuer.clone(),
            sub: session.subject.clone(),
            aud: Audience::from(mint.audience.to_vec()),
            exp,
            iat: now.timestamp(),
            jti: TokenId::new(signing::random()?),
            client_id: known.client.id.clone(),
            sid: session.id,
            tenant: session.tenant.clone(),
            provider: session.provider.clone(),
            roles: grant.roles.clone(),
            scope: scope.clone(),
            authorization_details: details.clone(),
            tpl: grant.templates.clone(),
            rev: mint.revision,
            ancestors: mint.ancestors.to_vec(),
            session_client: (session.client != known.client.id).then(|| session.client.clone()),
            session_iat: Some(session.begun_at.timestamp())
                .filter(|begun| *begun < now.timestamp()),
            added: grant.claims.clone(),
        };
        let access_token = self.write_access_token(known, &claims)?;
        Ok(Issued {
            access_token: Secret::new(access_token),
            expires_in: grant.expires_in,
            expires_at: Time::from_timestamp(exp, 0).unwrap_or(now),
            scope,
            authorization_details: details,
            refresh_token: None,
            id_token: None,
        })
    }

    /// Signed or sealed, as the client is declared.
    pub(super) fn write_access_token(
        &self,
        known: &KnownClient,
        claims: &AccessClaims,
    ) -> Result<String, KeyError> {
        match known.client.token_format {
            TokenFormat::Jwt => self.keys.sign(known.client.algorithm, ACCESS_TOKEN_TYPE, claims),
            TokenFormat::Opaque => self.keys.seal_opaque(claims),
        }
    }

    pub(super) fn refresh_token(
        &self,
        session: &Session,
        generation: u32,
    ) -> Result<Option<Secret<String>>, KeyError> {
        let Some(key) = session.refresh_key else { return Ok(None) };
        let claims = RefreshClaims { key, session: session.id, generation };
        self.keys.write_refresh_token(&claims, &session.client).map(Some)
    }

    /// OpenID Connect Core §2: only where `openid` was asked for.
    pub(super) fn id_token(
        &self,
        known: &KnownClient,
        session: &Session,
        nonce: Option<&str>,
        now: Time,
    ) -> Result<Option<Secret<String>>, KeyError> {
        if !session.protocol_scope.contains("openid") {
            return Ok(None);
        }
        let lives = i64::from(known.client.lifetimes.access_token);
        let claims = IdClaims {
            iss: &self.issuer,
            sub: &session.subject,
            aud: &known.client.id,
            exp: now.timestamp().saturating_add(lives),
            iat: now.timestamp(),
            auth_time: session.authenticated_at.map(|at| at.timestamp()),
            nonce,
            sid: session.id,
            tenant: &session.tenant,
            profile: profile_claims(&session.claims, &session.protocol_scope),
        };
        self.keys.sign(known.client.algorithm, ID_TOKEN_TYPE, &claims).map(Secret::new).map(Some)
    }

    /// The audience of a new token: what was asked for, the client's first, or ourselves.
    pub(super) fn audience(&self, wanted: &[String], known: &KnownClient) -> Vec<String> {
        if !wanted.is_empty() {
            return wanted.to_vec();
        }
        vec![known.client.audiences.first().unwrap_or(&self.issuer).clone()]
    }
}
