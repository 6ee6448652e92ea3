//! How a template wrote a selector, and whether that alone keeps tenants apart.
//!
//! A *separating* form is A`{{tenant.id}}`R, where A is literal, `{{tenant.id}}` stands once and
//! before all other values, any other value comes only after a literal that holds a delimiter,
//! values are parted by such literals, and in a prefix the literal right after `{{tenant.id}}`
//! holds a delimiter.
//!
//! Why that separates two tenants S and T which render the same form: neither a tenant id nor a
//! value can hold a delimiter. If the literal after the tenant holds one, the first delimiter after
//! A stands at |tenant| plus a constant, so two texts that agree up to there have tenants of equal
//! length at the same place, which are therefore equal; a prefix is as long as that, so it cannot
//! meet the other's. If the literal holds none, then the selector is exact and has no other value:
//! A`S`R = A`T`R only if S = T.

use crate::domain::ids::TenantId;

/// What no tenant id and no value in a selector can hold.
pub const fn is_delimiter(c: char) -> bool {
    matches!(c, ':' | '/' | '|' | '#')
}

fn has_delimiter(text: &str) -> bool {
    text.contains(is_delimiter)
}

/// One piece of a selector's text in a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Literal(Box<str>),
    Tenant,
    /// Any other value.
    Value,
}

/// The shape of one selector. Only a compiled template makes one, and no permission that came in
/// as text has one, so nothing outside can claim it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    prefix: bool,
    parts: Box<[Part]>,
}

impl Form {
    pub(in crate::domain) fn new(prefix: bool, parts: Vec<Part>) -> Self {
        Self { prefix, parts: parts.into() }
    }
    pub const fn is_prefix(&self) -> bool {
        self.prefix
    }
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
    /// The literals around the tenant, if this form separates.
    fn around_tenant(&self) -> Option<(&str, &str)> {
        let (before, rest) = match &*self.parts {
            [Part::Literal(before), Part::Tenant, rest @ ..] => (&**before, rest),
            [Part::Tenant, rest @ ..] => ("", rest),
            _ => return None,
        };
        let (after, mut rest) = match rest {
            [Part::Literal(after), rest @ ..] => (&**after, rest),
            rest => ("", rest),
        };
        if (self.prefix || !rest.is_empty()) && !has_delimiter(after) {
            return None;
        }
        // The rest must be values, each but the last followed by a literal with a delimiter.
        loop {
            rest = match rest {
                [] | [Part::Value] | [Part::Value, Part::Literal(_)] => {
                    return Some((before, after));
                }
                [Part::Value, Part::Literal(parting), rest @ ..] if has_delimiter(parting) => rest,
                _ => return None,
            }
        }
    }
    pub fn separates(&self) -> bool {
        self.around_tenant().is_some()
    }
    /// Whether this text, rendered by this form or lying within what it rendered, is `tenant`'s.
    pub(super) fn places(&self, tenant: &TenantId, text: &str) -> bool {
        let Some((before, after)) = self.around_tenant() else { return false };
        let rest = text.strip_prefix(before).and_then(|rest| rest.strip_prefix(tenant.as_str()));
        match rest.and_then(|rest| rest.strip_prefix(after)) {
            Some(rest) => has_delimiter(after) || (!self.prefix && rest.is_empty()),
            None => false,
        }
    }
}
