//! A compiled template, and what it renders to. This runs for every token.

use crate::domain::permission::Form;
use crate::domain::permission::Pattern;
use crate::domain::permission::Permission;
use crate::domain::permission::PermissionSet;
use crate::domain::permission::ResourceType;
use crate::domain::permission::Selector;
use crate::domain::permission::Vocabulary;
use crate::domain::scope::ScopeSet;
use crate::domain::template::cases::Case;
use crate::domain::template::expression::Condition;
use crate::domain::template::expression::Segment;
use crate::domain::template::values::Problem;
use crate::domain::template::values::Reference;
use crate::domain::template::values::RenderInput;
use crate::domain::template::values::Scalar;
use crate::domain::template::values::Unresolved;
use crate::domain::template::values::Values;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

pub(super) const MAX_RENDERED: usize = 1024;
/// How many times an object of the template is looked at: a list in a list in a list can repeat a
/// condition millions of times and yield nothing.
pub(super) const MAX_LOOKS: usize = 4096;
pub(super) const MAX_SELECTOR: usize = 1024;
const MAX_CLAIM: usize = 4096;

/// A role's template, compiled once and rendered often.
#[derive(Clone, Debug)]
pub struct RoleTemplate {
    pub(super) source: Box<str>,
    pub(super) description: Option<Box<str>>,
    pub(super) expires_in: Option<u32>,
    pub(super) items: Vec<Item>,
    pub(super) scope: ScopeSet,
    pub(super) claims: Vec<(String, ClaimTemplate)>,
    /// The tests that stand in the document.
    pub(super) cases: Box<[Case]>,
    pub(super) crosses_tenants: bool,
}

/// What one role gives one user of one tenant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rendered {
    pub permissions: PermissionSet,
    pub scope: ScopeSet,
    pub expires_in: Option<u32>,
    pub claims: Map<String, Value>,
}

/// A value that the template needs and cannot use. It names the value's path and never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: `{value}` {problem}")]
pub struct RenderError {
    /// The place in the document.
    pub at: Box<str>,
    /// The path of the value.
    pub value: Box<str>,
    pub problem: Problem,
}

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) each: Option<Each>,
    pub(super) condition: Option<When>,
    pub(super) body: Body,
}

/// `$if`
#[derive(Clone, Debug)]
pub(super) struct When {
    pub(super) at: Box<str>,
    pub(super) written: Box<str>,
    pub(super) condition: Condition,
}

#[derive(Clone, Debug)]
pub(super) struct Each {
    pub(super) at: Box<str>,
    pub(super) list: Reference,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Permission {
        at: Box<str>,
        resource: Arc<ResourceType>,
        role: Arc<str>,
        selectors: Vec<SelectorTemplate>,
    },
    Group(Vec<Item>),
}

#[derive(Clone, Debug)]
pub(super) enum SelectorTemplate {
    Fixed(Selector),
    Slot(Slot),
}

#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) at: Box<str>,
    pub(super) prefix: bool,
    pub(super) segments: Vec<Segment>,
    pub(super) form: Option<Arc<Form>>,
}

#[derive(Clone, Debug)]
pub(super) enum ClaimTemplate {
    Fixed(Value),
    Text { at: Box<str>, segments: Vec<Segment> },
    List(Vec<ClaimTemplate>),
}

/// Who looks on while a template renders. `()` sees nothing, and then nothing of this is in the code.
pub(super) trait Observer {
    /// Until `element_ends`, this element of the list is what its variable stands for.
    fn element_begins(&mut self, _list: &Reference, _index: usize, _value: Scalar<'_>) {}
    fn element_ends(&mut self) {}
    /// Until `condition_ends`, all hangs on this condition, which is true.
    fn condition_holds(&mut self, _when: &When) {}
    fn condition_ends(&mut self) {}
    /// A permission has been made of these selectors.
    fn permission(
        &mut self,
        _at: &str,
        _selectors: &[SelectorTemplate],
        _made: &Permission,
        _values: &Values<'_>,
    ) {
    }
    fn list_is_empty(&mut self, _each: &Each) {}
    fn condition_is_false(&mut self, _when: &When) {}
}

impl Observer for () {}

/// What has been rendered so far.
struct Output<'o, O> {
    permissions: Vec<Permission>,
    looks: usize,
    observer: &'o mut O,
}

fn placed(at: &str) -> impl Fn(Unresolved) -> RenderError {
    move |Unresolved { value, problem }| RenderError { at: at.into(), value, problem }
}

