//! What the hot path needs of the database, in memory and bounded: clients, tenants, providers,
//! compiled role templates, and the live revocations. It follows the logs of the database: a change
//! made on any node counts here as soon as it is announced, and within the poll interval in any case.

mod recent;
mod shelf;

use crate::catalog::recent::Recent;
use crate::catalog::shelf::Shelf;
use crate::clock::Clock;
use crate::database::log::{self, Batch, Change, ChangeKind};
use crate::database::{self, Database, DatabaseError};
use crate::domain::Time;
use crate::domain::client::Client;
use crate::domain::grant::RoleFacts;
use crate::domain::ids::{ClientId, ProviderId, Role, TenantId};
use crate::domain::permission::Vocabulary;
use crate::domain::provider::Provider;
use crate::domain::revocation::RevocationView;
use crate::domain::role_mapping::RoleMapping;
use crate::domain::template::version::TemplateName;
use crate::domain::template::{Bound, Limits, RoleTemplate};
use crate::domain::tenant::{Status, Tenant};
use chrono::TimeDelta;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};
use tokio::sync::watch;

pub use crate::catalog::recent::News;

/// The vocabulary that counts where a deployment declares none.
pub const STANDARD_VOCABULARY: &str = include_str!("../../templates/resources.toml");

/// Entries of one kind that are held at most.
const CAPACITY: usize = 20_000;

const FORGET_EVERY: TimeDelta = TimeDelta::seconds(30);
/// What a request waits for the logs.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(2);

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
    /// All that it may yield: there can be many, and each decision asks for one.
    tenants: HashSet<TenantId>,
}

impl KnownProvider {
    /// Whether its people may be this tenant's, as things are now.
    pub fn may_yield(&self, tenant: &TenantId) -> bool {
        self.provider.status == Status::Active && self.tenants.contains(tenant)
    }
}

/// A role's published template, or a tenant's own, compiled.
#[derive(Debug)]
pub struct KnownRole {
    pub role: Role,
    pub crosses_tenants: bool,
    pub template: RoleTemplate,
    /// `data-entry@17`, `data-entry@3/acme`, as claim `tpl` has it.
    pub version: String,
}

/// What counts for a role in a tenant.
#[derive(Clone, Debug)]
pub struct RoleInForce {
    pub known: Arc<KnownRole>,
    /// The most that a tenant's own version may grant. None: it is the base.
    pub ceiling: Option<Arc<Bound>>,
}

impl RoleInForce {
    /// As the decision takes it.
    pub fn facts(&self) -> RoleFacts<'_> {
        let Self { known, ceiling } = self;
        RoleFacts {
            role: &known.role,
            template: &known.template,
            ceiling: ceiling.as_deref(),
            version: &known.version,
            crosses_tenants: known.crosses_tenants,
        }
    }

    /// Whether it is the tenant's own, and not the base.
    pub const fn is_own(&self) -> bool {
        self.ceiling.is_some()
    }
}

/// A role's base template, and what it takes to know whether a tenant has its own.
struct KnownBase {
    base: Arc<KnownRole>,
    overrides: Option<Overrides>,
}

struct Overrides {
    ceiling: Arc<Bound>,
    tenants: Overriding,
}

/// The tenants that have their own version of a role.
enum Overriding {
    These(HashSet<TenantId>),
    /// Too many to be held: each is asked for.
    Many,
}

/// So many tenants with their own version of a role are held by name, so that all others cost no query.
const OVERRIDING: u32 = 4096;

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
    roles: Shelf<Role, KnownBase>,
    overrides: Shelf<(Role, TenantId), KnownRole>,
    vocabulary: RwLock<Arc<Vocabulary>>,
    limits: RwLock<Limits>,
    revocations: RwLock<RevocationView>,
    recent: RwLock<Recent>,
    /// The position that `revocations` and `recent` have reached.
    applied: watch::Sender<u64>,
    /// One catch-up at a time; the position of the change log that was applied.
    changes_applied: tokio::sync::Mutex<u64>,
    /// When the last catch-up that succeeded began.
    caught_up: Mutex<Instant>,
    /// For good: only a server that starts anew reads the whole log.
    log_went_back: AtomicBool,
}

/// The view of the log is older than it may be: nothing may be minted or called active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the revocation log has not been read for too long")]
pub struct Stale;

