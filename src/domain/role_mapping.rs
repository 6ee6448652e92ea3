//! Verified claims → roles, by declared rules. All rules that match count; the caller never picks a role.

use crate::domain::ids::{Role, TenantId};
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Bytes that a compiled pattern may take.
const PATTERN_LIMIT: usize = 64 * 1024;

/// One rule of a provider's entry, as declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleDeclaration {
    /// Where to look: a JSON pointer (RFC 6901) into the kept claims.
    pub claim: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// The rule speaks of this tenant only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    pub role: Role,
}

/// How a claim's value is compared. Byte for byte: no case folding, no trimming, no normalisation.
#[derive(Clone, Debug)]
enum Test {
    /// The claim is this string.
    Equals(String),
    /// The claim is a list, and this string is one of its elements.
    Contains(String),
    /// The claim is a string that the whole of this pattern matches.
    Matches(Regex),
}

/// A rule whose parts were checked.
#[derive(Clone, Debug)]
pub struct RoleMapping {
    claim: String,
    /// The claim that the pointer begins with, and the rest of the pointer.
    first: String,
    rest: String,
    test: Test,
    tenant: Option<TenantId>,
    role: Role,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    #[error("`claim` must be a JSON pointer such as \"/roles\", not {0:?}")]
    Pointer(String),
    #[error("`claim` {0:?} looks at a claim that `keep_claims` does not name")]
    NotKept(String),
    #[error("a rule has exactly one of `equals`, `contains` and `matches`")]
    Test,
    #[error("`matches` is not a regular expression of moderate size: {0}")]
    Pattern(String),
}

/// One rule's part in a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TraceEntry {
    /// The rule's place in the provider's entry, from 0.
    pub rule: usize,
    pub role: Role,
    pub claim: String,
    /// The value on which the rule matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched: Option<String>,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmatched: Option<Mismatch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mismatch {
    OtherTenant,
    ClaimAbsent,
    /// A string where a list is expected, or the other way round, or neither.
    WrongKind,
    OtherValue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    pub roles: BTreeSet<Role>,
    pub trace: Vec<TraceEntry>,
}

impl RoleMapping {
    pub fn parse(rule: &RuleDeclaration, keep_claims: &[String]) -> Result<Self, InvalidRule> {
        let pointer = rule.claim.strip_prefix('/').filter(|pointer| !pointer.is_empty());
        let pointer = pointer.ok_or_else(|| InvalidRule::Pointer(rule.claim.clone()))?;
        let (first, rest) = match pointer.split_once('/') {
            Some((first, rest)) => (first, format!("/{rest}")),
            None => (pointer, String::new()),
        };
        let first = first.replace("~1", "/").replace("~0", "~");
        if !keep_claims.contains(&first) {
            return Err(InvalidRule::NotKept(rule.claim.clone()));
        }
        let test = match (&rule.equals, &rule.contains, &rule.matches) {
            (Some(value), None, None) => Test::Equals(value.clone()),
            (None, Some(value), None) => Test::Contains(value.clone()),
            (None, None, Some(pattern)) => {
                Test::Matches(anchored(pattern).map_err(|_| InvalidRule::Pattern(pattern.clone()))?)
            }
            _ => return Err(InvalidRule::Test),
        };
        Ok(Self {
            claim: rule.claim.clone(),
            first,
            rest,
            test,
            tenant: rule.tenant.clone(),
            role: rule.role.clone(),
        })
    }

    fn evaluate(&self, claims: &Map<String, Value>, tenant: &TenantId) -> Result<String, Mismatch> {
        if self.tenant.as_ref().is_some_and(|only| only != tenant) {
            return Err(Mismatch::OtherTenant);
        }
        let value = claims.get(&self.first).and_then(|value| value.pointer(&self.rest));
        let value = value.ok_or(Mismatch::ClaimAbsent)?;
        match (&self.test, value) {
            (Test::Equals(wanted), Value::String(text)) if text == wanted => Ok(text.clone()),
            (Test::Matches(pattern), Value::String(text)) if pattern.is_match(text) => {
                Ok(text.clone())
            }
            (Test::Contains(wanted), Value::Array(list)) => {
                // A list of anything but strings is not the list that the rule speaks of.
                if !list.iter().all(Value::is_string) {
                    return Err(Mismatch::WrongKind);
                }
                let found = list.iter().any(|element| element.as_str() == Some(wanted));
                found.then(|| wanted.clone()).ok_or(Mismatch::OtherValue)
            }
            (Test::Equals(_) | Test::Matches(_), Value::String(_)) => Err(Mismatch::OtherValue),
            _ => Err(Mismatch::WrongKind),
        }
    }
}

/// SECURITY: the pattern must be whole by itself first, or `a)|(b` would break out of the anchors.
fn anchored(pattern: &str) -> Result<Regex, regex::Error> {
    regex::RegexBuilder::new(pattern).size_limit(PATTERN_LIMIT).build()?;
    regex::RegexBuilder::new(&format!("\\A(?:{pattern})\\z")).size_limit(PATTERN_LIMIT).build()
}

