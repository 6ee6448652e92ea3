//! Where Redis is, in the forms in which it is run: one server, Sentinels that know which server leads, a cluster.

use crate::domain::secret::Secret;
use ::redis::io::tcp::TcpSettings;
use ::redis::{
    Client, ClientTlsConfig, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisError,
    TlsCertificates,
};
use std::fmt;
use std::time::Duration;

/// A host that has vanished without a word is noticed after this time.
const SILENCE: Duration = Duration::from_secs(5);
const SENTINEL_PORT: u16 = 26379;

/// How to reach Redis. It holds passwords, and shows nothing of itself.
#[derive(Clone)]
pub struct RedisAddress {
    pub(super) topology: Topology,
    pub(super) certificates: Option<TlsCertificates>,
}

#[derive(Clone)]
pub(super) enum Topology {
    Server(Client),
    Sentinels(Sentinels),
    /// Some of its nodes, which know the others.
    Cluster(Vec<ConnectionInfo>),
}

#[derive(Clone)]
pub(super) struct Sentinels {
    pub(super) clients: Vec<Client>,
    pub(super) service: String,
    /// How to speak with the server that leads, wherever it is.
    pub(super) leader: ConnectionInfo,
}

/// What proves who is who, beside the address.
#[derive(Clone, Debug, Default)]
pub struct RedisCredentials {
    /// The Sentinels' own; those in the address are Redis'.
    pub sentinel_password: Option<Secret<String>>,
    /// Who is trusted to certify a server, in PEM. None: whom this machine trusts.
    pub authority: Option<String>,
    /// Ours, where servers want to see one.
    pub client: Option<ClientCertificate>,
}

/// In PEM.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    pub chain: String,
    pub key: Secret<String>,
}

/// SECURITY: an address holds a password, so this is fixed text that repeats none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRedisAddress(&'static str);

const FORMS: BadRedisAddress = BadRedisAddress(
    "must be `embedded:PATH`, `redis://USER:PASSWORD@HOST:PORT/DATABASE`, `redis+unix:///PATH`, \
     `redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/DATABASE` or \
     `redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT`; over TLS `rediss`",
);
const NO_FRAGMENT: BadRedisAddress =
    BadRedisAddress("must have no `#`: certificates are always verified");
const NO_SERVICE: BadRedisAddress = BadRedisAddress(
    "must name what the Sentinels watch: `redis+sentinel://HOST:PORT,HOST:PORT/SERVICE`",
);
const ONE_DATABASE: BadRedisAddress = BadRedisAddress("must name no database: a cluster has one");
const BAD_CERTIFICATES: BadRedisAddress = BadRedisAddress(
    "cannot be reached with this `ca_file` or client certificate: they are not PEM",
);

impl RedisAddress {
    pub fn parse(url: &str, credentials: &RedisCredentials) -> Result<Self, BadRedisAddress> {
        let (scheme, rest) = url.split_once("://").ok_or(FORMS)?;
        if url.contains('#') {
            return Err(NO_FRAGMENT);
        }
        let (transport, form) = scheme.split_once('+').unwrap_or((scheme, ""));
        if !matches!(transport, "redis" | "rediss") {
            return Err(FORMS);
        }
        let certificates = (transport == "rediss").then(|| certificates(credentials));
        let open = |info: ConnectionInfo| client(info, certificates.as_ref());
        let topology = match (transport, form) {
            (_, "") => Topology::Server(open(connection(url)?)?),
            ("redis", "unix") if rest.len() > 1 => Topology::Server(open(connection(url)?)?),
            (_, "sentinel") => Topology::Sentinels(sentinels(transport, rest, credentials, open)?),
            (_, "cluster") => Topology::Cluster(cluster(transport, rest)?),
            _ => return Err(FORMS),
        };
        if let (Topology::Cluster(seeds), Some(_)) = (&topology, &certificates) {
            // What is wrong with the certificates is known now, and not when it is connected.
            seeds.iter().try_for_each(|seed| open(seed.clone()).map(drop))?;
        }
        Ok(Self { topology, certificates })
    }

