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
