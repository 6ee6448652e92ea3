//! The relational store: one set of queries for SQLite and PostgreSQL. The only module that names diesel.

mod connection;
mod schema;

pub mod audit;
pub mod clients;
pub mod documents;
pub mod drafts;
pub mod keys;
pub mod log;
pub mod providers;
pub mod roles;
pub mod sessions;
pub mod subjects;
pub mod templates;
pub mod tenants;
pub mod tokens;

pub use self::connection::{DbConnection, Location};

use crate::domain::Time;
use crate::domain::ids::SessionId;
use diesel::r2d2::Pool;
use std::time::Duration;

/// Longer than any of our transactions takes.
const TIME_LIMIT: Duration = Duration::from_secs(8);

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
    /// Somebody wrote what we would not have written.
    #[error("a stored {0} cannot be understood")]
    Corrupt(&'static str),
}

#[derive(Clone)]
pub struct Database {
    pool: Pool<connection::Manager>,
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
        let open = move || {
            Pool::builder()
                .max_size(connections)
                .min_idle(Some(1))
                .connection_timeout(Duration::from_secs(2))
                .error_handler(Box::new(LogWithoutSecrets))
                .build(connection::Manager { location })
        };
        Ok(Self { pool: tokio::task::spawn_blocking(open).await?? })
    }

    /// Applies what is pending; the names of what was.
    pub async fn migrate(&self) -> Result<Vec<String>, DatabaseError> {
        self.blocking(|c| connection::migrate(c).map_err(DatabaseError::Migration)).await
    }

    /// Takes every migration back, with all data.
    pub async fn revert_all_migrations(&self) -> Result<(), DatabaseError> {
        self.blocking(|c| connection::revert_all(c).map_err(DatabaseError::Migration)).await
    }

    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        self.within_limit(work).await
    }

    /// One transaction, committed when `work` is Ok. Nothing slow belongs inside.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        self.within_limit(move |c| connection::write_transaction(c, work)).await
    }

    /// As `write`; what `work` refuses is taken back too.
    pub async fn attempt<T: Send + 'static, E: Send + 'static>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> Result<Result<T, E>, DatabaseError> + Send + 'static,
    ) -> Result<Result<T, E>, DatabaseError> {
        self.within_limit(move |c| {
            let attempted = connection::write_transaction(c, |c| match work(c) {
                Ok(Ok(done)) => Ok(done),
                Ok(Err(refused)) => Err(TakenBack::Refused(refused)),
                Err(error) => Err(TakenBack::Failed(error)),
            });
            match attempted {
                Ok(done) => Ok(Ok(done)),
                Err(TakenBack::Refused(refused)) => Ok(Err(refused)),
                Err(TakenBack::Failed(error)) => Err(error),
            }
        })
        .await
    }

    /// A database that hangs must not hang whoever asks. What was under way may be done all the same:
    /// nobody was told that it is.
    async fn within_limit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let limited = tokio::time::timeout(TIME_LIMIT, self.blocking(work));
        limited.await.unwrap_or(Err(DatabaseError::TimedOut))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut DbConnection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let pool = self.pool.clone();
        tokio::task::spawn_blocking(move || {
            let mut connection = pool.get()?;
            work(&mut connection)
        })
        .await?
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

/// Why a transaction is taken back.
enum TakenBack<E> {
    Refused(E),
    Failed(DatabaseError),
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