    /// A client of one server at this place, for what is not the work of the store.
    pub(super) fn client(&self, info: ConnectionInfo) -> Result<Client, RedisError> {
        open(info, self.certificates.as_ref())
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.topology {
            Topology::Server(_) => "one Redis",
            Topology::Sentinels(_) => "Redis behind Sentinels",
            Topology::Cluster(_) => "a Redis cluster",
        })
    }
}

fn sentinels(
    transport: &str,
    rest: &str,
    credentials: &RedisCredentials,
    open: impl Fn(ConnectionInfo) -> Result<Client, BadRedisAddress>,
) -> Result<Sentinels, BadRedisAddress> {
    let places = Places::of(rest)?;
    let (service, database) = places.path.split_once('/').unwrap_or((places.path, ""));
    if service.is_empty() {
        return Err(NO_SERVICE);
    }
    let first = places.hosts.first().ok_or(FORMS)?;
    // Its host is put in when the Sentinels have told it.
    let leader = connection(&format!("{transport}://{}{first}/{database}", places.user))?;
    let password = credentials.sentinel_password.as_ref();
    let watching = |host: &&str| {
        let port = if has_port(host) { String::new() } else { format!(":{SENTINEL_PORT}") };
        let info = connection(&format!("{transport}://{host}{port}"))?;
        let settings = info.redis_settings().clone();
        let settings = match password {
            Some(password) => settings.set_password(password.reveal()),
            None => settings,
        };
        open(info.set_redis_settings(settings))
    };
    let clients = places.hosts.iter().map(watching).collect::<Result<_, _>>()?;
    Ok(Sentinels { clients, service: service.to_owned(), leader })
}

fn cluster(transport: &str, rest: &str) -> Result<Vec<ConnectionInfo>, BadRedisAddress> {
    let places = Places::of(rest)?;
    if !places.path.is_empty() {
        return Err(ONE_DATABASE);
    }
    let node = |host: &&str| connection(&format!("{transport}://{}{host}", places.user));
    places.hosts.iter().map(node).collect()
}

/// `USER:PASSWORD@HOST:PORT,HOST:PORT/PATH`, taken apart.
struct Places<'a> {
    /// With its `@`, or nothing.
    user: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
}

impl<'a> Places<'a> {
    fn of(rest: &'a str) -> Result<Self, BadRedisAddress> {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let user = authority.rfind('@').map_or(0, |at| at.saturating_add(1));
        let (user, hosts) = authority.split_at_checked(user).ok_or(FORMS)?;
        let hosts: Vec<_> = hosts.split(',').collect();
        if rest.contains('?') || hosts.iter().any(|host| host.is_empty()) {
            return Err(FORMS);
        }
        Ok(Self { user, hosts, path })
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

fn connection(url: &str) -> Result<ConnectionInfo, BadRedisAddress> {
    // The crate's error may quote the address.
    let info = url.into_connection_info().map_err(|_| FORMS)?;
    let settings = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(SILENCE);
    // In RESP3 a connection notices by itself that it was closed, before a request has to.
    let protocol = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_tcp_settings(settings).set_redis_settings(protocol))
}

fn client(
    info: ConnectionInfo,
    certificates: Option<&TlsCertificates>,
) -> Result<Client, BadRedisAddress> {
    open(info, certificates).map_err(|_| BAD_CERTIFICATES)
}

fn open(
    info: ConnectionInfo,
    certificates: Option<&TlsCertificates>,
) -> Result<Client, RedisError> {
    match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        None => Client::open(info),
    }
}

