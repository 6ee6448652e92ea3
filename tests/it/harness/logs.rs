//! One folder holds all that any server of a test run logged: `target/test-logs/<run>/`.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, process};

/// `ROLEMINT_TEST_LOGS`, or a new folder for this process.
pub(crate) fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = env::var_os("ROLEMINT_TEST_LOGS").map_or_else(
            || {
                let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
                let runs = target.join("test-logs");
                let mut run = 0_u32;
                loop {
                    let folder = runs.join(format!("{}-{run}", process::id()));
                    if !folder.exists() {
                        break folder;
                    }
                    run += 1;
                }
            },
            PathBuf::from,
        );
        fs::create_dir_all(&folder).unwrap();
        folder
    })
}

/// A log file of its own for one start of one server, named after both and the running test.
pub(crate) fn file(server: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let test = super::test_name().replace("::", ".");
    folder().join(format!("{server}.{test}.{}-{number}.log", process::id()))
}

pub(crate) fn open(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

/// Adds `text` to a file of the folder in one write, so that lines of several threads stay whole.
pub(crate) fn append(name: &str, text: &str) {
    open(&folder().join(name)).write_all(text.as_bytes()).unwrap();
}

/// The end of a log, for the message of a test that failed.
pub(crate) fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(30);
    format!("--- the end of {}\n{}\n---", path.display(), lines[from..].join("\n"))
}
