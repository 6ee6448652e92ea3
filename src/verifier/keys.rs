//! The issuer's public keys: fetched when they are needed, again when a token names another one, and now and
//! then, so that a key that was taken back is forgotten.

use crate::jws::{self, PublicKey};
use crate::verifier::issuer::{Failed, Issuer};
use serde_json::Value;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Tokens that name a key that nobody knows make us ask no more often than this.
const COOLDOWN: Duration = Duration::from_secs(10);
const COOLDOWN_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How long the issuer lets its keys be kept.
const MAX_AGE: Duration = Duration::from_secs(300);

/// The keys of one answer.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<PublicKey>);

impl KeySet {
    pub(super) fn find(&self, kid: &str) -> Option<&PublicKey> {
        self.0.iter().find(|key| key.kid() == kid)
    }
}

/// When the issuer was asked last, and whether it answered.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    answered: bool,
}

/// The keys cannot be had now; that a token's key is not known says nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Away;

#[derive(Debug, Default)]
pub(super) struct Keys {
    current: RwLock<Arc<KeySet>>,
    asked: Mutex<Option<Asked>>,
}

impl Keys {
    /// As they are right after the issuer was asked.
    #[cfg(test)]
    pub(super) fn fetched(keys: Vec<PublicKey>) -> Self {
        let asked = Asked { at: Instant::now(), answered: true };
        Self { current: RwLock::new(Arc::new(KeySet(keys))), asked: Mutex::new(Some(asked)) }
    }

    pub(super) fn current(&self) -> Arc<KeySet> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keys newer than those, unless newer ones were asked for a moment ago. One asks for all who wait.
    pub(super) async fn newer(
        &self,
        issuer: &Issuer,
        seen: &Arc<KeySet>,
    ) -> Result<Arc<KeySet>, Away> {
        let mut asked = self.asked.lock().await;
        let current = self.current();
        if !Arc::ptr_eq(&current, seen) {
            return Ok(current);
        }
        if let Some(Asked { at, answered }) = *asked {
            let cooldown = if answered { COOLDOWN } else { COOLDOWN_AFTER_FAILURE };
            if at.elapsed() < cooldown {
                return if answered { Ok(current) } else { Err(Away) };
            }
        }
        self.ask(issuer, &mut asked).await
    }

    async fn ask(&self, issuer: &Issuer, asked: &mut Option<Asked>) -> Result<Arc<KeySet>, Away> {
        let outage = asked.is_some_and(|asked| !asked.answered);
        let fetched = fetch(issuer).await;
        *asked = Some(Asked { at: Instant::now(), answered: fetched.is_ok() });
        match fetched {
            Ok(keys) => {
                let keys = Arc::new(keys);
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&keys);
                Ok(keys)
            }
            Err(error) => {
                // Once an outage: the next line would say the same.
                if !outage {
                    tracing::warn!(%error, "the issuer's keys cannot be fetched; those that are known go on");
                }
                Err(Away)
            }
        }
    }

    /// Goes on for ever.
    pub(super) async fn keep(&self, issuer: &Issuer) {
        loop {
            let fetched = {
                let mut asked = self.asked.lock().await;
                self.ask(issuer, &mut asked).await
            };
            let pause = if fetched.is_ok() { MAX_AGE } else { COOLDOWN };
            tokio::time::sleep(pause).await;
        }
    }
}

/// RFC 8414 §3.3: the metadata of exactly this issuer, and its keys.
async fn fetch(issuer: &Issuer) -> Result<KeySet, Failed> {
    let metadata = issuer.metadata().await?;
    let member = |name: &str| metadata.get(name).and_then(Value::as_str);
    let uri = member("jwks_uri").filter(|uri| issuer.is_at_issuer(uri));
    let (Some(uri), true) = (uri, member("issuer") == Some(issuer.name())) else {
        return Err(Failed::Garbage);
    };
    let keys = jws::parse_keys(&issuer.public_json(uri).await?).ok_or(Failed::Garbage)?;
    Ok(KeySet(keys))
}
