//! The command line: one file a command.

mod apply;
mod check;
mod dev;
mod healthcheck;
mod installation;
mod key;
mod migrate;
mod revoke;
mod serve;
mod session;
mod template;
#[cfg(test)]
mod tests;

use crate::config::Config;
use crate::deployment::{self, DeploymentErrors};
use crate::domain::deployment::Deployment;
use crate::service::deployment::check_templates;
use clap::{Args, Parser, Subcommand};
use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A token server for multi-tenant SaaS back ends.
#[derive(Debug, Parser)]
#[command(name = "rolemint", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::Serve),
    /// Run a complete demo on this machine: server, provider, sample tenants, sample web app
    Dev(dev::Dev),
    /// Bring the database's schema up to date
    Migrate(migrate::Migrate),
    /// Make the installation what a deployment file declares
    Apply(apply::Apply),
    /// Check a configuration, and a deployment file, without using them
    Check(check::Check),
    /// Make keys
    #[command(subcommand)]
    Key(key::Key),
    /// Check, test, render and compare role templates; publish them, and take them back
    #[command(subcommand)]
    Template(template::Template),
    /// End tokens and sessions, where no server may be asked
    Revoke(revoke::Revoke),
    /// What became of a session
    #[command(subcommand)]
    Session(session::Session),
    /// Ask a running server whether it is well
    Healthcheck(healthcheck::Healthcheck),
}

/// Where a command's configuration stands.
#[derive(Args, Clone, Debug)]
struct ConfigArgument {
    /// The configuration file; without one, everything comes from variables such as `ROLEMINT_ISSUER`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgument {
    fn load(&self) -> anyhow::Result<Config> {
        // A variable that is not Unicode cannot be one of ours.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Ok(Config::load(self.config.as_deref(), variables)?)
    }
}

/// The one place where a deployment file is read, and its templates are compiled.
fn read_deployment(path: &Path) -> Result<Deployment, DeploymentErrors> {
    deployment::load(path, &check_templates)
}

/// The program. Errors end it with 1, a command line that cannot be understood with 2; `template` tells more apart.
pub fn run() -> ExitCode {
    let outcome = match CommandLine::parse().command {
        Command::Serve(command) => block_on(command.run()),
        Command::Dev(command) => block_on(command.run()),
        Command::Migrate(command) => block_on(command.run()),
        Command::Apply(command) => block_on(command.run()),
        Command::Check(command) => command.run(),
        Command::Key(command) => command.run(),
        Command::Template(command) => return command.run(),
        Command::Revoke(command) => block_on(command.run()),
        Command::Session(command) => block_on(command.run()),
        Command::Healthcheck(command) => command.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if standard error is closed.
            let _ = writeln!(io::stderr(), "{}", Report(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with everything that led to it.
struct Report<'a>(&'a anyhow::Error);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.0)?;
        self.0.chain().skip(1).try_for_each(|cause| write!(f, "\n  because: {cause}"))
    }
}

fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(future)
}

/// A line for whoever called; a closed pipe is no error of ours.
fn print(line: impl fmt::Display) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// What works and should not stay so.
fn warn(config: &Config) {
    for warning in &config.warnings {
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
}
