//! Whether a template stays below another one, whatever the values are. The ceiling is read permission by permission:
//! each stands for all that it would grant where its own conditions hold and its own values are there. That the whole
//! ceiling renders for everybody is another question, which is not asked here.
//!
//! - Every permission must be covered by the ceiling's (see `cover`), and every scope be among its scopes.
//! - If the ceiling says how long a token lives, the template must say so too, and no longer.
//! - A claim must be among the ceiling's, with the same value. A claim means what its reader takes it for, so there is no
//!   other value of which one could say that it is less.

use crate::domain::permission::Actions;
use crate::domain::permission::Vocabulary;
use crate::domain::template::cover;
use crate::domain::template::diff::Written;
use crate::domain::template::diff::written_claims;
use crate::domain::template::outline::Outline;
use crate::domain::template::render::RoleTemplate;
use serde::Serialize;
use std::fmt;

/// Something that a template gives and its ceiling does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Excess {
    /// Its place in the template: `$.permissions[0]`.
    pub at: String,
    /// What to write instead, or what to take out.
    pub message: String,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

/// Empty: nobody is ever given more by `template` than `ceiling` allows.
pub fn exceeds(template: &RoleTemplate, ceiling: &RoleTemplate, v: &Vocabulary) -> Vec<Excess> {
    let limits = ceiling.outline();
    let mut found: Vec<Excess> =
        template.outline().iter().filter_map(|one| permission(one, &limits, v)).collect();
    for scope in template.scope.iter().filter(|scope| !ceiling.scope.contains(scope)) {
        let message = match ceiling.scope.to_string() {
            none if none.is_empty() => {
                format!("the scope `{scope}` is above the ceiling, which has none: take it out")
            }
            allowed => format!(
                "the scope `{scope}` is above the ceiling: take it out, or write one of {allowed}"
            ),
        };
        found.push(Excess { at: "$.scope".to_owned(), message });
    }
    if let Some(most) = ceiling.expires_in
        && template.expires_in.is_none_or(|seconds| seconds > most)
    {
        let message =
            format!("tokens live longer than the ceiling's {most} seconds: write {most} or less");
        found.push(Excess { at: "$.expires_in".to_owned(), message });
    }
    let allowed = written_claims(ceiling);
    for (name, value) in written_claims(template) {
        let message = match allowed.get(&name) {
            Some(same) if *same == value => continue,
            Some(other) => format!("the claim is not the ceiling's: write {other}, or take it out"),
            None => "the ceiling has no such claim: take it out".to_owned(),
        };
        found.push(Excess { at: format!("$.claims.{name}"), message });
    }
    found
}

fn permission(one: &Outline, limits: &[Outline], v: &Vocabulary) -> Option<Excess> {
    let missing = cover::missing(limits, one, v);
    if missing.is_some_and(Actions::is_empty) {
        return None;
    }
    let listed = cover::listed(one, v);
    let limit = |limit: &&Outline| limit.resource.name() == one.resource.name();
    let message = if let Some(missing) = missing.filter(|missing| *missing != listed) {
        // Some of its actions are covered, so that a smaller role may do.
        let allowed = listed.without(missing);
        let role = one.resource.roles().iter().find(|role| role.actions == allowed);
        let advice = role.map_or_else(
            || {
                format!(
                    "what is allowed there is {}",
                    one.resource.action_names(allowed).join(", ")
                )
            },
            |role| format!("write the role `{}`", role.name),
        );
        let above = one.resource.action_names(missing).join(", ");
        format!("{above} is above the ceiling: {advice}, or take the permission out")
    } else if let Some(wider) = limits.iter().filter(limit).find(|limit| {
        let unguarded = Outline { guards: Vec::new(), ..(*limit).clone() };
        cover::is_covered([&unguarded], one, v)
    }) {
        let guards = wider.guards.iter().filter(|guard| !one.guards.contains(guard));
        let guards: Vec<String> = guards.map(|guard| format!("`{guard}`")).collect();
        format!("the ceiling allows it under {} only: put it under that, too", guards.join(" and "))
    } else {
        let allowed: Vec<String> =
            limits.iter().filter(limit).map(|limit| format!("`{}`", Written::of(limit))).collect();
        let type_name = one.resource.name();
        if allowed.is_empty() {
            format!("the ceiling allows nothing of the type `{type_name}`: take the permission out")
        } else {
            let allowed = allowed.join(", ");
            format!("is above the ceiling: stay within {allowed}, or take the permission out")
        }
    };
    Some(Excess { at: one.at.to_string(), message })
}
