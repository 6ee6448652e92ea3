//! SQLite's writers take turns. SQLite lets one connection write at a time; who comes meanwhile sleeps and asks
//! again, which gives most of the time away, and each commit costs a write to the disk. So within this process
//! whoever has the turn writes for all who wait: each within a savepoint of its own, so that what is taken
//! back takes nothing else with it, in one transaction that is on the disk before any of them is answered.

use crate::database::DatabaseError;
use crate::database::connection::{self, DbConnection, Manager};
use diesel::r2d2::Pool;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// So many share a transaction at most.
const BATCH: usize = 256;

#[derive(Default)]
pub(super) struct Turns {
    waiting: Mutex<VecDeque<Box<dyn Job>>>,
    turn: Mutex<()>,
}

impl Turns {
    /// Carries out `work` in a transaction that others may share, and answers when that is committed. Where it
    /// cannot be committed, all who share it fail.
    pub(super) async fn write<T, E>(
        self: Arc<Self>,
        pool: Pool<Manager>,
        work: impl FnOnce(&mut DbConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Pending { work: Some(work), done: None, reply });
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(job);
        let turn = tokio::task::spawn_blocking(move || self.take_turn(&pool));
        turn.await.map_err(DatabaseError::from)?;
        // Everybody who waits has a turn to come and each turn serves the first who wait: it was served.
        answer.await.unwrap_or_else(|_| Err(DatabaseError::Abandoned.into()))
    }

    fn take_turn(&self, pool: &Pool<Manager>) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch: Vec<_> = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let count = waiting.len().min(BATCH);
            waiting.drain(..count).collect()
        };
        if batch.iter().all(|job| job.is_abandoned()) {
            return;
        }
        let committed = commit(pool, &mut batch).map_err(Arc::new);
        for job in batch {
            job.answer(committed.clone());
        }
    }
}

fn commit(pool: &Pool<Manager>, batch: &mut [Box<dyn Job>]) -> Result<(), DatabaseError> {
    let mut connection = pool.get()?;
    if let [job] = batch {
        return connection::write_transaction(&mut connection, |c| job.run(c)).or_else(alone);
    }
    connection::write_transaction(&mut connection, |c| {
        for job in batch {
            // SECURITY: a savepoint that cannot be closed is one that SQLite has taken back by itself, with the
            // whole transaction: whatever ran before it is gone too, and must not be acknowledged.
            connection::savepoint(c, |c| job.run(c)).or_else(alone)?;
        }
        Ok(())
    })
}

/// Whether what was taken back was taken back as it wished: it says itself why, and the others may go on.
fn alone(stopped: Stopped) -> Result<(), DatabaseError> {
    match stopped {
        Stopped::TakenBack => Ok(()),
        Stopped::Failed(error) => Err(error.into()),
    }
}

/// Why a job's changes do not count.
enum Stopped {
    /// It wanted them taken back, and they were.
    TakenBack,
    Failed(diesel::result::Error),
}

impl From<diesel::result::Error> for Stopped {
    fn from(error: diesel::result::Error) -> Self {
        Self::Failed(error)
    }
}

trait Job: Send {
    /// Nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;
    fn run(&mut self, connection: &mut DbConnection) -> Result<(), Stopped>;
    fn answer(self: Box<Self>, committed: Result<(), Arc<DatabaseError>>);
}

struct Pending<W, T, E> {
    work: Option<W>,
    done: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<W, T, E> Job for Pending<W, T, E>
where
    W: FnOnce(&mut DbConnection) -> Result<T, E> + Send,
    T: Send,
    E: From<DatabaseError> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(&mut self, connection: &mut DbConnection) -> Result<(), Stopped> {
        // It may have taken long to come to this: nothing is done for those who have gone.
        if self.is_abandoned() {
            return Err(Stopped::TakenBack);
        }
        let Some(work) = self.work.take() else { return Ok(()) };
        let done = work(connection);
        let kept = done.is_ok();
        self.done = Some(done);
        if kept { Ok(()) } else { Err(Stopped::TakenBack) }
    }

