//! The events that are kept, and why a session ended.

use crate::domain::Time;
use crate::domain::ids::{ClientId, SessionId, SubjectId, TenantId};
use serde::Serialize;
use serde_json::Value;

/// What happened. The word is stable: it is what operators search for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    SignedIn,
    SignInRefused,
    SessionEnded,
    TokenRevoked,
    CodeReplayed,
    RefreshReplayed,
    RefreshAhead,
    DeploymentApplied,
    TemplateDraftSaved,
    TemplateDraftDeleted,
    TemplatePublished,
    TemplateRolledBack,
    TemplateWithdrawn,
    TemplateRecalled,
}

impl EventKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignedIn => "signed_in",
            Self::SignInRefused => "sign_in_refused",
            Self::SessionEnded => "session_ended",
            Self::TokenRevoked => "token_revoked",
            Self::CodeReplayed => "code_replayed",
            Self::RefreshReplayed => "refresh_replayed",
            Self::RefreshAhead => "refresh_ahead",
            Self::DeploymentApplied => "deployment_applied",
            Self::TemplateDraftSaved => "template_draft_saved",
            Self::TemplateDraftDeleted => "template_draft_deleted",
            Self::TemplatePublished => "template_published",
            Self::TemplateRolledBack => "template_rolled_back",
            Self::TemplateWithdrawn => "template_withdrawn",
            Self::TemplateRecalled => "template_recalled",
        }
    }
}

/// One line of the audit log. Holds no secret: ids, names and reasons only.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEvent {
    pub kind: EventKind,
    pub at: Time,
    pub tenant: Option<TenantId>,
    pub subject: Option<SubjectId>,
    pub client: Option<ClientId>,
    pub session: Option<SessionId>,
    pub detail: Value,
}

/// Why a session ended, in words for a person, kept until long after.
#[derive(Clone, Debug, PartialEq)]
pub struct EndedSession {
    pub session: SessionId,
    pub subject: SubjectId,
    pub tenant: TenantId,
    pub client: ClientId,
    pub at: Time,
    pub reason: EndReason,
    /// Until when the session could have lived.
    pub would_have_ended_at: Time,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The client revoked its refresh token (RFC 7009).
    RevokedByClient,
    CodeUsedTwice,
    Replayed {
        presented: u32,
        current: u32,
    },
    /// Two parties kept presenting the same line of refresh tokens.
    LateTooOften,
    /// A template version that it began under was recalled.
    TemplateRecalled,
}

impl std::fmt::Display for EndReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RevokedByClient => f.write_str("revoked by its client"),
            Self::CodeUsedTwice => f.write_str("its authorization code was used a second time"),
            Self::Replayed { presented, current } => write!(
                f,
                "replayed: refresh generation {presented} was presented when {current} was current"
            ),
            Self::TemplateRecalled => {
                f.write_str("a template version that it began under was recalled")
            }
            Self::LateTooOften => {
                f.write_str("two holders: three refresh generations in a row were presented late")
            }
        }
    }
}
