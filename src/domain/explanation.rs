//! What became of a session, from everything that is still known of it.

use crate::domain::Time;
use crate::domain::audit::EndReason;
use crate::domain::ids::Role;
use crate::domain::ids::TenantId;
use crate::domain::revocation::RecordedRevocation;
use crate::domain::session::RegisteredSession;
use std::fmt;
use std::net::IpAddr;

/// That a session ended, as it was recorded in that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEnd {
    pub tenant: TenantId,
    pub at: Time,
    /// None: of an earlier release, which kept the words alone.
    pub reason: Option<EndReason>,
    pub words: String,
    pub address: Option<IpAddr>,
}

/// What the token store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InStore {
    Alive {
        /// Ends then unless it is refreshed before.
        idle_ends_at: Time,
        ends_at: Time,
    },
    /// It never began, or is over, or was lost.
    Absent,
    /// Nobody asked.
    NotAsked,
}

/// What is known of a session.
#[derive(Clone, Debug)]
pub struct SessionFacts {
    pub registered: RegisteredSession,
    pub ended: Option<RecordedEnd>,
    pub in_store: InStore,
    /// Whether this node's view of the log ends it, whatever the store says.
    pub over_by_log: bool,
    /// Entries of the log that may have ended it, in their order.
    pub revocations: Vec<RecordedRevocation>,
    /// The roles of whoever it is of, by today's rules.
    pub roles: Vec<Role>,
    /// Until when its authorization code can be redeemed.
    pub code_until: Time,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explanation {
    Active {
        idle_ends_at: Time,
        ends_at: Time,
    },
    /// Its authorization code has not been redeemed yet.
    NotBegun {
        until: Time,
    },
    Ended(Ending),
    /// Nothing ended it, and whether it lives is for the token store to say.
    NotEnded,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    Recorded(RecordedEnd),
    /// By an entry of the log that ends more than this one.
    Revoked(RecordedRevocation),
    /// The log ends it, and what is left of the log does not say how.
    Forgotten,
    /// Nothing ended it, and the token store does not have it.
    Lapsed,
    /// As above, and its longest lifetime is over.
    Outlived {
        at: Time,
    },
}

impl Ending {
    /// None: it is not known when.
    pub const fn at(&self) -> Option<Time> {
        match self {
            Self::Recorded(end) => Some(end.at),
            Self::Revoked(revocation) => Some(revocation.at),
            Self::Outlived { at } => Some(*at),
            Self::Forgotten | Self::Lapsed => None,
        }
    }

    /// The word for it, which programs compare.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Recorded(end) => match &end.reason {
                Some(EndReason::RevokedByClient) => "revoked_by_client",
                Some(EndReason::RevokedByAdministrator { .. }) => "revoked_by_administrator",
                Some(EndReason::CodeUsedTwice) => "code_used_twice",
                Some(EndReason::Replayed { .. }) => "replayed",
                Some(EndReason::LateTooOften) => "late_too_often",
                Some(EndReason::TemplateRecalled) => "template_recalled",
                Some(EndReason::SignedOutAtProvider) => "signed_out_at_provider",
                Some(EndReason::NoLongerVouchedFor) => "no_longer_vouched_for",
                Some(EndReason::LeftTenant) => "left_tenant",
                Some(EndReason::ClaimsTooLarge) => "claims_too_large",
                Some(EndReason::NotRechecked) => "not_rechecked",
                None => "ended",
            },
            Self::Revoked(_) => "revoked",
            Self::Forgotten => "ended",
            Self::Lapsed => "lapsed",
            Self::Outlived { .. } => "expired",
        }
    }
}

/// For whoever asks why somebody was logged out.
impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recorded(end) => {
                f.write_str(&end.words)?;
                match end.address {
                    Some(address) => write!(f, " (from {address})"),
                    None => Ok(()),
                }
            }
            Self::Revoked(revocation) => {
                let RecordedRevocation { position, target, tenant, by, reason, .. } = revocation;
                write!(f, "revoked with {} {}", target.kind(), target.value())?;
                if let Some(tenant) = tenant {
                    write!(f, " in tenant {tenant}")?;
                }
                if let Some(by) = by {
                    write!(f, " by {by}")?;
                }
                write!(f, " (revocation {position}): {reason}")
            }
            Self::Forgotten => f.write_str("revoked; the entry of the log is gone"),
            Self::Lapsed => f.write_str(
                "it was not refreshed in time, or its authorization code was never redeemed, or the token \
                 store was lost",
            ),
            Self::Outlived { .. } => f.write_str(
                "expired: its longest lifetime is over; it may have gone unused long before",
            ),
        }
    }
}

