//! The strings of a template: text with `{{path}}`, lists and conditions.
//!
//! `handlebars` parses; what its syntax tree holds beyond the few things below is refused, and so is
//! a string that cannot be put together again from the pieces that were understood. So nothing that
//! the parser trims, unescapes or skips goes unseen.

use crate::domain::template::values::Problem;
use crate::domain::template::values::Reference;
use crate::domain::template::values::Scalar;
use crate::domain::template::values::Shape;
use crate::domain::template::values::Unresolved;
use crate::domain::template::values::Values;
use handlebars::Path;
use handlebars::PathSeg;
use handlebars::Template;
use handlebars::template::HelperTemplate;
use handlebars::template::Parameter;
use handlebars::template::TemplateElement;
use serde_json::Value;
use std::borrow::Cow;

const MAX_STRING: usize = 1024;
const MAX_EXPRESSIONS: usize = 32;
const MAX_DEPTH: usize = 16;
const MAX_NAME: usize = 128;
const KNOWN: &str = "a template can name tenant.id, tenant.name, tenant.attributes.…, user.id, \
                     user.email, user.name, user.groups, user.claims.…, client.id and what an \
                     enclosing `$as` names";
const ONLY_PATHS: &str = "only text and `{{path}}` can stand in a string";
const OPERATORS: &str = "a condition is a path to true or false, or one of `eq a b`, `ne a b`, \
                         `in a list`, `and c c …`, `or c c …`, `not c`, nested in parentheses";

/// A piece of a string. Two literals never follow each other.
#[derive(Clone, Debug)]
pub(super) enum Segment {
    Literal(Box<str>),
    Value(Reference),
}

/// Keeps the parser's work small whatever is written: it nests, and some of it is quadratic.
fn check_size(source: &str) -> Result<(), String> {
    if source.len() > MAX_STRING {
        return Err(format!("is longer than {MAX_STRING} bytes"));
    }
    if source.matches("{{").count() > MAX_EXPRESSIONS {
        return Err(format!("holds more than {MAX_EXPRESSIONS} expressions"));
    }
    let mut depth = 0_usize;
    for c in source.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(format!("nests brackets more than {MAX_DEPTH} deep"));
        }
    }
    Ok(())
}

fn parse(source: &str) -> Result<Template, String> {
    Template::compile(source).map_err(|error| format!("{ONLY_PATHS}: {}", error.reason()))
}

/// A string of text and `{{path}}`, where `variables` are in reach.
pub(super) fn parse_text(source: &str, variables: &[String]) -> Result<Vec<Segment>, String> {
    check_size(source)?;
    if !source.contains("{{") && !source.contains('\\') {
        return Ok(literal_only(source));
    }
    let mut segments: Vec<Segment> = Vec::new();
    let mut rest = source;
    for element in parse(source)?.elements {
        let remaining = match element {
            TemplateElement::RawString(text) => {
                let remaining = rest.strip_prefix(text.as_str());
                if let Some(Segment::Literal(last)) = segments.last_mut() {
                    *last = format!("{last}{text}").into();
                } else if !text.is_empty() {
                    segments.push(Segment::Literal(text.into()));
                }
                remaining
            }
            TemplateElement::Expression(expression) => {
                let path = bare_path(&expression).ok_or(ONLY_PATHS)?;
                let reference = parse_reference(path, variables)?;
                if reference.shape() == Shape::List {
                    return Err(format!("`{}` is a list; use it in `$each`", reference.shown));
                }
                let inner = rest.strip_prefix("{{").map(str::trim_start);
                let inner = inner.and_then(|inner| inner.strip_prefix(&*reference.shown));
                segments.push(Segment::Value(reference));
                inner.and_then(|inner| inner.trim_start().strip_prefix("}}"))
            }
            TemplateElement::HtmlExpression(_) => {
                return Err(format!("{ONLY_PATHS}, not `{{{{{{…}}}}}}` or `{{{{&…}}}}`"));
            }
            TemplateElement::HelperBlock(_) => {
                return Err(format!("{ONLY_PATHS}, no blocks; `$if` and `$each` stand beside it"));
            }
            TemplateElement::PartialExpression(_) | TemplateElement::PartialBlock(_) => {
                return Err(format!("{ONLY_PATHS}, no partials"));
            }
            TemplateElement::DecoratorExpression(_) | TemplateElement::DecoratorBlock(_) => {
                return Err(format!("{ONLY_PATHS}, no decorators"));
            }
            // Comments, and whatever a later parser may add.
            _ => {
                return Err(format!("{ONLY_PATHS}; for a comment there is `description`"));
            }
        };
        rest = remaining.ok_or_else(|| {
            format!("{ONLY_PATHS}: `~` and a backslash before braces have no meaning here")
        })?;
    }
    if rest.is_empty() {
        Ok(segments)
    } else {
        Err(format!("{ONLY_PATHS}: {rest:?} is not understood"))
    }
}

