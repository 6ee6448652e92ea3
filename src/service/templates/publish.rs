//! Publishing a template, through the gate.

use crate::database::templates::{NewVersion, TemplatesLock};
use crate::database::{self, Database, DatabaseError, DbConnection};
use crate::domain::Time;
use crate::domain::audit::EventKind;
use crate::domain::ids::{Role, TenantId};
use crate::domain::template::RoleTemplate;
use crate::domain::template::diff::TemplateDiff;
use crate::domain::template::review::Review;
use crate::domain::template::version::{Conflict, TemplateName, TemplateVersion};
use crate::service::templates::gate::{self, Installation, Stored, aside};
use crate::service::templates::{Author, NotDone, append_change, check_changeable};
use serde::Serialize;
use serde_json::json;
use std::slice;

/// How often a review is done again because something else was published meanwhile.
const ATTEMPTS: usize = 8;

/// So many tenants are named whose own version differs from a new base.
const MAX_DIFFERENCES: usize = 1000;

/// What is to be published.
#[derive(Clone, Debug)]
pub enum Content {
    /// The draft, in the revision that its publisher has seen. It is gone then.
    Draft {
        revision: u64,
    },
    Source(String),
    /// What this version said.
    Version(u64),
}

#[derive(Clone, Debug)]
pub struct Publication {
    pub name: TemplateName,
    pub content: Content,
    /// The published version that the publisher has seen; None: there was none.
    pub expected: Option<u64>,
    /// Whether it may widen what is granted.
    pub widening_confirmed: bool,
    pub author: Author,
}

/// A tenant whose own version is not what the new base is.
#[derive(Clone, Debug, Serialize)]
pub struct OverrideDifference {
    pub tenant: TenantId,
    pub version: TemplateVersion,
    /// From the new base to the tenant's own.
    pub diff: TemplateDiff,
}

#[derive(Clone, Debug, Serialize)]
pub struct Published {
    pub version: TemplateVersion,
    pub review: Review,
    /// Of a base: how many tenants have their own version.
    pub overrides: usize,
    /// The first of those that differ from the new base.
    pub differing: Vec<OverrideDifference>,
}

/// Text to publish, and who wrote it when.
struct Written {
    source: String,
    at: Time,
    by: String,
}

struct Gathered {
    stored: Stored,
    /// In the order of the publications.
    written: Vec<Written>,
}

fn conflict(name: &TemplateName, conflict: Conflict) -> NotDone {
    NotDone::Conflict { name: name.clone(), conflict }
}

fn gather(
    c: &mut DbConnection,
    publications: &[Publication],
    now: Time,
) -> Result<Result<Gathered, NotDone>, DatabaseError> {
    let stored = gate::read(c)?;
    let mut written = Vec::with_capacity(publications.len());
    for publication in publications {
        match find_written(c, publication, now)? {
            Ok(found) => written.push(found),
            Err(not) => return Ok(Err(not)),
        }
    }
    Ok(Ok(Gathered { stored, written }))
}

fn find_written(
    c: &mut DbConnection,
    publication: &Publication,
    now: Time,
) -> Result<Result<Written, NotDone>, DatabaseError> {
    let Publication { name, content, expected, author, .. } = publication;
    if let Err(not) = check_changeable(c, name)? {
        return Ok(Err(not));
    }
    let published = database::templates::find_published(c, name)?;
    let version = published.as_ref().map(|published| published.version);
    if version != *expected {
        return Ok(Err(conflict(name, Conflict::Published(version))));
    }
    let written = match content {
        Content::Source(source) => {
            Written { source: source.clone(), at: now, by: author.name.clone() }
        }
        Content::Draft { revision } => match database::drafts::find(c, name)? {
            Some(draft) if draft.revision == *revision => {
                Written { source: draft.source, at: draft.saved_at, by: draft.saved_by }
            }
            draft => {
                let revision = draft.map(|draft| draft.revision);
                return Ok(Err(conflict(name, Conflict::Draft(revision))));
            }
        },
        Content::Version(version) => match database::templates::find(c, name, *version)? {
            Some(old) => Written { source: old.source, at: old.created_at, by: old.created_by },
            None => return Ok(Err(NotDone::NoVersion(name.at(*version)))),
        },
    };
    if let Some(published) = published
        && published.source == written.source
    {
        return Ok(Err(NotDone::Unchanged(name.at(published.version))));
    }
    Ok(Ok(written))
}

