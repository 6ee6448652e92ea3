//! How versions and drafts are shown.

use crate::domain::Time;
use crate::domain::ids::{Role, TenantId};
use crate::domain::template::version::{Draft, TemplateVersion, VersionRecord, VersionState};
use crate::service::templates::VersionSummary;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct VersionView<'a> {
    role: &'a Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a TenantId>,
    version: u64,
    /// As claim `tpl` of a token names it.
    tpl: String,
    state: VersionState,
    created_at: Time,
    created_by: &'a str,
    published_at: Time,
    published_by: &'a str,
    reason: &'a str,
    superseded_at: Option<Time>,
    /// The document, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
}

impl<'a> From<&'a VersionSummary> for VersionView<'a> {
    fn from(summary: &'a VersionSummary) -> Self {
        let TemplateVersion { name, version } = &summary.version;
        Self {
            role: &name.role,
            tenant: name.tenant.as_ref(),
            version: *version,
            tpl: summary.version.to_string(),
            state: summary.state,
            created_at: summary.created_at,
            created_by: &summary.created_by,
            published_at: summary.published_at,
            published_by: &summary.published_by,
            reason: &summary.reason,
            superseded_at: summary.superseded_at,
            source: None,
        }
    }
}

impl<'a> From<&'a VersionRecord> for VersionView<'a> {
    fn from(record: &'a VersionRecord) -> Self {
        Self {
            role: &record.name.role,
            tenant: record.name.tenant.as_ref(),
            version: record.version,
            tpl: record.name.at(record.version).to_string(),
            state: record.state,
            created_at: record.created_at,
            created_by: &record.created_by,
            published_at: record.published_at,
            published_by: &record.published_by,
            reason: &record.reason,
            superseded_at: record.superseded_at,
            source: Some(&record.source),
        }
    }
}

#[derive(Serialize)]
pub(super) struct DraftView<'a> {
    role: &'a Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a TenantId>,
    revision: u64,
    saved_at: Time,
    saved_by: &'a str,
    source: &'a str,
}

impl<'a> From<&'a Draft> for DraftView<'a> {
    fn from(draft: &'a Draft) -> Self {
        Self {
            role: &draft.name.role,
            tenant: draft.name.tenant.as_ref(),
            revision: draft.revision,
            saved_at: draft.saved_at,
            saved_by: &draft.saved_by,
            source: &draft.source,
        }
    }
}
