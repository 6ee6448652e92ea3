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
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = self.config.load()?;
        warn(&config);
        for migration in app::migrate(&config).await? {
            print(format_args!("applied {migration}"))?;
        }
        print("the database is up to date")
    }
}