/// What the review found, and what it means for tenants with their own versions.
struct Judged {
    review: Review,
    overrides: usize,
    differing: Vec<OverrideDifference>,
}

fn judge(
    stored: &Stored,
    proposed: &[(TemplateName, String)],
) -> Result<Vec<Judged>, DatabaseError> {
    let installation = stored.compile()?;
    let reviews = installation.review_all(proposed);
    let judged = reviews.into_iter().map(|review| {
        let base = review.template.as_ref().filter(|_| review.name.tenant.is_none());
        let (overrides, differing) = base
            .map(|base| compare_overrides(&installation, &review.name.role, base, proposed))
            .unwrap_or_default();
        Judged { review, overrides, differing }
    });
    Ok(judged.collect())
}

/// Without the tenants whose own version is just being published, too.
fn compare_overrides(
    installation: &Installation,
    role: &Role,
    base: &RoleTemplate,
    proposed: &[(TemplateName, String)],
) -> (usize, Vec<OverrideDifference>) {
    let differing = installation.overrides(role).filter_map(|(tenant, version, own)| {
        let name = TemplateName { role: role.clone(), tenant: Some(tenant.clone()) };
        if proposed.iter().any(|(proposed, _)| *proposed == name) {
            return None;
        }
        let diff = TemplateDiff::between(Some(base), own, &installation.vocabulary);
        let version = name.at(version);
        (!diff.is_empty()).then(|| OverrideDifference { tenant: tenant.clone(), version, diff })
    });
    let differing = differing.take(MAX_DIFFERENCES).collect();
    (installation.overrides(role).count(), differing)
}

/// Publishes a version, if the review passes, the published version is the expected one, and a widening is
/// confirmed. It counts on every node within a second, and for a session at its next refresh.
pub async fn publish(
    database: &Database,
    publication: &Publication,
    now: Time,
) -> Result<Published, NotDone> {
    let published = publish_all(database, slice::from_ref(publication), now).await?;
    // As many come back as were given.
    published.into_iter().next().ok_or(NotDone::Busy)
}

/// Publishes all of them at once, or none. Each is reviewed beside the others as they are to be.
pub async fn publish_all(
    database: &Database,
    publications: &[Publication],
    now: Time,
) -> Result<Vec<Published>, NotDone> {
    publications.iter().try_for_each(|publication| publication.author.check())?;
    for _ in 0..ATTEMPTS {
        let wanted = publications.to_vec();
        let gathered = database.survey(move |c| gather(c, &wanted, now)).await??;
        let Gathered { stored, written } = gathered;
        let position = stored.position;
        let names = publications.iter().map(|publication| publication.name.clone());
        let sources = written.iter().map(|written| written.source.clone());
        let proposed: Vec<_> = names.zip(sources).collect();
        let judged = aside(move || judge(&stored, &proposed)).await?;
        for (Judged { review, .. }, publication) in judged.iter().zip(publications) {
            if !review.passes() {
                return Err(NotDone::Refused(Box::new(review.clone())));
            }
            if review.widens && !publication.widening_confirmed {
                return Err(NotDone::NeedsConfirmation(Box::new(review.clone())));
            }
        }
        let wanted = publications.to_vec();
        let attempt = move |c: &mut DbConnection| commit(c, &wanted, &written, position, now);
        match database.attempt(attempt).await? {
            Ok(versions) => {
                let published = judged.into_iter().zip(versions).map(|(judged, version)| {
                    let Judged { review, overrides, differing } = judged;
                    Published { version, review, overrides, differing }
                });
                return Ok(published.collect());
            }
            Err(NotDone::Busy) => {}
            Err(not) => return Err(not),
        }
    }
    Err(NotDone::Busy)
}

/// Busy: what was reviewed is not what is there now.
fn commit(
    c: &mut DbConnection,
    publications: &[Publication],
    written: &[Written],
    position: u64,
    now: Time,
) -> Result<Result<Vec<TemplateVersion>, NotDone>, DatabaseError> {
    let lock = database::templates::lock(c)?;
    if lock.before != position {
        return Ok(Err(NotDone::Busy));
    }
    let mut versions = Vec::with_capacity(publications.len());
    for (publication, written) in publications.iter().zip(written) {
        match insert(c, &lock, publication, written, now)? {
            Ok(version) => versions.push(version),
            Err(not) => return Ok(Err(not)),
        }
    }
    Ok(Ok(versions))
}

