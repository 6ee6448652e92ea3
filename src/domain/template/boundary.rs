//! Whether permissions stay inside their tenant.
//!
//! Two permissions meet only if all their selectors meet, so one selector that separates tenants
//! keeps the whole permission apart. It is looked at twice:
//!
//! - When a template is compiled, by the *form* of its selectors (`permission::Form` says which
//!   forms separate and why). A template that does not pass is refused, with two tenants and a
//!   resource that both could reach.
//! - When a token is minted, on the rendered texts. Where a text carries its form, the form is judged
//!   anew, and the text must begin with the form's literal, then this very tenant's id, then the
//!   literal that follows. What lies within such a text, as after an intersection, begins in the
//!   same way. Where a text has no form, because it came from outside, it must begin with the tenant's
//!   id and a delimiter, or be the id.
//!
//! An action acts on the level of one selector and so on everything below: a separating selector
//! counts for it only at that level or above. What a template may hold of `staff` actions and of
//! shared types is looked at in the same two places.
//!
//! This keeps two tenants apart that render the same form, or texts without a form. That no form
//! meets another one, across all templates of an installation, is a question about pairs of them:
//! `{{tenant.id}}-events` and `{{tenant.id}}-corp-events` each separate, and yet meet for `acme-corp`
//! and `acme`. `proof` answers it, before a template is published.

use crate::domain::ids::TenantId;
use crate::domain::permission::Actions;
use crate::domain::permission::Form;
use crate::domain::permission::Kind;
use crate::domain::permission::Part;
use crate::domain::permission::PermissionSet;
use crate::domain::permission::ResourceType;
use crate::domain::permission::Vocabulary;
use crate::domain::permission::is_delimiter;
use crate::domain::template::expression::Segment;
use crate::domain::template::values::Source;

/// A permission that is not provably its tenant's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a permission is not provably inside tenant `{tenant}`: {permission}")]
pub struct OutsideTenant {
    pub tenant: TenantId,
    /// The permission as JSON.
    pub permission: String,
}

/// Whether every one of these permissions is `tenant`'s alone. Not for what a template rendered that
/// may cross tenants.
pub fn check(
    rendered: &PermissionSet,
    tenant: &TenantId,
    v: &Vocabulary,
) -> Result<(), OutsideTenant> {
    for permission in rendered.iter() {
        let selectors = permission.selector_list();
        let inside = permission.resource(v).is_some_and(|resource| {
            let separated =
                |level| selectors.iter().take(level + 1).any(|selector| selector.is_within(tenant));
            let actions = permission.listed_actions(v);
            !actions.is_empty() && fault(resource, actions, separated).is_none()
        });
        if !inside {
            return Err(OutsideTenant {
                tenant: tenant.clone(),
                permission: permission.to_json().to_string(),
            });
        }
    }
    Ok(())
}

/// Why a tenant may not hold these actions.
pub(super) enum Fault {
    /// They are for staff.
    Staff(Actions),
    /// They change what all tenants share.
    Unsafe(Actions),
    /// They act on this level, at or above which no selector separates.
    Mixed(usize),
}

/// `separated` says of a level whether a selector there or above separates.
pub(super) fn fault(
    resource: &ResourceType,
    actions: Actions,
    separated: impl Fn(usize) -> bool,
) -> Option<Fault> {
    let staff = actions.and(resource.staff());
    if !staff.is_empty() {
        return Some(Fault::Staff(staff));
    }
    match resource.kind() {
        Kind::Shared => {
            let bad = actions.without(resource.safe());
            (!bad.is_empty()).then_some(Fault::Unsafe(bad))
        }
        Kind::Tenant => (0..resource.selectors().len())
            .find(|level| {
                !actions.and(resource.actions_acting_at(*level)).is_empty() && !separated(*level)
            })
            .map(Fault::Mixed),
    }
}

/// A selector as a template has it.
pub(super) enum Written {
    All,
    Text { prefix: bool, segments: Vec<Segment> },
}

