//! Redis over TLS: who is trusted, and who is not.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rolemint::database::{Database, Location};
use rolemint::domain::secret::Secret;
use rolemint::token_store::{
    ClientCertificate, RedisAddress, RedisCredentials, TokenStore, TokenStoreError,
};
use tempfile::TempDir;

use crate::harness::process::{Server, Start, output};
use crate::harness::servers::scratch;
use crate::harness::{Need, free_port, met, needs, run, secrets, unguessable};

const LIMIT: Duration = Duration::from_secs(20);
const KINDS: &str = "[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
[leaf]
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:localhost, IP:127.0.0.1
";

/// One that speaks TLS alone, and certificates of every kind.
struct Redis {
    folder: TempDir,
    port: u16,
    password: String,
    _server: Server,
}

impl Redis {
    fn start(asks_for_certificates: bool) -> Self {
        let folder = scratch();
        std::fs::write(folder.path().join("kinds"), KINDS).unwrap();
        for authority in ["authority", "stranger"] {
            make_certificate(folder.path(), authority, None);
        }
        make_certificate(folder.path(), "server", Some("authority"));
        make_certificate(folder.path(), "client", Some("authority"));
        make_certificate(folder.path(), "impostor", Some("stranger"));
        let (port, password) = (free_port(), unguessable());
        secrets::note(&password);
        let mut command = Command::new(needs::on_path("redis-server").unwrap());
        command.current_dir(folder.path());
        command.args(["--port", "0", "--tls-port", &port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--requirepass", &password]);
        command.args(["--tls-cert-file", "server.crt", "--tls-key-file", "server.key"]);
        command.args(["--tls-ca-cert-file", "authority.crt"]);
        command.args(["--tls-auth-clients", if asks_for_certificates { "yes" } else { "no" }]);
        let mut server = Start::new("redis-tls", &command).run();
        server
            .wait_for("readiness", |log| log.contains("Ready to accept connections").then_some(()));
        Self { folder, port, password, _server: server }
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(file)).unwrap()
    }

    fn client(&self, name: &str) -> ClientCertificate {
        let chain = self.read(&format!("{name}.crt"));
        ClientCertificate { chain, key: Secret::new(self.read(&format!("{name}.key"))) }
    }

    async fn open(
        &self,
        scheme: &str,
        authority: Option<&str>,
        client: Option<ClientCertificate>,
    ) -> Result<(), TokenStoreError> {
        let url = format!("{scheme}://:{}@localhost:{}", self.password, self.port);
        let authority = authority.map(|name| self.read(&format!("{name}.crt")));
        let credentials = RedisCredentials { authority, client, ..RedisCredentials::default() };
        let address = RedisAddress::parse(&url, &credentials).unwrap();
        let database = Database::open(Location::Sqlite(":memory:".into()), 1).await.unwrap();
        let opened = TokenStore::open_redis_at(address, database).await;
        if let Err(error) = &opened {
            assert!(!format!("{error:?}").contains(&self.password), "{error:?}");
        }
        opened?.ping().await
    }
}

/// Signed by itself, or by another.
fn make_certificate(folder: &Path, name: &str, by: Option<&str>) {
    let openssl = needs::on_path("openssl").unwrap();
    let mut command = Command::new(openssl);
    command.current_dir(folder);
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    command.args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}"), "-config", "kinds"]);
    command.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")]);
    command.args(["-extensions", if by.is_some() { "leaf" } else { "authority" }]);
    if let Some(by) = by {
        command.args(["-CA", &format!("{by}.crt"), "-CAkey", &format!("{by}.key")]);
    }
    output(&mut command, LIMIT).success();
}

#[test]
fn a_server_is_believed_whose_certificate_is_trusted() {
    if !met(&[Need::Redis]) {
        return;
    }
    run(async {
        let redis = Redis::start(false);
        redis.open("rediss", Some("authority"), None).await.unwrap();
        for (scheme, authority) in [
            ("rediss", Some("stranger")),
            // Whom the machine trusts, which is nobody who made this one.
            ("rediss", None),
            ("redis", None),
        ] {
            let opened = redis.open(scheme, authority, None).await;
            assert!(
                matches!(opened, Err(TokenStoreError::Unavailable(_))),
                "{scheme} {authority:?}: {opened:?}"
            );
        }
    });
}

#[test]
fn a_server_that_asks_for_a_certificate_is_shown_ours() {
    if !met(&[Need::Redis]) {
        return;
    }
    run(async {
        let redis = Redis::start(true);
        redis.open("rediss", Some("authority"), Some(redis.client("client"))).await.unwrap();
        for client in [None, Some(redis.client("impostor"))] {
            let opened = redis.open("rediss", Some("authority"), client).await;
            assert!(matches!(opened, Err(TokenStoreError::Unavailable(_))), "{opened:?}");
        }
    });
}
