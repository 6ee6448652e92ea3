//! The database that refuses, is full, hangs or is away: nothing is acknowledged that does not stand in it, what
//! is known goes on being checked for as long as it may, and all goes on by itself when it is back.

use std::process::Command;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use diesel::connection::SimpleConnection as _;
use diesel::sql_types::{Integer, Text};
use diesel::{Connection as _, RunQueryDsl as _};
use rolemint::clock::Clock;
use rolemint::database::log::append_revocation;
use rolemint::database::{Database, DbConnection};
use rolemint::domain::revocation::{NewRevocation, RevocationTarget};
use serde_json::{Value, json};

use crate::harness::binary::Served;
use crate::harness::flow::{Code, Request};
use crate::harness::http::Answer;
use crate::harness::nodes::{Apart, Nodes};
use crate::harness::process::output;
use crate::harness::proxy::Proxy;
use crate::harness::servers::Postgres;
use crate::harness::world::{World, open};
use crate::harness::{Need, Pair, SetUp as _, Stores, met, run, soon};

/// An answer takes two seconds at most; twice that on a machine that does other things.
const PATIENCE: Duration = Duration::from_secs(4);

#[derive(diesel::QueryableByName)]
struct Setting {
    #[diesel(sql_type = Text)]
    value: String,
}

#[derive(diesel::QueryableByName)]
struct Synchronous {
    #[diesel(sql_type = Integer)]
    synchronous: i32,
}

/// How durable a commit is that this connection acknowledges.
fn durability(connection: &mut DbConnection) -> String {
    match connection {
        DbConnection::Sqlite(c) => {
            let Synchronous { synchronous } =
                diesel::sql_query("PRAGMA synchronous").get_result(c).unwrap();
            format!("synchronous {synchronous}")
        }
        #[cfg(feature = "postgres")]
        DbConnection::Postgres(c) => {
            let setting = "SELECT current_setting('synchronous_commit') AS value";
            let Setting { value } = diesel::sql_query(setting).get_result(c).unwrap();
            format!("synchronous_commit {value}")
        }
    }
}

/// Of all connections of a pool of two, which are used at once for it; and of the one that writes.
async fn durabilities(database: &Database) -> Vec<String> {
    let together = Arc::new(Barrier::new(2));
    let read = || {
        let together = Arc::clone(&together);
        database.read(move |c| {
            together.wait();
            Ok(durability(c))
        })
    };
    let (one, other, writing) = tokio::join!(read(), read(), database.write(|c| Ok(durability(c))));
    vec![one.unwrap(), other.unwrap(), writing.unwrap()]
}

/// `FULL`: the write-ahead log is on the disk before a commit returns.
#[test]
fn a_commit_in_sqlite_is_on_the_disk() {
    run(async {
        let stores = Stores::start(Pair::SqliteEmbedded);
        let database = open(&stores.database_url).await;
        assert_eq!(durabilities(&database).await, ["synchronous 2"; 3]);
    });
}

/// Whatever the server, the database or the user has by default.
#[test]
fn a_commit_in_postgresql_is_on_the_disk() {
    if !met(&[Need::Postgres]) {
        return;
    }
    run(async {
        let cluster = Postgres::start();
        let url = cluster.database();
        cluster.set("synchronous_commit", "off");
        cluster.sql("postgres", "alter role rolemint set synchronous_commit = off");
        let name = url.rsplit('/').next().unwrap().split('?').next().unwrap();
        cluster.sql("postgres", &format!("alter database {name} set synchronous_commit = off"));
        let database = open(&url).await;
        assert_eq!(durabilities(&database).await, ["synchronous_commit on"; 3]);
    });
}

/// One of each that ends something when it is asked to.
struct Endings {
    /// To be revoked by its refresh token.
    session: Value,
    /// To be revoked by its access token.
    token: Value,
    /// A refresh token that was superseded long ago, and what its session has now.
    superseded: (Value, Value),
    /// A code that was used, and what it gave.
    used: (Code, Value),
}

impl Endings {
    async fn prepare(world: &World) -> Self {
        let (session, token) = (world.sign_in("dana").await, world.sign_in("dana").await);
        let oldest = world.sign_in("dana").await;
        let mut newest = oldest.clone();
        for _ in 0..3 {
            newest = world.refresh("web", &newest["refresh_token"]).await.expect(200).json();
            // Out of the window in which an older one is good.
            world.clock.advance(TimeDelta::seconds(31));
        }
        let code = world.code(&Request::web(), "dana").await;
        let given = world.redeem(&code).await.expect(200).json();
        let superseded = (oldest["refresh_token"].clone(), newest);
        Self { session, token, superseded, used: (code, given) }
    }

