//! `rolemint serve`

use crate::app::{self, Options};
use crate::cli::ConfigArgument;
use crate::clock::Clock;
use crate::telemetry;
use clap::Args;
use tokio::signal;

#[derive(Args, Debug)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigArgument,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = self.config.load()?;
        telemetry::install(&config.log)?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let options = Options { clock: Clock::System, extra_routes: None };
        let mut running = app::start(config, options).await?;
        // Tests and scripts wait for this line and read the address from it: it stays as it is.
        tracing::info!("listening on http://{}", running.address());
        tokio::select! {
            asked = asked_to_stop() => asked?,
            ended = running.finished() => return ended,
        }
        tracing::info!("stopping");
        running.stop().await?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Resolves at the first SIGTERM or SIGINT.
#[cfg(unix)]
async fn asked_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = signal::ctrl_c() => Ok(interrupted?),
    }
}

#[cfg(not(unix))]
async fn asked_to_stop() -> anyhow::Result<()> {
    Ok(signal::ctrl_c().await?)
}
