//! How the token store packs what it keeps: the same bytes in both stores.
//!
//! A session is one value: a header that each refresh rewrites, laid out so that a script in Redis can,
//! and a body that never changes, which the script copies without looking at it.
//!
//! | bytes | what (big-endian) |
//! | --- | --- |
//! | 1 | version, 1 |
//! | 4 | generation |
//! | 1 | late generations in a row |
//! | 1 | 1: the generation before the current one was counted as late |
//! | 6, 6, 6 | changed at, idle ends at, ends at: milliseconds since 1970 |
//! | 4 | seconds that it may stay idle |
//! | 1 | n |
//! | 6 · n | when the last n generations were superseded, the last one first |
//! | the rest | the body, in postcard |
//!
//! A new layout gets a new version; this one stays readable until the last session written with it
//! has ended.

use crate::domain::Time;
use crate::domain::ids::SessionId;
use crate::domain::scope::{PROTOCOL_SCOPES, ScopeSet};
use crate::domain::session::{RefreshState, Session};
use chrono::DateTime;
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;
/// The last moment that six bytes can tell, in the year 10889. Lua counts up to 2^53 exactly.
const LAST: i64 = (1 << 48) - 1;

/// Not written by this program, or by a later version of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record of the token store cannot be read")]
pub struct Unreadable;

/// Milliseconds since 1970, within what a record can hold.
pub(super) fn milliseconds(time: Time) -> i64 {
    clamp(time.timestamp_millis())
}

pub(super) fn clamp(milliseconds: i64) -> i64 {
    milliseconds.clamp(0, LAST)
}

/// The first part of a session's record.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) state: RefreshState,
    pub(super) ends_at: i64,
    /// Seconds.
    pub(super) idle: u32,
}

impl Header {
    /// From this moment on the record is of no use to anybody.
    pub(super) fn dead_at(&self) -> i64 {
        self.state.idle_ends_at.min(self.ends_at)
    }

    fn write(&self, record: &mut Vec<u8>) {
        let state = &self.state;
        record.push(VERSION);
        record.extend_from_slice(&state.generation.to_be_bytes());
        record.extend_from_slice(&[state.late, u8::from(state.late_counted)]);
        for time in [state.changed_at, state.idle_ends_at, self.ends_at] {
            write_time(record, time);
        }
        record.extend_from_slice(&self.idle.to_be_bytes());
        // There are at most 16.
        let count = u8::try_from(state.superseded.len()).unwrap_or(u8::MAX);
        record.push(count);
        for time in state.superseded.iter().take(usize::from(count)) {
            write_time(record, *time);
        }
    }

    /// The header and the body.
    pub(super) fn read(record: &[u8]) -> Result<(Self, &[u8]), Unreadable> {
        let mut rest = record;
        let [VERSION] = read::<1>(&mut rest)? else { return Err(Unreadable) };
        let generation = u32::from_be_bytes(read(&mut rest)?);
        let [late, late_counted] = read(&mut rest)?;
        let changed_at = read_time(&mut rest)?;
        let idle_ends_at = read_time(&mut rest)?;
        let ends_at = read_time(&mut rest)?;
        let idle = u32::from_be_bytes(read(&mut rest)?);
        let [count] = read(&mut rest)?;
        let superseded = (0..count).map(|_| read_time(&mut rest)).collect::<Result<_, _>>()?;
        let late_counted = late_counted != 0;
        let state =
            RefreshState { generation, changed_at, idle_ends_at, superseded, late, late_counted };
        Ok((Self { state, ends_at, idle }, rest))
    }
}

fn read<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Unreadable> {
    let (bytes, after) = rest.split_first_chunk().ok_or(Unreadable)?;
    *rest = after;
    Ok(*bytes)
}

fn read_time(rest: &mut &[u8]) -> Result<i64, Unreadable> {
    let bytes: [u8; 6] = read(rest)?;
    Ok(bytes.iter().fold(0, |time, byte| (time << 8) | i64::from(*byte)))
}

fn write_time(record: &mut Vec<u8>, time: i64) {
    let [_, _, bytes @ ..] = clamp(time).to_be_bytes();
    record.extend_from_slice(&bytes);
}

/// What never changes, as text and numbers. Its fields are a format: add a version instead of a field.
#[derive(Serialize, Deserialize)]
struct Body<'a> {
    subject: &'a str,
    tenant: &'a str,
    client: &'a str,
    provider: &'a str,
    /// JSON; empty: no claims.
    claims: &'a str,
    requested_scope: Option<&'a str>,
    /// A bit for each of `PROTOCOL_SCOPES`.
    protocol: u8,
    /// Such protocol scopes as have no bit.
    other_protocol: &'a str,
    /// JSON.
    requested_details: Option<&'a str>,
    #[serde(borrow)]
    audience: Vec<&'a str>,
    refresh_key: Option<u32>,
    /// Milliseconds since 1970.
    begun_at: i64,
    /// Milliseconds after `begun_at`: mostly a little below 0, and short.
    authenticated: Option<i64>,
    begun: u64,
}

