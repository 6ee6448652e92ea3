//! The embedded token store's file: rows and transactions. What is in a record, and what is decided on
//! it, is `token_store`'s business.
//!
//! One thread writes. It takes as many jobs as wait for it (up to a limit), runs them in one
//! transaction, and answers each of them only when that is committed: with `synchronous=FULL` a commit
//! costs a write to the disk, and so it is paid for once by all of them. The write-ahead log is copied
//! into the file by a thread of its own, beside the writer.

use anyhow::{Context as _, anyhow};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Binary, Integer, Nullable};
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/tokens");
/// So many jobs share a transaction at most.
const BATCH: usize = 256;
const READERS: usize = 4;
/// The log is copied into the file after so many jobs.
const JOBS_BETWEEN_CHECKPOINTS: usize = 2_000;
/// From so many pages on (of 4 KiB) the writer waits for the copying, so that the log can begin anew.
const LONG_LOG: i32 = 16_384;
/// Rows that are looked at for each job, in each table. What lies around as garbage is then about a
/// fourth of what lives, however fast rows come and go.
const SWEPT_PER_JOB: usize = 4;
const JOBS_BETWEEN_SWEEPS: usize = 64;

mod schema {
    diesel::table! {
        sessions (id) { id -> Binary, collect_at -> BigInt, record -> Binary, }
    }
    diesel::table! {
        one_time (key) { key -> Binary, collect_at -> BigInt, record -> Binary, }
    }
    diesel::table! {
        buckets (bucket) { bucket -> Integer, position -> BigInt, went_back_at -> BigInt, }
    }
    diesel::allow_tables_to_appear_in_same_query!(sessions, buckets);
}
use schema::{buckets, one_time, sessions};

/// How far the revocation log has been applied to a bucket of sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marker {
    pub position: u64,
    /// Milliseconds since 1970; 0: never.
    pub went_back_at: i64,
}

/// The rows, within a transaction or, to read, without.
pub struct Rows<'a>(&'a mut SqliteConnection);

impl Rows<'_> {
    pub fn marker(&mut self, bucket: u8) -> anyhow::Result<Marker> {
        let row: Option<(i64, i64)> = buckets::table
            .find(i32::from(bucket))
            .select((buckets::position, buckets::went_back_at))
            .first(self.0)
            .optional()?;
        let Some((position, went_back_at)) = row else { return Ok(Marker::default()) };
        Ok(Marker { position: u64::try_from(position)?, went_back_at })
    }

    pub fn put_marker(&mut self, bucket: u8, marker: Marker) -> anyhow::Result<()> {
        let position = buckets::position.eq(i64::try_from(marker.position)?);
        let went_back_at = buckets::went_back_at.eq(marker.went_back_at);
        diesel::insert_into(buckets::table)
            .values((buckets::bucket.eq(i32::from(bucket)), position, went_back_at))
            .on_conflict(buckets::bucket)
            .do_update()
            .set((position, went_back_at))
            .execute(self.0)?;
        Ok(())
    }

    /// A session and its bucket's marker, both of the same moment, in one look.
    pub fn session_and_marker(
        &mut self,
        id: &[u8],
        bucket: u8,
    ) -> anyhow::Result<(Option<Vec<u8>>, Marker)> {
        let row = sessions::table
            .left_join(buckets::table.on(buckets::bucket.eq(i32::from(bucket))))
            .filter(sessions::id.eq(id))
            .select((sessions::record, (buckets::position, buckets::went_back_at).nullable()))
            .first::<(Vec<u8>, Option<(i64, i64)>)>(self.0)
            .optional()?;
        match row {
            Some((record, Some((position, went_back_at)))) => {
                let position = u64::try_from(position)?;
                Ok((Some(record), Marker { position, went_back_at }))
            }
            Some((record, None)) => Ok((Some(record), Marker::default())),
            // A moment later: the session may have come to be in between, as if this were asked before.
            None => Ok((None, self.marker(bucket)?)),
        }
    }

    pub fn put_session(&mut self, id: &[u8], record: &[u8], collect_at: i64) -> anyhow::Result<()> {
        PutSession { id, record, collect_at }.execute(self.0)?;
        Ok(())
    }

    pub fn delete_session(&mut self, id: &[u8]) -> anyhow::Result<()> {
        diesel::delete(sessions::table.find(id)).execute(self.0)?;
        Ok(())
    }

    pub fn count_sessions(&mut self) -> anyhow::Result<i64> {
        Ok(sessions::table.count().get_result(self.0)?)
    }

    /// Ids and records, in the order of the ids.
    pub fn sessions_after(
        &mut self,
        id: &[u8],
        limit: usize,
    ) -> anyhow::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let page = sessions::table
            .filter(sessions::id.gt(id))
            .order(sessions::id)
            .limit(i64::try_from(limit)?)
            .select((sessions::id, sessions::record));
        Ok(page.load(self.0)?)
    }

    pub fn one_time(&mut self, key: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(one_time::table.find(key).select(one_time::record).first(self.0).optional()?)
    }

    pub fn put_one_time(
        &mut self,
        key: &[u8],
        record: &[u8],
        collect_at: i64,
    ) -> anyhow::Result<()> {
        let values = (one_time::record.eq(record), one_time::collect_at.eq(collect_at));
        diesel::insert_into(one_time::table)
            .values((one_time::key.eq(key), values))
            .on_conflict(one_time::key)
            .do_update()
            .set(values)
            .execute(self.0)?;
        Ok(())
    }

    pub fn delete_one_time(&mut self, key: &[u8]) -> anyhow::Result<()> {
        diesel::delete(one_time::table.find(key)).execute(self.0)?;
        Ok(())
    }
}

