//! The program: `rolemint --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    rolemint::cli::run()
}