/// Packs a session. Times lose what is finer than a millisecond.
pub(super) fn pack(session: &Session, state: &RefreshState) -> Result<Vec<u8>, Unreadable> {
    let claims = if session.claims.is_empty() { String::new() } else { json(&session.claims)? };
    let requested_scope = session.requested_scope.as_ref().map(ToString::to_string);
    let requested_details = session.requested_details.as_ref().map(json).transpose()?;
    let (protocol, other_protocol) = protocol_bits(&session.protocol_scope);
    let begun_at = session.begun_at.timestamp_millis();
    let after_begin = |time: Time| time.timestamp_millis().saturating_sub(begun_at);
    let body = Body {
        subject: session.subject.as_str(),
        tenant: session.tenant.as_str(),
        client: session.client.as_str(),
        provider: session.provider.as_str(),
        claims: &claims,
        requested_scope: requested_scope.as_deref(),
        protocol,
        other_protocol: &other_protocol,
        requested_details: requested_details.as_deref(),
        audience: session.audience.iter().map(String::as_str).collect(),
        refresh_key: session.refresh_key,
        begun_at,
        authenticated: session.authenticated_at.map(after_begin),
        begun: session.begun,
    };
    let header =
        Header { state: state.clone(), ends_at: milliseconds(session.ends_at), idle: session.idle };
    let mut record = Vec::with_capacity(256);
    header.write(&mut record);
    postcard::to_extend(&body, record).map_err(|_| Unreadable)
}

/// The same record with another header.
pub(super) fn repack(record: &[u8], state: RefreshState) -> Result<Vec<u8>, Unreadable> {
    let (Header { ends_at, idle, .. }, body) = Header::read(record)?;
    let mut repacked = Vec::with_capacity(record.len().saturating_add(6));
    Header { state, ends_at, idle }.write(&mut repacked);
    repacked.extend_from_slice(body);
    Ok(repacked)
}

pub(super) fn unpack(id: &SessionId, record: &[u8]) -> Result<(Session, RefreshState), Unreadable> {
    let (header, body) = Header::read(record)?;
    let body: Body<'_> = postcard::from_bytes(body).map_err(|_| Unreadable)?;
    let (claims, details) = (body.claims, body.requested_details);
    let authenticated = body.authenticated.map(|after| body.begun_at.saturating_add(after));
    let session = Session {
        id: *id,
        subject: name(body.subject)?,
        tenant: name(body.tenant)?,
        client: name(body.client)?,
        provider: name(body.provider)?,
        claims: if claims.is_empty() {
            serde_json::Map::new()
        } else {
            serde_json::from_str(claims).map_err(|_| Unreadable)?
        },
        requested_scope: body.requested_scope.map(name).transpose()?,
        protocol_scope: protocol_scope(body.protocol, body.other_protocol)?,
        requested_details: details.map(serde_json::from_str).transpose().or(Err(Unreadable))?,
        audience: body.audience.into_iter().map(str::to_owned).collect(),
        refresh_key: body.refresh_key,
        begun_at: time(body.begun_at)?,
        authenticated_at: authenticated.map(time).transpose()?,
        begun: body.begun,
        ends_at: time(header.ends_at)?,
        idle: header.idle,
    };
    Ok((session, header.state))
}

fn json(value: &impl Serialize) -> Result<String, Unreadable> {
    serde_json::to_string(value).map_err(|_| Unreadable)
}

fn name<T: std::str::FromStr>(text: &str) -> Result<T, Unreadable> {
    text.parse().map_err(|_| Unreadable)
}

fn time(milliseconds: i64) -> Result<Time, Unreadable> {
    DateTime::from_timestamp_millis(milliseconds).ok_or(Unreadable)
}

const BITS: [u8; 3] = [1, 2, 4];

fn protocol_bits(scopes: &ScopeSet) -> (u8, String) {
    let (known, other) = scopes.split_protocol();
    let bits = PROTOCOL_SCOPES.iter().zip(BITS).filter(|(scope, _)| known.contains(scope));
    (bits.map(|(_, bit)| bit).sum(), other.to_string())
}

fn protocol_scope(bits: u8, other: &str) -> Result<ScopeSet, Unreadable> {
    let known = PROTOCOL_SCOPES.iter().zip(BITS).filter(|(_, bit)| bits & bit != 0);
    let known: ScopeSet = known.map(|(scope, _)| (*scope).to_owned()).collect();
    Ok(if other.is_empty() { known } else { known.union(&name(other)?) })
}

/// Something that is given out once: whether it was used, when it expires, what it says.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) used: bool,
    pub(super) expires_at: i64,
    pub(super) value: &'a [u8],
}

/// A used entry is remembered for so long after its expiry, in milliseconds: a code that two have is
/// presented by both, and not always at once.
pub(super) const REMEMBERED_USE: i64 = 10 * 60 * 1000;
/// The first byte of an entry. `use_once.lua` knows them too.
const FRESH: u8 = 1;
const USED: u8 = 2;