    fn answer(self: Box<Self>, committed: Result<(), Arc<DatabaseError>>) {
        let answer = match (committed, self.done) {
            (Ok(()), Some(done)) => done,
            (Ok(()), None) => Err(DatabaseError::Abandoned.into()),
            // A refusal, too, may rest on what the others wrote and is no more.
            (Err(error), _) => Err(DatabaseError::NotCommitted(error).into()),
        };
        // Who asked may have gone; what was asked for is done all the same.
        self.reply.send(answer).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::database::log::{Change, ChangeKind, append_change, read_after};
    use crate::database::{Database, Location};
    use diesel::connection::SimpleConnection as _;
    use std::time::Duration;

    type Work = Box<dyn FnOnce(&mut DbConnection) -> Result<(), DatabaseError> + Send>;

    fn note(key: &'static str) -> Work {
        Box::new(move |c| {
            let change = Change { kind: ChangeKind::Client, key: key.to_owned() };
            append_change(c, &change, Clock::System.now())
        })
    }

    fn and_fail(work: Work) -> Work {
        Box::new(move |c| {
            work(c)?;
            Err(DatabaseError::Corrupt("test"))
        })
    }

    /// What SQLite does by itself where a disk is full: the transaction is gone.
    fn lose_everything(work: Work) -> Work {
        Box::new(move |c| {
            work(c)?;
            c.batch_execute("ROLLBACK")?;
            Err(DatabaseError::Corrupt("test"))
        })
    }

    struct Written {
        answers: Vec<bool>,
        /// What stands in the database afterwards.
        notes: Vec<String>,
    }

    /// All of them in one turn; then one more, which always goes well.
    fn together(works: Vec<Work>) -> Written {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rolemint.db").to_str().unwrap().to_owned();
        let open = Database::open(Location::Sqlite(path), 2);
        let database = runtime.block_on(open).unwrap();
        runtime.block_on(database.migrate()).unwrap();
        let turns = Arc::clone(database.turns.as_ref().unwrap());
        let turn = turns.turn.lock().unwrap();
        let mut writing = Vec::new();
        for work in works {
            let database = database.clone();
            writing.push(runtime.spawn(async move { database.write(work).await.is_ok() }));
            while turns.waiting.lock().unwrap().len() < writing.len() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        drop(turn);
        runtime.block_on(async {
            let mut answers = Vec::new();
            for writing in writing {
                answers.push(writing.await.unwrap());
            }
            database.write(note("after")).await.unwrap();
            let read = |c: &mut DbConnection| read_after(c, 0, 0, Clock::System.now());
            let changes = database.read(read).await.unwrap().changes.unwrap();
            Written { answers, notes: changes.into_iter().map(|change| change.key).collect() }
        })
    }

    #[test]
    fn what_fails_takes_nothing_else_with_it() {
        let works = vec![note("a"), and_fail(note("b")), note("c"), and_fail(note("d"))];
        let written = together(works);
        assert_eq!(written.answers, [true, false, true, false]);
        assert_eq!(written.notes, ["a", "c", "after"]);
    }

    #[test]
    fn of_a_transaction_that_is_gone_nothing_is_acknowledged() {
        let written = together(vec![note("a"), lose_everything(note("b")), note("c")]);
        assert_eq!(written.answers, [false, false, false]);
        assert_eq!(written.notes, ["after"]);
    }

    #[test]
    fn one_alone_is_all_or_nothing_too() {
        assert_eq!(together(vec![note("a")]).notes, ["a", "after"]);
        let written = together(vec![and_fail(note("a"))]);
        assert_eq!((written.answers, written.notes), (vec![false], vec!["after".to_owned()]));
        let written = together(vec![lose_everything(note("a"))]);
        assert_eq!((written.answers, written.notes), (vec![false], vec!["after".to_owned()]));
    }

    #[test]
    fn nobody_is_left_waiting_however_many_come() {
        let works = (0..3 * BATCH).map(|_| note("a")).collect();
        let written = together(works);
        assert!(written.answers.iter().all(|done| *done));
        assert_eq!(written.notes.len(), 3 * BATCH + 1);
    }
}
