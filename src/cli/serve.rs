//! `rolemint serve`

use crate::app::{self, Options};
use crate::cli::ConfigArgument;
use crate::clock::Clock;
use crate::telemetry;
use clap::Args;

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
        let options = Options { clock: Clock::System, extra_routes: None, listener: None };
        let mut running = app::start(config, options).await?;
        // Tests and scripts wait for this line and read the address from it: it stays as it is.
        tracing::info!("listening on http://{}", running.address());
        tokio::select! {
            asked = app::asked_to_stop() => asked?,
            ended = running.finished() => return ended,
        }
        tracing::info!("stopping");
        running.stop().await?;
        tracing::info!("stopped");
        Ok(())
    }
}
