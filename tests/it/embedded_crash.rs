//! kill -9 at any moment, under load: the embedded store opens, and what was acknowledged counts.
//!
//! `ROLEMINT_LONG_CRASHES=200` kills so often.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use diesel::sql_types::Text;
use diesel::{Connection as _, RunQueryDsl as _};
use reqwest::Method;
use rolemint::signing::random;
use serde_json::Value;

use crate::harness::binary::Served;
use crate::harness::flow::{REDIRECT_URI, Request};
use crate::harness::http::{Answer, Browser, parameter, with_form};
use crate::harness::{Need, Pair, SetUp as _, Stores, free_port, met, rounds, run, secrets};

/// People who do something all the time.
const PEOPLE: usize = 8;
/// No start may take longer, on a machine that is not busy; here it gets ten times that.
const START: Duration = Duration::from_secs(2);

fn below(limit: u64) -> u64 {
    u64::from_be_bytes(random().unwrap()) % limit
}

/// What the client of one person holds, and what it was told.
#[derive(Default)]
struct Person {
    /// The last answer of the token endpoint.
    tokens: Option<Value>,
    /// What was acknowledged as revoked.
    revoked: Vec<Value>,
    /// Forms that have redeemed a code, and the access token that came of it.
    redeemed: Vec<(Vec<(String, String)>, Value)>,
}

/// What they talk to, and the back end that checks their tokens.
struct Server {
    base: String,
    /// Of the programs; each person signs in with a browser of their own.
    programs: Browser,
    backend_secret: String,
    /// What was answered so far.
    acts: AtomicU64,
    killed: AtomicBool,
}

impl Server {
    fn of(served: &Served) -> Arc<Self> {
        Arc::new(Self {
            base: served.rolemint.issuer.clone(),
            programs: served.rolemint.browser(),
            backend_secret: served.deployment.client_secret("backend"),
            acts: AtomicU64::new(0),
            killed: AtomicBool::new(false),
        })
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> reqwest::Result<Answer> {
        let form = [&[("client_id", "web")], form].concat();
        let request = with_form(self.programs.request(Method::POST, path), &form);
        self.programs.try_send(request).await
    }

    /// Asked again where the answer is to try again: a machine may do too many other things.
    async fn insist(&self, path: &str, form: &[(&str, &str)]) -> reqwest::Result<Answer> {
        loop {
            let answer = self.post(path, form).await?;
            if answer.status != 503 {
                return Ok(answer);
            }
        }
    }

    async fn refresh(&self, tokens: &Value) -> reqwest::Result<Answer> {
        let token = tokens["refresh_token"].as_str().unwrap();
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.insist("/oauth2/token", &form).await
    }

    async fn is_active(&self, tokens: &Value) -> reqwest::Result<bool> {
        let form = [("token", tokens["access_token"].as_str().unwrap())];
        loop {
            let request = self.programs.request(Method::POST, "/oauth2/introspect");
            let request = request.basic_auth("backend", Some(&self.backend_secret));
            let answer = self.programs.try_send(with_form(request, &form)).await?;
            if answer.status != 503 {
                return Ok(answer.expect(200).json()["active"].as_bool().unwrap());
            }
        }
    }
}

impl Person {
    async fn sign_in(&mut self, server: &Server) -> reqwest::Result<()> {
        let browser = Browser::new(&server.base);
        let request = Request::web();
        let start = browser.url(&request.path());
        let landing = browser.try_walk(start, "dana", REDIRECT_URI).await?;
        // Told to try again, that is another sign-in.
        let Ok(landing) = landing.map_err(|page| page.expect(503)) else { return Ok(()) };
        let Some(code) = parameter(&landing, "code") else {
            let error = parameter(&landing, "error");
            assert_eq!(error.as_deref(), Some("temporarily_unavailable"), "{landing}");
            return Ok(());
        };
        secrets::note(&code);
        let form = [
            ("grant_type", "authorization_code"),
            ("redirect_uri", REDIRECT_URI),
            ("code", &code),
            ("code_verifier", &request.verifier),
        ];
        self.tokens = None;
        let answer = server.post("/oauth2/token", &form).await?;
        if answer.status == 503 {
            // The code may be used all the same, and is not to be shown twice.
            return Ok(());
        }
        let tokens = answer.expect(200).json();
        if below(4) == 0 {
            // To be tried again after the kill: that ends the session, so it is not used for anything else.
            let form = form.map(|(name, value)| (name.to_owned(), value.to_owned()));
            self.redeemed.push((form.to_vec(), tokens));
        } else {
            self.tokens = Some(tokens);
        }
        Ok(())
    }

    async fn revoke(&mut self, server: &Server) -> reqwest::Result<()> {
        // Whatever comes of it: without an answer nobody knows whether it is over.
        let Some(tokens) = self.tokens.take() else { return Ok(()) };
        let kind = if below(2) == 0 { "refresh_token" } else { "access_token" };
        let form = [("token", tokens[kind].as_str().unwrap())];
        server.insist("/oauth2/revoke", &form).await?.expect(200);
        if kind == "refresh_token" {
            self.revoked.push(tokens);
        } else {
            assert!(!server.is_active(&tokens).await?);
            self.tokens = Some(tokens);
        }
        Ok(())
    }

