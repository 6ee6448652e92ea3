//! The JSON text of a template: strict parsing, and where in the text something stands.

use serde::Serialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value};
use std::fmt;

pub(super) const MAX_DOCUMENT: usize = 64 * 1024;
const MAX_DEPTH: u8 = 16;

/// One mistake in a template, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TemplateError {
    /// Such as `$.permissions[0].item.keyPrefix`.
    pub path: String,
    /// Both from 1; the column counts characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    pub message: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{line}:{column}: ")?;
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// All mistakes that were found in a template; never none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TemplateErrors(pub Vec<TemplateError>);

impl fmt::Display for TemplateErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}
impl std::error::Error for TemplateErrors {}

/// The way from the document to one of its values.
#[derive(Clone, Debug, Default)]
pub(super) struct Path(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    pub(super) fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }
    pub(super) fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }
    fn with(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
    /// The mistake at this place of `source`.
    pub(super) fn error(&self, source: &str, message: String) -> TemplateError {
        let (line, column) = self.place(source).unzip();
        TemplateError { path: self.to_string(), line, column, message }
    }
    /// Line and column in `source`, which has been parsed before; both from 1.
    pub(super) fn place(&self, source: &str) -> Option<(usize, usize)> {
        self.offset(source).and_then(|offset| source.get(..offset)).map(|before| {
            let line = before.rsplit('\n').next().unwrap_or(before);
            (before.matches('\n').count() + 1, line.chars().count() + 1)
        })
    }
    /// Where the value begins.
    fn offset(&self, source: &str) -> Option<usize> {
        let mut at = skip_space(source, 0);
        for step in &self.0 {
            let mut count = 0;
            at = skip_space(source, at + 1);
            loop {
                if let Step::Key(wanted) = step {
                    let (key, end) = next::<String>(source, at)?;
                    at = skip_space(source, skip_space(source, end) + 1);
                    if key == *wanted {
                        break;
                    }
                } else if matches!(step, Step::Index(wanted) if *wanted == count) {
                    break;
                }
                let (_, end) = next::<IgnoredAny>(source, at)?;
                at = skip_space(source, end);
                // A comma leads to the next member; anything else ends the search.
                source.get(at..)?.starts_with(',').then_some(())?;
                at = skip_space(source, at + 1);
                count += 1;
            }
        }
        Some(at)
    }
}

/// Line and column in `source`, both from 1, of what a JSON pointer (RFC 6901) leads to; where it leads
/// nowhere, of the last that is there. None: the source is no JSON.
pub fn place(source: &str, pointer: &str) -> Option<(usize, usize)> {
    let document: Value = serde_json::from_str(source).ok()?;
    let (mut path, mut at) = (Path::default(), &document);
    for token in pointer.split('/').skip(1) {
        let name = token.replace("~1", "/").replace("~0", "~");
        let found = match at {
            Value::Array(elements) => name.parse().ok().and_then(|index: usize| {
                elements.get(index).map(|element| (path.index(index), element))
            }),
            _ => at.get(&name).map(|member| (path.key(&name), member)),
        };
        let Some((longer, inner)) = found else { break };
        (path, at) = (longer, inner);
    }
    path.place(source)
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        for step in &self.0 {
            match step {
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

fn skip_space(source: &str, at: usize) -> usize {
    let rest = source.get(at..).unwrap_or_default();
    at + (rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len())
}

/// The value that begins at `at`, and where it ends.
fn next<'a, T: serde::Deserialize<'a>>(source: &'a str, at: usize) -> Option<(T, usize)> {
    let mut stream = serde_json::Deserializer::from_str(source.get(at..)?).into_iter::<T>();
    let value = stream.next()?.ok()?;
    Some((value, at + stream.byte_offset()))
}

/// Parses JSON in which no object has a key twice: `serde_json` keeps the last one without a word,
/// so that a document would not mean what a reader sees.
pub(super) fn parse(source: &str) -> Result<Value, TemplateErrors> {
    let fail = |message: String, line, column| {
        let error = TemplateError { path: "$".into(), line, column, message };
        Err(TemplateErrors(vec![error]))
    };
    if source.len() > MAX_DOCUMENT {
        return fail(format!("is larger than {} KiB", MAX_DOCUMENT / 1024), None, None);
    }
    let mut deserializer = serde_json::Deserializer::from_str(source);
    let parsed = Strict { depth: MAX_DEPTH }.deserialize(&mut deserializer);
    match parsed.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            let shown = error.to_string();
            let plain = shown.split(" at line ").next().unwrap_or(&shown);
            fail(format!("is not the JSON of a template: {plain}"), Some(line), Some(column))
        }
    }
}

/// How many levels of objects and lists may still be opened.
#[derive(Clone, Copy)]
struct Strict {
    depth: u8,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1);
        let depth = depth.ok_or_else(|| E::custom(format!("more than {MAX_DEPTH} levels deep")))?;
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(value) = access.next_element_seed(inner)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("key {key:?} stands twice in one object")));
            }
            object.insert(key, access.next_value_seed(inner)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_leads_to_a_line_and_a_column() {
        let source = "{\n  \"a/b\": [1,\n \"é\", {\"~\": 2}],\n  \"1\": {}\n}";
        let places = [
            ("", (1, 1)),
            ("/a~1b", (2, 10)),
            ("/a~1b/1", (3, 2)),
            ("/a~1b/2/~0", (3, 13)),
            ("/1", (4, 8)),
            // What is not there is looked for where it should be.
            ("/a~1b/7/x", (2, 10)),
            ("/missing", (1, 1)),
        ];
        for (pointer, expected) in places {
            assert_eq!(place(source, pointer), Some(expected), "{pointer}");
        }
        assert_eq!(place("{", ""), None);
    }
}
