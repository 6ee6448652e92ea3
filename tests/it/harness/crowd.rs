//! People who go on with what they do while servers fail: each refreshes and has their token looked at, and some of
//! them sign out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;

use super::http::{Answer, Browser};
use super::soon;
use super::world::World;

/// How many of them there are; every second one signs out, one after another.
const PEOPLE: usize = 8;
const STEPS_UNTIL_SIGN_OUT: usize = 8;
const PAUSE: Duration = Duration::from_millis(25);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    SignedIn,
    /// The end of their session was acknowledged.
    SignedOut,
    /// Their session is unknown, which may come of writes that Redis never told its replicas.
    Lost,
}

struct Person {
    number: usize,
    browser: Browser,
    secret: String,
    tokens: Value,
    standing: Standing,
    /// The longest time in a row in which they were not served.
    unserved: Duration,
}

/// What came of it.
pub(crate) struct Crowd(Vec<Person>);

impl Crowd {
    /// Signs everybody in, and lets them go on until `meanwhile` is over.
    pub(crate) async fn during(world: &World, meanwhile: impl AsyncFnOnce()) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut people = JoinSet::new();
        for number in 0..PEOPLE {
            let person = Person {
                number,
                browser: world.browser(),
                secret: world.deployment.client_secret("backend"),
                tokens: world.sign_in("dana").await,
                standing: Standing::SignedIn,
                unserved: Duration::ZERO,
            };
            people.spawn(person.live(Arc::clone(&over)));
        }
        meanwhile().await;
        over.store(true, Ordering::SeqCst);
        Self(people.join_all().await)
    }

    /// What was acknowledged stands, nobody is revived, and whoever is still signed in goes on.
    pub(crate) async fn expect_nothing_broken(&self, world: &World) {
        for person in &self.0 {
            let served = async || {
                let answer = person.refresh().await;
                (answer.status != 503).then_some(answer)
            };
            let refreshed = soon("service", served).await;
            match person.standing {
                Standing::SignedIn => {
                    let tokens = refreshed.expect(200).json();
                    assert!(soon("a look", async || person.look(&tokens).await).await);
                }
                Standing::SignedOut => {
                    refreshed.expect_error(400, "invalid_grant");
                    let looked = soon("a look", async || person.look(&person.tokens).await).await;
                    assert!(!looked, "revived: {}", person.number);
                }
                // What is found later to have been issued by us is honoured.
                Standing::Lost => {}
            }
        }
        let counted = |standing| self.0.iter().filter(|person| person.standing == standing).count();
        let (signed_out, lost) = (counted(Standing::SignedOut), counted(Standing::Lost));
        let unserved = self.0.iter().map(|person| person.unserved).max().unwrap();
        eprintln!("{signed_out} signed out, {lost} lost, nobody unserved longer than {unserved:?}");
        assert!(signed_out > 0, "nobody signed out");
        assert!(lost <= PEOPLE / 2, "{lost} lost");
        // Whoever comes now is served as ever.
        let tokens = world.sign_in("dana").await;
        world.refresh("web", &tokens["refresh_token"]).await.expect(200);
    }
}

impl Person {
    async fn live(mut self, over: Arc<AtomicBool>) -> Self {
        let mut unserved_since: Option<Instant> = None;
        for step in 0.. {
            let refreshed = self.refresh().await;
            match refreshed.status {
                200 => {
                    self.tokens = refreshed.json();
                    if let Some(since) = unserved_since.take() {
                        self.unserved = self.unserved.max(since.elapsed());
                    }
                }
                503 => {
                    unserved_since.get_or_insert_with(Instant::now);
                }
                _ => {
                    refreshed.expect_error(400, "invalid_grant");
                    self.standing = Standing::Lost;
                    return self;
                }
            }
            self.look(&self.tokens).await;
            let leaves =
                self.number.is_multiple_of(2) && step >= self.number * STEPS_UNTIL_SIGN_OUT;
            if leaves && self.sign_out().await {
                self.standing = Standing::SignedOut;
                return self;
            }
            if over.load(Ordering::SeqCst) {
                return self;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self
    }

    async fn refresh(&self) -> Answer {
        let token = self.tokens["refresh_token"].as_str().unwrap();
        let form =
            [("client_id", "web"), ("grant_type", "refresh_token"), ("refresh_token", token)];
        self.browser.post("/oauth2/token", &form).await
    }

    /// Whether their access token is active. None: it cannot be said now.
    async fn look(&self, tokens: &Value) -> Option<bool> {
        let form = [("token", tokens["access_token"].as_str().unwrap())];
        let client = ("backend", self.secret.as_str());
        let answer = self.browser.post_as(client, "/oauth2/introspect", &form).await;
        if answer.status == 503 {
            return None;
        }
        answer.expect(200).json()["active"].as_bool()
    }

    /// Whether it was acknowledged.
    async fn sign_out(&self) -> bool {
        let token = self.tokens["refresh_token"].as_str().unwrap();
        let form = [("client_id", "web"), ("token", token)];
        self.browser.post("/oauth2/revoke", &form).await.status == 200
    }
}
