//! From a document to a compiled template. All mistakes are collected, each with its place.

use crate::domain::permission::Pattern;
use crate::domain::permission::ResourceType;
use crate::domain::permission::Selector;
use crate::domain::permission::Vocabulary;
use crate::domain::permission::check_text;
use crate::domain::permission::parse_role;
use crate::domain::permission::resource_type;
use crate::domain::permission::text_of;
use crate::domain::scope::ScopeSet;
use crate::domain::scope::is_scope_token;
use crate::domain::template::boundary;
use crate::domain::template::boundary::Fault;
use crate::domain::template::boundary::Written;
use crate::domain::template::cases;
use crate::domain::template::document;
use crate::domain::template::document::Path;
use crate::domain::template::document::TemplateError;
use crate::domain::template::document::TemplateErrors;
use crate::domain::template::expression;
use crate::domain::template::expression::Segment;
use crate::domain::template::render::Body;
use crate::domain::template::render::ClaimTemplate;
use crate::domain::template::render::Each;
use crate::domain::template::render::Item;
use crate::domain::template::render::RoleTemplate;
use crate::domain::template::render::SelectorTemplate;
use crate::domain::template::render::Slot;
use crate::domain::template::render::When;
use serde_json::{Map, Value};
use std::sync::Arc;

const MAX_PERMISSIONS: usize = 256;
const MAX_NESTED_LISTS: usize = 3;
const MAX_CLAIMS: usize = 64;
const MAX_SCOPES: usize = 64;
const MAX_DESCRIPTION: usize = 1024;
const LIFETIMES: std::ops::RangeInclusive<u64> = 1..=86_400;
const DIRECTIVES: [&str; 5] = ["role", "description", "$if", "$each", "$as"];

/// Claims that mean something of their own in a token of ours.
const RESERVED_CLAIMS: [&str; 29] = [
    "ancestors",
    "session_client",
    "session_iat",
    "provider",
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "jti",
    "client_id",
    "cnf",
    "act",
    "may_act",
    "scope",
    "tenant",
    "sid",
    "auth_time",
    "acr",
    "amr",
    "azp",
    "typ",
    "tpl",
    "rev",
    "roles",
    "authorization_details",
    "nonce",
    "active",
];

/// So many mistakes are told at once.
const MAX_ERRORS: usize = 100;

struct Compiler<'a> {
    source: &'a str,
    vocabulary: &'a Vocabulary,
    crosses_tenants: bool,
    permissions: usize,
    errors: Vec<TemplateError>,
}

impl RoleTemplate {
    /// Whether it `crosses_tenants` is not the document's to say.
    pub fn compile(
        source: &str,
        v: &Vocabulary,
        crosses_tenants: bool,
    ) -> Result<Self, TemplateErrors> {
        let document = document::parse(source)?;
        let mut compiler =
            Compiler { source, vocabulary: v, crosses_tenants, permissions: 0, errors: Vec::new() };
        let template = compiler.template(&document);
        match template {
            Some(template) if compiler.errors.is_empty() => Ok(template),
            _ => Err(TemplateErrors(compiler.errors)),
        }
    }
}

