//! `rolemint migrate`

use crate::app;
use crate::cli::{ConfigArgument, print, warn};
use clap::Args;

#[derive(Args, Debug)]
pub(super) struct Migrate {
    #[command(flatten)]
    config: ConfigArgument,
}

impl Migrate {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.config.load()?;
        warn(&config);
        app::migrate(&config)?;
        print("the database is up to date")
    }
}
