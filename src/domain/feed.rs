//! What resource servers hear of the revocation log: its entries as they are sent, which of them concern a
//! reader, and the frames of a stream (server-sent events).

use crate::domain::Time;
use crate::domain::client::Client;
use crate::domain::ids::TenantId;
use crate::domain::revocation::{Revocation, RevocationTarget};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// An entry of the log, as every reader is sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    pub position: u64,
    pub expires_at: Time,
    tenant: Option<TenantId>,
    audience: Vec<String>,
    data: String,
}

impl FeedEntry {
    pub fn of(revocation: &Revocation) -> Self {
        let Revocation { position, tenant, audience, at, expires_at, .. } = revocation;
        let (target, value) = sent(&revocation.target);
        let mut data = json!({
            "position": position,
            "target": target,
            "value": value,
            "at": at.timestamp(),
            // A reader that forgets it has outlived everything that it could hit.
            "expires_at": rounded_up(*expires_at),
        });
        if let (Some(tenant), Value::Object(data)) = (tenant, &mut data) {
            data.insert("tenant".to_owned(), json!(tenant));
        }
        Self {
            position: *position,
            expires_at: *expires_at,
            tenant: tenant.clone(),
            audience: audience.clone(),
            data: data.to_string(),
        }
    }
}

/// As a stream has it.
impl Serialize for FeedEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let data: &RawValue = serde_json::from_str(&self.data).map_err(S::Error::custom)?;
        data.serialize(serializer)
    }
}

/// A reader checks tokens and knows nothing of sessions.
fn sent(target: &RevocationTarget) -> (&'static str, Value) {
    match target {
        RevocationTarget::Token(id) => ("token", json!(id)),
        RevocationTarget::Session(id) => ("session", json!(id)),
        RevocationTarget::Subject(id) => ("subject", json!(id)),
        RevocationTarget::Tenant(id) => ("tenant", json!(id)),
        RevocationTarget::Client(id) => ("client", json!(id)),
        RevocationTarget::Provider(id) => ("provider", json!(id)),
        RevocationTarget::ApiKey(id) => ("api_key", json!(id)),
        RevocationTarget::Role(role) => ("role", json!(role)),
        RevocationTarget::TemplateVersion(version) => ("template_version", json!(version)),
        // Which sessions began under it no token says. All of the role are told to get another: those of
        // sessions that are over get none.
        RevocationTarget::TemplateVersionAndSessions(recalled) => ("role", json!(recalled.role)),
        RevocationTarget::Before(moment) => ("before", json!(rounded_up(*moment))),
    }
}

/// Tokens tell time in seconds. Rounded down, a fraction of one would be let through.
fn rounded_up(time: Time) -> i64 {
    time.timestamp().saturating_add(i64::from(time.timestamp_subsec_nanos() > 0))
}

/// Which entries concern a reader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedFilter {
    /// Those whose tokens the reader checks. What ends tokens of others is not for it to know.
    pub audiences: BTreeSet<String>,
    /// None: those of all tenants. What belongs to no tenant concerns everybody.
    pub tenants: BTreeSet<TenantId>,
}

impl FeedFilter {
    /// What of this a client may hear: of the audiences that it asks for, or of all that it introspects if it
    /// names none. None: one of them is not for it to hear of.
    pub fn allowed_to(self, client: &Client) -> Option<Self> {
        if self.audiences.is_empty() {
            return Some(Self { audiences: client.introspects.clone(), ..self });
        }
        // SECURITY: left out, it would be missed: whoever asks would take what it never hears of for not revoked.
        self.audiences.is_subset(&client.introspects).then_some(self)
    }

    pub fn lets_through(&self, entry: &FeedEntry) -> bool {
        let wanted = |tenant| self.tenants.is_empty() || self.tenants.contains(tenant);
        let checked = |audience| self.audiences.contains(audience);
        (entry.audience.is_empty() || entry.audience.iter().any(checked))
            && entry.tenant.as_ref().is_none_or(wanted)
    }
}

/// Where a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// What the reader knew is void: everything that is alive.
    Over,
    /// What came after this position.
    After(u64),
}

impl Start {
    /// `last`: the position that the reader has seen, if it says one.
    ///
    /// However far back it is, what it lacks is what is alive after it. One ahead of the log is of a log that
    /// was lost since: nothing that the reader knows is to be trusted.
    pub const fn of(last: Option<u64>, applied: u64) -> Self {
        match last {
            Some(last) if last <= applied => Self::After(last),
            _ => Self::Over,
        }
    }
}

