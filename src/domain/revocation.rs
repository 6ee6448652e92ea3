//! Facts that end tokens, and what a node knows of them.

mod cuts;

use self::cuts::Cuts;
use crate::domain::Time;
use crate::domain::client::Lifetimes;
use crate::domain::ids::{ClientId, ProviderId, Role, SessionId, SubjectId, TenantId, TokenId};
use crate::domain::session::{RegisteredSession, Session};
use crate::domain::template::version::TemplateVersion;
use chrono::{DateTime, TimeDelta};
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// What a revocation ends. Its cost does not grow with the number of tokens that it hits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "target", content = "value", rename_all = "snake_case")]
pub enum RevocationTarget {
    Token(TokenId),
    Session(SessionId),
    Subject(SubjectId),
    Tenant(TenantId),
    Client(ClientId),
    /// Everything that began by signing in there.
    Provider(ProviderId),
    ApiKey(String),
    Role(Role),
    /// The access tokens that this version made until now. Their sessions live on and are given others.
    TemplateVersion(String),
    /// These, and the sessions that began under it.
    TemplateVersionAndSessions(RecalledVersion),
    /// Everything issued before this moment.
    Before(Time),
}

/// Why something cannot be revoked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotATarget {
    #[error(
        "a target is token, session, subject, client, tenant, provider, api_key, role, template_version or before"
    )]
    Kind,
    #[error("the value does not name a {0}")]
    Value(&'static str),
    #[error("a moment to revoke everything before is in the past, as RFC 3339 has it")]
    Moment,
}

/// Clocks of nodes differ, and one that lags behind the log goes on minting for a moment.
const CLOCKS_AND_LAG: TimeDelta = TimeDelta::minutes(5);
/// Bytes of an API key's id.
const LONGEST_KEY_ID: usize = 64;

impl RevocationTarget {
    /// What somebody writes to revoke something.
    pub fn parse(kind: &str, value: &str, now: Time) -> Result<Self, NotATarget> {
        let wrong = |what: &'static str| move |_| NotATarget::Value(what);
        Ok(match kind {
            "token" => Self::Token(value.parse().map_err(wrong("token (`jti`)"))?),
            "session" => Self::Session(value.parse().map_err(wrong("session (`sid`)"))?),
            "subject" => Self::Subject(value.parse().map_err(wrong("subject"))?),
            "client" => Self::Client(value.parse().map_err(wrong("client"))?),
            "tenant" => Self::Tenant(value.parse().map_err(wrong("tenant"))?),
            "provider" => Self::Provider(value.parse().map_err(wrong("provider"))?),
            "role" => Self::Role(value.parse().map_err(wrong("role"))?),
            "template_version" => {
                let version: Result<TemplateVersion, _> = value.parse();
                let version = version.map_err(|_| NotATarget::Value("template version"))?;
                Self::TemplateVersion(version.to_string())
            }
            "api_key" => {
                let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
                let good =
                    !value.is_empty() && value.len() <= LONGEST_KEY_ID && value.bytes().all(known);
                if !good {
                    return Err(NotATarget::Value("API key"));
                }
                Self::ApiKey(value.to_owned())
            }
            "before" => {
                let moment = DateTime::parse_from_rfc3339(value).map_err(|_| NotATarget::Moment)?;
                let moment = moment.to_utc();
                // SECURITY: one that is still to come would end what has not begun yet.
                if moment > now {
                    return Err(NotATarget::Moment);
                }
                Self::Before(moment)
            }
            _ => return Err(NotATarget::Kind),
        })
    }

