//! One run: all live sessions, then all known people, portion by portion.

use crate::database;
use crate::domain::grant::TokenRequest;
use crate::domain::ids::{Role, SessionId, SubjectId, TenantId};
use crate::domain::impact::{Affected, Impact, Progress};
use crate::domain::session::Session;
use crate::domain::subject::Subject;
use crate::service::impact::person::{Candidate, Person, any_client};
use crate::service::impact::{ImpactEvent, ImpactProgress, Phase, Stopped};
use crate::service::issue::{NotIssued, Standing};
use crate::service::{Inner, Report, Service, Unavailable};
use crate::token_store::TokenStoreError;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;

/// People that are read at once.
const PAGE: u32 = 256;
/// For so many times as long as a portion took, nothing is done after it.
const REST: u32 = 4;
/// Progress is told so often.
const TOLD_EVERY: Duration = Duration::from_millis(200);

pub(super) struct Run {
    service: Service,
    candidate: Candidate,
    events: Sender<ImpactEvent>,
    impact: Impact,
    phase: Phase,
    progress: Progress,
    /// When progress was told last.
    told: Option<Instant>,
}

/// Why there will be no report.
enum Ended {
    /// Nobody listens any more.
    Unheard,
    Stopped(Stopped),
}

impl<E: Into<Stopped>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Stopped(error.into())
    }
}

