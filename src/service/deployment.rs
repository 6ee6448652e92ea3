//! Makes the database hold what is declared: one transaction, with the revocations that it takes.

mod templates;

pub use self::templates::check_templates;

use crate::database::log::{self, Change as LogChange, ChangeKind};
use crate::database::templates::{NewVersion, TemplatesLock};
use crate::database::{self, Database, DatabaseError, DbConnection};
use crate::deployment::TemplateProblem;
use crate::domain::Time;
use crate::domain::audit::{AuditEvent, EventKind};
use crate::domain::deployment::{
    Change, Current, Deployment, Entry, EntryId, Plan, PlanProblem, ProviderDeclaration,
    RoleDeclaration, plan,
};
use crate::domain::ids::Role;
use crate::domain::provider::SealedSecret;
use crate::domain::revocation::NewRevocation;
use crate::domain::secret::Secret;
use crate::domain::template::version::{TemplateName, VersionRecord};
use crate::service::login::PROVIDER_SECRET;
use crate::signing::{KeyError, SealingKey};
use serde_json::json;
use std::collections::BTreeMap;

/// Who publishes, as history shows it.
const APPLY: &str = "rolemint apply";

#[derive(Debug, thiserror::Error)]
pub enum NotApplied {
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<PlanProblem>),
    #[error("{}", .0.iter().map(|p| format!("{}: {}", p.entry, p.message)).collect::<Vec<_>>().join("\n"))]
    Templates(Vec<TemplateProblem>),
    #[error("templates kept being published at the same time: try again")]
    Busy,
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// How often it is begun again because templates were published meanwhile.
const ATTEMPTS: usize = 8;

/// What was planned, and on what that rests.
struct Planned {
    plan: Plan,
    /// Of the lock on templates: what was checked counts only if it has not moved on.
    position: u64,
    published: Vec<VersionRecord>,
}

/// Plans, checks, and unless it is a dry run carries the plan out in one transaction.
pub async fn apply(
    database: &Database,
    sealing: &SealingKey,
    wanted: &Deployment,
    prune: &[EntryId],
    dry_run: bool,
    now: Time,
) -> Result<Plan, NotApplied> {
    for _ in 0..ATTEMPTS {
        let gather = gather(wanted, prune, sealing);
        let planned = database.survey(gather.clone()).await??;
        let (position, empty) = (planned.position, planned.plan.is_empty());
        let check = move || templates::check_outcome(planned.plan, &planned.published);
        let plan = tokio::task::spawn_blocking(check).await.map_err(DatabaseError::from)?;
        let plan = plan.map_err(NotApplied::Templates)?;
        if dry_run || empty {
            return Ok(plan);
        }
        let sealing = sealing.clone();
        let attempt = move |c: &mut DbConnection| {
            let lock = database::templates::lock(c)?;
            if lock.before != position {
                return Ok(Err(NotApplied::Busy));
            }
            let planned = match gather(c)? {
                Ok(planned) => planned,
                Err(problems) => return Ok(Err(problems)),
            };
            let mut planned = planned.plan;
            planned.remarks = plan.remarks;
            carry_out(c, &lock, &planned, &sealing, now)?;
            Ok(Ok(planned))
        };
        match database.attempt(attempt).await? {
            Err(NotApplied::Busy) => {}
            done => return done,
        }
    }
    Err(NotApplied::Busy)
}

/// Reads what there is, and compares it with what is wanted.
fn gather(
    wanted: &Deployment,
    prune: &[EntryId],
    sealing: &SealingKey,
) -> impl FnOnce(&mut DbConnection) -> Result<Result<Planned, NotApplied>, DatabaseError> + Clone + use<>
{
    let (wanted, prune, sealing) = (wanted.clone(), prune.to_vec(), sealing.clone());
    move |c| {
        // The position first: what changes from here on moves it.
        let position = database::templates::position(c)?;
        let published = database::templates::list_published(c)?;
        let current = read_current(c, &published, &sealing)?;
        Ok(match plan(&current, &wanted, &prune) {
            Ok(plan) => Ok(Planned { plan, position, published }),
            Err(problems) => Err(NotApplied::Problems(problems)),
        })
    }
}

/// What the database holds, in the shapes of a deployment.
fn read_current(
    c: &mut DbConnection,
    published: &[VersionRecord],
    sealing: &SealingKey,
) -> Result<Current, DatabaseError> {
    let bases = published.iter().filter(|version| version.name.tenant.is_none());
    let sources: BTreeMap<&Role, &String> =
        bases.map(|version| (&version.name.role, &version.source)).collect();
    let roles = database::roles::list(c)?.into_iter().filter_map(|found| {
        let source = sources.get(&found.role)?;
        Some(RoleDeclaration {
            source: (*source).clone(),
            role: found.role,
            crosses_tenants: found.crosses_tenants,
            ceiling: found.ceiling,
        })
    });
    let providers = database::providers::list(c)?.into_iter().map(|mut provider| {
        let sealed = provider.client_secret.take();
        let open = |sealed: SealedSecret| {
            let bytes = sealing.open(PROVIDER_SECRET, &sealed.0).ok()?;
            String::from_utf8(bytes.reveal().clone()).ok().map(Secret::new)
        };
        // A secret that cannot be opened is one that has to be written again.
        ProviderDeclaration { provider, client_secret: sealed.and_then(open) }
    });
    Ok(Deployment {
        vocabulary: database::documents::find_vocabulary(c)?,
        limits: database::documents::find_limits(c)?,
        roles: roles.collect(),
        tenants: database::tenants::list(c)?,
        providers: providers.collect(),
        clients: database::clients::list(c)?,
    })
}

