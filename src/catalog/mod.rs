//! What the hot path needs of the database, in memory and bounded: clients, tenants, providers,
//! compiled role templates, and the live revocations. It follows the logs of the database: a change
//! made on any node counts here within the poll interval.

mod shelf;

use crate::catalog::shelf::Shelf;
use crate::clock::Clock;
use crate::database::log::{self, Batch, Change, ChangeKind};
use crate::database::{self, Database, DatabaseError};
use crate::domain::client::Client;
use crate::domain::ids::{ClientId, ProviderId, Role, TenantId};
use crate::domain::permission::Vocabulary;
use crate::domain::provider::Provider;
use crate::domain::revocation::RevocationView;
use crate::domain::role_mapping::RoleMapping;
use crate::domain::template::RoleTemplate;
use crate::domain::tenant::Tenant;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

/// The vocabulary that counts where a deployment declares none.
pub const STANDARD_VOCABULARY: &str = include_str!("../../templates/resources.toml");

/// Entries of one kind that are held at most.
const CAPACITY: usize = 20_000;

const FORGET_EVERY: Duration = Duration::from_secs(30);

/// A client with its ceiling compiled.
#[derive(Debug)]
pub struct KnownClient {
    pub client: Client,
    pub ceiling: Option<RoleTemplate>,
}

/// A provider with its rules compiled.
#[derive(Debug)]
pub struct KnownProvider {
    pub provider: Provider,
    pub rules: Vec<RoleMapping>,
}

/// A role with its published template compiled.
#[derive(Debug)]
pub struct KnownRole {
    pub role: Role,
    pub crosses_tenants: bool,
    pub template: RoleTemplate,
    /// role@version, as claim `tpl` has it.
    pub version: String,
}

#[derive(Clone)]
pub struct Catalog(Arc<Inner>);

struct Inner {
    database: Database,
    clock: Clock,
    stale_after: Duration,
    clients: Shelf<ClientId, KnownClient>,
    origins: Shelf<String, ()>,
    tenants: Shelf<TenantId, Tenant>,
    providers: Shelf<ProviderId, KnownProvider>,
    roles: Shelf<Role, KnownRole>,
    vocabulary: RwLock<Arc<Vocabulary>>,
    revocations: RwLock<RevocationView>,
    /// One catch-up at a time; the position of the change log that was applied.
    changes_applied: tokio::sync::Mutex<u64>,
    /// When the last catch-up that succeeded began.
    caught_up: Mutex<Instant>,
}

/// The view of the log is older than it may be: nothing may be minted or called active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the revocation log has not been read for too long")]
pub struct Stale;

fn parse_vocabulary(source: &str) -> Result<Vocabulary, DatabaseError> {
    toml::from_str(source).map_err(|_| DatabaseError::Corrupt("vocabulary"))
}

impl Catalog {
    /// Reads the logs once, so that nothing is answered from ignorance.
    pub async fn open(
        database: Database,
        clock: Clock,
        stale_after: Duration,
    ) -> Result<Self, DatabaseError> {
        let (now, began) = (clock.now(), Instant::now());
        let (batch, endings, vocabulary) = database
            .read(move |c| {
                let endings = log::last_endings(c, now)?;
                let batch = log::read_after(c, 0, u64::MAX, now)?;
                Ok((batch, endings, database::documents::find_vocabulary(c)?))
            })
            .await?;
        let mut view = RevocationView::default();
        for (bucket, position) in endings {
            view.note_bucket_ending(bucket, position);
        }
        for revocation in &batch.revocations {
            view.apply(revocation);
        }
        view.advance_to(batch.revocation_head);
        let vocabulary = parse_vocabulary(vocabulary.as_deref().unwrap_or(STANDARD_VOCABULARY))?;
        Ok(Self(Arc::new(Inner {
            database,
            clock,
            stale_after,
            clients: Shelf::new(CAPACITY),
            origins: Shelf::new(CAPACITY),
            tenants: Shelf::new(CAPACITY),
            providers: Shelf::new(CAPACITY),
            roles: Shelf::new(CAPACITY),
            vocabulary: RwLock::new(Arc::new(vocabulary)),
            revocations: RwLock::new(view),
            changes_applied: tokio::sync::Mutex::new(batch.change_head),
            caught_up: Mutex::new(began),
        })))
    }

    /// Follows the logs until the server stops.
    pub async fn follow(self, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        let mut forgotten = Instant::now();
        loop {
            ticks.tick().await;
            if forgotten.elapsed() > FORGET_EVERY {
                forgotten = Instant::now();
                self.forget_expired();
            }
            match self.catch_up().await {
                Ok(()) => failing = false,
                // Once an outage: the next line would say the same.
                Err(error) if !failing => {
                    failing = true;
                    tracing::error!(%error, "the revocation log cannot be read; nothing is minted when this lasts");
                }
                Err(_) => {}
            }
        }
    }

    /// Applies everything that was committed before this call.
    pub async fn catch_up(&self) -> Result<(), DatabaseError> {
        let inner = &self.0;
        let mut changes_applied = inner.changes_applied.lock().await;
        let began = Instant::now();
        let (now, changes_after) = (inner.clock.now(), *changes_applied);
        let revocations_after = self.revocations().applied();
        let batch = inner
            .database
            .read(move |c| log::read_after(c, revocations_after, changes_after, now))
            .await?;
        // SECURITY: changes first. Whoever decides in between uses new facts and the old position, and a
        // token that is too old by its position only dies too soon.
        match &batch.changes {
            Some(changes) => {
                for change in changes {
                    self.apply_change(change).await?;
                }
            }
            None => self.forget_everything().await?,
        }
        self.apply_revocations(&batch);
        *changes_applied = batch.change_head;
        *inner.caught_up.lock().unwrap_or_else(PoisonError::into_inner) = began;
        Ok(())
    }