fn literal_only(source: &str) -> Vec<Segment> {
    if source.is_empty() { Vec::new() } else { vec![Segment::Literal(source.into())] }
}

/// The path to a list, as `$each` takes it.
pub(super) fn parse_list(source: &str, variables: &[String]) -> Result<Reference, String> {
    let expression = parse_single(source)?;
    let path = bare_path(&expression).ok_or("`$each` takes the path to a list")?;
    let reference = parse_reference(path, variables)?;
    if reference.shape() == Shape::Scalar {
        return Err(format!("`{}` is never a list", reference.shown));
    }
    Ok(reference)
}

/// The one expression that stands, without its braces, in a directive.
fn parse_single(source: &str) -> Result<Box<HelperTemplate>, String> {
    check_size(source)?;
    let source = source.trim();
    if source.contains("{{") || source.contains("}}") || source.contains('~') {
        return Err("is an expression already: write it without `{{`, `}}` and `~`".into());
    }
    let mut elements = parse(&format!("{{{{{source}}}}}"))?.elements.into_iter();
    match (elements.next(), elements.next()) {
        (Some(TemplateElement::Expression(expression)), None) => Ok(expression),
        _ => Err(OPERATORS.into()),
    }
}

fn is_plain(expression: &HelperTemplate) -> bool {
    !expression.block
        && expression.hash.is_empty()
        && expression.block_param.is_none()
        && expression.template.is_none()
        && expression.inverse.is_none()
}

fn bare_path(expression: &HelperTemplate) -> Option<&Path> {
    match &expression.name {
        Parameter::Path(path) if is_plain(expression) && expression.params.is_empty() => Some(path),
        _ => None,
    }
}

fn parse_reference(path: &Path, variables: &[String]) -> Result<Reference, String> {
    let Path::Relative((segments, shown)) = path else {
        return Err(format!("no `@` here: {KNOWN}"));
    };
    let names = names(segments, shown).ok_or_else(|| format!("`{shown}` is no path: {KNOWN}"))?;
    let source = Reference::resolve(&names, variables);
    let source = source.ok_or_else(|| format!("there is no `{shown}`: {KNOWN}"))?;
    Ok(Reference { source, shown: shown.as_str().into() })
}

/// The names in a path such as `a.b` or `a.[https://b]`, if it is nothing but that.
fn names<'a>(segments: &'a [PathSeg], shown: &str) -> Option<Vec<&'a str>> {
    let mut names = Vec::with_capacity(segments.len());
    let mut rest = shown;
    for (index, segment) in segments.iter().enumerate() {
        let PathSeg::Named(name) = segment else { return None };
        if index > 0 {
            rest = rest.strip_prefix('.')?;
        }
        rest = if let Some(bracketed) = rest.strip_prefix('[') {
            let good = (1..=MAX_NAME).contains(&name.len())
                && !name.contains(char::is_control)
                && !name.starts_with("__");
            bracketed.strip_prefix(name.as_str()).filter(|_| good)?.strip_prefix(']')?
        } else {
            rest.strip_prefix(name.as_str()).filter(|_| is_name(name))?
        };
        names.push(name.as_str());
    }
    rest.is_empty().then_some(names)
}

/// A name that needs no brackets, and the only form that a variable can have.
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME
        && !text.starts_with("__")
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// What `$if` asks. All of it is always evaluated, so that a missing value is found in any branch.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    Is(Reference),
    Equal(Operand, Operand),
    NotEqual(Operand, Operand),
    In(Operand, List),
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Not(Box<Condition>),
}

