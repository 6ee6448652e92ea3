//! The tests that a template carries: whom it gives what, and whom it must not.

use crate::domain::ids::ClientId;
use crate::domain::ids::SubjectId;
use crate::domain::ids::TenantId;
use crate::domain::permission::Actions;
use crate::domain::permission::Resource;
use crate::domain::permission::Vocabulary;
use crate::domain::permission::resource_type;
use crate::domain::template::boundary;
use crate::domain::template::document::Path;
use crate::domain::template::document::TemplateError;
use crate::domain::template::given;
use crate::domain::template::given::DEFAULT_CLIENT;
use crate::domain::template::given::DEFAULT_USER;
use crate::domain::template::given::Given;
use crate::domain::template::render::RenderError;
use crate::domain::template::render::Rendered;
use crate::domain::template::render::RoleTemplate;
use crate::domain::tenant::AttributeValue;
use crate::domain::tenant::Tenant;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::str::FromStr;

const MAX_CASES: usize = 64;
const MAX_REQUESTS: usize = 64;
const MAX_TEXT: usize = 256;

/// One test of a template.
#[derive(Clone, Debug)]
pub(super) struct Case {
    name: Box<str>,
    at: Box<str>,
    given: Given,
    wanted: Wanted,
}

#[derive(Clone, Debug)]
enum Wanted {
    Decisions {
        allow: Vec<Request>,
        deny: Vec<Request>,
    },
    /// A rendering that fails, for this reason where one is given.
    Error(Option<Box<str>>),
}

#[derive(Clone, Debug)]
struct Request {
    at: Box<str>,
    resource: Resource,
    action: Box<str>,
    /// For people: "get on cache `reports`, item `acme:1`".
    shown: Box<str>,
}

/// What became of one of a template's own tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaseOutcome {
    pub name: String,
    /// Its place in the document: `$.tests[0]`.
    pub at: String,
    /// None, if it passed.
    pub failures: Vec<String>,
}

impl RoleTemplate {
    /// Runs the tests that stand in the document, in their order.
    pub fn run_cases(&self, v: &Vocabulary) -> Vec<CaseOutcome> {
        let outcome = |case: &Case| CaseOutcome {
            name: case.name.to_string(),
            at: case.at.to_string(),
            failures: case.run(self, v),
        };
        self.cases.iter().map(outcome).collect()
    }
}

impl Case {
    pub(super) fn denies(&self) -> bool {
        matches!(&self.wanted, Wanted::Decisions { deny, .. } if !deny.is_empty())
    }

    fn run(&self, template: &RoleTemplate, v: &Vocabulary) -> Vec<String> {
        let rendered = template.render(&self.given.input(), v);
        let mut failures = Vec::new();
        // Whatever a test asks: what is rendered must be the tenant's own.
        if !template.crosses_tenants
            && let Ok(rendered) = &rendered
            && let Err(outside) = boundary::check(&rendered.permissions, &self.given.tenant.id, v)
        {
            failures.push(outside.to_string());
        }
        match (&self.wanted, rendered) {
            (Wanted::Decisions { allow, deny }, Ok(rendered)) => {
                decide(allow, deny, &rendered, v, &mut failures);
            }
            (Wanted::Decisions { .. }, Err(error)) => {
                failures.push(format!("it does not render: {error}"));
            }
            (Wanted::Error(_), Ok(_)) => {
                failures.push("it renders, and the test wants an error".into());
            }
            (Wanted::Error(Some(reason)), Err(error)) if !is_reason(reason, &error) => {
                failures.push(format!("the error is another one than `{reason}`: {error}"));
            }
            (Wanted::Error(_), Err(_)) => {}
        }
        failures
    }
}

/// A text without a space is the path of the value and must be all of it: `user.claims.region` is
/// not `user.claims.regions`. Any other is a part of the message.
fn is_reason(reason: &str, error: &RenderError) -> bool {
    if reason.contains(' ') { error.to_string().contains(reason) } else { *error.value == *reason }
}