impl From<TokenStoreError> for Stopped {
    fn from(error: TokenStoreError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl Run {
    pub(super) fn new(service: Service, candidate: Candidate, events: Sender<ImpactEvent>) -> Self {
        let (impact, progress) = (Impact::default(), Progress::default());
        Self { service, candidate, events, impact, phase: Phase::Sessions, progress, told: None }
    }

    /// How it ended. None: nobody wants to know.
    pub(super) async fn finish(mut self) -> Option<ImpactEvent> {
        let ended = match self.everybody().await {
            Ok(()) => return Some(ImpactEvent::Report(Box::new(self.impact.report()))),
            Err(ended) => ended,
        };
        let Ended::Stopped(stopped) = ended else { return None };
        let template = &self.candidate.name;
        match &stopped {
            Stopped::Unavailable(cause) => {
                let error = Report(cause).to_string();
                tracing::error!(%template, error, "an impact run has ended early");
            }
            Stopped::VocabularyChanged => {
                tracing::info!(%template, "an impact run has ended early: another vocabulary");
            }
        }
        Some(ImpactEvent::Stopped(stopped))
    }

    async fn everybody(&mut self) -> Result<(), Ended> {
        // A connection of its own to the token store, of this thread.
        self.service = self.service.for_this_thread()?;
        self.sessions().await?;
        self.subjects().await
    }

    async fn sessions(&mut self) -> Result<(), Ended> {
        let inner = Arc::clone(&self.service.0);
        let walk = inner.tokens.walk(|id| inner.log_position(id), inner.clock.now());
        let mut walk = walk.await?;
        self.begin(Phase::Sessions, walk.estimate());
        loop {
            let portion = self.portion(async |run| {
                let Some(page) = walk.next(inner.clock.now()).await? else { return Ok(None) };
                for session in page.sessions {
                    run.session(&inner, session).await?;
                }
                Ok(Some(page.named))
            });
            let Some(named) = portion.await? else { return Ok(()) };
            self.progress.see(named);
        }
    }

    async fn session(&mut self, inner: &Inner, mut session: Session) -> Result<(), Stopped> {
        if self.only().is_some_and(|only| *only != session.tenant) {
            return Ok(());
        }
        if inner.catalog.revocations().ends_session(&session) {
            return Ok(());
        }
        let client = inner.catalog.client(&session.client).await.map_err(Unavailable::from)?;
        // Where the client is gone its sessions are over.
        let Some(client) = client else { return Ok(()) };
        inner.use_current_claims(&mut session).await?;
        let subject = Subject {
            id: session.subject.clone(),
            provider: session.provider.clone(),
            claims: std::mem::take(&mut session.claims),
        };
        let tenant = session.tenant.clone();
        let Some(standing) = self.standing(inner, &subject, &tenant).await? else { return Ok(()) };
        let roles: Vec<Role> = standing.mapped.roles.iter().cloned().collect();
        if inner.catalog.revocations().recalls_session(&session, &roles) {
            return Ok(());
        }
        let request = session.request();
        let person = Person { subject: &subject, standing: &standing, client: &client, request };
        self.compare(inner, &person, Some(session.id)).await
    }

    async fn subjects(&mut self) -> Result<(), Ended> {
        let inner = Arc::clone(&self.service.0);
        let only = self.only().cloned();
        let tenant = only.clone();
        let count = inner.database.survey(move |c| database::subjects::count(c, tenant.as_ref()));
        let count = count.await.map_err(Unavailable::from)?;
        self.begin(Phase::Subjects, count);
        let client = any_client().map_err(Unavailable::from)?;
        let mut after: Option<SubjectId> = None;
        loop {
            let (tenant, from) = (only.clone(), after.take());
            let read =
                move |c: &mut _| database::subjects::list(c, tenant.as_ref(), from.as_ref(), PAGE);
            let portion = self.portion(async |run| {
                let page = inner.database.read(read).await.map_err(Unavailable::from)?;
                for (subject, tenant) in &page {
                    let standing = run.standing(&inner, subject, tenant).await?;
                    let Some(standing) = &standing else { continue };
                    let request = TokenRequest::default();
                    let person = Person { subject, standing, client: &client, request };
                    run.compare(&inner, &person, None).await?;
                }
                let seen = u64::try_from(page.len()).unwrap_or(u64::MAX);
                Ok((seen, page.into_iter().next_back().map(|(subject, _)| subject.id)))
            });
            let (seen, last) = portion.await?;
            self.progress.see(seen);
            let Some(last) = last else { return Ok(()) };
            after = Some(last);
        }
    }

    /// The tenant that all of it is about.
    fn only(&self) -> Option<&TenantId> {
        self.candidate.name.tenant.as_ref()
    }

    /// None: they get nothing, whatever the template says.
    async fn standing(
        &mut self,
        inner: &Inner,
        subject: &Subject,
        tenant: &TenantId,
    ) -> Result<Option<Standing>, Stopped> {
        match inner.standing(subject, tenant).await {
            Ok(standing) => Ok(Some(standing)),
            Err(NotIssued::Unavailable(unavailable)) => Err(unavailable.into()),
            Err(_) => {
                self.impact.add_not_concerned();
                Ok(None)
            }
        }
    }

    async fn compare(
        &mut self,
        inner: &Inner,
        person: &Person<'_>,
        session: Option<SessionId>,
    ) -> Result<(), Stopped> {
        let Some(effect) = inner.impact_on(&self.candidate, person).await? else {
            self.impact.add_not_concerned();
            return Ok(());
        };
        let tenant = person.standing.tenant.id.clone();
        self.impact.add(Affected { tenant, subject: person.subject.id.clone(), session }, effect);
        Ok(())
    }

    fn begin(&mut self, phase: Phase, of: u64) {
        self.phase = phase;
        self.progress = Progress { seen: 0, of };
        self.told = None;
    }

    /// Does a little, rests, and tells how far it has come.
    async fn portion<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Self) -> Result<T, Ended>,
    ) -> Result<T, Ended> {
        if self.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            self.tell();
        }
        if self.events.is_closed() {
            return Err(Ended::Unheard);
        }
        let inner = Arc::clone(&self.service.0);
        inner.revision().map_err(Unavailable::from)?;
        let _turn = inner.impact.turn.lock().await;
        let began = Instant::now();
        let done = work(self).await?;
        if !Arc::ptr_eq(&self.candidate.vocabulary, &inner.catalog.vocabulary()) {
            return Err(Stopped::VocabularyChanged.into());
        }
        tokio::time::sleep(began.elapsed().saturating_mul(REST)).await;
        Ok(done)
    }

    fn tell(&mut self) {
        self.told = Some(Instant::now());
        let (phase, percent) = (self.phase, self.progress.percent());
        let progress = ImpactProgress { phase, percent, so_far: self.impact.so_far() };
        // Whoever reads slowly is told less often, and nothing waits for them.
        self.events.try_send(ImpactEvent::Progress(Box::new(progress))).ok();
    }
}
