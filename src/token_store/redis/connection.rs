//! One connection to whatever form of Redis there is.

use crate::token_store::redis::address::{RedisAddress, Sentinels, Topology};
use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::cluster::ClusterClientBuilder;
use ::redis::cluster_async::ClusterConnection;
use ::redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, Pipeline,
    ProtocolVersion, PushInfo, RedisError, RedisFuture, RedisResult, Value,
};
use std::time::Duration;
use tokio::sync::mpsc;

/// For one attempt to connect to one server, its greeting included.
const CONNECTION_TIMEOUT: Duration = Duration::from_millis(750);
/// For one answer of a cluster's node, those to the connection's own questions included. Callers wait less.
const CLUSTER_TIMEOUT: Duration = Duration::from_millis(500);
/// A command that met a node which no longer leads is sent on so many times.
const REDIRECTIONS: u32 = 3;

#[derive(Clone)]
pub(super) enum Connection {
    Server(Leader),
    Cluster(ClusterConnection),
}

/// The server that leads, and where the Sentinels said that it is.
#[derive(Clone)]
pub(super) struct Leader {
    connection: MultiplexedConnection,
    place: Option<(String, u16)>,
}

/// What a connection says of itself, its end included.
pub(super) type News = mpsc::UnboundedReceiver<PushInfo>;

#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum NoConnection {
    #[error("{}", described(.0))]
    Redis(#[from] RedisError),
    #[error("it is a replica; name the primary")]
    Replica,
    #[error("no Sentinel says who leads")]
    NoLeader,
    #[error("it does not answer")]
    Silent,
}

impl RedisAddress {
    pub(super) async fn connect(&self) -> Result<(Connection, News), NoConnection> {
        let (sender, news) = mpsc::unbounded_channel();
        let config = config(sender);
        let (client, place) = match &self.topology {
            Topology::Server(client) => (client.clone(), None),
            Topology::Sentinels(sentinels) => {
                let (host, port) = sentinels.leader().await?;
                (self.leader_at(sentinels, &host, port)?, Some((host, port)))
            }
            Topology::Cluster(seeds) => {
                let mut builder = ClusterClientBuilder::new(seeds.clone())
                    .use_protocol(ProtocolVersion::RESP3)
                    .connection_timeout(CONNECTION_TIMEOUT)
                    .response_timeout(CLUSTER_TIMEOUT)
                    .retries(REDIRECTIONS)
                    .min_retry_wait(10)
                    .max_retry_wait(50);
                if let Some(seed) = seeds.first() {
                    builder = builder.tcp_settings(seed.tcp_settings().clone());
                }
                if let Some(certificates) = &self.certificates {
                    builder = builder.certs(certificates.clone());
                }
                let connection = builder.build()?.get_async_connection().await?;
                return Ok((Connection::Cluster(connection), news));
            }
        };
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut leader = Leader { connection, place };
        leader.check_role().await?;
        Ok((Connection::Server(leader), news))
    }

    /// A connection to one server that hears what is published.
    pub(super) async fn connect_to_hear(
        &self,
    ) -> Result<(MultiplexedConnection, News), NoConnection> {
        let clients = match &self.topology {
            Topology::Server(client) => vec![client.clone()],
            Topology::Sentinels(sentinels) => {
                let (host, port) = sentinels.leader().await?;
                vec![self.leader_at(sentinels, &host, port)?]
            }
            // Each node of a cluster hears what is published at any.
            Topology::Cluster(seeds) => {
                seeds.iter().map(|seed| self.client(seed.clone())).collect::<RedisResult<_>>()?
            }
        };
        let mut failed = NoConnection::NoLeader;
        for client in clients {
            let (sender, news) = mpsc::unbounded_channel();
            match client.get_multiplexed_async_connection_with_config(&config(sender)).await {
                Ok(connection) => return Ok((connection, news)),
                Err(error) => failed = error.into(),
            }
        }
        Err(failed)
    }

    fn leader_at(&self, sentinels: &Sentinels, host: &str, port: u16) -> RedisResult<Client> {
        let address = match sentinels.leader.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host: host.to_owned(),
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host.to_owned(), port),
        };
        self.client(sentinels.leader.clone().set_addr(address))
    }

    /// Whether a connection still leads to where it should. Asks the server itself, and where there are Sentinels
    /// also those: a server that was cut off from them may still take itself for the leader.
    pub(super) async fn is_right(&self, connection: &mut Connection) -> bool {
        match connection {
            Connection::Cluster(cluster) => {
                // It goes to all that lead.
                ::redis::cmd("PING").exec_async(cluster).await.is_ok()
            }
            Connection::Server(leader) => {
                if leader.check_role().await.is_err() {
                    return false;
                }
                let (Topology::Sentinels(sentinels), Some(place)) = (&self.topology, &leader.place)
                else {
                    return true;
                };
                // Sentinels that are away change nothing.
                sentinels.leader().await.map_or(true, |now| now == *place)
            }
        }
    }
}