fn decide(
    allow: &[Request],
    deny: &[Request],
    rendered: &Rendered,
    v: &Vocabulary,
    failures: &mut Vec<String>,
) {
    let allows =
        |request: &Request| rendered.permissions.allows(&request.resource, &request.action, v);
    for request in allow.iter().filter(|request| allows(request).is_none()) {
        failures.push(format!("{}: {} is refused", request.at, request.shown));
    }
    for request in deny {
        if let Some(permission) = allows(request) {
            let by = permission.to_json();
            failures.push(format!("{}: {} is allowed, by {by}", request.at, request.shown));
        }
    }
}

/// Takes `"tests"` apart. All mistakes go to `errors`.
pub(super) fn read(
    list: &Value,
    at: &Path,
    source: &str,
    vocabulary: &Vocabulary,
    errors: &mut Vec<TemplateError>,
) -> Box<[Case]> {
    Reader { source, vocabulary, errors }.cases(list, at).into()
}

struct Reader<'a> {
    source: &'a str,
    vocabulary: &'a Vocabulary,
    errors: &'a mut Vec<TemplateError>,
}

impl Reader<'_> {
    fn fail(&mut self, at: &Path, message: impl Into<String>) {
        self.errors.push(at.error(self.source, message.into()));
    }

    fn take<T>(&mut self, at: &Path, value: Option<T>, problem: &str) -> Option<T> {
        if value.is_none() {
            self.fail(at, problem);
        }
        value
    }

    /// An object with no keys but these.
    fn object<'v>(
        &mut self,
        value: &'v Value,
        at: &Path,
        what: &str,
        keys: &[&str],
    ) -> Option<&'v Map<String, Value>> {
        let problem = format!("{what} is a JSON object with {}", keys.join(", "));
        let object = self.take(at, value.as_object(), &problem)?;
        for key in object.keys().filter(|key| !keys.contains(&key.as_str())) {
            self.fail(&at.key(key), format!("is unknown; {what} has {}", keys.join(", ")));
        }
        Some(object)
    }

    fn cases(&mut self, list: &Value, at: &Path) -> Vec<Case> {
        let problem = "is a list of tests, such as {\"name\": …, \"given\": …, \"deny\": […]}";
        let Some(list) = self.take(at, list.as_array(), problem) else { return Vec::new() };
        if list.len() > MAX_CASES {
            let problem = format!("holds more than {MAX_CASES} tests; take the others out");
            self.fail(at, problem);
            return Vec::new();
        }
        let mut names = BTreeSet::new();
        let cases = list.iter().enumerate();
        cases.filter_map(|(index, value)| self.case(value, &at.index(index), &mut names)).collect()
    }

    fn case<'v>(
        &mut self,
        value: &'v Value,
        at: &Path,
        names: &mut BTreeSet<&'v str>,
    ) -> Option<Case> {
        let keys = ["name", "given", "allow", "deny", "error"];
        let object = self.object(value, at, "a test", &keys)?;
        let name_at = if object.contains_key("name") { at.key("name") } else { at.clone() };
        let name = object.get("name").and_then(Value::as_str).filter(|name| is_text(name));
        let problem = "a test needs a `name` of 1 to 256 visible characters";
        let name = self.take(&name_at, name, problem);
        if let Some(name) = name
            && !names.insert(name)
        {
            self.fail(&name_at, "is the name of another test too; give each its own");
        }
        let problem = "a test needs `given`: write at least {\"tenant\": {\"id\": \"acme\"}}";
        let given = self.take(at, object.get("given"), problem);
        let given = given.and_then(|given| self.given(given, &at.key("given")));
        let wanted = self.wanted(object, at);
        Some(Case { name: name?.into(), at: at.to_string().into(), given: given?, wanted: wanted? })
    }

    fn wanted(&mut self, object: &Map<String, Value>, at: &Path) -> Option<Wanted> {
        let (allow, deny) = (object.get("allow"), object.get("deny"));
        if let Some(error) = object.get("error") {
            let at = at.key("error");
            if allow.or(deny).is_some() {
                let problem = "cannot stand beside `allow` and `deny`, because what does not \
                               render decides nothing; make it a test of its own";
                self.fail(&at, problem);
            }
            let text = error.as_str().filter(|text| is_text(text));
            if *error == Value::Bool(true) {
                return Some(Wanted::Error(None));
            }
            let problem =
                "is true, the path of the value that is at fault, or a part of the message";
            return self.take(&at, text, problem).map(|text| Wanted::Error(Some(text.into())));
        }
        if allow.or(deny).is_none() {
            self.fail(at, "a test that asks nothing; add `allow`, `deny` or `error`");
            return None;
        }
        let allow = self.requests(allow, &at.key("allow"))?;
        let deny = self.requests(deny, &at.key("deny"))?;
        Some(Wanted::Decisions { allow, deny })
    }

    fn requests(&mut self, list: Option<&Value>, at: &Path) -> Option<Vec<Request>> {
        let Some(list) = list else { return Some(Vec::new()) };
        let problem =
            "is a list of requests, such as {\"cache\": …, \"item\": …, \"action\": \"get\"}";
        let list = self.take(at, list.as_array(), problem)?;
        if list.is_empty() {
            self.fail(at, "asks nothing; put a request in, or take it out");
            return None;
        }
        if list.len() > MAX_REQUESTS {
            let problem =
                format!("holds more than {MAX_REQUESTS} requests; spread them over several tests");
            self.fail(at, problem);
            return None;
        }
        let requests = list.iter().enumerate();
        Some(requests.filter_map(|(index, value)| self.request(value, &at.index(index))).collect())
    }

    fn request(&mut self, value: &Value, at: &Path) -> Option<Request> {
        let problem = "a request is a JSON object with an action and one type's selectors";
        let object = self.take(at, value.as_object(), problem)?;
        let action_at = if object.contains_key("action") { at.key("action") } else { at.clone() };
        let action = object.get("action").and_then(Value::as_str);
        let problem = "a request needs an `action`, in a string";
        let action = self.take(&action_at, action, problem)?;
        let mut resource = object.clone();
        resource.remove("action");
        let parsed = if resource.contains_key("type") {
            None
        } else {
            match Resource::parse(&Value::Object(resource.clone()), action, self.vocabulary) {
                Ok(parsed) => Some(parsed),
                Err(error) => {
                    if let Some(key) = error.at.strip_prefix("$.") {
                        self.fail(&at.key(key), error.problem);
                        return None;
                    }
                    None
                }
            }
        };
        let Some(parsed) = parsed else {
            self.explain_request(&resource, action, at, &action_at);
            return None;
        };
        let mut shown = format!("{action} on");
        for (index, key) in self.vocabulary.find(parsed.resource_type())?.selectors().enumerate() {
            let Some(text) = resource.get(key).and_then(Value::as_str) else { continue };
            if text.contains("{{") {
                let problem = "is the text itself, such as `acme:1`: a test holds no `{{…}}`";
                self.fail(&at.key(key), problem);
            }
            let comma = if index > 0 { "," } else { "" };
            shown = format!("{shown}{comma} {key} `{text}`");
        }
        let (at, shown) = (at.to_string().into(), shown.into());
        Some(Request { at, resource: parsed, action: action.into(), shown })
    }

    /// Why selectors and action belong to no type.
    fn explain_request(
        &mut self,
        resource: &Map<String, Value>,
        action: &str,
        at: &Path,
        action_at: &Path,
    ) {
        let vocabulary = self.vocabulary;
        match resource_type(resource, &[], vocabulary) {
            Ok(found) if found.action(action).is_none() => {
                let levels = 0..found.selectors().len();
                let all = levels.map(|level| found.actions_acting_at(level));
                let names = found.action_names(all.fold(Actions::NONE, Actions::or)).join(", ");
                let problem = format!("an action of `{}` is one of {names}", found.name());
                self.fail(action_at, problem);
            }
            Ok(found) => {
                let problem = format!("several types are like `{}` to this request", found.name());
                self.fail(at, problem);
            }
            Err(error) => self.fail(at, error.problem),
        }
    }

    fn given(&mut self, value: &Value, at: &Path) -> Option<Given> {
        let object = self.object(value, at, "`given`", &["tenant", "user", "client"])?;
        let problem = "needs a tenant: write {\"tenant\": {\"id\": \"acme\"}}";
        let tenant = self.take(at, object.get("tenant"), problem);
        let tenant = tenant.and_then(|tenant| self.tenant(tenant, &at.key("tenant")));
        let user = object.get("user").map(|user| self.user(user, &at.key("user")));
        let client = match object.get("client") {
            None => DEFAULT_CLIENT.parse().ok(),
            Some(client) => self.client(client, &at.key("client")),
        };
        let user = match user {
            Some(user) => Some(user?),
            None => None,
        };
        Some(Given { tenant: tenant?, user, client: client? })
    }

    fn tenant(&mut self, value: &Value, at: &Path) -> Option<Tenant> {
        let object = self.object(value, at, "a tenant", &["id", "name", "attributes"])?;
        let id = self.id::<TenantId>(object, at, None);
        let name = self.text(object, "name", at);
        let mut attributes = BTreeMap::new();
        if let Some(value) = object.get("attributes") {
            let at = at.key("attributes");
            for (name, value) in self.take(&at, value.as_object(), "is a JSON object")? {
                let attribute = serde_json::from_value::<AttributeValue>(value.clone()).ok();
                let problem = "is a string, an integer, true, false or a list of strings";
                let attribute = self.take(&at.key(name), attribute, problem);
                attributes.extend(attribute.map(|attribute| (name.clone(), attribute)));
            }
        }
        let mut tenant = given::tenant(id?);
        tenant.name = name.unwrap_or(tenant.name);
        tenant.attributes = attributes;
        Some(tenant)
    }

    fn user(&mut self, value: &Value, at: &Path) -> Option<(SubjectId, Map<String, Value>)> {
        let keys = ["id", "email", "name", "groups", "claims"];
        let object = self.object(value, at, "a user", &keys)?;
        let id = self.id::<SubjectId>(object, at, Some(DEFAULT_USER));
        let mut claims = match object.get("claims") {
            None => Map::new(),
            Some(claims) => {
                self.take(&at.key("claims"), claims.as_object(), "is a JSON object")?.clone()
            }
        };
        for key in ["email", "name"] {
            if let Some(text) = self.text(object, key, at) {
                self.claim(&mut claims, key, text.into(), at);
            }
        }
        if let Some(groups) = object.get("groups") {
            let texts = |list: &&Vec<Value>| list.iter().all(Value::is_string);
            let list = groups.as_array().filter(texts);
            let problem = "is a list of strings; what else a provider may send goes into `claims`";
            if self.take(&at.key("groups"), list, problem).is_some() {
                self.claim(&mut claims, "groups", groups.clone(), at);
            }
        }
        Some((id?, claims))
    }

    fn claim(&mut self, claims: &mut Map<String, Value>, key: &str, value: Value, at: &Path) {
        if claims.insert(key.to_owned(), value).is_some() {
            self.fail(&at.key(key), "stands in `claims` too, and means the same; take one out");
        }
    }

    fn client(&mut self, value: &Value, at: &Path) -> Option<ClientId> {
        let object = self.object(value, at, "a client", &["id"])?;
        self.id(object, at, None)
    }

    fn id<T: FromStr<Err: ToString>>(
        &mut self,
        object: &Map<String, Value>,
        at: &Path,
        default: Option<&str>,
    ) -> Option<T> {
        let at = if object.contains_key("id") { at.key("id") } else { at.clone() };
        let text = match object.get("id") {
            None => default,
            Some(id) => id.as_str(),
        };
        let text = self.take(&at, text, "needs an `id`, in a string")?;
        text.parse().map_err(|error: T::Err| self.fail(&at, error.to_string())).ok()
    }

    fn text(&mut self, object: &Map<String, Value>, key: &str, at: &Path) -> Option<String> {
        let value = object.get(key)?;
        self.take(&at.key(key), value.as_str(), "is a string").map(str::to_owned)
    }
}

fn is_text(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_TEXT && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests;
