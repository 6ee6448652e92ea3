//! Tests that every template is put to, whatever it says: values that somebody hostile might send.
//!
//! Each value that the template reads is set in turn, and then all at once, to what could look like
//! a wildcard, a separator, another tenant or the end of a string. Either nothing is rendered, or it
//! stays within its tenant: the boundary check passes, and nothing is allowed of what the same
//! template gives to other tenants. Nothing here is random.
//!
//! It is done with the whole template, and with each permission alone and without its conditions:
//! there a value that is refused in one permission, or a condition that is false, hides no other.

use crate::domain::ids::TenantId;
use crate::domain::permission::Actions;
use crate::domain::permission::Kind;
use crate::domain::permission::Pattern;
use crate::domain::permission::Permission;
use crate::domain::permission::PermissionSet;
use crate::domain::permission::Resource;
use crate::domain::permission::Vocabulary;
use crate::domain::template::boundary;
use crate::domain::template::given;
use crate::domain::template::given::DEFAULT_CLIENT;
use crate::domain::template::given::DEFAULT_USER;
use crate::domain::template::given::Given;
use crate::domain::template::outline::Outline;
use crate::domain::template::outline::Piece;
use crate::domain::template::outline::Sketch;
use crate::domain::template::reads;
use crate::domain::template::reads::Use;
use crate::domain::template::render::Body;
use crate::domain::template::render::Item;
use crate::domain::template::render::RoleTemplate;
use crate::domain::template::values::Reference;
use crate::domain::template::values::Source;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::collections::HashSet;

/// One the start of another, one a single letter, one of another name.
const TENANTS: [&str; 4] = ["acme", "acme-corp", "a", "globex"];
/// How many more tenants are taken from the template's own text.
const MAX_DERIVED: usize = 4;
const MAX_FAILURES: usize = 16;
/// About how many permissions are rendered, for the whole template and again for its permissions. Where
/// a template reads so many values that it would be more, several are set at a time.
const WORK: usize = 200_000;

/// What came of the generated tests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostileReport {
    /// How many renderings stayed within their tenant.
    pub rendered: usize,
    /// How many were errors, as they should be.
    pub refused: usize,
    /// None, if all is well; otherwise the first 16.
    pub failures: Vec<String>,
}

/// A value that is read, and a harmless one for it.
struct Slot {
    source: Source,
    shown: Box<str>,
    plain: Value,
}

/// What another tenant has, under the same template and harmless values.
struct Theirs {
    tenant: TenantId,
    permissions: Vec<Permission>,
}

struct Attack<'a> {
    v: &'a Vocabulary,
    confined: bool,
    tenants: &'a [TenantId],
    values: &'a [Value],
    theirs: Vec<Theirs>,
    /// What has been held against the others: the place of the tenant, and what it got.
    met: HashSet<(usize, PermissionSet)>,
    report: HostileReport,
}

impl RoleTemplate {
    /// Puts the template to the generated tests. One that `crosses_tenants`, and was compiled as
    /// such, is only rendered.
    pub fn run_hostile(&self, v: &Vocabulary, crosses_tenants: bool) -> HostileReport {
        let outline = self.outline();
        let tenants = tenants(&outline);
        let values = hostile_values(&tenants);
        let alone: Vec<Self> = alone(&self.items).into_iter().map(|item| self.with(item)).collect();
        let mut attack = Attack {
            v,
            confined: !(crosses_tenants && self.crosses_tenants),
            tenants: &tenants,
            values: &values,
            theirs: Vec::new(),
            met: HashSet::new(),
            report: HostileReport::default(),
        };
        for tenant in &tenants {
            let permissions = alone.iter().flat_map(|part| attack.plain(part, tenant)).collect();
            attack.theirs.push(Theirs { tenant: tenant.clone(), permissions });
        }
        attack.run(self, outline.len());
        for part in &alone {
            attack.run(part, alone.len());
        }
        attack.report
    }

    /// This template with only one object in it.
    fn with(&self, item: Item) -> Self {
        Self {
            source: Box::default(),
            description: None,
            expires_in: None,
            items: vec![item],
            scope: self.scope.clone(),
            claims: Vec::new(),
            cases: Box::default(),
            crosses_tenants: self.crosses_tenants,
        }
    }

    fn slots(&self) -> Vec<Slot> {
        let mut slots: Vec<Slot> = Vec::new();
        let mut visit = |reference: &Reference, how: Use| {
            let plain = match how {
                Use::List => json!(["plain"]),
                Use::Truth => json!(true),
                Use::Text | Use::Compared => json!("plain"),
            };
            match slots.iter_mut().find(|slot| slot.source == reference.source) {
                // A list is one wherever it stands.
                Some(slot) if how == Use::List => slot.plain = plain,
                Some(_) => {}
                None => {
                    let (source, shown) = (reference.source.clone(), reference.shown.clone());
                    slots.push(Slot { source, shown, plain });
                }
            }
        };
        reads::items(&self.items, &mut visit);
        for (_, claim) in &self.claims {
            reads::claim(claim, &mut visit);
        }
        slots.retain(|slot| !matches!(slot.source, Source::TenantId | Source::Variable(_)));
        slots
    }
}

