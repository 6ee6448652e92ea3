//! Which values a compiled template reads, and what for.

use crate::domain::template::expression::Condition;
use crate::domain::template::expression::List;
use crate::domain::template::expression::Operand;
use crate::domain::template::expression::Segment;
use crate::domain::template::render::Body;
use crate::domain::template::render::ClaimTemplate;
use crate::domain::template::render::Item;
use crate::domain::template::render::SelectorTemplate;
use crate::domain::template::values::Reference;

/// What a value is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Text,
    List,
    /// It must be true or false.
    Truth,
    Compared,
}

type Visit<'v, 'a> = &'v mut dyn FnMut(&'a Reference, Use);

pub(super) fn items<'a>(items: &'a [Item], visit: Visit<'_, 'a>) {
    for item in items {
        if let Some(each) = &item.each {
            visit(&each.list, Use::List);
        }
        inside(item, visit);
    }
}

/// What an object reads but for the list that it is repeated over.
pub(super) fn inside<'a>(item: &'a Item, visit: Visit<'_, 'a>) {
    if let Some(when) = &item.condition {
        condition(&when.condition, visit);
    }
    match &item.body {
        Body::Group(inner) => items(inner, visit),
        Body::Permission { selectors, .. } => {
            for selector in selectors {
                if let SelectorTemplate::Slot(slot) = selector {
                    segments(&slot.segments, visit);
                }
            }
        }
    }
}

pub(super) fn claim<'a>(claim_template: &'a ClaimTemplate, visit: Visit<'_, 'a>) {
    match claim_template {
        ClaimTemplate::Fixed(_) => {}
        ClaimTemplate::Text { segments: text, .. } => segments(text, visit),
        ClaimTemplate::List(parts) => parts.iter().for_each(|part| claim(part, visit)),
    }
}

fn segments<'a>(segments: &'a [Segment], visit: Visit<'_, 'a>) {
    for segment in segments {
        if let Segment::Value(reference) = segment {
            visit(reference, Use::Text);
        }
    }
}

pub(super) fn condition<'a>(of: &'a Condition, visit: Visit<'_, 'a>) {
    match of {
        Condition::Is(reference) => visit(reference, Use::Truth),
        Condition::Equal(a, b) | Condition::NotEqual(a, b) => {
            operand(a, visit);
            operand(b, visit);
        }
        Condition::In(a, list) => {
            operand(a, visit);
            match list {
                List::Literal(operands) => operands.iter().for_each(|one| operand(one, visit)),
                List::Reference(reference) => visit(reference, Use::List),
            }
        }
        Condition::And(all) | Condition::Or(all) => {
            for one in all {
                condition(one, visit);
            }
        }
        Condition::Not(inner) => condition(inner, visit),
    }
}

fn operand<'a>(of: &'a Operand, visit: Visit<'_, 'a>) {
    match of {
        Operand::Text(_) | Operand::Integer(_) | Operand::Bool(_) => {}
        Operand::Reference(reference) => visit(reference, Use::Compared),
        Operand::Lower(inner) => operand(inner, visit),
    }
}
