//! Documents of which there is one: the vocabulary.

use crate::database::DatabaseError;
use crate::database::connection::{DbConnection, on_each};
use crate::database::schema::documents;
use diesel::prelude::*;

const VOCABULARY: &str = "vocabulary";

/// The vocabulary's TOML source; None: the one that the binary ships.
pub fn find_vocabulary(c: &mut DbConnection) -> Result<Option<String>, DatabaseError> {
    Ok(documents::table.find(VOCABULARY).select(documents::content).first(c).optional()?)
}

pub fn put_vocabulary(c: &mut DbConnection, source: &str) -> Result<(), DatabaseError> {
    on_each!(c, c => diesel::insert_into(documents::table)
        .values((documents::name.eq(VOCABULARY), documents::content.eq(source)))
        .on_conflict(documents::name)
        .do_update()
        .set(documents::content.eq(source))
        .execute(c))?;
    Ok(())
}

pub fn delete_vocabulary(c: &mut DbConnection) -> Result<(), DatabaseError> {
    diesel::delete(documents::table.find(VOCABULARY)).execute(c)?;
    Ok(())
}
