//! The deployment file of the tests: tenants, a provider, mappings, clients.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value, toml};

use super::node::Provider;
use super::{secrets, unguessable};

/// A deployment file, to be changed as a test likes before it is written.
#[derive(Clone)]
pub(crate) struct Deployment(pub(crate) Table);

pub(crate) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// A role with scopes, which the shipped ones do not have.
const CLERK: &str = r#"{
    "description": "Keep the calendar of one tenant",
    "expires_in": 900,
    "permissions": [
        { "role": "readwrite", "cache": "calendar-events", "item": { "keyPrefix": "{{tenant.id}}:" } },
        { "role": "publishsubscribe", "cache": "collaboration", "topic": "{{tenant.id}}-events" }
    ],
    "scope": ["calendar:read", "calendar:write"]
}"#;

/// Looks at the templates of its tenant, and changes none.
const AUDITOR: &str = r#"{
    "expires_in": 900,
    "permissions": [{ "role": "view", "area": "templates", "tenant": "{{tenant.id}}" }]
}"#;

impl Deployment {
    /// The sample tenants, with `provider` as their provider `corp`.
    pub(crate) fn of(provider: &Provider) -> Self {
        let backend_secret = unguessable();
        secrets::note(&backend_secret);
        let mut deployment = toml! {
            [[roles]]
            role = "data-entry"
            template = "templates/roles/data-entry.json"

            [[roles]]
            role = "admin"
            template = "templates/roles/admin.json"

            [[tenants]]
            id = "acme"
            name = "Acme"
            attributes = { plan = "pro" }

            [[tenants]]
            id = "globex"
            name = "Globex"
            attributes = { plan = "basic" }

            [[providers]]
            id = "corp"
            kind = "oidc"
            client_id = "rolemint"
            keep_claims = ["email", "email_verified", "name", "roles"]
            tenants = { by = "domain", table = { "acme.example" = "acme", "globex.example" = "globex" } }
            mappings = [
                { claim = "/roles", contains = "data-entry", role = "data-entry" },
                { claim = "/roles", contains = "admin", role = "admin" },
            ]
            exchange = { audiences = ["web-app"], max_age = 300 }
            backchannel_logout = true

            [[clients]]
            id = "web"
            name = "Web app"
            authentication = "none"
            grants = ["authorization_code", "refresh_token"]
            redirect_uris = ["http://127.0.0.1/callback"]

            [[clients]]
            id = "backend"
            name = "Back end"
            authentication = "client_secret_basic"
            grants = ["urn:ietf:params:oauth:grant-type:token-exchange"]
            introspects = []
            exchange = { id_tokens_of = ["corp"], access_tokens = true }
        };
        let set = |table: &mut Table, name: &str, value: &str| {
            table.insert(name.to_owned(), Value::String(value.to_owned()));
        };
        let corp = entry(&mut deployment, "providers", "id", "corp");
        set(corp, "issuer", &provider.issuer);
        set(corp, "client_secret", &provider.client_secret);
        set(entry(&mut deployment, "clients", "id", "backend"), "client_secret", &backend_secret);
        Self(deployment)
    }

    /// The audiences whose tokens the client `backend` may check: the issuer, unless a test says otherwise.
    #[must_use]
    pub(crate) fn introspecting(mut self, audience: &str) -> Self {
        let audiences = Value::Array(vec![Value::String(audience.to_owned())]);
        self.client("backend").insert("introspects".to_owned(), audiences);
        self
    }

    pub(crate) fn client(&mut self, id: &str) -> &mut Table {
        entry(&mut self.0, "clients", "id", id)
    }

    pub(crate) fn provider(&mut self, id: &str) -> &mut Table {
        entry(&mut self.0, "providers", "id", id)
    }

    pub(crate) fn role(&mut self, name: &str) -> &mut Table {
        entry(&mut self.0, "roles", "role", name)
    }

    pub(crate) fn tenant(&mut self, id: &str) -> &mut Table {
        entry(&mut self.0, "tenants", "id", id)
    }

    pub(crate) fn client_secret(&self, id: &str) -> String {
        let secret = self.clone().client(id)["client_secret"].as_str().unwrap().to_owned();
        secrets::note(&secret);
        secret
    }

    /// Writes it into a folder, with the repository's templates beside it; its path.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        let templates = folder.join("templates/roles");
        fs::create_dir_all(&templates).unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/roles");
        for template in fs::read_dir(shipped).unwrap() {
            let template = template.unwrap();
            fs::copy(template.path(), templates.join(template.file_name())).unwrap();
        }
        fs::write(templates.join("clerk.json"), CLERK).unwrap();
        fs::write(templates.join("auditor.json"), AUDITOR).unwrap();
        let path = folder.join("deployment.toml");
        fs::write(&path, self.to_string()).unwrap();
        path
    }
}

impl fmt::Display for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The entry of the array `kind` whose `key` is this.
fn entry<'a>(table: &'a mut Table, kind: &str, key: &str, is: &str) -> &'a mut Table {
    let entries = table.get_mut(kind).and_then(Value::as_array_mut).unwrap();
    let mut entries = entries.iter_mut().filter_map(Value::as_table_mut);
    entries.find(|entry| entry.get(key).and_then(Value::as_str) == Some(is)).unwrap()
}
