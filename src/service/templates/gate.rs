//! What a template has to fit into before it is published, read at one moment.

use crate::catalog::{STANDARD_VOCABULARY, parse_vocabulary};
use crate::database::{self, Database, DatabaseError, DbConnection};
use crate::domain::ids::{Role, TenantId};
use crate::domain::permission::Vocabulary;
use crate::domain::template::Limits;
use crate::domain::template::RoleTemplate;
use crate::domain::template::proof::Subjected;
use crate::domain::template::review::{self, Candidate, Review, Surroundings};
use crate::domain::template::version::{TemplateName, VersionRecord};
use crate::service::templates::{NotDone, check_changeable};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Everything that the gate rests on, as the database has it.
pub(in crate::service) struct Stored {
    /// Of the lock: whoever publishes refuses if it has moved on.
    pub(super) position: u64,
    vocabulary: Option<String>,
    limits: Option<Limits>,
    roles: Vec<database::roles::StoredRole>,
    pub(super) published: Vec<VersionRecord>,
}

pub(super) fn read(c: &mut DbConnection) -> Result<Stored, DatabaseError> {
    // The position first: what changes from here on moves it.
    let position = database::templates::position(c)?;
    Ok(Stored {
        position,
        vocabulary: database::documents::find_vocabulary(c)?,
        limits: database::documents::find_limits(c)?,
        roles: database::roles::list(c)?,
        published: database::templates::list_published(c)?,
    })
}

/// A role, as the gate needs it.
pub(super) struct GateRole {
    crosses_tenants: bool,
    ceiling: Option<RoleTemplate>,
}

/// The same, compiled.
pub(super) struct Installation {
    pub(super) vocabulary: Vocabulary,
    limits: Limits,
    roles: BTreeMap<Role, GateRole>,
    pub(super) published: BTreeMap<TemplateName, (u64, Arc<RoleTemplate>)>,
}

impl Stored {
    /// Takes time: many tenants may have their own versions. Many of these are the same text.
    pub(super) fn compile(&self) -> Result<Installation, DatabaseError> {
        let vocabulary =
            parse_vocabulary(self.vocabulary.as_deref().unwrap_or(STANDARD_VOCABULARY))?;
        let mut roles = BTreeMap::new();
        for stored in &self.roles {
            let compile = |ceiling: &String| RoleTemplate::compile(ceiling, &vocabulary, true);
            let ceiling = stored.ceiling.as_ref().map(compile).transpose();
            let ceiling = ceiling.map_err(|_| DatabaseError::Corrupt("ceiling"))?;
            let role = GateRole { crosses_tenants: stored.crosses_tenants, ceiling };
            roles.insert(stored.role.clone(), role);
        }
        let mut compiled: HashMap<(bool, &str), Arc<RoleTemplate>> = HashMap::new();
        let mut published = BTreeMap::new();
        for version in &self.published {
            let of_role = roles.get(&version.name.role).is_some_and(|role| role.crosses_tenants);
            let crosses = of_role && version.name.tenant.is_none();
            let template = if let Some(same) = compiled.get(&(crosses, version.source.as_str())) {
                Arc::clone(same)
            } else {
                let template = RoleTemplate::compile(&version.source, &vocabulary, crosses)
                    .map_err(|_| DatabaseError::Corrupt("role template"))?;
                let template = Arc::new(template);
                compiled.insert((crosses, &version.source), Arc::clone(&template));
                template
            };
            published.insert(version.name.clone(), (version.version, template));
        }
        Ok(Installation { vocabulary, limits: self.limits.unwrap_or_default(), roles, published })
    }
}

impl Installation {
    pub(super) fn crosses_tenants(&self, name: &TemplateName) -> bool {
        name.tenant.is_none() && self.roles.get(&name.role).is_some_and(|role| role.crosses_tenants)
    }

    /// What counts now where this template would count.
    pub(super) fn in_force(&self, name: &TemplateName) -> Option<&RoleTemplate> {
        let own = self.published.get(name);
        let found = own.or_else(|| self.published.get(&TemplateName::base(name.role.clone())));
        found.map(|(_, template)| &**template)
    }

