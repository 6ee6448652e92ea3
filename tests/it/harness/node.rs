//! The parts of the test run that are not Rust: an external OpenID provider, independent clients, a browser
//! (`tests/js`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use super::process::{Server, Start, output};
use super::{logs, secrets, unguessable};

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js")
}

fn node(script: &str, options: &Value) -> Command {
    let mut command = Command::new("node");
    command.current_dir(folder()).env("NODE_NO_WARNINGS", "1");
    command.arg(script).arg(options.to_string());
    command
}

/// Runs a script to its end; the JSON line that it prints.
fn answer(script: &str, options: &Value) -> Value {
    secrets::note_json(options);
    let printed = output(&mut node(script, options), Duration::from_secs(170)).success();
    let value = serde_json::from_str(&printed).unwrap();
    secrets::note_json(&value);
    value
}

/// `openid-client` against Rolemint; `client.mjs` says what there is.
pub(crate) async fn client(options: Value) -> Value {
    blocking(move || answer("client.mjs", &options)).await
}

/// A person in Chromium at the sample web app; `browser.mjs` says what it does and answers.
pub(crate) async fn browser(base: &str) -> Value {
    let pictures = logs::folder().join("screenshots");
    let options = json!({ "base": base, "screenshots": pictures });
    let mut command = node("browser.mjs", &options);
    if let Some(chromium) = super::needs::chromium() {
        command.env("CHROMIUM", chromium);
    }
    blocking(move || {
        let printed = output(&mut command, Duration::from_secs(170)).success();
        let value = serde_json::from_str(&printed).unwrap();
        secrets::note_json(&value);
        value
    })
    .await
}

/// The verifier for resource servers in TypeScript.
pub(crate) fn typescript_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/typescript")
}

/// Its folder, where it is built once in a test run.
pub(crate) async fn typescript_client() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let folder = typescript_folder();
        let mut npm = Command::new("npm");
        npm.current_dir(&folder).args(["run", "--silent", "build"]);
        output(&mut npm, Duration::from_secs(170)).success();
        folder
    };
    blocking(move || BUILT.get_or_init(build).clone()).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// An external OpenID provider (npm `oidc-provider`), with Rolemint and a web app as its clients.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    /// The secret of its client `rolemint`.
    pub(crate) client_secret: String,
    /// The secret of its client `web-app`.
    web_app_secret: String,
    http: reqwest::Client,
    server: Server,
}

const WEB_APP_CALLBACK: &str = "http://127.0.0.1:9/web-app/callback";

impl Provider {
    /// With the people of [`people`], for a Rolemint at `rolemint`.
    pub(crate) fn start(rolemint: &str) -> Self {
        Self::with(rolemint, &people(), &json!({}))
    }

    /// `more` are further options of `provider.mjs`, such as `{"alg": "ES256"}`.
    pub(crate) fn with(rolemint: &str, accounts: &Value, more: &Value) -> Self {
        let (client_secret, web_app_secret) = (unguessable(), unguessable());
        let mut options = json!({
            "accounts": accounts,
            "clients": [
                {
                    "client_id": "rolemint",
                    "client_secret": client_secret,
                    "redirect_uris": [format!("{rolemint}/login/callback")],
                    "grant_types": ["authorization_code", "refresh_token"],
                    "backchannel_logout_uri": format!("{rolemint}/login/backchannel-logout/corp"),
                    "backchannel_logout_session_required": true,
                },
                {
                    "client_id": "web-app",
                    "client_secret": web_app_secret,
                    "redirect_uris": [WEB_APP_CALLBACK],
                },
            ],
        });
        for (name, value) in more.as_object().unwrap() {
            options[name] = value.clone();
        }
        secrets::note_json(&options);
        let mut server = Start::new("provider", &node("provider.mjs", &options)).run();
        let issuer = server.wait_for("its issuer", |log| {
            let line = log.lines().find(|line| line.starts_with("{\"issuer\""))?;
            let ready: Value = serde_json::from_str(line).ok()?;
            Some(ready["issuer"].as_str()?.to_owned())
        });
        let http = super::http::client();
        Self { issuer, client_secret, web_app_secret, http, server }
    }

    /// `openid-client` signs a person in to the web app, without Rolemint; the ID token.
    pub(crate) async fn sign_in_elsewhere(&self, username: &str) -> String {
        let options = json!({
            "issuer": self.issuer,
            "client_id": "web-app",
            "client_secret": self.web_app_secret,
            "redirect_uri": WEB_APP_CALLBACK,
            "username": username,
        });
        let answer = blocking(move || answer("sign_in_elsewhere.mjs", &options)).await;
        answer["id_token"].as_str().unwrap().to_owned()
    }

    /// Changes every later ID token on its way out, until it is given `{}`; see `provider.mjs`.
    pub(crate) async fn tamper(&self, how: &Value) {
        self.control("tamper", how).await;
    }

    /// A JWT signed with the provider's key; see `provider.mjs`.
    pub(crate) async fn sign(&self, what: &Value) -> String {
        let jwt = self.control("sign", what).await["jwt"].as_str().unwrap().to_owned();
        secrets::note(&jwt);
        jwt
    }

    /// A new signing key. Are those it had still published?
    pub(crate) async fn rotate_keys(&self, keep_old: bool) {
        self.control("rotate-keys", &json!({ "keep_old": keep_old })).await;
    }

    /// How often an endpoint (`/jwks`, `/token`, …) was asked.
    pub(crate) async fn requests(&self, endpoint: &str) -> u64 {
        self.control("requests", &json!({})).await[endpoint].as_u64().unwrap_or(0)
    }

    /// Whatever else it can be told; see `provider.mjs`.
    pub(crate) async fn control(&self, what: &str, body: &Value) -> Value {
        let url: Url = format!("{}/_control/{what}", self.issuer).parse().unwrap();
        let response = self.http.post(url).body(body.to_string()).send().await.unwrap();
        assert_eq!(response.status(), 200, "provider: {what}");
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    }

    pub(crate) fn kill(self) {
        self.server.kill();
    }
}

/// The people of the sample tenants, as an external provider knows them.
pub(crate) fn people() -> Value {
    let person = |email: &str, name: &str, roles: &[&str]| json!({ "email": email, "email_verified": true, "name": name, "roles": roles });
    json!({
        "dana": person("dana@acme.example", "Dana", &["data-entry"]),
        "ada": person("ada@acme.example", "Ada", &["admin"]),
        "gil": person("gil@globex.example", "Gil", &["data-entry"]),
        "gus": person("gus@globex.example", "Gus", &["admin"]),
        "root": person("root@platform.example", "Root", &["platform-admin"]),
        "petra": person("petra@platform.example", "Petra", &["platform-admin"]),
        "sam": person("sam@acme.example", "Sam", &["clerk"]),
        "nora": person("nora@acme.example", "Nora", &[]),
        "otto": person("otto@acme.example", "Otto", &["auditor"]),
        "eve": person("eve@elsewhere.example", "Eve", &["data-entry", "admin"]),
        "ulla": {
            "email": "ulla@acme.example", "email_verified": false, "name": "Ulla", "roles": ["data-entry"],
        },
    })
}
