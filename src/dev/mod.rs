//! The demo: a small OpenID provider, sample tenants and a sample web app, on this machine only.

mod demo;
mod loopback;
mod people;
mod provider;
