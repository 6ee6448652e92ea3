//! Signing and derivation keys, sealed.

use crate::database::connection::DbConnection;
use crate::database::schema::{derivation_keys, signing_keys};
use crate::database::{DatabaseError, log, to_millis};
use crate::domain::Time;
use crate::domain::client::SigningAlgorithm;
use diesel::prelude::*;

#[derive(Clone, Debug)]
pub struct StoredKeys {
    /// The newest first: algorithm and sealed PKCS #8.
    pub signing: Vec<(SigningAlgorithm, String)>,
    /// Id and sealed bytes.
    pub derivation: Vec<(u32, String)>,
}

pub fn list(c: &mut DbConnection) -> Result<StoredKeys, DatabaseError> {
    let signing: Vec<(String, String)> = signing_keys::table
        .order(signing_keys::created_at.desc())
        .select((signing_keys::algorithm, signing_keys::sealed))
        .load(c)?;
    let derivation: Vec<(i32, String)> = derivation_keys::table
        .order(derivation_keys::id)
        .select((derivation_keys::id, derivation_keys::sealed))
        .load(c)?;
    let signing = signing.into_iter().map(|(name, sealed)| {
        let known = SigningAlgorithm::ALL.into_iter().find(|known| known.as_str() == name);
        Ok((known.ok_or(DatabaseError::Corrupt("algorithm"))?, sealed))
    });
    let derivation = derivation.into_iter().map(|(id, sealed)| {
        Ok((u32::try_from(id).map_err(|_| DatabaseError::Corrupt("key id"))?, sealed))
    });
    Ok(StoredKeys {
        signing: signing.collect::<Result<_, DatabaseError>>()?,
        derivation: derivation.collect::<Result<_, DatabaseError>>()?,
    })
}

/// Several nodes may start for the first time at once: whoever holds the lock looks before it makes keys.
pub fn lock(c: &mut DbConnection) -> Result<(), DatabaseError> {
    log::lock_keys(c)
}

pub fn insert_signing(
    c: &mut DbConnection,
    kid: &str,
    algorithm: SigningAlgorithm,
    sealed: &str,
    at: Time,
) -> Result<(), DatabaseError> {
    diesel::insert_into(signing_keys::table)
        .values((
            signing_keys::kid.eq(kid),
            signing_keys::algorithm.eq(algorithm.as_str()),
            signing_keys::sealed.eq(sealed),
            signing_keys::created_at.eq(to_millis(at)),
        ))
        .execute(c)?;
    Ok(())
}

pub fn insert_derivation(
    c: &mut DbConnection,
    id: u32,
    sealed: &str,
    at: Time,
) -> Result<(), DatabaseError> {
    let id = i32::try_from(id).map_err(|_| DatabaseError::Corrupt("key id"))?;
    diesel::insert_into(derivation_keys::table)
        .values((
            derivation_keys::id.eq(id),
            derivation_keys::sealed.eq(sealed),
            derivation_keys::created_at.eq(to_millis(at)),
        ))
        .execute(c)?;
    Ok(())
}
