//! The installation's keys: opened at each start, made at the first.

use crate::database::keys::StoredKeys;
use crate::database::{self, Database, DatabaseError};
use crate::domain::Time;
use crate::domain::client::SigningAlgorithm;
use crate::domain::secret::Secret;
use crate::signing::{self, DerivationKey, KeyError, KeyRing, SealingKey, SigningKey};

const SIGNING: &str = "signing key";
const DERIVATION: &str = "derivation key";

#[derive(Debug, thiserror::Error)]
pub enum NoKeys {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

struct NewKeys {
    /// kid, algorithm, sealed.
    signing: Vec<(String, SigningAlgorithm, String)>,
    derivation: String,
}

fn make(sealing: &SealingKey) -> Result<NewKeys, KeyError> {
    let mut signing = Vec::new();
    for algorithm in SigningAlgorithm::ALL {
        let pkcs8 = SigningKey::generate(algorithm)?;
        let key = SigningKey::parse(algorithm, &pkcs8)?;
        let sealed = sealing.seal(SIGNING, pkcs8.reveal())?;
        signing.push((key.kid().to_owned(), algorithm, sealed));
    }
    let derivation = sealing.seal(DERIVATION, &signing::random::<32>()?)?;
    Ok(NewKeys { signing, derivation })
}

fn open(stored: &StoredKeys, sealing: &SealingKey) -> Result<KeyRing, KeyError> {
    let signing = stored
        .signing
        .iter()
        .map(|(algorithm, sealed)| SigningKey::parse(*algorithm, &sealing.open(SIGNING, sealed)?));
    let derivation = stored.derivation.iter().map(|(id, sealed)| {
        let bytes: Secret<Vec<u8>> = sealing.open(DERIVATION, sealed)?;
        DerivationKey::parse(*id, &bytes)
    });
    KeyRing::new(
        signing.collect::<Result<_, KeyError>>()?,
        derivation.collect::<Result<_, KeyError>>()?,
    )
}

/// Several nodes may start for the first time at once: one makes the keys, the others find them.
pub async fn open_or_make(
    database: &Database,
    sealing: &SealingKey,
    now: Time,
) -> Result<KeyRing, NoKeys> {
    let mut stored = database.read(database::keys::list).await?;
    if stored.signing.is_empty() {
        let new = make(sealing)?;
        stored = database
            .write(move |c| {
                database::keys::lock(c)?;
                let stored = database::keys::list(c)?;
                if !stored.signing.is_empty() {
                    return Ok(stored);
                }
                for (kid, algorithm, sealed) in &new.signing {
                    database::keys::insert_signing(c, kid, *algorithm, sealed, now)?;
                }
                database::keys::insert_derivation(c, 1, &new.derivation, now)?;
                database::keys::list(c)
            })
            .await?;
    }
    Ok(open(&stored, sealing)?)
}
