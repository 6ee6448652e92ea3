//! TOML as a person wrote it: every value knows its place, and problems are collected instead of
//! ending the reading, so that all of them are reported at once.
//!
//! SECURITY: a problem never repeats the text of a whole line, which may hold a secret; values are
//! shown only by readers of keys that hold none.

use serde_json::Value as Json;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: Option<String>,
    pub line: Option<usize>,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}: {}", self.message),
            (Some(file), None) => write!(f, "{file}: {}", self.message),
            (None, _) => f.write_str(&self.message),
        }
    }
}

/// Where a value stands.
#[derive(Clone, Debug)]
pub enum Place {
    /// In the file, so many bytes from its beginning.
    Offset(usize),
    /// In an environment variable of this name.
    Variable(String),
    /// In the file as a whole: something that is missing.
    File,
}

/// Collects what is wrong with one document.
#[derive(Debug)]
pub struct Problems<'a> {
    file: Option<String>,
    source: &'a str,
    found: RefCell<Vec<Problem>>,
}

impl<'a> Problems<'a> {
    pub fn new(file: Option<String>, source: &'a str) -> Self {
        Self { file, source, found: RefCell::default() }
    }

    pub fn line(&self, place: &Place) -> Option<usize> {
        let Place::Offset(offset) = place else { return None };
        let breaks = self.source.bytes().take(*offset).filter(|byte| *byte == b'\n').count();
        Some(breaks.saturating_add(1))
    }

    pub fn note(&self, place: &Place, message: impl fmt::Display) {
        let message = message.to_string();
        let file = match place {
            Place::Variable(_) => None,
            Place::Offset(_) | Place::File => self.file.clone(),
        };
        self.found.borrow_mut().push(Problem { file, line: self.line(place), message });
    }

    /// Everything found so far, in the order of the file; what is missing comes last.
    pub fn take(&self) -> Vec<Problem> {
        let mut found = self.found.take();
        found.sort_by_key(|problem| (problem.line.is_none(), problem.line));
        found
    }

    /// The document, unless it is not TOML at all.
    pub fn parse(&self) -> Option<Spanned<DeTable<'a>>> {
        let (table, errors) = DeTable::parse_recoverable(self.source);
        for error in &errors {
            // Only the message: the error's own text repeats the line.
            let place = error.span().map_or(Place::File, |span| Place::Offset(span.start));
            self.note(&place, format_args!("not TOML: {}", error.message()));
        }
        errors.is_empty().then_some(table)
    }
}

/// A table whose keys are asked for one by one; what nobody asked for is unknown.
#[derive(Debug)]
pub struct Table<'a> {
    content: &'a DeTable<'a>,
    place: Place,
    path: String,
    known: RefCell<BTreeSet<&'static str>>,
    problems: &'a Problems<'a>,
}

impl<'a> Table<'a> {
    pub fn root(document: &'a Spanned<DeTable<'a>>, problems: &'a Problems<'a>) -> Self {
        Self {
            content: document.get_ref(),
            place: Place::File,
            path: String::new(),
            known: RefCell::default(),
            problems,
        }
    }

