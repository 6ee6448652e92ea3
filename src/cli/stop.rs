//! When a server is asked to end.

use tokio::signal;

/// Resolves at the first SIGTERM or SIGINT.
#[cfg(unix)]
pub(crate) async fn asked_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = signal::ctrl_c() => Ok(interrupted?),
    }
}

#[cfg(not(unix))]
pub(crate) async fn asked_to_stop() -> anyhow::Result<()> {
    Ok(signal::ctrl_c().await?)
}
