//! Migrations: the same for both databases, and each can be taken back.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use chrono::TimeDelta;
use rolemint::clock::Clock;
use rolemint::database::log::{self, Change, ChangeKind};
use rolemint::database::{self, Database, DatabaseError, DbConnection};
use rolemint::domain::Time;
use rolemint::domain::audit::{AuditEvent, EndReason, EndedSession, EventKind};
use rolemint::domain::client::SigningAlgorithm;
use rolemint::domain::feed_reader::ReaderReport;
use rolemint::domain::ids::{ProviderId, SessionId, SubjectId};
use rolemint::domain::revocation::{NewRevocation, RevocationTarget};
use rolemint::domain::session::RegisteredSession;
use rolemint::domain::subject::Subject;
use serde_json::{Map, json};

use crate::harness::world::open;
use crate::harness::{Stores, on_both_stores};

on_both_stores!(a_schema_goes_up_and_down_and_up_again);

fn folder(database: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(database);
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap());
    names
        .map(|entry| {
            for file in ["up.sql", "down.sql"] {
                let text = fs::read_to_string(entry.path().join(file)).unwrap();
                assert!(!text.trim().is_empty(), "{}: {file}", entry.path().display());
            }
            entry.file_name().into_string().unwrap()
        })
        .collect()
}

#[test]
fn both_databases_have_the_same_migrations() {
    assert_eq!(folder("sqlite"), folder("postgres"));
    assert!(!folder("sqlite").is_empty() && !folder("tokens").is_empty());
}

/// The tables and columns that a migration makes, in order.
fn tables(database: &str, migration: &str) -> Vec<String> {
    let path = format!("migrations/{database}/{migration}/up.sql");
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let lines = text.lines().map(str::trim);
    let made = lines.filter(|line| {
        line.starts_with("CREATE TABLE") || line.starts_with(|c: char| c.is_ascii_lowercase())
    });
    made.filter_map(|line| {
        let line = line.trim_start_matches("CREATE TABLE ");
        line.split_whitespace().next().map(str::to_owned)
    })
    .collect()
}

#[test]
fn both_databases_have_the_same_tables_and_columns() {
    for migration in folder("sqlite") {
        assert_eq!(tables("sqlite", &migration), tables("postgres", &migration), "{migration}");
    }
}

/// Its entry in the register, and that it ended.
fn begin_and_end_session(
    c: &mut DbConnection,
    session: SessionId,
    subject: &SubjectId,
    now: Time,
) -> Result<(), DatabaseError> {
    let registered = RegisteredSession {
        id: session,
        subject: subject.clone(),
        tenant: "acme".parse().unwrap(),
        client: "web".parse().unwrap(),
        provider: "corp".parse().unwrap(),
        upstream_session: Some("there".to_owned()),
        begun_at: now,
        begun: 1,
        ends_at: now + TimeDelta::days(30),
    };
    database::sessions::insert(c, &registered)?;
    let ended = EndedSession {
        session,
        subject: subject.clone(),
        tenant: "acme".parse().unwrap(),
        client: "web".parse().unwrap(),
        at: now,
        reason: EndReason::RevokedByClient,
        address: Some("203.0.113.9".parse().unwrap()),
        would_have_ended_at: now,
    };
    database::subjects::insert_ended(c, &ended)
}