    /// As `parse` takes it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Session(_) => "session",
            Self::Subject(_) => "subject",
            Self::Tenant(_) => "tenant",
            Self::Client(_) => "client",
            Self::Provider(_) => "provider",
            Self::ApiKey(_) => "api_key",
            Self::Role(_) => "role",
            Self::TemplateVersion(_) => "template_version",
            Self::TemplateVersionAndSessions(_) => "template_version_and_sessions",
            Self::Before(_) => "before",
        }
    }

    /// As `parse` takes it.
    pub fn value(&self) -> String {
        match self {
            Self::Token(id) => id.to_string(),
            Self::Session(id) => id.to_string(),
            Self::Subject(id) => id.to_string(),
            Self::Tenant(id) => id.to_string(),
            Self::Client(id) => id.to_string(),
            Self::Provider(id) => id.to_string(),
            Self::ApiKey(id) => id.clone(),
            Self::Role(role) => role.to_string(),
            Self::TemplateVersion(version) => version.clone(),
            Self::TemplateVersionAndSessions(recalled) => recalled.version.clone(),
            Self::Before(moment) => moment.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
        }
    }

    /// From when on nothing that it could hit is alive, if it is revoked now.
    pub fn outlived_at(&self, now: Time) -> Time {
        let seconds = |seconds: u32| TimeDelta::seconds(i64::from(seconds));
        let lives = match self {
            Self::Token(_) | Self::Role(_) | Self::TemplateVersion(_) => {
                seconds(Lifetimes::LONGEST_ACCESS_TOKEN)
            }
            // A code that was given out before is redeemed, and its session lives as long as any.
            Self::Session(_)
            | Self::Subject(_)
            | Self::Tenant(_)
            | Self::Client(_)
            | Self::Provider(_)
            | Self::ApiKey(_)
            | Self::TemplateVersionAndSessions(_)
            | Self::Before(_) => {
                seconds(Lifetimes::LONGEST_CODE) + seconds(Lifetimes::LONGEST_SESSION)
            }
        };
        now + lives + CLOCKS_AND_LAG
    }

    /// Until when a node has to know an entry that was written at `at`: of an ended session only access tokens
    /// are left, since the session itself is gone from the token store.
    pub fn held_until(&self, at: Time, expires_at: Time) -> Time {
        let longest = TimeDelta::seconds(i64::from(Lifetimes::LONGEST_ACCESS_TOKEN));
        match self {
            // A resource server's clock may be behind: to it, the last token lives a little longer.
            Self::Session(_) | Self::Token(_) => expires_at.min(at + longest) + CLOCKS_AND_LAG,
            _ => expires_at,
        }
    }
}

/// An entry as it is kept for people: by whom, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedRevocation {
    pub position: u64,
    pub target: RevocationTarget,
    pub tenant: Option<TenantId>,
    pub at: Time,
    pub expires_at: Time,
    /// None: it came of what somebody else did, which the reason says.
    pub by: Option<String>,
    pub reason: String,
}

impl RecordedRevocation {
    /// Whether it ended a session of somebody with these roles, as [`RevocationView`] decides it.
    pub fn ends(&self, session: &RegisteredSession, roles: &[Role]) -> bool {
        use RevocationTarget as Target;
        let here = self.tenant.as_ref().is_none_or(|tenant| *tenant == session.tenant);
        let later = session.begun < self.position;
        here && match &self.target {
            Target::Session(id) => *id == session.id,
            Target::Subject(id) => later && *id == session.subject,
            Target::Tenant(id) => later && *id == session.tenant,
            Target::Client(id) => later && *id == session.client,
            Target::Provider(id) => later && *id == session.provider,
            Target::Before(moment) => later && session.begun_at < *moment,
            Target::TemplateVersionAndSessions(recalled) => {
                later
                    && roles.contains(&recalled.role)
                    && !recalled.except.contains(&session.tenant)
                    && (recalled.from..recalled.until).contains(&session.begun_at)
            }
            Target::Token(_) | Target::ApiKey(_) | Target::Role(_) | Target::TemplateVersion(_) => {
                false
            }
        }
    }
}

/// A version of a role's template, and when sessions began under it. Sessions do not keep the versions that
/// they began under.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecalledVersion {
    /// As claim `tpl` names it.
    pub version: String,
    pub role: Role,
    pub from: Time,
    /// Before this moment.
    pub until: Time,
    /// Tenants that had their own version of the role all the while.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub except: BTreeSet<TenantId>,
}

