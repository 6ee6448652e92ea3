//! What a template can name, and what it finds there. Nothing is ever taken for an empty string.

use crate::domain::ids::ClientId;
use crate::domain::ids::SubjectId;
use crate::domain::tenant::AttributeValue;
use crate::domain::tenant::Tenant;
use serde_json::{Map, Value};

pub(super) const MAX_LIST: usize = 256;
const MAX_CLAIM_DEPTH: usize = 8;
pub(super) const MAX_SLOT: usize = 128;

/// What a template is rendered for.
#[derive(Clone, Copy, Debug)]
pub struct RenderInput<'a> {
    pub tenant: &'a Tenant,
    /// Without it, every `user.…` is an error.
    pub user: Option<User<'a>>,
    pub client: &'a ClientId,
}

#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    pub id: &'a SubjectId,
    pub claims: &'a Map<String, Value>,
}

/// Why a value cannot stand where a template puts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("is absent")]
    Absent,
    #[error("is null")]
    Null,
    #[error("is absent, because there is no user here")]
    NoUser,
    #[error("is neither a string nor an integer")]
    NotScalar,
    #[error("is not a list of strings and integers")]
    NotList,
    #[error("is neither true nor false")]
    NotBool,
    #[error("is not a string")]
    NotText,
    #[error("is compared with a value of another kind")]
    OtherKind,
    #[error("is not 1 to 128 ASCII letters, digits and . _ @ + -, which a selector needs")]
    NotForSelector,
    #[error("makes the text too long")]
    TooLong,
    #[error("is a list of more than 256 values")]
    ListTooLong,
    #[error("leads to too many repetitions or permissions")]
    TooMany,
}

/// A value that could not be used, by its path in the template.
pub(super) struct Unresolved {
    pub(super) value: Box<str>,
    pub(super) problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    TenantId,
    TenantName,
    TenantAttribute(Box<str>),
    UserId,
    /// The way down into the claims; never empty.
    Claim(Box<[Box<str>]>),
    Groups,
    ClientId,
    /// What the `$each` at this depth has arrived at.
    Variable(usize),
}

/// A `{{path}}`, resolved as far as can be without values.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) source: Source,
    /// As it is written.
    pub(super) shown: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Scalar,
    List,
    /// Only the value can tell.
    Any,
}

/// A string, an integer or a truth value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar<'a> {
    Text(&'a str),
    Integer(i128),
    Bool(bool),
}

enum Found<'a> {
    Scalar(Scalar<'a>),
    Texts(&'a [String]),
    Values(&'a [Value]),
    Null,
    Other,
}

/// The values of one rendering, and the variables that are set at the moment.
pub(super) struct Values<'a> {
    input: RenderInput<'a>,
    variables: Vec<Scalar<'a>>,
}

fn text(text: &str) -> Found<'_> {
    Found::Scalar(Scalar::Text(text))
}

fn json(value: &Value) -> Found<'_> {
    match value {
        Value::Null => Found::Null,
        Value::Bool(value) => Found::Scalar(Scalar::Bool(*value)),
        Value::Number(number) => {
            let integer =
                number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
            integer.map_or(Found::Other, |integer| Found::Scalar(Scalar::Integer(integer)))
        }
        Value::String(value) => text(value),
        Value::Array(list) => Found::Values(list),
        Value::Object(_) => Found::Other,
    }
}

impl Reference {
    /// The reference that these names stand for; `variables` are those in reach.
    pub(super) fn resolve(names: &[&str], variables: &[String]) -> Option<Source> {
        let claim =
            |names: &[&str]| Source::Claim(names.iter().map(|name| (*name).into()).collect());
        Some(match names {
            ["tenant", "id"] => Source::TenantId,
            ["tenant", "name"] => Source::TenantName,
            ["tenant", "attributes", name] => Source::TenantAttribute((*name).into()),
            ["user", "id"] => Source::UserId,
            ["user", name @ ("email" | "name")] => claim(&[name]),
            ["user", "groups"] => Source::Groups,
            ["user", "claims", names @ ..]
                if !names.is_empty() && names.len() <= MAX_CLAIM_DEPTH =>
            {
                claim(names)
            }
            ["client", "id"] => Source::ClientId,
            [name] => Source::Variable(variables.iter().position(|own| own == name)?),
            _ => return None,
        })
    }
    pub(super) const fn shape(&self) -> Shape {
        match self.source {
            Source::TenantAttribute(_) | Source::Claim(_) => Shape::Any,
            Source::Groups => Shape::List,
            Source::TenantId
            | Source::TenantName
            | Source::UserId
            | Source::ClientId
            | Source::Variable(_) => Shape::Scalar,
        }
    }
    pub(super) fn fails(&self, problem: Problem) -> Unresolved {
        Unresolved { value: self.shown.clone(), problem }
    }
}

