//! What is counted and measured for whoever operates the server.

use crate::domain::feed_reader::ReaderReport;
use crate::domain::session::Refreshed;
use crate::service::feed::Reader;
use crate::service::{Report, Service};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counted by this node since it was started.
#[derive(Debug, Default)]
pub(super) struct Counters {
    rotated: AtomicU64,
    kept: AtomicU64,
    repeated: AtomicU64,
    late: AtomicU64,
    expired: AtomicU64,
    replayed: AtomicU64,
    ahead: AtomicU64,
    revocations: AtomicU64,
}

impl Counters {
    pub(super) fn count_refresh(&self, outcome: &Refreshed) {
        let counter = match outcome {
            Refreshed::Rotated(_) => &self.rotated,
            Refreshed::Kept(_) => &self.kept,
            Refreshed::Repeated(Some(state)) if state.late_counted => &self.late,
            Refreshed::Repeated(_) => &self.repeated,
            Refreshed::Expired => &self.expired,
            Refreshed::Replayed(_) => &self.replayed,
            Refreshed::Ahead { .. } => &self.ahead,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_revocation(&self) {
        self.revocations.fetch_add(1, Ordering::Relaxed);
    }
}

/// The figures of one node at one moment.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Each outcome of a refresh, by the name that it has outside.
    pub refreshes: Vec<(&'static str, u64)>,
    /// Entries of the log that this node wrote by itself, and not at a command's word.
    pub revocations_written: u64,
    pub log_position: u64,
    pub view_age: Duration,
    pub entries_held: usize,
    pub streams: usize,
    /// Of all nodes. None: the database is away.
    pub readers: Option<Vec<Reader>>,
}

impl Service {
    pub async fn figures(&self) -> Figures {
        let inner = &self.0;
        let Counters { rotated, kept, repeated, late, expired, replayed, ahead, revocations } =
            &inner.counters;
        let refreshes = [
            ("rotated", rotated),
            ("kept", kept),
            ("repeated", repeated),
            ("late", late),
            ("expired", expired),
            ("replayed", replayed),
            ("ahead", ahead),
        ];
        let readers = self.feed_readers(ReaderReport::SILENT).await;
        let readers = readers.map(|(_, readers)| readers).inspect_err(|unavailable| {
            let error = Report(unavailable).to_string();
            tracing::warn!(error, "how far the readers of the revocation feed are is not known");
        });
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (log_position, entries_held) = {
            let view = inner.catalog.revocations();
            (view.applied(), view.held())
        };
        Figures {
            refreshes: refreshes.map(|(name, counter)| (name, load(counter))).to_vec(),
            revocations_written: load(revocations),
            log_position,
            view_age: inner.catalog.age(),
            entries_held,
            streams: inner.feed.streams(),
            readers: readers.ok(),
        }
    }
}
