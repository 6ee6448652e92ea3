//! What readers say that they have applied: heard at once, written down once a second for all of them.

use crate::database::{Database, DatabaseError, DbConnection, feed_readers, log};
use crate::domain::Time;
use crate::domain::feed_reader::{Lag, ReaderReport};
use crate::domain::ids::{ClientId, ReaderName};
use crate::service::feed::Feed;
use crate::service::resource_server::ResourceServer;
use crate::service::{Service, Unavailable};
use chrono::TimeDelta;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const WRITTEN_EVERY: Duration = Duration::from_secs(1);
/// Whoever says the same again is written down so often.
const WRITTEN_AGAIN: TimeDelta = TimeDelta::seconds(30);
/// Instances of one client that are heard at once: names cost nothing.
const READERS: usize = 1000;

/// What this node was told.
#[derive(Default)]
pub(super) struct Reports(Mutex<HashMap<ClientId, BTreeMap<ReaderName, Heard>>>);

#[derive(Clone, Copy)]
struct Heard {
    position: u64,
    at: Time,
    /// As the database has it.
    written: Option<(u64, Time)>,
}

impl Heard {
    fn is_due(&self) -> bool {
        self.written
            .is_none_or(|(position, at)| position != self.position || self.at - at >= WRITTEN_AGAIN)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum NotHeard {
    #[error("the position is ahead of the log")]
    Ahead,
    #[error("the client has too many readers")]
    TooMany,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A reader with what it lacks.
#[derive(Clone, Debug)]
pub struct Reader {
    pub report: ReaderReport,
    pub lag: Lag,
}

impl Reports {
    fn heard(&self) -> MutexGuard<'_, HashMap<ClientId, BTreeMap<ReaderName, Heard>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False: the client has as many as may be, and this is none of them.
    fn hear(&self, report: ReaderReport) -> bool {
        let ReaderReport { client, reader, position, reported_at: at } = report;
        let mut heard = self.heard();
        let readers = heard.entry(client).or_default();
        if let Some(known) = readers.get_mut(&reader) {
            (known.position, known.at) = (position, at);
            return true;
        }
        if readers.len() >= READERS {
            readers.retain(|_, heard| at - heard.at < ReaderReport::SILENT);
        }
        if readers.len() >= READERS {
            return false;
        }
        readers.insert(reader, Heard { position, at, written: None });
        true
    }

    /// What the database does not know yet, in one order on every node, so that no two wait for each other.
    fn due(&self) -> Vec<ReaderReport> {
        let heard = self.heard();
        let mut due = Vec::new();
        for (client, readers) in heard.iter() {
            let of_client = readers.iter().filter(|(_, heard)| heard.is_due());
            due.extend(of_client.map(|(reader, heard)| ReaderReport {
                client: client.clone(),
                reader: reader.clone(),
                position: heard.position,
                reported_at: heard.at,
            }));
        }
        due.sort_by(|a, b| (&a.client, &a.reader).cmp(&(&b.client, &b.reader)));
        due
    }

    fn written(&self, reports: &[ReaderReport]) {
        let mut heard = self.heard();
        for report in reports {
            let readers = heard.get_mut(&report.client);
            if let Some(heard) = readers.and_then(|readers| readers.get_mut(&report.reader)) {
                heard.written = Some((report.position, report.reported_at));
            }
        }
    }

    fn forget_silent(&self, since: Time) {
        self.heard().retain(|_, readers| {
            readers.retain(|_, heard| heard.at >= since);
            !readers.is_empty()
        });
    }
}

impl Feed {
    /// Writes down what readers say until the server stops.
    pub async fn write_reports(self, database: Database) {
        let mut ticks = tokio::time::interval(WRITTEN_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            ticks.tick().await;
            match self.write_due(&database).await {
                Ok(()) => failing = false,
                // Once an outage: the next line would say the same.
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "what readers of the revocation feed report is not written");
                }
                Err(_) => {}
            }
        }
    }

    async fn write_due(&self, database: &Database) -> Result<(), DatabaseError> {
        let due = self.0.reports.due();
        let Some(last) = due.iter().map(|report| report.reported_at).max() else { return Ok(()) };
        let write = move |c: &mut DbConnection| {
            for report in &due {
                feed_readers::put(c, report)?;
            }
            Ok(due)
        };
        let written = database.write(write).await?;
        self.0.reports.written(&written);
        self.0.reports.forget_silent(last - ReaderReport::SILENT);
        Ok(())
    }
}

impl Service {
    /// What an instance of a resource server has applied.
    pub async fn hear_reader(
        &self,
        server: &ResourceServer,
        reader: ReaderName,
        position: u64,
    ) -> Result<(), NotHeard> {
        let inner = &self.0;
        let catalog = &inner.catalog;
        if position > catalog.revocations().applied() {
            // Another node may have told it more than this one knows yet.
            catalog.catch_up().await.map_err(Unavailable::from)?;
        }
        if position > catalog.revocations().applied() {
            return Err(NotHeard::Ahead);
        }
        let (client, reported_at) = (server.client().id.clone(), inner.clock.now());
        let report = ReaderReport { client, reader, position, reported_at };
        if inner.feed.0.reports.hear(report) { Ok(()) } else { Err(NotHeard::TooMany) }
    }