impl Sentinels {
    /// Where the server is that leads, as the first Sentinel says that answers.
    async fn leader(&self) -> Result<(String, u16), NoConnection> {
        let mut question = ::redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.service);
        let mut failed = NoConnection::NoLeader;
        for client in &self.clients {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECTION_TIMEOUT))
                .set_response_timeout(Some(CONNECTION_TIMEOUT));
            let answer = async {
                let mut sentinel =
                    client.get_multiplexed_async_connection_with_config(&config).await?;
                question.query_async::<Option<(String, u16)>>(&mut sentinel).await
            };
            match answer.await {
                Ok(Some(place)) => return Ok(place),
                Ok(None) => {}
                Err(error) => failed = error.into(),
            }
        }
        Err(failed)
    }
}

impl Leader {
    /// A server that was told to follow another one would answer from what it once knew.
    async fn check_role(&mut self) -> Result<(), NoConnection> {
        let role = ::redis::cmd("ROLE").query_async::<Vec<Value>>(&mut self.connection).await;
        match role {
            Ok(role) => match role.first().map(String::from_redis_value_ref) {
                Some(Ok(role)) if role == "master" => Ok(()),
                _ => Err(NoConnection::Replica),
            },
            // Who may not ask must do without.
            Err(error) if matches!(error.code(), Some("NOPERM" | "ERR")) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Connection {
    /// Asks every server that leads; each answer with the place that it is from.
    pub(super) async fn ask_leaders<T: FromRedisValue>(
        &mut self,
        command: &Cmd,
    ) -> RedisResult<Vec<(Place, T)>> {
        let Self::Cluster(cluster) = self else {
            return Ok(vec![(Place::Here, command.query_async(self).await?)]);
        };
        let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let Value::Map(answers) = cluster.route_command(command.clone(), all).await? else {
            return Err(incomplete());
        };
        let mut found = Vec::with_capacity(answers.len());
        for (place, answer) in answers {
            let place = String::from_redis_value(place)?;
            let (host, port) = place.rsplit_once(':').ok_or_else(incomplete)?;
            let port = port.parse().map_err(|_| incomplete())?;
            let answer = T::from_redis_value(answer.extract_error()?)?;
            found.push((Place::Node(host.to_owned(), port), answer));
        }
        // The crate leaves out a node that it has no connection to.
        let nodes: String = ::redis::cmd("CLUSTER").arg("NODES").query_async(self).await?;
        if found.len() == leaders(&nodes) { Ok(found) } else { Err(incomplete()) }
    }

    pub(super) async fn ask_at<T: FromRedisValue>(
        &mut self,
        place: &Place,
        command: &Cmd,
    ) -> RedisResult<T> {
        match (self, place) {
            (Self::Cluster(cluster), Place::Node(host, port)) => {
                let node = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port };
                let node = RoutingInfo::SingleNode(node);
                let answer = cluster.route_command(command.clone(), node).await?;
                Ok(T::from_redis_value(answer.extract_error()?)?)
            }
            (connection, _) => command.query_async(connection).await,
        }
    }
}

/// One server among those that lead.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// The only one.
    Here,
    Node(String, u16),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(leader) => leader.connection.req_packed_command(command),
            Self::Cluster(cluster) => cluster.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(leader) => leader.connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(leader) => leader.connection.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}

fn config(news: mpsc::UnboundedSender<PushInfo>) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECTION_TIMEOUT))
        // Whoever asks has a limit of their own.
        .set_response_timeout(None)
        .set_pipeline_buffer_size(1024)
        .set_push_sender(news)
}

/// How many nodes lead and have slots, of `CLUSTER NODES`: id, address, flags, leader, ping, pong, epoch, link,
/// slots.
fn leaders(nodes: &str) -> usize {
    let leads = |line: &&str| {
        let mut fields = line.split_ascii_whitespace();
        let flags = fields.nth(2).unwrap_or_default();
        flags.split(',').any(|flag| flag == "master") && fields.nth(5).is_some()
    };
    nodes.lines().filter(leads).count()
}

fn incomplete() -> RedisError {
    (ErrorKind::Client, "not every server that leads has answered").into()
}

/// An error of Redis in words that hold no address, which may stand beside a password.
pub(super) fn described(error: &RedisError) -> String {
    match (error.kind(), error.code()) {
        (ErrorKind::Server(::redis::ServerErrorKind::ResponseError), _) => error.to_string(),
        (_, Some(code)) => format!("{} ({code})", error.category()),
        (ErrorKind::Io, None) if error.is_timeout() => "timed out".to_owned(),
        (ErrorKind::Io, None) if error.is_connection_refusal() => "connection refused".to_owned(),
        (ErrorKind::Io, None) if error.is_connection_dropped() => "connection lost".to_owned(),
        (_, None) => error.category().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaders_are_counted_that_have_slots() {
        let nodes = "a 127.0.0.1:1@11 myself,master - 0 0 1 connected 0-5460\n\
                     b 127.0.0.1:2@12,host master,fail? - 0 0 2 connected 5461-10922\n\
                     c 127.0.0.1:3@13 slave a 0 0 1 connected\n\
                     d 127.0.0.1:4@14 master - 0 0 3 connected\n";
        assert_eq!(leaders(nodes), 2);
        assert_eq!(leaders(""), 0);
    }
}
