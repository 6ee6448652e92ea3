//! The load generator: people spread over all sessions.

use crate::http::{Connection, post};
use crate::installation::{Installation, SECRET};
use anyhow::bail;
use data_encoding::BASE64;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

const CONNECTIONS: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// One person after the other hands back the refresh token that they were given last.
    Refresh,
    /// What the refreshes before have made is shown once: each signature is checked, each session looked at.
    Introspect,
}

/// Who uses one installation, each connection its share of them.
pub(crate) struct People {
    port: u16,
    /// The `Authorization` header of the client, with its end of line.
    authorization: Arc<str>,
    shares: Vec<Share>,
}

#[derive(Default)]
struct Share {
    refresh_tokens: VecDeque<String>,
    access_tokens: VecDeque<String>,
}

/// As many access tokens are kept for each connection: enough for a run.
const FRESH: usize = 4_000;

impl People {
    pub(crate) fn of(installation: &Installation) -> anyhow::Result<Self> {
        let mut shares: Vec<_> = (0..CONNECTIONS).map(|_| Share::default()).collect();
        for (token, at) in installation.refresh_tokens.iter().zip((0..CONNECTIONS).cycle()) {
            let Some(share) = shares.get_mut(at) else { bail!("a connection too many") };
            share.refresh_tokens.push_back(token.clone());
        }
        let credentials = BASE64.encode(format!("bench:{SECRET}").as_bytes());
        let authorization = format!("authorization: Basic {credentials}\r\n").into();
        Ok(Self { port: installation.port, authorization, shares })
    }
}

struct Worker {
    connection: Connection,
    authorization: Arc<str>,
    until: Instant,
}

/// The value of a member of a JSON object, if it is a string without escapes.
fn member<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = json.split_once(&format!("\"{name}\":\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

/// For so long; the number of requests that were answered, all of them well.
pub(crate) async fn run(case: Case, people: &mut People, length: Duration) -> anyhow::Result<u32> {
    let until = Instant::now() + length;
    let mut workers = JoinSet::new();
    for mut share in std::mem::take(&mut people.shares) {
        let connection = Connection::open(people.port).await?;
        let authorization = Arc::clone(&people.authorization);
        let mut worker = Worker { connection, authorization, until };
        workers.spawn(async move {
            let requests = match case {
                Case::Refresh => worker.refresh(&mut share).await?,
                Case::Introspect => worker.introspect(&mut share).await?,
            };
            anyhow::Ok((requests, share))
        });
    }
    let mut total = 0_u32;
    while let Some(ended) = workers.join_next().await {
        let (requests, share) = ended??;
        people.shares.push(share);
        total = total.saturating_add(requests);
    }
    Ok(total)
}

/// Sessions are ended, from so many connections; the number of those that were acknowledged.
pub(crate) async fn revoke(
    people: &mut People,
    connections: usize,
    length: Duration,
) -> anyhow::Result<u32> {
    let mut tokens: VecDeque<String> =
        people.shares.iter_mut().flat_map(|share| share.refresh_tokens.drain(..)).collect();
    let share = tokens.len().div_ceil(connections);
    let until = Instant::now() + length;
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        let own: VecDeque<String> = tokens.drain(..share.min(tokens.len())).collect();
        let connection = Connection::open(people.port).await?;
        let authorization = Arc::clone(&people.authorization);
        let mut worker = Worker { connection, authorization, until };
        workers.spawn(async move { worker.revoke(own).await });
    }
    let mut total = 0_u32;
    let mut left = VecDeque::new();
    while let Some(ended) = workers.join_next().await {
        let (revoked, own) = ended??;
        total = total.saturating_add(revoked);
        left.extend(own);
    }
    if let Some(share) = people.shares.first_mut() {
        share.refresh_tokens = left;
    }
    Ok(total)
}

impl Worker {
    async fn refresh(&mut self, share: &mut Share) -> anyhow::Result<u32> {
        share.access_tokens.clear();
        let mut requests = 0;
        while Instant::now() < self.until {
            let Some(token) = share.refresh_tokens.pop_front() else { bail!("nobody") };
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
            if share.access_tokens.len() < FRESH {
                share.access_tokens.push_back(access.to_owned());
            }
            share.refresh_tokens.push_back(refresh.to_owned());
            requests += 1;
        }
        Ok(requests)
    }

    async fn introspect(&mut self, share: &mut Share) -> anyhow::Result<u32> {
        let mut requests = 0;
        while Instant::now() < self.until {
            let Some(token) = share.access_tokens.pop_front() else { break };
            let body = format!("token={token}");
            let request = post("/oauth2/introspect", &self.authorization, &body);
            let answer = self.connection.send(&request).await?;
            if answer.status != 200 || !answer.body.starts_with("{\"active\":true,") {
                bail!("not active: {} {}", answer.status, answer.body);
            }
            requests += 1;
        }
        Ok(requests)
    }

    async fn revoke(
        &mut self,
        mut tokens: VecDeque<String>,
    ) -> anyhow::Result<(u32, VecDeque<String>)> {
        let mut revoked = 0;
        while Instant::now() < self.until {
            let Some(token) = tokens.pop_front() else { break };
            let request = post("/oauth2/revoke", &self.authorization, &format!("token={token}"));
            let answer = self.connection.send(&request).await?;
            if answer.status != 200 {
                bail!("not revoked: {} {}", answer.status, answer.body);
            }
            revoked += 1;
        }
        Ok((revoked, tokens))
    }
}
