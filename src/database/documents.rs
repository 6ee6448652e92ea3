//! Documents of which there is one: the vocabulary, and the limits on templates.

use crate::database::connection::{DbConnection, on_each};
use crate::database::schema::documents;
use crate::database::{DatabaseError, from_json, to_json};
use crate::domain::template::Limits;
use diesel::prelude::*;

const VOCABULARY: &str = "vocabulary";
const LIMITS: &str = "template_limits";

fn find(c: &mut DbConnection, name: &str) -> Result<Option<String>, DatabaseError> {
    Ok(documents::table.find(name).select(documents::content).first(c).optional()?)
}

fn put(c: &mut DbConnection, name: &str, content: &str) -> Result<(), DatabaseError> {
    on_each!(c, c => diesel::insert_into(documents::table)
        .values((documents::name.eq(name), documents::content.eq(content)))
        .on_conflict(documents::name)
        .do_update()
        .set(documents::content.eq(content))
        .execute(c))?;
    Ok(())
}

fn delete(c: &mut DbConnection, name: &str) -> Result<(), DatabaseError> {
    diesel::delete(documents::table.find(name)).execute(c)?;
    Ok(())
}

/// The vocabulary's TOML source; None: the one that the binary ships.
pub fn find_vocabulary(c: &mut DbConnection) -> Result<Option<String>, DatabaseError> {
    find(c, VOCABULARY)
}

pub fn put_vocabulary(c: &mut DbConnection, source: &str) -> Result<(), DatabaseError> {
    put(c, VOCABULARY, source)
}

pub fn delete_vocabulary(c: &mut DbConnection) -> Result<(), DatabaseError> {
    delete(c, VOCABULARY)
}

/// None: there are none.
pub fn find_limits(c: &mut DbConnection) -> Result<Option<Limits>, DatabaseError> {
    find(c, LIMITS)?.map(|limits| from_json("template limits", &limits)).transpose()
}

pub fn put_limits(c: &mut DbConnection, limits: &Limits) -> Result<(), DatabaseError> {
    put(c, LIMITS, &to_json(limits)?)
}

pub fn delete_limits(c: &mut DbConnection) -> Result<(), DatabaseError> {
    delete(c, LIMITS)
}