/// Each permission with the lists around it, and without its conditions.
fn alone(items: &[Item]) -> Vec<Item> {
    let mut found = Vec::new();
    for item in items {
        let bodies = match &item.body {
            Body::Group(inner) => {
                alone(inner).into_iter().map(|inner| Body::Group(vec![inner])).collect()
            }
            body @ Body::Permission { .. } => vec![body.clone()],
        };
        let each = || item.each.clone();
        found.extend(bodies.into_iter().map(|body| Item { each: each(), condition: None, body }));
    }
    found
}

/// Those that are always tried, and those whose ids turn one text of the template into another: with
/// `{{tenant.id}}-events` and `{{tenant.id}}-b-events` that is `acme-b`.
fn tenants(outline: &[Outline]) -> Vec<TenantId> {
    let mut following = BTreeSet::new();
    for sketch in outline.iter().flat_map(|one| &one.selectors) {
        let Sketch::Text { pieces, .. } = sketch else { continue };
        let mut from_tenant = pieces.iter().skip_while(|piece| !is_tenant(piece));
        if from_tenant.next().is_some() {
            following.insert(match from_tenant.next() {
                Some(Piece::Literal(text)) => &**text,
                _ => "",
            });
        }
    }
    let pairs = following.iter().flat_map(|long| following.iter().map(move |end| (long, end)));
    let derived = pairs.filter(|(long, end)| long != end).filter_map(|(long, end)| {
        let middle = long.strip_suffix(end)?;
        format!("acme{middle}").parse::<TenantId>().ok()
    });
    let known: Vec<TenantId> = TENANTS.iter().filter_map(|id| id.parse().ok()).collect();
    let derived: BTreeSet<TenantId> = derived.filter(|id| !known.contains(id)).collect();
    known.into_iter().chain(derived.into_iter().take(MAX_DERIVED)).collect()
}

fn is_tenant(piece: &Piece) -> bool {
    matches!(piece, Piece::Value(path) if &**path == "tenant.id")
}

/// All that is tried: for whoever reads a text, a list, or true and false.
fn hostile_values(tenants: &[TenantId]) -> Vec<Value> {
    let texts = [
        "",
        " ",
        "*",
        "**",
        "+",
        ".",
        "..",
        "../globex",
        "-",
        "-corp",
        "-corpplain",
        "acme:globex",
        "globex:1",
        "globex/",
        "acme-corp:",
        ":",
        "|",
        "#",
        "a,b",
        "аcme",
        "ａｃｍｅ",
        "ACME",
        "\u{202e}emca",
        "\u{200b}acme",
        "acme\u{0}",
        "\n",
        "acme\n",
        "\"",
        "\\",
        "\\u0022",
        "{\"all\": true}",
        "\"}],\"scope\":[\"admin\"",
        "{{tenant.id}}",
        "{{{tenant.name}}}",
        "}}",
        "{{#if x}}",
        "%2e%2e",
        "null",
        "true",
        "0",
    ];
    let texts = texts.into_iter().map(str::to_owned);
    let texts = texts.chain(tenants.iter().map(ToString::to_string));
    let texts = texts.chain(["x".repeat(128), "x".repeat(129), "x".repeat(4096)]);
    let mut values: Vec<Value> = Vec::new();
    for text in texts {
        values.push(json!([text]));
        values.push(json!(text));
    }
    values.extend([
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(1.5),
        json!([]),
        json!([null]),
        json!([true]),
        json!([1.5]),
        json!([7]),
        json!([["globex"]]),
        json!([{"all": true}]),
        json!(vec!["x"; 257]),
        json!({}),
        json!({"all": true}),
        json!({"keyPrefix": ""}),
    ]);
    values
}

