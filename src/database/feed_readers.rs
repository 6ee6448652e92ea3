//! How far each reader of the revocation feed has come.

use crate::database::connection::{DbConnection, on_each};
use crate::database::schema::feed_readers;
use crate::database::{DatabaseError, from_millis, from_position, to_millis, to_position};
use crate::domain::Time;
use crate::domain::feed_reader::ReaderReport;
use diesel::prelude::*;

/// Inserts or replaces: what counts is the last word.
pub fn put(c: &mut DbConnection, report: &ReaderReport) -> Result<(), DatabaseError> {
    let row = (
        feed_readers::position.eq(to_position(report.position)),
        feed_readers::reported_at.eq(to_millis(report.reported_at)),
    );
    let key = (
        feed_readers::client_id.eq(report.client.as_str()),
        feed_readers::reader.eq(report.reader.as_str()),
    );
    on_each!(c, c => diesel::insert_into(feed_readers::table)
        .values((key, row))
        .on_conflict((feed_readers::client_id, feed_readers::reader))
        .do_update()
        .set(row)
        .execute(c))?;
    Ok(())
}

/// Those who have said something since then, by client and name.
pub fn list(c: &mut DbConnection, since: Time) -> Result<Vec<ReaderReport>, DatabaseError> {
    let rows: Vec<(String, String, i64, i64)> = feed_readers::table
        .filter(feed_readers::reported_at.ge(to_millis(since)))
        .order((feed_readers::client_id, feed_readers::reader))
        .load(c)?;
    let report = |(client, reader, position, reported_at): (String, String, i64, i64)| {
        Ok(ReaderReport {
            client: client.parse().map_err(|_| DatabaseError::Corrupt("client id"))?,
            reader: reader.parse().map_err(|_| DatabaseError::Corrupt("reader"))?,
            position: from_position(position),
            reported_at: from_millis(reported_at)?,
        })
    };
    rows.into_iter().map(report).collect()
}

/// Those who have said nothing since then.
pub fn forget(c: &mut DbConnection, since: Time) -> Result<usize, DatabaseError> {
    let silent = feed_readers::table.filter(feed_readers::reported_at.lt(to_millis(since)));
    Ok(diesel::delete(silent).execute(c)?)
}