#[derive(Clone, Debug)]
pub(super) enum Operand {
    Text(String),
    Integer(i128),
    Bool(bool),
    Reference(Reference),
    Lower(Box<Operand>),
}

#[derive(Clone, Debug)]
pub(super) enum List {
    Literal(Vec<Operand>),
    Reference(Reference),
}

pub(super) fn parse_condition(source: &str, variables: &[String]) -> Result<Condition, String> {
    condition(&*parse_single(source)?, variables)
}

fn condition(expression: &HelperTemplate, variables: &[String]) -> Result<Condition, String> {
    if let Some(path) = bare_path(expression) {
        let reference = parse_reference(path, variables)?;
        // All scalars that are known beforehand are strings, save a variable: a string or integer.
        return match reference.shape() {
            Shape::Any => Ok(Condition::Is(reference)),
            _ => Err(format!("`{}` is never true or false; compare it", reference.shown)),
        };
    }
    if !is_plain(expression) {
        return Err(OPERATORS.into());
    }
    let operator = match (&expression.name, &*expression.params) {
        (Parameter::Name(operator), _) => operator.as_str(),
        (inner @ Parameter::Subexpression(_), []) => return inner_condition(inner, variables),
        _ => return Err(OPERATORS.into()),
    };
    let operand = |parameter| operand(parameter, variables);
    let inner = |parameter| inner_condition(parameter, variables);
    match (operator, &*expression.params) {
        ("eq", [a, b]) => Ok(Condition::Equal(operand(a)?, operand(b)?)),
        ("ne", [a, b]) => Ok(Condition::NotEqual(operand(a)?, operand(b)?)),
        ("in", [a, list]) => Ok(Condition::In(operand(a)?, parse_operand_list(list, variables)?)),
        ("not", [a]) => Ok(Condition::Not(Box::new(inner(a)?))),
        ("and", all @ [_, _, ..]) => {
            Ok(Condition::And(all.iter().map(inner).collect::<Result<_, _>>()?))
        }
        ("or", all @ [_, _, ..]) => {
            Ok(Condition::Or(all.iter().map(inner).collect::<Result<_, _>>()?))
        }
        _ => Err(OPERATORS.into()),
    }
}

fn subexpression(parameter: &Parameter) -> Option<&HelperTemplate> {
    match parameter {
        Parameter::Subexpression(inner) => match inner.as_element() {
            TemplateElement::Expression(expression) => Some(expression),
            _ => None,
        },
        _ => None,
    }
}

fn inner_condition(parameter: &Parameter, variables: &[String]) -> Result<Condition, String> {
    match (parameter, subexpression(parameter)) {
        (_, Some(expression)) => condition(expression, variables),
        (Parameter::Path(path), _) => {
            let reference = parse_reference(path, variables)?;
            match reference.shape() {
                Shape::Any => Ok(Condition::Is(reference)),
                _ => Err(format!("`{}` is never true or false; compare it", reference.shown)),
            }
        }
        _ => Err(OPERATORS.into()),
    }
}

fn operand(parameter: &Parameter, variables: &[String]) -> Result<Operand, String> {
    if let Some(expression) = subexpression(parameter) {
        return match (&expression.name, &*expression.params) {
            (Parameter::Name(name), [inner]) if name == "lower" && is_plain(expression) => {
                Ok(Operand::Lower(Box::new(operand(inner, variables)?)))
            }
            _ => Err("the only expression that gives a value is `(lower a)`".into()),
        };
    }
    match parameter {
        Parameter::Path(path) => {
            let reference = parse_reference(path, variables)?;
            match reference.shape() {
                Shape::List => Err(format!("`{}` is a list; use `in`", reference.shown)),
                _ => Ok(Operand::Reference(reference)),
            }
        }
        Parameter::Literal(value) => literal(value),
        _ => Err(OPERATORS.into()),
    }
}

fn literal(value: &Value) -> Result<Operand, String> {
    let integer = || value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    match value {
        Value::String(text) => Ok(Operand::Text(text.clone())),
        Value::Bool(value) => Ok(Operand::Bool(*value)),
        _ => integer()
            .map(Operand::Integer)
            .ok_or_else(|| format!("`{value}` is neither a string, an integer nor a truth value")),
    }
}

