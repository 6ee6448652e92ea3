//! Following the revocation log: over a stream, or by snapshots.

use crate::domain::revocation::RevocationView;
use crate::domain::token::Audience;
use crate::verifier::error::NotVerified;
use crate::verifier::feed::{Messages, NoFeed};
use crate::verifier::issuer::{self, Failed};
use crate::verifier::message::Entry;
use crate::verifier::{SKEW, Shared};
use reqwest::header::HeaderValue;
use serde::Deserialize;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

/// The server gives a sign of life each second. A stream without one for so long is worth nothing.
const SILENCE: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// `typ` of a snapshot.
const SNAPSHOT_TYPE: &str = "revocations+jwt";
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A position that does not change is told again, as a sign of life.
const REPORT_AGAIN: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Failed(#[from] Failed),
    #[error(transparent)]
    NoFeed(#[from] NoFeed),
    #[error("the snapshot is not one of the issuer's for this client, or not of now")]
    Snapshot,
    #[error("the snapshot is older than what is known")]
    Older,
    #[error("the snapshot cannot be checked: {0}")]
    Unchecked(NotVerified),
}

/// How long to wait before the next attempt: longer each time, and never as long as everybody else.
#[derive(Debug, Default)]
struct Pause {
    attempts: u32,
}

impl Pause {
    fn next(&mut self) -> Duration {
        let longest = FIRST_PAUSE.saturating_mul(1 << self.attempts.min(10)).min(LONGEST_PAUSE);
        self.attempts = self.attempts.saturating_add(1);
        let half = longest / 2;
        // Each `RandomState` has keys of its own. Nothing depends on how random they are.
        let random = u32::try_from(RandomState::new().hash_one(0) >> 32).unwrap_or(0);
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    fn begin_again(&mut self) {
        self.attempts = 0;
    }
}

/// Goes on for ever.
pub(super) async fn stream(shared: &Shared, path: &str) {
    let mut pause = Pause::default();
    let mut away = false;
    loop {
        let ended = connection(shared, path, &mut pause, &mut away).await;
        shared.known_mut().feed.disconnect();
        if let Err(error) = ended {
            if let Broken::NoFeed(_) = error {
                shared.known_mut().feed.give_up();
            }
            // Once an outage: the next line would say the same.
            if !std::mem::replace(&mut away, true) {
                tracing::warn!(%error, "the revocation feed is away");
            }
        }
        tokio::time::sleep(pause.next()).await;
    }
}

async fn connection(
    shared: &Shared,
    path: &str,
    pause: &mut Pause,
    away: &mut bool,
) -> Result<(), Broken> {
    let resume = shared.known().feed.resume();
    let mut response = shared.issuer.events(path, resume).await?;
    let mut messages = Messages::default();
    let mut heard = Instant::now();
    loop {
        let chunk = timeout_at((heard + SILENCE).into(), response.chunk()).await;
        let chunk = chunk.map_err(|_| Failed::TooSlow)?.map_err(Failed::from)?;
        let Some(chunk) = chunk else { return Ok(()) };
        let now = Instant::now();
        let (told, whole) = messages.push(&chunk);
        if !told.is_empty() {
            heard = now;
        }
        if shared.hear(&told, now)? {
            pause.begin_again();
            if std::mem::take(away) {
                tracing::info!("the revocation feed is back");
            }
        }
        whole?;
    }
}

#[derive(Deserialize)]
struct Snapshot {
    iss: String,
    aud: Audience,
    iat: i64,
    exp: i64,
    position: u64,
    entries: Vec<Entry>,
}

/// Goes on for ever.
pub(super) async fn snapshots(shared: &Shared, path: &str, every: Duration) {
    let (mut pause, mut away, mut etag) = (Pause::default(), false, None);
    loop {
        // What an answer says was so when it was asked for, at the earliest.
        let asked = Instant::now();
        let rest = match snapshot(shared, path, &mut etag, asked).await {
            Ok(()) => {
                away = false;
                pause.begin_again();
                every
            }
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!(%error, "the revocation snapshot is away");
                }
                pause.next()
            }
        };
        tokio::time::sleep(rest).await;
    }
}

async fn snapshot(
    shared: &Shared,
    path: &str,
    etag: &mut Option<HeaderValue>,
    asked: Instant,
) -> Result<(), Broken> {
    let document = shared.issuer.newer(path, etag.as_ref(), issuer::SNAPSHOT).await?;
    let as_of = asked.checked_sub(document.age);
    let Some(body) = document.body else {
        shared.known_mut().fresh_at = as_of;
        return Ok(());
    };
    let text = std::str::from_utf8(&body).map_err(|_| Broken::Snapshot)?;
    take_snapshot(shared, text.trim(), as_of).await?;
    *etag = document.etag;
    Ok(())
}

