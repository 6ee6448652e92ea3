//! Drafts: written by several people, and no one's work is lost.

use crate::database::{self, Database, DatabaseError, DbConnection};
use crate::domain::Time;
use crate::domain::audit::EventKind;
use crate::domain::template::version::{Conflict, Draft, TemplateName};
use crate::service::templates::{Author, MAX_SOURCE, NotDone, check_changeable, check_exists};

use serde_json::json;

/// None: the role or the tenant is there, and has no draft.
pub async fn find_draft(
    database: &Database,
    name: &TemplateName,
) -> Result<Option<Draft>, NotDone> {
    let name = name.clone();
    let find = move |c: &mut DbConnection| {
        if let Err(missing) = check_exists(c, &name)? {
            return Ok(Err(missing));
        }
        database::drafts::find(c, &name).map(Ok)
    };
    database.read(find).await?
}

fn refused(name: &TemplateName) -> impl Fn(Conflict) -> NotDone {
    move |conflict| NotDone::Conflict { name: name.clone(), conflict }
}

/// Saves a draft: the first (`expected` None), or over the revision that the author has seen. It need not
/// be a template yet. A reason is not asked for.
pub async fn save_draft(
    database: &Database,
    name: &TemplateName,
    source: &str,
    expected: Option<u64>,
    author: &Author,
    now: Time,
) -> Result<Draft, NotDone> {
    if source.len() > MAX_SOURCE {
        return Err(NotDone::TooLarge);
    }
    let (name, source, author) = (name.clone(), source.to_owned(), author.clone());
    let save = move |c: &mut DbConnection| -> Result<Result<Draft, NotDone>, DatabaseError> {
        if let Err(not) = check_changeable(c, &name)? {
            return Ok(Err(not));
        }
        let saved = database::drafts::save(c, &name, &source, expected, &author.name, now)?;
        let revision = match saved {
            Ok(revision) => revision,
            Err(conflict) => return Ok(Err(refused(&name)(conflict))),
        };
        let detail = json!({ "revision": revision });
        let event = author.event(EventKind::TemplateDraftSaved, &name, detail, now);
        database::audit::insert(c, &event)?;
        Ok(Ok(Draft { name, revision, source, saved_at: now, saved_by: author.name }))
    };
    database.attempt(save).await?
}

/// Deletes the revision that the author has seen.
pub async fn delete_draft(
    database: &Database,
    name: &TemplateName,
    revision: u64,
    author: &Author,
    now: Time,
) -> Result<(), NotDone> {
    let (name, author) = (name.clone(), author.clone());
    let delete = move |c: &mut DbConnection| -> Result<Result<(), NotDone>, DatabaseError> {
        if let Err(missing) = check_exists(c, &name)? {
            return Ok(Err(missing));
        }
        if let Err(conflict) = database::drafts::delete(c, &name, revision)? {
            return Ok(Err(refused(&name)(conflict)));
        }
        let detail = json!({ "revision": revision });
        let event = author.event(EventKind::TemplateDraftDeleted, &name, detail, now);
        database::audit::insert(c, &event).map(Ok)
    };
    database.attempt(delete).await?
}