    pub(super) fn overrides(
        &self,
        role: &Role,
    ) -> impl Iterator<Item = (&TenantId, u64, &RoleTemplate)> {
        self.published.iter().filter(move |(name, _)| name.role == *role).filter_map(
            |(name, (version, template))| Some((name.tenant.as_ref()?, *version, &**template)),
        )
    }

    pub(super) fn review(&self, name: &TemplateName, source: &str) -> Review {
        self.review_beside(name, source, &[])
    }

    /// Each as if all of them were published.
    pub(super) fn review_all(&self, proposed: &[(TemplateName, String)]) -> Vec<Review> {
        let compiled: Vec<_> = proposed
            .iter()
            .map(|(name, source)| {
                let crosses = self.crosses_tenants(name);
                (name, RoleTemplate::compile(source, &self.vocabulary, crosses).ok())
            })
            .collect();
        proposed.iter().map(|(name, source)| self.review_beside(name, source, &compiled)).collect()
    }

    /// Among what is published, where `beside` comes in place of what has its names. What does not compile
    /// there is refused by its own review.
    fn review_beside(
        &self,
        name: &TemplateName,
        source: &str,
        beside: &[(&TemplateName, Option<RoleTemplate>)],
    ) -> Review {
        let role = self.roles.get(&name.role);
        let ceiling = role.filter(|_| name.tenant.is_some()).and_then(|role| role.ceiling.as_ref());
        let candidate = Candidate {
            name,
            source,
            crosses_tenants: self.crosses_tenants(name),
            ceiling,
            previous: self.in_force(name),
        };
        let around = Surroundings { vocabulary: &self.vocabulary, limits: &self.limits };
        let stays = |other: &TemplateName| beside.iter().all(|(proposed, _)| *proposed != other);
        let published = self.published.iter().filter(|(other, _)| stays(other)).map(
            |(other, (version, template))| (other.at(*version).to_string(), other, &**template),
        );
        let proposed = beside
            .iter()
            .filter_map(|(other, template)| Some((other.to_string(), *other, template.as_ref()?)));
        let named: Vec<(String, &TemplateName, &RoleTemplate)> = published
            .chain(proposed)
            .filter(|(_, other, _)| *other != name && !self.crosses_tenants(other))
            .collect();
        let others: Vec<Subjected<'_>> = named
            .iter()
            .map(|(shown, name, template)| Subjected {
                name: shown,
                tenant: name.tenant.as_ref(),
                template,
            })
            .collect();
        review::review(&candidate, &others, &around)
    }
}

/// Runs what takes time where it holds nobody up.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DatabaseError> + Send + 'static,
) -> Result<T, DatabaseError> {
    tokio::task::spawn_blocking(work).await?
}

/// What publishing all of these at once would find. Nothing is saved.
pub async fn review_all(
    database: &Database,
    proposed: &[(TemplateName, String)],
) -> Result<Vec<Review>, NotDone> {
    let proposed = proposed.to_vec();
    let names: Vec<_> = proposed.iter().map(|(name, _)| name.clone()).collect();
    let gather = move |c: &mut DbConnection| {
        for name in &names {
            if let Err(not) = check_changeable(c, name)? {
                return Ok(Err(not));
            }
        }
        read(c).map(Ok)
    };
    let stored: Stored = database.survey(gather).await??;
    Ok(aside(move || Ok(stored.compile()?.review_all(&proposed))).await?)
}

/// What publishing this would find. Nothing is saved.
pub async fn review(
    database: &Database,
    name: &TemplateName,
    source: &str,
) -> Result<Review, NotDone> {
    let (name, source) = (name.clone(), source.to_owned());
    let wanted = name.clone();
    let gather = move |c: &mut DbConnection| match check_changeable(c, &wanted)? {
        Ok(()) => read(c).map(Ok),
        Err(not) => Ok(Err(not)),
    };
    let stored: Stored = database.survey(gather).await??;
    Ok(aside(move || Ok(stored.compile()?.review(&name, &source))).await?)
}
