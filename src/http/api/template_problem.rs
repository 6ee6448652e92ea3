//! Why something about a template was not done, pointing into its document.

use crate::domain::template::review::Review;
use crate::domain::template::{TemplateError, place};
use crate::http::api::admin::Admin;
use crate::http::api::pointer::pointer;
use crate::http::api::problem::{Kind, Mistake, Problem};
use crate::service::Unavailable;
use crate::service::preview::NotPreviewed;
use crate::service::templates::NotDone;
use serde_json::{Value, json};

/// A document, to find places in it. What is no JSON has none.
struct Document<'a> {
    source: &'a str,
    parsed: Option<Value>,
}

impl<'a> Document<'a> {
    fn new(source: &'a str) -> Self {
        Self { source, parsed: serde_json::from_str(source).ok() }
    }

    /// `path` as templates show it: `$.permissions[0]`.
    fn mistake(&self, path: &str, message: String) -> Mistake {
        let pointer = pointer(path, self.parsed.as_ref());
        let (line, column) = place(self.source, &pointer).unzip();
        Mistake { pointer: Some(pointer), path: Some(path.to_owned()), line, column, message }
    }

    fn error(&self, error: &TemplateError) -> Mistake {
        let TemplateError { path, line, column, message } = error;
        let pointer = pointer(path, self.parsed.as_ref());
        Mistake {
            pointer: Some(pointer),
            path: Some(path.clone()),
            line: *line,
            column: *column,
            message: message.clone(),
        }
    }
}

/// All that keeps the document from being published; none if it may be.
fn mistakes(review: &Review) -> Vec<Mistake> {
    let document = Document::new(&review.source);
    let mut all: Vec<Mistake> = review.errors.iter().map(|error| document.error(error)).collect();
    for case in &review.cases {
        let failed = |failure: &String| format!("the test {:?} fails: {failure}", case.name);
        all.extend(case.failures.iter().map(|one| document.mistake(&case.at, failed(one))));
    }
    all.extend(review.hostile.failures.iter().map(|one| document.mistake("$", one.clone())));
    if let Some(unproved) = &review.unproved {
        let name = review.name.to_string();
        let at = unproved.sides().iter().find(|side| side.template == name);
        let at = at.map_or("$", |side| side.at.as_str());
        all.push(document.mistake(at, unproved.to_string()));
    }
    all.extend(review.excess.iter().map(|one| document.mistake(&one.at, one.message.clone())));
    all
}

/// A review, with whether it lets the document through and all places of what does not.
pub(super) fn shown_review(review: &Review) -> Value {
    let document = Document::new(&review.source);
    let mut shown = json!(review);
    let findings = review.findings.iter().map(|finding| {
        let mut shown = json!(finding);
        if let Value::Object(shown) = &mut shown {
            let pointer = pointer(&finding.path, document.parsed.as_ref());
            shown.insert("pointer".to_owned(), pointer.into());
        }
        shown
    });
    if let Value::Object(shown) = &mut shown {
        shown.insert("passes".to_owned(), review.passes().into());
        shown.insert("errors".to_owned(), json!(mistakes(review)));
        shown.insert("findings".to_owned(), findings.collect());
    }
    shown
}

impl Admin {
    /// The problem, without what this administrator may not know.
    pub(super) fn not_done(&self, not: NotDone) -> Problem {
        match not {
            NotDone::Refused(review) => {
                let review = self.may_see(*review);
                let detail = "mend what the errors name; nothing was published";
                let shown = shown_review(&review);
                Problem::new(Kind::Refused, detail).with(mistakes(&review)).reviewed(shown)
            }
            NotDone::NeedsConfirmation(review) => {
                let review = self.may_see(*review);
                let detail = "look at `review.diff`, then send `\"confirm_widening\": true`; nothing was changed";
                Problem::new(Kind::NeedsConfirmation, detail).reviewed(shown_review(&review))
            }
            other => other.into(),
        }
    }
}

/// SECURITY: of what may not be known, the reviews, `Admin::not_done` takes care.
impl From<NotDone> for Problem {
    fn from(not: NotDone) -> Self {
        let text = not.to_string();
        match not {
            NotDone::NoRole(_)
            | NotDone::NoTenant(_)
            | NotDone::NoVersion(_)
            | NotDone::NotPublished(_)
            | NotDone::NoDraft(_) => Self::new(Kind::NotFound, text),
            NotDone::NoCeiling(_) => Self::new(Kind::NotOverridable, text),
            NotDone::Conflict { .. } => Self::new(Kind::PreconditionFailed, text),
            NotDone::Unchanged(_) => Self::new(Kind::Unchanged, text),
            NotDone::Refused(_) => Self::new(Kind::Refused, "review it to see why"),
            NotDone::NeedsConfirmation(_) => Self::new(Kind::NeedsConfirmation, "review it first"),
            NotDone::OutOfDate { .. } => Self::new(Kind::OutOfDate, text),
            NotDone::Reason => Self::invalid("say why").with([Mistake::at("/reason", text)]),
            NotDone::TooLarge => Self::new(Kind::BodyTooLarge, text),
            NotDone::Busy => Self::new(Kind::Unavailable, "others kept publishing; try again"),
            NotDone::Database(error) => Unavailable::from(error).into(),
        }
    }
}

/// `source` is what was tried.
pub(super) fn not_previewed(not: NotPreviewed, source: &str) -> Problem {
    let text = not.to_string();
    match not {
        NotPreviewed::Template(errors) => {
            let document = Document::new(source);
            let detail =
                "mend what the errors name; a preview takes a template that can be rendered";
            let mistakes: Vec<Mistake> = errors.0.iter().map(|one| document.error(one)).collect();
            Problem::new(Kind::Refused, detail).with(mistakes)
        }
        NotPreviewed::NotDone(not) => not.into(),
        NotPreviewed::NoTemplate(_) => Problem::new(Kind::OutOfDate, text),
        NotPreviewed::NoSubject => about("/person/subject", text),
        NotPreviewed::NoTenant => about("/person/tenant", text),
        NotPreviewed::NoProvider => about("/person/provider", text),
        NotPreviewed::NoClient => about("/client", text),
        NotPreviewed::Claims(_) => about("/person/claims", text),
        NotPreviewed::Unavailable(cause) => cause.into(),
    }
}

fn about(pointer: &str, text: String) -> Problem {
    Problem::invalid("name somebody who is there").with([Mistake::at(pointer, text)])
}
