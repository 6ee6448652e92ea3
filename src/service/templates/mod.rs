//! Role templates as those who administer them see them: drafts, versions, publishing, taking back.
//!
//! Each is a function over the database, so that the command line needs no server; `Service` has the same
//! as methods. What may be published, the review in `domain::template::review` says.

mod api;
mod draft;
mod gate;
mod publish;
mod read;
mod recall;
mod turn;

pub use self::draft::{delete_draft, find_draft, save_draft};
pub use self::gate::{review, review_all};
pub use self::publish::{
    Content, OverrideDifference, Publication, Published, Withdrawal, publish, publish_all,
    rollback, withdraw,
};
pub use self::read::{
    HistoryEntry, OverrideSummary, RoleDetail, RoleSummary, VersionSummary, diff, history,
    list_overrides, list_roles, show, show_role,
};
pub use self::recall::{Recall, Recalled, recall};
pub(in crate::service) use self::turn::Turns;

use crate::database::log::{self, Change, ChangeKind};
use crate::database::{self, DatabaseError, DbConnection};
use crate::domain::Time;
use crate::domain::audit::{AuditEvent, EventKind};
use crate::domain::ids::{Role, SubjectId, TenantId};
use crate::domain::template::TemplateErrors;
use crate::domain::template::review::Review;
use crate::domain::template::version::{Conflict, TemplateName, TemplateVersion};
use serde_json::Value;

/// The most bytes of a reason.
pub const MAX_REASON: usize = 1024;

/// Who does something, and why.
#[derive(Clone, Debug)]
pub struct Author {
    /// As history shows it: a subject, or a command.
    pub name: String,
    /// None: not a person who signed in.
    pub subject: Option<SubjectId>,
    pub reason: String,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    #[error("there is no role {0}")]
    NoRole(Role),
    #[error("there is no tenant {0}")]
    NoTenant(TenantId),
    #[error("there is no version {0}")]
    NoVersion(TemplateVersion),
    #[error("{0} has no published version")]
    NotPublished(TemplateName),
    #[error("{0} has no draft")]
    NoDraft(TemplateName),
    #[error(
        "role {0} has no ceiling, so no tenant can have its own version of it: declare `ceiling` for the role first"
    )]
    NoCeiling(Role),
    /// Somebody was faster.
    #[error("{name}: {conflict}")]
    Conflict { name: TemplateName, conflict: Conflict },
    #[error("this is what {0} says already")]
    Unchanged(TemplateVersion),
    #[error("{}", .0.refusal())]
    Refused(Box<Review>),
    #[error("{} widens what is granted; confirm it to publish it", .0.name)]
    NeedsConfirmation(Box<Review>),
    #[error("{version} does not fit today's vocabulary, so it cannot be compared: {errors}")]
    OutOfDate { version: TemplateVersion, errors: TemplateErrors },
    #[error("a reason has 1 to {MAX_REASON} bytes")]
    Reason,
    #[error("a template is larger than {} KiB", MAX_SOURCE / 1024)]
    TooLarge,
    /// To be tried again.
    #[error("others are publishing and reviewing at the same time: try again")]
    Busy,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Longer than any template that is accepted: a draft may still be too long.
const MAX_SOURCE: usize = 256 * 1024;

/// Whether it says something, on a few lines at most.
pub(super) fn is_reason(text: &str) -> bool {
    let printed = |c: char| !c.is_control() || c == '\n' || c == '\t';
    !text.trim().is_empty() && text.len() <= MAX_REASON && text.chars().all(printed)
}

impl Author {
    fn check(&self) -> Result<(), NotDone> {
        if is_reason(&self.reason) { Ok(()) } else { Err(NotDone::Reason) }
    }

    fn event(&self, kind: EventKind, name: &TemplateName, detail: Value, at: Time) -> AuditEvent {
        let mut detail = detail;
        if let Value::Object(detail) = &mut detail {
            detail.insert("template".to_owned(), name.to_string().into());
            detail.insert("by".to_owned(), self.name.clone().into());
            detail.insert("reason".to_owned(), self.reason.clone().into());
        }
        AuditEvent {
            kind,
            at,
            tenant: name.tenant.clone(),
            subject: self.subject.clone(),
            client: None,
            session: None,
            detail,
        }
    }
}

/// What there must be for a role, or a tenant's own version of it, to be spoken of.
fn check_exists(
    c: &mut DbConnection,
    name: &TemplateName,
) -> Result<Result<(), NotDone>, DatabaseError> {
    if database::roles::find(c, &name.role)?.is_none() {
        return Ok(Err(NotDone::NoRole(name.role.clone())));
    }
    if let Some(tenant) = &name.tenant
        && database::tenants::find(c, tenant)?.is_none()
    {
        return Ok(Err(NotDone::NoTenant(tenant.clone())));
    }
    Ok(Ok(()))
}

/// As above; and a tenant's own version must be allowed.
fn check_changeable(
    c: &mut DbConnection,
    name: &TemplateName,
) -> Result<Result<(), NotDone>, DatabaseError> {
    if let Err(missing) = check_exists(c, name)? {
        return Ok(Err(missing));
    }
    let role = database::roles::find(c, &name.role)?;
    let overridable = role.is_some_and(|role| role.ceiling.is_some() && !role.crosses_tenants);
    if name.tenant.is_some() && !overridable {
        return Ok(Err(NotDone::NoCeiling(name.role.clone())));
    }
    Ok(Ok(()))
}

/// Catalogs of all nodes forget what they know of this template.
fn append_change(c: &mut DbConnection, name: &TemplateName, at: Time) -> Result<(), DatabaseError> {
    log::append_change(c, &Change { kind: ChangeKind::Role, key: name.to_string() }, at)
}