    /// What each is answered, before anybody loses patience.
    async fn ask(&self, world: &World) -> [Answer; 4] {
        let began = Instant::now();
        let answers: [Answer; 4] = tokio::join!(
            world.revoke("web", &self.session["refresh_token"]),
            world.revoke("web", &self.token["access_token"]),
            world.refresh("web", &self.superseded.0),
            world.redeem(&self.used.0),
        )
        .into();
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
        answers
    }

    async fn are_refused(&self, world: &World) {
        for answer in self.ask(world).await {
            let answer = answer.expect(503);
            assert_eq!(answer.header("retry-after"), "1", "{}", answer.body);
        }
    }

    fn all(&self) -> [&Value; 4] {
        [&self.session, &self.token, &self.superseded.1, &self.used.1]
    }

    /// Nobody was told that anything is over, so nothing is, not even by half.
    async fn are_not_begun(&self, world: &World) {
        for tokens in self.all() {
            assert!(world.is_active(&tokens["access_token"]).await);
        }
    }

    /// Each is answered as it should be, and counts.
    async fn are_carried_out(&self, world: &World) {
        let [session, token, superseded, used] = self.ask(world).await;
        session.expect(200);
        token.expect(200);
        superseded.expect_error(400, "invalid_grant");
        used.expect_error(400, "invalid_grant");
        for tokens in self.all() {
            assert!(!world.is_active(&tokens["access_token"]).await);
        }
        for over in [&self.session, &self.superseded.1, &self.used.1] {
            let answer = world.refresh("web", &over["refresh_token"]).await;
            answer.expect_error(400, "invalid_grant");
        }
        world.refresh("web", &self.token["refresh_token"]).await.expect(200);
    }

    /// While the fault is there, and after it.
    async fn outlast(world: &World, fault: impl AsyncFnOnce(), mend: impl AsyncFnOnce()) {
        let endings = Self::prepare(world).await;
        fault().await;
        endings.are_refused(world).await;
        mend().await;
        // As soon as this node knows the log again.
        let ready = async || (world.browser().get("/readyz").await.status == 200).then_some(());
        soon("readiness", ready).await;
        endings.are_not_begun(world).await;
        endings.are_carried_out(world).await;
    }
}

/// On a PostgreSQL of its own, which the test may change.
fn on_its_own_cluster(test: impl AsyncFnOnce(Postgres, World)) {
    if !met(&[Pair::PostgresRedis.needs(), World::NEEDS].concat()) {
        return;
    }
    run(async {
        let cluster = Postgres::start();
        let stores =
            Stores { database_url: cluster.database(), ..Stores::start(Pair::PostgresRedis) };
        let world = World::set_up(stores).await;
        test(cluster, world).await;
    });
}

#[test]
fn a_postgresql_that_takes_no_writes_acknowledges_nothing() {
    on_its_own_cluster(async |cluster, world| {
        let fault = async || cluster.set("default_transaction_read_only", "on");
        let mend = async || cluster.set("default_transaction_read_only", "off");
        Endings::outlast(&world, fault, mend).await;
    });
}

/// On a world whose way to its PostgreSQL is a wire that can be bad.
fn over_a_wire(test: impl AsyncFnOnce(Proxy, World)) {
    if !met(&[Pair::PostgresRedis.needs(), World::NEEDS].concat()) {
        return;
    }
    run(async {
        let mut stores = Stores::start(Pair::PostgresRedis);
        let wire = Proxy::before(&stores.database_url);
        wire.url().clone_into(&mut stores.database_url);
        let world = World::set_up(stores).await;
        test(wire, world).await;
    });
}

#[test]
fn a_postgresql_that_is_away_acknowledges_nothing() {
    over_a_wire(async |wire, world| {
        Endings::outlast(&world, async || wire.refuse(), async || wire.pass()).await;
    });
}

#[test]
fn a_postgresql_that_hangs_acknowledges_nothing() {
    over_a_wire(async |wire, world| {
        let endings = Endings::prepare(&world).await;
        wire.hold();
        endings.are_refused(&world).await;
        // What was sent arrives now, and may be carried out: nobody was told that it is not. But never by half.
        wire.pass();
        let ready = async || (world.browser().get("/readyz").await.status == 200).then_some(());
        soon("readiness", ready).await;
        endings.are_carried_out(&world).await;
    });
}

#[test]
fn a_sqlite_that_somebody_else_writes_to_acknowledges_nothing() {
    if !met(World::NEEDS) {
        return;
    }
    run(async {
        let world = World::set_up(Stores::start(Pair::SqliteEmbedded)).await;
        let file = world.folder().join("rolemint.db");
        let mut other = connect(&file);
        let writing = std::cell::RefCell::new(&mut other);
        let fault = async || writing.borrow_mut().batch_execute("BEGIN IMMEDIATE").unwrap();
        let mend = async || writing.borrow_mut().batch_execute("ROLLBACK").unwrap();
        Endings::outlast(&world, fault, mend).await;
    });
}

