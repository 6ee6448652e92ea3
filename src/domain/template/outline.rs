//! A compiled template as it can be reasoned about without values: what it may grant, and on what that hangs.
//! The boundary proof, the ceiling and the semantic diff look at templates through this.

use crate::domain::permission::Pattern;
use crate::domain::permission::ResourceType;
use crate::domain::template::expression::Condition;
use crate::domain::template::expression::List;
use crate::domain::template::expression::Operand;
use crate::domain::template::expression::Segment;
use crate::domain::template::render::Body;
use crate::domain::template::render::Item;
use crate::domain::template::render::MAX_LOOKS;
use crate::domain::template::render::MAX_RENDERED;
use crate::domain::template::render::MAX_SELECTOR;
use crate::domain::template::render::RoleTemplate;
use crate::domain::template::render::SelectorTemplate;
use crate::domain::template::values::MAX_LIST;
use crate::domain::template::values::MAX_SLOT;
use crate::domain::template::values::Reference;
use crate::domain::template::values::Source;
use std::fmt;
use std::sync::Arc;

/// A permission as a template writes it.
#[derive(Clone, Debug)]
pub struct Outline {
    /// Its place in the document: `$.permissions[0]`.
    pub at: Box<str>,
    pub resource: Arc<ResourceType>,
    /// The access role.
    pub role: Arc<str>,
    /// In the order of the type's selectors.
    pub selectors: Vec<Sketch>,
    /// All must hold, from the outermost: its own and those of the groups around it.
    pub guards: Vec<Guard>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sketch {
    All,
    Text { prefix: bool, pieces: Vec<Piece> },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Piece {
    Literal(Box<str>),
    /// The path of a value: `tenant.id`. An element of a list is `user.claims.regions[]`, whatever `$as` calls it,
    /// and that of a second `$each` over the same list inside the first `user.claims.regions(2)[]`.
    Value(Box<str>),
}

/// What a permission hangs on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Guard {
    /// The condition, in one spelling and with elements of lists as in `Piece::Value`, so that equal texts mean
    /// the same. An `and` is several guards.
    If(Box<str>),
    /// The path of the list.
    Each(Box<str>),
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::If(condition) => write!(f, "$if {condition}"),
            Self::Each(list) => write!(f, "$each {list}"),
        }
    }
}

/// Something without which a template does not render.
#[derive(Clone, Debug)]
pub struct Need {
    pub at: Box<str>,
    pub needed: Needed,
    /// Where these hold, it is needed.
    pub guards: Vec<Guard>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Needed {
    /// A value that can stand in a selector.
    Value(Box<str>),
    /// A list that can be gone through.
    List(Box<str>),
    /// A condition whose values are there and can be compared.
    Condition(Box<str>),
    /// A text that may become too long for a selector, and must not.
    Length(String),
}

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(path) => write!(f, "a value for {{{{{path}}}}}"),
            Self::List(path) => write!(f, "the list {path}"),
            Self::Condition(condition) => write!(f, "the values of `{condition}`"),
            Self::Length(text) => write!(f, "`{text}` within {MAX_SELECTOR} bytes"),
        }
    }
}

/// How much a rendering may become.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// For each object of the document, what it hangs on, and whether it is a permission.
    objects: Vec<(Vec<Guard>, bool)>,
    looks: usize,
    permissions: usize,
}

impl Extent {
    pub(super) const fn may_be_too_much(&self) -> bool {
        self.looks > MAX_LOOKS || self.permissions >= MAX_RENDERED
    }
}

impl Sketch {
    /// As a template writes it, without the key that says whether it is a prefix.
    pub fn shown(&self) -> String {
        let Self::Text { pieces, .. } = self else { return "{\"all\": true}".to_owned() };
        let shown = pieces.iter().map(|piece| match piece {
            Piece::Literal(text) => text.to_string(),
            Piece::Value(path) => format!("{{{{{path}}}}}"),
        });
        shown.collect()
    }
}

impl RoleTemplate {
    /// Every permission of the document, in its order.
    pub fn outline(&self) -> Vec<Outline> {
        self.walk().outlines
    }

    /// Everything in the permissions that an error hangs on, in the document's order.
    pub fn needs(&self) -> Vec<Need> {
        self.walk().needs
    }

    pub(super) fn extent(&self) -> Extent {
        self.walk().extent
    }

    fn walk(&self) -> Walk {
        let mut walk = Walk::default();
        walk.items(&self.items);
        walk
    }
}

/// What stands around an object of the document.
#[derive(Default)]
struct Around {
    guards: Vec<Guard>,
    /// For each enclosing `$each`, its list and the name that tells it from others over the same list.
    lists: Vec<(Box<str>, Box<str>)>,
}

impl Around {
    fn path(&self, reference: &Reference) -> Box<str> {
        match reference.source {
            Source::Variable(depth) => {
                let list = self.lists.get(depth).map_or("", |(_, name)| &**name);
                format!("{list}[]").into()
            }
            _ => reference.shown.clone(),
        }
    }

    /// Two `$each` over one list, one in the other, are at different elements.
    fn name(&self, list: &str) -> Box<str> {
        match self.lists.iter().filter(|(path, _)| **path == *list).count() {
            0 => list.into(),
            outer => format!("{list}({})", outer.saturating_add(1)).into(),
        }
    }

    /// A condition as one text; an `and` as several, since all of it is always evaluated.
    fn conditions(&self, condition: &Condition, all: &mut Vec<Box<str>>) {
        match condition {
            Condition::And(conditions) => {
                for condition in conditions {
                    self.conditions(condition, all);
                }
            }
            one => all.push(self.condition(one).into()),
        }
    }

