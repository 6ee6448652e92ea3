//! The floor: what nobody can do without who issues and checks tokens in this way.
//!
//! Forms parsed by actix-web's own extractor; the client's secret hashed and compared in constant time;
//! the refresh token's MAC checked and the next one's made; the access token signed with Ed25519, all keys
//! parsed once, with as many claims and as many bytes as Rolemint's; answers with the same members.
//! No tenants, roles, templates, revocations, audiences, lifetimes of sessions, or choice of anything.
//!
//! The token store makes the same promises at the least cost:
//!
//! - Redis: one script for a refresh (GET, SET with a time to live), one GET for an introspection, over a
//!   connection of its own for each worker, which was measured as the cheapest.
//! - embedded: SQLite as Rolemint has it, through diesel, since a refresh that was answered must outlive a
//!   power failure with both: a write-ahead log, `synchronous=FULL`, and one thread that commits whatever
//!   waits for it at once, which is the cheapest that SQLite can do at that promise. A refresh is a SELECT
//!   and an UPDATE there; an introspection is one SELECT, over a connection of the worker's own.
//!
//! Verified tokens are remembered by their digest here as well: a floor that checked every signature
//! again would make an introspection look cheap that does not.

use crate::http::{Connection, post};
use crate::load::{Target, member};
use actix_web::http::header;
use actix_web::web::{self, Bytes, Data, Form};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use anyhow::{Context as _, anyhow, bail};
use aws_lc_rs::signature::{self, Ed25519KeyPair, KeyPair as _, ParsedPublicKey};
use aws_lc_rs::{constant_time, hmac, rand};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::Binary;
use diesel::sqlite::{Sqlite, SqliteConnection};
use quick_cache::sync::Cache;
use redis::aio::ConnectionManager;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

const CLIENT: &str = "bench";
const SECRET: &str = "a-secret-for-the-benchmark";
const ISSUER: &str = "http://127.0.0.1:65535";
const DETAILS: &str = concat!(
    r#"[{"type":"cache","role":"readonly","cache":"calendar-events","item":{"keyPrefix":"acme:"}},"#,
    r#"{"type":"topic","role":"publishsubscribe","cache":"collaboration","topic":"acme-events"}]"#
);
/// Milliseconds.
const KEEP: u64 = 7 * 24 * 3600 * 1000;
const BATCH: usize = 256;
const ROTATE: &str = "
local record = redis.call('GET', KEYS[1])
if not record or string.sub(record, 1, 4) ~= ARGV[1] then return false end
record = ARGV[2] .. string.sub(record, 5)
redis.call('SET', KEYS[1], record, 'PX', ARGV[3])
return record";

mod schema {
    diesel::table! { sessions (id) { id -> Binary, record -> Binary, } }
}
use schema::sessions;

/// Fails requests with an empty answer: no request of a run may fail.
#[derive(Debug)]
struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failed")
    }
}
impl actix_web::ResponseError for Failed {}

/// A record: four bytes of generation, then this.
#[derive(Serialize, Deserialize)]
struct Body<'a> {
    subject: &'a str,
    tenant: &'a str,
    client: &'a str,
    provider: &'a str,
    claims: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Claims<'a> {
    iss: Cow<'a, str>,
    sub: Cow<'a, str>,
    aud: Cow<'a, str>,
    exp: i64,
    iat: i64,
    jti: Cow<'a, str>,
    client_id: Cow<'a, str>,
    sid: Cow<'a, str>,
    tenant: Cow<'a, str>,
    roles: Vec<Cow<'a, str>>,
    scope: Cow<'a, str>,
    authorization_details: Box<RawValue>,
    tpl: Vec<Cow<'a, str>>,
    rev: u64,
}

