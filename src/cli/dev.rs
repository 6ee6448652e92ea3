//! `rolemint dev`

use crate::dev::{self, DevOptions};
use crate::telemetry::{self, LogConfig};
use clap::Args;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(super) struct Dev {
    /// The server's port on 127.0.0.1
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The sample provider's port on 127.0.0.1
    #[arg(long, default_value_t = 8081)]
    provider_port: u16,
    /// Where the files are kept
    #[arg(long, value_name = "DIRECTORY", default_value = "./rolemint-data")]
    data_dir: PathBuf,
    /// Keep no files
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
}

impl Dev {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { port, provider_port, data_dir, ephemeral } = self;
        telemetry::install(&LogConfig::default())?;
        dev::run(DevOptions { port, provider_port, data_dir, ephemeral }).await
    }
}