    fn condition(&self, condition: &Condition) -> String {
        let several = |word: &str, conditions: &[Condition]| {
            let mut text = word.to_owned();
            for condition in conditions {
                text = format!("{text} ({})", self.condition(condition));
            }
            text
        };
        match condition {
            Condition::Is(reference) => self.path(reference).into(),
            Condition::Equal(a, b) => format!("eq {} {}", self.operand(a), self.operand(b)),
            Condition::NotEqual(a, b) => format!("ne {} {}", self.operand(a), self.operand(b)),
            Condition::In(a, list) => {
                let list = match list {
                    List::Reference(reference) => self.path(reference).into(),
                    List::Literal(list) => {
                        let list = list.iter().map(|one| self.operand(one)).collect::<Vec<_>>();
                        format!("[{}]", list.join(", "))
                    }
                };
                format!("in {} {list}", self.operand(a))
            }
            Condition::And(all) => several("and", all),
            Condition::Or(all) => several("or", all),
            Condition::Not(inner) => format!("not ({})", self.condition(inner)),
        }
    }

    fn operand(&self, operand: &Operand) -> String {
        match operand {
            Operand::Text(text) if text.contains(['\'', '\\']) => format!("{text:?}"),
            Operand::Text(text) => format!("'{text}'"),
            Operand::Integer(integer) => integer.to_string(),
            Operand::Bool(value) => value.to_string(),
            Operand::Reference(reference) => self.path(reference).into(),
            Operand::Lower(inner) => format!("(lower {})", self.operand(inner)),
        }
    }

    fn sketch(&self, selector: &SelectorTemplate) -> Sketch {
        match selector {
            SelectorTemplate::Fixed(selector) => {
                let literal = |text: &Arc<str>| vec![Piece::Literal(Box::from(&**text))];
                match selector.pattern() {
                    Pattern::All => Sketch::All,
                    Pattern::Exact(text) => Sketch::Text { prefix: false, pieces: literal(text) },
                    Pattern::Prefix(text) => Sketch::Text { prefix: true, pieces: literal(text) },
                }
            }
            SelectorTemplate::Slot(slot) => {
                let pieces = slot.segments.iter().map(|segment| match segment {
                    Segment::Literal(text) => Piece::Literal(text.clone()),
                    Segment::Value(reference) => Piece::Value(self.path(reference)),
                });
                Sketch::Text { prefix: slot.prefix, pieces: pieces.collect() }
            }
        }
    }
}

#[derive(Default)]
struct Walk {
    around: Around,
    outlines: Vec<Outline>,
    needs: Vec<Need>,
    extent: Extent,
}

impl Walk {
    fn items(&mut self, items: &[Item]) {
        for item in items {
            let (guards, lists) = (self.around.guards.len(), self.around.lists.len());
            self.item(item);
            self.around.guards.truncate(guards);
            self.around.lists.truncate(lists);
        }
    }

    fn item(&mut self, item: &Item) {
        if let Some(each) = &item.each {
            let path = self.around.path(&each.list);
            self.need(&each.at, Needed::List(path.clone()));
            let name = self.around.name(&path);
            self.around.guards.push(Guard::Each(name.clone()));
            self.around.lists.push((path, name));
        }
        self.look(matches!(item.body, Body::Permission { .. }));
        if let Some(when) = &item.condition {
            let mut all = Vec::new();
            self.around.conditions(&when.condition, &mut all);
            for condition in &all {
                self.need(&when.at, Needed::Condition(condition.clone()));
            }
            self.around.guards.extend(all.into_iter().map(Guard::If));
        }
        match &item.body {
            Body::Group(items) => self.items(items),
            Body::Permission { at, resource, role, selectors } => {
                let outline = Outline {
                    at: at.clone(),
                    resource: Arc::clone(resource),
                    role: Arc::clone(role),
                    selectors: selectors.iter().map(|one| self.around.sketch(one)).collect(),
                    guards: self.around.guards.clone(),
                };
                for (selector, sketch) in selectors.iter().zip(&outline.selectors) {
                    if let SelectorTemplate::Slot(slot) = selector {
                        self.slot(&slot.at, sketch);
                    }
                }
                self.outlines.push(outline);
            }
        }
    }

    fn need(&mut self, at: &str, needed: Needed) {
        self.needs.push(Need { at: at.into(), needed, guards: self.around.guards.clone() });
    }

    fn look(&mut self, permission: bool) {
        let depth = u32::try_from(self.around.lists.len()).unwrap_or(u32::MAX);
        let times = MAX_LIST.saturating_pow(depth);
        let extent = &mut self.extent;
        extent.looks = extent.looks.saturating_add(times);
        if permission {
            extent.permissions = extent.permissions.saturating_add(times);
        }
        extent.objects.push((self.around.guards.clone(), permission));
    }

    fn slot(&mut self, at: &str, sketch: &Sketch) {
        let Sketch::Text { pieces, .. } = sketch else { return };
        let mut longest = 0_usize;
        for piece in pieces {
            match piece {
                Piece::Literal(text) => longest = longest.saturating_add(text.len()),
                Piece::Value(path) => {
                    longest = longest.saturating_add(MAX_SLOT);
                    self.need(at, Needed::Value(path.clone()));
                }
            }
        }
        if longest > MAX_SELECTOR {
            self.need(at, Needed::Length(sketch.shown()));
        }
    }
}
