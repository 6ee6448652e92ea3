//! What it takes to find out what a template would do to everybody, and what it takes away from those who are
//! refreshing meanwhile.
//!
//!     cargo bench --bench impact
//!
//! In one process: 100,000 live sessions and as many known people in 1000 tenants, whom the candidate takes one
//! permission from and gives another. First alone. Then two threads refresh as fast as they can, and
//! round after round it is counted how many refreshes are answered in the same time without a run and
//! with one. Store, load and run share this machine's processors.
//!
//! It needs `redis-server` in the path, and leaves nothing behind.
//!
//!     -- --sessions 100000 --people 100000 --rounds 5 --store redis

mod installation;
mod load;
#[path = "../population/mod.rs"]
mod population;

use crate::installation::{CANDIDATE, Installation};
use crate::load::Load;
use anyhow::{Context as _, bail};
use rolemint::domain::impact::Report;
use rolemint::domain::template::version::TemplateName;
use rolemint::service::Service;
use rolemint::service::impact::{ImpactEvent, Phase};
use std::io::Write as _;
use std::time::{Duration, Instant};

/// People who refresh at once.
const REFRESHING: usize = 64;
const THREADS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Embedded,
    Redis,
}

struct Options {
    sessions: usize,
    people: usize,
    rounds: usize,
    /// None: both.
    store: Option<Store>,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self { sessions: 100_000, people: 100_000, rounds: 5, store: None };
        while let Some(name) = arguments.next() {
            if name == "--bench" {
                // Cargo says so to every benchmark.
                continue;
            }
            let value = arguments.next().with_context(|| format!("{name} wants a value"))?;
            match (name.as_str(), value.as_str()) {
                ("--sessions", number) => options.sessions = number.parse()?,
                ("--people", number) => options.people = number.parse()?,
                ("--rounds", number) => options.rounds = number.parse()?,
                ("--store", "embedded") => options.store = Some(Store::Embedded),
                ("--store", "redis") => options.store = Some(Store::Redis),
                _ => bail!("unknown: {name} {value}"),
            }
        }
        Ok(options)
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    if cfg!(debug_assertions) {
        bail!("this is a debug build, whose figures say nothing: use `cargo bench`");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        for store in [Store::Embedded, Store::Redis] {
            if options.store.is_none_or(|only| only == store) {
                measure(&options, store).await?;
            }
        }
        Ok(())
    })
}

struct Ran {
    sessions: Duration,
    total: Duration,
    report: Report,
}

async fn run(service: &Service) -> anyhow::Result<Ran> {
    let name: TemplateName = "clerk".parse()?;
    let began = Instant::now();
    let mut run = service.impact(&name, CANDIDATE).await?;
    let mut sessions = None;
    loop {
        match run.next().await.context("it ended without a word")? {
            ImpactEvent::Progress(progress) => {
                if progress.phase == Phase::Subjects && sessions.is_none() {
                    sessions = Some(began.elapsed());
                }
            }
            ImpactEvent::Report(report) => {
                let total = began.elapsed();
                return Ok(Ran { sessions: sessions.unwrap_or(total), total, report: *report });
            }
            ImpactEvent::Stopped(why) => bail!("it stopped: {why}"),
        }
    }
}

async fn measure(options: &Options, store: Store) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    let Options { sessions, people, rounds, .. } = *options;
    writeln!(out, "{store:?}: {sessions} sessions, {people} people")?;
    let filled = Installation::fill(store, sessions, people, REFRESHING).await?;
    let service = &filled.service;
    let check = |report: &Report| {
        let (found, all) = (report.sessions.loses_and_gains, u64::try_from(sessions)?);
        if found != all || report.subjects.loses_and_gains != u64::try_from(people)? {
            bail!("not everybody was found: {found} of {all} sessions");
        }
        Ok(())
    };
    for _ in 0..3 {
        let ran = run(service).await?;
        check(&ran.report)?;
        writeln!(
            out,
            "  alone      sessions {:5.2} s ({:.0} a second), all {:5.2} s",
            ran.sessions.as_secs_f64(),
            f64::from(u32::try_from(sessions)?) / ran.sessions.as_secs_f64(),
            ran.total.as_secs_f64(),
        )?;
    }
    let load = Load::begin(service, &filled.refresh_tokens, THREADS)?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let rate = |from: u64, took: Duration| -> anyhow::Result<f64> {
        let answered = u32::try_from(load.refreshes().saturating_sub(from))?;
        Ok(f64::from(answered) / took.as_secs_f64())
    };
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let (from, began) = (load.refreshes(), Instant::now());
        let ran = run(service).await?;
        let with = rate(from, began.elapsed())?;
        check(&ran.report)?;
        let (from, began) = (load.refreshes(), Instant::now());
        tokio::time::sleep(ran.total).await;
        let without = rate(from, began.elapsed())?;
        ratios.push(with / without);
        writeln!(
            out,
            "  under load sessions {:5.2} s, all {:5.2} s; refreshes a second: {without:.0} without, \
             {with:.0} with: {:.3}",
            ran.sessions.as_secs_f64(),
            ran.total.as_secs_f64(),
            with / without,
        )?;
    }
    load.end()?;
    ratios.sort_by(f64::total_cmp);
    if let Some(median) = ratios.get(ratios.len() / 2) {
        writeln!(out, "  median of the ratios: {median:.3}")?;
    }
    Ok(())
}
