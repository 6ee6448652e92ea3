//! Servers as processes that cannot outlive the test run: each has a guard, a shell that holds the other end
//! of a pipe. When the pipe closes (a drop, a panic, a killed test run), the guard ends the server.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::logs;

/// Arguments: the signal that ends the server, a folder to remove afterwards (or nothing), the file for
/// the server's process id, and the server's command line. Each line of input is a signal to pass on. The
/// guard never waits for the server while the pipe is open, so the process id stays the server's.
const GUARD: &str = r#"
# To a server, a file that may not grow (see prlimit) is an error, as a full disk is, and not its end.
trap '' XFSZ
end=$1; remove=$2; pid_file=$3; shift 3
"$@" </dev/null &
server=$!
echo "$server" >"$pid_file.new" && mv "$pid_file.new" "$pid_file"
while read -r signal; do kill -s "$signal" "$server" 2>/dev/null; done
kill -s "$end" "$server" 2>/dev/null
wait "$server"
status=$?
[ -z "$remove" ] || rm -rf "$remove"
rm -f "$pid_file"
exit "$status"
"#;

pub(crate) struct Server {
    name: String,
    guard: Child,
    pid: u32,
    log: PathBuf,
}

/// How a server is started and ended.
pub(crate) struct Start<'a> {
    pub(crate) name: &'a str,
    pub(crate) command: &'a Command,
    /// `KILL`, unless a server leaves something behind then.
    pub(crate) end: &'a str,
    pub(crate) remove: Option<&'a Path>,
}

impl<'a> Start<'a> {
    pub(crate) fn new(name: &'a str, command: &'a Command) -> Self {
        Self { name, command, end: "KILL", remove: None }
    }

    pub(crate) fn run(self) -> Server {
        let log = logs::file(self.name);
        let pid_file = log.with_extension("pid");
        let mut guard = Command::new("/bin/sh");
        guard.args(["-c", GUARD, "guard", self.end]);
        guard.arg(self.remove.unwrap_or(Path::new(""))).arg(&pid_file);
        guard.arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => guard.env(name, value),
                None => guard.env_remove(name),
            };
        }
        if let Some(folder) = self.command.get_current_dir() {
            guard.current_dir(folder);
        }
        {
            // Its own group: an interrupt at the terminal reaches the test run alone.
            use std::os::unix::process::CommandExt as _;
            guard.process_group(0);
        }
        let output = logs::open(&log);
        guard.stdout(output.try_clone().unwrap()).stderr(output).stdin(Stdio::piped());
        let guard = guard.spawn().unwrap();
        let mut server = Server { name: self.name.to_owned(), guard, pid: 0, log };
        server.pid = until("its process id", Duration::from_secs(10), || {
            fs::read_to_string(&pid_file).ok()?.trim().parse().ok()
        });
        server
    }
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits for `found` in the log of a server that has yet to start.
    pub(crate) fn wait_for<T>(&mut self, what: &str, found: impl Fn(&str) -> Option<T>) -> T {
        self.wait_until(what, |server| found(&server.log()))
    }

    /// Waits until the server, which has yet to start, is so.
    pub(crate) fn wait_until<T>(&mut self, what: &str, found: impl Fn(&Self) -> Option<T>) -> T {
        let limit = Duration::from_secs(60);
        let started = until(&format!("{}: {what}", self.name), limit, || {
            let over = self.has_ended();
            match found(self) {
                Some(value) => Some(Some(value)),
                None => over.then_some(None),
            }
        });
        started.unwrap_or_else(|| panic!("{} ended before it had started", self.name))
    }

    /// Whether the process is gone. Its id is kept by the guard until the guard is gone too.
    pub(crate) fn has_ended(&self) -> bool {
        process_has_ended(self.pid)
    }

    /// Sends a signal by name: `TERM`, `STOP`, `CONT`, …
    pub(crate) fn signal(&mut self, signal: &str) {
        let pipe = self.guard.stdin.as_mut().unwrap();
        pipe.write_all(format!("{signal}\n").as_bytes()).unwrap();
        pipe.flush().unwrap();
    }

    /// SIGKILL, and waits until it is dead.
    pub(crate) fn kill(mut self) {
        self.signal("KILL");
        self.finish();
    }

    /// SIGTERM, and waits for it to end by itself; its exit status.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for it to end by itself; its exit status (128 + n for signal n).
    pub(crate) fn wait(mut self) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        until(&what, Duration::from_secs(40), || self.has_ended().then_some(()));
        self.finish()
    }

    fn finish(&mut self) -> ExitStatus {
        drop(self.guard.stdin.take());
        self.guard.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let alive = self.guard.stdin.is_some();
        self.finish();
        if alive && std::thread::panicking() {
            eprintln!("{}", logs::tail(&self.log));
        }
    }
}

pub(crate) fn process_has_ended(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with(['Z', 'X']))
}

/// Asks until there is an answer, for at most `limit`.
pub(crate) fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a program that ran to its end said.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// What it printed, if it went well.
    pub(crate) fn success(self) -> String {
        assert!(self.status.success(), "{}\n{}\n{}", self.status, self.stdout, self.stderr);
        self.stdout
    }

    /// What it said, if it failed.
    pub(crate) fn failure(self) -> String {
        assert!(!self.status.success(), "it went well:\n{}\n{}", self.stdout, self.stderr);
        self.stderr + &self.stdout
    }
}

/// Runs a program to its end, which must come within `limit`.
pub(crate) fn output(command: &mut Command, limit: Duration) -> Output {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut err = child.stderr.take().unwrap();
    let stdout = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        out.read_to_end(&mut bytes).map(|_| bytes)
    });
    let stderr = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        err.read_to_end(&mut bytes).map(|_| bytes)
    });
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > limit {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("not done after {limit:?}: {}", command.get_program().display());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Output {
        status,
        stdout: text(stdout.join().unwrap().unwrap()),
        stderr: text(stderr.join().unwrap().unwrap()),
    }
}