/// What all workers share.
struct Shared {
    secret: [u8; 32],
    key: Ed25519KeyPair,
    public: ParsedPublicKey,
    mac: hmac::Key,
    details: Box<RawValue>,
    verified: Cache<[u8; 32], Arc<(Claims<'static>, [u8; 16])>>,
    jwks: Bytes,
}

impl Shared {
    fn new() -> anyhow::Result<Self> {
        let key = Ed25519KeyPair::generate()?;
        let x = BASE64URL_NOPAD.encode(key.public_key().as_ref());
        // As long as a set with an RSA and a P-256 key beside this one.
        let jwks = format!(
            r#"{{"keys":[{{"alg":"EdDSA","crv":"Ed25519","kty":"OKP","use":"sig","x":"{x}","kid":"{}"}}]}}"#,
            "k".repeat(780)
        );
        Ok(Self {
            secret: Sha256::digest(SECRET).into(),
            public: ParsedPublicKey::new(&signature::ED25519, key.public_key().as_ref())?,
            key,
            mac: hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()?),
            details: RawValue::from_string(DETAILS.into())?,
            verified: Cache::new(50_000),
            jwks: jwks.into(),
        })
    }

    fn authenticate(&self, request: &HttpRequest) -> Option<()> {
        let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
        let pair = BASE64.decode(value.strip_prefix("Basic ")?.as_bytes()).ok()?;
        let (id, secret) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
        let digest = Sha256::digest(secret);
        constant_time::verify_slices_are_equal(&digest, &self.secret).ok()?;
        (id == CLIENT).then_some(())
    }

    fn refresh_token(&self, id: &[u8; 16], generation: [u8; 4]) -> String {
        let mut bytes = [id.as_slice(), &generation].concat();
        let mac = hmac::sign(&self.mac, &bytes);
        bytes.extend_from_slice(mac.as_ref().get(..16).unwrap_or_default());
        format!("flo_{}", BASE64URL_NOPAD.encode(&bytes))
    }

    fn parse_refresh_token(&self, token: &str) -> Option<([u8; 16], u32)> {
        let bytes = BASE64URL_NOPAD.decode(token.strip_prefix("flo_")?.as_bytes()).ok()?;
        let (said, mac) = bytes.split_at_checked(20)?;
        let expected = hmac::sign(&self.mac, said);
        constant_time::verify_slices_are_equal(expected.as_ref().get(..16)?, mac).ok()?;
        let (id, generation) = said.split_first_chunk()?;
        Some((*id, u32::from_be_bytes(generation.try_into().ok()?)))
    }

    fn sign(&self, claims: &Claims<'_>) -> anyhow::Result<String> {
        #[derive(Serialize)]
        struct Header<'a> {
            alg: &'a str,
            kid: &'a str,
            typ: &'a str,
        }
        let kid = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk";
        let header = Header { alg: "EdDSA", kid, typ: "at+jwt" };
        let mut token = BASE64URL_NOPAD.encode(&serde_json::to_vec(&header)?);
        token.push('.');
        BASE64URL_NOPAD.encode_append(&serde_json::to_vec(claims)?, &mut token);
        let signature = self.key.sign(token.as_bytes());
        token.push('.');
        BASE64URL_NOPAD.encode_append(signature.as_ref(), &mut token);
        Ok(token)
    }

    fn verify(&self, token: &str) -> Option<Arc<(Claims<'static>, [u8; 16])>> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(known) = self.verified.get(&digest) {
            return Some(known);
        }
        let (message, signature) = token.rsplit_once('.')?;
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?;
        self.public.verify_sig(message.as_bytes(), &signature).ok()?;
        let (_, claims) = message.split_once('.')?;
        let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?;
        let claims: Claims<'static> = serde_json::from_slice(&claims).ok()?;
        let session = BASE64URL_NOPAD.decode(claims.sid.as_bytes()).ok()?.try_into().ok()?;
        let known = Arc::new((claims, session));
        self.verified.insert(digest, Arc::clone(&known));
        Some(known)
    }

    fn answer(&self, id: &[u8; 16], generation: [u8; 4], body: &[u8]) -> anyhow::Result<Issued> {
        let session: Body<'_> = postcard::from_bytes(body)?;
        let now = rolemint::clock::Clock::System.now().timestamp();
        let claims = Claims {
            iss: ISSUER.into(),
            sub: session.subject.into(),
            aud: ISSUER.into(),
            exp: now.saturating_add(900),
            iat: now,
            jti: BASE64URL_NOPAD.encode(&random::<16>()?).into(),
            client_id: session.client.into(),
            sid: BASE64URL_NOPAD.encode(id).into(),
            tenant: session.tenant.into(),
            roles: vec!["data-entry".into()],
            scope: "".into(),
            authorization_details: self.details.clone(),
            tpl: vec!["data-entry@1".into()],
            rev: 7,
        };
        Ok(Issued {
            access_token: self.sign(&claims)?,
            token_type: "Bearer",
            expires_in: 900,
            expires_at: claims.exp,
            scope: "",
            authorization_details: claims.authorization_details,
            refresh_token: self.refresh_token(id, generation),
        })
    }
}

