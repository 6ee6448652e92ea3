use super::*;
use crate::domain::client::{ClientAuthentication, GrantType, RefreshTokens};
use crate::domain::deployment::plan;
use crate::domain::secret::{Digest, Secret};

fn read_beside(path: &str) -> io::Result<String> {
    match path {
        "role.json"
        | "ceiling.json"
        | "templates/roles/data-entry.json"
        | "templates/roles/admin.json" => Ok("{ \"permissions\": [] }".into()),
        "list.json" => Ok("[]".into()),
        "broken.json" => Ok("{ s3cr3t".into()),
        "resources.toml" | "templates/resources.toml" => Ok("[types]".into()),
        "secret" | "github-secret" => Ok("file-s3cr3t-of-enough-length\n".into()),
        "short" => Ok("s3cr3t\n".into()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}
fn variable(name: &str) -> Option<String> {
    (name == "CORP_SECRET").then(|| "variable-s3cr3t-of-enough-length".into())
}
fn read(source: &str) -> Result<Deployment, DeploymentErrors> {
    let around = Surroundings { read: &read_beside, variable: &variable };
    parse("d.toml", source, around, &|_| Vec::new())
}
fn problems(source: &str) -> Vec<String> {
    let found: Vec<_> = read(source).unwrap_err().0.iter().map(ToString::to_string).collect();
    assert!(!format!("{found:?}").contains("s3cr3t"), "{found:?}");
    found
}

const PROVIDER: &str = r#"[[providers]]
id = "corp"
kind = "oidc"
issuer = "https://login.example"
client_id = "rolemint"
tenants = { by = "domain", table = { "acme.example" = "acme" } }
"#;
const CLIENT: &str = r#"[[clients]]
id = "web"
name = "Web"
authentication = "none"
grants = ["authorization_code"]
redirect_uris = ["https://a.example/cb"]
"#;
const CONFIDENTIAL: &str = r#"[[clients]]
id = "back"
name = "Back"
authentication = "client_secret_basic"
client_secret = "plain-s3cr3t-of-enough-length"
"#;

#[test]
fn the_example_is_read_and_fits_together() {
    let deployment = read(include_str!("../../deployment.example.toml")).unwrap();
    assert!(!format!("{deployment:?}").contains("s3cr3t"));
    assert_eq!(deployment.vocabulary.as_deref(), Some("[types]"));
    assert_eq!(deployment.roles.len(), 2);
    assert_eq!(deployment.tenants.len(), 2);
    let plan = plan(&Deployment::default(), &deployment, &[]).unwrap();
    assert!(!format!("{plan}{plan:?}").contains("s3cr3t"));
    let [corp, github] = deployment.providers.as_slice() else { panic!("two providers") };
    assert_eq!(
        corp.client_secret.as_ref().map(|s| s.reveal().as_str()),
        Some("variable-s3cr3t-of-enough-length")
    );
    assert_eq!(
        github.client_secret.as_ref().map(Secret::reveal).map(String::as_str),
        Some("file-s3cr3t-of-enough-length")
    );
    let [web, backend] = deployment.clients.as_slice() else { panic!("two clients") };
    assert_eq!(web.lifetimes.access_token, 600);
    assert_eq!(web.lifetimes.code, 60);
    assert!(backend.may_use(GrantType::TokenExchange));
}

#[test]
fn secrets_come_from_the_file_a_file_or_a_variable() {
    let with = |line: &str| {
        let source =
            CONFIDENTIAL.replace("client_secret = \"plain-s3cr3t-of-enough-length\"", line);
        let deployment = read(&format!("{source}grants = []\n")).unwrap();
        match &deployment.clients[0].authentication {
            ClientAuthentication::ClientSecretBasic { secrets } => secrets.clone(),
            other => panic!("{other:?}"),
        }
    };
    let file = Digest::of("file-s3cr3t-of-enough-length");
    let variable = Digest::of("variable-s3cr3t-of-enough-length");
    assert_eq!(with("client_secret_file = \"secret\""), [file]);
    assert_eq!(
        with("client_secret = [\"one-s3cr3t-of-enough-length\", \"two-s3cr3t-of-enough-length\"]")
            .len(),
        2
    );
    assert_eq!(
        with("client_secret_env = \"CORP_SECRET\"\nclient_secret_file = \"secret\""),
        [file, variable]
    );
    let written = String::from(file);
    assert_eq!(with(&format!("client_secret_sha256 = \"{written}\"")), [file]);
    let hexadecimal = data_encoding::HEXLOWER.encode(file.as_bytes());
    assert_eq!(with(&format!("client_secret_sha256 = [\"{hexadecimal}\"]")), [file]);
}

#[test]
fn everything_is_reported_at_once() {
    let source = r#"
[vocabulary]
file = "nowhere.toml"
[[roles]]
role = "Data Entry"
template = "nowhere.json"
crosses_tenants = "no"
[[tenants]]
id = "acme"
name = ""
attributes = { a = 1.5, b = [1], c = { d = 1 }, e = 2020-01-01 }
colour = "red"
[[tenants]]
id = "acme"
name = "Again"
status = "asleep"
session_idle = 0
[[tenants]]
name = 7
[[policies]]
"#;
    assert_eq!(
        problems(source),
        [
            "d.toml:3: vocabulary.file: cannot read \"nowhere.toml\": entity not found",
            "d.toml:5: roles.role: \"Data Entry\" is not a role: expected 1 to 63 of a-z, 0-9 and -, neither beginning nor ending with -",
            "d.toml:6: roles.template: cannot read \"nowhere.json\": entity not found",
            "d.toml:7: roles.crosses_tenants: expected true or false, found string",
            "d.toml:10: tenants.name: must not be empty: write name = \"Acme\"",
            "d.toml:11: tenants.attributes.a: must be true or false, a whole number, a string or a list of strings",
            "d.toml:11: tenants.attributes.b: must be true or false, a whole number, a string or a list of strings",
            "d.toml:11: tenants.attributes.c: must be true or false, a whole number, a string or a list of strings",
            "d.toml:11: tenants.attributes.e: holds a date or a number that JSON cannot hold: write it as a string",
            "d.toml:12: tenants.colour: unknown key; known here: attributes, id, max_expires_in, name, session_absolute, session_idle, status",
            "d.toml:14: tenants.id: tenant acme is declared twice, first in line 9",
            "d.toml:16: tenants.status: must be one of \"active\", \"suspended\", not \"asleep\"",
            "d.toml:17: tenants.session_idle: must be 1 to 31536000",
            "d.toml:18: tenants.id: missing: write id = \"acme\"",
            "d.toml:19: tenants.name: expected a string, found integer",
            "d.toml:20: policies: unknown key; known here: clients, providers, roles, templates, tenants, vocabulary",
        ]
    );
    assert_eq!(
        problems("[tenants.acme]\nname = \"Acme\"\n"),
        ["d.toml:1: tenants: expected a list of tables: write [[tenants]]"]
    );
    let found = problems("[[tenants]\nid = \"acme\"\n");
    assert!(found[0].starts_with("d.toml:1: not TOML: "), "{found:?}");
}

/// What is said of one provider after `replace`d lines: (old, new, problem without file).
fn table_of(base: &str, rows: &[(&str, &str, &str)]) {
    for (old, new, problem) in rows {
        assert!(base.contains(old), "{old}");
        let source = if old.is_empty() { format!("{base}{new}\n") } else { base.replace(old, new) };
        assert_eq!(problems(&source), [format!("d.toml:{problem}")], "{source}");
    }
}

/// What stands there, what is written instead, and what is said of it.
const PROVIDER_ROWS: &[(&str, &str, &str)] = &[
    (
        "\"oidc\"",
        "\"saml\"",
        "3: providers.kind: must be one of \"oidc\", \"oauth2\", not \"saml\"",
    ),
    (
        "https://login.example",
        "http://login.example",
        "4: providers.issuer: must be an https URL (http only on 127.0.0.1, [::1] and localhost)",
    ),
    (
        "https://login.example",
        "https://login.example?x",
        "4: providers.issuer: an issuer has no query",
    ),
    ("https://login.example", "login", "4: providers.issuer: \"login\" is not a URL"),
    (
        "",
        "algorithms = []",
        "7: providers.algorithms: no ID token could be verified: write algorithms = [\"RS256\"]",
    ),
    (
        "",
        "algorithms = [\"HS256\"]",
        "7: providers.algorithms: must be one of \"RS256\", \"RS384\", \"RS512\", \"PS256\", \"PS384\", \"PS512\", \"ES256\", \"ES384\", \"EdDSA\", not \"HS256\"",
    ),
    (
        "",
        "scopes = [\"email\"]",
        "7: providers.scopes: an OpenID Connect provider gives no ID token without \"openid\": add it",
    ),
    (
        "",
        "scopes = [\"openid email\"]",
        "7: providers.scopes: \"openid email\" is not one scope: write each as a string of its own",
    ),
    (
        "",
        "subject = \"/id\"",
        "7: providers.subject: unknown key; known here: algorithms, authentication, backchannel_logout, client_id, client_secret, client_secret_env, client_secret_file, exchange, id, issuer, keep_claims, kind, mappings, recheck, scopes, status, tenants, userinfo",
    ),
    (
        "",
        "authentication = \"client_secret_post\"",
        "7: providers.authentication: a provider without a secret has no way to use it: add `client_secret_file` or `client_secret_env`",
    ),
    (
        "",
        "client_secret_env = \"NOT_SET\"",
        "7: providers.client_secret_env: the environment variable \"NOT_SET\" is not set",
    ),
    (
        "",
        "client_secret_env = \"s3cr3t!\"",
        "7: providers.client_secret_env: must be the name of an environment variable, such as \"CORP_SECRET\"",
    ),
    (
        "",
        "client_secret = \"s3cr3t\"\nclient_secret_file = \"secret\"",
        "8: providers.client_secret_file: is a second secret: a provider has one",
    ),
    (
        "",
        "keep_claims = [\"/roles\"]",
        "7: providers.keep_claims: must be a claim's name such as \"roles\", not \"/roles\"",
    ),
    (
        "",
        "mappings = [\n  { claim = \"/roles\", contains = \"a\", role = \"a\" },\n]",
        "8: providers.mappings: `claim` \"/roles\" looks at a claim that `keep_claims` does not name",
    ),
    (
        "",
        "mappings = [\n  { claim = \"/groups\", role = \"a\" },\n]",
        "8: providers.mappings: a rule has exactly one of `equals`, `contains` and `matches`",
    ),
    (
        "",
        "mappings = [{ claim = \"/groups\", contains = \"a\", role = \"a\", tenant = \"globex\" }]",
        "7: providers.mappings.tenant: `tenants` of this provider does not yield globex, so the rule never matches",
    ),
    (
        "",
        "mappings = [{ claim = \"/groups\", contain = \"a\", role = \"a\", equals = \"x\" }]",
        "7: providers.mappings.contain: unknown key; known here: claim, contains, equals, matches, role, tenant",
    ),
    (
        "",
        "exchange = { max_age = 0, audiences = [\"a\"] }",
        "7: providers.exchange.max_age: must be 1 to 86400",
    ),
    (
        "",
        "exchange = { audiences = [] }",
        "7: providers.exchange.audiences: must name the applications whose ID tokens are taken, by their client_id there",
    ),
    ("", "recheck = {}", "7: providers.recheck.every: missing: write every = 300"),
    (
        "",
        "recheck = { every = 600, at_most = 599 }",
        "7: providers.recheck: `at_most` is shorter than `every`: sessions would end before anybody is asked",
    ),
    (
        "",
        "backchannel_logout = \"yes\"",
        "7: providers.backchannel_logout: expected true or false, found string",
    ),
    (
        "\"domain\"",
        "\"wish\"",
        "6: providers.tenants.by: must be one of \"fixed\", \"claim\", \"domain\", not \"wish\"",
    ),
    (
        "by = \"domain\", ",
        "",
        "6: providers.tenants.by: missing: write by = \"fixed\", by = \"claim\" or by = \"domain\"",
    ),
    (
        "\"acme.example\"",
        "\"Acme.example\"",
        "6: providers.tenants.table.Acme.example: write the domain as \"acme.example\"",
    ),
    (
        "\"acme.example\"",
        "\"acme\"",
        "6: providers.tenants.table.acme: is not a domain such as \"acme.example\"",
    ),
    (
        "{ \"acme.example\" = \"acme\" }",
        "{}",
        "6: providers.tenants.table: is empty: nobody could sign in",
    ),
    ("\"domain\"", "\"claim\"", "6: providers.tenants.claim: missing: write claim = \"/org_id\""),
];

#[test]
fn a_provider_says_what_is_wrong_with_it() {
    read(PROVIDER).unwrap();
    table_of(PROVIDER, PROVIDER_ROWS);
}

#[test]
fn two_providers_share_neither_name_nor_domain() {
    let twice = format!("{PROVIDER}{PROVIDER}");
    assert_eq!(
        problems(&twice),
        [
            "d.toml:8: providers.id: provider corp is declared twice, first in line 2",
            "d.toml:12: providers.tenants: the e-mail domain acme.example belongs to provider corp already: it must lead to one",
        ]
    );
}

#[test]
fn a_plain_oauth_provider_names_its_endpoints() {
    let source = r#"[[providers]]
id = "code"
kind = "oauth2"
authorization_endpoint = "https://c.example/a"
token_endpoint = "http://c.example/t"
subject = "id"
client_id = "x"
tenants = { by = "fixed", tenant = "acme" }
exchange = { audiences = ["x"] }
"#;
    assert_eq!(
        problems(source),
        [
            "d.toml:1: providers.userinfo_endpoint: missing: write userinfo_endpoint = \"https://…\"",
            "d.toml:5: providers.token_endpoint: must be an https URL (http only on 127.0.0.1, [::1] and localhost)",
            "d.toml:6: providers.subject: must be a JSON pointer such as \"/sub\", not \"id\"",
            "d.toml:9: providers.exchange: unknown key; known here: authentication, authorization_endpoint, client_id, client_secret, client_secret_env, client_secret_file, id, issuer, keep_claims, kind, mappings, recheck, scopes, status, subject, tenants, token_endpoint, userinfo_endpoint",
        ]
    );
}

/// What stands there, what is written instead, and what is said of it.
const CLIENT_ROWS: &[(&str, &str, &str)] = &[
    (
        "redirect_uris = [\"https://a.example/cb\"]\n",
        "",
        "1: clients.redirect_uris: missing: `authorization_code` needs at least one, such as \"https://app.example.com/callback\"",
    ),
    (
        "[\"authorization_code\"]",
        "[]",
        "6: clients.redirect_uris: is used by `authorization_code` only: add it to `grants`, or remove this",
    ),
    (
        "https://a.example/cb",
        "http://a.example/cb",
        "6: clients.redirect_uris: \"http://a.example/cb\" is not a redirect URI: expected an absolute https URI, a private-use scheme with a dot in it, or http on 127.0.0.1 or [::1]; no fragment, no user, at most 2048 printable ASCII characters",
    ),
    (
        "\"authorization_code\"",
        "\"password\"",
        "5: clients.grants: must be one of \"authorization_code\", \"refresh_token\", \"token-exchange\", \"urn:ietf:params:oauth:grant-type:token-exchange\", not \"password\"",
    ),
    (
        "\"none\"",
        "\"private_key_jwt\"",
        "4: clients.authentication: must be one of \"none\", \"client_secret_basic\", \"client_secret_post\", not \"private_key_jwt\"",
    ),
    (
        "\"none\"",
        "\"client_secret_basic\"",
        "1: clients.client_secret: missing: write `client_secret_file`, `client_secret_env` or `client_secret_sha256`, or authentication = \"none\"",
    ),
    (
        "",
        "client_secret_file = \"secret\"",
        "4: clients.authentication: is \"none\", but there is a secret: write \"client_secret_basic\", or remove the secret",
    ),
    (
        "",
        "introspects = [\"api\"]",
        "7: clients.introspects: a public client may not introspect: give it a secret, or remove this",
    ),
    (
        "",
        "exchange = { access_tokens = true }",
        "7: clients.exchange: is of no use without the grant: add \"token-exchange\" to `grants`",
    ),
    (
        "",
        "origins = [\"https://a.example/\"]",
        "7: clients.origins: is not exactly an origin: write \"https://a.example\"",
    ),
    (
        "",
        "origins = [\"http://a.example\"]",
        "7: clients.origins: must be an https URL (http only on 127.0.0.1, [::1] and localhost)",
    ),
    (
        "",
        "audiences = [\"my api\"]",
        "7: clients.audiences: \"my api\" is not an audience: write an absolute URI without a fragment, or a name without spaces",
    ),
    (
        "",
        "audiences = [\"a\", \"https://a.example/x#f\"]",
        "7: clients.audiences: \"https://a.example/x#f\" is not an audience: write an absolute URI without a fragment, or a name without spaces",
    ),
    ("", "audiences = [\"a\", \"a\"]", "7: clients.audiences: holds the same audience twice"),
    (
        "",
        "providers = []",
        "7: clients.providers: allows no provider: name some, or leave the key out to allow all",
    ),
    (
        "",
        "lifetimes = { access_token = 86401 }",
        "7: clients.lifetimes: `access_token` must be 1 to 86400 seconds",
    ),
    (
        "",
        "lifetimes = { acess_token = 60 }",
        "7: clients.lifetimes.acess_token: unknown key; known here: access_token, code, refresh_grace, session_absolute, session_idle",
    ),
    ("", "ceiling = \"list.json\"", "7: clients.ceiling: \"list.json\" must hold a JSON object"),
    (
        "",
        "ceiling = \"broken.json\"",
        "7: clients.ceiling: \"broken.json\" is not JSON: key must be a string at line 1 column 3",
    ),
    ("", "ceiling = 1", "7: clients.ceiling: expected a table, found integer"),
    (
        "",
        "algorithm = \"HS256\"",
        "7: clients.algorithm: must be one of \"EdDSA\", \"ES256\", \"RS256\", not \"HS256\"",
    ),
    (
        "",
        "token_format = \"paseto\"",
        "7: clients.token_format: must be one of \"jwt\", \"opaque\", not \"paseto\"",
    ),
    (
        "",
        "refresh_tokens = \"fixed\"",
        "7: clients.refresh_tokens: must be one of \"rotate\", \"stable\", not \"fixed\"",
    ),
    (
        "",
        "lifetimes = { session_idle = 0 }",
        "7: clients.lifetimes: `session_idle` must be 1 to 31536000 seconds",
    ),
    (
        "",
        "lifetimes = { session_idle = 31536001 }",
        "7: clients.lifetimes: `session_idle` must be 1 to 31536000 seconds",
    ),
    (
        "",
        "lifetimes = { session_absolute = 0 }",
        "7: clients.lifetimes: `session_absolute` must be 1 to 31536000 seconds",
    ),
    (
        "",
        "lifetimes = { session_absolute = 31536001 }",
        "7: clients.lifetimes: `session_absolute` must be 1 to 31536000 seconds",
    ),
    (
        "",
        "lifetimes = { refresh_grace = 301 }",
        "7: clients.lifetimes: `refresh_grace` must be 0 to 300 seconds",
    ),
    ("", "lifetimes = { code = 0 }", "7: clients.lifetimes: `code` must be 1 to 600 seconds"),
    (
        "",
        "lifetimes = { access_token = 0 }",
        "7: clients.lifetimes: `access_token` must be 1 to 86400 seconds",
    ),
];

#[test]
fn a_public_client_says_what_is_wrong_with_it() {
    read(CLIENT).unwrap();
    table_of(CLIENT, CLIENT_ROWS);
    let both =
        CLIENT.replace("[\"authorization_code\"]", "[\"authorization_code\", \"token-exchange\"]");
    assert_eq!(
        problems(&both),
        [
            "d.toml:1: clients.exchange: missing: `token-exchange` allows nothing by itself; write exchange = { id_tokens_of = [\"corp\"] } or exchange = { access_tokens = true }",
            "d.toml:5: clients.grants: a public client may not exchange tokens: give it a secret, or remove `token-exchange`",
        ]
    );
}

#[test]
fn a_confidential_client_says_what_is_wrong_with_it() {
    let base = format!("{CONFIDENTIAL}grants = []\n");
    read(&base).unwrap();
    table_of(
        &base,
        &[
            (
                "plain-s3cr3t-of-enough-length",
                "s3cr3t",
                "5: clients.client_secret: the secret is shorter than 16 characters: make one with `openssl rand -hex 32`",
            ),
            (
                "client_secret = \"plain-s3cr3t-of-enough-length\"",
                "client_secret_file = \"short\"",
                "5: clients.client_secret_file: the secret is shorter than 16 characters: make one with `openssl rand -hex 32`",
            ),
            ("plain-s3cr3t-of-enough-length", "", "5: clients.client_secret: the secret is empty"),
            (
                "",
                "client_secret_sha256 = \"s3cr3t\"",
                "7: clients.client_secret_sha256: is not a SHA-256 digest: write 64 hexadecimal digits (`printf %s \"$SECRET\" | sha256sum`)",
            ),
            (
                "grants = []",
                "grants = [\"refresh_token\"]",
                "6: clients.grants: `refresh_token` comes with `authorization_code`: add it, or remove this",
            ),
            (
                "",
                "refresh_tokens = \"stable\"",
                "7: clients.refresh_tokens: is of no use without the grant: add \"refresh_token\" to `grants`, or remove this",
            ),
        ],
    );
}

#[test]
fn only_a_client_that_authenticates_keeps_its_refresh_tokens() {
    let stable = |client: &str| {
        let grants = "grants = [\"authorization_code\", \"refresh_token\"]";
        format!("{client}{grants}\nrefresh_tokens = \"stable\"\n")
    };
    let redirect = "redirect_uris = [\"https://a.example/cb\"]\n";
    let confidential = read(&stable(&format!("{CONFIDENTIAL}{redirect}"))).unwrap();
    assert_eq!(confidential.clients[0].refresh_tokens(), RefreshTokens::Stable);
    let public = stable(&CLIENT.replace("grants = [\"authorization_code\"]\n", ""));
    assert_eq!(
        problems(&public),
        [
            "d.toml:7: clients.refresh_tokens: a public client's refresh tokens rotate, since nothing else finds a copy: give it a secret, or remove this"
        ]
    );
}

#[test]
fn what_the_template_engine_finds_stands_at_the_entry() {
    let source = format!("[[roles]]\nrole = \"a\"\ntemplate = \"role.json\"\n{CLIENT}");
    let around = Surroundings { read: &read_beside, variable: &variable };
    let check = |deployment: &Deployment| {
        let role = EntryId::Role(deployment.roles[0].role.clone());
        let client = EntryId::Client(deployment.clients[0].id.clone());
        [role, client]
            .map(|entry| TemplateProblem { entry, message: "does not hold".into() })
            .into()
    };
    let errors = parse("d.toml", &source, around, &check).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "the deployment file cannot be applied\n  d.toml:2: role a: does not hold\n  d.toml:5: client web: does not hold"
    );
}