/// An entry to be appended to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRevocation {
    pub target: RevocationTarget,
    /// Where set, only what belongs to this tenant ends.
    pub tenant: Option<TenantId>,
    /// The audiences of everything that ends, which are told; none: all are.
    pub audience: Vec<String>,
    /// From then on nothing that it could hit is alive.
    pub expires_at: Time,
    /// Who revoked it; None: it came of what somebody else did.
    pub by: Option<String>,
    /// What a person reads who asks why.
    pub reason: String,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its place: 1, 2, 3 … without gaps, in the order of commits.
    pub position: u64,
    pub target: RevocationTarget,
    pub tenant: Option<TenantId>,
    /// As in [`NewRevocation`].
    pub audience: Vec<String>,
    pub at: Time,
    pub expires_at: Time,
}

/// What of an access token decides whether a revocation hits it.
#[derive(Clone, Copy, Debug)]
pub struct TokenFacts<'a> {
    pub id: &'a TokenId,
    /// What it was exchanged from.
    pub ancestors: &'a [TokenId],
    pub session: Option<&'a SessionId>,
    pub subject: &'a SubjectId,
    pub tenant: &'a TenantId,
    pub client: &'a ClientId,
    /// The one that the session began for.
    pub session_client: &'a ClientId,
    pub provider: &'a ProviderId,
    pub roles: &'a [Role],
    /// role@version, as in claim `tpl`.
    pub templates: &'a [String],
    /// Or when its session began.
    pub issued_at: Time,
    /// The log position that the minting node had applied (claim `rev`).
    pub revision: u64,
}

/// Whom an entry speaks of: everybody, or one tenant's.
type Within = Option<TenantId>;

#[derive(Clone, Copy, Debug)]
struct Entry {
    position: u64,
    expires_at: Time,
}

/// The entries on one kind of target, found without an allocation: they are looked at for every token.
#[derive(Clone, Debug)]
struct Index<K>(HashMap<K, Vec<(Within, Entry)>>);

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Clone + Eq + Hash> Index<K> {
    fn note(&mut self, key: &K, within: &Within, entry: Entry) {
        let entries = self.0.entry(key.clone()).or_default();
        match entries.iter_mut().find(|(other, _)| other == within) {
            Some((_, known)) => {
                known.position = known.position.max(entry.position);
                known.expires_at = known.expires_at.max(entry.expires_at);
            }
            None => entries.push((within.clone(), entry)),
        }
    }

    /// The last position that hits this key in this tenant; 0: none.
    fn position<Q: Eq + Hash + ?Sized>(&self, key: &Q, tenant: &TenantId) -> u64
    where
        K: Borrow<Q>,
    {
        let Some(entries) = self.0.get(key) else { return 0 };
        let here = |within: &Within| within.as_ref().is_none_or(|within| within == tenant);
        let hits = entries.iter().filter(|(within, _)| here(within));
        hits.map(|(_, entry)| entry.position).max().unwrap_or(0)
    }

    fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    fn forget(&mut self, now: Time) {
        self.0.retain(|_, entries| {
            entries.retain(|(_, entry)| now < entry.expires_at);
            !entries.is_empty()
        });
    }
}

/// The live entries, as one node knows them: everything up to `applied`.
#[derive(Clone, Debug, Default)]
pub struct RevocationView {
    applied: u64,
    tokens: Index<TokenId>,
    sessions: Index<SessionId>,
    subjects: Index<SubjectId>,
    tenants: Index<TenantId>,
    clients: Index<ClientId>,
    providers: Index<ProviderId>,
    api_keys: Index<String>,
    roles: Index<Role>,
    templates: Index<String>,
    /// For each role, the versions whose sessions are over.
    recalled: HashMap<Role, Vec<(Within, RecalledVersion, Entry)>>,
    before: Cuts,
    /// Entries on something that this version does not know.
    unknown: Index<()>,
    /// For each bucket of the token store, the last position that ended a session in it.
    bucket_endings: HashMap<u8, u64>,
}