/// Something in every table, written and read as the server does it.
async fn use_every_table(database: &Database) -> Result<(), DatabaseError> {
    let now = Clock::System.now();
    let subject: SubjectId = format!("u_{}", "a".repeat(26)).parse().unwrap();
    let provider: ProviderId = "corp".parse().unwrap();
    let session = SessionId::new([7; 16]);
    let write = move |c: &mut DbConnection| {
        log::append_change(c, &Change { kind: ChangeKind::Client, key: "web".to_owned() }, now)?;
        let revocation = NewRevocation {
            target: RevocationTarget::Session(session),
            tenant: None,
            audience: vec!["https://api.example".to_owned()],
            expires_at: now + TimeDelta::hours(1),
            by: None,
            reason: "a test".to_owned(),
        };
        let appended = log::append_revocation(c, &revocation, now)?;
        assert_eq!(appended.position, 1, "a new log");
        let person = Subject { id: subject.clone(), provider, claims: Map::new() };
        let tenant = "acme".parse().unwrap();
        database::subjects::put(c, &person, "dana", &tenant, now)?;
        begin_and_end_session(c, session, &subject, now)?;
        let report = ReaderReport {
            client: "api".parse().unwrap(),
            reader: "api-1".parse().unwrap(),
            position: 1,
            reported_at: now,
        };
        database::feed_readers::put(c, &report)?;
        database::feed_readers::put(c, &ReaderReport { position: 2, ..report })?;
        let event = AuditEvent {
            kind: EventKind::SessionEnded,
            at: now,
            tenant: Some(tenant),
            subject: Some(subject),
            client: None,
            session: Some(session),
            detail: json!({}),
        };
        database::audit::insert(c, &event)?;
        let provider = &person.provider;
        assert!(!database::logouts::is_over(c, provider, "there", now)?);
        database::logouts::note_end(c, provider, "there", now + TimeDelta::hours(1))?;
        assert!(database::logouts::is_over(c, provider, "there", now)?);
        database::upstream_tokens::insert(c, &session, Some("sealed"), now, now)?;
        assert!(database::upstream_tokens::take_turn(c, &session, now, now)?);
        assert!(database::logouts::heed(c, provider, "jti", now)?);
        assert!(!database::logouts::heed(c, provider, "jti", now)?);
        database::keys::lock(c)?;
        database::keys::insert_signing(c, "kid", SigningAlgorithm::EdDSA, "sealed", now)?;
        database::keys::insert_derivation(c, 1, "sealed", now)?;
        database::documents::put_vocabulary(c, "vocabulary")
    };
    database.write(write).await?;
    read_every_table(database, session, now).await
}

async fn read_every_table(
    database: &Database,
    session: SessionId,
    now: Time,
) -> Result<(), DatabaseError> {
    let read = move |c: &mut DbConnection| {
        assert_eq!(database::audit::count(c, EventKind::SessionEnded)?, 1);
        assert_eq!(
            database::subjects::find_ended_reason(c, &session)?.as_deref(),
            Some("revoked by its client")
        );
        let end = database::sessions::find_end(c, &session)?.unwrap();
        assert_eq!(end.reason, Some(EndReason::RevokedByClient));
        assert_eq!(end.address, Some("203.0.113.9".parse().unwrap()));
        let registered = database::sessions::find(c, &session)?.unwrap();
        assert_eq!(registered.upstream_session.as_deref(), Some("there"));
        assert_eq!(
            (registered.begun, registered.ends_at - registered.begun_at),
            (1, TimeDelta::days(30))
        );
        let readers = database::feed_readers::list(c, now)?;
        assert_eq!(readers.iter().map(|reader| reader.position).collect::<Vec<_>>(), [2]);
        assert_eq!(database::feed_readers::forget(c, now)?, 0);
        assert_eq!(database::keys::list(c)?.signing.len(), 1);
        let revocations = log::read_after(c, 0, 0, now)?.revocations;
        assert_eq!(revocations.len(), 1);
        assert_eq!(revocations.first().unwrap().audience, ["https://api.example"]);
        assert_eq!(database::documents::find_vocabulary(c)?.as_deref(), Some("vocabulary"));
        assert!(database::tenants::list(c)?.is_empty() && database::clients::list(c)?.is_empty());
        assert!(
            database::providers::list(c)?.is_empty()
                && database::templates::list_published(c)?.is_empty()
        );
        Ok(())
    };
    database.read(read).await
}

async fn a_schema_goes_up_and_down_and_up_again(stores: Stores) {
    let database = open(&stores.database_url).await;
    let applied = database.migrate().await.unwrap();
    assert_eq!(applied.len(), folder("sqlite").len());
    use_every_table(&database).await.unwrap();
    assert!(database.migrate().await.unwrap().is_empty(), "a second time there is nothing to do");
    database.revert_all_migrations().await.unwrap();
    assert!(use_every_table(&database).await.is_err(), "nothing is left");
    assert_eq!(database.migrate().await.unwrap(), applied);
    use_every_table(&database).await.unwrap();
}