/// An upsert that is prepared once: diesel would have SQLite parse its own at each refresh, which costs more
/// than to carry it out.
struct PutSession<'a> {
    id: &'a [u8],
    record: &'a [u8],
    collect_at: i64,
}

impl QueryFragment<Sqlite> for PutSession<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("INSERT INTO sessions (id, record, collect_at) VALUES (");
        out.push_bind_param::<Binary, _>(self.id)?;
        out.push_sql(", ");
        out.push_bind_param::<Binary, _>(self.record)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.collect_at)?;
        out.push_sql(
            ") ON CONFLICT (id) DO UPDATE SET \
             record = excluded.record, collect_at = excluded.collect_at",
        );
        Ok(())
    }
}

impl QueryId for PutSession<'_> {
    type QueryId = PutSession<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<SqliteConnection> for PutSession<'_> {}

/// The open file. Dropping it waits for the jobs under way.
pub struct Tokens {
    jobs: Option<Sender<Box<dyn Job>>>,
    readers: Vec<Mutex<SqliteConnection>>,
    next_reader: AtomicUsize,
    threads: Vec<JoinHandle<()>>,
}

impl Tokens {
    /// None: in memory.
    pub fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let mut connection = connect(path)?;
        connection
            .run_pending_migrations(MIGRATIONS)
            .map_err(|error| anyhow!(error).context("cannot bring the token store up to date"))?;
        let mut threads = Vec::new();
        let mut readers = Vec::new();
        let mut checkpointer = None;
        if path.is_some() {
            for _ in 0..READERS {
                readers.push(Mutex::new(connect(path)?));
            }
            let (sender, receiver) = sync_channel(1);
            let long_log = Arc::new(AtomicBool::new(false));
            let (own, flag) = (connect(path)?, Arc::clone(&long_log));
            threads.push(spawn("tokens-checkpoint", move || copy_log(own, &receiver, &flag))?);
            checkpointer = Some(Checkpointer { wake: sender, long_log });
        }
        let (sender, receiver) = channel();
        let writer = Writer {
            connection,
            path: path.map(Path::to_owned),
            checkpointer,
            uncopied: 0,
            unswept: 0,
            swept: [0, 0],
        };
        threads.push(spawn("tokens-writer", move || writer.run(&receiver))?);
        Ok(Self { jobs: Some(sender), readers, next_reader: AtomicUsize::new(0), threads })
    }

    /// Runs a job in a transaction and answers when it is committed. The transaction is shared: an
    /// error is the database's and fails all who share it, so what concerns one job alone belongs into
    /// its answer. With `now`, in milliseconds since 1970, rows that were garbage before it are collected.
    pub async fn write<T: Send + 'static>(
        &self,
        now: Option<i64>,
        work: impl FnOnce(&mut Rows<'_>) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let (reply, answer) = oneshot::channel();
        let job = Pending { work: Some(work), done: None, reply, now };
        let jobs = self.jobs.as_ref().context("the token store is closed")?;
        jobs.send(Box::new(job)).map_err(|_| anyhow!("the token store's writer has stopped"))?;
        answer.await.context("the token store's writer has stopped")?
    }

    /// Reads on the spot: a look at a row is in the page cache and costs less than handing it to
    /// another thread would.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Rows<'_>) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let turn = self.next_reader.fetch_add(1, Ordering::Relaxed);
        let Some(at) = turn.checked_rem(self.readers.len()) else {
            // In memory there is the writer's connection only.
            return self.write(None, work).await;
        };
        let (before, from) = self.readers.split_at_checked(at).unwrap_or_default();
        let free = from.iter().chain(before).find_map(|reader| reader.try_lock().ok());
        let reader = free.or_else(|| {
            self.readers.get(at).map(|reader| reader.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let mut reader = reader.context("the token store has no reader")?;
        work(&mut Rows(&mut reader))
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.jobs = None;
        // The writer first: it is what keeps the other one going.
        for thread in self.threads.drain(..).rev() {
            if thread.join().is_err() {
                tracing::error!("a thread of the token store has panicked");
            }
        }
    }
}

/// What the writer is asked to do.
trait Job: Send {
    fn now(&self) -> Option<i64>;
    fn run(&mut self, rows: &mut Rows<'_>) -> anyhow::Result<()>;
    fn answer(self: Box<Self>, committed: &anyhow::Result<()>);
}

struct Pending<F, T> {
    work: Option<F>,
    done: Option<T>,
    reply: oneshot::Sender<anyhow::Result<T>>,
    now: Option<i64>,
}

impl<T, F> Job for Pending<F, T>
where
    T: Send,
    F: FnOnce(&mut Rows<'_>) -> anyhow::Result<T> + Send,
{
    fn now(&self) -> Option<i64> {
        self.now
    }

    fn run(&mut self, rows: &mut Rows<'_>) -> anyhow::Result<()> {
        if let Some(work) = self.work.take() {
            self.done = Some(work(rows)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, committed: &anyhow::Result<()>) {
        let answer = match (committed, self.done) {
            (Ok(()), Some(done)) => Ok(done),
            (Ok(()), None) => Err(anyhow!("the job was not run")),
            (Err(error), _) => Err(anyhow!("the transaction failed: {error:#}")),
        };
        // Who asked may have gone; what was asked for is done all the same.
        self.reply.send(answer).ok();
    }
}

struct Writer {
    connection: SqliteConnection,
    path: Option<PathBuf>,
    checkpointer: Option<Checkpointer>,
    /// Jobs since the log was last copied.
    uncopied: usize,
    /// Jobs since the tables were last swept.
    unswept: usize,
    /// The rows up to which they have been.
    swept: [i64; 2],
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Box<dyn Job>>) {
        while let Ok(first) = jobs.recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH {
                match jobs.try_recv() {
                    Ok(job) => batch.push(job),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            let committed = self.commit(&mut batch);
            let count = batch.len();
            for job in batch {
                job.answer(&committed);
            }
            if let Err(error) = committed {
                tracing::error!(error = format!("{error:#}"), "the token store cannot write");
                self.reconnect();
            }
            self.checkpoint(count);
        }
    }

    fn commit(&mut self, batch: &mut [Box<dyn Job>]) -> anyhow::Result<()> {
        let Self { connection, swept, unswept, .. } = self;
        *unswept = unswept.saturating_add(batch.len());
        connection.immediate_transaction(|connection| {
            for job in &mut *batch {
                job.run(&mut Rows(connection))?;
            }
            let now = batch.iter().filter_map(|job| job.now()).max();
            let now = now.filter(|_| *unswept >= JOBS_BETWEEN_SWEEPS);
            if let Some(now) = now {
                let rows = i64::try_from(unswept.saturating_mul(SWEPT_PER_JOB))?;
                *unswept = 0;
                for (table, swept) in ["sessions", "one_time"].into_iter().zip(swept) {
                    *swept = sweep(connection, table, *swept, rows, now)?;
                }
            }
            Ok(())
        })
    }

    /// After a disk that was full, say, the old connection may never leave its broken transaction.
    fn reconnect(&mut self) {
        let Some(path) = &self.path else { return };
        match connect(Some(path)) {
            Ok(connection) => self.connection = connection,
            Err(error) => tracing::error!(error = format!("{error:#}"), "cannot open the file"),
        }
    }

    fn checkpoint(&mut self, jobs: usize) {
        let Some(checkpointer) = &self.checkpointer else { return };
        self.uncopied = self.uncopied.saturating_add(jobs);
        if checkpointer.long_log.swap(false, Ordering::Relaxed) {
            // What is left to copy is little. Done here, nothing is added meanwhile, and the next
            // transaction finds the whole log copied and begins it anew.
            self.uncopied = 0;
            log_length(&mut self.connection);
        } else if self.uncopied >= JOBS_BETWEEN_CHECKPOINTS {
            self.uncopied = 0;
            // One that is under way already will do.
            checkpointer.wake.try_send(()).ok();
        }
    }
}

struct Checkpointer {
    wake: SyncSender<()>,
    long_log: Arc<AtomicBool>,
}

fn copy_log(mut connection: SqliteConnection, woken: &Receiver<()>, long_log: &AtomicBool) {
    while let Ok(()) = woken.recv() {
        if log_length(&mut connection) > LONG_LOG {
            long_log.store(true, Ordering::Relaxed);
        }
    }
}

#[derive(QueryableByName)]
struct Checkpoint {
    #[diesel(sql_type = Integer)]
    log: i32,
}

/// Copies the log into the file as far as nobody is in the way, and says how many pages it has.
fn log_length(connection: &mut SqliteConnection) -> i32 {
    let copied: Result<Checkpoint, _> =
        diesel::sql_query("PRAGMA wal_checkpoint(PASSIVE)").get_result(connection);
    match copied {
        Ok(checkpoint) => checkpoint.log,
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "the log cannot be copied");
            0
        }
    }
}

#[derive(QueryableByName)]
struct Stretch {
    #[diesel(sql_type = BigInt)]
    rows: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    upper: Option<i64>,
}

/// Looks at the next rows after `from`, deletes the garbage among them, and says where to go on.
fn sweep(
    connection: &mut SqliteConnection,
    table: &'static str,
    from: i64,
    rows: i64,
    now: i64,
) -> anyhow::Result<i64> {
    let stretch: Stretch = diesel::sql_query(format!(
        "SELECT count(*) AS \"rows\", max(rowid) AS upper FROM \
         (SELECT rowid FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT ?)"
    ))
    .bind::<BigInt, _>(from)
    .bind::<BigInt, _>(rows)
    .get_result(connection)?;
    let Some(upper) = stretch.upper else { return Ok(0) };
    diesel::sql_query(format!(
        "DELETE FROM {table} WHERE rowid > ? AND rowid <= ? AND collect_at <= ?"
    ))
    .bind::<BigInt, _>(from)
    .bind::<BigInt, _>(upper)
    .bind::<BigInt, _>(now)
    .execute(connection)?;
    // At the end it begins anew: waiting there for the next row, it would follow the new ones forever.
    Ok(if stretch.rows < rows { 0 } else { upper })
}

fn connect(path: Option<&Path>) -> anyhow::Result<SqliteConnection> {
    let name = path.map_or(Some(":memory:"), Path::to_str).context("a path must be UTF-8")?;
    let mut connection = SqliteConnection::establish(name)
        .with_context(|| format!("cannot open the token store {name}"))?;
    connection
        .batch_execute(
            "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -16000; PRAGMA temp_store = MEMORY;",
        )
        .with_context(|| format!("cannot open the token store {name}"))?;
    Ok(connection)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(run).context("cannot start a thread")
}
