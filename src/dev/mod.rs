//! The demo: a small OpenID provider, sample tenants and a sample web app, on this machine only.

mod banner;
mod data;
mod demo;
mod loopback;
mod people;
mod provider;
mod run;
mod seed;

pub use self::run::run;

use std::path::PathBuf;

/// What `rolemint dev` is told.
#[derive(Clone, Debug)]
pub struct DevOptions {
    /// Of the server. 0: any that is free.
    pub port: u16,
    /// Of the demo's own OpenID provider. 0: any that is free.
    pub provider_port: u16,
    pub data_dir: PathBuf,
    /// Nothing is left behind.
    pub ephemeral: bool,
}
