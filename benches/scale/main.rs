//! What a million sessions cost: memory in Redis for each, and CPU time for a request beside a thousand sessions.
//!
//!     cargo bench --features postgres --bench scale
//!
//! Sessions are begun through the token store, with and without kept claims, and Redis is asked for its memory
//! before and after. Then Rolemint, the executable, serves two installations at once, a small one and a large
//! one, and gets the same load from one generator, round after round, on the one and then on the other: people
//! spread over all sessions refresh, and what they get is introspected. What a request takes is the CPU time of
//! server and token store together. Last, how many revocations a second are acknowledged.
//!
//! It needs `redis-server` in the path, listens on 127.0.0.1 only, and leaves nothing behind.
//!
//!     -- --sessions 1000000 --small 1000 --rounds 5 --seconds 3 --store redis --part memory --rolemint PATH

#[path = "../floor/http.rs"]
#[expect(dead_code, reason = "the benchmark `floor` uses the rest")]
mod http;
mod installation;
mod load;
mod memory;
#[path = "../population/mod.rs"]
mod population;
#[path = "../floor/processes.rs"]
#[expect(dead_code, reason = "the benchmark `floor` uses the rest")]
mod processes;

use crate::installation::Installation;
use crate::load::Case;
use crate::processes::{Process, cpu_of};
use anyhow::{Context as _, bail};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where a token store is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Embedded,
    Redis,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Memory,
    Requests,
}

pub(crate) struct Options {
    sessions: usize,
    small: usize,
    rounds: u32,
    length: Duration,
    /// None: both.
    store: Option<Store>,
    /// None: all of it.
    part: Option<Part>,
    rolemint: PathBuf,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self {
            sessions: 1_000_000,
            small: 1_000,
            rounds: 5,
            length: Duration::from_secs(3),
            store: None,
            part: None,
            rolemint: PathBuf::from(env!("CARGO_BIN_EXE_rolemint")),
        };
        while let Some(name) = arguments.next() {
            if name == "--bench" {
                // Cargo says so to every benchmark.
                continue;
            }
            let value = arguments.next().with_context(|| format!("{name} wants a value"))?;
            match (name.as_str(), value.as_str()) {
                ("--sessions", number) => options.sessions = number.parse()?,
                ("--small", number) => options.small = number.parse()?,
                ("--rounds", number) => options.rounds = number.parse()?,
                ("--seconds", number) => options.length = Duration::from_secs(number.parse()?),
                ("--store", "embedded") => options.store = Some(Store::Embedded),
                ("--store", "redis") => options.store = Some(Store::Redis),
                ("--part", "memory") => options.part = Some(Part::Memory),
                ("--part", "requests") => options.part = Some(Part::Requests),
                ("--rolemint", path) => options.rolemint = path.into(),
                _ => bail!("unknown: {name} {value}"),
            }
        }
        Ok(options)
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    // What Redis takes for a session is the same whatever the build.
    if cfg!(debug_assertions) && options.part != Some(Part::Memory) {
        bail!("this is a debug build, whose figures say nothing: use `cargo bench`");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if options.part != Some(Part::Requests) && options.store != Some(Store::Embedded) {
            memory::measure(options.sessions).await?;
        }
        if options.part == Some(Part::Memory) {
            return Ok(());
        }
        for store in [Store::Redis, Store::Embedded] {
            if options.store.is_none_or(|only| only == store) {
                compare(&options, store).await?;
            }
        }
        Ok(())
    })
}

/// An installation that is served, with the processes whose CPU time counts.
struct Served {
    people: load::People,
    counted: Vec<u32>,
    // Ended in this order, when it is over.
    _processes: Vec<Process>,
    _folder: tempfile::TempDir,
}

async fn serve(options: &Options, store: Store, sessions: usize) -> anyhow::Result<Served> {
    let folder = tempfile::tempdir()?;
    let (url, redis) = processes::store_url(store, folder.path(), "embedded", "redis+unix").await?;
    let installed = Installation::fill(folder.path(), &url, sessions).await?;
    let began = Instant::now();
    let server =
        Process::start(&options.rolemint, &["serve", "--config", "rolemint.toml"], folder.path())?;
    processes::wait_for_port(installed.port).await?;
    let started = began.elapsed();
    let mut out = std::io::stdout();
    writeln!(out, "{store:?}: started with {sessions} sessions in {:.2} s", started.as_secs_f64())?;
    let people = load::People::of(&installed)?;
    let processes: Vec<_> = std::iter::once(server).chain(redis).collect();
    let counted = processes.iter().map(Process::id).collect();
    Ok(Served { people, counted, _processes: processes, _folder: folder })
}

impl Served {
    /// Microseconds of CPU for a request.
    async fn once(&mut self, case: Case, length: Duration) -> anyhow::Result<f64> {
        // What the round before has left to do is not this one's.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let before = cpu_of(&self.counted)?;
        let requests = load::run(case, &mut self.people, length).await?;
        let cpu = cpu_of(&self.counted)?.saturating_sub(before);
        Ok(cpu.as_secs_f64() * 1e6 / f64::from(requests.max(1)))
    }
}

async fn compare(options: &Options, store: Store) -> anyhow::Result<()> {
    let mut small = serve(options, store, options.small).await?;
    let mut large = serve(options, store, options.sessions).await?;
    let mut rounds: [Vec<[f64; 2]>; 2] = [Vec::new(), Vec::new()];
    for round in 0..=options.rounds {
        for (case, samples) in [Case::Refresh, Case::Introspect].into_iter().zip(&mut rounds) {
            let few = small.once(case, options.length).await?;
            let many = large.once(case, options.length).await?;
            // The first round fills caches and opens connections.
            if round > 0 {
                samples.push([few, many]);
            }
        }
    }
    let mut out = std::io::stdout();
    let (few, many) = (options.small, options.sessions);
    writeln!(out, "| store | case | µs CPU at {few} | µs CPU at {many} | ratio (min–max) |")?;
    writeln!(out, "| --- | --- | --- | --- | --- |")?;
    for (case, samples) in [Case::Refresh, Case::Introspect].into_iter().zip(&rounds) {
        let [_, at_few, _] = spread(samples, |[few, _]| *few);
        let [_, at_many, _] = spread(samples, |[_, many]| *many);
        let [least, ratio, most] = spread(samples, |[few, many]| many / few);
        writeln!(
            out,
            "| {store:?} | {case:?} | {at_few:.1} | {at_many:.1} | {ratio:.2} ({least:.2}–{most:.2}) |"
        )?;
    }
    for connections in [1, 8, 64] {
        let began = Instant::now();
        let revoked = load::revoke(&mut large.people, connections, options.length).await?;
        let rate = f64::from(revoked) / began.elapsed().as_secs_f64();
        writeln!(out, "{store:?}, SQLite: {connections} at once: {rate:.0} revocations a second")?;
    }
    Ok(())
}

/// The least, the one in the middle, the most.
fn spread(samples: &[[f64; 2]], of: impl Fn(&[f64; 2]) -> f64) -> [f64; 3] {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    let last = values.len().saturating_sub(1);
    // Of an even number, between the two in the middle.
    [at(0), f64::midpoint(at(last / 2), at(values.len() / 2)), at(last)]
}
