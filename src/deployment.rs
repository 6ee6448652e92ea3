//! The deployment file: TOML that declares what an installation is, read into domain values.
//!
//! Everything that is wrong is reported at once, each with the line and with what to write instead.

mod clients;
mod providers;
mod secrets;
#[cfg(test)]
mod tests;
mod urls;

use crate::domain::client::Lifetimes;
use crate::domain::deployment::{Deployment, EntryId, RoleDeclaration};
use crate::domain::ids::{ProviderId, Role, TenantId};
use crate::domain::template::Limits;
use crate::domain::tenant::{AttributeValue, Status, Tenant};
use crate::toml_reader::{Node, Place, Problem, Problems, Table, shown};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

const STATUS: [(&str, Status); 2] = [("active", Status::Active), ("suspended", Status::Suspended)];
const YEAR: u32 = 31_536_000;

/// What the file may name beside itself.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The content of a file, by its path as written: relative to the deployment file.
    pub read: &'a dyn Fn(&str) -> io::Result<String>,
    /// The value of an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

/// Compiles the templates and ceilings of what was read against its vocabulary.
pub type CheckTemplates<'a> = &'a dyn Fn(&Deployment) -> Vec<TemplateProblem>;

/// What is wrong with an entry's template or ceiling, or with the vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateProblem {
    pub entry: EntryId,
    pub message: String,
}

/// Everything that is wrong with a deployment file. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentErrors(pub Vec<Problem>);

impl fmt::Display for DeploymentErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deployment file cannot be applied")?;
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for DeploymentErrors {}

/// Reads a deployment file, what it names beside it, and the variables it names.
pub fn load(path: &Path, check: CheckTemplates<'_>) -> Result<Deployment, DeploymentErrors> {
    let name = path.display().to_string();
    let source = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot be read: {error}");
        DeploymentErrors(vec![Problem { file: Some(name.clone()), line: None, message }])
    })?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let surroundings = Surroundings {
        read: &|beside| std::fs::read_to_string(directory.join(beside)),
        variable: &|name| std::env::var(name).ok(),
    };
    parse(&name, &source, surroundings, check)
}

/// Reads a deployment file whose text is here; `file` is its name in errors.
pub fn parse(
    file: &str,
    source: &str,
    around: Surroundings<'_>,
    check: CheckTemplates<'_>,
) -> Result<Deployment, DeploymentErrors> {
    let problems = Problems::new(Some(file.to_owned()), source);
    let Some(document) = problems.parse() else { return Err(DeploymentErrors(problems.take())) };
    let context = Context {
        problems: &problems,
        around,
        declared: RefCell::default(),
        domains: RefCell::default(),
    };
    let deployment = context.deployment(&Table::root(&document, &problems));
    if let Some(deployment) = &deployment {
        for TemplateProblem { entry, message } in check(deployment) {
            context.note_entry(&entry, &message);
        }
    }
    match (deployment, problems.take()) {
        (Some(deployment), found) if found.is_empty() => Ok(deployment),
        (_, found) => Err(DeploymentErrors(found)),
    }
}

/// What the readers of the entries share.
struct Context<'a> {
    problems: &'a Problems<'a>,
    around: Surroundings<'a>,
    declared: RefCell<BTreeMap<EntryId, Place>>,
    /// E-mail domains, and which provider they lead to.
    domains: RefCell<BTreeMap<String, ProviderId>>,
}

impl<'a> Context<'a> {
    /// None: the vocabulary cannot be read, so that nothing can be checked against it. An entry that is
    /// wrong is left out, and reported.
    fn deployment(&self, root: &Table<'a>) -> Option<Deployment> {
        let vocabulary = root.get("vocabulary").map(|node| self.vocabulary(&node));
        let limits = or(root.get("templates"), None, |node| limits(node).map(Some));
        let tables = |key| root.get(key).map(|node| node.tables()).unwrap_or_default();
        let roles = tables("roles").iter().filter_map(|table| self.role(table)).collect();
        let tenants = tables("tenants").iter().filter_map(|table| self.tenant(table)).collect();
        let providers: Vec<_> =
            tables("providers").iter().filter_map(|table| self.provider(table)).collect();
        let clients = tables("clients").iter().filter_map(|table| self.client(table)).collect();
        root.finish();
        let vocabulary = match vocabulary {
            Some(read) => Some(read?),
            None => None,
        };
        Some(Deployment { vocabulary, limits: limits?, roles, tenants, providers, clients })
    }

    fn note_entry(&self, entry: &EntryId, message: &str) {
        let declared = self.declared.borrow();
        let place = declared.get(entry).unwrap_or(&Place::File);
        self.problems.note(place, format_args!("{entry}: {message}"));
    }

    /// Remembers where an entry stands, and reports a second one of the same name.
    fn declare(&self, id: EntryId, node: &Node<'_>) {
        let mut declared = self.declared.borrow_mut();
        if let Some(first) = declared.get(&id) {
            let line = self.problems.line(first).unwrap_or_default();
            node.note(format_args!("{id} is declared twice, first in line {line}"));
        } else {
            declared.insert(id, node.place().clone());
        }
    }

