//! One review at a time on a server: together they take no more than one processor from those who wait for
//! tokens, and whoever publishes is not overtaken between the review and the commit.

use crate::service::templates::NotDone;
use tokio::sync::{Semaphore, SemaphorePermit};

/// So many wait, in the order in which they came. Others are told to try again.
const WAITING: usize = 32;

pub(in crate::service) struct Turns {
    turn: Semaphore,
    waiting: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self { turn: Semaphore::new(1), waiting: Semaphore::new(WAITING) }
    }
}

impl Turns {
    /// It is over when the permit is dropped.
    pub(super) async fn take(&self) -> Result<SemaphorePermit<'_>, NotDone> {
        let _waiting = self.waiting.try_acquire().map_err(|_| NotDone::Busy)?;
        self.turn.acquire().await.map_err(|_| NotDone::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Poll;

    #[tokio::test]
    async fn one_has_the_turn_some_wait_and_others_are_refused() {
        let turns = Turns::default();
        let first = turns.take().await.unwrap();
        let mut waiting: Vec<_> = (0..WAITING).map(|_| Box::pin(turns.take())).collect();
        for one in &mut waiting {
            let polled = std::future::poll_fn(|cx| Poll::Ready(one.as_mut().poll(cx).is_ready()));
            assert!(!polled.await, "two have the turn");
        }
        assert!(matches!(turns.take().await, Err(NotDone::Busy)));
        drop(first);
        let next = waiting.remove(0).await.unwrap();
        // The place of whoever has the turn now is free for somebody to wait in.
        let another = Box::pin(turns.take());
        waiting.push(another);
        drop(next);
        for one in waiting {
            drop(one.await.unwrap());
        }
    }
}