    /// Where the log is, and those who have reported within this time, with what they lack.
    pub async fn feed_readers(&self, within: TimeDelta) -> Result<(u64, Vec<Reader>), Unavailable> {
        let inner = &self.0;
        let position = inner.revision()?;
        let now = inner.clock.now();
        let read = move |c: &mut DbConnection| {
            // Most are where most are.
            let mut missed: HashMap<u64, Option<Time>> = HashMap::new();
            let mut readers = Vec::new();
            for report in feed_readers::list(c, now - within)? {
                let first = match missed.get(&report.position) {
                    Some(first) => *first,
                    None if report.position < position => log::first_after(c, report.position)?,
                    None => None,
                };
                missed.insert(report.position, first);
                let lag = report.lag(position, first, now);
                readers.push(Reader { report, lag });
            }
            Ok((position, readers))
        };
        Ok(inner.database.read(read).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(reader: &str, position: u64, seconds: i64) -> ReaderReport {
        ReaderReport {
            client: "api".parse().unwrap(),
            reader: reader.parse().unwrap(),
            position,
            reported_at: Time::from_timestamp(seconds, 0).unwrap(),
        }
    }

    #[test]
    fn what_is_said_again_is_written_now_and_then_and_what_is_new_at_once() {
        let reports = Reports::default();
        for (position, seconds, written) in [
            (1, 0, true),
            (1, 1, false),
            (2, 2, true),
            (2, 31, false),
            (2, 32, true),
            (1, 33, true),
        ] {
            assert!(reports.hear(report("a", position, seconds)));
            let due = reports.due();
            assert_eq!(!due.is_empty(), written, "{position} at {seconds}");
            reports.written(&due);
        }
        // What was said while it was being written is due still.
        reports.hear(report("a", 4, 40));
        let due = reports.due();
        reports.hear(report("a", 5, 40));
        reports.written(&due);
        assert_eq!(reports.due(), [report("a", 5, 40)]);
    }

    #[test]
    fn names_are_bounded_and_those_of_the_silent_are_free() {
        let reports = Reports::default();
        for number in 0..READERS {
            assert!(reports.hear(report(&format!("r{number}"), 1, 0)));
        }
        assert!(!reports.hear(report("one-more", 1, 1)));
        assert!(reports.hear(report("r7", 2, 300)), "whoever is known");
        assert!(reports.hear(report("one-more", 1, 600)));
        reports.forget_silent(Time::from_timestamp(301, 0).unwrap());
        assert_eq!(reports.due(), [report("one-more", 1, 600)]);
    }
}
