//! What the embedded store owes beyond the contract.

use crate::token_store::values::{after, id, known_to_nobody, millis, session, start};
use crate::token_store::world::{Home, World, no_log};
use chrono::TimeDelta;
use rolemint::domain::secret::Digest;
use rolemint::domain::session::RefreshState;
use rolemint::token_store::{EmbeddedPath, OneTime, TokenStore, TokenStoreError};
use std::path::Path;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_same_file_is_refused_by_name() {
    let world = World::embedded().await.unwrap();
    let Home::File(folder) = &world.home else { panic!() };
    let detour = folder.0.join(".").join("tokens.db");
    let second = TokenStore::open_embedded(EmbeddedPath::File(detour), no_log().await).await;
    let error = second.err().unwrap();
    assert!(matches!(error, TokenStoreError::InUse(_)));
    assert!(error.to_string().contains("tokens.db"), "{error}");
    let world = world.started_again().await;
    world.store.ping().await.unwrap();
}

#[tokio::test]
async fn a_store_is_released_when_the_last_lets_go_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = EmbeddedPath::File(folder.path().join("tokens.db"));
    let store = TokenStore::open_embedded(path.clone(), no_log().await).await.unwrap();
    let other = store.clone();
    let mut released = std::pin::pin!(store.released());
    tokio::select! {
        biased;
        () = &mut released => panic!("somebody still holds it"),
        () = async {} => {}
    }
    drop(other);
    released.await;
    TokenStore::open_embedded(path, no_log().await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_cannot_be_opened_is_an_error() {
    let path = EmbeddedPath::File(Path::new("/nowhere/at/all/tokens.db").into());
    let error = TokenStore::open_embedded(path, no_log().await).await.err().unwrap();
    assert_eq!(error.to_string(), "the token store cannot be reached");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_memory_it_is_the_same_store_without_a_file() {
    let store = TokenStore::open_embedded(EmbeddedPath::Memory, no_log().await).await.unwrap();
    let session = session(id(1, 1), start());
    let state = RefreshState::begin(millis(start()), 1000, millis(session.ends_at));
    store.begin(&session, &state, known_to_nobody(), start()).await.unwrap();
    let found = store.find(&session.id, known_to_nobody(), start()).await.unwrap();
    assert_eq!(found, Some((session, state)));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::embedded().await.unwrap();
    world.begin(id(1, 1), known_to_nobody(), start()).await;
    let Home::File(folder) = &world.home else { panic!() };
    for name in ["tokens.db", "tokens.db-wal"] {
        let mode = std::fs::metadata(folder.0.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}

/// Many writers at once, and more than one round of copying the log: everything acknowledged is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_wrote_at_once_is_all_there_and_garbage_goes() {
    let world = World::embedded().await.unwrap();
    let writers: Vec<_> = (0..100_u8)
        .map(|writer| {
            let store = world.store.clone();
            tokio::spawn(async move {
                for n in 0..60 {
                    let key = Digest::of([writer, n]);
                    let put = store.put(OneTime::Replay, &key, b"v", after(1000), start());
                    assert!(put.await.unwrap());
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let (store, late) = (&world.store, after(24 * 3600 * 1000));
    for key in [[0, 0], [50, 59], [99, 59]].map(Digest::of) {
        assert!(!store.put(OneTime::Replay, &key, b"", after(1000), start()).await.unwrap());
    }
    // A day later some writing sweeps it all away: four rows for each one that is added. By our earlier
    // `now` it would still be there.
    for n in 0..6000_u32 / 3 + 200 {
        let key = Digest::of(format!("later {n}"));
        store.put(OneTime::Login, &key, b"", late + TimeDelta::days(1), late).await.unwrap();
    }
    for key in [[0, 0], [50, 59], [99, 59]].map(Digest::of) {
        assert!(store.take(OneTime::Replay, &key, start()).await.unwrap().is_none());
    }
}