fn certificates(credentials: &RedisCredentials) -> TlsCertificates {
    let client_tls = credentials.client.as_ref().map(|client| ClientTlsConfig {
        client_cert: client.chain.as_bytes().to_vec(),
        client_key: client.key.reveal().as_bytes().to_vec(),
    });
    let root_cert = credentials.authority.as_ref().map(|pem| pem.as_bytes().to_vec());
    TlsCertificates { client_tls, root_cert }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<RedisAddress, BadRedisAddress> {
        RedisAddress::parse(url, &RedisCredentials::default())
    }

    #[test]
    fn every_form_is_read() {
        for (url, form) in [
            ("redis://127.0.0.1", "one Redis"),
            ("redis://u:p%40@redis.example:6380/3", "one Redis"),
            ("rediss://:p@redis.example", "one Redis"),
            ("redis+unix:///run/redis.sock", "one Redis"),
            ("redis+sentinel://u:p@a:1,b,[::1]:3/main/2", "Redis behind Sentinels"),
            ("rediss+sentinel://a/main", "Redis behind Sentinels"),
            ("redis+cluster://:p@a:1,b:2,c", "a Redis cluster"),
            ("rediss+cluster://a", "a Redis cluster"),
        ] {
            assert_eq!(format!("{:?}", parse(url).unwrap()), form, "{url}");
        }
    }

    #[test]
    fn nothing_else_is_read_and_nothing_of_it_repeated() {
        for (url, error) in [
            ("", FORMS),
            ("redis:", FORMS),
            ("redis//:s3cret@x", FORMS),
            ("redis://", FORMS),
            ("redis://:s3cret@", FORMS),
            ("redis://:s3cret@h:port", FORMS),
            ("redis+unix://", FORMS),
            ("rediss+unix:///run/redis.sock", FORMS),
            ("redis+tls://:s3cret@h", FORMS),
            ("valkey://h", FORMS),
            ("rediss://:s3cret@h/#insecure", NO_FRAGMENT),
            ("redis+sentinel://:s3cret@a:1,b:2", NO_SERVICE),
            ("redis+sentinel://a:1,b:2//0", NO_SERVICE),
            ("redis+sentinel://a:1,,b:2/main", FORMS),
            ("redis+sentinel://a:1/main/x", FORMS),
            ("redis+sentinel://a:1/main?x=1", FORMS),
            ("redis+cluster://a:1/1", ONE_DATABASE),
            ("redis+cluster://", FORMS),
        ] {
            let found = parse(url).unwrap_err();
            assert_eq!(found, error, "{url}");
            assert!(!found.to_string().contains("s3cret"));
        }
    }

    #[test]
    fn a_sentinel_is_not_told_the_password_of_redis() {
        let credentials = RedisCredentials {
            sentinel_password: Some(Secret::new("theirs".to_owned())),
            ..RedisCredentials::default()
        };
        let url = "redis+sentinel://u:p%2F@a,b:7/main/2";
        let address = RedisAddress::parse(url, &credentials).unwrap();
        let Topology::Sentinels(sentinels) = address.topology else { panic!("another form") };
        let (leader, clients) = (sentinels.leader.redis_settings(), &sentinels.clients);
        let as_leader = (leader.username(), leader.password(), leader.db());
        assert_eq!(as_leader, (Some("u"), Some("p/"), 2));
        assert_eq!(sentinels.service, "main");
        let places: Vec<_> = clients
            .iter()
            .map(|client| {
                let info = client.get_connection_info();
                let settings = info.redis_settings();
                assert_eq!((settings.username(), settings.password()), (None, Some("theirs")));
                info.addr().to_string()
            })
            .collect();
        assert_eq!(places, ["a:26379", "b:7"]);
    }

    #[test]
    fn what_is_not_a_certificate_is_refused_before_anything_is_connected() {
        let credentials = RedisCredentials {
            client: Some(ClientCertificate {
                chain: "no certificate".to_owned(),
                key: Secret::new("no key".to_owned()),
            }),
            ..RedisCredentials::default()
        };
        for url in ["rediss://h", "rediss+sentinel://h/main", "rediss+cluster://h"] {
            let error = RedisAddress::parse(url, &credentials).unwrap_err();
            assert_eq!(error, BAD_CERTIFICATES, "{url}");
        }
    }
}
