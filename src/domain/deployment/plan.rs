//! What has to change so that the database holds what is declared.

use crate::domain::deployment::{
    Current, Deployment, Entry, EntryId, PlanProblem, ProviderDeclaration, RoleDeclaration,
    references,
};
use crate::domain::ids::TenantId;
use crate::domain::provider::{Provider, ProviderKind, TenantBinding};
use crate::domain::revocation::RevocationTarget;
use crate::domain::secret::{Digest, Secret};
use crate::domain::tenant::Status;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One entry's part in a plan.
#[derive(Clone, Debug)]
pub enum Change {
    Create(Entry),
    Update {
        entry: Entry,
        /// What differs, in words that hold no secret.
        differences: Vec<String>,
    },
    Delete(EntryId),
    Unchanged(EntryId),
    /// To be pruned, and not there: a plan that is applied again, or a slip of the pen.
    Absent(EntryId),
}

/// A revocation that a change must append in the same transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRevocation {
    pub target: RevocationTarget,
    /// Where set, only what belongs to this tenant ends.
    pub tenant: Option<TenantId>,
    pub reason: String,
}

/// What has to be done, in an order in which it can be done.
#[derive(Clone, Debug)]
pub struct Plan {
    pub changes: Vec<Change>,
    /// What there will be when it is done: what templates have to be checked against.
    pub outcome: Deployment,
    revocations: Vec<PlannedRevocation>,
    /// What else people should know before it is done.
    pub remarks: Vec<String>,
}

/// Compares what is declared with what there is. Only what `prune` names is deleted.
pub fn plan(
    current: &Current,
    wanted: &Deployment,
    prune: &[EntryId],
) -> Result<Plan, Vec<PlanProblem>> {
    let have = current.entries();
    let want = wanted.entries();
    let prune: BTreeSet<EntryId> = prune.iter().cloned().collect();

    let mut outcome = have.clone();
    outcome.extend(want.clone());
    outcome.retain(|id, _| !prune.contains(id));
    let outcome: Deployment = outcome.into_values().collect();

    let both = prune.iter().filter(|id| want.contains_key(*id));
    let mut problems: Vec<_> = both.cloned().map(PlanProblem::DeclaredAndPruned).collect();
    if problems.is_empty() {
        problems = references::check(&outcome, &prune);
    }
    if !problems.is_empty() {
        return Err(problems);
    }

    let mut plan =
        Plan { changes: Vec::new(), outcome, revocations: Vec::new(), remarks: Vec::new() };
    for (id, entry) in want {
        plan.put(id, have.get(&entry.id()), entry);
    }
    // What names others goes before what it names.
    for id in prune.into_iter().rev() {
        plan.delete(id, &have);
    }
    Ok(plan)
}

impl Plan {
    /// The revocations that must be appended, whatever it takes.
    pub fn revocations(&self) -> &[PlannedRevocation] {
        &self.revocations
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let idle = |change: &Change| matches!(change, Change::Unchanged(_) | Change::Absent(_));
        self.changes.iter().all(idle)
    }