#[derive(Serialize)]
struct Issued {
    access_token: String,
    token_type: &'static str,
    expires_in: u32,
    expires_at: i64,
    scope: &'static str,
    authorization_details: Box<RawValue>,
    refresh_token: String,
}

#[derive(Serialize)]
struct Introspected<'a> {
    active: bool,
    token_type: &'a str,
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
    iat: i64,
    jti: &'a str,
    client_id: &'a str,
    sid: &'a str,
    tenant: &'a str,
    roles: &'a [Cow<'a, str>],
    scope: &'a str,
    authorization_details: &'a RawValue,
    tpl: &'a [Cow<'a, str>],
    rev: u64,
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes)?;
    Ok(bytes)
}

/// A worker's way to the token store.
enum Sessions {
    Redis { connection: ConnectionManager, rotate: redis::Script },
    Embedded { jobs: Sender<Job>, reader: Mutex<SqliteConnection> },
}

impl Sessions {
    async fn put(&self, id: [u8; 16], record: Vec<u8>) -> anyhow::Result<()> {
        match self {
            Self::Redis { connection, .. } => {
                let mut set = redis::cmd("SET");
                set.arg(&id).arg(record).arg("PX").arg(KEEP);
                Ok(set.query_async(&mut connection.clone()).await?)
            }
            Self::Embedded { jobs, .. } => {
                let (reply, answer) = oneshot::channel();
                jobs.send(Job { id, work: Work::Put(record), reply })?;
                answer.await?.map(|_| ())
            }
        }
    }

    /// The record with the next generation.
    async fn rotate(&self, id: [u8; 16], from: u32) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Redis { connection, rotate } => {
                let (from, to) = (from.to_be_bytes(), from.wrapping_add(1).to_be_bytes());
                let mut rotate = rotate.key(&id);
                rotate.arg(&from).arg(&to).arg(KEEP);
                let record: Option<Vec<u8>> = rotate.invoke_async(&mut connection.clone()).await?;
                record.context("unknown")
            }
            Self::Embedded { jobs, .. } => {
                let (reply, answer) = oneshot::channel();
                jobs.send(Job { id, work: Work::Rotate(from), reply })?;
                answer.await?
            }
        }
    }

    async fn find(&self, id: &[u8; 16]) -> anyhow::Result<Option<Vec<u8>>> {
        match self {
            Self::Redis { connection, .. } => {
                let mut get = redis::cmd("GET");
                get.arg(id);
                Ok(get.query_async(&mut connection.clone()).await?)
            }
            Self::Embedded { reader, .. } => {
                let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                let row = sessions::table.find(id.as_slice()).select(sessions::record);
                Ok(row.first(&mut *reader).optional()?)
            }
        }
    }
}

struct Job {
    id: [u8; 16],
    work: Work,
    reply: oneshot::Sender<anyhow::Result<Vec<u8>>>,
}

enum Work {
    Put(Vec<u8>),
    Rotate(u32),
}

impl Job {
    fn run(&self, connection: &mut SqliteConnection) -> anyhow::Result<Vec<u8>> {
        let id = self.id.as_slice();
        let row = sessions::table.find(id);
        match &self.work {
            Work::Put(record) => {
                let values = (sessions::id.eq(id), sessions::record.eq(record));
                diesel::insert_into(sessions::table).values(values).execute(connection)?;
                Ok(Vec::new())
            }
            Work::Rotate(from) => {
                let mut record: Vec<u8> = row.select(sessions::record).first(connection)?;
                let generation = record.first_chunk_mut::<4>().context("a record too short")?;
                if *generation != from.to_be_bytes() {
                    bail!("not the current generation");
                }
                *generation = from.wrapping_add(1).to_be_bytes();
                Update { id, record: &record }.execute(connection)?;
                Ok(record)
            }
        }
    }
}