    pub const fn place(&self) -> &Place {
        &self.place
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub fn get(&self, key: &'static str) -> Option<Node<'a>> {
        self.known.borrow_mut().insert(key);
        self.content.get(key).map(|value| self.node(key, value))
    }

    /// The value of a key that must be there; `instead` says what to write.
    pub fn required(&self, key: &'static str, instead: &str) -> Option<Node<'a>> {
        let node = self.get(key);
        if node.is_none() {
            self.note(key, format_args!("missing: write {instead}"));
        }
        node
    }

    /// All keys, where they are the writer's choice.
    pub fn entries(&self) -> Vec<(&'a str, Node<'a>)> {
        let entry = |(key, value): (&'a Spanned<_>, &'a _)| {
            let key: &'a std::borrow::Cow<'a, str> = key.get_ref();
            (key.as_ref(), self.node(key, value))
        };
        self.content.iter().map(entry).collect()
    }

    fn node(&self, key: &str, value: &'a Spanned<DeValue<'a>>) -> Node<'a> {
        Node {
            value: Value::Toml(value.get_ref()),
            place: Place::Offset(value.span().start),
            path: self.path_of(key),
            problems: self.problems,
        }
    }

    /// Something wrong about a key; where it is not there, the place is the table's.
    pub fn note(&self, key: &str, message: impl fmt::Display) {
        let path = self.path_of(key);
        let written = self.content.get(key).map(|value| Place::Offset(value.span().start));
        let place = written.as_ref().unwrap_or(&self.place);
        self.problems.note(place, format_args!("{path}: {message}"));
    }

    /// Something wrong about the table as a whole.
    pub fn note_whole(&self, message: impl fmt::Display) {
        self.problems.note(&self.place, format_args!("{}: {message}", self.path));
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(&self) {
        let known = self.known.borrow();
        for key in self.content.keys() {
            if !known.contains(key.get_ref().as_ref()) {
                let place = Place::Offset(key.span().start);
                let path = self.path_of(key.get_ref());
                let known = known.iter().copied().collect::<Vec<_>>().join(", ");
                self.problems
                    .note(&place, format_args!("{path}: unknown key; known here: {known}"));
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Toml(&'a DeValue<'a>),
    /// Of an environment variable: everything is text there.
    Text(&'a str),
}

/// A value, its place, and the key that it stands under.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    value: Value<'a>,
    place: Place,
    path: String,
    problems: &'a Problems<'a>,
}

impl<'a> Node<'a> {
    pub fn variable(name: &str, value: &'a str, problems: &'a Problems<'a>) -> Self {
        let place = Place::Variable(name.to_owned());
        Self { value: Value::Text(value), place, path: name.to_owned(), problems }
    }

    pub const fn place(&self) -> &Place {
        &self.place
    }
    pub const fn is_variable(&self) -> bool {
        matches!(self.value, Value::Text(_))
    }
    /// Whether what is written is a single string.
    pub const fn is_string(&self) -> bool {
        matches!(self.value, Value::Text(_) | Value::Toml(DeValue::String(_)))
    }

    pub fn note(&self, message: impl fmt::Display) {
        self.problems.note(&self.place, format_args!("{}: {message}", self.path));
    }

    fn expected<T>(&self, what: &str) -> Option<T> {
        match self.value {
            Value::Toml(value) => {
                self.note(format_args!("expected {what}, found {}", value.type_str()));
            }
            Value::Text(_) => self.note(format_args!("expected {what}")),
        }
        None
    }

    pub fn string(&self) -> Option<&'a str> {
        match self.value {
            Value::Text(text) => Some(text),
            Value::Toml(DeValue::String(text)) => Some(text.as_ref()),
            Value::Toml(_) => self.expected("a string"),
        }
    }

    pub fn boolean(&self) -> Option<bool> {
        match self.value {
            Value::Toml(DeValue::Boolean(value)) => Some(*value),
            Value::Text("true") => Some(true),
            Value::Text("false") => Some(false),
            _ => self.expected("true or false"),
        }
    }

    /// A whole number between two bounds.
    pub fn number<T>(&self, least: T, most: T) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Copy + fmt::Display,
    {
        let number = match self.value {
            Value::Toml(DeValue::Integer(number)) => Some(integer(number)),
            Value::Text(text) => text.parse::<i64>().ok().map(Some),
            Value::Toml(_) => None,
        };
        let Some(number) = number else { return self.expected("a whole number") };
        let number = number.and_then(|number| T::try_from(number).ok());
        let number = number.filter(|number| *number >= least && *number <= most);
        if number.is_none() {
            self.note(format_args!("must be {least} to {most}"));
        }
        number
    }

    /// The elements of a list. In a variable they are parted by commas.
    pub fn list(&self) -> Option<Vec<Node<'a>>> {
        let element =
            |value, place| Node { value, place, path: self.path.clone(), problems: self.problems };
        match self.value {
            Value::Toml(DeValue::Array(list)) => {
                let elements = list.iter().map(|value| {
                    let place = Place::Offset(value.span().start);
                    element(Value::Toml(value.get_ref()), place)
                });
                Some(elements.collect())
            }
            Value::Text(text) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Some(parts.map(|part| element(Value::Text(part), self.place.clone())).collect())
            }
            Value::Toml(_) => self.expected("a list"),
        }
    }

    /// The elements of a list, or the one string that stands instead of it.
    pub fn one_or_many(&self) -> Vec<Node<'a>> {
        if self.is_string() { vec![self.clone()] } else { self.list().unwrap_or_default() }
    }

    /// The strings of a list, each with its place; other elements are reported and left out.
    pub fn strings(&self) -> Option<Vec<(&'a str, Node<'a>)>> {
        let nodes = self.list()?.into_iter();
        Some(nodes.filter_map(|node| Some((node.string()?, node))).collect())
    }

    pub fn table(&self) -> Option<Table<'a>> {
        let Value::Toml(DeValue::Table(table)) = self.value else {
            return self.expected("a table");
        };
        Some(Table {
            content: table,
            place: self.place.clone(),
            path: self.path.clone(),
            known: RefCell::default(),
            problems: self.problems,
        })
    }

    /// The elements of an array of tables (`[[…]]`).
    pub fn tables(&self) -> Vec<Table<'a>> {
        if matches!(self.value, Value::Toml(DeValue::Array(_))) {
            return self.list().unwrap_or_default().iter().filter_map(Node::table).collect();
        }
        self.note(format_args!("expected a list of tables: write [[{}]]", self.path));
        Vec::new()
    }

