//! The load generator, the same for both servers.

use crate::Fresh;
use crate::http::{Connection, get, post};
use anyhow::{Context as _, bail};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What is asked for, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// Each connection has a refresh token and hands back the one that it was given last.
    Refresh,
    /// Access tokens that were never shown before: each signature has to be checked.
    IntrospectFresh,
    /// Each connection has one access token and shows it again and again.
    IntrospectKnown,
    Jwks,
}

impl Case {
    /// In this order: the fresh tokens are those that the refreshes before have made.
    pub(crate) const ALL: [Self; 4] =
        [Self::Refresh, Self::IntrospectFresh, Self::IntrospectKnown, Self::Jwks];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::IntrospectFresh => "introspect-fresh",
            Self::IntrospectKnown => "introspect-known",
            Self::Jwks => "jwks",
        }
    }
}

/// A server, and what its clients hold.
pub(crate) struct Target {
    pub(crate) port: u16,
    /// The `Authorization` header of the client, with its end of line.
    pub(crate) authorization: Arc<str>,
    pub(crate) refresh_tokens: Vec<String>,
    /// One for each refresh token.
    pub(crate) access_tokens: Vec<String>,
    pub(crate) fresh: Fresh,
}

/// As many of the tokens that refreshes make are kept: enough for a run that shows each of them once.
const FRESH: usize = 60_000;

/// The value of a member of a JSON object, if it is a string without escapes.
pub(crate) fn member<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = json.split_once(&format!("\"{name}\":\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

struct Worker {
    connection: Connection,
    authorization: Arc<str>,
    until: Instant,
    fresh: Arc<Mutex<Fresh>>,
}

/// Runs a case on all connections for so long; the number of requests that were answered, all of them well.
pub(crate) async fn run(case: Case, target: &mut Target, length: Duration) -> anyhow::Result<u32> {
    if case == Case::Refresh {
        target.fresh.clear();
    }
    let fresh = Arc::new(Mutex::new(std::mem::take(&mut target.fresh)));
    let until = Instant::now() + length;
    let mut workers = JoinSet::new();
    let tokens = target.refresh_tokens.iter().zip(&target.access_tokens);
    for (at, (refresh, access)) in tokens.enumerate() {
        let (refresh, access) = (refresh.clone(), access.clone());
        let worker = Worker {
            connection: Connection::open(target.port).await?,
            authorization: Arc::clone(&target.authorization),
            until,
            fresh: Arc::clone(&fresh),
        };
        workers.spawn(async move {
            let (requests, refresh) = match case {
                Case::Refresh => worker.refresh(refresh).await?,
                Case::IntrospectFresh => (worker.introspect_fresh().await?, refresh),
                Case::IntrospectKnown => (worker.introspect(&access).await?, refresh),
                Case::Jwks => (worker.jwks().await?, refresh),
            };
            anyhow::Ok((at, requests, refresh))
        });
    }
    let mut total = 0_u32;
    while let Some(ended) = workers.join_next().await {
        let (at, requests, refresh) = ended??;
        *target.refresh_tokens.get_mut(at).context("a connection too many")? = refresh;
        total = total.saturating_add(requests);
    }
    target.fresh = std::mem::take(&mut *fresh.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(total)
}

impl Worker {
    fn fresh(&self) -> std::sync::MutexGuard<'_, Fresh> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn refresh(mut self, mut token: String) -> anyhow::Result<(u32, String)> {
        let mut requests = 0;
        while Instant::now() < self.until {
            let body = format!("grant_type=refresh_token&refresh_token={token}");
            let request = post("/oauth2/token", &self.authorization, &body);
            let answer = self.connection.send(&request).await?;
            let (refresh, access) =
                (member(answer.body, "refresh_token"), member(answer.body, "access_token"));
            let (200, Some(refresh), Some(access)) = (answer.status, refresh, access) else {
                bail!("not refreshed: {} {}", answer.status, answer.body);
            };
            if refresh == token {
                bail!("the refresh token was not rotated");
            }
            let access = access.to_owned();
            refresh.clone_into(&mut token);
            let mut fresh = self.fresh();
            if fresh.len() < FRESH {
                fresh.push_back(access);
            }
            requests += 1;
        }
        Ok((requests, token))
    }

    async fn introspect_once(&mut self, token: &str) -> anyhow::Result<()> {
        let request = post("/oauth2/introspect", &self.authorization, &format!("token={token}"));
        let answer = self.connection.send(&request).await?;
        if answer.status != 200 || !answer.body.starts_with("{\"active\":true,") {
            bail!("not active: {} {}", answer.status, answer.body);
        }
        Ok(())
    }

    async fn introspect(mut self, token: &str) -> anyhow::Result<u32> {
        let mut requests = 0;
        while Instant::now() < self.until {
            self.introspect_once(token).await?;
            requests += 1;
        }
        Ok(requests)
    }

    /// Ends when there are no more.
    async fn introspect_fresh(mut self) -> anyhow::Result<u32> {
        let mut requests = 0;
        while Instant::now() < self.until {
            let Some(token) = self.fresh().pop_front() else { break };
            self.introspect_once(&token).await?;
            requests += 1;
        }
        Ok(requests)
    }

    async fn jwks(mut self) -> anyhow::Result<u32> {
        let request = get("/oauth2/jwks", "");
        let mut requests = 0;
        while Instant::now() < self.until {
            let answer = self.connection.send(&request).await?;
            if answer.status != 200 {
                bail!("no keys: {}", answer.status);
            }
            requests += 1;
        }
        Ok(requests)
    }
}
