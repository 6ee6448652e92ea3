//! The revocation log and each node's memory of it hold what can still hit something, and nothing else.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rolemint::catalog::Catalog;
use rolemint::database::log::{append_revocation, read_after};
use rolemint::domain::ids::{SessionId, TokenId};
use rolemint::domain::revocation::{NewRevocation, RevocationTarget};
use rolemint::signing::random;

use crate::harness::world::World;
use crate::harness::{on_embedded_stores, soon};

on_embedded_stores!(what_can_hit_nothing_any_more_is_forgotten);

const SHORT: usize = 10_000;
const LONG: usize = 10;

fn entry(number: usize, expires_at: DateTime<Utc>) -> NewRevocation {
    let target = match number % 3 {
        0 => RevocationTarget::Token(TokenId::new(random().unwrap())),
        1 => RevocationTarget::Session(SessionId::new(random().unwrap())),
        _ => RevocationTarget::Role(format!("role-{number}").parse().unwrap()),
    };
    let (audience, reason) = (Vec::new(), "a test".to_owned());
    NewRevocation { target, tenant: None, audience, expires_at, by: None, reason }
}

async fn what_can_hit_nothing_any_more_is_forgotten(mut world: World) {
    let database = world.database().await;
    let began = world.clock.now();
    let node = Catalog::open(database.clone(), world.clock.clone(), Duration::from_secs(5));
    let node = node.await.unwrap();
    let following = tokio::spawn(
        node.clone()
            .follow(Duration::from_millis(50), tokio::sync::watch::Sender::new(0).subscribe()),
    );
    for first in (0..SHORT).step_by(500) {
        let append = move |c: &mut _| {
            for number in first..first + 500 {
                append_revocation(c, &entry(number, began + TimeDelta::hours(1)), began)?;
            }
            Ok(())
        };
        database.write(append).await.unwrap();
    }
    let append = move |c: &mut _| {
        for number in 0..LONG {
            // Roles: a session's or a token's is held for a day at most.
            let number = SHORT * 3 + number * 3 + 2;
            append_revocation(c, &entry(number, began + TimeDelta::hours(48)), began)?;
        }
        Ok(())
    };
    database.write(append).await.unwrap();
    let held = async |count: usize| {
        let held = async || (node.revocations().held() == count).then_some(());
        soon(&format!("{count} entries in memory"), held).await;
    };
    held(SHORT + LONG).await;

    world.clock.advance(TimeDelta::hours(2));
    held(LONG).await;
    // A server looks at the log when it starts, and every minute.
    world.stop().await;
    world.start().await;
    let rows = async || {
        let all = move |c: &mut _| read_after(c, 0, u64::MAX, began);
        let rows = database.read(all).await.unwrap().revocations.len();
        (rows == LONG).then_some(())
    };
    soon("ten rows", rows).await;
    following.abort();
}