    async fn act(&mut self, server: &Server) -> reqwest::Result<()> {
        let Some(tokens) = &self.tokens else { return self.sign_in(server).await };
        match below(12) {
            0 => self.sign_in(server).await?,
            1 => self.revoke(server).await?,
            2..4 => {
                server.is_active(tokens).await?;
            }
            // An answer that is lost leaves the token that was shown: it is shown again.
            _ => self.tokens = Some(server.refresh(tokens).await?.expect(200).json()),
        }
        Ok(())
    }

    /// Until the server is killed.
    async fn live(mut self, server: Arc<Server>) -> Self {
        while self.act(&server).await.is_ok() {
            server.acts.fetch_add(1, Ordering::SeqCst);
        }
        assert!(server.killed.load(Ordering::SeqCst), "no answer from a server that is alive");
        self
    }

    /// What was acknowledged before the kill is so after it.
    async fn check(&mut self, server: &Server) {
        for tokens in self.revoked.drain(..) {
            assert!(!server.is_active(&tokens).await.unwrap(), "revoked, and active again");
            let answer = server.refresh(&tokens).await.unwrap();
            answer.expect_error(400, "invalid_grant");
        }
        if let Some(tokens) = self.tokens.take() {
            let refreshed = server.refresh(&tokens).await.unwrap().expect(200).json();
            assert!(server.is_active(&refreshed).await.unwrap());
            self.tokens = Some(refreshed);
        }
        for (form, tokens) in self.redeemed.drain(..) {
            assert!(server.is_active(&tokens).await.unwrap(), "a session that nobody ended");
            let form: Vec<_> = form.iter().map(|(name, value)| (&**name, &**value)).collect();
            let answer = server.insist("/oauth2/token", &form).await.unwrap();
            answer.expect_error(400, "invalid_grant");
            assert!(!server.is_active(&tokens).await.unwrap(), "its code was used a second time");
        }
    }
}

#[derive(diesel::QueryableByName)]
struct Integrity {
    #[diesel(sql_type = Text)]
    integrity_check: String,
}

#[track_caller]
fn check_integrity(file: &Path) {
    let mut connection =
        diesel::sqlite::SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    let rows: Vec<Integrity> =
        diesel::sql_query("PRAGMA integrity_check").load(&mut connection).unwrap();
    let found: Vec<_> = rows.iter().map(|row| row.integrity_check.as_str()).collect();
    assert_eq!(found, ["ok"], "{}", file.display());
}

#[test]
fn a_kill_at_any_moment_takes_nothing_back() {
    if !met(&[Need::Node]) {
        return;
    }
    let kills = rounds("ROLEMINT_LONG_CRASHES", 15);
    run(async {
        let mut served = Served::set_up(Stores::start(Pair::SqliteEmbedded)).await;
        let mut people: Vec<_> = (0..PEOPLE).map(|_| Person::default()).collect();
        let mut slowest = Duration::ZERO;
        let mut checked = [0; 3];
        for _ in 0..kills {
            let now = Server::of(&served);
            let living: Vec<_> =
                people.into_iter().map(|p| tokio::spawn(p.live(Arc::clone(&now)))).collect();
            // In the middle of whatever they are doing then.
            let acts = 10 + below(40);
            while now.acts.load(Ordering::SeqCst) < acts {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(Duration::from_micros(below(20_000))).await;
            now.killed.store(true, Ordering::SeqCst);
            served.rolemint.kill();
            people = Vec::new();
            for person in living {
                people.push(person.await.unwrap());
            }
            let began = Instant::now();
            served.rolemint.start();
            slowest = slowest.max(began.elapsed());
            for file in ["rolemint.db", "tokens.db"] {
                check_integrity(&served.rolemint.folder().join(file));
            }
            for person in &mut people {
                let counts = [
                    person.revoked.len(),
                    usize::from(person.tokens.is_some()),
                    person.redeemed.len(),
                ];
                checked.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
                person.check(&now).await;
            }
        }
        let [revoked, alive, redeemed] = checked;
        eprintln!(
            "{kills} kills, the slowest start {slowest:?}; checked afterwards: {revoked} revocations, \
             {alive} sessions, {redeemed} codes"
        );
        assert!(revoked > 0 && alive > 0 && redeemed > 0, "{checked:?}");
        assert!(slowest < START * 10, "{slowest:?}");
    });
}

/// The command line may, at any time.
#[test]
fn a_second_server_on_the_same_files_is_refused() {
    if !met(&[Need::Node]) {
        return;
    }
    run(async {
        let mut served = Served::set_up(Stores::start(Pair::SqliteEmbedded)).await;
        let before = served.rolemint.configuration["listen"].clone();
        let free = format!("127.0.0.1:{}", free_port());
        served.rolemint.configuration.insert("listen".to_owned(), free.into());
        let mut second = served.rolemint.launch();
        let said = second.wait_until("its end", |one| one.has_ended().then(|| one.log()));
        assert!(!second.wait().success());
        assert!(said.contains("is in use by another server"), "{said}");
        served.rolemint.configuration.insert("listen".to_owned(), before);
        served.rolemint.apply(&served.deployment).success();
        served.rolemint.browser().get("/readyz").await.expect(200);
    });
}
