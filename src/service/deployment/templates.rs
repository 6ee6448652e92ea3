//! Whether the templates of a deployment can be used together, and what they change.

use crate::catalog::STANDARD_VOCABULARY;
use crate::deployment::TemplateProblem;
use crate::domain::deployment::{Change, Deployment, Entry, EntryId, Plan, RoleDeclaration};
use crate::domain::permission::Vocabulary;
use crate::domain::template::proof::{Subjected, Unproved, prove};
use crate::domain::template::review::{Candidate, Review, Surroundings, examine};
use crate::domain::template::version::{TemplateName, VersionRecord};
use crate::domain::template::{Limits, RoleTemplate, ceiling};
use std::collections::BTreeMap;

/// Everything that can be said of a deployment's templates and ceilings without a database.
pub fn check_templates(deployment: &Deployment) -> Vec<TemplateProblem> {
    let mut found = Found::default();
    found.examine(deployment, &[]);
    found.problems
}

/// The plan, with what people should know of its templates; or what is wrong with these. `published` is all
/// that counts before, tenants' own versions included.
pub(super) fn check_outcome(
    mut plan: Plan,
    published: &[VersionRecord],
) -> Result<Plan, Vec<TemplateProblem>> {
    let mut found = Found::default();
    found.examine(&plan.outcome, published);
    if !found.problems.is_empty() {
        return Err(found.problems);
    }
    plan.remarks = found.remarks(&plan.changes);
    Ok(plan)
}

#[derive(Default)]
struct Found {
    problems: Vec<TemplateProblem>,
    reviews: Vec<Review>,
    /// Tenants' own versions that are above the ceiling, which cuts them from now on.
    above: Vec<String>,
}

impl Found {
    fn note(&mut self, entry: EntryId, message: impl Into<String>) {
        self.problems.push(TemplateProblem { entry, message: message.into() });
    }

    fn examine(&mut self, outcome: &Deployment, published: &[VersionRecord]) {
        let source = outcome.vocabulary.as_deref().unwrap_or(STANDARD_VOCABULARY);
        let vocabulary: Vocabulary = match toml::from_str(source) {
            Ok(vocabulary) => vocabulary,
            Err(error) => return self.note(EntryId::Vocabulary, error.message()),
        };
        for client in &outcome.clients {
            let Some(ceiling) = &client.ceiling else { continue };
            if let Err(errors) = RoleTemplate::compile(&ceiling.to_string(), &vocabulary, true) {
                self.note(EntryId::Client(client.id.clone()), format!("ceiling: {errors}"));
            }
        }
        let limits = outcome.limits.unwrap_or_default();
        for declared in &outcome.roles {
            self.examine_role(declared, published, &vocabulary, &limits);
        }
        let overrides = self.compile_overrides(outcome, published, &vocabulary);
        if self.problems.is_empty() {
            self.prove(outcome, &overrides, &vocabulary);
        }
    }

    fn examine_role(
        &mut self,
        declared: &RoleDeclaration,
        published: &[VersionRecord],
        vocabulary: &Vocabulary,
        limits: &Limits,
    ) {
        let RoleDeclaration { role, source, crosses_tenants, ceiling } = declared;
        let entry = || EntryId::Role(role.clone());
        let name = TemplateName::base(role.clone());
        let previous = published.iter().find(|version| version.name == name);
        // One that the new vocabulary does not understand is as good as none: all that comes is more.
        let previous = previous
            .and_then(|version| RoleTemplate::compile(&version.source, vocabulary, true).ok());
        let candidate = Candidate {
            name: &name,
            source,
            crosses_tenants: *crosses_tenants,
            ceiling: None,
            previous: previous.as_ref(),
        };
        let review = examine(&candidate, &Surroundings { vocabulary, limits });
        if !review.passes() {
            self.note(entry(), review.refusal());
        }
        self.reviews.push(review);
        if let Some(ceiling) = ceiling
            && let Err(errors) = RoleTemplate::compile(ceiling, vocabulary, true)
        {
            self.note(entry(), format!("ceiling: {errors}"));
        }
    }