/// Prepared once, which diesel's own are not.
struct Update<'a> {
    id: &'a [u8],
    record: &'a [u8],
}

impl QueryFragment<Sqlite> for Update<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("UPDATE sessions SET record = ");
        out.push_bind_param::<Binary, _>(self.record)?;
        out.push_sql(" WHERE id = ");
        out.push_bind_param::<Binary, _>(self.id)
    }
}

impl QueryId for Update<'_> {
    type QueryId = Update<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<SqliteConnection> for Update<'_> {}

fn connect(path: &str) -> anyhow::Result<SqliteConnection> {
    let mut connection = SqliteConnection::establish(path)?;
    connection.batch_execute(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;",
    )?;
    Ok(connection)
}

/// Whatever waits, up to a limit, is one transaction; each is answered when that is committed.
fn write(mut connection: SqliteConnection, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let batch: Vec<Job> =
            std::iter::once(first).chain(jobs.try_iter().take(BATCH - 1)).collect();
        let mut answers = Vec::with_capacity(batch.len());
        let committed = connection.immediate_transaction(|connection| {
            for job in &batch {
                answers.push(job.run(connection)?);
            }
            anyhow::Ok(())
        });
        let failed = committed.err().map(|error| error.to_string());
        let mut answers = answers.into_iter();
        for job in batch {
            let answer = match (&failed, answers.next()) {
                (None, Some(answer)) => Ok(answer),
                (failed, _) => Err(anyhow!("not written: {failed:?}")),
            };
            // Whoever asked may have gone.
            job.reply.send(answer).ok();
        }
    }
}

#[derive(Deserialize)]
struct TokenForm {
    grant_type: String,
    refresh_token: String,
}

#[derive(Deserialize)]
struct IntrospectForm {
    token: String,
}

fn failed(error: impl std::fmt::Debug) -> Failed {
    // Nothing reads it but a person who wonders why a run has stopped.
    let _ = writeln!(std::io::stderr(), "{error:?}");
    Failed
}

async fn begin(
    shared: Data<Shared>,
    sessions: Data<Sessions>,
    request: HttpRequest,
) -> Result<HttpResponse, Failed> {
    shared.authenticate(&request).ok_or(Failed)?;
    let id = random::<16>().map_err(failed)?;
    let claims = r#"{"email":"dana@acme.example","email_verified":true,"name":"Dana","roles":["data-entry"]}"#;
    let body = Body {
        subject: "u_abcdefghijklmnopqrstuvwxyz",
        tenant: "acme",
        client: CLIENT,
        provider: "demo",
        claims,
    };
    let body = postcard::to_extend(&body, Vec::new()).map_err(failed)?;
    let generation = 1_u32.to_be_bytes();
    let record = [generation.as_slice(), &body].concat();
    sessions.put(id, record).await.map_err(failed)?;
    let issued = shared.answer(&id, generation, &body).map_err(failed)?;
    Ok(HttpResponse::Ok().json(issued))
}

async fn token(
    shared: Data<Shared>,
    sessions: Data<Sessions>,
    request: HttpRequest,
    form: Form<TokenForm>,
) -> Result<HttpResponse, Failed> {
    shared.authenticate(&request).ok_or(Failed)?;
    if form.grant_type != "refresh_token" {
        return Err(Failed);
    }
    let (id, from) = shared.parse_refresh_token(&form.refresh_token).ok_or(Failed)?;
    let record = sessions.rotate(id, from).await.map_err(failed)?;
    let (generation, body) = record.split_first_chunk::<4>().ok_or(Failed)?;
    let issued = shared.answer(&id, *generation, body).map_err(failed)?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(issued))
}