impl RevocationView {
    /// The position of the last entry that this view knows.
    pub const fn applied(&self) -> u64 {
        self.applied
    }

    /// The last position at which a session of this bucket was ended: what the bucket's marker in the
    /// token store must have reached.
    pub fn bucket_ending(&self, bucket: u8) -> u64 {
        self.bucket_endings.get(&bucket).copied().unwrap_or(0)
    }

    /// To begin with what the log says of endings that are no longer held in memory.
    pub fn note_bucket_ending(&mut self, bucket: u8, position: u64) {
        let last = self.bucket_endings.entry(bucket).or_insert(0);
        *last = position.max(*last);
    }

    /// Entries come in the order of the log; one that is known already changes nothing.
    pub fn apply(&mut self, revocation: &Revocation) {
        self.applied = self.applied.max(revocation.position);
        let entry = Entry { position: revocation.position, expires_at: revocation.expires_at };
        let within = &revocation.tenant;
        match &revocation.target {
            RevocationTarget::Token(id) => self.tokens.note(id, within, entry),
            RevocationTarget::Session(id) => {
                self.note_bucket_ending(id.bucket(), revocation.position);
                self.sessions.note(id, within, entry);
            }
            RevocationTarget::Subject(id) => self.subjects.note(id, within, entry),
            RevocationTarget::Tenant(id) => self.tenants.note(id, within, entry),
            RevocationTarget::Client(id) => self.clients.note(id, within, entry),
            RevocationTarget::Provider(id) => self.providers.note(id, within, entry),
            RevocationTarget::ApiKey(id) => self.api_keys.note(id, within, entry),
            RevocationTarget::Role(role) => self.roles.note(role, within, entry),
            RevocationTarget::TemplateVersion(name) => self.templates.note(name, within, entry),
            RevocationTarget::TemplateVersionAndSessions(recalled) => {
                self.templates.note(&recalled.version, within, entry);
                let known = self.recalled.entry(recalled.role.clone()).or_default();
                if known.iter().all(|(.., other)| other.position != entry.position) {
                    known.push((within.clone(), recalled.clone(), entry));
                }
            }
            RevocationTarget::Before(moment) => {
                self.before.note(*moment, within.as_ref(), entry);
            }
        }
    }

    /// An entry on a target that only a later version knows. It may hit any token, so it is taken to hit every
    /// one that does not know of it.
    pub fn apply_unknown(&mut self, position: u64, within: &Option<TenantId>, expires_at: Time) {
        self.applied = self.applied.max(position);
        self.unknown.note(&(), within, Entry { position, expires_at });
    }

    /// The log was read up to here.
    pub fn advance_to(&mut self, position: u64) {
        self.applied = self.applied.max(position);
    }

    /// Drops what can hit nothing any more. Session and token entries need to be known only as long
    /// as an access token lives: a session itself is gone from the token store.
    pub fn forget(&mut self, now: Time) {
        self.tokens.forget(now);
        self.sessions.forget(now);
        self.subjects.forget(now);
        self.tenants.forget(now);
        self.clients.forget(now);
        self.providers.forget(now);
        self.api_keys.forget(now);
        self.roles.forget(now);
        self.templates.forget(now);
        self.recalled.retain(|_, recalled| {
            recalled.retain(|(.., entry)| now < entry.expires_at);
            !recalled.is_empty()
        });
        self.before.forget(now);
        self.unknown.forget(now);
    }

    /// How many entries are held; those on one target count once. Looks at all of them.
    pub fn held(&self) -> usize {
        let recalled: usize = self.recalled.values().map(Vec::len).sum();
        let lens = [
            self.tokens.len(),
            self.sessions.len(),
            self.subjects.len(),
            self.tenants.len(),
            self.clients.len(),
            self.providers.len(),
            self.api_keys.len(),
            self.roles.len(),
            self.templates.len(),
            self.before.len(),
        ];
        lens.iter().sum::<usize>().saturating_add(recalled)
    }

