//! A compiled template as it can be reasoned about without values: what it may grant, and on what that hangs.
//! The boundary proof, the ceiling and the semantic diff look at templates through this.

use crate::domain::permission::Pattern;
use crate::domain::permission::ResourceType;
use crate::domain::template::expression::Segment;
use crate::domain::template::render::Body;
use crate::domain::template::render::Item;
use crate::domain::template::render::RoleTemplate;
use crate::domain::template::render::SelectorTemplate;
use crate::domain::template::values::Reference;
use crate::domain::template::values::Source;
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
    /// The path of a value: `tenant.id`. An element of a list is `user.claims.regions[]`, whatever `$as` calls it.
    Value(Box<str>),
}

/// What a permission hangs on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Guard {
    /// The condition, as it is written.
    If(Box<str>),
    /// The path of the list.
    Each(Box<str>),
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
        let mut found = Vec::new();
        walk(&self.items, &mut Around::default(), &mut found);
        found
    }
}

/// What stands around an object of the document.
#[derive(Default)]
struct Around {
    guards: Vec<Guard>,
    /// For each enclosing `$each`, its list.
    lists: Vec<Box<str>>,
}

impl Around {
    fn path(&self, reference: &Reference) -> Box<str> {
        match reference.source {
            Source::Variable(depth) => {
                let list = self.lists.get(depth).map_or("", |list| &**list);
                format!("{list}[]").into()
            }
            _ => reference.shown.clone(),
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

fn walk(items: &[Item], around: &mut Around, found: &mut Vec<Outline>) {
    for item in items {
        let (guards, lists) = (around.guards.len(), around.lists.len());
        if let Some(each) = &item.each {
            let list = around.path(&each.list);
            around.guards.push(Guard::Each(list.clone()));
            around.lists.push(list);
        }
        if let Some(when) = &item.condition {
            around.guards.push(Guard::If(when.written.clone()));
        }
        match &item.body {
            Body::Group(items) => walk(items, around, found),
            Body::Permission { at, resource, role, selectors } => found.push(Outline {
                at: at.clone(),
                resource: Arc::clone(resource),
                role: Arc::clone(role),
                selectors: selectors.iter().map(|selector| around.sketch(selector)).collect(),
                guards: around.guards.clone(),
            }),
        }
        around.guards.truncate(guards);
        around.lists.truncate(lists);
    }
}
