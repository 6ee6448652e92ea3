//! A connection that mends itself. One task keeps it: there is one attempt to connect at a time, attempts are made
//! less and less often, and whoever asks in between is refused at once.

use crate::token_store::redis::address::RedisAddress;
use crate::token_store::redis::connection::{Connection, News, NoConnection};
use crate::token_store::{Result, TokenStoreError};
use ::redis::PushKind;
use anyhow::anyhow;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

/// For all that it takes to connect: asking Sentinels, a greeting, the first question.
const ATTEMPT: Duration = Duration::from_secs(3);
/// A server that does not say in this time that it still leads is given up.
const PROBE: Duration = Duration::from_secs(1);
/// How often that is asked where nobody complains.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// A connection is given so long before complaints about it are heard: they may be about the one before.
const NEW: Duration = Duration::from_millis(200);
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub(super) struct Link {
    state: watch::Receiver<State>,
    complaints: mpsc::Sender<()>,
}

#[derive(Clone)]
enum State {
    /// For the first time, or because it has just been lost: worth waiting for.
    Connecting,
    Up(Connection),
    Down(NoConnection),
}

/// Whether an outage is on, for all connections of this server: it is reported once.
#[derive(Clone, Default)]
pub(super) struct Outage(Arc<AtomicBool>);

impl Outage {
    fn begins(&self, why: &NoConnection) {
        if !self.0.swap(true, Ordering::Relaxed) {
            tracing::error!(%why, "Redis is away; what needs it is refused until it is back");
        }
    }

    fn is_over(&self) {
        if self.0.swap(false, Ordering::Relaxed) {
            tracing::info!("Redis is back");
        }
    }
}

impl Link {
    /// To be called within the runtime that the connection is to live in.
    pub(super) fn new(address: Arc<RedisAddress>, outage: Outage) -> Self {
        let (sender, state) = watch::channel(State::Connecting);
        // One complaint that waits is enough.
        let (complaints, heard) = mpsc::channel(1);
        tokio::spawn(Keeper { address, outage, state: sender, complaints: heard }.keep());
        Self { state, complaints }
    }

    /// Waits only for a first attempt.
    pub(super) async fn connection(&self) -> Result<Connection> {
        if let State::Up(connection) = &*self.state.borrow() {
            return Ok(connection.clone());
        }
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, State::Connecting)).await;
        match settled.as_deref() {
            Ok(State::Up(connection)) => Ok(connection.clone()),
            Ok(State::Down(why)) => Err(why.clone().into()),
            Ok(State::Connecting) | Err(_) => Err(gone()),
        }
    }

    /// Something was wrong with an answer, or there was none. The connection is looked at soon.
    pub(super) fn complain(&self) {
        // Full: it is about to be.
        let _ = self.complaints.try_send(());
    }
}

impl From<NoConnection> for TokenStoreError {
    fn from(error: NoConnection) -> Self {
        Self::Unavailable(error.into())
    }
}

struct Keeper {
    address: Arc<RedisAddress>,
    outage: Outage,
    state: watch::Sender<State>,
    complaints: mpsc::Receiver<()>,
}

impl Keeper {
    /// Until nobody holds the link any more.
    async fn keep(mut self) {
        while let Some((connection, news)) = self.connect().await {
            self.outage.is_over();
            self.state.send_replace(State::Up(connection.clone()));
            if !self.stays(connection.clone(), news).await {
                return;
            }
            // Most of a cluster may do well: what there is serves until there is a better one.
            if matches!(connection, Connection::Server(_)) {
                self.state.send_replace(State::Connecting);
            }
        }
    }

    /// Attempts until one succeeds. None: nobody holds the link any more.
    async fn connect(&mut self) -> Option<(Connection, News)> {
        let mut wait = FIRST_WAIT;
        loop {
            let attempt = timeout(ATTEMPT, self.address.connect());
            let why = tokio::select! {
                () = self.state.closed() => return None,
                connected = attempt => match connected {
                    Ok(Ok(connected)) => return Some(connected),
                    Ok(Err(why)) => why,
                    Err(_) => NoConnection::Silent,
                },
            };
            self.outage.begins(&why);
            self.state.send_replace(State::Down(why));
            tokio::select! {
                () = self.state.closed() => return None,
                () = sleep(jittered(wait, RandomState::new().build_hasher().finish())) => {}
            }
            wait = wait.saturating_mul(2).min(LONGEST_WAIT);
        }
    }

    /// Returns when the connection is no good any more; false: nobody holds the link.
    async fn stays(&mut self, mut connection: Connection, mut news: News) -> bool {
        let mut heard = false;
        sleep(NEW).await;
        loop {
            tokio::select! {
                () = self.state.closed() => return false,
                () = end_of(&mut news), if !heard => {
                    // A cluster's connections are mended by themselves.
                    if matches!(connection, Connection::Server(_)) {
                        return true;
                    }
                    heard = true;
                }
                complaint = self.complaints.recv() => if complaint.is_none() { return false },
                () = sleep(PROBE_EVERY) => {}
            }
            let probe = timeout(PROBE, self.address.is_right(&mut connection)).await;
            if !matches!(probe, Ok(true)) {
                return true;
            }
        }
    }
}

async fn end_of(news: &mut News) {
    while let Some(push) = news.recv().await {
        if push.kind == PushKind::Disconnection {
            return;
        }
    }
}

/// Between a half and the whole, so that servers which lost Redis together do not come back together.
fn jittered(wait: Duration, random: u64) -> Duration {
    let whole = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
    let half = whole.checked_div(2).unwrap_or_default();
    let more = random.checked_rem(half.saturating_add(1)).unwrap_or_default();
    Duration::from_micros(half.saturating_add(more))
}

fn gone() -> TokenStoreError {
    TokenStoreError::Unavailable(anyhow!("the connection to Redis is not kept any more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_between_a_half_and_the_whole() {
        let wait = Duration::from_millis(100);
        for random in [0, 1, 50_000, 50_001, u64::MAX] {
            let jittered = jittered(wait, random);
            assert!(jittered >= wait / 2 && jittered <= wait, "{jittered:?}");
        }
        assert_ne!(jittered(wait, 1), jittered(wait, 2));
    }
}
