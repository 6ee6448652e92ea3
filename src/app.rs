//! Builds the parts of a server from its configuration and puts them together.

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::{Config, DatabaseUrl, TokenStoreConfig};
use crate::database::{self, Database, DatabaseError, Location, log};
use crate::domain::Time;
use crate::domain::deployment::{Deployment, EntryId, Plan};
use crate::domain::feed_reader::ReaderReport;
use crate::http::{self, Proxies, Settings};
use crate::service::feed::{Feed, FeedLimits};
use crate::service::{self, Parts, Service};
use crate::signing::SealingKey;
use crate::token_store::{EmbeddedPath, TokenStore};
use crate::upstream::{Upstream, UpstreamLimits};
use anyhow::Context as _;
use chrono::TimeDelta;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use crate::http::ExtraRoutes;

/// How long a server that has ended may still hold its token store.
const LETTING_GO: Duration = Duration::from_secs(5);

pub struct Options {
    pub clock: Clock,
    pub extra_routes: Option<ExtraRoutes>,
    /// Bound already; None: the configured address is bound.
    pub listener: Option<TcpListener>,
}

/// A server that answers.
pub struct Running {
    address: SocketAddr,
    server: JoinHandle<std::io::Result<()>>,
    handle: actix_web::dev::ServerHandle,
    followers: Vec<JoinHandle<()>>,
    catalog: Catalog,
    feed: Feed,
    tokens: TokenStore,
}

impl Running {
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was applied to the database before this call counts when it returns.
    pub async fn catch_up(&self) -> anyhow::Result<()> {
        Ok(self.catalog.catch_up().await?)
    }

    /// Resolves when the server has stopped by itself, which is an error.
    pub async fn finished(&mut self) -> anyhow::Result<()> {
        (&mut self.server).await.context("the server's task failed")??;
        anyhow::bail!("the server has stopped")
    }

    /// Answers what has been asked, takes nothing new, and ends.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        // A stream would go on for ever.
        self.feed.close();
        self.handle.stop(true).await;
        let ended = (&mut self.server).await;
        for follower in self.followers {
            follower.abort();
            // It ends as cancelled.
            let _ = follower.await;
        }
        // The threads that answered let go of what they held a moment after the server has ended.
        if tokio::time::timeout(LETTING_GO, self.tokens.released()).await.is_err() {
            tracing::warn!("the token store is still held after the server has ended");
        }
        Ok(ended.context("the server's task failed")??)
    }
}

pub async fn start(config: Config, options: Options) -> anyhow::Result<Running> {
    let Options { clock, extra_routes, listener } = options;
    let listener = match listener {
        Some(listener) => listener,
        None => TcpListener::bind(config.listen)
            .with_context(|| format!("{} cannot be listened on: is it in use?", config.listen))?,
    };
    let address = listener.local_addr()?;
    let sealing = SealingKey::parse(&config.encryption_key).context("keys.encryption_key")?;
    let database = open_database(&config).await?;
    report(
        &database.migrate().await.context("the database's schema cannot be brought up to date")?,
    );
    let keys = service::keys::open_or_make(&database, &sealing, clock.now());
    let keys = keys.await.context("keys.encryption_key")?;
    let tokens = open_tokens(&config, &database).await?;
    let catalog = Catalog::open(database.clone(), clock.clone(), config.revocation.stale_after);
    let catalog = catalog.await.context("the revocation log cannot be read")?;
    let limits = UpstreamLimits {
        timeout: config.upstream.timeout,
        jwks_cooldown: config.upstream.jwks_cooldown,
        ..UpstreamLimits::default()
    };
    let follow = catalog.clone().follow(config.revocation.poll_interval, tokens.announced());
    let follow = tokio::spawn(follow);
    let announce = tokio::spawn(announce(catalog.applied(), tokens.clone()));
    let forget =
        tokio::spawn(forget_expired(database.clone(), config.sessions.keep_ended, clock.clone()));
    let feed = Feed::new(FeedLimits {
        streams: config.feed.max_streams,
        streams_per_client: config.feed.max_streams_per_client,
    });
    let write_reports = tokio::spawn(feed.clone().write_reports(database.clone()));
    let service = Service::new(Parts {
        issuer: config.issuer_text.clone(),
        database,
        catalog: catalog.clone(),
        tokens: tokens.clone(),
        upstream: Upstream::new(limits).context("upstream")?,
        keys,
        sealing,
        feed: feed.clone(),
        clock,
    })?;
    let settings = Settings {
        workers: config.http.workers,
        body_limit: config.http.body_limit,
        secure: config.issuer.scheme() == "https",
        proxies: Proxies {
            trusted: config.http.trusted_proxies.clone(),
            header: config.http.forwarded_header,
        },
        metrics_token: config.metrics_token,
        extra_routes,
    };
    let server = http::serve(service, settings, listener)?;
    let handle = server.handle();
    let server = tokio::spawn(server);
    Ok(Running {
        address,
        server,
        handle,
        followers: vec![follow, announce, forget, write_reports],
        catalog,
        feed,
        tokens,
    })
}

