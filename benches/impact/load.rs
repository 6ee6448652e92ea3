//! The hot path: people who refresh as fast as they are answered, on as many threads as there are processors.

use anyhow::{Context as _, bail};
use rolemint::domain::authorization::Wanted;
use rolemint::domain::scope::ScopeSet;
use rolemint::domain::secret::Secret;
use rolemint::service::Service;
use rolemint::service::authenticate::{AuthenticatedClient, Credentials};
use rolemint::service::refresh::RefreshRequest;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Runs until it is ended.
pub(crate) struct Load {
    counted: Arc<Counted>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

#[derive(Default)]
struct Counted {
    refreshes: AtomicU64,
    over: AtomicBool,
}

impl Load {
    pub(crate) fn begin(
        service: &Service,
        refresh_tokens: &[String],
        threads: usize,
    ) -> anyhow::Result<Self> {
        let counted = Arc::new(Counted::default());
        let share = refresh_tokens.len().div_ceil(threads.max(1)).max(1);
        let threads = refresh_tokens.chunks(share).map(|tokens| {
            let (service, tokens) = (service.clone(), tokens.to_vec());
            let counted = Arc::clone(&counted);
            std::thread::Builder::new().spawn(move || serve(&service, tokens, &counted))
        });
        let threads = threads.collect::<Result<_, _>>()?;
        Ok(Self { counted, threads })
    }

    /// How many were answered so far.
    pub(crate) fn refreshes(&self) -> u64 {
        self.counted.refreshes.load(Ordering::Relaxed)
    }

    pub(crate) fn end(self) -> anyhow::Result<()> {
        self.counted.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let Ok(ended) = thread.join() else { bail!("a thread has panicked") };
            ended?;
        }
        Ok(())
    }
}

fn serve(service: &Service, tokens: Vec<String>, counted: &Arc<Counted>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let service = service.for_this_thread()?;
        let credentials = Credentials { id: "web".to_owned(), secret: None };
        let client = Arc::new(service.authenticate_client(&credentials).await?);
        let mut people = tokio::task::JoinSet::new();
        for token in tokens {
            let (service, client) = (service.clone(), Arc::clone(&client));
            people.spawn(refresh(service, client, token, Arc::clone(counted)));
        }
        while let Some(done) = people.join_next().await {
            done??;
        }
        Ok(())
    })
}

async fn refresh(
    service: Service,
    client: Arc<AuthenticatedClient>,
    mut token: String,
    counted: Arc<Counted>,
) -> anyhow::Result<()> {
    while !counted.over.load(Ordering::Relaxed) {
        let protocol_scope = ScopeSet::default();
        let wanted = Wanted { scope: None, protocol_scope, details: None, audience: Vec::new() };
        let request =
            RefreshRequest { refresh_token: Secret::new(token.clone()), wanted, address: None };
        let issued = service.refresh(&client, &request).await?;
        token.clone_from(issued.refresh_token.context("no refresh token")?.reveal());
        counted.refreshes.fetch_add(1, Ordering::Relaxed);
        // Others of this thread may have their turn where the store answers on the spot.
        tokio::task::yield_now().await;
    }
    Ok(())
}