impl Compiler<'_> {
    /// To find a place takes a look at all that stands before it, so there are not as many as one likes.
    fn fail(&mut self, at: &Path, message: impl Into<String>) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(at.error(self.source, message.into()));
        } else if self.errors.len() == MAX_ERRORS {
            let message = "there are more mistakes: mend the others first".to_owned();
            let path = Path::default().to_string();
            self.errors.push(TemplateError { path, line: None, column: None, message });
        }
    }
    /// The value, or a mistake at this place.
    fn take<T>(&mut self, at: &Path, result: Result<T, impl Into<String>>) -> Option<T> {
        result.map_err(|message| self.fail(at, message)).ok()
    }

    fn template(&mut self, document: &Value) -> Option<RoleTemplate> {
        let root = Path::default();
        let Value::Object(object) = document else {
            self.fail(&root, "a template is a JSON object");
            return None;
        };
        for key in object.keys() {
            match key.as_str() {
                "description" | "expires_in" | "permissions" | "scope" | "claims" | "tests" => {}
                _ => self.fail(
                    &root.key(key),
                    "is unknown; a template has description, expires_in, permissions, scope, \
                     claims and tests",
                ),
            }
        }
        let filled = |key| {
            !matches!(object.get(key), None | Some(Value::Array(_))) || has_any(object.get(key))
        };
        if !filled("permissions") && !filled("scope") {
            self.fail(&root, "grants nothing: it needs `permissions` or `scope`");
        }
        let description = self.description(object, &root);
        let expires_in = object.get("expires_in").and_then(|value| {
            let at = root.key("expires_in");
            let seconds = value.as_u64().filter(|seconds| LIFETIMES.contains(seconds));
            let seconds = seconds.and_then(|seconds| u32::try_from(seconds).ok());
            self.take(&at, seconds.ok_or("is a whole number of seconds from 1 to 86400"))
        });
        let at = root.key("permissions");
        let items = object.get("permissions").map(|list| self.items(list, &at, &[]));
        let scope = object.get("scope").map(|list| self.scope(list, &root.key("scope")));
        let claims = object.get("claims").map(|claims| self.claims(claims, &root.key("claims")));
        let tests = object.get("tests").map(|tests| {
            let at = root.key("tests");
            cases::read(tests, &at, self.source, self.vocabulary, &mut self.errors)
        });
        Some(RoleTemplate {
            source: self.source.into(),
            description,
            expires_in,
            items: items.unwrap_or_default(),
            scope: scope.unwrap_or_default(),
            claims: claims.unwrap_or_default(),
            cases: tests.unwrap_or_default(),
            crosses_tenants: self.crosses_tenants,
        })
    }

    fn description(&mut self, object: &Map<String, Value>, at: &Path) -> Option<Box<str>> {
        let value = object.get("description")?;
        let text = value.as_str().filter(|text| text.len() <= MAX_DESCRIPTION);
        let problem = "is a string of at most 1024 bytes";
        self.take(&at.key("description"), text.ok_or(problem)).map(Into::into)
    }

    fn items(&mut self, list: &Value, at: &Path, variables: &[String]) -> Vec<Item> {
        let Value::Array(list) = list else {
            self.fail(at, "is a list of permissions");
            return Vec::new();
        };
        let mut items = Vec::with_capacity(list.len().min(MAX_PERMISSIONS));
        for (index, value) in list.iter().enumerate() {
            let at = at.index(index);
            self.permissions += 1;
            if self.permissions > MAX_PERMISSIONS {
                if self.permissions == MAX_PERMISSIONS + 1 {
                    self.fail(
                        &at,
                        format!("a template holds at most {MAX_PERMISSIONS} permissions"),
                    );
                }
                break;
            }
            items.extend(self.item(value, &at, variables));
        }
        items
    }

    fn item(&mut self, value: &Value, at: &Path, outer: &[String]) -> Option<Item> {
        let Value::Object(object) = value else {
            self.fail(at, "a permission is a JSON object");
            return None;
        };
        self.description(object, at);
        let (each, variables) = self.each(object, at, outer)?;
        let condition = match object.get("$if") {
            None => None,
            Some(value) => {
                let at = at.key("$if");
                let parsed = value.as_str().ok_or_else(|| "is a condition in a string".to_owned());
                let parsed = parsed.and_then(|text| expression::parse_condition(text, &variables));
                let condition = self.take(&at, parsed)?;
                let written = value.as_str().unwrap_or_default().into();
                Some(When { at: at.to_string().into(), written, condition })
            }
        };
        let body = match object.get("permissions") {
            Some(list) => {
                let own = |key: &&String| *key != "permissions" && *key != "role";
                let known = |key: &&String| DIRECTIVES.contains(&key.as_str());
                if let Some(key) =
                    object.keys().find(|key| own(key) && !known(key) || *key == "role")
                {
                    let problem = "cannot stand beside `permissions`: a group has none of its own";
                    self.fail(&at.key(key), problem);
                }
                Body::Group(self.items(list, &at.key("permissions"), &variables))
            }
            None => self.permission(object, at, &variables)?,
        };
        Some(Item { each, condition, body })
    }

    /// The list that an object is repeated over, and the variables in reach inside.
    fn each(
        &mut self,
        object: &Map<String, Value>,
        at: &Path,
        outer: &[String],
    ) -> Option<(Option<Each>, Vec<String>)> {
        let mut variables = outer.to_vec();
        let (list, name) = match (object.get("$each"), object.get("$as")) {
            (None, None) => return Some((None, variables)),
            (Some(list), Some(name)) => (list, name),
            _ => {
                self.fail(at, "`$each` and `$as` go together");
                return None;
            }
        };
        let name_at = at.key("$as");
        let taken = |name: &str| {
            matches!(name, "tenant" | "user" | "client" | "this" | "as" | "else" | "true" | "false")
                || name == "null"
                || outer.iter().any(|own| own == name)
        };
        let name = name.as_str().filter(|name| expression::is_name(name) && !taken(name));
        let problem = "is a new name of ASCII letters, digits, _ and -, beginning with a letter";
        let name = self.take(&name_at, name.ok_or(problem))?;
        let at = at.key("$each");
        if outer.len() == MAX_NESTED_LISTS {
            self.fail(&at, format!("lists nest at most {MAX_NESTED_LISTS} deep"));
            return None;
        }
        let list = list.as_str().ok_or_else(|| "is the path to a list, in a string".to_owned());
        let list = list.and_then(|list| expression::parse_list(list, outer));
        let list = self.take(&at, list)?;
        variables.push(name.to_owned());
        Some((Some(Each { at: at.to_string().into(), list }), variables))
    }

    fn permission(
        &mut self,
        object: &Map<String, Value>,
        at: &Path,
        variables: &[String],
    ) -> Option<Body> {
        let vocabulary = self.vocabulary;
        let resource = match resource_type(object, &DIRECTIVES, vocabulary) {
            Ok(resource) => resource,
            Err(error) => {
                self.fail(at, error.problem);
                return None;
            }
        };
        let role = parse_role(object, resource).map_err(|error| error.problem);
        let at_role = if object.contains_key("role") { at.key("role") } else { at.clone() };
        let role = self.take(&at_role, role);
        let mut written = Vec::new();
        let mut places = Vec::new();
        for key in resource.selectors() {
            let value = object.get(key).unwrap_or(&Value::Null);
            if let Some((selector, place)) = self.selector(value, &at.key(key), variables) {
                written.push((key, selector));
                places.push(place);
            }
        }
        let role = role.filter(|_| written.len() == resource.selectors().len())?;
        let actions = resource.role(&role)?.actions;
        if !self.crosses_tenants {
            let separated =
                |level| written.iter().take(level + 1).any(|(_, written)| written.separates());
            if let Some(fault) = boundary::fault(resource, actions, separated) {
                let message = explain_fault(&fault, resource, &written);
                self.fail(at, message);
                return None;
            }
        }
        let selectors = written.into_iter().zip(places);
        let selectors = selectors.map(|((_, written), place)| compiled(written, &place)).collect();
        let at = at.to_string().into();
        Some(Body::Permission { at, resource: Arc::clone(resource), role, selectors })
    }

    /// A selector, and where its text stands.
    fn selector(
        &mut self,
        value: &Value,
        at: &Path,
        variables: &[String],
    ) -> Option<(Written, Path)> {
        let Some((text, prefix)) = self.take(at, text_of(value))? else {
            return Some((Written::All, at.clone()));
        };
        let place = match value {
            Value::Object(object) => object.keys().next().map_or_else(|| at.clone(), |k| at.key(k)),
            _ => at.clone(),
        };
        let segments = expression::parse_text(text, variables);
        let segments = self.take(&place, segments)?;
        for segment in &segments {
            if let Segment::Literal(text) = segment {
                self.take(&place, check_text(text))?;
            }
        }
        if segments.is_empty() {
            self.take(&place, check_text(""))?;
        }
        Some((Written::Text { prefix, segments }, place))
    }

    fn scope(&mut self, list: &Value, at: &Path) -> ScopeSet {
        let problem = "is a list of at most 64 scopes, without expressions";
        let list = list.as_array().filter(|list| list.len() <= MAX_SCOPES);
        let Some(list) = self.take(at, list.ok_or(problem)) else { return ScopeSet::default() };
        let mut scopes = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            let scope = value.as_str().filter(|text| is_scope_token(text) && !text.contains("{{"));
            let problem = "is one scope: printable ASCII without spaces, quotes, backslashes and \
                           expressions";
            scopes.extend(self.take(&at.index(index), scope.ok_or(problem)));
        }
        scopes.into_iter().map(str::to_owned).collect()
    }

    fn claims(&mut self, claims: &Value, at: &Path) -> Vec<(String, ClaimTemplate)> {
        let object = claims.as_object().filter(|object| object.len() <= MAX_CLAIMS);
        let Some(object) = self.take(at, object.ok_or("is an object of at most 64 claims")) else {
            return Vec::new();
        };
        let mut compiled = Vec::with_capacity(object.len());
        for (name, value) in object {
            let at = at.key(name);
            if RESERVED_CLAIMS.contains(&name.as_str()) {
                self.fail(&at, "is a claim of the token itself, which no template can set");
            } else if check_text(name).is_err() || name.len() > 128 || name.starts_with("__") {
                let problem = "is no name for a claim: write 1 to 128 visible characters, the \
                               first two not `__`";
                self.fail(&at, problem);
            } else if let Some(claim) = self.claim(value, &at, true) {
                compiled.push((name.clone(), claim));
            }
        }
        compiled
    }

    fn claim(&mut self, value: &Value, at: &Path, lists: bool) -> Option<ClaimTemplate> {
        match value {
            Value::String(text) => {
                let segments = expression::parse_text(text, &[]);
                let segments = self.take(at, segments)?;
                let fixed = segments.iter().all(|segment| matches!(segment, Segment::Literal(_)));
                Some(if fixed {
                    ClaimTemplate::Fixed(value.clone())
                } else {
                    ClaimTemplate::Text { at: at.to_string().into(), segments }
                })
            }
            Value::Bool(_) => Some(ClaimTemplate::Fixed(value.clone())),
            Value::Number(number) if number.is_i64() || number.is_u64() => {
                Some(ClaimTemplate::Fixed(value.clone()))
            }
            Value::Array(list) if lists => {
                let parts = list.iter().enumerate();
                let parts: Vec<_> = parts
                    .map(|(index, value)| self.claim(value, &at.index(index), false))
                    .collect();
                parts.into_iter().collect::<Option<_>>().map(ClaimTemplate::List)
            }
            _ => {
                self.fail(at, "is a string, an integer, true, false or a list of these");
                None
            }
        }
    }
}

