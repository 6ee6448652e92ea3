//! The demo: a small provider of its own, sample tenants, a sample web app.

use std::path::PathBuf;

#[derive(Clone, Debug)]
pub struct DevOptions {
    pub port: u16,
    pub provider_port: u16,
    pub data_dir: PathBuf,
    /// Keeps no files.
    pub ephemeral: bool,
}

#[expect(clippy::unused_async, reason = "what it will be")]
pub async fn run(_options: DevOptions) -> anyhow::Result<()> {
    anyhow::bail!("there is no demo in this build")
}
