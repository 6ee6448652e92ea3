//! Sessions: what is kept of each, and what can be asked about it.

use chrono::TimeDelta;
use rolemint::database;
use rolemint::domain::ids::SessionId;
use rolemint::domain::session::RegisteredSession;

use crate::harness::flow::{REDIRECT_URI, Request, claims, session_of};
use crate::harness::on_both_stores;
use crate::harness::world::World;

on_both_stores!(a_sign_in_is_registered_with_its_session);

/// What the register says of a session.
async fn registered(world: &World, session: SessionId) -> RegisteredSession {
    let read = world.database().await.read(move |c| database::sessions::find(c, &session)).await;
    read.unwrap().expect("a registered session")
}

async fn a_sign_in_is_registered_with_its_session(world: World) {
    let before = world.clock.now();
    let tokens = world.sign_in("dana").await;
    let session = registered(&world, session_of(&tokens["access_token"])).await;
    let claims = claims(&tokens["access_token"]);
    assert_eq!(session.subject.as_str(), claims["sub"]);
    assert_eq!((session.tenant.as_str(), session.client.as_str()), ("acme", "web"));
    assert_eq!(session.provider.as_str(), "corp");
    assert_eq!(session.begun, claims["rev"].as_u64().unwrap());
    assert!(session.begun_at >= before - TimeDelta::milliseconds(1));
    // Thirty days, and the minute in which the code can be redeemed.
    let longest = TimeDelta::days(30) + TimeDelta::seconds(60);
    assert_eq!(session.ends_at - session.begun_at, longest);

    // Without refresh tokens it lives for one access token.
    let once = Request::of("es256", REDIRECT_URI);
    let tokens = world.sign_in_at(&once, "dana").await;
    let session = registered(&world, session_of(&tokens["access_token"])).await;
    assert_eq!(session.ends_at - session.begun_at, TimeDelta::seconds(900 + 60));
}