    /// What remains of tenants' own versions.
    fn compile_overrides(
        &mut self,
        outcome: &Deployment,
        published: &[VersionRecord],
        vocabulary: &Vocabulary,
    ) -> Vec<(String, TemplateName, RoleTemplate)> {
        let roles: BTreeMap<_, _> =
            outcome.roles.iter().map(|declared| (&declared.role, declared)).collect();
        let ceilings: BTreeMap<_, _> = outcome
            .roles
            .iter()
            .filter_map(|declared| {
                let ceiling = declared.ceiling.as_ref()?;
                Some((&declared.role, RoleTemplate::compile(ceiling, vocabulary, true).ok()?))
            })
            .collect();
        let mut compiled = Vec::new();
        for version in published {
            let name = &version.name;
            let Some(tenant) = &name.tenant else { continue };
            let remains = outcome.tenants.iter().any(|own| own.id == *tenant);
            if !remains || !roles.contains_key(&name.role) {
                continue;
            }
            let shown = name.at(version.version).to_string();
            match RoleTemplate::compile(&version.source, vocabulary, false) {
                Ok(template) => {
                    if let Some(ceiling) = ceilings.get(&name.role)
                        && !ceiling::exceeds(&template, ceiling, vocabulary).is_empty()
                    {
                        self.above.push(shown.clone());
                    }
                    compiled.push((shown, name.clone(), template));
                }
                Err(errors) => {
                    let message = format!("{shown}, a tenant's own version: {errors}");
                    self.note(EntryId::Role(name.role.clone()), message);
                }
            }
        }
        compiled
    }

    fn prove(
        &mut self,
        outcome: &Deployment,
        overrides: &[(String, TemplateName, RoleTemplate)],
        vocabulary: &Vocabulary,
    ) {
        let bases = self.reviews.iter().zip(&outcome.roles);
        let bases = bases.filter(|(_, declared)| !declared.crosses_tenants);
        let bases: Vec<_> = bases
            .filter_map(|(review, _)| Some((review.name.to_string(), review.template.as_ref()?)))
            .collect();
        let of_bases =
            bases.iter().map(|(name, template)| Subjected { name, tenant: None, template });
        let of_tenants = overrides.iter().map(|(shown, name, template)| Subjected {
            name: shown,
            tenant: name.tenant.as_ref(),
            template,
        });
        let all: Vec<Subjected<'_>> = of_bases.chain(of_tenants).collect();
        if let Err(unproved) = prove(&all, vocabulary) {
            let entry = blamed(&unproved, outcome);
            self.note(entry, unproved.to_string());
        }
    }

    /// What people should know before they agree: whose permissions grow, and which tenants' own versions
    /// are no longer what they were.
    fn remarks(&self, changes: &[Change]) -> Vec<String> {
        let updated = |name: &TemplateName| {
            changes.iter().any(|change| match change {
                Change::Update { entry: Entry::Role(declared), .. } => declared.role == name.role,
                _ => false,
            })
        };
        let mut remarks = Vec::new();
        for review in self.reviews.iter().filter(|review| updated(&review.name)) {
            if let Some(diff) = review.diff.as_ref().filter(|_| review.widens) {
                let lines = diff.to_string();
                let lines = lines.lines().collect::<Vec<_>>().join("; ");
                remarks.push(format!("role {} grants more: {lines}", review.name));
            }
        }
        let above = self.above.iter();
        remarks.extend(above.map(|version| {
            format!("{version} is above its ceiling and is cut to it: publish it anew")
        }));
        remarks
    }
}

/// The entry that an unproved boundary is reported at: a declared role that has a part in it.
fn blamed(unproved: &Unproved, outcome: &Deployment) -> EntryId {
    let sides = unproved.sides();
    let named = |declared: &&RoleDeclaration| {
        sides.iter().any(|side| side.template == declared.role.as_str())
    };
    let role = outcome.roles.iter().rev().find(named).or(outcome.roles.first());
    role.map_or(EntryId::Vocabulary, |declared| EntryId::Role(declared.role.clone()))
}