async fn take_snapshot(shared: &Shared, text: &str, as_of: Option<Instant>) -> Result<(), Broken> {
    let signed = shared.signed(SNAPSHOT_TYPE, text).await.map_err(Broken::Unchecked)?;
    let snapshot: Snapshot =
        serde_json::from_slice(&signed.claims).map_err(|_| Broken::Snapshot)?;
    let now = shared.clock.now().timestamp();
    let current =
        snapshot.iat <= now.saturating_add(SKEW) && now.saturating_sub(SKEW) < snapshot.exp;
    let ours = snapshot.iss == shared.issuer.name() && snapshot.aud.contains(&shared.client_id);
    if !current || !ours {
        return Err(Broken::Snapshot);
    }
    let mut known = shared.known_mut();
    // SECURITY: a node that is behind, or an old copy shown again, would revive what was revoked since. A log that
    // was lost is believed when nothing has been heard of the other for too long.
    let older = known.feed.view().is_some_and(|view| snapshot.position < view.applied());
    if older && !shared.is_stale(&known) {
        return Err(Broken::Older);
    }
    known.feed.replace(snapshot.position, &snapshot.entries);
    known.fresh_at = as_of;
    Ok(())
}

/// Tells the server how far this reader is. Goes on for ever.
pub(super) async fn report(shared: &Shared, reader: &str) {
    let mut told: Option<(u64, Instant)> = None;
    loop {
        tokio::time::sleep(REPORT_EVERY).await;
        let Some(position) = shared.known().feed.view().map(RevocationView::applied) else {
            continue;
        };
        if told.is_some_and(|(last, at)| last == position && at.elapsed() < REPORT_AGAIN) {
            continue;
        }
        let report = serde_json::json!({ "reader": reader, "position": position });
        match shared.issuer.post("/v1/revocations/applied", &report).await {
            Ok(()) => told = Some((position, Instant::now())),
            // The feed says that the server is away; that it knows less of us ends nothing.
            Err(error) => tracing::debug!(%error, "the applied position was not taken"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifier::tests::{Bench, ISSUER, NOW, bench};
    use serde_json::{Value, json};

    #[test]
    fn pauses_grow_and_are_bounded() {
        let mut pause = Pause::default();
        assert!(pause.next() <= FIRST_PAUSE);
        for _ in 0..100 {
            assert!(pause.next() <= LONGEST_PAUSE);
        }
        assert!(pause.next() >= LONGEST_PAUSE / 2);
        pause.begin_again();
        assert!(pause.next() <= FIRST_PAUSE);
    }

    /// What comes of a snapshot that differs in this claim from a good one.
    fn taken(bench: &mut Bench, typ: &str, claim: &str, value: Value) -> bool {
        let entry = json!({
            "position": 9, "target": "tenant", "value": "acme", "at": NOW, "expires_at": NOW + 900,
        });
        let mut claims = json!({
            "iss": ISSUER, "aud": "api", "iat": NOW, "exp": NOW + 300, "position": 12,
            "entries": [entry],
        });
        claims[claim] = value;
        let header = json!({ "alg": "EdDSA", "kid": "k1", "typ": typ });
        let snapshot = bench.sign(&header, &claims);
        bench.shared.known = std::sync::RwLock::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let taken = runtime.block_on(take_snapshot(&bench.shared, &snapshot, Some(Instant::now())));
        assert_eq!(taken.is_ok(), bench.shared.known().fresh_at.is_some());
        taken.is_ok()
    }

    #[test]
    fn a_snapshot_is_all_that_is_known() {
        let mut bench = bench();
        assert!(taken(&mut bench, SNAPSHOT_TYPE, "more", json!(1)));
        assert_eq!(bench.shared.known().feed.view().map(RevocationView::applied), Some(12));
        assert_eq!(bench.verify(), Err(NotVerified::Revoked));
        assert_eq!(bench.with("tenant", "globex").verify(), Ok(()));
    }

    #[test]
    fn an_older_snapshot_revives_nothing_until_all_is_stale() {
        let mut bench = bench();
        assert!(taken(&mut bench, SNAPSHOT_TYPE, "more", json!(1)));
        let older = json!({
            "iss": ISSUER, "aud": "api", "iat": NOW, "exp": NOW + 300, "position": 11, "entries": [],
        });
        let header = json!({ "alg": "EdDSA", "kid": "k1", "typ": SNAPSHOT_TYPE });
        let older = bench.sign(&header, &older);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let take = || runtime.block_on(take_snapshot(&bench.shared, &older, Some(Instant::now())));
        assert!(matches!(take(), Err(Broken::Older)));
        assert_eq!(bench.verify(), Err(NotVerified::Revoked));
        // Of a log that was lost nothing else will ever come.
        bench.shared.known_mut().fresh_at = None;
        assert!(take().is_ok());
        assert_eq!(bench.verify(), Ok(()));
    }

    #[test]
    fn a_snapshot_of_another_kind() {
        assert!(!taken(&mut bench(), "at+jwt", "more", json!(1)));
    }

    #[test]
    fn a_snapshot_of_another_issuer() {
        assert!(!taken(&mut bench(), SNAPSHOT_TYPE, "iss", json!("http://127.0.0.1:90")));
    }

    #[test]
    fn a_snapshot_for_another_client() {
        assert!(!taken(&mut bench(), SNAPSHOT_TYPE, "aud", json!("other")));
    }

    #[test]
    fn a_snapshot_of_another_time() {
        assert!(!taken(&mut bench(), SNAPSHOT_TYPE, "exp", json!(NOW - SKEW)));
        assert!(!taken(&mut bench(), SNAPSHOT_TYPE, "iat", json!(NOW + SKEW + 1)));
    }

    #[test]
    fn a_snapshot_with_an_entry_that_cannot_be_read() {
        assert!(!taken(&mut bench(), SNAPSHOT_TYPE, "entries", json!([{ "position": 9 }])));
    }
}
