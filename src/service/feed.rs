//! The revocation log for resource servers, told as it grows.
//!
//! A stream holds no entries of its own. It is asked for the next when its connection can take more, and so a
//! slow reader costs no memory; what it lacks by then comes from the last entries that the catalog holds, or
//! from the database.

mod place;
mod reports;
mod snapshot;

pub use crate::service::feed::reports::{NotHeard, Reader};
pub use crate::service::feed::snapshot::Snapshot;

use crate::catalog::News;
use crate::database::log;
use crate::domain::feed::{FeedEntry, FeedFilter, Frame, Start};
use crate::service::feed::place::{Place, Places};
use crate::service::feed::reports::Reports;
use crate::service::resource_server::ResourceServer;
use crate::service::{Inner, Report, Service, Unavailable};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// A reader hears of a position once a second at least, with some time to reach it.
const SIGN_OF_LIFE: Duration = Duration::from_millis(800);
/// Entries that are read and sent at once.
const PORTION: u32 = 256;
/// Streams that read the database at once: when all of them come back, those who need it for a token wait
/// for a few of them at most.
const READS_AT_ONCE: usize = 2;

/// Streams that one node serves at once.
#[derive(Clone, Copy, Debug)]
pub struct FeedLimits {
    pub streams: usize,
    pub streams_per_client: usize,
}

/// What the streams of a server have in common.
#[derive(Clone)]
pub struct Feed(Arc<Shared>);

struct Shared {
    places: Places,
    reports: Reports,
    reads: Semaphore,
    closed: watch::Sender<bool>,
}

impl Feed {
    pub fn new(limits: FeedLimits) -> Self {
        Self(Arc::new(Shared {
            places: Places::new(limits),
            reports: Reports::default(),
            reads: Semaphore::new(READS_AT_ONCE),
            closed: watch::Sender::new(false),
        }))
    }

    /// How many are open.
    pub(super) fn streams(&self) -> usize {
        self.0.places.taken_in_all()
    }

    /// Ends all streams, and lets none begin any more.
    pub fn close(&self) {
        self.0.closed.send_replace(true);
    }
}

#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    #[error("the client does not introspect that audience")]
    Audience,
    #[error("as many streams are open as may be")]
    TooMany,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// One reader's stream. Its place is free when this is dropped.
pub struct FeedStream {
    inner: Arc<Inner>,
    reader: ResourceServer,
    filter: FeedFilter,
    at: At,
    applied: watch::Receiver<u64>,
    closed: watch::Receiver<bool>,
    /// When the reader last heard of a position.
    told: Option<Instant>,
    _place: Place,
}

/// How far a stream has come.
#[derive(Clone, Copy, Debug)]
enum At {
    Beginning(Start),
    /// Everything alive up to `upto` is being told, and was up to `told`.
    Over {
        told: u64,
        upto: u64,
    },
    Position(u64),
}

impl Service {
    /// `last`: the position that the reader has seen.
    pub async fn open_feed(
        &self,
        reader: ResourceServer,
        wanted: FeedFilter,
        last: Option<u64>,
    ) -> Result<FeedStream, NotOpened> {
        let filter = wanted.allowed_to(reader.client()).ok_or(NotOpened::Audience)?;
        let inner = Arc::clone(&self.0);
        let place = inner.feed.0.places.take(&reader.client().id).ok_or(NotOpened::TooMany)?;
        let mut applied = inner.revision().map_err(Unavailable::from)?;
        if last.is_some_and(|last| last > applied) {
            // Another node may have told it more than this one knows yet.
            inner.catalog.catch_up().await.map_err(Unavailable::from)?;
            applied = inner.catalog.revocations().applied();
        }
        Ok(FeedStream {
            filter,
            at: At::Beginning(Start::of(last, applied)),
            applied: inner.catalog.applied(),
            closed: inner.feed.0.closed.subscribe(),
            told: None,
            _place: place,
            reader,
            inner,
        })
    }
}

impl FeedStream {
    /// What comes next, as soon as there is something. None: it has ended.
    pub async fn next(&mut self) -> Option<String> {
        match self.try_next().await {
            Ok(next) => next,
            Err(unavailable) => {
                let client = &self.reader.client().id;
                let error = Report(&unavailable).to_string();
                tracing::warn!(%client, error, "a stream of the revocation log has ended early");
                None
            }
        }
    }

