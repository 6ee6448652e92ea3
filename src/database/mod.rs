//! The relational store: one set of queries for SQLite and PostgreSQL. The only module that names diesel.

mod connection;
mod schema;
mod turns;

pub mod audit;
pub mod clients;
pub mod documents;
pub mod drafts;
pub mod feed_readers;
pub mod keys;
pub mod log;
pub mod logouts;
pub mod providers;
pub mod roles;
pub mod sessions;
pub mod subjects;
pub mod templates;
pub mod tenants;
pub mod tokens;
pub mod upstream_tokens;

pub use self::connection::{DbConnection, Location};

use crate::database::turns::Turns;
use crate::domain::Time;
use crate::domain::ids::SessionId;
use diesel::r2d2::Pool;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Nobody who asks for one thing waits longer: the next server may do better.
const TIME_LIMIT: Duration = Duration::from_secs(2);
/// For what looks at everything that there is.
const SURVEY_LIMIT: Duration = Duration::from_secs(8);

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("no database connection")]
    Pool(#[from] diesel::r2d2::PoolError),
    #[error("a query failed")]
    Query(#[from] diesel::result::Error),
    #[error("a migration failed")]
    Migration(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the database did not answer in time")]
    TimedOut,
    #[error("the database task was cancelled")]
    Cancelled(#[from] tokio::task::JoinError),
    /// Several share what a transaction fails of.
    #[error("a transaction was not committed")]
    NotCommitted(#[source] Arc<DatabaseError>),
    #[error("the database task was given up")]
    Abandoned,
    /// Somebody wrote what we would not have written.
    #[error("a stored {0} cannot be understood")]
    Corrupt(&'static str),
    #[error(
        "the revocation log went back behind what this server has read: was the database restored, or did an asynchronous standby take over? See docs/operations.md, Restoring"
    )]
    WentBack,
}

#[derive(Clone)]
pub struct Database {
    pool: Pool<connection::Manager>,
    /// Of the writers, where only one can write at a time.
    turns: Option<Arc<Turns>>,
}

/// The sessions of one bucket that were ended, and how far the log was read for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEndings {
    pub sessions: Vec<SessionId>,
    pub head: u64,
}

impl Database {
    /// Connects on a thread that may block, so that a dead database is known at once.
    pub async fn open(location: Location, connections: u32) -> Result<Self, DatabaseError> {
        let turns = matches!(location, Location::Sqlite(_)).then(Arc::default);
        let open = move || {
            Pool::builder()
                .max_size(connections)
                .min_idle(Some(1))
                .connection_timeout(Duration::from_secs(2))
                .error_handler(Box::new(LogWithoutSecrets))
                .build(connection::Manager { location })
        };
        Ok(Self { pool: tokio::task::spawn_blocking(open).await??, turns })
    }

    /// Applies what is pending; the names of what was.
    pub async fn migrate(&self) -> Result<Vec<String>, DatabaseError> {
        self.blocking(|_, c| connection::migrate(c).map_err(DatabaseError::Migration)).await
    }

    /// Takes every migration back, with all data.
    pub async fn revert_all_migrations(&self) -> Result<(), DatabaseError> {
        self.blocking(|_, c| connection::revert_all(c).map_err(DatabaseError::Migration)).await
    }

    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        self.within(TIME_LIMIT, |_, c| work(c)).await
    }

    /// As `read`, for what looks at everything and may take its time.
    pub async fn survey<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        self.within(SURVEY_LIMIT, |_, c| work(c)).await
    }

    /// One transaction, committed when `work` is Ok. Nothing slow belongs inside.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        self.transaction(TIME_LIMIT, work).await
    }

    /// As `write`; what `work` refuses is taken back too. It may take its time.
    pub async fn attempt<T: Send + 'static, E: Send + 'static>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> Result<Result<T, E>, DatabaseError> + Send + 'static,
    ) -> Result<Result<T, E>, DatabaseError> {
        let attempted = self.transaction(SURVEY_LIMIT, move |c| match work(c) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(refused)) => Err(TakenBack::Refused(refused)),
            Err(error) => Err(TakenBack::Failed(error)),
        });
        match attempted.await {
            Ok(done) => Ok(Ok(done)),
            Err(TakenBack::Refused(refused)) => Ok(Err(refused)),
            Err(TakenBack::Failed(error)) => Err(error),
        }
    }

    async fn transaction<T: Send + 'static, E>(
        &self,
        limit: Duration,
        work: impl FnOnce(&mut DbConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        E: From<DatabaseError> + From<diesel::result::Error> + Send + 'static,
    {
        let Some(turns) = self.turns.clone() else {
            let write = move |asker: &Asker, c: &mut DbConnection| {
                connection::write_transaction(c, |c| {
                    let done = work(c)?;
                    if asker.is_gone() { Err(DatabaseError::Abandoned.into()) } else { Ok(done) }
                })
            };
            return self.within(limit, write).await;
        };
        let written = tokio::time::timeout(limit, turns.write(self.pool.clone(), work));
        written.await.unwrap_or_else(|_| Err(DatabaseError::TimedOut.into()))
    }

    /// A database that hangs must not hang whoever asks. What was under way may be done all the same:
    /// nobody was told that it is.
    async fn within<T: Send + 'static, E: From<DatabaseError> + Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce(&Asker, &mut DbConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let limited = tokio::time::timeout(limit, self.blocking(work));
        limited.await.unwrap_or_else(|_| Err(DatabaseError::TimedOut.into()))
    }

    async fn blocking<T: Send + 'static, E: From<DatabaseError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Asker, &mut DbConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let pool = self.pool.clone();
        let (asker, _here) = Asker::new();
        let done = tokio::task::spawn_blocking(move || {
            let mut connection = pool.get().map_err(DatabaseError::from)?;
            // When a database is back that was away, nothing is done for those who have gone.
            if asker.is_gone() {
                return Err(DatabaseError::Abandoned.into());
            }
            work(&asker, &mut connection)
        });
        done.await.map_err(DatabaseError::from)?
    }

    /// Which sessions of a bucket ended after a position of the log, of those that could still live.
    pub async fn session_endings(
        &self,
        bucket: u8,
        after: u64,
    ) -> Result<SessionEndings, DatabaseError> {
        self.read(move |c| log::session_endings(c, bucket, after)).await
    }
}