/// Makes the database hold what is declared, in one transaction; or only says what would change.
pub async fn apply(
    config: &Config,
    clock: &Clock,
    deployment: &Deployment,
    prune: &[EntryId],
    dry_run: bool,
) -> anyhow::Result<Plan> {
    let sealing = SealingKey::parse(&config.encryption_key).context("keys.encryption_key")?;
    let database = open_migrated(config).await?;
    let now = clock.now();
    let plan = service::deployment::apply(&database, &sealing, deployment, prune, dry_run, now);
    plan.await.context("the deployment cannot be applied")
}

/// The database alone, for what needs no server.
pub async fn open_migrated(config: &Config) -> anyhow::Result<Database> {
    let database = open_database(config).await?;
    report(&database.migrate().await?);
    Ok(database)
}

/// Brings the database's schema up to date; the names of what was applied.
pub async fn migrate(config: &Config) -> anyhow::Result<Vec<String>> {
    Ok(open_database(config).await?.migrate().await?)
}

fn report(applied: &[String]) {
    for migration in applied {
        tracing::info!(migration, "applied a migration");
    }
}

async fn open_database(config: &Config) -> anyhow::Result<Database> {
    let location = match &config.database.url {
        DatabaseUrl::Sqlite(path) => {
            make_folder_of(path)?;
            make_private(path)?;
            Location::Sqlite(path.to_string_lossy().into_owned())
        }
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(url) => Location::Postgres(url.clone()),
        #[cfg(not(feature = "postgres"))]
        DatabaseUrl::Postgres(_) => anyhow::bail!(
            "database.url names PostgreSQL, and this build has no PostgreSQL: \
             build with `cargo build --release --features postgres`"
        ),
    };
    let opened = Database::open(location, config.database.max_connections).await;
    opened.context("database.url: the database cannot be opened")
}

async fn open_tokens(config: &Config, database: &Database) -> anyhow::Result<TokenStore> {
    let database = database.clone();
    let opened = match &config.token_store {
        TokenStoreConfig::Embedded(path) => {
            make_folder_of(path)?;
            TokenStore::open_embedded(EmbeddedPath::File(path.clone()), database).await
        }
        TokenStoreConfig::Redis(address) => {
            TokenStore::open_redis_at(address.as_ref().clone(), database).await
        }
    };
    opened.context("token_store.url: the token store cannot be opened")
}

fn make_folder_of(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let Some(folder) = folder else { return Ok(()) };
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))
}

/// SECURITY: the file is its owner's alone from the first moment; SQLite gives its side files the same mode.
fn make_private(path: &Path) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
    Ok(())
}

/// Tells the other nodes whatever this one has read in the log and heard from none of them: what it wrote, and
/// what a command wrote.
async fn announce(mut applied: watch::Receiver<u64>, tokens: TokenStore) {
    let announced = tokens.announced();
    while applied.changed().await.is_ok() {
        let position = *applied.borrow_and_update();
        if position > *announced.borrow() {
            tokens.announce(position);
        }
    }
}

/// What nobody needs any more is dropped: entries of the log that can hit nothing, sessions that have been over for
/// long, readers of the feed that are gone, what came from providers and no longer matters.
async fn forget_expired(database: Database, keep_ended: TimeDelta, clock: Clock) {
    let mut ticks = tokio::time::interval(Duration::from_secs(60));
    loop {
        ticks.tick().await;
        if let Err(error) = forget_what_expired(&database, keep_ended, clock.now()).await {
            tracing::warn!(%error, "what may be forgotten is still in the database");
        }
    }
}

/// All of them, however many expire at once, in transactions that others can come between.
async fn forget_what_expired(
    database: &Database,
    keep_ended: TimeDelta,
    now: Time,
) -> Result<(), DatabaseError> {
    let some = || database.write(move |c| log::forget_expired(c, keep_ended, now));
    while some().await? == log::FORGOTTEN_AT_ONCE {}
    let before = now - keep_ended;
    let some = || database.write(move |c| database::sessions::forget_ended(c, before));
    while some().await? >= log::FORGOTTEN_AT_ONCE {}
    database.write(move |c| database::feed_readers::forget(c, now - ReaderReport::KEPT)).await?;
    let heard = move |c: &mut _| {
        database::logouts::forget_expired(c, now)?;
        database::upstream_tokens::forget_expired(c, now)
    };
    database.write(heard).await?;
    Ok(())
}

/// Resolves at the first SIGTERM or SIGINT.
#[cfg(unix)]
pub async fn asked_to_stop() -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

#[cfg(not(unix))]
pub async fn asked_to_stop() -> anyhow::Result<()> {
    Ok(tokio::signal::ctrl_c().await?)
}
