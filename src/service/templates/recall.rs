//! Taking back what a version made.

use crate::database::{self, Database, DatabaseError, DbConnection, log};
use crate::domain::Time;
use crate::domain::audit::EventKind;
use crate::domain::ids::TenantId;
use crate::domain::revocation::{NewRevocation, RecalledVersion, RevocationTarget};
use crate::domain::template::version::{TemplateVersion, VersionRecord};
use crate::service::templates::{Author, NotDone};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// So much may the clocks of two nodes differ.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::seconds(5);

/// What becomes of what a version made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recall {
    /// Nothing, but that it was decided so is kept.
    LetExpire,
    /// Its access tokens are dead; sessions live on, and are given tokens of today's version.
    RefreshNow,
    /// Its access tokens are dead, and the sessions that began under it are over.
    Revoke,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recalled {
    pub version: TemplateVersion,
    /// The entry of the revocation log; None: there was nothing to revoke.
    pub position: Option<u64>,
}

/// Takes back what a version made, as one entry of the revocation log. `stale_after`: how long a node may go
/// on with what it knows. What is made after this, even by the same version, is not hit.
pub async fn recall(
    database: &Database,
    version: &TemplateVersion,
    how: Recall,
    stale_after: Duration,
    author: &Author,
    now: Time,
) -> Result<Recalled, NotDone> {
    author.check()?;
    let (version, author) = (version.clone(), author.clone());
    let margin = TimeDelta::from_std(stale_after).unwrap_or(TimeDelta::zero()) + CLOCKS_DIFFER;
    let write = move |c: &mut DbConnection| -> Result<Result<Recalled, NotDone>, DatabaseError> {
        let Some(record) = database::templates::find(c, &version.name, version.version)? else {
            return Ok(Err(NotDone::NoVersion(version)));
        };
        let target = target(c, &version, &record, how, margin, now)?;
        let position = match target {
            None => None,
            Some(target) => {
                let revocation = NewRevocation {
                    // A node that is behind may go on making it for as long.
                    expires_at: target.outlived_at(now) + margin,
                    target,
                    tenant: version.name.tenant.clone(),
                    audience: Vec::new(),
                    by: Some(author.name.clone()),
                    reason: format!("template version {version} was recalled: {}", author.reason),
                };
                Some(log::append_revocation(c, &revocation, now)?.position)
            }
        };
        let detail = json!({ "version": version, "how": how, "position": position });
        let event = author.event(EventKind::TemplateRecalled, &version.name, detail, now);
        database::audit::insert(c, &event)?;
        Ok(Ok(Recalled { version, position }))
    };
    database.attempt(write).await?
}

/// What to revoke.
fn target(
    c: &mut DbConnection,
    version: &TemplateVersion,
    record: &VersionRecord,
    how: Recall,
    margin: TimeDelta,
    now: Time,
) -> Result<Option<RevocationTarget>, DatabaseError> {
    let name = version.to_string();
    Ok(match how {
        Recall::LetExpire => None,
        Recall::RefreshNow => Some(RevocationTarget::TemplateVersion(name)),
        Recall::Revoke => {
            let (from, until) = (record.published_at, record.superseded_at.unwrap_or(now));
            let except = match version.name.tenant {
                Some(_) => BTreeSet::new(),
                None => tenants_apart(c, record, until + margin, margin)?,
            };
            let recalled = RecalledVersion {
                version: name,
                role: version.name.role.clone(),
                from: from - CLOCKS_DIFFER,
                until: until + margin,
                except,
            };
            Some(RevocationTarget::TemplateVersionAndSessions(recalled))
        }
    })
}

/// So many tenants are named in an entry. The sessions of others end too, although they did not begin under
/// the base.
const MAX_EXCEPTED: usize = 256;

/// The tenants that had their own version all the while that the base version counted anywhere.
fn tenants_apart(
    c: &mut DbConnection,
    base: &VersionRecord,
    until: Time,
    margin: TimeDelta,
) -> Result<BTreeSet<TenantId>, DatabaseError> {
    let from = base.published_at - margin;
    let role = database::roles::find(c, &base.name.role)?;
    if role.and_then(|role| role.ceiling_since).is_none_or(|since| since > from) {
        return Ok(BTreeSet::new());
    }
    let mut apart = BTreeSet::new();
    let mut run: Option<(TenantId, Time, Option<Time>)> = None;
    for (tenant, published, superseded) in database::templates::override_times(c, &base.name.role)?
    {
        // One version after the other without a gap is one stretch of time.
        let begun = match &run {
            Some((of, begun, Some(end))) if *of == tenant && *end == published => *begun,
            _ => published,
        };
        let all_the_while = begun <= from && superseded.is_none_or(|end| end > until);
        if all_the_while && apart.len() < MAX_EXCEPTED {
            apart.insert(tenant.clone());
        }
        run = Some((tenant, begun, superseded));
    }
    Ok(apart)
}
