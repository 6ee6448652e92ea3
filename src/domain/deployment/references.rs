//! Whether what is declared fits together.

use crate::domain::deployment::{Deployment, EntryId, ProviderDeclaration};
use crate::domain::ids::{ClientId, ProviderId, Role, TenantId};
use crate::domain::provider::{ProviderKind, UpstreamExchange};
use crate::domain::role_mapping::RuleDeclaration;
use std::collections::{BTreeMap, BTreeSet};

/// Why a plan cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanProblem {
    #[error("{0} is declared in the file and named by --prune: remove one of the two")]
    DeclaredAndPruned(EntryId),
    #[error("{by} names {missing}, which does not exist: declare it too")]
    Missing { by: EntryId, missing: EntryId },
    #[error("{missing} cannot be pruned: {by} names it")]
    StillNamed { by: EntryId, missing: EntryId },
    #[error(
        "the e-mail domain {domain} belongs to provider {first} and to provider {second}: it must lead to one"
    )]
    SharedDomain { domain: String, first: ProviderId, second: ProviderId },
    #[error(
        "provider {provider} maps to role {role}, which crosses tenants, and may yield other tenants than \
         `platform`: add `tenant = \"platform\"` to the mapping"
    )]
    CrossesTenants { provider: ProviderId, role: Role },
    #[error(
        "role {0} crosses tenants, and so no tenant can have its own version of it: remove `ceiling`"
    )]
    CeilingOfCrossing(Role),
    #[error(
        "client {client} may bring ID tokens of provider {provider}, which declares no `exchange`"
    )]
    NoExchange { client: ClientId, provider: ProviderId },
    #[error(
        "client {client} may bring ID tokens of provider {first} and of provider {second}, and one for {audience:?} \
         could be either's: both have the same issuer"
    )]
    AmbiguousExchange { client: ClientId, first: ProviderId, second: ProviderId, audience: String },
}

/// Checks an outcome as a whole; `pruned` is only for better words.
pub(super) fn check(outcome: &Deployment, pruned: &BTreeSet<EntryId>) -> Vec<PlanProblem> {
    let mut problems = Vec::new();
    names_exist(outcome, pruned, &mut problems);
    domains_are_of_one(outcome, &mut problems);
    crossing_roles_are_platforms(outcome, &mut problems);
    exchanges_are_clear(outcome, &mut problems);
    problems
}

fn names_exist(outcome: &Deployment, pruned: &BTreeSet<EntryId>, problems: &mut Vec<PlanProblem>) {
    let ids: BTreeSet<EntryId> = outcome.entries().into_keys().collect();
    let mut names = BTreeSet::new();
    for ProviderDeclaration { provider, .. } in &outcome.providers {
        let by = EntryId::Provider(provider.id.clone());
        for tenant in provider.tenants() {
            names.insert((by.clone(), EntryId::Tenant(tenant.clone())));
        }
        for rule in &provider.mappings {
            names.insert((by.clone(), EntryId::Role(rule.role.clone())));
        }
    }
    for client in &outcome.clients {
        let by = EntryId::Client(client.id.clone());
        for provider in client.providers.iter().flatten().chain(&client.exchange.id_tokens_of) {
            names.insert((by.clone(), EntryId::Provider(provider.clone())));
        }
    }
    for (by, missing) in names {
        if ids.contains(&missing) {
            continue;
        }
        problems.push(if pruned.contains(&missing) {
            PlanProblem::StillNamed { by, missing }
        } else {
            PlanProblem::Missing { by, missing }
        });
    }
}

fn domains_are_of_one(outcome: &Deployment, problems: &mut Vec<PlanProblem>) {
    let mut owners: BTreeMap<&str, &ProviderId> = BTreeMap::new();
    for ProviderDeclaration { provider, .. } in &outcome.providers {
        for domain in provider.domains() {
            if let Some(first) = owners.insert(domain, &provider.id) {
                problems.push(PlanProblem::SharedDomain {
                    domain: domain.to_owned(),
                    first: first.clone(),
                    second: provider.id.clone(),
                });
            }
        }
    }
}

fn crossing_roles_are_platforms(outcome: &Deployment, problems: &mut Vec<PlanProblem>) {
    let roles = outcome.roles.iter().filter(|role| role.crosses_tenants);
    let crossing: BTreeSet<&Role> = roles.map(|role| &role.role).collect();
    let both = outcome.roles.iter().filter(|role| role.crosses_tenants && role.ceiling.is_some());
    problems.extend(both.map(|role| PlanProblem::CeilingOfCrossing(role.role.clone())));
    for ProviderDeclaration { provider, .. } in &outcome.providers {
        if provider.tenants().iter().all(|tenant| tenant.is_platform()) {
            continue;
        }
        let of_platform =
            |rule: &RuleDeclaration| rule.tenant.as_ref().is_some_and(TenantId::is_platform);
        let others = provider.mappings.iter().filter(|rule| !of_platform(rule));
        let mapped: BTreeSet<&Role> = others.map(|rule| &rule.role).collect();
        for role in mapped.intersection(&crossing) {
            problems.push(PlanProblem::CrossesTenants {
                provider: provider.id.clone(),
                role: (*role).clone(),
            });
        }
    }
}

/// SECURITY: an ID token says who issued it and for whom; if that could mean two entries, its tenant
/// would depend on which is tried first.
fn exchanges_are_clear(outcome: &Deployment, problems: &mut Vec<PlanProblem>) {
    let exchange_of = |id: &ProviderId| {
        let mut entries = outcome.providers.iter().map(|entry| &entry.provider);
        let provider = entries.find(|provider| provider.id == *id)?;
        Some((&provider.kind, provider.exchange.as_ref()))
    };
    for client in &outcome.clients {
        let mut seen: BTreeMap<(&str, &str), &ProviderId> = BTreeMap::new();
        for id in &client.exchange.id_tokens_of {
            match exchange_of(id) {
                Some((
                    ProviderKind::Oidc { issuer, .. },
                    Some(UpstreamExchange { audiences, .. }),
                )) => {
                    for audience in audiences {
                        if let Some(first) = seen.insert((issuer, audience), id) {
                            problems.push(PlanProblem::AmbiguousExchange {
                                client: client.id.clone(),
                                first: first.clone(),
                                second: id.clone(),
                                audience: audience.clone(),
                            });
                        }
                    }
                }
                Some(_) => problems.push(PlanProblem::NoExchange {
                    client: client.id.clone(),
                    provider: id.clone(),
                }),
                // Reported as missing already.
                None => {}
            }
        }
    }
}