/// Whoever asked for something: gone when they were told that it takes too long.
struct Asker(oneshot::Sender<Infallible>);

impl Asker {
    /// Here as long as the other half is.
    fn new() -> (Self, oneshot::Receiver<Infallible>) {
        let (asker, here) = oneshot::channel();
        (Self(asker), here)
    }

    fn is_gone(&self) -> bool {
        self.0.is_closed()
    }
}

/// Why a transaction is taken back.
enum TakenBack<E> {
    Refused(E),
    Failed(DatabaseError),
}

impl<E> From<DatabaseError> for TakenBack<E> {
    fn from(error: DatabaseError) -> Self {
        Self::Failed(error)
    }
}

impl<E> From<diesel::result::Error> for TakenBack<E> {
    fn from(error: diesel::result::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// The pool's own errors may quote a connection string.
#[derive(Debug)]
struct LogWithoutSecrets;
impl diesel::r2d2::HandleError<diesel::r2d2::Error> for LogWithoutSecrets {
    fn handle_error(&self, _error: diesel::r2d2::Error) {
        // At each attempt: whoever needed the connection says so once, where it matters.
        tracing::debug!("the database refused a connection");
    }
}

fn to_millis(time: Time) -> i64 {
    time.timestamp_millis()
}

fn from_millis(millis: i64) -> Result<Time, DatabaseError> {
    Time::from_timestamp_millis(millis).ok_or(DatabaseError::Corrupt("time"))
}

fn to_position(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

fn from_position(position: i64) -> u64 {
    u64::try_from(position).unwrap_or(0)
}

fn to_json(value: &impl serde::Serialize) -> Result<String, DatabaseError> {
    serde_json::to_string(value).map_err(|_| DatabaseError::Corrupt("value"))
}

fn from_json<T: for<'a> serde::Deserialize<'a>>(
    what: &'static str,
    text: &str,
) -> Result<T, DatabaseError> {
    serde_json::from_str(text).map_err(|_| DatabaseError::Corrupt(what))
}