fn carry_out(
    c: &mut DbConnection,
    lock: &TemplatesLock,
    plan: &Plan,
    sealing: &SealingKey,
    now: Time,
) -> Result<(), DatabaseError> {
    for change in &plan.changes {
        let id = match change {
            Change::Create(entry) | Change::Update { entry, .. } => {
                put(c, lock, entry, sealing, now)?;
                entry.id()
            }
            Change::Delete(id) => {
                delete(c, lock, id, now)?;
                id.clone()
            }
            Change::Unchanged(_) | Change::Absent(_) => continue,
        };
        log::append_change(c, &to_log(&id), now)?;
    }
    for planned in plan.revocations() {
        let revocation = NewRevocation {
            target: planned.target.clone(),
            tenant: planned.tenant.clone(),
            audience: Vec::new(),
            expires_at: planned.target.outlived_at(now),
            by: Some(APPLY.to_owned()),
            reason: planned.reason.clone(),
        };
        log::append_revocation(c, &revocation, now)?;
    }
    let event = AuditEvent {
        kind: EventKind::DeploymentApplied,
        at: now,
        tenant: None,
        subject: None,
        client: None,
        session: None,
        detail: json!({ "plan": plan.to_string() }),
    };
    database::audit::insert(c, &event)
}

fn put(
    c: &mut DbConnection,
    lock: &TemplatesLock,
    entry: &Entry,
    sealing: &SealingKey,
    now: Time,
) -> Result<(), DatabaseError> {
    match entry {
        Entry::Vocabulary(source) => database::documents::put_vocabulary(c, source),
        Entry::Limits(limits) => database::documents::put_limits(c, limits),
        Entry::Role(declared) => put_role(c, lock, declared, now),
        Entry::Tenant(tenant) => database::tenants::put(c, tenant),
        Entry::Provider(declared) => {
            let mut provider = declared.provider.clone();
            let seal = |secret: &Secret<String>| {
                let sealed = sealing.seal(PROVIDER_SECRET, secret.reveal().as_bytes());
                sealed.map(SealedSecret).map_err(|_| DatabaseError::Corrupt("provider secret"))
            };
            provider.client_secret = declared.client_secret.as_ref().map(seal).transpose()?;
            database::providers::put(c, &provider)
        }
        Entry::Client(client) => database::clients::put(c, client),
    }
}

/// A template that says what it said is no new version.
fn put_role(
    c: &mut DbConnection,
    lock: &TemplatesLock,
    declared: &RoleDeclaration,
    now: Time,
) -> Result<(), DatabaseError> {
    let RoleDeclaration { role, source, crosses_tenants, ceiling } = declared;
    database::roles::put(c, role, *crosses_tenants, ceiling.as_deref(), now)?;
    let name = TemplateName::base(role.clone());
    let published = database::templates::find_published(c, &name)?;
    if published.as_ref().is_some_and(|published| published.source == *source) {
        return Ok(());
    }
    let new = NewVersion {
        source,
        created_at: now,
        created_by: APPLY,
        at: now,
        by: APPLY,
        reason: "declared in the deployment file",
    };
    let expected = published.map(|published| published.version);
    let published = database::templates::publish(c, lock, &name, expected, &new)?;
    // Read a moment ago, under the lock.
    published.map_err(|_| DatabaseError::Corrupt("template version"))?;
    Ok(())
}

fn delete(
    c: &mut DbConnection,
    lock: &TemplatesLock,
    id: &EntryId,
    now: Time,
) -> Result<(), DatabaseError> {
    match id {
        EntryId::Vocabulary => database::documents::delete_vocabulary(c),
        EntryId::Limits => database::documents::delete_limits(c),
        EntryId::Role(id) => database::roles::delete(c, id),
        EntryId::Tenant(id) => {
            database::drafts::delete_of_tenant(c, id)?;
            for name in database::templates::delete_of_tenant(c, lock, id)? {
                let change = LogChange { kind: ChangeKind::Role, key: name.to_string() };
                log::append_change(c, &change, now)?;
            }
            database::tenants::delete(c, id)
        }
        EntryId::Provider(id) => database::providers::delete(c, id),
        EntryId::Client(id) => database::clients::delete(c, id),
    }
}

fn to_log(id: &EntryId) -> LogChange {
    let (kind, key) = match id {
        EntryId::Vocabulary => (ChangeKind::Vocabulary, String::new()),
        EntryId::Limits => (ChangeKind::Limits, String::new()),
        EntryId::Role(id) => (ChangeKind::Role, id.to_string()),
        EntryId::Tenant(id) => (ChangeKind::Tenant, id.to_string()),
        EntryId::Provider(id) => (ChangeKind::Provider, id.to_string()),
        EntryId::Client(id) => (ChangeKind::Client, id.to_string()),
    };
    LogChange { kind, key }
}
