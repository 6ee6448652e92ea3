//! Whether a template may be published: the gate that every way to publish runs through. Pure.

use crate::domain::ids::TenantId;
use crate::domain::permission::Vocabulary;
use crate::domain::template::cases::CaseOutcome;
use crate::domain::template::ceiling;
use crate::domain::template::ceiling::Excess;
use crate::domain::template::diff::TemplateDiff;
use crate::domain::template::document::TemplateError;
use crate::domain::template::hostile::HostileReport;
use crate::domain::template::lifetime::Limits;
use crate::domain::template::lifetime::check_lifetime;
use crate::domain::template::lint::Finding;
use crate::domain::template::lint::lint;
use crate::domain::template::proof::Proof;
use crate::domain::template::proof::Subjected;
use crate::domain::template::proof::Unproved;
use crate::domain::template::proof::prove;
use crate::domain::template::render::RoleTemplate;
use crate::domain::template::version::TemplateName;
use serde::Serialize;

/// What is to be published.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub name: &'a TemplateName,
    pub source: &'a str,
    pub crosses_tenants: bool,
    /// For a tenant's own version, the most that it may grant.
    pub ceiling: Option<&'a RoleTemplate>,
    /// What it comes in place of: the published version; for a tenant's first own version, the base.
    pub previous: Option<&'a RoleTemplate>,
}

/// What it has to fit into.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    pub vocabulary: &'a Vocabulary,
    pub limits: &'a Limits,
}

/// What was found. It is published only if nothing of it refuses that.
#[derive(Clone, Debug, Serialize)]
pub struct Review {
    pub name: TemplateName,
    /// What was reviewed.
    #[serde(skip)]
    pub source: String,
    /// None, if there are errors in the document.
    #[serde(skip)]
    pub template: Option<RoleTemplate>,
    pub errors: Vec<TemplateError>,
    /// What may be meant otherwise. It refuses nothing.
    pub findings: Vec<Finding>,
    /// The document's own tests.
    pub cases: Vec<CaseOutcome>,
    /// What became of values that mean harm.
    pub hostile: HostileReport,
    /// That no two tenants can meet, with all other published templates; None: see `unproved`, or it may
    /// cross tenants, or whoever asks may not know what others have.
    pub proof: Option<Proof>,
    pub unproved: Option<Unproved>,
    /// What is above the ceiling.
    pub excess: Vec<Excess>,
    /// Against what it comes in place of.
    pub diff: Option<TemplateDiff>,
    /// Whether anybody may get more than before.
    pub widens: bool,
}

/// All of it. `others` are the published templates that may not cross tenants, without the one that this
/// comes in place of.
pub fn review(
    candidate: &Candidate<'_>,
    others: &[Subjected<'_>],
    around: &Surroundings<'_>,
) -> Review {
    let mut review = examine(candidate, around);
    if let Some(template) = &review.template
        && !candidate.crosses_tenants
    {
        let name = candidate.name.to_string();
        let own = Subjected { name: &name, tenant: candidate.name.tenant.as_ref(), template };
        let all: Vec<Subjected<'_>> = others.iter().copied().chain([own]).collect();
        match prove(&all, around.vocabulary) {
            Ok(proof) => review.proof = Some(proof),
            Err(unproved) => review.unproved = Some(unproved),
        }
    }
    review
}

/// All but the proof, which is about several templates at once.
pub fn examine(candidate: &Candidate<'_>, around: &Surroundings<'_>) -> Review {
    let Candidate { name, source, crosses_tenants, ceiling, previous } = *candidate;
    let v = around.vocabulary;
    let mut review = Review {
        name: name.clone(),
        source: source.to_owned(),
        template: None,
        errors: Vec::new(),
        findings: Vec::new(),
        cases: Vec::new(),
        hostile: HostileReport::default(),
        proof: None,
        unproved: None,
        excess: Vec::new(),
        diff: None,
        widens: false,
    };
    let template = match RoleTemplate::compile(source, v, crosses_tenants) {
        Ok(template) => template,
        Err(errors) => {
            review.errors = errors.0;
            return review;
        }
    };
    review.errors = check_lifetime(&template, around.limits);
    review.findings = lint(&template, v);
    review.cases = template.run_cases(v);
    review.hostile = template.run_hostile(v, crosses_tenants);
    if let Some(ceiling) = ceiling {
        review.excess = ceiling::exceeds(&template, ceiling, v);
    }
    let diff = TemplateDiff::between(previous, &template, v);
    review.widens = diff.widens();
    review.diff = Some(diff);
    review.template = Some(template);
    review
}

impl Review {
    /// For the administrators of this tenant, who may not know what others have.
    #[must_use]
    pub fn concealed_from(mut self, tenant: &TenantId) -> Self {
        self.unproved = self.unproved.map(|unproved| unproved.concealed_from(tenant));
        // Its numbers would tell which forms others have.
        self.proof = None;
        self
    }

    /// Whether it may be published; where it widens, after a confirmation.
    pub fn passes(&self) -> bool {
        self.template.is_some()
            && self.errors.is_empty()
            && self.cases.iter().all(|case| case.failures.is_empty())
            && self.hostile.failures.is_empty()
            && self.unproved.is_none()
            && self.excess.is_empty()
    }

    /// Why it may not, for people, a line each; empty if it may.
    pub fn refusal(&self) -> String {
        let errors = self.errors.iter().map(ToString::to_string);
        let cases = self.cases.iter().flat_map(|case| {
            let says = |failure| format!("{}: test {:?}: {failure}", case.at, case.name);
            case.failures.iter().map(says)
        });
        let hostile = self.hostile.failures.iter().cloned();
        let unproved = self.unproved.iter().map(ToString::to_string);
        let excess = self.excess.iter().map(ToString::to_string);
        let all = errors.chain(cases).chain(hostile).chain(unproved).chain(excess);
        all.collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests;
