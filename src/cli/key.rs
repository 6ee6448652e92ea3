//! `rolemint key`

use crate::cli::print;
use crate::signing::SealingKey;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// Print a fresh encryption key for the configuration
    Generate,
}

impl Key {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Generate => print(SealingKey::generate_text()?.reveal()),
        }
    }
}
