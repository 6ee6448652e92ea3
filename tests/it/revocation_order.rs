//! What a revocation ends is decided by the order of the log, whatever the clocks of the nodes say.

use chrono::TimeDelta;
use rolemint::database::log::append_revocation;
use rolemint::domain::ids::TokenId;
use rolemint::domain::revocation::{NewRevocation, RevocationTarget};
use rolemint::signing::random;
use serde_json::Value;

use crate::harness::flow::{claims, session_of};
use crate::harness::nodes::Nodes;
use crate::harness::{on_both_stores, rounds, soon};

on_both_stores!(what_came_before_an_acknowledgement_is_dead_and_what_comes_after_lives);

fn below(limit: usize) -> usize {
    usize::try_from(u64::from_be_bytes(random().unwrap()) % u64::try_from(limit).unwrap()).unwrap()
}

/// Every kind of target, for whoever holds this token; and whether its session ends with it.
fn targets(token: &Value) -> Vec<(RevocationTarget, bool)> {
    use RevocationTarget as Target;
    let claims = claims(token);
    let text = |name: &str| claims[name].as_str().unwrap();
    vec![
        (Target::Token(text("jti").parse::<TokenId>().unwrap()), false),
        (Target::Session(session_of(token)), true),
        (Target::Subject(text("sub").parse().unwrap()), true),
        (Target::Tenant(text("tenant").parse().unwrap()), true),
        (Target::Client(text("client_id").parse().unwrap()), true),
        (Target::Provider("corp".parse().unwrap()), true),
        (Target::Role(claims["roles"][0].as_str().unwrap().parse().unwrap()), false),
        (Target::TemplateVersion(claims["tpl"][0].as_str().unwrap().to_owned()), false),
    ]
}

async fn is_active(nodes: &Nodes, node: usize, token: &Value) -> bool {
    nodes.introspect(node, token).await.expect(200).json()["active"].as_bool().unwrap()
}

/// An access token of this session, from any node.
async fn refresh(nodes: &Nodes, node: usize, tokens: &Value) -> Value {
    let answer = nodes.refresh(node, "web", &tokens["refresh_token"]).await;
    answer.expect(200).json()["access_token"].clone()
}

async fn what_came_before_an_acknowledgement_is_dead_and_what_comes_after_lives(nodes: Nodes) {
    let database = nodes.world.database().await;
    for round in 0..rounds("ROLEMINT_LONG_ORDERS", 8) {
        let tokens = nodes.world.sign_in("dana").await;
        let mut before = vec![tokens["access_token"].clone()];
        for _ in 0..4 {
            before.push(refresh(&nodes, below(nodes.count()), &tokens).await);
        }
        let kinds = targets(&before[0]);
        let at = usize::try_from(round).unwrap() % kinds.len();
        let (target, ends_session) = kinds[at].clone();
        let ends_all = !matches!(target, RevocationTarget::Token(_));
        let revocation = NewRevocation {
            target: target.clone(),
            tenant: None,
            audience: Vec::new(),
            expires_at: nodes.world.clock.now() + TimeDelta::hours(1),
            by: None,
            reason: "a test".to_owned(),
        };
        let now = nodes.world.clock.now();
        let append = async {
            let append = move |c: &mut _| append_revocation(c, &revocation, now);
            database.write(append).await.unwrap();
        };
        // While others are minting.
        let minting = async {
            let mut minted = Vec::new();
            for _ in 0..3 {
                let node = below(nodes.count());
                let answer = nodes.refresh(node, "web", &tokens["refresh_token"]).await;
                minted.push((node, answer));
            }
            minted
        };
        let (minted, ()) = tokio::join!(minting, append);

        // Whoever signs in now does so after it, and no node may think otherwise, now or later.
        let after = nodes.world.sign_in("dana").await;
        for node in 0..nodes.count() {
            assert!(is_active(&nodes, node, &after["access_token"]).await, "{target:?} at {node}");
        }
        for node in 0..nodes.count() {
            let dead = async || (!is_active(&nodes, node, &before[0]).await).then_some(());
            soon("that the node has applied it", dead).await;
        }
        for node in 0..nodes.count() {
            for old in before.iter().skip(1) {
                assert_eq!(is_active(&nodes, node, old).await, !ends_all, "{target:?} at {node}");
            }
            assert!(is_active(&nodes, node, &after["access_token"]).await, "{target:?} at {node}");
        }
        for (node, answer) in minted {
            // Before it or after it: nobody can tell. But all nodes say the same, and for good.
            let Some(token) = (answer.status == 200).then(|| answer.json()["access_token"].clone())
            else {
                assert!(ends_session, "{target:?} at {node}: {}", answer.body);
                answer.expect_error(400, "invalid_grant");
                continue;
            };
            let first = is_active(&nodes, 0, &token).await;
            assert!(!(first && ends_session), "{target:?}: minted at {node} for an ended session");
            for other in 0..nodes.count() {
                assert_eq!(is_active(&nodes, other, &token).await, first, "{target:?} at {other}");
            }
        }
        // What a node mints that has applied it is good everywhere.
        for node in 0..nodes.count() {
            let answer = nodes.refresh(node, "web", &tokens["refresh_token"]).await;
            if ends_session {
                answer.expect_error(400, "invalid_grant");
            } else {
                let token = answer.expect(200).json()["access_token"].clone();
                for other in 0..nodes.count() {
                    assert!(is_active(&nodes, other, &token).await, "{target:?}: {node}, {other}");
                }
            }
        }
        nodes.advance(TimeDelta::seconds(1));
    }
}
