//! `rolemint template`: role templates as files, and as an installation has them.
//!
//! `lint`, `test`, `render` and `diff` read files and nothing else, so that they run anywhere; the others need the
//! installation's database and no server. They end with 0 where all is well, with 1 where something was found or
//! refused, and with 2 where they could not do what they were asked: a command line, a file or an installation that
//! is not as it must be.

mod diff;
mod files;
mod finding;
mod history;
mod lint;
mod pull;
mod push;
mod recall;
mod refusal;
mod render;
mod rollback;
mod test;
mod withdraw;

use crate::cli::{Report, block_on, print};
use crate::domain::ids::Role;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Template {
    /// Check templates: errors, warnings, and the proof that no two tenants meet
    Lint(lint::Lint),
    /// Run the tests that templates carry, and each for hostile values
    Test(test::Test),
    /// Render a template for somebody, and say where each permission comes from
    Render(render::Render),
    /// Compare what two templates grant
    Diff(diff::Diff),
    /// Publish templates: all that differ from what is published, at once
    Push(push::Push),
    /// Write the published templates to files
    Pull(pull::Pull),
    /// Say who published what, when and why
    History(history::History),
    /// Publish an old version again, as a new one
    Rollback(rollback::Rollback),
    /// Give a tenant's own version up, so that the base counts again
    Withdraw(withdraw::Withdraw),
    /// Say what becomes of the tokens that a version made
    Recall(recall::Recall),
}

/// What a command has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// Something is wrong with a template, or was refused.
    Found,
}

impl Verdict {
    const fn found(any: bool) -> Self {
        if any { Self::Found } else { Self::Fine }
    }
}

impl Template {
    pub(super) fn run(self) -> ExitCode {
        let verdict = match self {
            Self::Lint(command) => command.run(),
            Self::Test(command) => command.run(),
            Self::Render(command) => command.run(),
            Self::Diff(command) => command.run(),
            Self::Push(command) => block_on(command.run()),
            Self::Pull(command) => block_on(command.run()),
            Self::History(command) => block_on(command.run()),
            Self::Rollback(command) => block_on(command.run()),
            Self::Withdraw(command) => block_on(command.run()),
            Self::Recall(command) => block_on(command.run()),
        };
        match verdict {
            Ok(Verdict::Fine) => ExitCode::SUCCESS,
            Ok(Verdict::Found) => ExitCode::from(1),
            Err(error) => {
                // Nobody is left to tell if standard error is closed.
                let _ = writeln!(io::stderr(), "{}", Report(&error));
                ExitCode::from(2)
            }
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, and for editors that jump to `FILE:LINE:COLUMN`
    #[default]
    Text,
    /// For programs: one JSON object
    Json,
}

/// How a command says what it has to say.
#[derive(Args, Clone, Copy, Debug)]
struct FormatArgument {
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

impl FormatArgument {
    fn print<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        match self.format {
            Format::Json => print(serde_json::to_string_pretty(value)?),
            Format::Text => print(text(value).trim_end()),
        }
    }
}

/// What stands beside templates and not in them.
#[derive(Args, Clone, Debug)]
struct Beside {
    /// The vocabulary; without one, the resources.toml beside or above the templates, else the one that comes with Rolemint
    #[arg(long, value_name = "FILE")]
    vocabulary: Option<PathBuf>,
    /// This role may cross tenants
    #[arg(long, value_name = "ROLE")]
    crosses_tenants: Vec<Role>,
}