    async fn try_next(&mut self) -> Result<Option<String>, Unavailable> {
        loop {
            if *self.closed.borrow() || !self.inner.is_still(&self.reader).await? {
                return Ok(None);
            }
            // SECURITY: a reader takes a position for the truth about now, so it is told none that is old.
            self.inner.catalog.check_fresh()?;
            let applied = *self.applied.borrow_and_update();
            match self.at {
                At::Beginning(Start::After(position)) => self.at = At::Position(position),
                At::Beginning(Start::Over) => {
                    self.at = At::Over { told: 0, upto: applied };
                    return Ok(Some(Frame::Reset(applied).to_string()));
                }
                At::Over { told, upto } => return self.tell_alive(told, upto).await.map(Some),
                At::Position(position) if position < applied => {
                    return self.tell_news(position, applied).await.map(Some);
                }
                At::Position(position) if self.rest().is_zero() => {
                    let mut frames = String::new();
                    self.tell_position(&mut frames, position);
                    return Ok(Some(frames));
                }
                At::Position(_) => self.wait().await,
            }
        }
    }

    /// So long until the reader has to hear of a position again.
    fn rest(&self) -> Duration {
        self.told.map_or(Duration::ZERO, |told| SIGN_OF_LIFE.saturating_sub(told.elapsed()))
    }

    /// Until there may be something to tell, or the stream is to end.
    async fn wait(&mut self) {
        let rest = self.rest();
        // What it was that happened is looked at by whoever waited.
        tokio::select! {
            _ = self.closed.changed() => {}
            _ = self.applied.changed() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }

    async fn tell_alive(&mut self, told: u64, upto: u64) -> Result<String, Unavailable> {
        let News { entries, upto: told } = self.inner.read_feed(told, upto).await?;
        let mut frames = String::new();
        self.tell(&mut frames, &entries, Frame::Alive);
        if told < upto {
            self.at = At::Over { told, upto };
        } else {
            self.tell_position(&mut frames, upto);
        }
        Ok(frames)
    }

    async fn tell_news(&mut self, position: u64, applied: u64) -> Result<String, Unavailable> {
        let limit = usize::try_from(PORTION).unwrap_or(usize::MAX);
        let known = self.inner.catalog.news(position, limit);
        let News { entries, upto } = match known {
            Some(news) => news,
            None => self.inner.read_feed(position, applied).await?,
        };
        let mut frames = String::new();
        self.tell(&mut frames, &entries, Frame::New);
        self.tell_position(&mut frames, upto);
        Ok(frames)
    }

    fn tell<'a>(
        &self,
        frames: &mut String,
        entries: &'a [Arc<FeedEntry>],
        frame: fn(&'a FeedEntry) -> Frame<'a>,
    ) {
        for entry in entries.iter().filter(|entry| self.filter.lets_through(entry)) {
            push(frames, frame(entry));
        }
    }

    fn tell_position(&mut self, frames: &mut String, position: u64) {
        push(frames, Frame::Position(position, self.inner.catalog.age()));
        self.at = At::Position(position);
        self.told = Some(Instant::now());
    }
}

impl Inner {
    /// A portion of what is alive after one position and up to another, from the database.
    async fn read_feed(&self, after: u64, upto: u64) -> Result<News, Unavailable> {
        // It is never closed.
        let _permit = self.feed.0.reads.acquire().await.ok();
        let now = self.clock.now();
        let read = move |c: &mut _| log::list_live(c, after, upto, Some(PORTION), now);
        let found = self.database.read(read).await?;
        let whole = u32::try_from(found.len()).is_ok_and(|found| found < PORTION);
        let last = found.last().map_or(upto, |last| last.position);
        let entries = found.iter().map(|found| Arc::new(FeedEntry::of(found))).collect();
        Ok(News { entries, upto: if whole { upto } else { last } })
    }
}

fn push(frames: &mut String, frame: Frame<'_>) {
    // Writing to a string does not fail.
    write!(frames, "{frame}").ok();
}
