//! Whether a template may be published: the gate that every way to publish runs through. Pure.

use crate::domain::permission::Vocabulary;
use crate::domain::template::Limits;
use crate::domain::template::document::TemplateError;
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
    /// None, if there are errors in the document.
    #[serde(skip)]
    pub template: Option<RoleTemplate>,
    pub errors: Vec<TemplateError>,
    /// Whether anybody may get more than before.
    pub widens: bool,
}

pub fn review(candidate: &Candidate<'_>, around: &Surroundings<'_>) -> Review {
    let Candidate { name, source, crosses_tenants, .. } = *candidate;
    let compiled = RoleTemplate::compile(source, around.vocabulary, crosses_tenants);
    let (template, errors) = match compiled {
        Ok(template) => (Some(template), Vec::new()),
        Err(errors) => (None, errors.0),
    };
    Review { name: name.clone(), template, errors, widens: true }
}

impl Review {
    /// Whether it may be published; where it widens, after a confirmation.
    pub fn passes(&self) -> bool {
        self.template.is_some() && self.errors.is_empty()
    }

    /// Why it may not, for people; empty if it may.
    pub fn refusal(&self) -> String {
        let errors = self.errors.iter().map(ToString::to_string);
        errors.collect::<Vec<_>>().join("\n")
    }
}
