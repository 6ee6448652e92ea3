//! What the fuzz targets share: the vocabulary, whoever a template is rendered for, and what it means that two
//! permissions meet.

use rolemint::domain::ids::{ClientId, SubjectId, TenantId};
use rolemint::domain::permission::{
    Kind, Pattern, Permission, PermissionSet, Resource, Vocabulary,
};
use rolemint::domain::template::{RenderError, RenderInput, Rendered, RoleTemplate, User};
use rolemint::domain::tenant::{AttributeValue, Status, Tenant};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What the standard vocabulary has none of: a shared type, and actions on several levels.
const FURTHER_TYPES: &str = r#"
[types.board]
selectors = ["board"]
kind = "shared"
safe = ["look"]
[types.board.actions]
look = "board"
wipe = "board"
[types.board.roles]
look = ["look"]
wipe = ["wipe"]

[types.file]
selectors = ["bucket", "folder", "file"]
keyed = ["file"]
kind = "tenant"
staff = ["drop"]
[types.file.actions]
drop = "bucket"
list = "folder"
read = "file"
[types.file.roles]
drop = ["drop"]
list = ["list"]
read = ["read"]
browse = ["list", "read"]
"#;

pub static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| {
    let standard = include_str!("../../templates/resources.toml");
    toml::from_str(&format!("{standard}{FURTHER_TYPES}")).expect("the vocabulary")
});

/// Somebody of a tenant.
pub struct Person {
    tenant: Tenant,
    user: SubjectId,
    client: ClientId,
    claims: Map<String, Value>,
}

impl Person {
    pub fn new(tenant: TenantId, claims: Map<String, Value>) -> Self {
        let tenant = Tenant {
            name: tenant.to_string(),
            id: tenant,
            attributes: BTreeMap::new(),
            status: Status::Active,
            session_idle: None,
            session_absolute: None,
            max_expires_in: None,
        };
        let user = "u_someone".parse().expect("a subject");
        Self { tenant, user, client: "web".parse().expect("a client"), claims }
    }
    #[must_use]
    pub fn with_attributes(mut self, attributes: BTreeMap<String, AttributeValue>) -> Self {
        self.tenant.attributes = attributes;
        self
    }
    pub fn tenant(&self) -> &TenantId {
        &self.tenant.id
    }
    pub fn input(&self) -> RenderInput<'_> {
        let user = User { id: &self.user, claims: &self.claims };
        RenderInput { tenant: &self.tenant, user: Some(user), client: &self.client }
    }
    pub fn render(&self, template: &RoleTemplate) -> Result<Rendered, RenderError> {
        template.render(&self.input(), &VOCABULARY)
    }
}

fn patterns_meet(a: &Pattern, b: &Pattern) -> bool {
    a.covers(b) || b.covers(a)
}

/// A resource that both permissions select, as far as they are of one type that tenants do not share.
pub fn meeting(a: &Permission, b: &Permission) -> Option<Resource> {
    if a.resource_type() != b.resource_type() {
        return None;
    }
    let kind = VOCABULARY.find(a.resource_type())?.kind();
    let pairs = || a.selectors().zip(b.selectors());
    if kind == Kind::Shared || !pairs().all(|((_, a), (_, b))| patterns_meet(a, b)) {
        return None;
    }
    let texts = pairs().map(|((key, a), (_, b))| {
        let narrower = if a.covers(b) { b } else { a };
        (key, one_of(narrower))
    });
    let texts: Vec<_> = texts.collect();
    let texts = texts.iter().map(|(key, text)| (*key, text.as_str()));
    Resource::new(a.resource_type(), texts, &VOCABULARY).ok()
}

fn one_of(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Exact(text) => text.to_string(),
        Pattern::Prefix(text) => format!("{text}7"),
        Pattern::All => "anything".to_owned(),
    }
}

/// Fails where two tenants' permissions meet.
pub fn assert_apart(one: &PermissionSet, other: &PermissionSet, whose: impl Fn() -> String) {
    for a in one.iter() {
        for b in other.iter() {
            if let Some(resource) = meeting(a, b) {
                panic!("{}: {} and {} meet at {resource:?}", whose(), a.to_json(), b.to_json());
            }
        }
    }
}
