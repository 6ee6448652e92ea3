//! What publishing a template would do to all live sessions and to everybody who has ever signed in, before it
//! is published.
//!
//! A run reads everything there is, so it has a thread, a runtime and a connection to the token store of its
//! own, works in small portions and rests between them: whoever waits for a token must not notice it.

mod person;
mod run;

use crate::domain::impact::{Report, SoFar};
use crate::domain::template::version::TemplateName;
use crate::service::impact::run::Run;
use crate::service::templates::{self, NotDone};
use crate::service::{Service, Unavailable};
use serde::Serialize;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};

/// Events that wait for whoever reads them. Progress is left out where there is no room for it.
const WAITING: usize = 4;

/// What is going on, in the order of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Each session that lives, as its next refresh would be answered.
    Sessions,
    /// Each person with the claims of their last sign-in, through a client that bounds nothing.
    Subjects,
}

/// How far a run has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImpactProgress {
    pub phase: Phase,
    /// Of the phase, about. Of a run for one tenant, too, it is a share of what all tenants have.
    pub percent: u8,
    #[serde(flatten)]
    pub so_far: SoFar,
}

/// What a run has to say: any number of times how far it has come, then once how it ended.
#[derive(Debug)]
pub enum ImpactEvent {
    Progress(Box<ImpactProgress>),
    Report(Box<Report>),
    /// It has ended early. The cause is in the log.
    Stopped(Stopped),
}

#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    #[error("the vocabulary has changed meanwhile: start again")]
    VocabularyChanged,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[derive(Debug, thiserror::Error)]
pub enum NotRun {
    #[error(transparent)]
    NotDone(#[from] NotDone),
    #[error("another one is under way: wait until it has ended, or stop it")]
    Busy,
    #[error("the vocabulary is just changing: try again")]
    VocabularyChanged,
    #[error("no thread for it")]
    NoThread(#[source] io::Error),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A run under way. It stops when this is dropped.
#[derive(Debug)]
pub struct ImpactRun {
    events: mpsc::Receiver<ImpactEvent>,
}

impl ImpactRun {
    /// None: it has said how it ended.
    pub async fn next(&mut self) -> Option<ImpactEvent> {
        self.events.recv().await
    }

    /// The same, for whoever is polled.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<ImpactEvent>> {
        self.events.poll_recv(cx)
    }
}

/// The places for runs. One for all tenants, and one for a tenant's own, so that no tenant keeps those who
/// run the installation from looking.
pub(super) struct Places {
    all_tenants: Arc<Semaphore>,
    one_tenant: Arc<Semaphore>,
    /// Held while working and while resting from it: two runs together take no more than one does.
    turn: Mutex<()>,
}

impl Default for Places {
    fn default() -> Self {
        let one = || Arc::new(Semaphore::new(1));
        Self { all_tenants: one(), one_tenant: one(), turn: Mutex::new(()) }
    }
}

impl Places {
    fn take(&self, name: &TemplateName) -> Result<OwnedSemaphorePermit, NotRun> {
        let places = if name.tenant.is_none() { &self.all_tenants } else { &self.one_tenant };
        Arc::clone(places).try_acquire_owned().map_err(|_| NotRun::Busy)
    }
}

impl Service {
    /// Begins to find out what publishing this would do. For a tenant's own version it is about the sessions
    /// and people of that tenant alone, and says nothing of any other.
    ///
    /// What could not be published is refused as publishing it would be.
    pub async fn impact(&self, name: &TemplateName, source: &str) -> Result<ImpactRun, NotRun> {
        let inner = &self.0;
        let place = inner.impact.take(name)?;
        inner.revision().map_err(Unavailable::from)?;
        let review = templates::review(&inner.database, name, source).await?;
        if !review.passes() {
            return Err(NotDone::Refused(Box::new(review)).into());
        }
        let (sender, events) = mpsc::channel(WAITING);
        let candidate = inner.impact_candidate(name, source).await?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(NotRun::NoThread)?;
        let service = self.clone();
        let work = move || {
            runtime.block_on(async move {
                let ended = Run::new(service, candidate, sender.clone()).finish().await;
                // The place is free before anybody hears that it is.
                drop(place);
                if let Some(ended) = ended {
                    // Whoever asked may have gone.
                    sender.send(ended).await.ok();
                }
            });
        };
        let thread = std::thread::Builder::new().name("impact".into()).spawn(work);
        thread.map_err(NotRun::NoThread)?;
        Ok(ImpactRun { events })
    }
}