fn has_any(value: Option<&Value>) -> bool {
    value.and_then(Value::as_array).is_some_and(|list| !list.is_empty())
}

fn explain_fault(fault: &Fault, resource: &ResourceType, written: &[(&str, Written)]) -> String {
    let names = |actions| resource.action_names(actions).join(", ");
    match fault {
        Fault::Staff(actions) => format!(
            "the role allows {}, which reaches other tenants; only a template that may cross \
             tenants can hold it",
            names(*actions)
        ),
        Fault::Unsafe(actions) => format!(
            "the role allows {} on what all tenants share; a tenant's template may hold only: {}",
            names(*actions),
            names(resource.safe())
        ),
        Fault::Mixed(level) => boundary::explain(written, *level),
    }
}

fn compiled(written: Written, place: &Path) -> SelectorTemplate {
    let form = written.form().map(Arc::new);
    let at = place.to_string().into();
    let (prefix, segments) = match written {
        Written::All => return SelectorTemplate::Fixed(Selector::new(Pattern::All)),
        Written::Text { prefix, segments } => (prefix, segments),
    };
    if let [Segment::Literal(text)] = &*segments {
        let text = Arc::from(&**text);
        let pattern = if prefix { Pattern::Prefix(text) } else { Pattern::Exact(text) };
        return SelectorTemplate::Fixed(Selector::rendered(pattern, form));
    }
    SelectorTemplate::Slot(Slot { at, prefix, segments, form })
}