fn connect(file: &std::path::Path) -> diesel::sqlite::SqliteConnection {
    diesel::sqlite::SqliteConnection::establish(file.to_str().unwrap()).unwrap()
}

/// A file that cannot grow, as on a disk that is full: its write-ahead log is as long as it may be, and somebody
/// who reads keeps it from being begun anew.
struct Full {
    reader: diesel::sqlite::SqliteConnection,
    pid: u32,
}

impl Full {
    fn make(served: &Served, name: &str) -> Self {
        let path = served.rolemint.folder().join(name);
        let mut reader = connect(&path);
        reader.batch_execute("BEGIN; SELECT count(*) FROM sqlite_master;").unwrap();
        let mut filler = connect(&path);
        let fill = "PRAGMA busy_timeout = 5000; CREATE TABLE filling (bytes BLOB); \
                    INSERT INTO filling VALUES (zeroblob(8000000)); DROP TABLE filling;";
        filler.batch_execute(fill).unwrap();
        let log = served.rolemint.folder().join(format!("{name}-wal"));
        let length = std::fs::metadata(log).unwrap().len();
        assert!(length > 8_000_000, "{length}");
        let disk = Self { reader, pid: served.rolemint.pid() };
        disk.limit(&length.to_string());
        disk
    }

    fn limit(&self, length: &str) {
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--pid", &self.pid.to_string(), &format!("--fsize={length}:unlimited")]);
        output(&mut prlimit, Duration::from_secs(20)).success();
    }

    /// There is room again.
    fn mend(mut self) {
        self.limit("unlimited");
        self.reader.batch_execute("ROLLBACK").unwrap();
    }
}

async fn sign_in(served: &Served) -> Value {
    served.sign_in().await["tokens"].clone()
}

async fn post(served: &Served, path: &str, form: &[(&str, &str)]) -> Answer {
    let form = [&[("client_id", "web")], form].concat();
    served.rolemint.browser().post(path, &form).await
}

async fn revoke(served: &Served, token: &Value) -> Answer {
    post(served, "/oauth2/revoke", &[("token", token.as_str().unwrap())]).await
}

async fn refresh(served: &Served, tokens: &Value) -> Answer {
    let token = tokens["refresh_token"].as_str().unwrap();
    let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
    post(served, "/oauth2/token", &form).await
}

async fn is_active(served: &Served, tokens: &Value) -> bool {
    let secret = served.deployment.client_secret("backend");
    let form = [("token", tokens["access_token"].as_str().unwrap())];
    let browser = served.rolemint.browser();
    let answer = browser.post_as(("backend", &secret), "/oauth2/introspect", &form).await;
    answer.expect(200).json()["active"].as_bool().unwrap()
}

fn with_a_disk(test: impl AsyncFnOnce(Served)) {
    if met(Served::NEEDS) {
        run(async { test(Served::set_up(Stores::start(Pair::SqliteEmbedded)).await).await });
    }
}

#[test]
fn a_full_disk_under_sqlite_acknowledges_nothing() {
    with_a_disk(async |served| {
        let (one, other) = (sign_in(&served).await, sign_in(&served).await);
        let full = Full::make(&served, "rolemint.db");
        for (tokens, kind) in [(&one, "refresh_token"), (&other, "access_token")] {
            let answer = revoke(&served, &tokens[kind]).await.expect(503);
            assert_eq!(answer.header("retry-after"), "1");
            assert!(is_active(&served, tokens).await);
        }
        // What does not write there goes on.
        let one = refresh(&served, &one).await.expect(200).json();
        full.mend();
        assert!(is_active(&served, &one).await && is_active(&served, &other).await);
        revoke(&served, &one["refresh_token"]).await.expect(200);
        revoke(&served, &other["access_token"]).await.expect(200);
        assert!(!is_active(&served, &one).await && !is_active(&served, &other).await);
        refresh(&served, &one).await.expect_error(400, "invalid_grant");
    });
}

#[test]
fn a_full_disk_under_the_embedded_store_hands_out_nothing_and_revokes() {
    with_a_disk(async |served| {
        let (one, other) = (sign_in(&served).await, sign_in(&served).await);
        let full = Full::make(&served, "tokens.db");
        let answer = refresh(&served, &one).await.expect(503);
        assert_eq!(answer.header("retry-after"), "1");
        // The log counts, whatever the store still holds.
        revoke(&served, &other["refresh_token"]).await.expect(200);
        assert!(!is_active(&served, &other).await);
        full.mend();
        refresh(&served, &other).await.expect_error(400, "invalid_grant");
        let refreshed = refresh(&served, &one).await.expect(200).json();
        assert!(is_active(&served, &refreshed).await);
        assert!(!is_active(&served, &other).await);
    });
}