/// A position as readers send it back. What is none is as good as nothing.
pub fn parse_position(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// One event of a stream.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// What the reader knew is void. All that is alive up to here follows.
    Reset(u64),
    /// An entry after a reset. It bears no id: whoever has but a part of them has to begin again.
    Alive(&'a FeedEntry),
    /// An entry that is resumed after.
    New(&'a FeedEntry),
    /// Whoever has read this knows everything up to here, as of so long ago.
    Position(u64, Duration),
}

impl fmt::Display for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = |position: u64| json!({ "position": position });
        match self {
            Self::Reset(at) => write!(f, "event: reset\ndata: {}\n\n", position(*at)),
            Self::Alive(entry) => write!(f, "event: revocation\ndata: {}\n\n", entry.data),
            Self::New(FeedEntry { position, data, .. }) => {
                write!(f, "id: {position}\nevent: revocation\ndata: {data}\n\n")
            }
            Self::Position(at, age) => {
                let data = json!({ "position": at, "age_ms": u64::try_from(age.as_millis()).unwrap_or(u64::MAX) });
                write!(f, "id: {at}\nevent: position\ndata: {data}\n\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{SessionId, TokenId};
    use crate::domain::revocation::RecalledVersion;

    fn at(millis: i64) -> Time {
        Time::from_timestamp_millis(millis).unwrap()
    }
    fn entry(target: RevocationTarget, tenant: Option<&str>) -> FeedEntry {
        let tenant = tenant.map(|tenant| tenant.parse().unwrap());
        let (at, expires_at) = (at(100_900), at(200_001));
        let audience = Vec::new();
        FeedEntry::of(&Revocation { position: 121, target, tenant, audience, at, expires_at })
    }
    fn shown(entry: &FeedEntry) -> Value {
        serde_json::from_str(&entry.data).unwrap()
    }

    #[test]
    fn an_entry_says_what_ends_and_where() {
        use RevocationTarget as Target;
        let session = SessionId::new([2; 16]);
        let sent = entry(Target::Session(session), Some("acme"));
        let expected = json!({
            "position": 121, "target": "session", "value": session.to_string(), "tenant": "acme",
            "at": 100, "expires_at": 201,
        });
        assert_eq!(shown(&sent), expected);
        let recalled = RecalledVersion {
            version: "data-entry@3".into(),
            role: "data-entry".parse().unwrap(),
            from: at(0),
            until: at(1),
            except: ["globex".parse().unwrap()].into(),
        };
        let token = TokenId::new([1; 16]);
        for (target, name, value) in [
            (Target::Token(token), "token", json!(token.to_string())),
            (Target::Subject("u_dana".parse().unwrap()), "subject", json!("u_dana")),
            (Target::Tenant("acme".parse().unwrap()), "tenant", json!("acme")),
            (Target::Client("web".parse().unwrap()), "client", json!("web")),
            (Target::Provider("corp".parse().unwrap()), "provider", json!("corp")),
            (Target::ApiKey("k_1".into()), "api_key", json!("k_1")),
            (Target::Role("admin".parse().unwrap()), "role", json!("admin")),
            (Target::TemplateVersion("admin@2".into()), "template_version", json!("admin@2")),
            (Target::TemplateVersionAndSessions(recalled), "role", json!("data-entry")),
            (Target::Before(at(300_000)), "before", json!(300)),
            (Target::Before(at(300_001)), "before", json!(301)),
        ] {
            let sent = shown(&entry(target, None));
            assert_eq!((&sent["target"], &sent["value"]), (&json!(name), &value));
            assert!(sent.get("tenant").is_none(), "{sent}");
        }
    }

    #[test]
    fn a_reader_of_some_tenants_is_spared_the_others() {
        let target = || RevocationTarget::Role("admin".parse().unwrap());
        let only = |tenants: &[&str]| FeedFilter {
            tenants: tenants.iter().map(|tenant| tenant.parse().unwrap()).collect(),
            ..FeedFilter::default()
        };
        for (filter, acme, everybody) in [
            (only(&[]), true, true),
            (only(&["acme", "globex"]), true, true),
            (only(&["globex"]), false, true),
        ] {
            assert_eq!(filter.lets_through(&entry(target(), Some("acme"))), acme, "{filter:?}");
            assert_eq!(filter.lets_through(&entry(target(), None)), everybody, "{filter:?}");
        }
    }

    #[test]
    fn a_reader_hears_what_ends_tokens_that_it_checks_and_no_other() {
        let reads = |audiences: &[&str]| FeedFilter {
            audiences: audiences.iter().map(|&audience| audience.to_owned()).collect(),
            ..FeedFilter::default()
        };
        let mut ended = entry(RevocationTarget::Token(TokenId::new([1; 16])), None);
        assert!(reads(&["https://a.example"]).lets_through(&ended), "it is for all");
        ended.audience = vec!["https://a.example".into(), "https://b.example".into()];
        assert!(reads(&["https://b.example", "https://c.example"]).lets_through(&ended));
        for none in [&[][..], &["https://c.example"], &["https://a.example/"]] {
            assert!(!reads(none).lets_through(&ended), "{none:?}");
        }
    }

    #[test]
    fn a_stream_goes_on_where_it_was_or_begins_over() {
        for (last, expected) in [
            ("120", Start::After(120)),
            ("7", Start::After(7)),
            ("0", Start::After(0)),
            ("121", Start::Over),
            ("18446744073709551616", Start::Over),
            ("", Start::Over),
            ("+7", Start::Over),
            ("-7", Start::Over),
            ("7.0", Start::Over),
            ("z-kU", Start::Over),
        ] {
            assert_eq!(Start::of(parse_position(last), 120), expected, "{last}");
        }
        assert_eq!(Start::of(None, 0), Start::Over);
    }

    #[test]
    fn only_what_can_be_resumed_after_bears_an_id() {
        let entry = entry(RevocationTarget::Client("web".parse().unwrap()), None);
        let data = &entry.data;
        for (frame, expected) in [
            (Frame::Reset(120), "event: reset\ndata: {\"position\":120}\n\n".to_owned()),
            (Frame::Alive(&entry), format!("event: revocation\ndata: {data}\n\n")),
            (Frame::New(&entry), format!("id: 121\nevent: revocation\ndata: {data}\n\n")),
            (
                Frame::Position(121, Duration::from_micros(1_900)),
                "id: 121\nevent: position\ndata: {\"age_ms\":1,\"position\":121}\n\n".into(),
            ),
        ] {
            assert_eq!(frame.to_string(), expected);
        }
    }
}