    pub fn deletes(&self) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::Delete(_)))
    }

    fn put(&mut self, id: EntryId, old: Option<&Entry>, new: Entry) {
        let Some(old) = old else { return self.changes.push(Change::Create(new)) };
        let differences = differences(old, &new);
        if differences.is_empty() {
            self.changes.push(Change::Unchanged(id));
        } else {
            self.revoke_for_update(old, &new);
            self.changes.push(Change::Update { entry: new, differences });
        }
    }

    fn delete(&mut self, id: EntryId, have: &BTreeMap<EntryId, Entry>) {
        if !have.contains_key(&id) {
            return self.changes.push(Change::Absent(id));
        }
        self.revoke(&id, None, "deleted");
        self.changes.push(Change::Delete(id));
    }

    fn revoke(&mut self, id: &EntryId, tenant: Option<TenantId>, why: &str) {
        let target = match id {
            EntryId::Vocabulary | EntryId::Limits => return,
            EntryId::Role(id) => RevocationTarget::Role(id.clone()),
            EntryId::Tenant(id) => RevocationTarget::Tenant(id.clone()),
            EntryId::Provider(id) => RevocationTarget::Provider(id.clone()),
            EntryId::Client(id) => RevocationTarget::Client(id.clone()),
        };
        let reason = format!("{id} {why}");
        self.revocations.push(PlannedRevocation { target, tenant, reason });
    }

    fn revoke_for_update(&mut self, old: &Entry, new: &Entry) {
        let id = new.id();
        if status(old) == Some(Status::Active) && status(new) == Some(Status::Suspended) {
            return self.revoke(&id, None, "suspended");
        }
        match (old, new) {
            (Entry::Role(old), Entry::Role(new)) if old.crosses_tenants && !new.crosses_tenants => {
                self.revoke(&id, None, "may no longer cross tenants");
            }
            (Entry::Provider(old), Entry::Provider(new)) => {
                let (old, new) = (&old.provider, &new.provider);
                // SECURITY: subjects are derived from the entry's id and the upstream's `sub`, and
                // another upstream gives the same `sub` to somebody else.
                if !same_people(&old.kind, &new.kind) {
                    return self.revoke(&id, None, "speaks to another upstream");
                }
                // Claims as of the last answer are no longer looked at; those of the sign-in may say more.
                if old.recheck.is_some() && new.recheck.is_none() {
                    return self.revoke(&id, None, "is no longer asked again");
                }
                for tenant in lost_tenants(old, new) {
                    let why = format!("no longer yields tenant {tenant} as it did");
                    self.revoke(&id, Some(tenant), &why);
                }
            }
            _ => {}
        }
    }
}

fn status(entry: &Entry) -> Option<Status> {
    match entry {
        Entry::Tenant(entry) => Some(entry.status),
        Entry::Provider(entry) => Some(entry.provider.status),
        Entry::Client(entry) => Some(entry.status),
        Entry::Vocabulary(_) | Entry::Limits(_) | Entry::Role(_) => None,
    }
}

/// Whether an upstream's `sub` still means the same person.
fn same_people(old: &ProviderKind, new: &ProviderKind) -> bool {
    match (old, new) {
        (ProviderKind::Oidc { issuer: old, .. }, ProviderKind::Oidc { issuer: new, .. }) => {
            old == new
        }
        (
            ProviderKind::OAuth2 { userinfo_endpoint: old_url, subject: old, .. },
            ProviderKind::OAuth2 { userinfo_endpoint: new_url, subject: new, .. },
        ) => old_url == new_url && old == new,
        _ => false,
    }
}

/// Tenants that somebody got into through the old binding and would not through the new one.
fn lost_tenants(old: &Provider, new: &Provider) -> BTreeSet<TenantId> {
    let unchanged_rows = |old: &BTreeMap<String, TenantId>, new: &BTreeMap<String, TenantId>| {
        let lost = old.iter().filter(|(key, tenant)| new.get(*key) != Some(tenant));
        lost.map(|(_, tenant)| tenant.clone()).collect()
    };
    match (&old.tenants, &new.tenants) {
        (TenantBinding::Domain { table: old }, TenantBinding::Domain { table: new }) => {
            unchanged_rows(old, new)
        }
        (
            TenantBinding::Claim { claim: old_claim, table: old },
            TenantBinding::Claim { claim, table: new },
        ) if old_claim == claim => unchanged_rows(old, new),
        // Everybody gets into the fixed tenant.
        (_, TenantBinding::Fixed { tenant }) => {
            old.tenants().into_iter().filter(|old| *old != tenant).cloned().collect()
        }
        _ => old.tenants().into_iter().cloned().collect(),
    }
}

