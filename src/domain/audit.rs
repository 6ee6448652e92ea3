//! The events that are kept, and why a session ended.

use crate::domain::Time;
use crate::domain::ids::{ClientId, SessionId, SubjectId, TenantId};
use crate::domain::session::RegisteredSession;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;

/// What happened. The word is stable: it is what operators search for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    SignedIn,
    SignInRefused,
    SessionEnded,
    TokenRevoked,
    /// Somebody wrote an entry of the revocation log by hand.
    Revoked,
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
            Self::Revoked => "revoked",
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

impl AuditEvent {
    pub fn of(session: &RegisteredSession, kind: EventKind, detail: Value, at: Time) -> Self {
        Self {
            kind,
            at,
            tenant: Some(session.tenant.clone()),
            subject: Some(session.subject.clone()),
            client: Some(session.client.clone()),
            session: Some(session.id),
            detail,
        }
    }
}

/// That a session ended and why, kept until long after.
#[derive(Clone, Debug, PartialEq)]
pub struct EndedSession {
    pub session: SessionId,
    pub subject: SubjectId,
    pub tenant: TenantId,
    pub client: ClientId,
    pub at: Time,
    pub reason: EndReason,
    /// Where whoever ended it called from; None: nobody did, or it is not known.
    pub address: Option<IpAddr>,
    /// Until when the session could have lived.
    pub would_have_ended_at: Time,
}

/// Why a session ended. What is stored of it is read for years: a kind keeps its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EndReason {
    /// The client revoked its refresh token (RFC 7009).
    RevokedByClient,
    RevokedByAdministrator {
        /// A subject, or whoever used the command line.
        by: String,
        why: String,
    },
    CodeUsedTwice,
    Replayed {
        presented: u32,
        current: u32,
        /// Seconds since the current generation was last changed.
        current_for: i64,
    },
    /// Two parties kept presenting the same line of refresh tokens.
    LateTooOften,
    /// A template version that it began under was recalled.
    TemplateRecalled,
    /// The provider told that the session there that it came from is over.
    SignedOutAtProvider,
    /// Asked again, the provider said that what the person had granted is over, or spoke of somebody else.
    NoLongerVouchedFor,
    /// Asked again, the provider said what leads to another tenant, or to none.
    LeftTenant,
    /// Asked again, the provider said more than is kept of a person.
    ClaimsTooLarge,
    /// The provider was to be asked again, and had given nothing to ask with.
    NotRechecked,
}

impl EndedSession {
    pub fn of(
        session: RegisteredSession,
        reason: EndReason,
        address: Option<IpAddr>,
        at: Time,
    ) -> Self {
        Self {
            session: session.id,
            subject: session.subject,
            tenant: session.tenant,
            client: session.client,
            at,
            reason,
            address,
            would_have_ended_at: session.ends_at,
        }
    }
}

impl std::fmt::Display for EndReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RevokedByClient => f.write_str("revoked by its client"),
            Self::RevokedByAdministrator { by, why } => write!(f, "revoked by {by}: {why}"),
            Self::NoLongerVouchedFor => {
                f.write_str("the provider no longer vouches for this person")
            }
            Self::LeftTenant => {
                f.write_str("at the provider, this person no longer belongs to the tenant")
            }
            Self::ClaimsTooLarge => {
                f.write_str("the provider's claims about this person are too large to keep")
            }
            Self::NotRechecked => {
                f.write_str("the provider gave nothing to ask again with about this person")
            }
            Self::SignedOutAtProvider => f.write_str("signed out at the provider"),
            Self::CodeUsedTwice => f.write_str("its authorization code was used a second time"),
            Self::Replayed { presented, current, current_for } => write!(
                f,
                "replayed: refresh generation {presented} was presented when {current} was current, \
                 for {} already",
                Span(*current_for)
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

/// Seconds, as a person says them.
struct Span(i64);

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            seconds @ ..120 => write!(f, "{seconds} seconds"),
            seconds @ 120..7200 => write!(f, "{} minutes", seconds / 60),
            seconds @ 7200..172_800 => write!(f, "{} hours", seconds / 3600),
            seconds => write!(f, "{} days", seconds / 86_400),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_stored_of_a_reason_is_read_again() {
        let reasons = [
            EndReason::RevokedByClient,
            EndReason::RevokedByAdministrator { by: "u_ada".into(), why: "left".into() },
            EndReason::CodeUsedTwice,
            EndReason::Replayed { presented: 4, current: 7, current_for: 10_800 },
            EndReason::LateTooOften,
            EndReason::TemplateRecalled,
        ];
        for reason in reasons {
            let stored = serde_json::to_string(&reason).unwrap();
            assert_eq!(serde_json::from_str::<EndReason>(&stored).unwrap(), reason, "{stored}");
        }
        // As it stands in databases.
        let stored =
            json!({ "kind": "replayed", "presented": 4, "current": 7, "current_for": 10_800 });
        let replayed: EndReason = serde_json::from_value(stored).unwrap();
        assert_eq!(
            replayed.to_string(),
            "replayed: refresh generation 4 was presented when 7 was current, for 3 hours already"
        );
    }

    #[test]
    fn a_span_is_said_as_a_person_says_it() {
        for (seconds, said) in [
            (0, "0 seconds"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7199, "119 minutes"),
            (7200, "2 hours"),
            (172_800, "2 days"),
        ] {
            assert_eq!(Span(seconds).to_string(), said);
        }
    }
}
