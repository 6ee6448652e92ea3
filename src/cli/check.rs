//! `rolemint check`

use crate::cli::{ConfigArgument, print, read_deployment, warn};
use clap::Args;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigArgument,
    /// Read this deployment file too
    #[arg(long, value_name = "FILE")]
    deployment: Option<PathBuf>,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.config.load()?;
        warn(&config);
        print("the configuration is fine")?;
        if let Some(file) = &self.deployment {
            read_deployment(file)?;
            print("the deployment file is fine by itself")?;
        }
        Ok(())
    }
}