impl Entry<'_> {
    pub(super) fn pack(&self) -> Vec<u8> {
        let mut packed = Vec::with_capacity(self.value.len().saturating_add(7));
        packed.push(if self.used { USED } else { FRESH });
        write_time(&mut packed, self.expires_at);
        packed.extend_from_slice(self.value);
        packed
    }

    /// Until then the entry matters.
    pub(super) fn dead_at(&self) -> i64 {
        if self.used { self.expires_at.saturating_add(REMEMBERED_USE) } else { self.expires_at }
    }
}

impl<'a> Entry<'a> {
    pub(super) fn read(packed: &'a [u8]) -> Result<Self, Unreadable> {
        let mut value = packed;
        let used = match read(&mut value)? {
            [FRESH] => false,
            [USED] => true,
            _ => return Err(Unreadable),
        };
        let expires_at = read_time(&mut value)?;
        Ok(Self { used, expires_at, value })
    }

    /// What it says, when it may be used now.
    pub(super) fn usable(&self, now: i64) -> Option<&'a [u8]> {
        (!self.used && now < self.expires_at).then_some(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(milliseconds: i64) -> Time {
        DateTime::from_timestamp_millis(milliseconds).unwrap()
    }

    fn session() -> Session {
        Session {
            id: SessionId::new([9; 16]),
            subject: "u_abcdefghijklmnopqrstuvwxyz".parse().unwrap(),
            tenant: "acme".parse().unwrap(),
            client: "demo-web".parse().unwrap(),
            provider: "demo".parse().unwrap(),
            claims: json!({ "groups": ["a", "b"], "n": 1 }).as_object().unwrap().clone(),
            requested_scope: Some("calendar:read".parse().unwrap()),
            protocol_scope: "openid email".parse().unwrap(),
            requested_details: Some(json!([{ "type": "cache" }])),
            audience: vec!["https://api.example".into()],
            refresh_key: Some(7),
            begun_at: at(1_700_000_000_123),
            authenticated_at: Some(at(1_699_999_999_000)),
            begun: 42,
            ends_at: at(1_702_592_000_123),
            idle: 604_800,
        }
    }

    fn state() -> RefreshState {
        RefreshState {
            generation: 5,
            changed_at: 1_700_000_100_000,
            idle_ends_at: 1_700_604_900_000,
            superseded: vec![1_700_000_100_000, 1_700_000_090_000],
            late: 1,
            late_counted: true,
        }
    }

    #[test]
    fn a_session_survives_its_record() {
        for session in [
            session(),
            Session {
                claims: serde_json::Map::new(),
                requested_scope: None,
                protocol_scope: "custom openid profile email".parse().unwrap(),
                requested_details: None,
                audience: vec![],
                refresh_key: None,
                authenticated_at: None,
                ..session()
            },
        ] {
            let record = pack(&session, &state()).unwrap();
            assert_eq!(unpack(&session.id, &record).unwrap(), (session.clone(), state()));
            let next = RefreshState { generation: 6, superseded: vec![], ..state() };
            let record = repack(&record, next.clone()).unwrap();
            assert_eq!(unpack(&session.id, &record).unwrap(), (session, next));
        }
    }

    #[test]
    fn a_cut_or_foreign_record_is_unreadable_and_nothing_worse() {
        let record = pack(&session(), &state()).unwrap();
        for length in 0..record.len() {
            assert_eq!(unpack(&session().id, &record[..length]), Err(Unreadable), "{length}");
        }
        let mut later = record;
        later[0] = 2;
        assert_eq!(unpack(&session().id, &later), Err(Unreadable));
    }

    /// A record that version 1 wrote once. It must stay readable as long as such sessions live.
    #[test]
    fn a_record_of_version_1_is_read() {
        let written = data_encoding::HEXLOWER.decode(WRITTEN_BY_VERSION_1.as_bytes()).unwrap();
        assert_eq!(unpack(&session().id, &written).unwrap(), (session(), state()));
    }

    const WRITTEN_BY_VERSION_1: &str = "\
        01000000050101018bcfe6eea0018bf3f372a0018c6a64307b00093a8002018bcfe6eea0018bcfe6\
        c7901c755f6162636465666768696a6b6c6d6e6f707172737475767778797a0461636d650864656d\
        6f2d7765620464656d6f1a7b2267726f757073223a5b2261222c2262225d2c226e223a317d010d63\
        616c656e6461723a72656164050001125b7b2274797065223a226361636865227d5d011368747470\
        733a2f2f6170692e6578616d706c650107f6a1abfef96201c5112a";

    #[test]
    fn an_entry_survives_its_record() {
        let packed = Entry { used: true, expires_at: 5, value: b"x" }.pack();
        let read = Entry::read(&packed).unwrap();
        assert_eq!((read.used, read.expires_at, read.value), (true, 5, b"x".as_slice()));
        assert!(Entry::read(b"\x03aaaaaa").is_err());
    }
}