impl Attack<'_> {
    fn given(tenant: &TenantId, slots: &[Slot]) -> Option<Given> {
        let user = Some((DEFAULT_USER.parse().ok()?, Map::new()));
        let client = DEFAULT_CLIENT.parse().ok()?;
        let mut given = Given { tenant: given::tenant(tenant.clone()), user, client };
        for slot in slots {
            given.put(&slot.source, &slot.plain);
        }
        Some(given)
    }

    /// What the tenant has to itself, where all values are harmless.
    fn plain(&self, part: &RoleTemplate, tenant: &TenantId) -> Vec<Permission> {
        let given = Self::given(tenant, &part.slots());
        let rendered = given.and_then(|given| part.render(&given.input(), self.v).ok());
        let permissions = rendered.iter().flat_map(|rendered| rendered.permissions.iter());
        // What all tenants share is nobody's own.
        let own = |permission: &&Permission| {
            permission.resource(self.v).is_some_and(|resource| resource.kind() == Kind::Tenant)
        };
        permissions.filter(own).cloned().collect()
    }

    /// `cost` is how many permissions are rendered for each value that is tried.
    fn run(&mut self, part: &RoleTemplate, cost: usize) {
        let slots = part.slots();
        let tries = self.tenants.len() * self.values.len() * cost.max(1);
        let groups = (WORK / tries).clamp(1, slots.len().max(1));
        let size = slots.len().div_ceil(groups).max(1);
        for at in 0..self.tenants.len() {
            let Some(tenant) = self.tenants.get(at) else { continue };
            let Some(plain) = Self::given(tenant, &slots) else { continue };
            self.attempt(part, at, &plain, "");
            let one_by_one = slots.chunks(size).filter(|group| group.len() < slots.len());
            let all_together = Some(&*slots).filter(|all| !all.is_empty());
            for group in one_by_one.chain(all_together) {
                for value in self.values {
                    let mut given = plain.clone();
                    let put = group.iter().filter(|slot| given.put(&slot.source, value)).count();
                    if put > 0 {
                        let names: Vec<&str> = group.iter().map(|slot| &*slot.shown).collect();
                        self.attempt(part, at, &given, &with(&names, value));
                    }
                }
            }
        }
    }

    fn attempt(&mut self, part: &RoleTemplate, at: usize, given: &Given, with: &str) {
        let Ok(rendered) = part.render(&given.input(), self.v) else {
            self.report.refused += 1;
            return;
        };
        let failure =
            if self.confined { self.escape(at, given, rendered.permissions) } else { None };
        match failure {
            None => self.report.rendered += 1,
            Some(failure) if self.report.failures.len() < MAX_FAILURES => {
                let failure = format!("{with}{failure}");
                if !self.report.failures.contains(&failure) {
                    self.report.failures.push(failure);
                }
            }
            Some(_) => {}
        }
    }

    /// How what was rendered leaves its tenant, if it does.
    fn escape(&mut self, at: usize, given: &Given, own: PermissionSet) -> Option<String> {
        let tenant = &given.tenant.id;
        if let Err(outside) = boundary::check(&own, tenant, self.v) {
            return Some(outside.to_string());
        }
        if self.met.contains(&(at, own.clone())) {
            return None;
        }
        for theirs in self.theirs.iter().filter(|theirs| theirs.tenant != *tenant) {
            for permission in &theirs.permissions {
                let reached = own.iter().find_map(|own_one| {
                    let (resource, shown) = common(own_one, permission, self.v)?;
                    self.acts_on(&own, &resource).then_some(shown)
                });
                if let Some(shown) = reached {
                    let other = &theirs.tenant;
                    return Some(format!("tenant `{tenant}` reaches {shown} of tenant `{other}`"));
                }
            }
        }
        self.met.insert((at, own));
        None
    }

    fn acts_on(&self, own: &PermissionSet, resource: &Resource) -> bool {
        let found = self.v.find(resource.resource_type());
        found.is_some_and(|found| {
            let roles = found.roles().iter().map(|role| role.actions);
            let all = roles.fold(Actions::NONE, Actions::or);
            let names = found.action_names(all);
            names.into_iter().any(|action| own.allows(resource, action, self.v).is_some())
        })
    }
}

/// A resource that both permissions select, if there is one, and how to show it.
fn common(own: &Permission, other: &Permission, v: &Vocabulary) -> Option<(Resource, String)> {
    if own.resource_type() != other.resource_type() {
        return None;
    }
    let mut texts = Vec::new();
    for ((key, a), (_, b)) in own.selectors().zip(other.selectors()) {
        let narrower = if a.covers(b) {
            b
        } else if b.covers(a) {
            a
        } else {
            return None;
        };
        let text = match narrower {
            Pattern::Exact(text) => text.to_string(),
            Pattern::Prefix(text) => format!("{text}7"),
            Pattern::All => "7".to_owned(),
        };
        texts.push((key, text));
    }
    let resource = texts.iter().map(|(key, text)| (*key, text.as_str()));
    let resource = Resource::new(own.resource_type(), resource, v).ok()?;
    let shown: Vec<String> = texts.iter().map(|(key, text)| format!("{key} `{text}`")).collect();
    Some((resource, shown.join(", ")))
}

/// For people: which values were set to what.
fn with(names: &[&str], value: &Value) -> String {
    let value = value.to_string();
    let shown: String = value.chars().take(40).flat_map(char::escape_debug).collect();
    let dots = if value.chars().count() > 40 { "…" } else { "" };
    format!("with {} set to {shown}{dots}: ", names.join(", "))
}

#[cfg(test)]
mod tests;
