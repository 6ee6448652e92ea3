//! One value fetched from a provider, for everybody who asks at the same time.

use crate::upstream::error::Outage;
use crate::upstream::error::UpstreamError;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

pub(super) struct Fetched<T> {
    pub(super) value: Arc<T>,
    /// When it came. Monotonic: a clock that is set back must not make old keys young.
    pub(super) at: Instant,
    due: Instant,
}

impl<T> Clone for Fetched<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), at: self.at, due: self.due }
    }
}

struct State<T> {
    fetched: Option<Fetched<T>>,
    failed: Option<(Instant, UpstreamError)>,
    /// When somebody last asked for a newer value than the one at hand.
    renewed: Option<Instant>,
}

pub(super) struct Cell<T> {
    state: RwLock<State<T>>,
    /// Held while a fetch is under way. Readers of a value that is still good never wait for it.
    flight: tokio::sync::Mutex<()>,
    max_age: Duration,
    cooldown: Duration,
}

impl<T: Send + Sync + 'static> Cell<T> {
    pub(super) fn new(max_age: Duration, cooldown: Duration) -> Self {
        let state = State { fetched: None, failed: None, renewed: None };
        Self { state: RwLock::new(state), flight: tokio::sync::Mutex::new(()), max_age, cooldown }
    }

    /// The value, fetched if it is not there, too old, or not `valid`.
    pub(super) async fn current<V, F, R>(
        self: &Arc<Self>,
        valid: V,
        fetch: F,
    ) -> Result<Fetched<T>, UpstreamError>
    where
        V: Fn(&T) -> bool + Send + 'static,
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = Result<T, UpstreamError>> + Send,
    {
        let good = move |found: &Fetched<T>| Instant::now() < found.due && valid(&found.value);
        match self.fetched().filter(&good) {
            Some(found) => Ok(found),
            None => self
                .fly(good, || true, fetch)
                .await
                .and_then(|f| f.ok_or(Outage::Interrupted.into())),
        }
    }

    /// A value newer than the one that came at `seen`, or nothing if that was asked for a moment ago.
    ///
    /// SECURITY: anybody can make up a key id. Whatever they send costs the provider one request in a cooldown.
    pub(super) async fn newer<F, R>(
        self: &Arc<Self>,
        seen: Instant,
        fetch: F,
    ) -> Result<Option<Fetched<T>>, UpstreamError>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = Result<T, UpstreamError>> + Send,
    {
        let cell = self.clone();
        self.fly(move |found| found.at > seen, move || cell.may_renew(), fetch).await
    }

    /// SECURITY: runs in a task of its own, so that a caller who hangs up neither stops the fetch that others
    /// wait for nor uses up the cooldown for nothing.
    async fn fly<G, P, F, R>(
        self: &Arc<Self>,
        good: G,
        permitted: P,
        fetch: F,
    ) -> Result<Option<Fetched<T>>, UpstreamError>
    where
        G: Fn(&Fetched<T>) -> bool + Send + 'static,
        P: FnOnce() -> bool + Send + 'static,
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = Result<T, UpstreamError>> + Send,
    {
        let arrived = Instant::now();
        let cell = self.clone();
        let task = tokio::spawn(async move {
            let _flight = cell.flight.lock().await;
            if let Some(found) = cell.fetched().filter(&good) {
                return Ok(Some(found));
            }
            if let Some(error) = cell.failed_since(arrived) {
                return Err(error);
            }
            if !permitted() {
                return Ok(None);
            }
            match fetch().await {
                Ok(value) => Ok(Some(cell.store(value))),
                Err(error) => {
                    cell.note_failure(&error);
                    cell.fetched().filter(&good).map(Some).ok_or(error)
                }
            }
        });
        task.await.unwrap_or(Err(UpstreamError::Unreachable(Outage::Interrupted)))
    }

    fn fetched(&self) -> Option<Fetched<T>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).fetched.clone()
    }

    /// The failure that those who waited for one fetch share, instead of each waiting for its own.
    fn failed_since(&self, arrived: Instant) -> Option<UpstreamError> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.failed.as_ref().filter(|(at, _)| *at >= arrived).map(|(_, error)| error.clone())
    }

    fn may_renew(&self) -> bool {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let due = state.renewed.is_none_or(|at| at.elapsed() >= self.cooldown);
        if due {
            state.renewed = Some(Instant::now());
        }
        due
    }

    fn store(&self, value: T) -> Fetched<T> {
        let at = Instant::now();
        let fetched = Fetched { value: Arc::new(value), at, due: later(at, self.max_age) };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.fetched = Some(fetched.clone());
        state.failed = None;
        fetched
    }

    /// A provider that is away for a moment does not take its keys with it: what is at hand stays good for
    /// one more `max_age`, and the next try comes after a cooldown.
    fn note_failure(&self, error: &UpstreamError) {
        let now = Instant::now();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.failed = Some((now, error.clone()));
        if let (UpstreamError::Unreachable(_), Some(fetched)) = (error, &mut state.fetched) {
            let end = later(later(fetched.at, self.max_age), self.max_age);
            fetched.due = fetched.due.max(end.min(later(now, self.cooldown)));
        }
    }
}

/// A span too long for the clock is none.
fn later(at: Instant, span: Duration) -> Instant {
    at.checked_add(span).unwrap_or(at)
}
