//! `rolemint dev`: the server as it is, on files of its own, with the demo around it.

use crate::app;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::DatabaseConfig;
use crate::config::DatabaseUrl;
use crate::config::FeedConfig;
use crate::config::HttpConfig;
use crate::config::RevocationConfig;
use crate::config::SessionsConfig;
use crate::config::TokenStoreConfig;
use crate::config::UpstreamConfig;
use crate::deployment::{self, Surroundings};
use crate::dev::DevOptions;
use crate::dev::banner;
use crate::dev::data::DataDir;
use crate::dev::demo;
use crate::dev::demo::Backend;
use crate::dev::provider;
use crate::dev::provider::Provider;
use crate::dev::seed;
use crate::service::deployment::check_templates;
use crate::telemetry::LogConfig;
use actix_web::web::ServiceConfig;
use anyhow::Context as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use url::Url;

/// Until it is told to end. It listens on 127.0.0.1 and nowhere else: nobody has a password here.
pub async fn run(options: DevOptions) -> anyhow::Result<()> {
    let data =
        if options.ephemeral { DataDir::ephemeral()? } else { DataDir::open(&options.data_dir)? };
    // Both are held at once, so that two ports that are free are not the same one.
    let (provider_listener, provider_port) = listen(options.provider_port)?;
    let (server_listener, port) = listen(options.port)?;
    let clock = Clock::System;
    let config = config(&data, port)?;

    let declared = seed::deployment(port, provider_port);
    let around = Surroundings { read: &seed::read, variable: &|_| None };
    let declared = deployment::parse(seed::NAME, &declared, around, &check_templates)?;

    let provider = Provider::new(provider_port, port, clock.clone())?;
    let provider = provider::serve(provider, provider_listener)?;
    let provider_handle = provider.handle();
    tokio::spawn(provider);

    let backend = Backend::new(port)?;
    let routes = move |config: &mut ServiceConfig| demo::routes(config, backend.clone());
    let extra_routes: Option<app::ExtraRoutes> = Some(Arc::new(routes));
    let options =
        app::Options { clock: clock.clone(), extra_routes, listener: Some(server_listener) };
    // First the server, which makes sure that no other one has these files.
    let mut server = app::start(config.clone(), options).await?;
    app::apply(&config, &clock, &declared, &[], false).await?;
    server.catch_up().await?;
    // Tests and scripts wait for this line, as for that of `serve`.
    tracing::info!("listening on http://{}", server.address());
    let printed = banner::text(port, provider_port)?;
    std::io::stdout().lock().write_all(printed.as_bytes())?;
    tokio::select! {
        asked = app::asked_to_stop() => asked?,
        ended = server.finished() => return ended,
    }
    provider_handle.stop(false).await;
    server.stop().await
}

fn listen(port: u16) -> anyhow::Result<(TcpListener, u16)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("127.0.0.1:{port} cannot be listened on; if it is in use, choose another with --port or --provider-port"))?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

fn config(data: &DataDir, port: u16) -> anyhow::Result<Config> {
    let issuer_text = format!("http://127.0.0.1:{port}");
    Ok(Config {
        issuer: Url::parse(&issuer_text)?,
        issuer_text,
        listen: (Ipv4Addr::LOCALHOST, port).into(),
        // Files even where nothing is kept, so that both ways run the same code; `data` removes them.
        database: DatabaseConfig {
            url: DatabaseUrl::Sqlite(data.file("rolemint.db")),
            max_connections: DatabaseConfig::DEFAULT_CONNECTIONS,
        },
        token_store: TokenStoreConfig::Embedded(data.file("tokens.db")),
        encryption_key: data.encryption_key()?,
        http: HttpConfig::default(),
        sessions: SessionsConfig::default(),
        revocation: RevocationConfig::default(),
        feed: FeedConfig::default(),
        metrics_token: None,
        upstream: UpstreamConfig::default(),
        log: LogConfig::default(),
        warnings: Vec::new(),
    })
}