async fn introspect(
    shared: Data<Shared>,
    sessions: Data<Sessions>,
    request: HttpRequest,
    form: Form<IntrospectForm>,
) -> Result<HttpResponse, Failed> {
    shared.authenticate(&request).ok_or(Failed)?;
    let known = shared.verify(&form.token).ok_or(Failed)?;
    let (claims, session) = &*known;
    let now = rolemint::clock::Clock::System.now().timestamp();
    if claims.exp <= now || sessions.find(session).await.map_err(failed)?.is_none() {
        return Err(Failed);
    }
    let active = Introspected {
        active: true,
        token_type: "Bearer",
        iss: &claims.iss,
        sub: &claims.sub,
        aud: &claims.aud,
        exp: claims.exp,
        iat: claims.iat,
        jti: &claims.jti,
        client_id: &claims.client_id,
        sid: &claims.sid,
        tenant: &claims.tenant,
        roles: &claims.roles,
        scope: &claims.scope,
        authorization_details: &claims.authorization_details,
        tpl: &claims.tpl,
        rev: claims.rev,
    };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(active))
}

async fn jwks(shared: Data<Shared>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "public, max-age=300"))
        .content_type("application/jwk-set+json")
        .body(shared.jwks.clone())
}

/// Prints its port when it listens, and runs until it is killed.
pub(crate) fn run(store: &str) -> anyhow::Result<()> {
    let shared = Data::new(Shared::new()?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let path = store.strip_prefix("embedded:").map(str::to_owned);
    let jobs = path.as_deref().map(start_writer).transpose()?;
    let url = store.to_owned();
    let sessions = move || {
        anyhow::Ok(match (&path, &jobs) {
            (Some(path), Some(jobs)) => {
                Sessions::Embedded { jobs: jobs.clone(), reader: Mutex::new(connect(path)?) }
            }
            _ => Sessions::Redis {
                connection: ConnectionManager::new_lazy_with_config(
                    redis::Client::open(url.as_str())?,
                    redis::aio::ConnectionManagerConfig::new(),
                )?,
                rotate: redis::Script::new(ROTATE),
            },
        })
    };
    actix_web::rt::System::new().block_on(async move {
        let server = HttpServer::new(move || {
            let (shared, sessions) = (shared.clone(), sessions.clone());
            App::new()
                .app_data(shared)
                .data_factory(move || std::future::ready(sessions()))
                .route("/begin", web::post().to(begin))
                .route("/oauth2/token", web::post().to(token))
                .route("/oauth2/introspect", web::post().to(introspect))
                .route("/oauth2/jwks", web::get().to(jwks))
        });
        let server = server.listen(listener)?.run();
        writeln!(std::io::stdout(), "{port}")?;
        Ok(server.await?)
    })
}

fn start_writer(path: &str) -> anyhow::Result<Sender<Job>> {
    let mut connection = connect(path)?;
    connection.batch_execute(
        "CREATE TABLE sessions (id BLOB PRIMARY KEY NOT NULL, record BLOB NOT NULL)",
    )?;
    let (sender, receiver) = channel();
    std::thread::Builder::new()
        .name("writer".into())
        .spawn(move || write(connection, &receiver))?;
    Ok(sender)
}

/// So many sessions begun.
pub(crate) async fn target(port: u16, people: usize) -> anyhow::Result<Target> {
    let credentials = BASE64.encode(format!("{CLIENT}:{SECRET}").as_bytes());
    let authorization = format!("authorization: Basic {credentials}\r\n");
    let (mut refresh_tokens, mut access_tokens) = (Vec::new(), Vec::new());
    let mut connection = Connection::open(port).await?;
    for _ in 0..people {
        let answer = connection.send(&post("/begin", &authorization, "")).await?;
        let tokens = (member(answer.body, "refresh_token"), member(answer.body, "access_token"));
        let (Some(refresh), Some(access)) = tokens else {
            bail!("no tokens: {} {}", answer.status, answer.body);
        };
        refresh_tokens.push(refresh.to_owned());
        access_tokens.push(access.to_owned());
    }
    let authorization = authorization.into();
    Ok(Target { port, authorization, refresh_tokens, access_tokens, fresh: VecDeque::new() })
}
