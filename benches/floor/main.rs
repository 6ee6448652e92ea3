//! What a request costs, in CPU time of the server and its token store, beside a floor.
//!
//!     cargo bench --features postgres --bench floor
//!
//! The floor (`server.rs`) is a bare actix-web server that parses the same forms, checks the same client,
//! does the same cryptography with parsed keys, and makes one round trip to the same kind of token store.
//! Rolemint is the executable, `rolemint serve`, as its users run it: a deployment file is applied, people
//! sign in at a provider, and their tokens are what is refreshed and introspected. Both are up at once and
//! get the same load, one after the other, round after round; the ratios are of neighbours in time.
//!
//! It needs `redis-server` in the path, listens on 127.0.0.1 only, and leaves nothing behind.
//!
//!     -- --rounds 5 --seconds 3 --connections 32 --case refresh --store redis --rolemint PATH

mod http;
mod load;
mod processes;
mod product;
mod report;
mod server;

use crate::load::{Case, Target};
use crate::processes::{Process, Usage, cpu_of, machine_busy};
use crate::report::{Row, Sample};
use anyhow::{Context as _, bail};
use std::collections::VecDeque;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// Where a token store is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Embedded,
    Redis,
}

impl Store {
    pub(crate) const ALL: [Self; 2] = [Self::Embedded, Self::Redis];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Redis => "redis",
        }
    }
}

struct Options {
    rounds: u32,
    length: Duration,
    connections: usize,
    /// None: all of them.
    case: Option<Case>,
    store: Option<Store>,
    rolemint: PathBuf,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self {
            rounds: 5,
            length: Duration::from_secs(3),
            connections: 32,
            case: None,
            store: None,
            rolemint: PathBuf::from(env!("CARGO_BIN_EXE_rolemint")),
        };
        while let Some(name) = arguments.next() {
            if name == "--bench" {
                // Cargo says so to every benchmark.
                continue;
            }
            let value = arguments.next().with_context(|| format!("{name} wants a value"))?;
            match name.as_str() {
                "--rounds" => options.rounds = value.parse()?,
                "--seconds" => options.length = Duration::from_secs(value.parse()?),
                "--connections" => options.connections = value.parse()?,
                "--case" => {
                    let found = Case::ALL.into_iter().find(|case| case.name() == value);
                    options.case = Some(found.with_context(|| format!("no case {value}"))?);
                }
                "--store" => {
                    let found = Store::ALL.into_iter().find(|store| store.name() == value);
                    options.store = Some(found.with_context(|| format!("no store {value}"))?);
                }
                "--rolemint" => options.rolemint = value.into(),
                _ => bail!("unknown option {name}"),
            }
        }
        Ok(options)
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|argument| argument == "serve-floor").is_some() {
        let store = arguments.next().context("serve-floor wants a store")?;
        return server::run(&store);
    }
    let options = Options::read(arguments)?;
    if cfg!(debug_assertions) {
        bail!("this is a debug build, whose figures say nothing: use `cargo bench`");
    }
    // One thread makes the load: what it takes is taken from both servers alike.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for store in
        Store::ALL.into_iter().filter(|store| options.store.is_none_or(|one| one == *store))
    {
        rows.extend(measure(options, store).await?);
    }
    write!(std::io::stdout(), "{}", report::table(&rows))?;
    Ok(())
}

/// A server under load, with the processes whose CPU time counts.
struct Subject {
    target: Target,
    /// The server, then its store's server if there is one.
    counted: Vec<u32>,
    // Ended in this order, when it is over.
    _processes: Vec<Process>,
    _folder: tempfile::TempDir,
}

async fn start_floor(store: Store, connections: usize) -> anyhow::Result<Subject> {
    let folder = tempfile::tempdir()?;
    let (url, redis) = processes::store_url(store, folder.path(), "embedded", "unix").await?;
    let program = std::env::current_exe()?;
    let mut server = Process::start(&program, &["serve-floor", &url], folder.path())?;
    let port: u16 = server.first_line()?.trim().parse()?;
    let target = server::target(port, connections).await?;
    Ok(subject(target, server, redis, folder))
}

async fn start_product(options: &Options, store: Store) -> anyhow::Result<Subject> {
    let folder = tempfile::tempdir()?;
    let (url, redis) = processes::store_url(store, folder.path(), "embedded", "redis+unix").await?;
    let product = product::Product::new(&options.rolemint, folder.path(), &url)?;
    let (server, target) = product.start(options.connections).await?;
    Ok(subject(target, server, redis, folder))
}

fn subject(
    target: Target,
    server: Process,
    redis: Option<Process>,
    folder: tempfile::TempDir,
) -> Subject {
    let processes: Vec<Process> = std::iter::once(server).chain(redis).collect();
    let counted = processes.iter().map(Process::id).collect();
    Subject { target, counted, _processes: processes, _folder: folder }
}

async fn measure(options: &Options, store: Store) -> anyhow::Result<Vec<Row>> {
    let mut floor = start_floor(store, options.connections).await?;
    let mut product = start_product(options, store).await?;
    let cases = Case::ALL.into_iter().filter(|case| {
        // Fresh tokens are those that refreshes made.
        options.case.is_none_or(|only| {
            only == *case || (only == Case::IntrospectFresh && *case == Case::Refresh)
        })
    });
    let mut rows: Vec<Row> = cases.map(|case| Row { case, store, samples: Vec::new() }).collect();
    for round in 0..=options.rounds {
        for row in &mut rows {
            let floor = once(options, row.case, &mut floor).await?;
            let product = once(options, row.case, &mut product).await?;
            // The first round fills caches and opens connections.
            if round > 0 {
                row.samples.push(Sample { floor, product });
            }
        }
    }
    Ok(rows)
}

async fn once(options: &Options, case: Case, subject: &mut Subject) -> anyhow::Result<Usage> {
    // What the round before has left to do (a log to copy, a cache to drop) is not this one's.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let own = std::process::id();
    let stores = subject.counted.get(1..).unwrap_or_default();
    let (before, in_store, busy) = (cpu_of(&subject.counted)?, cpu_of(stores)?, machine_busy()?);
    let others = cpu_of(&[own])?;
    let began = std::time::Instant::now();
    let requests = load::run(case, &mut subject.target, options.length).await?;
    let elapsed = began.elapsed();
    let cpu = cpu_of(&subject.counted)?.saturating_sub(before);
    let in_store = cpu_of(stores)?.saturating_sub(in_store);
    let ours = cpu.saturating_add(cpu_of(&[own])?.saturating_sub(others));
    let foreign = machine_busy()?.saturating_sub(busy).saturating_sub(ours);
    Ok(Usage { requests, cpu, in_store, foreign, elapsed })
}

/// Access tokens that nobody has introspected yet.
pub(crate) type Fresh = VecDeque<String>;
