//! A customer space and what is known of it.

use crate::domain::ids::TenantId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    #[default]
    Active,
    /// Nothing is minted, and what was minted is dead.
    Suspended,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    pub id: TenantId,
    pub name: String,
    /// What templates see as `tenant.attributes.*`.
    #[serde(default)]
    pub attributes: BTreeMap<String, AttributeValue>,
    #[serde(default)]
    pub status: Status,
    /// Seconds without a refresh after which a session of this tenant ends, where shorter than the client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_idle: Option<u32>,
    /// Seconds after which a session of this tenant ends whatever happens, where shorter than the client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_absolute: Option<u32>,
    /// Seconds that a token of this tenant may live at most, whatever templates say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_expires_in: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AttributeValue {
    Bool(bool),
    Integer(i64),
    Text(String),
    List(Vec<String>),
}