    fn read(&self, node: &Node<'_>) -> Option<String> {
        let path = node.string()?;
        (self.around.read)(path)
            .map_err(|error| node.note(format_args!("cannot read {}: {error}", shown(path))))
            .ok()
    }

    fn vocabulary(&self, node: &Node<'a>) -> Option<String> {
        let table = node.table()?;
        let file = table.required("file", "file = \"resources.toml\"");
        table.finish();
        let file = file?;
        self.declare(EntryId::Vocabulary, &file);
        self.read(&file)
    }

    fn role(&self, table: &Table<'a>) -> Option<RoleDeclaration> {
        let role = table.required("role", "role = \"data-entry\"").and_then(|node| {
            let role: Role = node.parse()?;
            self.declare(EntryId::Role(role.clone()), &node);
            Some(role)
        });
        let source = table
            .required("template", "template = \"templates/roles/data-entry.json\"")
            .and_then(|node| self.read(&node));
        let crosses_tenants = or(table.get("crosses_tenants"), false, Node::boolean);
        let ceiling = table.get("ceiling");
        if let Some(node) = &ceiling
            && crosses_tenants == Some(true)
        {
            node.note(
                "is for roles that tenants may have their own version of; one that crosses tenants has none: \
                 remove this",
            );
        }
        let ceiling = or(ceiling, None, |node| self.template(node).map(Some));
        table.finish();
        Some(RoleDeclaration {
            role: role?,
            source: source?,
            crosses_tenants: crosses_tenants?,
            ceiling: ceiling?,
        })
    }

    /// A template document: in the file itself as a table, or in a file beside it.
    fn template(&self, node: &Node<'_>) -> Option<String> {
        if node.is_string() {
            return self.read(node);
        }
        node.table()?;
        Some(node.json()?.to_string())
    }

    fn tenant(&self, table: &Table<'a>) -> Option<Tenant> {
        let id = table.required("id", "id = \"acme\"").and_then(|node| {
            let id: TenantId = node.parse()?;
            self.declare(EntryId::Tenant(id.clone()), &node);
            Some(id)
        });
        let name = text(table, "name", "name = \"Acme\"");
        let attributes = or(table.get("attributes"), BTreeMap::new(), attributes);
        let status = or(table.get("status"), Status::Active, |node| node.one_of(&STATUS));
        let seconds = |key| or(table.get(key), None, |node| node.number(1, YEAR).map(Some));
        let session_idle = seconds("session_idle");
        let session_absolute = seconds("session_absolute");
        let max_expires_in = or(table.get("max_expires_in"), None, |node| {
            node.number(1, Lifetimes::LONGEST_ACCESS_TOKEN).map(Some)
        });
        table.finish();
        Some(Tenant {
            id: id?,
            name: name?,
            attributes: attributes?,
            status: status?,
            session_idle: session_idle?,
            session_absolute: session_absolute?,
            max_expires_in: max_expires_in?,
        })
    }
}

fn limits(node: &Node<'_>) -> Option<Limits> {
    let table = node.table()?;
    let max_expires_in = or(table.get("max_expires_in"), None, |node| {
        node.number(1, Lifetimes::LONGEST_ACCESS_TOKEN).map(Some)
    });
    let require_expires_in = or(table.get("require_expires_in"), false, Node::boolean);
    table.finish();
    Some(Limits { max_expires_in: max_expires_in?, require_expires_in: require_expires_in? })
}

/// What stands there, or the default. None: what stands there is wrong, and was reported.
fn or<'a, T>(
    node: Option<Node<'a>>,
    default: T,
    read: impl FnOnce(&Node<'a>) -> Option<T>,
) -> Option<T> {
    match node {
        Some(node) => read(&node),
        None => Some(default),
    }
}

/// A string that must be there and must not be empty.
fn text(table: &Table<'_>, key: &'static str, instead: &str) -> Option<String> {
    let node = table.required(key, instead)?;
    let text = node.string()?;
    if text.trim().is_empty() {
        node.note(format_args!("must not be empty: write {instead}"));
        return None;
    }
    Some(text.to_owned())
}

/// Every element of a list, read; each that is wrong was reported. None: one of them was.
fn all<'a, T, C: FromIterator<T>>(
    node: &Node<'a>,
    read: impl Fn(&Node<'a>) -> Option<T>,
) -> Option<C> {
    let read: Vec<_> = node.list()?.iter().map(read).collect();
    read.into_iter().collect()
}

fn attributes(node: &Node<'_>) -> Option<BTreeMap<String, AttributeValue>> {
    let read = |(key, node): (&str, Node<'_>)| Some((key.to_owned(), attribute(&node)?));
    let attributes: Vec<_> = node.table()?.entries().into_iter().map(read).collect();
    attributes.into_iter().collect()
}

fn attribute(node: &Node<'_>) -> Option<AttributeValue> {
    let value = match node.json()? {
        Value::Bool(value) => Some(AttributeValue::Bool(value)),
        Value::Number(value) => value.as_i64().map(AttributeValue::Integer),
        Value::String(value) => Some(AttributeValue::Text(value)),
        Value::Array(list) => {
            let texts = list.iter().map(|element| element.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map(AttributeValue::List)
        }
        Value::Null | Value::Object(_) => None,
    };
    if value.is_none() {
        node.note("must be true or false, a whole number, a string or a list of strings");
    }
    value
}
