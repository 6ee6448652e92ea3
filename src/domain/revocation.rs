//! Facts that end tokens, and what a node knows of them.

use crate::domain::Time;
use crate::domain::ids::{ClientId, ProviderId, Role, SessionId, SubjectId, TenantId, TokenId};
use crate::domain::session::Session;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// What a revocation ends. Its cost does not grow with the number of tokens that it hits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "target", content = "value", rename_all = "snake_case")]
pub enum RevocationTarget {
    Token(TokenId),
    Session(SessionId),
    Subject(SubjectId),
    Tenant(TenantId),
    Client(ClientId),
    /// Every session that began by signing in there.
    Provider(ProviderId),
    ApiKey(String),
    Role(Role),
    TemplateVersion(String),
    /// Everything issued before this moment.
    Before(Time),
}

/// An entry to be appended to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRevocation {
    pub target: RevocationTarget,
    /// Where set, only what belongs to this tenant ends.
    pub tenant: Option<TenantId>,
    /// From then on nothing that it could hit is alive.
    pub expires_at: Time,
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
    pub roles: &'a [Role],
    /// role@version, as in claim `tpl`.
    pub templates: &'a [String],
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

/// The live entries, as one node knows them: everything up to `applied`.
#[derive(Clone, Debug, Default)]
pub struct RevocationView {
    applied: u64,
    entries: HashMap<(RevocationTarget, Within), Entry>,
    before: BTreeMap<(Time, Within), Entry>,
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
        if let RevocationTarget::Session(session) = &revocation.target {
            self.note_bucket_ending(session.bucket(), revocation.position);
        }
        let entry = Entry { position: revocation.position, expires_at: revocation.expires_at };
        let within = revocation.tenant.clone();
        let slot = match &revocation.target {
            RevocationTarget::Before(moment) => {
                self.before.entry((*moment, within)).or_insert(entry)
            }
            target => self.entries.entry((target.clone(), within)).or_insert(entry),
        };
        slot.position = slot.position.max(entry.position);
        slot.expires_at = slot.expires_at.max(entry.expires_at);
    }

    /// The log was read up to here.
    pub fn advance_to(&mut self, position: u64) {
        self.applied = self.applied.max(position);
    }

    /// Drops what can hit nothing any more. Session and token entries need to be known only as long
    /// as an access token lives: a session itself is gone from the token store.
    pub fn forget(&mut self, now: Time) {
        self.entries.retain(|_, entry| now < entry.expires_at);
        self.before.retain(|_, entry| now < entry.expires_at);
    }

    pub fn len(&self) -> usize {
        self.entries.len().saturating_add(self.before.len())
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn position(&self, target: RevocationTarget, tenant: &TenantId) -> u64 {
        if self.entries.is_empty() {
            return 0;
        }
        let for_all = (target, None);
        let everywhere = self.entries.get(&for_all).map_or(0, |entry| entry.position);
        let here = (for_all.0, Some(tenant.clone()));
        everywhere.max(self.entries.get(&here).map_or(0, |entry| entry.position))
    }

    fn issued_before_cut(&self, issued_at: Time, tenant: &TenantId) -> bool {
        self.before.keys().any(|(moment, within)| {
            issued_at < *moment && within.as_ref().is_none_or(|within| within == tenant)
        })
    }

    /// Whether an ending of this session is known.
    pub fn knows_end_of(&self, session: &SessionId) -> bool {
        self.entries.contains_key(&(RevocationTarget::Session(*session), None))
    }

    /// Whether an access token is dead.
    pub fn ends_token(&self, token: &TokenFacts<'_>) -> bool {
        if self.is_empty() {
            return false;
        }
        let position = |target| self.position(target, token.tenant);
        let counts = |target| token.revision < position(target);
        position(RevocationTarget::Token(*token.id)) > 0
            || token.ancestors.iter().any(|id| position(RevocationTarget::Token(*id)) > 0)
            || token.session.is_some_and(|sid| position(RevocationTarget::Session(*sid)) > 0)
            || counts(RevocationTarget::Subject(token.subject.clone()))
            || counts(RevocationTarget::Tenant(token.tenant.clone()))
            || counts(RevocationTarget::Client(token.client.clone()))
            || token.roles.iter().any(|role| counts(RevocationTarget::Role(role.clone())))
            || token
                .templates
                .iter()
                .any(|name| position(RevocationTarget::TemplateVersion(name.clone())) > 0)
            || self.issued_before_cut(token.issued_at, token.tenant)
    }

    /// Whether a session is over, whatever the token store says.
    pub fn ends_session(&self, session: &Session) -> bool {
        if self.is_empty() {
            return false;
        }
        let position = |target| self.position(target, &session.tenant);
        let counts = |target| session.begun < position(target);
        position(RevocationTarget::Session(session.id)) > 0
            || counts(RevocationTarget::Subject(session.subject.clone()))
            || counts(RevocationTarget::Tenant(session.tenant.clone()))
            || counts(RevocationTarget::Client(session.client.clone()))
            || counts(RevocationTarget::Provider(session.provider.clone()))
            || self.issued_before_cut(session.begun_at, &session.tenant)
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
        Revocation { position, target, tenant: None, at: at(100), expires_at: at(1000) }
    }

    struct Token {
        id: TokenId,
        session: SessionId,
        subject: SubjectId,
        tenant: TenantId,
        client: ClientId,
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
            Target::Provider("demo".parse().unwrap()),
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

    #[test]
    fn a_session_dies_of_what_came_after_its_beginning() {
        let session = Session {
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
        };
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

    #[test]
    fn what_can_hit_nothing_any_more_is_forgotten_and_the_bucket_still_knows() {
        let session = SessionId::new([2; 16]);
        let mut view = RevocationView::default();
        view.apply(&entry(7, RevocationTarget::Session(session)));
        view.forget(at(1000));
        assert!(view.is_empty());
        assert_eq!((view.applied(), view.bucket_ending(2), view.bucket_ending(3)), (7, 7, 0));
    }
}
