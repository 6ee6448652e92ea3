//! What an installation is declared to be: its vocabulary, roles, tenants, providers and clients, and
//! what has to change so that it is so.

mod plan;
mod references;
#[cfg(test)]
mod tests;

pub use plan::{Change, Plan, PlannedRevocation, plan};
pub use references::PlanProblem;

use crate::domain::client::Client;
use crate::domain::ids::{ClientId, InvalidName, ProviderId, Role, TenantId};
use crate::domain::provider::Provider;
use crate::domain::secret::Secret;
use crate::domain::template::Limits;
use crate::domain::tenant::Tenant;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Everything declared, or everything that the database holds of it.
#[derive(Clone, Debug, Default)]
pub struct Deployment {
    /// The TOML source of the vocabulary. None: nothing is said about it.
    pub vocabulary: Option<String>,
    /// The limits on templates. None: nothing is said about them.
    pub limits: Option<Limits>,
    pub roles: Vec<RoleDeclaration>,
    pub tenants: Vec<Tenant>,
    pub providers: Vec<ProviderDeclaration>,
    pub clients: Vec<Client>,
}

/// What the database holds, in the same shapes, providers' secrets opened.
pub type Current = Deployment;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleDeclaration {
    pub role: Role,
    /// The template document.
    pub source: String,
    /// Whether the template may reach beyond its tenant: for those who run the installation.
    pub crosses_tenants: bool,
    /// The template of the most that a tenant's own version may grant. None: tenants have none.
    pub ceiling: Option<String>,
}

#[derive(Clone, Debug)]
pub struct ProviderDeclaration {
    /// Without its sealed secret, which differs at every sealing.
    pub provider: Provider,
    pub client_secret: Option<Secret<String>>,
}

/// The name of something declared. The order is that in which things may be created.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryId {
    Vocabulary,
    Limits,
    Role(Role),
    Tenant(TenantId),
    Provider(ProviderId),
    Client(ClientId),
}

/// Something declared.
#[derive(Clone, Debug)]
pub enum Entry {
    Vocabulary(String),
    Limits(Limits),
    Role(RoleDeclaration),
    Tenant(Tenant),
    Provider(Box<ProviderDeclaration>),
    Client(Box<Client>),
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vocabulary => f.write_str("vocabulary"),
            Self::Limits => f.write_str("limits on templates"),
            Self::Role(id) => write!(f, "role {id}"),
            Self::Tenant(id) => write!(f, "tenant {id}"),
            Self::Provider(id) => write!(f, "provider {id}"),
            Self::Client(id) => write!(f, "client {id}"),
        }
    }
}

/// Text that does not name an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEntryId {
    #[error(
        "write KIND:ID with KIND one of role, tenant, provider and client (or `vocabulary`, or `templates`)"
    )]
    Form,
    #[error(transparent)]
    Name(#[from] InvalidName),
}

/// `tenant:acme`
impl FromStr for EntryId {
    type Err = InvalidEntryId;
    fn from_str(text: &str) -> Result<Self, InvalidEntryId> {
        match text {
            "vocabulary" => return Ok(Self::Vocabulary),
            "templates" => return Ok(Self::Limits),
            _ => {}
        }
        let (kind, id) = text.split_once(':').ok_or(InvalidEntryId::Form)?;
        Ok(match kind {
            "role" => Self::Role(id.parse()?),
            "tenant" => Self::Tenant(id.parse()?),
            "provider" => Self::Provider(id.parse()?),
            "client" => Self::Client(id.parse()?),
            _ => return Err(InvalidEntryId::Form),
        })
    }
}

impl Entry {
    pub fn id(&self) -> EntryId {
        match self {
            Self::Vocabulary(_) => EntryId::Vocabulary,
            Self::Limits(_) => EntryId::Limits,
            Self::Role(entry) => EntryId::Role(entry.role.clone()),
            Self::Tenant(entry) => EntryId::Tenant(entry.id.clone()),
            Self::Provider(entry) => EntryId::Provider(entry.provider.id.clone()),
            Self::Client(entry) => EntryId::Client(entry.id.clone()),
        }
    }
}

impl Deployment {
    fn entries(&self) -> BTreeMap<EntryId, Entry> {
        let provider = |entry: &ProviderDeclaration| {
            let mut entry = entry.clone();
            entry.provider.client_secret = None;
            Entry::Provider(Box::new(entry))
        };
        let vocabulary = self.vocabulary.iter().cloned().map(Entry::Vocabulary);
        vocabulary
            .chain(self.limits.map(Entry::Limits))
            .chain(self.roles.iter().cloned().map(Entry::Role))
            .chain(self.tenants.iter().cloned().map(Entry::Tenant))
            .chain(self.providers.iter().map(provider))
            .chain(self.clients.iter().cloned().map(Box::new).map(Entry::Client))
            .map(|entry| (entry.id(), entry))
            .collect()
    }
}

impl FromIterator<Entry> for Deployment {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut deployment = Self::default();
        for entry in entries {
            match entry {
                Entry::Vocabulary(source) => deployment.vocabulary = Some(source),
                Entry::Limits(limits) => deployment.limits = Some(limits),
                Entry::Role(entry) => deployment.roles.push(entry),
                Entry::Tenant(entry) => deployment.tenants.push(entry),
                Entry::Provider(entry) => deployment.providers.push(*entry),
                Entry::Client(entry) => deployment.clients.push(*entry),
            }
        }
        deployment
    }
}
