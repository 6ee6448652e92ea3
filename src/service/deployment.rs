//! Makes the database hold what is declared: one transaction, with the revocations that it takes.

use crate::catalog::STANDARD_VOCABULARY;
use crate::database::log::{self, Change as LogChange, ChangeKind};
use crate::database::roles::Publication;
use crate::database::{self, Database, DatabaseError, DbConnection};
use crate::deployment::TemplateProblem;
use crate::domain::Time;
use crate::domain::audit::{AuditEvent, EventKind};
use crate::domain::client::Lifetimes;
use crate::domain::deployment::{
    Change, Current, Deployment, Entry, EntryId, Plan, PlanProblem, ProviderDeclaration,
    RoleDeclaration, plan,
};
use crate::domain::permission::Vocabulary;
use crate::domain::provider::SealedSecret;
use crate::domain::revocation::NewRevocation;
use crate::domain::secret::Secret;
use crate::domain::template::RoleTemplate;
use crate::service::login::PROVIDER_SECRET;
use crate::signing::{KeyError, SealingKey};
use chrono::TimeDelta;
use serde_json::json;

#[derive(Debug, thiserror::Error)]
pub enum NotApplied {
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<PlanProblem>),
    #[error("{}", .0.iter().map(|p| format!("{}: {}", p.entry, p.message)).collect::<Vec<_>>().join("\n"))]
    Templates(Vec<TemplateProblem>),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Compiles every template and ceiling against the vocabulary that they will meet.
pub fn check_templates(deployment: &Deployment) -> Vec<TemplateProblem> {
    let source = deployment.vocabulary.as_deref().unwrap_or(STANDARD_VOCABULARY);
    let vocabulary: Vocabulary = match toml::from_str(source) {
        Ok(vocabulary) => vocabulary,
        Err(error) => {
            let message = error.message().to_owned();
            return vec![TemplateProblem { entry: EntryId::Vocabulary, message }];
        }
    };
    let mut problems = Vec::new();
    for declared in &deployment.roles {
        let compiled =
            RoleTemplate::compile(&declared.source, &vocabulary, declared.crosses_tenants);
        if let Err(errors) = compiled {
            let entry = EntryId::Role(declared.role.clone());
            problems.push(TemplateProblem { entry, message: errors.to_string() });
        }
    }
    for client in &deployment.clients {
        let Some(ceiling) = &client.ceiling else { continue };
        if let Err(errors) = RoleTemplate::compile(&ceiling.to_string(), &vocabulary, true) {
            let entry = EntryId::Client(client.id.clone());
            problems.push(TemplateProblem { entry, message: format!("ceiling: {errors}") });
        }
    }
    problems
}

/// Plans, and unless it is a dry run carries the plan out, all in one transaction.
pub async fn apply(
    database: &Database,
    sealing: &SealingKey,
    wanted: &Deployment,
    prune: &[EntryId],
    dry_run: bool,
    now: Time,
) -> Result<Plan, NotApplied> {
    let (wanted, prune, sealing) = (wanted.clone(), prune.to_vec(), sealing.clone());
    let work = move |c: &mut DbConnection| {
        let current = read_current(c, &sealing)?;
        let plan = match plan(&current, &wanted, &prune) {
            Ok(plan) => plan,
            Err(problems) => return Ok(Err(NotApplied::Problems(problems))),
        };
        let problems = check_templates(&plan.outcome);
        if !problems.is_empty() {
            return Ok(Err(NotApplied::Templates(problems)));
        }
        if !dry_run && !plan.is_empty() {
            carry_out(c, &plan, &sealing, now)?;
        }
        Ok(Ok(plan))
    };
    if dry_run { database.read(work).await? } else { database.write(work).await? }
}

/// What the database holds, in the shapes of a deployment.
fn read_current(c: &mut DbConnection, sealing: &SealingKey) -> Result<Current, DatabaseError> {
    let roles = database::roles::list_published(c)?;
    let roles = roles.into_iter().map(|found| RoleDeclaration {
        role: found.role,
        source: found.source,
        crosses_tenants: found.crosses_tenants,
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
        roles: roles.collect(),
        tenants: database::tenants::list(c)?,
        providers: providers.collect(),
        clients: database::clients::list(c)?,
    })
}

fn carry_out(
    c: &mut DbConnection,
    plan: &Plan,
    sealing: &SealingKey,
    now: Time,
) -> Result<(), DatabaseError> {
    for change in &plan.changes {
        let id = match change {
            Change::Create(entry) | Change::Update { entry, .. } => {
                put(c, entry, sealing, now)?;
                entry.id()
            }
            Change::Delete(id) => {
                delete(c, id)?;
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
            // No session lives longer, so that no revocation has to be kept longer.
            expires_at: now + TimeDelta::seconds(i64::from(Lifetimes::LONGEST_SESSION)),
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
    entry: &Entry,
    sealing: &SealingKey,
    now: Time,
) -> Result<(), DatabaseError> {
    match entry {
        Entry::Vocabulary(source) => database::documents::put_vocabulary(c, source),
        Entry::Role(declared) => {
            let reason = "declared in the deployment file";
            let publication = Publication { by: "rolemint apply", reason, at: now };
            let RoleDeclaration { role, source, crosses_tenants } = declared;
            database::roles::publish(c, role, *crosses_tenants, source, &publication).map(|_| ())
        }
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

fn delete(c: &mut DbConnection, id: &EntryId) -> Result<(), DatabaseError> {
    match id {
        EntryId::Vocabulary => database::documents::delete_vocabulary(c),
        EntryId::Role(id) => database::roles::delete(c, id),
        EntryId::Tenant(id) => database::tenants::delete(c, id),
        EntryId::Provider(id) => database::providers::delete(c, id),
        EntryId::Client(id) => database::clients::delete(c, id),
    }
}

fn to_log(id: &EntryId) -> LogChange {
    let (kind, key) = match id {
        EntryId::Vocabulary => (ChangeKind::Vocabulary, String::new()),
        EntryId::Role(id) => (ChangeKind::Role, id.to_string()),
        EntryId::Tenant(id) => (ChangeKind::Tenant, id.to_string()),
        EntryId::Provider(id) => (ChangeKind::Provider, id.to_string()),
        EntryId::Client(id) => (ChangeKind::Client, id.to_string()),
    };
    LogChange { kind, key }
}