fn differences(old: &Entry, new: &Entry) -> Vec<String> {
    let same = match (old, new) {
        (Entry::Vocabulary(old), Entry::Vocabulary(new)) => old == new,
        (Entry::Limits(old), Entry::Limits(new)) => old == new,
        (Entry::Role(old), Entry::Role(new)) => old == new,
        (Entry::Tenant(old), Entry::Tenant(new)) => old == new,
        (Entry::Client(old), Entry::Client(new)) => old == new,
        (Entry::Provider(old), Entry::Provider(new)) => {
            old.provider == new.provider && secret_digest(old) == secret_digest(new)
        }
        _ => false,
    };
    if same {
        return Vec::new();
    }
    let (old, new) = (fields(old), fields(new));
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut words = Vec::new();
    for key in keys {
        name_difference(key, old.get(key), new.get(key), &mut words);
    }
    if words.is_empty() {
        words.push("content".to_owned());
    }
    words
}

fn secret_digest(entry: &ProviderDeclaration) -> Option<Digest> {
    entry.client_secret.as_ref().map(Secret::reveal).map(Digest::of)
}

/// Names what differs; shows a value only where it is known to be no secret.
fn name_difference(key: &str, old: Option<&Value>, new: Option<&Value>, words: &mut Vec<String>) {
    if old == new {
        return;
    }
    match (key, old, new) {
        ("status" | "crosses_tenants", _, Some(Value::String(value))) => {
            words.push(format!("{key} becomes {value}"));
        }
        ("status" | "crosses_tenants", _, Some(Value::Bool(value))) => {
            words.push(format!("{key} becomes {value}"));
        }
        (_, Some(Value::Object(old)), Some(Value::Object(new))) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            let changed = keys.into_iter().filter(|inner| old.get(*inner) != new.get(*inner));
            words.extend(changed.map(|inner| format!("{key}.{inner}")));
        }
        _ => words.push(key.to_owned()),
    }
}

/// An entry as keys and values. Secrets are in it as digests at most.
fn fields(entry: &Entry) -> Map<String, Value> {
    fn object(value: impl Serialize) -> Map<String, Value> {
        match serde_json::to_value(value) {
            Ok(Value::Object(fields)) => fields,
            // Never: the caller then says "content".
            _ => Map::new(),
        }
    }
    match entry {
        Entry::Limits(limits) => object(limits),
        Entry::Vocabulary(source) => object(json!({ "content": source })),
        Entry::Role(entry) => {
            let RoleDeclaration { source, crosses_tenants, ceiling, .. } = entry;
            object(json!({
                "template": source, "crosses_tenants": crosses_tenants, "ceiling": ceiling,
            }))
        }
        Entry::Tenant(entry) => object(entry),
        Entry::Client(entry) => object(entry),
        Entry::Provider(entry) => {
            let mut fields = object(&entry.provider);
            let secret = secret_digest(entry).map_or(Value::Null, |d| Value::String(d.into()));
            fields.insert("client_secret".to_owned(), secret);
            fields
        }
    }
}

/// What is printed before and after it is carried out.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [mut created, mut updated, mut deleted, mut unchanged] = [0_usize; 4];
        for change in &self.changes {
            let count = match change {
                Change::Create(entry) => {
                    writeln!(f, "+ {}", entry.id())?;
                    &mut created
                }
                Change::Update { entry, differences } => {
                    writeln!(f, "~ {}: {}", entry.id(), differences.join(", "))?;
                    &mut updated
                }
                Change::Delete(id) => {
                    writeln!(f, "- {id}")?;
                    &mut deleted
                }
                Change::Absent(id) => {
                    writeln!(f, "  {id}: not there, nothing to prune")?;
                    continue;
                }
                Change::Unchanged(_) => &mut unchanged,
            };
            *count = count.saturating_add(1);
        }
        for remark in &self.remarks {
            writeln!(f, "* {remark}")?;
        }
        for revocation in &self.revocations {
            writeln!(f, "! ends tokens and sessions: {}", revocation.reason)?;
        }
        if self.is_empty() {
            return write!(f, "nothing to do, {unchanged} unchanged");
        }
        write!(
            f,
            "{created} to create, {updated} to update, {deleted} to delete, {unchanged} unchanged"
        )
    }
}
