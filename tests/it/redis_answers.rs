//! Whoever asks gets the answer to what they asked, whatever became of those who asked before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::Commands as _;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::harness::flow::{claims, session_of};
use crate::harness::http::Browser;
use crate::harness::rounds;
use crate::harness::world::World;
use crate::redis_away::over_a_wire;

/// How many people there are; the sessions of every second one are taken away in Redis alone.
const PEOPLE: usize = 6;
const CALLERS: usize = 40;

/// How many answers are checked. `ROLEMINT_LONG_ANSWERS=100000` is the long form.
fn answers() -> usize {
    usize::try_from(rounds("ROLEMINT_LONG_ANSWERS", 3000)).unwrap()
}

/// What a session's holder asks with, and what the answer must be about.
struct Person {
    secret: String,
    access_token: String,
    refresh_token: String,
    session: String,
    id: String,
    lives: bool,
}

impl Person {
    async fn new(world: &World, lives: bool) -> Self {
        let tokens = world.sign_in("dana").await;
        let said = claims(&tokens["access_token"]);
        Self {
            secret: world.deployment.client_secret("backend"),
            access_token: tokens["access_token"].as_str().unwrap().to_owned(),
            refresh_token: tokens["refresh_token"].as_str().unwrap().to_owned(),
            session: session_of(&tokens["access_token"]).to_string(),
            id: said["jti"].as_str().unwrap().to_owned(),
            lives,
        }
    }

    /// Asks one of two questions. Whether there was an answer, which was then the right one.
    async fn ask(&self, browser: &Browser, refreshes: bool) -> bool {
        let answer = if refreshes {
            let form = [
                ("client_id", "web"),
                ("grant_type", "refresh_token"),
                ("refresh_token", self.refresh_token.as_str()),
            ];
            browser.post("/oauth2/token", &form).await
        } else {
            let (client, form) =
                (("backend", self.secret.as_str()), [("token", self.access_token.as_str())]);
            browser.post_as(client, "/oauth2/introspect", &form).await
        };
        if answer.status == 503 {
            return false;
        }
        let said: Value = answer.json();
        match (refreshes, self.lives) {
            (true, true) => {
                assert_eq!(answer.status, 200, "{said}");
                assert_eq!(session_of(&said["access_token"]).to_string(), self.session);
            }
            (true, false) => assert_eq!(said["error"], "invalid_grant"),
            (false, true) => assert_eq!(said["jti"], self.id.as_str(), "{said}"),
            (false, false) => assert_eq!(said["active"], false),
        }
        true
    }
}

#[test]
fn no_answer_reaches_another_question_than_its_own() {
    over_a_wire(async |mut world| {
        let mut people = Vec::new();
        for number in 0..PEOPLE {
            people.push(Person::new(&world, number.is_multiple_of(2)).await);
        }
        // In Redis alone: the revocation log would answer for itself.
        let mut connection = world.stores().redis.as_ref().unwrap().connection();
        for person in people.iter().filter(|person| !person.lives) {
            let id: rolemint::domain::ids::SessionId = person.session.parse().unwrap();
            let key = [format!("{{s:{:02x}}}", id.bucket()).as_bytes(), id.as_bytes()].concat();
            assert_eq!(connection.del::<_, u32>(key).unwrap(), 1);
        }
        let wire = world.stores().wire.as_ref().unwrap();
        wire.delay_between(Duration::ZERO..=Duration::from_millis(15));

        let (people, left) = (Arc::new(people), Arc::new(AtomicUsize::new(answers())));
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let (people, left, browser) = (Arc::clone(&people), Arc::clone(&left), world.browser());
            callers.spawn(async move {
                let (mut aborted, mut unserved) = (0, 0);
                for step in caller.. {
                    let count = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                        left.checked_sub(1)
                    });
                    if count.is_err() {
                        return (aborted, unserved);
                    }
                    let person = &people[step * 7 % people.len()];
                    let question = person.ask(&browser, step.is_multiple_of(2));
                    // Every third caller loses patience, each time at another moment.
                    let patience = if step.is_multiple_of(3) { step * 5 % 40 } else { 30_000 };
                    let patience = Duration::from_millis(u64::try_from(patience).unwrap());
                    match tokio::time::timeout(patience, question).await {
                        Ok(true) => {}
                        Ok(false) => unserved += 1,
                        Err(_) => aborted += 1,
                    }
                }
                (aborted, unserved)
            });
        }
        let results = callers.join_all().await;
        let aborted: usize = results.iter().map(|(aborted, _)| aborted).sum();
        let unserved: usize = results.iter().map(|(_, unserved)| unserved).sum();
        eprintln!("{} asked, {aborted} lost patience, {unserved} unserved", answers());
        // Most of the others are served, however busy the machine is.
        assert!(aborted > 0 && aborted + unserved < answers() / 3 * 2, "{aborted} {unserved}");
    });
}