    /// Whether an ending of this session is known.
    pub fn knows_end_of(&self, session: &SessionId) -> bool {
        self.sessions.0.contains_key(session)
    }

    /// Whether an access token is dead.
    pub fn ends_token(&self, token: &TokenFacts<'_>) -> bool {
        let tenant = token.tenant;
        let counts = |position: u64| token.revision < position;
        self.tokens.position(token.id, tenant) > 0
            || token.ancestors.iter().any(|id| self.tokens.position(id, tenant) > 0)
            || token.session.is_some_and(|sid| self.sessions.position(sid, tenant) > 0)
            || counts(self.subjects.position(token.subject, tenant))
            || counts(self.api_keys.position(token.subject.as_str(), tenant))
            || counts(self.tenants.position(tenant, tenant))
            || counts(self.clients.position(token.client, tenant))
            || counts(self.clients.position(token.session_client, tenant))
            || counts(self.providers.position(token.provider, tenant))
            || token.roles.iter().any(|role| counts(self.roles.position(role, tenant)))
            || token.templates.iter().any(|name| counts(self.templates.position(name, tenant)))
            || counts(self.unknown.position(&(), tenant))
            || self.before.hit(token.issued_at, token.revision, tenant)
    }

    /// Whether sessions can be over because a template version was recalled.
    pub fn recalls_sessions(&self) -> bool {
        !self.recalled.is_empty()
    }

    /// As above, of sessions with one of these roles.
    pub fn recalls_some_with(&self, roles: &[Role]) -> bool {
        self.recalls_sessions() && roles.iter().any(|role| self.recalled.contains_key(role))
    }

