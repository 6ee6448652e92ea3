//! Whose a template is, its versions, and the draft of the next one.

use crate::domain::Time;
use crate::domain::ids::InvalidName;
use crate::domain::ids::Role;
use crate::domain::ids::TenantId;
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A role's template, or a tenant's own of that role: `data-entry`, `data-entry/acme`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateName {
    pub role: Role,
    /// None: the base, which counts for every tenant that has no override.
    pub tenant: Option<TenantId>,
}

impl TemplateName {
    pub const fn base(role: Role) -> Self {
        Self { role, tenant: None }
    }
    #[must_use]
    pub fn at(&self, version: u64) -> TemplateVersion {
        TemplateVersion { name: self.clone(), version }
    }
}

impl fmt::Display for TemplateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tenant {
            None => write!(f, "{}", self.role),
            Some(tenant) => write!(f, "{}/{tenant}", self.role),
        }
    }
}

impl FromStr for TemplateName {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text.split_once('/') {
            None => Ok(Self::base(text.parse()?)),
            Some((role, tenant)) => Ok(Self { role: role.parse()?, tenant: Some(tenant.parse()?) }),
        }
    }
}

impl Serialize for TemplateName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One version, as claim `tpl` names it: `data-entry@17`, `data-entry@3/acme`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateVersion {
    pub name: TemplateName,
    pub version: u64,
}

impl fmt::Display for TemplateVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name: TemplateName { role, tenant }, version } = self;
        match tenant {
            None => write!(f, "{role}@{version}"),
            Some(tenant) => write!(f, "{role}@{version}/{tenant}"),
        }
    }
}

/// Text that names no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVersion {
    #[error(
        "write ROLE@VERSION or ROLE@VERSION/TENANT, such as data-entry@17 or data-entry@3/acme"
    )]
    Form,
    #[error(transparent)]
    Name(#[from] InvalidName),
}

impl FromStr for TemplateVersion {
    type Err = InvalidVersion;
    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let (role, rest) = text.split_once('@').ok_or(InvalidVersion::Form)?;
        let (version, tenant) = match rest.split_once('/') {
            None => (rest, None),
            Some((version, tenant)) => (version, Some(tenant.parse()?)),
        };
        // One way to write it: what is shown elsewhere can be compared as text.
        let digits = version.bytes().all(|b| b.is_ascii_digit()) && !version.starts_with('0');
        let version = version.parse().ok().filter(|_| digits).ok_or(InvalidVersion::Form)?;
        Ok(Self { name: TemplateName { role: role.parse()?, tenant }, version })
    }
}

impl Serialize for TemplateVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionState {
    /// The one that counts.
    Published,
    /// Another one counts instead, or for a withdrawn override the base.
    Superseded,
}

/// A version as it is kept. Only its state ever changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionRecord {
    pub name: TemplateName,
    pub version: u64,
    pub state: VersionState,
    /// The document.
    pub source: String,
    /// When the document was written, and by whom.
    pub created_at: Time,
    pub created_by: String,
    pub published_at: Time,
    pub published_by: String,
    /// Why it was published.
    pub reason: String,
    pub superseded_at: Option<Time>,
}

/// What may become the next version. It need not be a template yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Draft {
    pub name: TemplateName,
    /// Another one at each change, and never one that was there before.
    pub revision: u64,
    pub source: String,
    pub saved_at: Time,
    pub saved_by: String,
}

/// Somebody was faster: what is there now. None: nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Conflict {
    #[error("{}", published_now(*.0))]
    Published(Option<u64>),
    #[error("{}", drafted_now(*.0))]
    Draft(Option<u64>),
}

fn published_now(version: Option<u64>) -> String {
    match version {
        Some(version) => format!("version {version} is published now: look at it, then try again"),
        None => "no version is published now: look again, then try again".to_owned(),
    }
}

fn drafted_now(revision: Option<u64>) -> String {
    match revision {
        Some(revision) => {
            format!("the draft has revision {revision} now: look at it, then try again")
        }
        None => "there is no draft now: it was published or deleted".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_written_in_one_way() {
        for text in ["data-entry@17", "data-entry@3/acme"] {
            assert_eq!(text.parse::<TemplateVersion>().unwrap().to_string(), text);
        }
        for text in ["data-entry", "data-entry@", "a@01", "a@+1", "a@0", "a@1/", "a@1/A", "A@1"] {
            assert!(text.parse::<TemplateVersion>().is_err(), "{text}");
        }
        for text in ["data-entry", "data-entry/acme"] {
            assert_eq!(text.parse::<TemplateName>().unwrap().to_string(), text);
        }
        assert!("a/b/c".parse::<TemplateName>().is_err());
    }
}