fn parse_operand_list(parameter: &Parameter, variables: &[String]) -> Result<List, String> {
    match parameter {
        Parameter::Literal(Value::Array(values)) => {
            Ok(List::Literal(values.iter().map(literal).collect::<Result<_, _>>()?))
        }
        Parameter::Path(path) => {
            let reference = parse_reference(path, variables)?;
            match reference.shape() {
                Shape::Scalar => Err(format!("`{}` is never a list", reference.shown)),
                _ => Ok(List::Reference(reference)),
            }
        }
        _ => Err("`in` takes a value and then a list: a path or [\"a\", \"b\"]".into()),
    }
}

impl Condition {
    pub(super) fn evaluate(&self, values: &Values<'_>) -> Result<bool, Unresolved> {
        match self {
            Self::Is(reference) => values.truth(reference),
            Self::Equal(a, b) => equal(a, b, values),
            Self::NotEqual(a, b) => Ok(!equal(a, b, values)?),
            Self::In(a, list) => {
                let wanted = a.evaluate(values)?;
                let mut found = false;
                match list {
                    List::Literal(operands) => {
                        for operand in operands {
                            found |= wanted.equals(&operand.evaluate(values)?, a)?;
                        }
                    }
                    List::Reference(reference) => {
                        for value in values.list(reference)? {
                            found |= wanted.equals(&Datum::from(value), a)?;
                        }
                    }
                }
                Ok(found)
            }
            Self::And(all) => {
                all.iter().try_fold(true, |so_far, one| Ok(one.evaluate(values)? && so_far))
            }
            Self::Or(all) => {
                all.iter().try_fold(false, |so_far, one| Ok(one.evaluate(values)? || so_far))
            }
            Self::Not(inner) => Ok(!inner.evaluate(values)?),
        }
    }
}

fn equal(a: &Operand, b: &Operand, values: &Values<'_>) -> Result<bool, Unresolved> {
    a.evaluate(values)?.equals(&b.evaluate(values)?, a)
}

/// A value on one side of a comparison.
enum Datum<'a> {
    Text(Cow<'a, str>),
    Integer(i128),
    Bool(bool),
}

impl<'a> From<Scalar<'a>> for Datum<'a> {
    fn from(scalar: Scalar<'a>) -> Self {
        match scalar {
            Scalar::Text(text) => Self::Text(text.into()),
            Scalar::Integer(integer) => Self::Integer(integer),
            Scalar::Bool(value) => Self::Bool(value),
        }
    }
}

impl Datum<'_> {
    /// Values of different kinds are not unequal: the comparison is a mistake.
    fn equals(&self, other: &Datum<'_>, shown: &Operand) -> Result<bool, Unresolved> {
        match (self, other) {
            (Self::Text(a), Datum::Text(b)) => Ok(a == b),
            (Self::Integer(a), Datum::Integer(b)) => Ok(a == b),
            (Self::Bool(a), Datum::Bool(b)) => Ok(a == b),
            _ => Err(shown.fails(Problem::OtherKind)),
        }
    }
}

impl Operand {
    fn evaluate<'a>(&'a self, values: &Values<'a>) -> Result<Datum<'a>, Unresolved> {
        match self {
            Self::Text(text) => Ok(Datum::Text(text.into())),
            Self::Integer(integer) => Ok(Datum::Integer(*integer)),
            Self::Bool(value) => Ok(Datum::Bool(*value)),
            Self::Reference(reference) => values.scalar(reference).map(Datum::from),
            Self::Lower(inner) => match inner.evaluate(values)? {
                Datum::Text(text) => Ok(Datum::Text(text.to_ascii_lowercase().into())),
                _ => Err(inner.fails(Problem::NotText)),
            },
        }
    }
    fn fails(&self, problem: Problem) -> Unresolved {
        match self {
            Self::Reference(reference) => reference.fails(problem),
            Self::Lower(inner) => inner.fails(problem),
            Self::Text(text) => Unresolved { value: format!("{text:?}").into(), problem },
            Self::Integer(integer) => Unresolved { value: integer.to_string().into(), problem },
            Self::Bool(value) => Unresolved { value: value.to_string().into(), problem },
        }
    }
}