    /// Whether a session with these roles is over because it began under a version that was recalled.
    pub fn recalls_session<'a>(
        &self,
        session: &Session,
        roles: impl IntoIterator<Item = &'a Role>,
    ) -> bool {
        let tenant = &session.tenant;
        let recalled = roles.into_iter().filter_map(|role| self.recalled.get(role)).flatten();
        let mut recalled = recalled.filter(|(within, version, _)| {
            within.as_ref().is_none_or(|within| within == tenant)
                && !version.except.contains(tenant)
        });
        recalled.any(|(_, version, entry)| {
            session.begun < entry.position
                && (version.from..version.until).contains(&session.begun_at)
        })
    }

    /// Whether a session is over, whatever the token store says.
    pub fn ends_session(&self, session: &Session) -> bool {
        let tenant = &session.tenant;
        let counts = |position: u64| session.begun < position;
        self.sessions.position(&session.id, tenant) > 0
            || counts(self.subjects.position(&session.subject, tenant))
            || counts(self.tenants.position(tenant, tenant))
            || counts(self.clients.position(&session.client, tenant))
            || counts(self.providers.position(&session.provider, tenant))
            || self.before.hit(session.begun_at, session.begun, tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    fn at(seconds: i64) -> Time {
        Time::from_timestamp(seconds, 0).unwrap()
    }
    fn entry(position: u64, target: RevocationTarget) -> Revocation {
        let (at, expires_at) = (at(100), at(1000));
        Revocation { position, target, tenant: None, audience: Vec::new(), at, expires_at }
    }

    struct Token {
        id: TokenId,
        session: SessionId,
        subject: SubjectId,
        tenant: TenantId,
        client: ClientId,
        provider: ProviderId,
        roles: Vec<Role>,
        templates: Vec<String>,
        ancestors: Vec<TokenId>,
        revision: u64,
    }

    impl Token {
        fn new() -> Self {
            Self {
                id: TokenId::new([1; 16]),
                session: SessionId::new([2; 16]),
                subject: "u_dana".parse().unwrap(),
                tenant: "acme".parse().unwrap(),
                client: "web".parse().unwrap(),
                provider: "demo".parse().unwrap(),
                roles: vec!["data-entry".parse().unwrap()],
                templates: vec!["data-entry@3".into()],
                ancestors: vec![TokenId::new([9; 16])],
                revision: 5,
            }
        }
        fn facts(&self) -> TokenFacts<'_> {
            TokenFacts {
                id: &self.id,
                ancestors: &self.ancestors,
                session: Some(&self.session),
                subject: &self.subject,
                tenant: &self.tenant,
                client: &self.client,
                session_client: &self.client,
                provider: &self.provider,
                roles: &self.roles,
                templates: &self.templates,
                issued_at: at(100),
                revision: self.revision,
            }
        }
        fn dies_of(&self, revocation: &Revocation) -> bool {
            let mut view = RevocationView::default();
            view.apply(revocation);
            view.ends_token(&self.facts())
        }
    }

    #[test]
    fn every_target_ends_what_it_names_and_nothing_else() {
        use RevocationTarget as Target;
        let token = Token::new();
        for target in [
            Target::Token(token.id),
            Target::Token(token.ancestors[0]),
            Target::Session(token.session),
            Target::Subject(token.subject.clone()),
            Target::Tenant(token.tenant.clone()),
            Target::Client(token.client.clone()),
            Target::Provider(token.provider.clone()),
            Target::Role(token.roles[0].clone()),
            Target::TemplateVersion("data-entry@3".into()),
            Target::Before(at(101)),
        ] {
            assert!(token.dies_of(&entry(6, target.clone())), "{target:?}");
        }
        for target in [
            Target::Token(TokenId::new([7; 16])),
            Target::Session(SessionId::new([7; 16])),
            Target::Subject("u_gil".parse().unwrap()),
            Target::Tenant("globex".parse().unwrap()),
            Target::Client("other".parse().unwrap()),
            Target::Role("admin".parse().unwrap()),
            Target::TemplateVersion("data-entry@4".into()),
            Target::Before(at(100)),
            Target::Provider("other".parse().unwrap()),
            Target::ApiKey("k".into()),
        ] {
            assert!(!token.dies_of(&entry(6, target.clone())), "{target:?}");
        }
    }

    #[test]
    fn no_clock_decides_what_was_minted_before_and_after() {
        let mut token = Token::new();
        let revocation = entry(6, RevocationTarget::Tenant(token.tenant.clone()));
        token.revision = 5;
        assert!(token.dies_of(&revocation));
        token.revision = 6;
        assert!(!token.dies_of(&revocation), "minted by a node that had applied it");
        // Nor a clock that is behind: by its time it was issued before.
        let cut = entry(6, RevocationTarget::Before(at(105)));
        assert!(!token.dies_of(&cut));
        token.revision = 5;
        assert!(token.dies_of(&cut));
        let mut view = RevocationView::default();
        view.apply(&cut);
        assert!(view.ends_session(&session()));
        assert!(!view.ends_session(&Session { begun: 6, ..session() }));
    }

    #[test]
    fn an_entry_of_a_tenant_hits_that_tenant_only() {
        let token = Token::new();
        let mut revocation = entry(6, RevocationTarget::Role(token.roles[0].clone()));
        revocation.tenant = Some("globex".parse().unwrap());
        assert!(!token.dies_of(&revocation));
        revocation.tenant = Some("acme".parse().unwrap());
        assert!(token.dies_of(&revocation));
    }

    fn session() -> Session {
        Session {
            id: SessionId::new([2; 16]),
            subject: "u_dana".parse().unwrap(),
            tenant: "acme".parse().unwrap(),
            client: "web".parse().unwrap(),
            provider: "demo".parse().unwrap(),
            claims: Map::new(),
            requested_scope: None,
            protocol_scope: crate::domain::scope::ScopeSet::default(),
            requested_details: None,
            audience: Vec::new(),
            refresh_key: None,
            begun_at: at(100),
            authenticated_at: None,
            begun: 5,
            ends_at: at(1000),
            idle: 60,
        }
    }

    #[test]
    fn a_session_dies_of_what_came_after_its_beginning() {
        let session = session();
        let dies = |position, target: RevocationTarget| {
            let mut view = RevocationView::default();
            view.apply(&entry(position, target));
            view.ends_session(&session)
        };
        for target in [
            RevocationTarget::Subject(session.subject.clone()),
            RevocationTarget::Tenant(session.tenant.clone()),
            RevocationTarget::Client(session.client.clone()),
            RevocationTarget::Provider(session.provider.clone()),
        ] {
            assert!(dies(6, target.clone()), "{target:?}");
            assert!(!dies(5, target.clone()), "{target:?} at its beginning");
        }
        assert!(dies(1, RevocationTarget::Session(session.id)));
        assert!(
            !dies(6, RevocationTarget::Role("data-entry".parse().unwrap())),
            "it refreshes without"
        );
    }

    /// security.md I5: each of three entries is there or not, for this tenant, another one or all.
    #[test]
    fn entries_on_tenant_client_and_subject_end_together_what_each_ends() {
        let token = Token::new();
        let targets = [
            RevocationTarget::Tenant(token.tenant.clone()),
            RevocationTarget::Client(token.client.clone()),
            RevocationTarget::Subject(token.subject.clone()),
        ];
        for (within, hits) in [(None, true), (Some("acme"), true), (Some("globex"), false)] {
            for there in 0_usize..8 {
                let mut view = RevocationView::default();
                for (bit, target) in targets.iter().enumerate() {
                    if there & (1 << bit) != 0 {
                        let mut revocation = entry(6, target.clone());
                        revocation.tenant = within.map(|tenant| tenant.parse().unwrap());
                        view.apply(&revocation);
                    }
                }
                let dead = view.ends_token(&token.facts());
                assert_eq!(dead, hits && there != 0, "{there:03b} within {within:?}");
            }
        }
    }

    fn every_target() -> Vec<RevocationTarget> {
        use RevocationTarget as Target;
        vec![
            Target::Token(TokenId::new([1; 16])),
            Target::Session(SessionId::new([2; 16])),
            Target::Subject("u_dana".parse().unwrap()),
            Target::Client("web".parse().unwrap()),
            Target::Tenant("acme".parse().unwrap()),
            Target::Provider("demo".parse().unwrap()),
            Target::ApiKey("k_1".into()),
            Target::Role("data-entry".parse().unwrap()),
            Target::TemplateVersion("data-entry@3/acme".into()),
            Target::Before(at(99)),
        ]
    }

    #[test]
    fn every_target_is_read_as_it_is_written() {
        for target in every_target() {
            let read = RevocationTarget::parse(target.kind(), &target.value(), at(99));
            assert_eq!(read, Ok(target.clone()));
            // The same word as in the database.
            let stored = serde_json::to_value(&target).unwrap();
            assert_eq!(stored["target"], target.kind());
        }
        let parse = |kind, value| RevocationTarget::parse(kind, value, at(99));
        assert_eq!(parse("before", "1970-01-01T00:01:40Z"), Err(NotATarget::Moment));
        assert_eq!(
            parse("before", "1970-01-01T01:01:39+01:00"),
            Ok(RevocationTarget::Before(at(99)))
        );
        assert_eq!(parse("all", "x"), Err(NotATarget::Kind));
        for (kind, value) in
            [("session", "x"), ("role", ""), ("api_key", ""), ("template_version", "a")]
        {
            assert!(matches!(parse(kind, value), Err(NotATarget::Value(_))), "{kind}");
        }
    }

    #[test]
    fn an_entry_is_kept_until_nothing_that_it_could_hit_is_alive() {
        let now = at(0);
        let longest_token = i64::from(Lifetimes::LONGEST_ACCESS_TOKEN);
        // A code that was given out before the entry, redeemed in its last second.
        let longest_session =
            i64::from(Lifetimes::LONGEST_CODE) + i64::from(Lifetimes::LONGEST_SESSION);
        for target in every_target() {
            let ends_tokens_only = matches!(
                target,
                RevocationTarget::Token(_)
                    | RevocationTarget::Role(_)
                    | RevocationTarget::TemplateVersion(_)
            );
            let least = if ends_tokens_only { longest_token } else { longest_session };
            let kept = target.outlived_at(now).timestamp();
            assert!(kept > least && kept <= least + 600, "{target:?}: {kept}");
            let held = target.held_until(now, target.outlived_at(now)).timestamp();
            let names_one =
                matches!(target, RevocationTarget::Session(_) | RevocationTarget::Token(_));
            let least = if names_one { longest_token } else { least };
            assert!(held > least && held <= least + 600, "{target:?}: {held}");
        }
        // Where clocks are behind, what it hits lives a little longer.
        let session = RevocationTarget::Session(SessionId::new([2; 16]));
        assert_eq!(session.held_until(now, at(60)), at(60) + CLOCKS_AND_LAG);
    }

    #[test]
    fn what_explains_the_end_of_a_session_agrees_with_what_ends_it() {
        let recalled = |role: &str, from, until, except: &[&str]| {
            RevocationTarget::TemplateVersionAndSessions(RecalledVersion {
                version: "data-entry@3".into(),
                role: role.parse().unwrap(),
                from: at(from),
                until: at(until),
                except: except.iter().map(|tenant| tenant.parse().unwrap()).collect(),
            })
        };
        let mut targets = every_target();
        targets.extend([
            RevocationTarget::Before(at(100)),
            RevocationTarget::Before(at(101)),
            RevocationTarget::Session(SessionId::new([3; 16])),
            RevocationTarget::Subject("u_gil".parse().unwrap()),
            RevocationTarget::Client("other".parse().unwrap()),
            RevocationTarget::Tenant("globex".parse().unwrap()),
            RevocationTarget::Provider("other".parse().unwrap()),
            recalled("data-entry", 50, 101, &[]),
            recalled("data-entry", 50, 100, &[]),
            recalled("data-entry", 101, 200, &[]),
            recalled("data-entry", 50, 101, &["acme"]),
            recalled("admin", 50, 101, &[]),
        ]);
        let session = session();
        let roles: Vec<Role> = vec!["data-entry".parse().unwrap()];
        let mut ended = 0;
        for target in targets {
            for position in [4, 5, 6] {
                for tenant in [None, Some("acme"), Some("globex")] {
                    let mut revocation = entry(position, target.clone());
                    revocation.tenant = tenant.map(|tenant| tenant.parse().unwrap());
                    let recorded = RecordedRevocation {
                        position,
                        target: target.clone(),
                        tenant: revocation.tenant.clone(),
                        at: revocation.at,
                        expires_at: revocation.expires_at,
                        by: None,
                        reason: String::new(),
                    };
                    let mut view = RevocationView::default();
                    view.apply(&revocation);
                    let ends =
                        view.ends_session(&session) || view.recalls_session(&session, &roles);
                    let registered = RegisteredSession::from(&session);
                    assert_eq!(recorded.ends(&registered, &roles), ends, "{revocation:?}");
                    ended += usize::from(ends);
                }
            }
        }
        assert_eq!(ended, 18);
    }

    #[test]
    fn what_can_hit_nothing_any_more_is_forgotten_and_the_bucket_still_knows() {
        let session = SessionId::new([2; 16]);
        let mut view = RevocationView::default();
        view.apply(&entry(7, RevocationTarget::Session(session)));
        assert_eq!(view.held(), 1);
        view.forget(at(1000));
        assert!(!view.knows_end_of(&session));
        assert_eq!(view.held(), 0);
        assert_eq!((view.applied(), view.bucket_ending(2), view.bucket_ending(3)), (7, 7, 0));
    }
}