/// Never, where nobody announces anything.
async fn changed(announced: &mut watch::Receiver<u64>) {
    if announced.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

pub(crate) fn parse_vocabulary(source: &str) -> Result<Vocabulary, DatabaseError> {
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
        let (batch, endings, vocabulary, limits) = database
            .survey(move |c| {
                let endings = log::last_endings(c, now)?;
                let batch = log::read_after(c, 0, u64::MAX, now)?;
                let vocabulary = database::documents::find_vocabulary(c)?;
                Ok((batch, endings, vocabulary, database::documents::find_limits(c)?))
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
        let mut recent = Recent::default();
        recent.append(&batch.revocations, batch.revocation_head);
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
            overrides: Shelf::new(CAPACITY),
            vocabulary: RwLock::new(Arc::new(vocabulary)),
            limits: RwLock::new(limits.unwrap_or_default()),
            revocations: RwLock::new(view),
            recent: RwLock::new(recent),
            applied: watch::Sender::new(batch.revocation_head),
            changes_applied: tokio::sync::Mutex::new(batch.change_head),
            caught_up: Mutex::new(began),
            log_went_back: AtomicBool::new(false),
        })))
    }

    /// Follows the logs until the server stops: now and then, and at once where somebody announces a position.
    pub async fn follow(self, interval: Duration, mut announced: watch::Receiver<u64>) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        let mut forgotten = self.0.clock.now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = changed(&mut announced) => {}
            }
            let now = self.0.clock.now();
            if now - forgotten > FORGET_EVERY {
                forgotten = now;
                self.forget_expired(now);
            }
            match self.read_logs().await {
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

    /// Applies everything that was committed before this call. Where the logs cannot be read, all who ask are
    /// told so in the same time, and not one after the other.
    pub async fn catch_up(&self) -> Result<(), DatabaseError> {
        let limited = tokio::time::timeout(CATCH_UP_LIMIT, self.read_logs());
        limited.await.unwrap_or(Err(DatabaseError::TimedOut))
    }

    async fn read_logs(&self) -> Result<(), DatabaseError> {
        let inner = &self.0;
        let called = Instant::now();
        let mut changes_applied = inner.changes_applied.lock().await;
        // Of many who come at once, one reads for all who came before it began.
        if self.caught_up() >= called {
            return Ok(());
        }
        let began = Instant::now();
        let (now, changes_after) = (inner.clock.now(), *changes_applied);
        let revocations_after = self.revocations().applied();
        let batch = inner
            .database
            .survey(move |c| log::read_after(c, revocations_after, changes_after, now))
            .await?;
        // SECURITY: positions that were given out once are given out again, to other entries: this node would pass
        // them over. What was minted with a position of the lost log is known to nobody but who starts anew.
        if batch.revocation_head < revocations_after || inner.log_went_back.load(Ordering::Relaxed)
        {
            inner.log_went_back.store(true, Ordering::Relaxed);
            return Err(DatabaseError::WentBack);
        }
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
        drop(view);
        self.recent_mut().append(&batch.revocations, batch.revocation_head);
        // Last: whoever is woken finds it all.
        self.0.applied.send_replace(batch.revocation_head);
    }

    fn recent_mut(&self) -> RwLockWriteGuard<'_, Recent> {
        self.0.recent.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what can hit nothing any more. Looks at every entry, so it is done now and then.
    fn forget_expired(&self, now: Time) {
        self.0.revocations.write().unwrap_or_else(PoisonError::into_inner).forget(now);
        self.recent_mut().forget(now);
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
            ChangeKind::Role => change.key.parse().map(|name| self.forget_template(name)),
            ChangeKind::Limits => return self.read_limits().await,
            ChangeKind::Vocabulary => return self.forget_everything().await,
        }
        .map_err(|_| DatabaseError::Corrupt("change"))
    }

    /// A tenant's own version changes which tenants the role knows to have one.
    fn forget_template(&self, name: TemplateName) {
        let TemplateName { role, tenant } = name;
        self.0.roles.forget(&role);
        if let Some(tenant) = tenant {
            self.0.overrides.forget(&(role, tenant));
        }
    }

    async fn read_limits(&self) -> Result<(), DatabaseError> {
        let limits = self.0.database.read(database::documents::find_limits).await?;
        *self.0.limits.write().unwrap_or_else(PoisonError::into_inner) = limits.unwrap_or_default();
        Ok(())
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
        inner.overrides.forget_all();
        self.read_limits().await
    }

    /// The live revocations as this node knows them. Not to be held while waiting for anything.
    pub fn revocations(&self) -> RwLockReadGuard<'_, RevocationView> {
        self.0.revocations.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes in the moment in which this node has applied more of the log.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.0.applied.subscribe()
    }

    /// What was applied after a position, so many entries at most. None: it is too long ago to be known
    /// without the database.
    pub fn news(&self, after: u64, limit: usize) -> Option<News> {
        self.0.recent.read().unwrap_or_else(PoisonError::into_inner).after(after, limit)
    }

    /// The time since the last catch-up that succeeded began.
    pub fn age(&self) -> Duration {
        self.caught_up().elapsed()
    }

    pub fn check_fresh(&self) -> Result<(), Stale> {
        if self.age() <= self.0.stale_after { Ok(()) } else { Err(Stale) }
    }

    fn caught_up(&self) -> Instant {
        *self.0.caught_up.lock().unwrap_or_else(PoisonError::into_inner)
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
                let tenants = provider.tenants().into_iter().cloned().collect();
                Ok(KnownProvider { provider, rules, tenants })
            };
            found.map(know).transpose()
        };
        self.0.providers.find(id, load).await
    }

    /// The template that counts for a role in a tenant: the tenant's own, or the base.
    pub async fn role(
        &self,
        role: &Role,
        tenant: &TenantId,
    ) -> Result<Option<RoleInForce>, DatabaseError> {
        let load = async || self.load_base(role.clone()).await;
        let Some(known) = self.0.roles.find(role, load).await? else { return Ok(None) };
        let base = || RoleInForce { known: Arc::clone(&known.base), ceiling: None };
        let Some(overrides) = &known.overrides else { return Ok(Some(base())) };
        if let Overriding::These(tenants) = &overrides.tenants
            && !tenants.contains(tenant)
        {
            return Ok(Some(base()));
        }
        let name = TemplateName { role: role.clone(), tenant: Some(tenant.clone()) };
        let load = async || self.load_override(name).await;
        let own = self.0.overrides.find(&(role.clone(), tenant.clone()), load).await?;
        // The ceiling is the role's as it is known now, however long the tenant's version has been.
        let ceiling = || Some(Arc::clone(&overrides.ceiling));
        Ok(Some(own.map_or_else(base, |known| RoleInForce { known, ceiling: ceiling() })))
    }

    async fn load_base(&self, role: Role) -> Result<Option<KnownBase>, DatabaseError> {
        let read = move |c: &mut _| {
            let Some(stored) = database::roles::find(c, &role)? else { return Ok(None) };
            let name = TemplateName::base(role);
            let Some(published) = database::templates::find_published(c, &name)? else {
                return Ok(None);
            };
            let limit = OVERRIDING.saturating_add(1);
            let tenants = database::templates::overriding_tenants(c, &name.role, limit)?;
            Ok(Some((stored, published, tenants)))
        };
        let Some((stored, published, tenants)) = self.0.database.read(read).await? else {
            return Ok(None);
        };
        let vocabulary = self.vocabulary();
        let crosses_tenants = stored.crosses_tenants;
        let template = RoleTemplate::compile(&published.source, &vocabulary, crosses_tenants)
            .map_err(|_| DatabaseError::Corrupt("role template"))?;
        let version = published.name.at(published.version).to_string();
        let role = stored.role;
        let base = KnownRole { role, crosses_tenants, template, version };
        let overrides = match stored.ceiling {
            Some(ceiling) if !crosses_tenants && !tenants.is_empty() => {
                let ceiling = RoleTemplate::compile(&ceiling, &vocabulary, true)
                    .map_err(|_| DatabaseError::Corrupt("ceiling"))?;
                let many = u32::try_from(tenants.len()).is_ok_and(|count| count > OVERRIDING);
                let tenants = tenants.into_iter().collect();
                let tenants = if many { Overriding::Many } else { Overriding::These(tenants) };
                Some(Overrides { ceiling: Arc::new(Bound::of(&ceiling)), tenants })
            }
            _ => None,
        };
        Ok(Some(KnownBase { base: Arc::new(base), overrides }))
    }

    async fn load_override(&self, name: TemplateName) -> Result<Option<KnownRole>, DatabaseError> {
        let find = move |c: &mut _| database::templates::find_published(c, &name);
        let Some(found) = self.0.database.read(find).await? else { return Ok(None) };
        // SECURITY: whatever its role may do, a tenant's own version never crosses tenants.
        let template = RoleTemplate::compile(&found.source, &self.vocabulary(), false)
            .map_err(|_| DatabaseError::Corrupt("role template"))?;
        Ok(Some(KnownRole {
            version: found.name.at(found.version).to_string(),
            role: found.name.role,
            crosses_tenants: false,
            template,
        }))
    }

    /// The platform's limits on what templates grant.
    pub fn limits(&self) -> Limits {
        *self.0.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a node may go on with what it knows.
    pub fn stale_after(&self) -> Duration {
        self.0.stale_after
    }
}