impl Written {
    pub(super) fn form(&self) -> Option<Form> {
        let Self::Text { prefix, segments } = self else { return None };
        let part = |segment: &Segment| match segment {
            Segment::Literal(text) => Part::Literal(text.clone()),
            Segment::Value(reference) if reference.source == Source::TenantId => Part::Tenant,
            Segment::Value(_) => Part::Value,
        };
        Some(Form::new(*prefix, segments.iter().map(part).collect()))
    }
    pub(super) fn separates(&self) -> bool {
        self.form().is_some_and(|form| form.separates())
    }
    fn names_tenant(&self) -> bool {
        self.form().is_some_and(|form| form.parts().contains(&Part::Tenant))
    }
    /// As it stands in the document, with `:` put after the tenant if `mend`.
    fn shown(&self, mend: bool) -> String {
        let Self::Text { segments, .. } = self else { return "{\"all\": true}".into() };
        let mut shown = String::new();
        let mut mended = !mend;
        for segment in segments {
            match segment {
                Segment::Literal(text) => shown.push_str(text),
                Segment::Value(reference) => {
                    shown.push_str("{{");
                    shown.push_str(&reference.shown);
                    shown.push_str("}}");
                    if !mended && reference.source == Source::TenantId {
                        shown.push(':');
                        mended = true;
                    }
                }
            }
        }
        shown
    }
}

/// Two different tenants, and what both would reach.
struct Meeting {
    tenants: [String; 2],
    text: String,
}

/// What to say of a permission none of whose selectors, as far as `level`, separates. The last that
/// names the tenant is the one to mend, or else the last.
pub(super) fn explain(selectors: &[(&str, Written)], level: usize) -> String {
    let reach = || selectors.iter().take(level + 1);
    let Some((key, written)) =
        reach().rfind(|(_, written)| written.names_tenant()).or_else(|| reach().next_back())
    else {
        return String::new();
    };
    let shown = written.shown(false);
    let (kind, prefix) = match written {
        Written::All => ("", false),
        Written::Text { prefix: true, .. } => ("prefix ", true),
        Written::Text { .. } => ("text ", false),
    };
    let form = written.form();
    let parts = form.as_ref().map_or(&[][..], Form::parts);
    let before = parts.iter().take_while(|part| **part != Part::Tenant);
    let tenants = parts.iter().filter(|part| **part == Part::Tenant).count();
    let (why, fix, meeting) = if tenants == 0 {
        let fix = if prefix { "{{tenant.id}}:".to_owned() } else { "{{tenant.id}}".to_owned() };
        let meeting = Meeting {
            tenants: ["acme".into(), "globex".into()],
            text: without_tenant(parts, prefix),
        };
        ("does not name the tenant", fix, Some(meeting))
    } else if tenants > 1 {
        ("names the tenant more than once", "{{tenant.id}}:".to_owned(), None)
    } else if before.clone().any(|part| *part == Part::Value) {
        ("names another value before the tenant", "{{tenant.id}}:".to_owned(), None)
    } else {
        let before: String = before.map(literal).collect();
        let after = parts.iter().skip_while(|part| **part != Part::Tenant).skip(1);
        let after: Vec<&Part> = after.collect();
        match after.first() {
            Some(Part::Literal(text)) if text.contains(is_delimiter) => {
                let fix = "a delimiter between any two values".to_owned();
                ("has values that no delimiter parts", fix, None)
            }
            _ => {
                let meeting = longer_tenant(&before, &after, prefix);
                ("has no delimiter (: / | #) right after the tenant", written.shown(true), meeting)
            }
        }
    };
    let meeting = meeting.map_or_else(String::new, |Meeting { tenants: [one, other], text }| {
        format!("tenants `{one}` and `{other}`: {key} `{text}` would be open to both, because ")
    });
    let others = if selectors.len() > level + 1 { " (an action acts on this level)" } else { "" };
    format!("{meeting}the `{key}` {kind}`{shown}` {why}{others}; write `{fix}`")
}

fn literal(part: &Part) -> &str {
    match part {
        Part::Literal(text) => text,
        Part::Tenant => "acme",
        Part::Value => "x",
    }
}

fn without_tenant(parts: &[Part], prefix: bool) -> String {
    let mut text: String = parts.iter().map(literal).collect();
    if prefix || text.is_empty() {
        text.push('7');
    }
    text
}

/// A tenant whose id goes on with what follows the tenant in the form, so that the two texts agree.
fn longer_tenant(before: &str, after: &[&Part], prefix: bool) -> Option<Meeting> {
    let (follows, rest) = match after {
        [Part::Literal(text), rest @ ..] => (&**text, rest),
        rest => ("", rest),
    };
    let longer = if follows.is_empty() { "acme-corp".into() } else { format!("acme{follows}corp") };
    // Only where a tenant can have that id do the two meet.
    longer.parse::<TenantId>().ok()?;
    let mut text = format!("{before}{longer}{follows}");
    text.extend(rest.iter().map(|part| literal(part)));
    if prefix {
        text.push_str(if follows.is_empty() && rest.is_empty() { ":7" } else { "7" });
    }
    Some(Meeting { tenants: ["acme".into(), longer], text })
}
