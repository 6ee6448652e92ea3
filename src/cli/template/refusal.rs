//! How what was refused is said.

use crate::domain::template::version::TemplateName;
use crate::service::templates::NotDone;
use serde::Serialize;

/// Why nothing was done, for programs. What has nothing to do with templates is an error of the command.
#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    /// `refused`, `needs_confirmation`, `conflict`, `unchanged` or `not_there`
    pub(super) code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) template: Option<TemplateName>,
    pub(super) message: String,
}

impl Refusal {
    /// Err: nothing that the caller's templates could be blamed for.
    pub(super) fn of(not: NotDone) -> anyhow::Result<Self> {
        let message = not.to_string();
        let (code, template) = match not {
            NotDone::Refused(review) => ("refused", Some(review.name.clone())),
            NotDone::NeedsConfirmation(review) => ("needs_confirmation", Some(review.name.clone())),
            NotDone::Conflict { name, .. } => ("conflict", Some(name)),
            NotDone::Unchanged(version) => ("unchanged", Some(version.name)),
            NotDone::NotPublished(name) | NotDone::NoDraft(name) => ("not_there", Some(name)),
            NotDone::NoVersion(version) => ("not_there", Some(version.name)),
            not => return Err(not.into()),
        };
        Ok(Self { code, template, message })
    }
}
