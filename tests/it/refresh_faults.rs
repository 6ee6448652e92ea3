//! Refreshes where something goes wrong: answers that are lost, servers that die, stores that go back.

use std::time::Duration;

use chrono::TimeDelta;
use rolemint::database::{self, log};
use rolemint::domain::audit::EventKind;
use rolemint::domain::ids::SessionId;
use rolemint::domain::revocation::{NewRevocation, RevocationTarget};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use toml::toml;

use crate::harness::binary::Served;
use crate::harness::flow::session_of;
use crate::harness::nodes::Nodes;
use crate::harness::on_both_stores;
use crate::harness::servers::TokenStoreCopy;
use crate::harness::world::World;

on_both_stores!(
    a_lost_answer_is_given_again_by_every_node,
    a_lost_answer_is_given_again_after_a_kill,
    of_ten_tokens_within_a_second_each_is_answered_as_old_as_it_is,
    a_token_ahead_of_the_store_is_refused_and_ends_nothing,
    a_token_ahead_of_a_store_that_went_back_is_good,
);

/// How much of an answer is read before the connection is cut. The last one is all of it: what the client
/// would have been given.
const CUTS: [u64; 4] = [0, 1, 300, u64::MAX];

/// Sends a refresh of the public client `web` and reads so many bytes of the answer, at most, when it comes.
/// None: the client is gone before there is one.
async fn cut(address: &str, token: &Value, bytes: Option<u64>) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let token = token.as_str().unwrap();
    let body = format!("grant_type=refresh_token&client_id=web&refresh_token={token}");
    let head = format!(
        "POST /oauth2/token HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
        body.len(),
    );
    connection.write_all((head + &body).as_bytes()).await.unwrap();
    let mut read = Vec::new();
    if let Some(bytes) = bytes {
        let reading = async {
            connection.readable().await?;
            connection.take(bytes).read_to_end(&mut read).await
        };
        tokio::time::timeout(Duration::from_secs(30), reading).await.unwrap().unwrap();
    }
    String::from_utf8(read).unwrap()
}

async fn a_lost_answer_is_given_again_by_every_node(nodes: Nodes) {
    let mut token = nodes.world.sign_in("dana").await["refresh_token"].clone();
    for bytes in CUTS {
        for node in 0..nodes.count() {
            let lost = cut(&nodes.address(node), &token, Some(bytes)).await;
            let again = nodes.refresh(node, "web", &token).await.expect(200).json();
            let successor = again["refresh_token"].clone();
            assert!(bytes < u64::MAX || lost.contains(successor.as_str().unwrap()), "{lost}");
            for other in 0..nodes.count() {
                let again = nodes.refresh(other, "web", &token).await.expect(200).json();
                assert_eq!(again["refresh_token"], successor, "{bytes} {node} {other}");
            }
            nodes.advance(TimeDelta::minutes(1));
            if bytes == 0 && node == 0 {
                // Once more after the window, from yet another node.
                let other = 1 % nodes.count();
                let late = nodes.refresh(other, "web", &token).await.expect(200).json();
                assert_eq!(late["refresh_token"], successor);
            }
            token = successor;
        }
    }
    nodes.refresh(0, "web", &token).await.expect(200);
}

async fn a_lost_answer_is_given_again_after_a_kill(mut served: Served) {
    // A busy machine may take longer than the usual window for a start.
    let lifetimes = toml! { refresh_grace = 300 };
    served.deployment.client("web").insert("lifetimes".to_owned(), lifetimes.into());
    served.rolemint.apply(&served.deployment).success();
    served.rolemint.kill_and_start();
    let mut token = served.sign_in().await["tokens"]["refresh_token"].clone();
    let refresh = async |served: &Served, token: &Value| {
        let token = token.as_str().unwrap();
        let form =
            [("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", token)];
        let answer = served.rolemint.browser().post("/oauth2/token", &form).await;
        answer.expect(200).json()["refresh_token"].clone()
    };
    let address = served.rolemint.issuer.strip_prefix("http://").unwrap().to_owned();
    for bytes in [None, Some(0), Some(u64::MAX)] {
        let lost = cut(&address, &token, bytes).await;
        served.rolemint.kill_and_start();
        let successor = refresh(&served, &token).await;
        assert_ne!(successor, token);
        let known = bytes == Some(u64::MAX);
        assert!(!known || lost.contains(successor.as_str().unwrap()), "{lost}");
        assert_eq!(refresh(&served, &token).await, successor);
        token = successor;
    }
}

/// The tokens of a session that is refreshed ten times within a second, the first one first.
async fn ten_within_a_second(world: &World) -> (Value, Vec<Value>) {
    let signed_in = world.sign_in("dana").await;
    let mut tokens = vec![signed_in["refresh_token"].clone()];
    for _ in 0..10 {
        let answer = world.refresh("web", tokens.last().unwrap()).await.expect(200).json();
        tokens.push(answer["refresh_token"].clone());
        world.clock.advance(TimeDelta::milliseconds(90));
    }
    (signed_in["access_token"].clone(), tokens)
}

