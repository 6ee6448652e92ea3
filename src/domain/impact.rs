//! What a candidate template would do to the people and sessions there are: how many in which tenants lose or gain
//! something, with the worst cases. Built up one by one, and of a bounded size however many there are.
//!
//! The worst is who could get no token any more, then who loses most, then who gains most.

mod set_diff;

pub use self::set_diff::Held;
pub use self::set_diff::SetDiff;

use crate::domain::ids::{SessionId, SubjectId, TenantId};
use crate::domain::permission::{PermissionSet, Vocabulary};
use crate::domain::scope::ScopeSet;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Tenants in which somebody is affected and that are counted one by one; those beyond are in the totals only.
const MAX_TENANTS: usize = 100_000;
/// Tenants in a report: the worst.
const REPORTED_TENANTS: usize = 1000;
const CASES_OF_A_TENANT: usize = 5;
const CASES: usize = 1000;
/// Cases in a report's own list, beside those of its tenants.
const REPORTED_CASES: usize = 20;
/// Permissions that a case lists as gained, and as lost.
const LISTED: usize = 10;

/// A live session, or a person who has signed in at some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Affected {
    pub tenant: TenantId,
    pub subject: SubjectId,
    /// None: the person, not one of their sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
}

/// What the candidate does to one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    Unchanged,
    /// There was a token to get, and there is none any more.
    Fails {
        why: String,
    },
    Changes(SetDiff),
}

impl Effect {
    /// `after` is what is granted, or why nothing is. A `before` of None: nothing was.
    pub fn between(
        before: Option<Held<'_>>,
        after: Result<Held<'_>, String>,
        v: &Vocabulary,
    ) -> Self {
        let nothing = (PermissionSet::default(), ScopeSet::default());
        let none = Held { permissions: &nothing.0, scope: &nothing.1 };
        match (before, after) {
            (None, Err(_)) => Self::Unchanged,
            (Some(_), Err(why)) => Self::Fails { why },
            (before, Ok(after)) => {
                let diff = SetDiff::between(before.unwrap_or(none), after, v);
                if diff.is_empty() { Self::Unchanged } else { Self::Changes(diff) }
            }
        }
    }

