//! The configuration as it is written: a file, and over it the environment.

use crate::toml_reader::{Node, Place, Problems, Table};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

const PREFIX: &str = "ROLEMINT_";

/// The variables that begin with `ROLEMINT_`.
#[derive(Debug)]
pub(super) struct Environment {
    values: BTreeMap<String, String>,
    known: RefCell<BTreeSet<String>>,
}

impl Environment {
    pub(super) fn new(variables: impl Iterator<Item = (String, String)>) -> Self {
        // An empty variable is one that is not set: that is how Compose files leave one out.
        let ours = variables.filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty());
        Self { values: ours.collect(), known: RefCell::default() }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.known.borrow_mut().insert(name.to_owned());
        self.values.get(name).map(String::as_str)
    }

    /// Reports the variables that nobody asked for.
    pub(super) fn finish(&self, problems: &Problems<'_>) {
        let known = self.known.borrow();
        for name in self.values.keys().filter(|name| !known.contains(*name) && !is_injected(name)) {
            problems.note(
                &Place::Variable(name.clone()),
                format_args!("{name}: unknown variable; section and key are joined by two underscores, as in ROLEMINT_DATABASE__URL"),
            );
        }
    }
}

/// Kubernetes sets these in every pod beside a service that is called `rolemint`.
fn is_injected(name: &str) -> bool {
    name == "ROLEMINT_PORT"
        || name.starts_with("ROLEMINT_PORT_")
        || name.starts_with("ROLEMINT_SERVICE_")
}

/// One section, of the file and of the environment.
#[derive(Debug)]
pub(super) struct Section<'a> {
    name: &'static str,
    table: Option<Table<'a>>,
    environment: &'a Environment,
    problems: &'a Problems<'a>,
    /// What a relative path in the file starts from.
    directory: &'a Path,
}

/// A value that may be a secret, wherever it was written.
#[derive(Debug)]
pub(super) struct Written<'a> {
    pub(super) text: String,
    pub(super) node: Node<'a>,
    pub(super) key: String,
    /// What a relative path in it starts from.
    pub(super) base: PathBuf,
}

impl<'a> Section<'a> {
    /// What stands above the sections.
    pub(super) fn root(
        table: Option<Table<'a>>,
        environment: &'a Environment,
        problems: &'a Problems<'a>,
        directory: &'a Path,
    ) -> Self {
        Self { name: "", table, environment, problems, directory }
    }

    pub(super) fn section(&self, name: &'static str) -> Self {
        let node = self.table.as_ref().and_then(|table| table.get(name));
        let table = node.and_then(|node| node.table());
        Self { name, table, ..*self }
    }

    fn key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn variable(&self, key: &str) -> String {
        let name = self.key(key).replace('.', "__").to_ascii_uppercase();
        format!("{PREFIX}{name}")
    }

    pub(super) fn get(&self, key: &'static str) -> Option<Node<'a>> {
        // Asked for in any case, so that the file's own key is known.
        let in_file = self.table.as_ref().and_then(|table| table.get(key));
        let name = self.variable(key);
        let in_environment = self.environment.get(&name);
        in_environment.map(|value| Node::variable(&name, value, self.problems)).or(in_file)
    }

    pub(super) fn note(&self, key: &str, message: impl fmt::Display) {
        self.problems.note(&Place::File, format_args!("{}: {message}", self.key(key)));
    }

    pub(super) fn missing(&self, key: &str, instead: &str) {
        let variable = self.variable(key);
        self.note(key, format_args!("missing: write {instead}, or set {variable}"));
    }

    /// `key`, or the content of the file that `key_file` names. What the environment says about either
    /// replaces what the file says about both. Outer None: neither is there.
    #[expect(clippy::option_option, reason = "whether it is there, and whether it could be read")]
    pub(super) fn secret(
        &self,
        key: &'static str,
        key_file: &'static str,
    ) -> Option<Option<Written<'a>>> {
        let (mut direct, mut file) = (self.get(key), self.get(key_file));
        let of_environment = [&direct, &file].into_iter().flatten().any(Node::is_variable);
        if of_environment {
            direct = direct.filter(Node::is_variable);
            file = file.filter(Node::is_variable);
        }
        let (node, key, from_file) = match (direct, file) {
            (None, None) => return None,
            (Some(node), None) => (node, key, false),
            (None, Some(node)) => (node, key_file, true),
            (Some(node), Some(_)) => {
                node.note(format_args!("stands beside `{key_file}`: keep one of the two"));
                return Some(None);
            }
        };
        Some(self.written(node, key, from_file))
    }

    /// The content of the file that `key` names. Outer None: it names none.
    #[expect(clippy::option_option, reason = "whether it is there, and whether it could be read")]
    pub(super) fn file(&self, key: &'static str) -> Option<Option<Written<'a>>> {
        self.get(key).map(|node| self.written(node, key, true))
    }

    fn written(&self, node: Node<'a>, key: &str, from_file: bool) -> Option<Written<'a>> {
        let base = if node.is_variable() { PathBuf::new() } else { self.directory.to_owned() };
        let mut text = node.string()?.to_owned();
        if from_file {
            let path = base.join(&text);
            text = match std::fs::read_to_string(&path) {
                Ok(content) => content.trim().to_owned(),
                Err(error) => {
                    node.note(format_args!("cannot read {}: {error}", path.display()));
                    return None;
                }
            };
        }
        let key = if node.is_variable() { self.variable(key) } else { self.key(key) };
        Some(Written { text, node, key, base })
    }

    /// Reports the keys of the file that nobody asked for.
    pub(super) fn finish(&self) {
        if let Some(table) = &self.table {
            table.finish();
        }
    }
}
