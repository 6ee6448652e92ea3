//! Log lines: text or JSON on standard error.

use anyhow::anyhow;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// How this server logs.
#[derive(Clone, Debug)]
pub struct LogConfig {
    pub format: LogFormat,
    /// A level, or directives as `telemetry` understands them.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// What is wrong with a level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be one of error, warn, info, debug and trace, or directives such as \"warn,rolemint::http=debug\""
)]
pub struct InvalidLevel;

/// What a configured level lets through.
///
/// SECURITY: a plain level speaks of this program. Libraries below it log request and response heads
/// when they are asked to be talkative, so they stay at `warn` unless a directive names them.
pub fn filter(level: &str) -> Result<EnvFilter, InvalidLevel> {
    let directives = match level {
        "error" => level.to_owned(),
        plain if LEVELS.contains(&plain) => format!("warn,rolemint={plain}"),
        // A bare word is taken for a target by the filter: a misspelt level would silence everything.
        word if !word.contains([',', '=']) => return Err(InvalidLevel),
        directives => directives.to_owned(),
    };
    EnvFilter::builder().parse(directives).map_err(|_| InvalidLevel)
}

/// Once for a process.
pub fn install(log: &LogConfig) -> anyhow::Result<()> {
    let filter = filter(&log.level)?;
    let subscriber = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    let installed = match log.format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| anyhow!("the log is set up already: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_level_is_of_this_program() {
        let text = |level| filter(level).map(|filter| filter.to_string());
        assert_eq!(text("debug").unwrap(), "rolemint=debug,warn");
        assert_eq!(text("error").unwrap(), "error");
        assert_eq!(text("warn,redis=debug").unwrap(), "redis=debug,warn");
        for bad in ["verbose", "", "INFO!", "rolemint=loud"] {
            assert_eq!(text(bad), Err(InvalidLevel), "{bad}");
        }
    }
}