/// For as long as what it knows may be old; metadata and keys go on.
async fn is_cut_off(nodes: &Nodes, cut_off: usize, tokens: &Value, fault: impl FnOnce()) {
    let ask = async |node: usize| nodes.introspect(node, &tokens["access_token"]).await.status;
    assert_eq!(ask(cut_off).await, 200);
    let began = Instant::now();
    fault();
    // Signed, and known to be alive.
    assert_eq!(ask(cut_off).await, 200);
    let refused = soon("a refusal", async || match ask(cut_off).await {
        503 => Some(began.elapsed()),
        status => {
            assert_eq!(status, 200);
            assert_eq!(ask(0).await, 200, "the others go on");
            None
        }
    });
    let refused = refused.await;
    eprintln!("cut off from the log, refused after {refused:?}");
    assert!(refused > Duration::from_secs(3), "{refused:?}");
    assert!(refused < Duration::from_secs(5) + PATIENCE, "{refused:?}");
    let answer = nodes.introspect(cut_off, &tokens["access_token"]).await.expect(503);
    assert_eq!(answer.header("retry-after"), "1");
    nodes.refresh(cut_off, "web", &tokens["refresh_token"]).await.expect(503);
    let asked = Instant::now();
    nodes.revoke(cut_off, "web", &tokens["refresh_token"]).await.expect(503);
    assert!(asked.elapsed() < PATIENCE, "{:?}", asked.elapsed());
    let client = nodes.client(cut_off);
    client.get("/readyz").await.expect(503);
    for path in ["/oauth2/jwks", "/.well-known/openid-configuration", "/healthz"] {
        client.get(path).await.expect(200);
    }
    assert_eq!(ask(0).await, 200, "the others go on");
}

#[test]
fn a_node_that_is_cut_off_from_the_log_refuses_and_the_others_go_on() {
    if !met(&[Pair::PostgresRedis.needs(), Nodes::NEEDS].concat()) {
        return;
    }
    run(async {
        let stores = Stores::start(Pair::PostgresRedis);
        let wire = Proxy::before(&stores.database_url);
        let mut nodes = Nodes::one(stores, |deployment| deployment).await;
        let database_url = Some(wire.url().to_owned());
        let cut_off = nodes.add(Apart { database_url, ..Apart::default() }).await;
        let faults: [fn(&Proxy); 2] = [Proxy::refuse, Proxy::hold];
        for fault in faults {
            let (kept, ended) =
                (nodes.world.sign_in("dana").await, nodes.world.sign_in("dana").await);
            is_cut_off(&nodes, cut_off, &kept, || fault(&wire)).await;
            nodes.revoke(0, "web", &ended["refresh_token"]).await.expect(200);
            wire.pass();
            let began = Instant::now();
            let ask =
                async |tokens: &Value| nodes.introspect(cut_off, &tokens["access_token"]).await;
            let back = async || (ask(&kept).await.status == 200).then(|| began.elapsed());
            let back = soon("an answer", back).await;
            eprintln!("back {back:?} after the log was");
            // It has read what it missed before it answers anything.
            assert_eq!(ask(&ended).await.expect(200).json(), json!({ "active": false }));
            assert_eq!(ask(&kept).await.expect(200).json()["active"], true);
            nodes.refresh(cut_off, "web", &kept["refresh_token"]).await.expect(200);
        }
    });
}

/// Who appends to the log holds its head until the transaction is over. PostgreSQL ends one that nothing is heard of.
#[test]
fn a_node_that_is_cut_off_in_the_middle_of_a_transaction_lets_go_of_the_log() {
    if !met(&[Need::Postgres]) {
        return;
    }
    run(async {
        let url = Postgres::shared().database();
        let wire = Arc::new(Proxy::before(&url));
        let (near, far) = (open(&url).await, open(wire.url()).await);
        near.migrate().await.unwrap();
        let append = |c: &mut DbConnection| {
            let now = Clock::System.now();
            let revocation = NewRevocation {
                target: RevocationTarget::Tenant("acme".parse().unwrap()),
                tenant: None,
                audience: Vec::new(),
                expires_at: now + TimeDelta::hours(1),
                by: None,
                reason: "a test".to_owned(),
            };
            append_revocation(c, &revocation, now)
        };
        let held = Arc::clone(&wire);
        let cut_off = far.write(move |c| {
            append(c)?;
            held.hold();
            append(c)
        });
        cut_off.await.unwrap_err();
        let began = Instant::now();
        let appended = soon("an entry", async || near.write(append).await.ok()).await;
        eprintln!("the others went on after {:?}", began.elapsed());
        assert_eq!(appended.position, 1, "of the other nothing is there");
        // A thread still waits there.
        wire.refuse();
    });
}