    /// The greater, the worse.
    fn severity(&self) -> Severity {
        match self {
            Self::Unchanged => Severity::default(),
            Self::Fails { .. } => Severity { fails: true, ..Severity::default() },
            Self::Changes(diff) => {
                Severity { fails: false, loses: diff.loses(), gains: diff.gains() }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Severity {
    fails: bool,
    loses: usize,
    gains: usize,
}

/// How many; nobody is counted twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Could get no token any more.
    pub fails: u64,
    /// Lose something and gain nothing.
    pub loses: u64,
    /// Lose something and gain something else.
    pub loses_and_gains: u64,
    /// Gain something and lose nothing.
    pub gains: u64,
    /// Have the role, and what they get stays the same.
    pub unchanged: u64,
}

impl Counts {
    fn count(&mut self, effect: &Effect) {
        let field = match effect {
            Effect::Unchanged => &mut self.unchanged,
            Effect::Fails { .. } => &mut self.fails,
            Effect::Changes(diff) => match (diff.loses() > 0, diff.gains() > 0) {
                (true, true) => &mut self.loses_and_gains,
                (true, false) => &mut self.loses,
                (false, _) => &mut self.gains,
            },
        };
        *field = field.saturating_add(1);
    }

    /// As a tenant's place in the report asks for it.
    fn order(&self, other: &Self) -> (u64, u64, u64) {
        let lose = |counts: &Self| counts.loses.saturating_add(counts.loses_and_gains);
        (
            self.fails.saturating_add(other.fails),
            lose(self).saturating_add(lose(other)),
            self.gains.saturating_add(other.gains),
        )
    }
}

/// One of the worst.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Case {
    #[serde(flatten)]
    pub who: Affected,
    pub effect: Effect,
    /// Permissions gained or lost beyond those that are listed.
    pub not_listed: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TenantImpact {
    pub tenant: TenantId,
    pub sessions: Counts,
    pub subjects: Counts,
    /// A few of the worst, the worst first. There may be none where many tenants are affected.
    pub cases: Vec<Case>,
}

/// How far it has come. `of` is an estimate, and never less than `seen`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    pub seen: u64,
    pub of: u64,
}

impl Progress {
    pub fn see(&mut self, more: u64) {
        self.seen = self.seen.saturating_add(more);
        self.of = self.of.max(self.seen);
    }

    /// Rounded down; 100 when there is nothing to see.
    pub fn percent(&self) -> u8 {
        let percent = u128::from(self.seen).saturating_mul(100).checked_div(u128::from(self.of));
        percent.and_then(|percent| u8::try_from(percent).ok()).unwrap_or(100)
    }
}

/// What is known while it is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SoFar {
    pub sessions: Counts,
    pub subjects: Counts,
    pub not_concerned: u64,
    pub tenants_affected: usize,
    /// The worst cases, at most 20.
    pub cases: Vec<Case>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub sessions: Counts,
    pub subjects: Counts,
    /// Sessions and people who do not have the role, or not where the candidate would count.
    pub not_concerned: u64,
    /// Tenants in which somebody is affected.
    pub tenants_affected: usize,
    /// Those of them, the worst first, at most 1000.
    pub tenants: Vec<TenantImpact>,
    /// The worst cases of all, at most 20.
    pub cases: Vec<Case>,
}

/// A report in the making.
#[derive(Debug, Default)]
pub struct Impact {
    sessions: Counts,
    subjects: Counts,
    not_concerned: u64,
    tenants: HashMap<TenantId, [Counts; 2]>,
    /// The worst so far; of one tenant not more than a few.
    cases: BTreeMap<Rank, Case>,
    of_tenant: HashMap<TenantId, BTreeSet<Rank>>,
    /// How many cases there were.
    number: u64,
}

/// Equal ones in the order in which they were found.
type Rank = (Severity, Reverse<u64>);

impl Impact {
    pub fn add_not_concerned(&mut self) {
        self.not_concerned = self.not_concerned.saturating_add(1);
    }

    pub fn add(&mut self, who: Affected, effect: Effect) {
        let is_session = who.session.is_some();
        if is_session { &mut self.sessions } else { &mut self.subjects }.count(&effect);
        let known = self.tenants.get_mut(&who.tenant);
        if let Some([sessions, subjects]) = known {
            if is_session { sessions } else { subjects }.count(&effect);
        } else if effect != Effect::Unchanged && self.tenants.len() < MAX_TENANTS {
            // Tenants that nothing happens to take up no memory, unless something happens to them later.
            let [sessions, subjects] = self.tenants.entry(who.tenant.clone()).or_default();
            if is_session { sessions } else { subjects }.count(&effect);
        }
        if effect != Effect::Unchanged {
            self.keep(who, effect);
        }
    }

    /// Keeps a case if it is among the worst.
    fn keep(&mut self, who: Affected, effect: Effect) {
        self.number = self.number.saturating_add(1);
        let rank = (effect.severity(), Reverse(self.number));
        let own = self.of_tenant.get(&who.tenant);
        let own = own.filter(|ranks| ranks.len() >= CASES_OF_A_TENANT);
        let least = match own.and_then(BTreeSet::first) {
            Some(least) => Some(*least),
            None if self.cases.len() >= CASES => self.cases.keys().next().copied(),
            None => None,
        };
        if let Some(least) = least {
            if rank < least {
                return;
            }
            self.drop_case(&least);
        }
        let mut case = Case { who, effect, not_listed: 0 };
        if let Effect::Changes(diff) = &mut case.effect {
            case.not_listed = diff.cut(LISTED);
        }
        self.of_tenant.entry(case.who.tenant.clone()).or_default().insert(rank);
        self.cases.insert(rank, case);
    }