/// All roles that the rules yield for these claims in this tenant, and how each rule fared.
pub fn map(rules: &[RoleMapping], claims: &Map<String, Value>, tenant: &TenantId) -> Mapped {
    let mut yielded = BTreeSet::new();
    let entries = rules.iter().enumerate().map(|(rule, mapping)| {
        let outcome = mapping.evaluate(claims, tenant);
        if outcome.is_ok() {
            yielded.insert(mapping.role.clone());
        }
        TraceEntry {
            rule,
            role: mapping.role.clone(),
            claim: mapping.claim.clone(),
            unmatched: outcome.as_ref().err().copied(),
            matched: outcome.ok(),
        }
    });
    let trace = entries.collect();
    Mapped { roles: yielded, trace }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(test: &str, value: &str) -> RoleMapping {
        let declaration = json!({ "claim": "/roles", test: value, "role": "admin" });
        let declaration = serde_json::from_value(declaration).unwrap();
        RoleMapping::parse(&declaration, &["roles".into()]).unwrap()
    }
    fn outcome(rule: &RoleMapping, roles: &Value) -> Result<String, Mismatch> {
        let claims = Map::from_iter([("roles".to_owned(), roles.clone())]);
        rule.evaluate(&claims, &"acme".parse().unwrap())
    }

    #[test]
    fn only_the_declared_value_of_the_declared_kind_matches() {
        let contains = rule("contains", "admin");
        assert_eq!(outcome(&contains, &json!(["user", "admin"])), Ok("admin".into()));
        for wrong_kind in [
            json!("admin"),
            json!("data-entry admin"),
            json!({ "admin": true }),
            json!([["admin"]]),
            json!(["admin", 1]),
            json!(1),
            json!(true),
            json!(null),
        ] {
            assert_eq!(outcome(&contains, &wrong_kind), Err(Mismatch::WrongKind));
        }
        let equals = rule("equals", "admin");
        assert_eq!(outcome(&equals, &json!("admin")), Ok("admin".into()));
        for other in [
            "admin ",
            " admin",
            "Admin",
            "ADMIN",
            "аdmin",
            "ａdmin",
            "admin\u{200b}",
            "",
            "admin,x",
        ] {
            assert_eq!(outcome(&equals, &json!(other)), Err(Mismatch::OtherValue), "{other:?}");
            assert_eq!(outcome(&contains, &json!([other])), Err(Mismatch::OtherValue), "{other:?}");
        }
        assert_eq!(outcome(&equals, &json!(["admin"])), Err(Mismatch::WrongKind));
    }

    #[test]
    fn a_pattern_must_match_the_whole_value() {
        let matches = rule("matches", "admin|root");
        assert_eq!(outcome(&matches, &json!("root")), Ok("root".into()));
        for other in ["xroot", "admins", "root\n", "a\nroot"] {
            assert_eq!(outcome(&matches, &json!(other)), Err(Mismatch::OtherValue), "{other:?}");
        }
    }

    #[test]
    fn all_rules_that_match_count_and_each_leaves_a_trace() {
        let mut of_globex = rule("contains", "b");
        of_globex.tenant = Some("globex".parse().unwrap());
        let mut second = rule("contains", "a");
        second.role = "data-entry".parse().unwrap();
        let rules = [rule("contains", "a"), second, of_globex, rule("contains", "c")];
        let Value::Object(claims) = json!({ "roles": ["a", "b"] }) else { panic!() };
        let mapped = map(&rules, &claims, &"acme".parse().unwrap());
        let names: Vec<_> = mapped.roles.iter().map(Role::as_str).collect();
        assert_eq!(names, ["admin", "data-entry"]);
        let outcomes: Vec<_> =
            mapped.trace.iter().map(|t| (t.matched.as_deref(), t.unmatched)).collect();
        assert_eq!(
            outcomes,
            [
                (Some("a"), None),
                (Some("a"), None),
                (None, Some(Mismatch::OtherTenant)),
                (None, Some(Mismatch::OtherValue))
            ]
        );
    }

    #[test]
    fn a_rule_names_kept_claims_and_one_test() {
        let keep = ["roles".to_owned()];
        let parse = |json: Value| {
            RoleMapping::parse(&serde_json::from_value(json).unwrap(), &keep).map(|_| ())
        };
        assert_eq!(parse(json!({"claim": "/roles", "role": "a"})), Err(InvalidRule::Test));
        assert_eq!(
            parse(json!({"claim": "/roles", "equals": "a", "contains": "b", "role": "a"})),
            Err(InvalidRule::Test)
        );
        assert_eq!(
            parse(json!({"claim": "/x/roles", "equals": "a", "role": "a"})),
            Err(InvalidRule::NotKept("/x/roles".into()))
        );
        assert_eq!(
            parse(json!({"claim": "roles", "equals": "a", "role": "a"})),
            Err(InvalidRule::Pointer("roles".into()))
        );
        assert!(matches!(
            parse(json!({"claim": "/roles", "matches": "(", "role": "a"})),
            Err(InvalidRule::Pattern(_))
        ));
        // A group that closes the anchor early must not be able to unanchor the pattern.
        assert!(parse(json!({"claim": "/roles", "matches": "a)|(b", "role": "a"})).is_err());
    }
}