impl<'a> Values<'a> {
    pub(super) const fn new(input: RenderInput<'a>) -> Self {
        Self { input, variables: Vec::new() }
    }
    pub(super) fn push(&mut self, value: Scalar<'a>) {
        self.variables.push(value);
    }
    pub(super) fn pop(&mut self) {
        self.variables.pop();
    }

    fn find(&self, source: &Source) -> Result<Found<'a>, Problem> {
        let tenant = self.input.tenant;
        let user = || self.input.user.ok_or(Problem::NoUser);
        let claim = |name: &str| user()?.claims.get(name).ok_or(Problem::Absent);
        Ok(match source {
            Source::TenantId => text(tenant.id.as_str()),
            Source::TenantName => text(&tenant.name),
            Source::TenantAttribute(name) => {
                match tenant.attributes.get(&**name).ok_or(Problem::Absent)? {
                    AttributeValue::Bool(value) => Found::Scalar(Scalar::Bool(*value)),
                    AttributeValue::Integer(value) => {
                        Found::Scalar(Scalar::Integer((*value).into()))
                    }
                    AttributeValue::Text(value) => text(value),
                    AttributeValue::List(list) => Found::Texts(list),
                }
            }
            Source::UserId => text(user()?.id.as_str()),
            Source::Claim(names) => {
                let (first, rest) = names.split_first().ok_or(Problem::Absent)?;
                let found = rest.iter().try_fold(claim(first)?, |value, name| match value {
                    Value::Object(object) => object.get(&**name),
                    _ => None,
                });
                json(found.ok_or(Problem::Absent)?)
            }
            Source::Groups => json(claim("groups")?),
            Source::ClientId => text(self.input.client.as_str()),
            Source::Variable(index) => {
                Found::Scalar(*self.variables.get(*index).ok_or(Problem::Absent)?)
            }
        })
    }

    /// A string, an integer or a truth value.
    pub(super) fn scalar(&self, reference: &Reference) -> Result<Scalar<'a>, Unresolved> {
        let problem = match self.find(&reference.source) {
            Ok(Found::Scalar(scalar)) => return Ok(scalar),
            Ok(Found::Null) => Problem::Null,
            Ok(_) => Problem::NotScalar,
            Err(problem) => problem,
        };
        Err(reference.fails(problem))
    }
    pub(super) fn truth(&self, reference: &Reference) -> Result<bool, Unresolved> {
        let problem = match self.find(&reference.source) {
            Ok(Found::Scalar(Scalar::Bool(value))) => return Ok(value),
            Ok(Found::Null) => Problem::Null,
            Ok(_) => Problem::NotBool,
            Err(problem) => problem,
        };
        Err(reference.fails(problem))
    }
    /// A list of strings and integers.
    pub(super) fn list(&self, reference: &Reference) -> Result<Vec<Scalar<'a>>, Unresolved> {
        let fails = |problem| reference.fails(problem);
        let found = self.find(&reference.source).map_err(fails)?;
        let length = match &found {
            Found::Texts(texts) => texts.len(),
            Found::Values(values) => values.len(),
            Found::Null => return Err(fails(Problem::Null)),
            Found::Scalar(_) | Found::Other => return Err(fails(Problem::NotList)),
        };
        if length > MAX_LIST {
            return Err(fails(Problem::ListTooLong));
        }
        match found {
            Found::Texts(texts) => Ok(texts.iter().map(|value| Scalar::Text(value)).collect()),
            Found::Values(values) => {
                let element = |value| match json(value) {
                    Found::Scalar(scalar @ (Scalar::Text(_) | Scalar::Integer(_))) => Ok(scalar),
                    _ => Err(fails(Problem::NotList)),
                };
                values.iter().map(element).collect()
            }
            _ => Err(fails(Problem::NotList)),
        }
    }
    /// Puts a string or an integer into `out`. In a selector it must be such that it can neither
    /// look like a delimiter or a wildcard nor be nothing at all.
    pub(super) fn write(
        &self,
        reference: &Reference,
        in_selector: bool,
        out: &mut String,
    ) -> Result<(), Unresolved> {
        let before = out.len();
        match self.scalar(reference)? {
            Scalar::Text(text) => out.push_str(text),
            Scalar::Integer(integer) => out.push_str(&integer.to_string()),
            Scalar::Bool(_) => return Err(reference.fails(Problem::NotScalar)),
        }
        if in_selector && !is_slot_value(out.get(before..).unwrap_or_default()) {
            return Err(reference.fails(Problem::NotForSelector));
        }
        Ok(())
    }
}

fn is_slot_value(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'@' | b'+' | b'-');
    (1..=MAX_SLOT).contains(&text.len()) && text.bytes().all(plain)
}