impl RoleTemplate {
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }
    /// The document as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn render(&self, input: &RenderInput<'_>, v: &Vocabulary) -> Result<Rendered, RenderError> {
        self.render_observed(input, v, &mut ())
    }

    pub(super) fn render_observed<O: Observer>(
        &self,
        input: &RenderInput<'_>,
        v: &Vocabulary,
        observer: &mut O,
    ) -> Result<Rendered, RenderError> {
        let mut values = Values::new(*input);
        let permissions = Vec::with_capacity(self.items.len());
        let mut out = Output { permissions, looks: 0, observer };
        render_items(&self.items, &mut values, &mut out)?;
        let mut claims = Map::new();
        for (name, claim) in &self.claims {
            claims.insert(name.clone(), claim.render(&values)?);
        }
        Ok(Rendered {
            permissions: PermissionSet::from_permissions(out.permissions, v),
            scope: self.scope.clone(),
            expires_in: self.expires_in,
            claims,
        })
    }
}

fn render_items<O: Observer>(
    items: &[Item],
    values: &mut Values<'_>,
    out: &mut Output<'_, O>,
) -> Result<(), RenderError> {
    for item in items {
        let Some(each) = &item.each else {
            item.render(values, out)?;
            continue;
        };
        let list = values.list(&each.list).map_err(placed(&each.at))?;
        if list.is_empty() {
            out.observer.list_is_empty(each);
        }
        for (index, value) in list.into_iter().enumerate() {
            out.observer.element_begins(&each.list, index, value);
            values.push(value);
            let rendered = item.render(values, out);
            values.pop();
            out.observer.element_ends();
            rendered?;
        }
    }
    Ok(())
}

impl Item {
    fn render<O: Observer>(
        &self,
        values: &mut Values<'_>,
        out: &mut Output<'_, O>,
    ) -> Result<(), RenderError> {
        out.looks += 1;
        if out.looks > MAX_LOOKS || out.permissions.len() == MAX_RENDERED {
            let list = self.each.as_ref().map_or("permissions", |each| &*each.list.shown);
            let problem = Problem::TooMany;
            return Err(RenderError { at: "$.permissions".into(), value: list.into(), problem });
        }
        let Some(when) = &self.condition else { return self.body.render(values, out) };
        if !when.condition.evaluate(values).map_err(placed(&when.at))? {
            out.observer.condition_is_false(when);
            return Ok(());
        }
        out.observer.condition_holds(when);
        let rendered = self.body.render(values, out);
        out.observer.condition_ends();
        rendered
    }
}

impl Body {
    fn render<O: Observer>(
        &self,
        values: &mut Values<'_>,
        out: &mut Output<'_, O>,
    ) -> Result<(), RenderError> {
        match self {
            Self::Group(items) => render_items(items, values, out),
            Self::Permission { at, resource, role, selectors: written } => {
                let selectors = written.iter().map(|selector| selector.render(values));
                let selectors = selectors.collect::<Result<_, _>>()?;
                let made = Permission::rendered(Arc::clone(resource), Arc::clone(role), selectors);
                out.observer.permission(at, written, &made, values);
                out.permissions.push(made);
                Ok(())
            }
        }
    }
}

impl SelectorTemplate {
    fn render(&self, values: &Values<'_>) -> Result<Selector, RenderError> {
        match self {
            Self::Fixed(selector) => Ok(selector.clone()),
            Self::Slot(slot) => {
                let text = render_text(&slot.segments, &slot.at, values, true, MAX_SELECTOR)?;
                let text = Arc::from(text);
                let pattern =
                    if slot.prefix { Pattern::Prefix(text) } else { Pattern::Exact(text) };
                Ok(Selector::rendered(pattern, slot.form.clone()))
            }
        }
    }
}

impl ClaimTemplate {
    fn render(&self, values: &Values<'_>) -> Result<Value, RenderError> {
        match self {
            Self::Fixed(value) => Ok(value.clone()),
            Self::Text { at, segments } => {
                render_text(segments, at, values, false, MAX_CLAIM).map(Value::String)
            }
            Self::List(parts) => {
                let parts = parts.iter().map(|part| part.render(values));
                parts.collect::<Result<_, _>>().map(Value::Array)
            }
        }
    }
}

fn render_text(
    segments: &[Segment],
    at: &str,
    values: &Values<'_>,
    in_selector: bool,
    limit: usize,
) -> Result<String, RenderError> {
    let mut text = String::with_capacity(64);
    for segment in segments {
        match segment {
            Segment::Literal(literal) => text.push_str(literal),
            Segment::Value(reference) => {
                values.write(reference, in_selector, &mut text).map_err(placed(at))?;
            }
        }
        if text.len() > limit {
            let value = segments.iter().find_map(|segment| match segment {
                Segment::Value(reference) => Some(reference.shown.clone()),
                Segment::Literal(_) => None,
            });
            let value = value.unwrap_or_default();
            return Err(RenderError { at: at.into(), value, problem: Problem::TooLong });
        }
    }
    Ok(text)
}