    fn drop_case(&mut self, rank: &Rank) {
        let Some(case) = self.cases.remove(rank) else { return };
        if let Some(ranks) = self.of_tenant.get_mut(&case.who.tenant) {
            ranks.remove(rank);
            if ranks.is_empty() {
                self.of_tenant.remove(&case.who.tenant);
            }
        }
    }

    fn worst(&self) -> Vec<Case> {
        self.cases.values().rev().take(REPORTED_CASES).cloned().collect()
    }

    pub fn so_far(&self) -> SoFar {
        SoFar {
            sessions: self.sessions,
            subjects: self.subjects,
            not_concerned: self.not_concerned,
            tenants_affected: self.tenants.len(),
            cases: self.worst(),
        }
    }

    pub fn report(self) -> Report {
        let worst = self.worst();
        let Self { sessions, subjects, not_concerned, tenants, cases, of_tenant, .. } = self;
        let worst_of = |tenant: &TenantId| {
            let ranks = of_tenant.get(tenant).into_iter().flatten().rev();
            ranks.filter_map(|rank| cases.get(rank)).cloned().collect()
        };
        let tenants_affected = tenants.len();
        let mut tenants: Vec<_> = tenants.into_iter().collect();
        // By name where they are equal.
        tenants.sort_unstable_by(|(name, counts), (other, others)| {
            let order = |[sessions, subjects]: &[Counts; 2]| sessions.order(subjects);
            order(others).cmp(&order(counts)).then_with(|| name.cmp(other))
        });
        tenants.truncate(REPORTED_TENANTS);
        let tenants = tenants.into_iter().map(|(tenant, [sessions, subjects])| TenantImpact {
            cases: worst_of(&tenant),
            tenant,
            sessions,
            subjects,
        });
        Report {
            sessions,
            subjects,
            not_concerned,
            tenants_affected,
            tenants: tenants.collect(),
            cases: worst,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::permission::PermissionSet;
    use crate::domain::permission::tests::vocabulary;
    use crate::domain::scope::ScopeSet;
    use serde_json::json;

    fn who(tenant: &str, subject: u64, session: bool) -> Affected {
        Affected {
            tenant: tenant.parse().unwrap(),
            subject: format!("u_{subject}").parse().unwrap(),
            session: session.then(|| SessionId::new([7; 16])),
        }
    }

    /// Loses and gains so many scopes.
    fn changes(loses: usize, gains: usize) -> Effect {
        let scopes = |n: usize| (0..n).map(|n| n.to_string()).collect::<ScopeSet>();
        Effect::Changes(SetDiff {
            scope_lost: scopes(loses),
            scope_gained: scopes(gains),
            ..SetDiff::default()
        })
    }

    fn fails() -> Effect {
        Effect::Fails { why: "a value is absent".into() }
    }

    #[test]
    fn who_gets_nothing_any_more_is_the_worst_then_who_loses_then_who_gains() {
        let mut impact = Impact::default();
        let effects = [
            changes(0, 9),
            changes(1, 5),
            changes(2, 0),
            fails(),
            Effect::Unchanged,
            changes(1, 6),
        ];
        for (n, effect) in (0_u64..).zip(effects) {
            impact.add(who(&format!("t{n}"), n, n % 2 == 0), effect);
        }
        impact.add(who("t5", 9, false), Effect::Unchanged);
        impact.add_not_concerned();
        let so_far = impact.so_far();
        let report = impact.report();
        assert_eq!(
            (so_far.sessions, so_far.subjects, so_far.not_concerned, so_far.tenants_affected),
            (report.sessions, report.subjects, report.not_concerned, report.tenants_affected)
        );
        assert_eq!(so_far.cases, report.cases);
        let sessions = Counts { loses: 1, gains: 1, unchanged: 1, ..Counts::default() };
        let subjects = Counts { fails: 1, loses_and_gains: 2, unchanged: 1, ..Counts::default() };
        assert_eq!(
            (report.sessions, report.subjects, report.not_concerned),
            (sessions, subjects, 1)
        );
        let found: Vec<_> = report.cases.iter().map(|case| case.who.tenant.as_str()).collect();
        assert_eq!(found, ["t3", "t2", "t5", "t1", "t0"]);
        let found: Vec<_> = report.tenants.iter().map(|one| one.tenant.as_str()).collect();
        assert_eq!(found, ["t3", "t1", "t2", "t5", "t0"]);
        assert_eq!(report.tenants_affected, 5);
        assert_eq!(
            report.tenants[3].subjects,
            Counts { loses_and_gains: 1, unchanged: 1, ..Counts::default() }
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            json["cases"][0],
            json!({
                "tenant": "t3", "subject": "u_3", "effect": {"fails": {"why": "a value is absent"}}, "not_listed": 0
            })
        );
    }

    #[test]
    fn an_estimate_that_was_too_low_is_raised() {
        let mut progress = Progress { seen: 0, of: 10 };
        assert_eq!(progress.percent(), 0);
        progress.see(9);
        assert_eq!(progress.percent(), 90);
        progress.see(2);
        assert_eq!((progress, progress.percent()), (Progress { seen: 11, of: 11 }, 100));
        assert_eq!(Progress::default().percent(), 100);
    }

    #[test]
    fn a_tenant_has_few_cases_and_they_are_its_worst() {
        let mut impact = Impact::default();
        for n in 0..100 {
            impact.add(who("big", n, true), changes(usize::try_from(n).unwrap() % 50, 1));
        }
        impact.add(who("small", 1, true), changes(0, 1));
        let report = impact.report();
        let found = |cases: &[Case]| {
            cases.iter().map(|case| case.effect.severity().loses).collect::<Vec<_>>()
        };
        assert_eq!(found(&report.tenants[0].cases), [49, 49, 48, 48, 47]);
        assert_eq!(found(&report.cases), [49, 49, 48, 48, 47, 0]);
        assert_eq!(report.cases[0].who.subject.as_str(), "u_49", "of equals the first");
    }

    #[test]
    fn it_stays_small_however_many_there_are() {
        let mut impact = Impact::default();
        let tenants = u64::try_from(MAX_TENANTS).unwrap();
        for n in 0..tenants + 10 {
            impact.add(who(&format!("t{n}"), n, true), changes(1, 0));
        }
        for n in 0..10 {
            impact.add(who(&format!("last{n}"), n, true), fails());
            impact.add(who(&format!("quiet{n}"), n, true), Effect::Unchanged);
        }
        assert_eq!((impact.tenants.len(), impact.cases.len()), (MAX_TENANTS, CASES));
        assert_eq!(impact.of_tenant.values().map(BTreeSet::len).sum::<usize>(), CASES);
        let report = impact.report();
        assert_eq!(report.sessions.loses, tenants + 10);
        assert_eq!((report.tenants.len(), report.cases.len()), (REPORTED_TENANTS, REPORTED_CASES));
        // What comes late and is worse pushes out what is not.
        assert!(report.cases.iter().take(10).all(|case| case.effect == fails()));
    }

    #[test]
    fn a_case_lists_few_permissions_and_says_so() {
        let v = vocabulary();
        let many: Vec<_> = (0..25)
            .map(|n| json!({"role": "invoke", "cache": "c", "func": n.to_string()}))
            .collect();
        let many = PermissionSet::parse(&json!(many), &v).unwrap();
        let scope = ScopeSet::default();
        let after = Held { permissions: &many, scope: &scope };
        let effect = Effect::between(None, Ok(after), &v);
        assert_eq!(effect.severity().gains, 25);
        let mut impact = Impact::default();
        impact.add(who("acme", 1, true), effect);
        let report = impact.report();
        assert_eq!(report.cases[0].not_listed, 15);
        assert_eq!(Effect::between(None, Err("why".into()), &v), Effect::Unchanged);
        assert_eq!(Effect::between(Some(after), Ok(after), &v), Effect::Unchanged);
        let fails = Effect::between(Some(after), Err("why".into()), &v);
        assert_eq!(fails, Effect::Fails { why: "why".into() });
    }
}
