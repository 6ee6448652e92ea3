//! The vocabulary in force: given by the program, or asked for at the issuer and kept up to date.

use crate::domain::permission::Vocabulary;
use crate::verifier::issuer::{self, Failed, Issuer};
use reqwest::header::HeaderValue;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// A vocabulary changes when somebody applies a deployment file.
const EVERY: Duration = Duration::from_secs(60);
const AFTER_FAILURE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct KnownVocabulary(RwLock<Option<Arc<Vocabulary>>>);

impl KnownVocabulary {
    pub(super) fn new(given: Option<Vocabulary>) -> Self {
        Self(RwLock::new(given.map(Arc::new)))
    }

    pub(super) fn current(&self) -> Option<Arc<Vocabulary>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes on for ever. The last one that is known counts until there is a newer one.
    pub(super) async fn keep(&self, issuer: &Issuer) {
        let (mut etag, mut away) = (None, false);
        loop {
            let fetched = fetch(issuer, etag.as_ref()).await;
            let pause = if fetched.is_ok() { EVERY } else { AFTER_FAILURE };
            match fetched {
                Ok(None) => away = false,
                Ok(Some((vocabulary, newer))) => {
                    let current = Some(Arc::new(vocabulary));
                    *self.0.write().unwrap_or_else(PoisonError::into_inner) = current;
                    (etag, away) = (newer, false);
                }
                // Once an outage: the next line would say the same.
                Err(error) => {
                    if !std::mem::replace(&mut away, true) {
                        tracing::warn!(%error, "the resource types cannot be fetched");
                    }
                }
            }
            tokio::time::sleep(pause).await;
        }
    }
}

type Fetched = Option<(Vocabulary, Option<HeaderValue>)>;

async fn fetch(issuer: &Issuer, etag: Option<&HeaderValue>) -> Result<Fetched, Failed> {
    let document = issuer.newer("/v1/resource-types", etag, issuer::DOCUMENT).await?;
    let Some(body) = document.body else { return Ok(None) };
    let vocabulary = serde_json::from_slice(&body).map_err(|_| Failed::Garbage)?;
    Ok(Some((vocabulary, document.etag)))
}