/// The first thing that is certain counts: what was recorded; that it lives; what the log says; that it is in
/// nobody's memory any more.
pub fn explain(facts: SessionFacts, now: Time) -> Explanation {
    let SessionFacts { registered, ended, in_store, over_by_log, revocations, roles, code_until } =
        facts;
    if let Some(end) = ended {
        return Explanation::Ended(Ending::Recorded(end));
    }
    if let (InStore::Alive { idle_ends_at, ends_at }, false) = (in_store, over_by_log) {
        return Explanation::Active { idle_ends_at, ends_at };
    }
    // What was revoked after its time was over ended nothing.
    let mut fitting = revocations.into_iter().filter(|entry| entry.at < registered.ends_at);
    if let Some(revocation) = fitting.find(|entry| entry.ends(&registered, &roles)) {
        return Explanation::Ended(Ending::Revoked(revocation));
    }
    if over_by_log {
        return Explanation::Ended(Ending::Forgotten);
    }
    if now >= registered.ends_at {
        return Explanation::Ended(Ending::Outlived { at: registered.ends_at });
    }
    match in_store {
        InStore::NotAsked => Explanation::NotEnded,
        _ if now < code_until => Explanation::NotBegun { until: code_until },
        _ => Explanation::Ended(Ending::Lapsed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::SessionId;
    use crate::domain::revocation::RevocationTarget;
    use chrono::TimeDelta;

    fn at(seconds: i64) -> Time {
        Time::from_timestamp(seconds, 0).unwrap()
    }
    fn facts() -> SessionFacts {
        SessionFacts {
            registered: RegisteredSession {
                id: SessionId::new([2; 16]),
                subject: "u_dana".parse().unwrap(),
                tenant: "acme".parse().unwrap(),
                client: "web".parse().unwrap(),
                provider: "corp".parse().unwrap(),
                upstream_session: None,
                begun_at: at(1000),
                begun: 5,
                ends_at: at(9000),
            },
            ended: None,
            in_store: InStore::Absent,
            over_by_log: false,
            revocations: Vec::new(),
            roles: Vec::new(),
            code_until: at(1060),
        }
    }
    fn alive() -> InStore {
        InStore::Alive { idle_ends_at: at(3000), ends_at: at(8940) }
    }
    fn revocation(position: u64, target: RevocationTarget) -> RecordedRevocation {
        RecordedRevocation {
            position,
            target,
            tenant: None,
            at: at(2000),
            expires_at: at(99_000),
            by: Some("u_root".into()),
            reason: "acme has left".into(),
        }
    }
    fn tenant() -> RevocationTarget {
        RevocationTarget::Tenant("acme".parse().unwrap())
    }

    #[test]
    fn what_lives_is_active_and_what_was_never_redeemed_has_not_begun() {
        let active = Explanation::Active { idle_ends_at: at(3000), ends_at: at(8940) };
        assert_eq!(explain(SessionFacts { in_store: alive(), ..facts() }, at(2500)), active);
        let until = at(1060);
        assert_eq!(explain(facts(), at(1059)), Explanation::NotBegun { until });
        assert_eq!(explain(facts(), at(1060)), Explanation::Ended(Ending::Lapsed));
        let outlived = Explanation::Ended(Ending::Outlived { at: at(9000) });
        assert_eq!(explain(facts(), at(9000)), outlived);
        let not_asked = SessionFacts { in_store: InStore::NotAsked, ..facts() };
        assert_eq!(explain(not_asked, at(2500)), Explanation::NotEnded);
    }

    #[test]
    fn what_was_recorded_counts_before_everything_else() {
        let end = RecordedEnd {
            tenant: "acme".parse().unwrap(),
            at: at(1500),
            reason: Some(EndReason::LateTooOften),
            words: EndReason::LateTooOften.to_string(),
            address: Some("203.0.113.9".parse().unwrap()),
        };
        let facts = SessionFacts {
            ended: Some(end.clone()),
            in_store: alive(),
            revocations: vec![revocation(6, tenant())],
            ..facts()
        };
        let Explanation::Ended(ending) = explain(facts, at(2500)) else { panic!("ended") };
        assert_eq!((ending.at(), ending.kind()), (Some(at(1500)), "late_too_often"));
        assert!(ending.to_string().ends_with("were presented late (from 203.0.113.9)"), "{ending}");
        assert_eq!(ending, Ending::Recorded(end));
    }

    #[test]
    fn the_first_entry_that_ended_it_says_why() {
        let others = RevocationTarget::Tenant("globex".parse().unwrap());
        let entries = [
            revocation(4, tenant()),
            revocation(6, others),
            revocation(7, tenant()),
            revocation(8, tenant()),
        ];
        let facts = SessionFacts {
            over_by_log: true,
            in_store: alive(),
            revocations: entries.to_vec(),
            ..facts()
        };
        let Explanation::Ended(ending) = explain(facts, at(2500)) else { panic!("ended") };
        assert_eq!(
            ending.to_string(),
            "revoked with tenant acme by u_root (revocation 7): acme has left"
        );
        assert_eq!((ending.at(), ending.kind()), (Some(at(2000)), "revoked"));
    }

    #[test]
    fn what_was_revoked_after_its_time_ended_nothing() {
        let late = RecordedRevocation { at: at(9000), ..revocation(7, tenant()) };
        let facts = SessionFacts { revocations: vec![late], ..facts() };
        let explained = explain(facts, at(9000) + TimeDelta::days(1));
        assert_eq!(explained, Explanation::Ended(Ending::Outlived { at: at(9000) }));
    }

    #[test]
    fn what_the_log_ends_is_never_called_active() {
        let facts = SessionFacts { over_by_log: true, in_store: alive(), ..facts() };
        assert_eq!(explain(facts, at(2500)), Explanation::Ended(Ending::Forgotten));
    }
}
