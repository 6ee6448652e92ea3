//! OAuth scopes (RFC 6749 §3.3): a set of space-separated, case-sensitive tokens.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Scopes that steer the protocol and carry no permission of their own, so that nothing bounds them.
pub const PROTOCOL_SCOPES: [&str; 3] = ["openid", "profile", "email"];

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScopeSet(BTreeSet<String>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope holds printable ASCII without spaces, quotes and backslashes")]
pub struct InvalidScope;

/// RFC 6749 §3.3: `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )`.
pub fn is_scope_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

impl ScopeSet {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn contains(&self, scope: &str) -> bool {
        self.0.contains(scope)
    }
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }
    /// Those that are not in the other set.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).cloned().collect())
    }
    /// The protocol scopes in this set, and the others.
    pub fn split_protocol(&self) -> (Self, Self) {
        let (protocol, rest) =
            self.0.iter().cloned().partition(|s| PROTOCOL_SCOPES.contains(&s.as_str()));
        (Self(protocol), Self(rest))
    }
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl FromStr for ScopeSet {
    type Err = InvalidScope;
    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let scopes = text.split(' ').filter(|scope| !scope.is_empty());
        scopes
            .map(|scope| is_scope_token(scope).then(|| scope.to_owned()).ok_or(InvalidScope))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}
impl TryFrom<String> for ScopeSet {
    type Error = InvalidScope;
    fn try_from(text: String) -> Result<Self, InvalidScope> {
        text.parse()
    }
}
impl From<ScopeSet> for String {
    fn from(scopes: ScopeSet) -> Self {
        scopes.to_string()
    }
}
impl FromIterator<String> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = String>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}
impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, scope) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_a_set_in_a_stable_order() {
        let scopes: ScopeSet = "b a  b openid".parse().unwrap();
        assert_eq!(scopes.to_string(), "a b openid");
        let (protocol, rest) = scopes.split_protocol();
        assert_eq!((protocol.to_string(), rest.to_string()), ("openid".into(), "a b".into()));
        assert!("a\"b".parse::<ScopeSet>().is_err());
        assert!("a\tb".parse::<ScopeSet>().is_err());
    }
}
