//! The processes of a run: started, measured, ended.

use crate::Store;
use anyhow::{Context as _, bail};
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::{TcpStream, UnixStream};

/// A clock tick of `/proc`: Linux tells every program that there are 100 in a second.
const TICK: Duration = Duration::from_millis(10);
const START_LIMIT: Duration = Duration::from_secs(20);

/// Ended when it is dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(program: &Path, arguments: &[&str], folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ROLEMINT_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.spawn();
        Ok(Self(child.with_context(|| format!("{} cannot be started", program.display()))?))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Asks it to end, so that it can clear up after itself, and waits until it has.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        Command::new("kill").arg(self.id().to_string()).status()?;
        let began = Instant::now();
        while self.0.try_wait()?.is_none() && began.elapsed() < START_LIMIT {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What it prints first.
    pub(crate) fn first_line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().context("no output")?).read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Until somebody listens there.
pub(crate) async fn wait_for_port(port: u16) -> anyhow::Result<()> {
    wait_for(async || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()).await
}

async fn wait_for(ready: impl AsyncFn() -> bool) -> anyhow::Result<()> {
    let began = Instant::now();
    while !ready().await {
        if began.elapsed() > START_LIMIT {
            bail!("a server does not start");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// A token store's address within `folder`, and its server if it has one.
pub(crate) async fn store_url(
    store: Store,
    folder: &Path,
    embedded: &str,
    unix: &str,
) -> anyhow::Result<(String, Option<Process>)> {
    if store == Store::Embedded {
        return Ok((format!("{embedded}:{}", folder.join("tokens.db").display()), None));
    }
    let socket = folder.join("redis.sock");
    let path = socket.to_str().context("a path must be UTF-8")?;
    let arguments = [
        "--port",
        "0",
        "--unixsocket",
        path,
        "--save",
        "",
        "--appendonly",
        "no",
        "--daemonize",
        "no",
    ];
    let server = Process::start(Path::new("redis-server"), &arguments, folder)?;
    wait_for(async || UnixStream::connect(&socket).await.is_ok()).await?;
    Ok((format!("{unix}://{path}"), Some(server)))
}

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) requests: u32,
    /// Of the server and its store.
    pub(crate) cpu: Duration,
    /// Of that, the store's, where it is a process of its own.
    pub(crate) in_store: Duration,
    /// CPU time of this machine that was neither theirs nor the load generator's.
    pub(crate) foreign: Duration,
    pub(crate) elapsed: Duration,
}

impl Usage {
    pub(crate) fn micros(&self) -> f64 {
        self.per_request(self.cpu)
    }

    pub(crate) fn store_micros(&self) -> f64 {
        self.per_request(self.in_store)
    }

    fn per_request(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / f64::from(self.requests.max(1))
    }
}

/// User and system time of these processes, with all their threads.
pub(crate) fn cpu_of(processes: &[u32]) -> anyhow::Result<Duration> {
    let mut ticks = 0_u32;
    for id in processes {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        // The name before it is in parentheses and may hold anything.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
        for time in fields.split_whitespace().skip(11).take(2) {
            ticks = ticks.saturating_add(time.parse()?);
        }
    }
    Ok(TICK.saturating_mul(ticks))
}

/// The time that all processors together have not been idle.
pub(crate) fn machine_busy() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    // user nice system idle iowait irq softirq steal
    let mut ticks = 0_u32;
    for (at, time) in line.split_whitespace().skip(1).take(8).enumerate() {
        if at != 3 && at != 4 {
            ticks = ticks.saturating_add(time.parse()?);
        }
    }
    Ok(TICK.saturating_mul(ticks))
}