    fn apply_revocations(&self, batch: &Batch) {
        if batch.revocation_head == self.revocations().applied() {
            return;
        }
        let mut view = self.0.revocations.write().unwrap_or_else(PoisonError::into_inner);
        for revocation in &batch.revocations {
            view.apply(revocation);
        }
        view.advance_to(batch.revocation_head);
    }

    /// Drops what can hit nothing any more. Looks at every entry, so it is done now and then.
    fn forget_expired(&self) {
        let mut view = self.0.revocations.write().unwrap_or_else(PoisonError::into_inner);
        view.forget(self.0.clock.now());
    }

    async fn apply_change(&self, change: &Change) -> Result<(), DatabaseError> {
        let inner = &self.0;
        match change.kind {
            ChangeKind::Tenant => change.key.parse().map(|id| inner.tenants.forget(&id)),
            ChangeKind::Provider => change.key.parse().map(|id| inner.providers.forget(&id)),
            ChangeKind::Client => {
                inner.origins.forget_all();
                change.key.parse().map(|id| inner.clients.forget(&id))
            }
            ChangeKind::Role => change.key.parse().map(|id| inner.roles.forget(&id)),
            ChangeKind::Vocabulary => return self.forget_everything().await,
        }
        .map_err(|_| DatabaseError::Corrupt("change"))
    }

    /// What was compiled against an older vocabulary is worth nothing.
    async fn forget_everything(&self) -> Result<(), DatabaseError> {
        let inner = &self.0;
        let source = inner.database.read(database::documents::find_vocabulary).await?;
        let vocabulary = parse_vocabulary(source.as_deref().unwrap_or(STANDARD_VOCABULARY))?;
        *inner.vocabulary.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(vocabulary);
        inner.clients.forget_all();
        inner.origins.forget_all();
        inner.tenants.forget_all();
        inner.providers.forget_all();
        inner.roles.forget_all();
        Ok(())
    }

    /// The live revocations as this node knows them. Not to be held while waiting for anything.
    pub fn revocations(&self) -> RwLockReadGuard<'_, RevocationView> {
        self.0.revocations.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn check_fresh(&self) -> Result<(), Stale> {
        let caught_up = *self.0.caught_up.lock().unwrap_or_else(PoisonError::into_inner);
        if caught_up.elapsed() <= self.0.stale_after { Ok(()) } else { Err(Stale) }
    }

    pub fn vocabulary(&self) -> Arc<Vocabulary> {
        Arc::clone(&self.0.vocabulary.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub async fn tenant(&self, id: &TenantId) -> Result<Option<Arc<Tenant>>, DatabaseError> {
        let wanted = id.clone();
        let load =
            async || self.0.database.read(move |c| database::tenants::find(c, &wanted)).await;
        self.0.tenants.find(id, load).await
    }

    pub async fn client(&self, id: &ClientId) -> Result<Option<Arc<KnownClient>>, DatabaseError> {
        let wanted = id.clone();
        let load = async || {
            let client = self.0.database.read(move |c| database::clients::find(c, &wanted)).await?;
            client.map(|client| self.know_client(client)).transpose()
        };
        self.0.clients.find(id, load).await
    }

    fn know_client(&self, client: Client) -> Result<KnownClient, DatabaseError> {
        // A ceiling only takes away, so it need not keep to a tenant itself.
        let compile = |ceiling: &serde_json::Value| {
            RoleTemplate::compile(&ceiling.to_string(), &self.vocabulary(), true)
        };
        let ceiling = client.ceiling.as_ref().map(compile).transpose();
        Ok(KnownClient { ceiling: ceiling.map_err(|_| DatabaseError::Corrupt("ceiling"))?, client })
    }

    /// Whether any client has declared this browser origin.
    pub async fn origin_is_declared(&self, origin: &str) -> Result<bool, DatabaseError> {
        let wanted = origin.to_owned();
        let load = async || {
            let declares = move |c: &mut _| database::clients::declares_origin(c, &wanted);
            Ok(self.0.database.read(declares).await?.then_some(()))
        };
        Ok(self.0.origins.find(&origin.to_owned(), load).await?.is_some())
    }

    pub async fn provider(
        &self,
        id: &ProviderId,
    ) -> Result<Option<Arc<KnownProvider>>, DatabaseError> {
        let wanted = id.clone();
        let load = async || {
            let found =
                self.0.database.read(move |c| database::providers::find(c, &wanted)).await?;
            let know = |provider: Provider| {
                let rules = provider.mappings.iter();
                let rules = rules.map(|rule| RoleMapping::parse(rule, &provider.keep_claims));
                let rules = rules.collect::<Result<_, _>>();
                let rules = rules.map_err(|_| DatabaseError::Corrupt("role mapping"))?;
                Ok(KnownProvider { provider, rules })
            };
            found.map(know).transpose()
        };
        self.0.providers.find(id, load).await
    }

    pub async fn role(&self, role: &Role) -> Result<Option<Arc<KnownRole>>, DatabaseError> {
        let wanted = role.clone();
        let load = async || {
            let find = move |c: &mut _| database::roles::find_published(c, &wanted);
            let Some(found) = self.0.database.read(find).await? else { return Ok(None) };
            let crosses_tenants = found.crosses_tenants;
            let template =
                RoleTemplate::compile(&found.source, &self.vocabulary(), crosses_tenants)
                    .map_err(|_| DatabaseError::Corrupt("role template"))?;
            let version = format!("{}@{}", found.role, found.version);
            Ok(Some(KnownRole { role: found.role, crosses_tenants, template, version }))
        };
        self.0.roles.find(role, load).await
    }
}
