//! The clients, as documents, and the browser origins that they declare.

use crate::database::connection::{DbConnection, on_each};
use crate::database::schema::{client_origins, clients};
use crate::database::{DatabaseError, from_json, to_json};
use crate::domain::client::Client;
use crate::domain::ids::ClientId;
use diesel::prelude::*;

pub fn find(c: &mut DbConnection, id: &ClientId) -> Result<Option<Client>, DatabaseError> {
    let row = clients::table.find(id.as_str()).select(clients::document);
    let document: Option<String> = row.first(c).optional()?;
    document.map(|document| from_json("client", &document)).transpose()
}

pub fn list(c: &mut DbConnection) -> Result<Vec<Client>, DatabaseError> {
    let documents: Vec<String> =
        clients::table.order(clients::id).select(clients::document).load(c)?;
    documents.iter().map(|document| from_json("client", document)).collect()
}

/// Inserts or replaces.
pub fn put(c: &mut DbConnection, client: &Client) -> Result<(), DatabaseError> {
    let document = to_json(client)?;
    on_each!(c, c => diesel::insert_into(clients::table)
        .values((clients::id.eq(client.id.as_str()), clients::document.eq(&document)))
        .on_conflict(clients::id)
        .do_update()
        .set(clients::document.eq(&document))
        .execute(c))?;
    let id = client.id.as_str();
    diesel::delete(client_origins::table.filter(client_origins::client_id.eq(id))).execute(c)?;
    for origin in &client.origins {
        let row = (client_origins::client_id.eq(id), client_origins::origin.eq(origin));
        diesel::insert_into(client_origins::table).values(row).execute(c)?;
    }
    Ok(())
}

/// Whether any client has declared this browser origin.
pub fn declares_origin(c: &mut DbConnection, origin: &str) -> Result<bool, DatabaseError> {
    let declared = client_origins::table.filter(client_origins::origin.eq(origin));
    Ok(diesel::select(diesel::dsl::exists(declared)).get_result(c)?)
}

pub fn delete(c: &mut DbConnection, id: &ClientId) -> Result<(), DatabaseError> {
    diesel::delete(clients::table.find(id.as_str())).execute(c)?;
    Ok(())
}