async fn refused(world: &World, token: &Value) {
    world.refresh("web", token).await.expect_error(400, "invalid_grant");
}

async fn of_ten_tokens_within_a_second_each_is_answered_as_old_as_it_is(world: World) {
    let (_, tokens) = ten_within_a_second(&world).await;
    let current = &tokens[10];
    world.clock.advance(TimeDelta::seconds(29));
    for older in &tokens[..10] {
        let answer = world.refresh("web", older).await.expect(200).json();
        assert_eq!(&answer["refresh_token"], current);
    }
    world.clock.advance(TimeDelta::seconds(1));
    // Each in a session of its own, which it ends; the one before the current may be a lost answer.
    for older in 0..10 {
        let (access_token, tokens) = ten_within_a_second(&world).await;
        world.clock.advance(TimeDelta::seconds(30));
        if older == 9 {
            let answer = world.refresh("web", &tokens[9]).await.expect(200).json();
            assert_eq!(answer["refresh_token"], tokens[10]);
            world.refresh("web", &tokens[10]).await.expect(200);
            continue;
        }
        refused(&world, &tokens[older]).await;
        refused(&world, &tokens[10]).await;
        let session = session_of(&access_token);
        let reason = world.database().await;
        let reason = reason.read(move |c| database::subjects::find_ended_reason(c, &session)).await;
        let reason = reason.unwrap().unwrap();
        let said = format!("generation {} was presented when 11 was current", older + 1);
        assert!(reason.contains(&said), "{reason}");
    }
    // None of which is the first session's.
    world.refresh("web", current).await.expect(200);
}

async fn alarms(world: &World) -> i64 {
    let database = world.database().await;
    database.read(|c| database::audit::count(c, EventKind::RefreshAhead)).await.unwrap()
}

/// The token store as it is now; the server is started again on it.
async fn copy(world: &mut World) -> TokenStoreCopy {
    world.stop().await;
    let copy = world.stores().copy_token_store();
    world.start().await;
    copy
}

async fn put_back(world: &mut World, copy: &TokenStoreCopy) {
    world.stop().await;
    world.stores().put_back_token_store(copy);
    world.start().await;
}

async fn a_token_ahead_of_the_store_is_refused_and_ends_nothing(mut world: World) {
    let first = world.sign_in("dana").await["refresh_token"].clone();
    let next = async |world: &World, token: &Value| {
        world.refresh("web", token).await.expect(200).json()["refresh_token"].clone()
    };
    let second = next(&world, &first).await;
    let copied = copy(&mut world).await;
    let third = next(&world, &second).await;
    world.clock.advance(TimeDelta::seconds(5));
    // Nothing ended meanwhile: nobody can know that this is not what the store always held.
    put_back(&mut world, &copied).await;
    for alarmed in 1..=2 {
        refused(&world, &third).await;
        assert_eq!(alarms(&world).await, alarmed);
    }
    assert_eq!(next(&world, &second).await, third, "what the store knows is good");
    next(&world, &third).await;
    assert_eq!(alarms(&world).await, 2);
}

async fn a_token_ahead_of_a_store_that_went_back_is_good(mut world: World) {
    let signed_in = world.sign_in("dana").await;
    let next = async |world: &World, token: &Value| {
        world.refresh("web", token).await.expect(200).json()["refresh_token"].clone()
    };
    let second = next(&world, &signed_in["refresh_token"]).await;
    let copied = copy(&mut world).await;
    let third = next(&world, &second).await;
    let fourth = next(&world, &third).await;
    // A session in the same part of the store ends: what lacks its ending went back.
    let bucket = session_of(&signed_in["access_token"]).bucket();
    let mut other = [0; 16];
    other[0] = bucket;
    let now = world.clock.now();
    let ending = NewRevocation {
        target: RevocationTarget::Session(SessionId::new(other)),
        tenant: None,
        audience: Vec::new(),
        expires_at: now + TimeDelta::days(30),
        by: None,
        reason: "a test ended it".into(),
    };
    let database = world.database().await;
    database.write(move |c| log::append_revocation(c, &ending, now)).await.unwrap();
    world.clock.advance(TimeDelta::seconds(5));
    put_back(&mut world, &copied).await;
    let fifth = next(&world, &fourth).await;
    assert_eq!(next(&world, &fourth).await, fifth);
    let sixth = next(&world, &fifth).await;
    assert_eq!(alarms(&world).await, 0);
    // From here on the store knows what it gave.
    world.clock.advance(TimeDelta::minutes(1));
    assert_eq!(next(&world, &fifth).await, sixth);
    refused(&world, &fourth).await;
    refused(&world, &sixth).await;
}
