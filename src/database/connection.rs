//! One connection type for both databases, and how each is opened.

use diesel::Connection as _;
use diesel::connection::{AnsiTransactionManager, SimpleConnection as _, TransactionManager as _};
use diesel::r2d2::{self, ManageConnection, R2D2Connection as _};
use diesel::sqlite::SqliteConnection;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

const SQLITE_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
#[cfg(feature = "postgres")]
const POSTGRES_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

#[derive(diesel::MultiConnection)]
pub enum DbConnection {
    Sqlite(SqliteConnection),
    #[cfg(feature = "postgres")]
    Postgres(diesel::pg::PgConnection),
}

/// The few queries that the common type cannot do: written once, compiled for each database.
macro_rules! on_each {
    ($connection:expr, $c:ident => $query:expr) => {
        match $connection {
            $crate::database::connection::DbConnection::Sqlite($c) => $query,
            #[cfg(feature = "postgres")]
            $crate::database::connection::DbConnection::Postgres($c) => $query,
        }
    };
}
pub(super) use on_each;

/// Which database, and where.
#[derive(Clone)]
pub enum Location {
    Sqlite(String),
    #[cfg(feature = "postgres")]
    Postgres(crate::domain::secret::Secret<String>),
}

pub(super) struct Manager {
    pub(super) location: Location,
}

impl ManageConnection for Manager {
    type Connection = DbConnection;
    type Error = r2d2::Error;

    fn connect(&self) -> Result<DbConnection, r2d2::Error> {
        match &self.location {
            Location::Sqlite(path) => {
                let mut connection =
                    SqliteConnection::establish(path).map_err(r2d2::Error::ConnectionError)?;
                connection
                    .batch_execute(
                        "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; \
                         PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
                    )
                    .map_err(r2d2::Error::QueryError)?;
                Ok(DbConnection::Sqlite(connection))
            }
            #[cfg(feature = "postgres")]
            Location::Postgres(url) => {
                // Before libpq does: OpenSSL then takes nothing down at the end of the process, when a thread of
                // the pool may still be connecting. That would be a crash.
                openssl_sys::init();
                let mut connection = diesel::pg::PgConnection::establish(&noticing(url.reveal()))
                    .map_err(r2d2::Error::ConnectionError)?;
                // The last: a node that is cut off in the middle of a transaction lets go of what it has
                // locked, above all of the log's head, so that the others go on.
                connection
                    .batch_execute(
                        "SET synchronous_commit = on; SET statement_timeout = '5s'; \
                         SET idle_in_transaction_session_timeout = '3s';",
                    )
                    .map_err(r2d2::Error::QueryError)?;
                Ok(DbConnection::Postgres(connection))
            }
        }
    }
    fn is_valid(&self, connection: &mut DbConnection) -> Result<(), r2d2::Error> {
        connection.ping().map_err(r2d2::Error::QueryError)
    }
    fn has_broken(&self, connection: &mut DbConnection) -> bool {
        connection.is_broken()
    }
}

/// A PostgreSQL that is gone without a word is noticed in seconds, not in the quarter of an hour that TCP
/// takes for it. What the URL says itself counts: libpq takes the last.
#[cfg(feature = "postgres")]
fn noticing(url: &str) -> String {
    const NOTICE: &str = "connect_timeout=2&tcp_user_timeout=4000\
                          &keepalives_idle=2&keepalives_interval=1&keepalives_count=3";
    let (before, rest) = url.split_once("://").unwrap_or(("postgres", url));
    // A password may hold a question mark.
    let (user, place) = match rest.split_once('@') {
        Some((user, place)) if !user.contains('/') => (format!("{user}@"), place),
        _ => (String::new(), rest),
    };
    match place.split_once('?') {
        Some((place, own)) => format!("{before}://{user}{place}?{NOTICE}&{own}"),
        None => format!("{before}://{user}{place}?{NOTICE}"),
    }
}

/// `BEGIN IMMEDIATE` on SQLite: a deferred transaction that reads and then writes fails with
/// `SQLITE_BUSY` at once, whatever the busy timeout says.
pub(super) fn write_transaction<T, E: From<diesel::result::Error>>(
    connection: &mut DbConnection,
    work: impl FnOnce(&mut DbConnection) -> Result<T, E>,
) -> Result<T, E> {
    match connection {
        DbConnection::Sqlite(c) => {
            AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE")?;
        }
        #[cfg(feature = "postgres")]
        DbConnection::Postgres(c) => AnsiTransactionManager::begin_transaction(c)?,
    }
    let outcome = work(connection);
    close(connection, outcome)
}

/// Within a transaction: what `work` does is kept, or taken back, by itself.
pub(super) fn savepoint<T, E: From<diesel::result::Error>>(
    connection: &mut DbConnection,
    work: impl FnOnce(&mut DbConnection) -> Result<T, E>,
) -> Result<T, E> {
    on_each!(connection, c => AnsiTransactionManager::begin_transaction(c))?;
    let outcome = work(connection);
    close(connection, outcome)
}

fn close<T, E: From<diesel::result::Error>>(
    connection: &mut DbConnection,
    outcome: Result<T, E>,
) -> Result<T, E> {
    if outcome.is_ok() {
        on_each!(connection, c => AnsiTransactionManager::commit_transaction(c))?;
    } else {
        on_each!(connection, c => AnsiTransactionManager::rollback_transaction(c))?;
    }
    outcome
}

/// Several nodes may start at once: PostgreSQL runs migrations under an advisory lock, SQLite under its own.
pub(super) fn migrate(connection: &mut DbConnection) -> diesel::migration::Result<Vec<String>> {
    match connection {
        DbConnection::Sqlite(c) => pending(c, SQLITE_MIGRATIONS),
        #[cfg(feature = "postgres")]
        DbConnection::Postgres(c) => {
            c.batch_execute("SELECT pg_advisory_lock(7305804402567602542)")?;
            let outcome = pending(c, POSTGRES_MIGRATIONS);
            c.batch_execute("SELECT pg_advisory_unlock(7305804402567602542)")?;
            outcome
        }
    }
}

fn pending<B: diesel::backend::Backend>(
    connection: &mut impl diesel_migrations::MigrationHarness<B>,
    migrations: EmbeddedMigrations,
) -> diesel::migration::Result<Vec<String>> {
    let applied = connection.run_pending_migrations(migrations)?;
    Ok(applied.iter().map(ToString::to_string).collect())
}

/// Takes every migration back. For the test that goes up, down and up again.
pub(super) fn revert_all(connection: &mut DbConnection) -> diesel::migration::Result<()> {
    match connection {
        DbConnection::Sqlite(c) => c.revert_all_migrations(SQLITE_MIGRATIONS)?,
        #[cfg(feature = "postgres")]
        DbConnection::Postgres(c) => c.revert_all_migrations(POSTGRES_MIGRATIONS)?,
    };
    Ok(())
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use super::noticing;

    #[test]
    fn what_a_url_says_itself_comes_last() {
        for (url, before, after) in [
            ("postgres://h/d", "postgres://h/d?connect_timeout=2&", "&keepalives_count=3"),
            ("postgres://u:p?@h/d", "postgres://u:p?@h/d?connect_timeout=2&", "count=3"),
            ("postgres://h/d?connect_timeout=9", "postgres://h/d?connect_timeout=2&", "=9"),
            ("postgres://h/d?a=x@y", "postgres://h/d?connect_timeout=2&", "&a=x@y"),
        ] {
            let noticing = noticing(url);
            assert!(noticing.starts_with(before) && noticing.ends_with(after), "{noticing}");
        }
    }
}
