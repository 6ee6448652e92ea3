//! What one person gets with the template that counts, and what with the candidate.

use crate::catalog::{KnownClient, RoleInForce};
use crate::database::DatabaseError;
use crate::domain::client::{
    Client, ClientAuthentication, ExchangePolicy, Lifetimes, RefreshTokens, SigningAlgorithm,
    TokenFormat,
};
use crate::domain::grant::{self, Facts, Grant, RoleFacts, TokenRequest};
use crate::domain::impact::{Effect, Held};
use crate::domain::permission::Vocabulary;
use crate::domain::subject::Subject;
use crate::domain::template::version::TemplateName;
use crate::domain::template::{Bound, RoleTemplate};
use crate::domain::tenant::Status;
use crate::service::impact::{NotRun, Stopped};
use crate::service::issue::{NotIssued, Standing};
use crate::service::templates;
use crate::service::{Inner, Unavailable};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is being looked at, compiled.
pub(super) struct Candidate {
    pub(super) name: TemplateName,
    /// As it would be called where it stands in a message.
    version: String,
    template: RoleTemplate,
    ceiling: Option<Bound>,
    crosses_tenants: bool,
    /// That it was compiled with: all that is compared must be of the same.
    pub(super) vocabulary: Arc<Vocabulary>,
}

/// Whose rights are compared.
#[derive(Clone, Copy)]
pub(super) struct Person<'a> {
    pub(super) subject: &'a Subject,
    pub(super) standing: &'a Standing,
    pub(super) client: &'a KnownClient,
    pub(super) request: TokenRequest<'a>,
}

impl Inner {
    /// Compiles what the gate has let pass, with the vocabulary that this node knows.
    pub(super) async fn impact_candidate(
        &self,
        name: &TemplateName,
        source: &str,
    ) -> Result<Candidate, NotRun> {
        let vocabulary = self.catalog.vocabulary();
        let role = templates::show_role(&self.database, &name.role).await?;
        let crosses_tenants = role.crosses_tenants && name.tenant.is_none();
        let compile = |source: &str, crosses| RoleTemplate::compile(source, &vocabulary, crosses);
        // The gate has let it pass, with the vocabulary of the database.
        let template = compile(source, crosses_tenants).map_err(|_| NotRun::VocabularyChanged)?;
        let ceiling = role.ceiling.filter(|_| name.tenant.is_some());
        let ceiling = ceiling.map(|ceiling| compile(&ceiling, true)).transpose();
        let ceiling = ceiling.map_err(|_| Unavailable::from(DatabaseError::Corrupt("ceiling")))?;
        Ok(Candidate {
            version: match &name.tenant {
                None => format!("{}@draft", name.role),
                Some(tenant) => format!("{}@draft/{tenant}", name.role),
            },
            name: name.clone(),
            template,
            ceiling: ceiling.as_ref().map(Bound::of),
            crosses_tenants,
            vocabulary,
        })
    }

    /// None: the candidate would not count for them.
    pub(super) async fn impact_on(
        &self,
        candidate: &Candidate,
        person: &Person<'_>,
    ) -> Result<Option<Effect>, Stopped> {
        let Standing { tenant, mapped } = person.standing;
        if !mapped.roles.contains(&candidate.name.role) {
            return Ok(None);
        }
        // What counts now for each of the roles; None: nothing.
        let mut in_force: Vec<Option<RoleInForce>> = Vec::with_capacity(mapped.roles.len());
        for role in &mapped.roles {
            let known = match self.in_force(role, &tenant.id).await {
                Ok(known) => Some(known),
                Err(NotIssued::Unavailable(unavailable)) => return Err(unavailable.into()),
                Err(_) => None,
            };
            let has_own = known.as_ref().is_some_and(RoleInForce::is_own);
            if *role == candidate.name.role && has_own && candidate.name.tenant.is_none() {
                return Ok(None);
            }
            in_force.push(known);
        }
        let v = &candidate.vocabulary;
        let decide = |roles: Option<Vec<RoleFacts<'_>>>| {
            let roles = roles.ok_or_else(|| "a role has no published template".to_owned())?;
            let facts = Facts {
                tenant,
                client: &person.client.client,
                ceiling: person.client.ceiling.as_ref(),
                subject: person.subject,
                roles: &roles,
                parent: None,
                vocabulary: v,
                max_expires_in: None,
                // How long it would last is not compared.
                session_lives: u32::MAX,
            };
            grant::decide(&facts, &person.request).map_err(|denied| denied.to_string())
        };
        let before = decide(in_force.iter().map(|known| now(known.as_ref())).collect());
        let then = mapped.roles.iter().zip(&in_force).map(|(role, known)| {
            if *role == candidate.name.role { Some(candidate.facts()) } else { now(known.as_ref()) }
        });
        let after = decide(then.collect());
        let before = before.as_ref().ok().map(held);
        let after = after.as_ref().map(held).map_err(Clone::clone);
        Ok(Some(Effect::between(before, after, v)))
    }
}

impl Candidate {
    fn facts(&self) -> RoleFacts<'_> {
        RoleFacts {
            role: &self.name.role,
            template: &self.template,
            ceiling: self.ceiling.as_ref(),
            version: &self.version,
            crosses_tenants: self.crosses_tenants,
        }
    }
}

fn now(known: Option<&RoleInForce>) -> Option<RoleFacts<'_>> {
    known.map(RoleInForce::facts)
}

fn held(grant: &Grant) -> Held<'_> {
    Held { permissions: &grant.permissions, scope: &grant.scope }
}

/// What stands for the client of somebody who is not signed in: one that bounds nothing.
pub(super) fn any_client() -> Result<KnownClient, DatabaseError> {
    let client = Client {
        id: "any-client".parse().map_err(|_| DatabaseError::Corrupt("client id"))?,
        name: String::new(),
        status: Status::Active,
        authentication: ClientAuthentication::None,
        grants: BTreeSet::new(),
        redirect_uris: Vec::new(),
        audiences: Vec::new(),
        introspects: BTreeSet::new(),
        ceiling: None,
        origins: BTreeSet::new(),
        providers: None,
        exchange: ExchangePolicy::default(),
        token_format: TokenFormat::default(),
        algorithm: SigningAlgorithm::default(),
        lifetimes: Lifetimes::default(),
        refresh_tokens: RefreshTokens::default(),
    };
    Ok(KnownClient { client, ceiling: None })
}
