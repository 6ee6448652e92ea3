//! `application/x-www-form-urlencoded`, read strictly: a repeated parameter and anything that is not
//! UTF-8 is seen, and an empty value is no value (RFC 6749 §3.1, §3.2).

use std::borrow::Cow;

/// May stand more than once (RFC 8693 §2.1, RFC 8707 §2).
const REPEATABLE: [&str; 2] = ["audience", "resource"];
/// More parameters than any request has.
const LIMIT: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Parameters {
    pairs: Vec<(String, String)>,
    repeated: Option<String>,
}

/// Not a form, or not UTF-8, or too many parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

fn decode(text: &str) -> Result<String, Malformed> {
    let spaced: Cow<'_, str> =
        if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    if !spaced.contains('%') {
        return Ok(spaced.into_owned());
    }
    let mut bytes = Vec::with_capacity(spaced.len());
    let mut rest = spaced.bytes();
    let digit = |byte: Option<u8>| {
        let value = byte.and_then(|byte| char::from(byte).to_digit(16));
        value.and_then(|value| u8::try_from(value).ok()).ok_or(Malformed)
    };
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            bytes.push((digit(rest.next())? << 4) | digit(rest.next())?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| Malformed)
}

impl Parameters {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::parse_repeating(bytes, &REPEATABLE)
    }

    /// Where other parameters may stand more than once.
    pub(super) fn parse_repeating(bytes: &[u8], repeatable: &[&str]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed)?;
        let mut parameters = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if parameters.pairs.len() >= LIMIT {
                return Err(Malformed);
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            let known = parameters.pairs.iter().any(|(other, _)| *other == name);
            if known && !repeatable.contains(&name.as_str()) {
                parameters.repeated.get_or_insert_with(|| name.clone());
            }
            parameters.pairs.push((name, value));
        }
        Ok(parameters)
    }

    /// The first parameter that stands twice and may not.
    pub(super) fn repeated(&self) -> Option<&str> {
        self.repeated.as_deref()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.pairs.iter().filter(|(other, _)| other == name);
        found.next().map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let found = self.pairs.iter().filter(|(other, value)| other == name && !value.is_empty());
        found.map(|(_, value)| value.clone()).collect()
    }

    /// `audience` (RFC 8693) and `resource` (RFC 8707) name the same thing here.
    pub(super) fn audiences(&self) -> Vec<String> {
        let mut audiences = self.all("audience");
        audiences.extend(self.all("resource"));
        audiences.dedup();
        audiences
    }

    /// RFC 6749 §2.3.1: both halves of the Basic scheme are form-encoded.
    pub(super) fn decode_half(text: &str) -> Result<String, Malformed> {
        decode(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_parameter_is_seen_and_an_empty_one_is_none() {
        let parameters = Parameters::parse(b"a=1&b=&c=x+y%2B&audience=p&audience=q").unwrap();
        assert_eq!(
            (parameters.get("a"), parameters.get("b"), parameters.get("c")),
            (Some("1"), None, Some("x y+"))
        );
        assert_eq!(parameters.repeated(), None);
        assert_eq!(parameters.audiences(), ["p", "q"]);
        assert_eq!(Parameters::parse(b"a=1&a=1").unwrap().repeated(), Some("a"));
        assert_eq!(Parameters::parse(b"a=&a=1").unwrap().repeated(), Some("a"));
        assert_eq!(Parameters::parse(b"%61=1&a=1").unwrap().repeated(), Some("a"));
    }

    #[test]
    fn what_is_not_a_form_is_refused() {
        for bad in [b"a=%ff".as_slice(), b"a=\xff", b"a=%zz", b"a=%4"] {
            assert_eq!(Parameters::parse(bad).err(), Some(Malformed), "{bad:?}");
        }
        let many = "a=1&".repeat(200);
        assert_eq!(Parameters::parse(many.as_bytes()).err(), Some(Malformed));
    }
}