    /// A string with a form of its own. Its error is shown, so this is not for secrets.
    pub fn parse<T>(&self) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.string()?.parse().map_err(|error| self.note(error)).ok()
    }

    /// One of a few words.
    pub fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.string()?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.note(format_args!("must be one of {}, not {}", words.join(", "), shown(text)));
        }
        found
    }

    /// What is written, as JSON.
    pub fn json(&self) -> Option<Json> {
        match self.value {
            Value::Text(text) => Some(Json::String(text.to_owned())),
            Value::Toml(value) => {
                let json = to_json(value);
                if json.is_none() {
                    self.note(
                        "holds a date or a number that JSON cannot hold: write it as a string",
                    );
                }
                json
            }
        }
    }
}

/// A value in an error, not at any length.
pub fn shown(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    format!("{short:?}")
}

fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn to_json(value: &DeValue<'_>) -> Option<Json> {
    Some(match value {
        DeValue::String(text) => Json::String(text.clone().into_owned()),
        DeValue::Integer(number) => Json::from(integer(number)?),
        DeValue::Float(number) => {
            let number = number.as_str().parse().ok().and_then(serde_json::Number::from_f64)?;
            Json::Number(number)
        }
        DeValue::Boolean(value) => Json::Bool(*value),
        DeValue::Datetime(_) => return None,
        DeValue::Array(list) => {
            let list = list.iter().map(|element| to_json(element.get_ref()));
            Json::Array(list.collect::<Option<_>>()?)
        }
        DeValue::Table(table) => {
            let member =
                |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
                    Some((key.get_ref().clone().into_owned(), to_json(value.get_ref())?))
                };
            Json::Object(table.iter().map(member).collect::<Option<_>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_has_its_line_and_none_hides_another() {
        let source =
            "a = 1\nb = true\n\n[[t]]\nx = \"1\"\ny = [\n  \"one\",\n  2,\n]\n[[t]]\nz = 3\n";
        let problems = Problems::new(Some("f.toml".into()), source);
        let document = problems.parse().unwrap();
        let root = Table::root(&document, &problems);
        assert_eq!(root.get("a").unwrap().string(), None);
        for table in root.get("t").unwrap().tables() {
            let x = table.required("x", "a number");
            assert_eq!(x.and_then(|x| x.number(0_u32, 9)), None);
            table.get("y").map(|y| y.strings());
            table.finish();
        }
        root.finish();
        let found: Vec<_> = problems.take().iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "f.toml:1: a: expected a string, found integer",
                "f.toml:2: b: unknown key; known here: a, t",
                "f.toml:5: t.x: expected a whole number, found string",
                "f.toml:8: t.y: expected a string, found integer",
                "f.toml:10: t.x: missing: write a number",
                "f.toml:11: t.z: unknown key; known here: x, y",
            ]
        );
    }

    #[test]
    fn a_syntax_error_does_not_repeat_the_line() {
        let problems = Problems::new(Some("f.toml".into()), "a = 1\nsecret = \"s3cr3t\n");
        assert!(problems.parse().is_none());
        let found = problems.take();
        assert_eq!(found.first().unwrap().line, Some(2));
        assert!(!format!("{found:?}").contains("s3cr3t"));
    }
}