fn insert(
    c: &mut DbConnection,
    lock: &TemplatesLock,
    publication: &Publication,
    written: &Written,
    now: Time,
) -> Result<Result<TemplateVersion, NotDone>, DatabaseError> {
    let Publication { name, content, expected, author, .. } = publication;
    if let Content::Draft { revision } = content
        && let Err(found) = database::drafts::delete(c, name, *revision)?
    {
        return Ok(Err(conflict(name, found)));
    }
    let new = NewVersion {
        source: &written.source,
        created_at: written.at,
        created_by: &written.by,
        at: now,
        by: &author.name,
        reason: &author.reason,
    };
    let version = match database::templates::publish(c, lock, name, *expected, &new)? {
        Ok(version) => name.at(version),
        Err(found) => return Ok(Err(conflict(name, found))),
    };
    let (kind, detail) = match content {
        Content::Version(old) => (
            EventKind::TemplateRolledBack,
            json!({ "version": version, "to": name.at(*old), "instead_of": expected }),
        ),
        _ => (EventKind::TemplatePublished, json!({ "version": version, "instead_of": expected })),
    };
    database::audit::insert(c, &author.event(kind, name, detail, now))?;
    append_change(c, name, now)?;
    Ok(Ok(version))
}

/// Publishes what an old version said, as a new version.
pub async fn rollback(
    database: &Database,
    to: &TemplateVersion,
    expected: Option<u64>,
    widening_confirmed: bool,
    author: &Author,
    now: Time,
) -> Result<Published, NotDone> {
    let publication = Publication {
        name: to.name.clone(),
        content: Content::Version(to.version),
        expected,
        widening_confirmed,
        author: author.clone(),
    };
    publish(database, &publication, now).await
}

/// A tenant gives its own version up: from now on the base counts for it.
pub struct Withdrawal {
    pub role: Role,
    pub tenant: TenantId,
    /// The version that is published now.
    pub expected: u64,
    pub widening_confirmed: bool,
    pub author: Author,
}

pub async fn withdraw(
    database: &Database,
    withdrawal: &Withdrawal,
    now: Time,
) -> Result<(), NotDone> {
    let Withdrawal { role, tenant, expected, widening_confirmed, author } = withdrawal;
    let expected = *expected;
    author.check()?;
    let name = TemplateName { role: role.clone(), tenant: Some(tenant.clone()) };
    for _ in 0..ATTEMPTS {
        let wanted = name.clone();
        let gather = move |c: &mut DbConnection| {
            let stored = gate::read(c)?;
            if let Err(missing) = super::check_exists(c, &wanted)? {
                return Ok(Err(missing));
            }
            let version = database::templates::find_published(c, &wanted)?.map(|own| own.version);
            if version != Some(expected) {
                return Ok(Err(conflict(&wanted, Conflict::Published(version))));
            }
            Ok(Ok(stored))
        };
        let stored: Stored = database.survey(gather).await??;
        let position = stored.position;
        let wanted = name.clone();
        let review = aside(move || {
            let installation = stored.compile()?;
            let base = TemplateName::base(wanted.role.clone());
            let base = installation.published.get(&base).map(|(_, base)| base.source().to_owned());
            Ok(base.map(|base| installation.review(&wanted, &base)))
        });
        if let Some(review) = review.await?
            && review.widens
            && !*widening_confirmed
        {
            return Err(NotDone::NeedsConfirmation(Box::new(review)));
        }
        let (wanted, author) = (name.clone(), author.clone());
        let attempt = move |c: &mut DbConnection| {
            let lock = database::templates::lock(c)?;
            if lock.before != position {
                return Ok(Err(NotDone::Busy));
            }
            if let Err(found) = database::templates::withdraw(c, &lock, &wanted, expected, now)? {
                return Ok(Err(conflict(&wanted, found)));
            }
            let detail = json!({ "version": wanted.at(expected) });
            let event = author.event(EventKind::TemplateWithdrawn, &wanted, detail, now);
            database::audit::insert(c, &event)?;
            append_change(c, &wanted, now).map(Ok)
        };
        match database.attempt(attempt).await? {
            Err(NotDone::Busy) => {}
            done => return done,
        }
    }
    Err(NotDone::Busy)
}
