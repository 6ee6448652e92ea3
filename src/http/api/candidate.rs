//! The document that a request is about: in the request, the draft, or an earlier version.

use crate::domain::template::version::Conflict;
use crate::domain::template::version::TemplateName;
use crate::http::api::admin::Admin;
use crate::http::api::problem::{Mistake, Problem};
use crate::service::templates::{Content, NotDone};
use serde_json::value::RawValue;

/// The members of a request that say so, of which it has one.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) document: Option<Box<RawValue>>,
    pub(super) draft: Option<u64>,
    pub(super) version: Option<u64>,
}

impl Named {
    pub(super) fn content(self) -> Result<Content, Problem> {
        match self {
            Self { document: Some(document), draft: None, version: None } => {
                // Its very text, so that lines and columns are those of its first line on.
                Ok(Content::Source(document.get().to_owned()))
            }
            Self { document: None, draft: Some(revision), version: None } => {
                Ok(Content::Draft { revision })
            }
            Self { document: None, draft: None, version: Some(version) } => {
                Ok(Content::Version(version))
            }
            _ => {
                let message = "has to hold one of the members `document`, `draft` and `version`";
                let mistake = Mistake::at("", message);
                Err(Problem::invalid("say what it is about").with([mistake]))
            }
        }
    }
}

impl Admin {
    /// The text of a document of this template.
    pub(super) async fn source(
        &self,
        name: &TemplateName,
        content: Content,
    ) -> Result<String, Problem> {
        match content {
            Content::Source(source) => Ok(source),
            Content::Draft { revision } => {
                let draft = self.service.find_draft(name).await?;
                let now = draft.as_ref().map(|draft| draft.revision);
                let same = draft.filter(|draft| draft.revision == revision);
                let conflict = Conflict::Draft(now);
                let moved = || NotDone::Conflict { name: name.clone(), conflict };
                Ok(same.ok_or_else(moved)?.source)
            }
            Content::Version(version) => {
                Ok(self.service.show_template(name, Some(version)).await?.source)
            }
        }
    }
}
