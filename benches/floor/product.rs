//! Rolemint, as its users run it: a configuration, a deployment file, and people who sign in at a provider.

use crate::http::{Connection, get, post};
use crate::load::{Target, member};
use crate::processes::{Process, free_port, wait_for_port};
use anyhow::{Context as _, bail};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use sha2::{Digest as _, Sha256};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command;
use url::{Url, form_urlencoded};

const SECRET: &str = "a-secret-for-the-benchmark";
const REDIRECT_URI: &str = "http://127.0.0.1/callback";
const VERIFIER: &str = "a-verifier-that-is-long-enough-to-be-one-of-them";

pub(crate) struct Product {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    provider_port: u16,
}

impl Product {
    pub(crate) fn new(program: &Path, folder: &Path, token_store: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let product = Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            port,
            provider_port: free_port()?,
        };
        let encryption_key = BASE64URL_NOPAD.encode(&rolemint::signing::random::<32>()?);
        product.write(
            "rolemint.toml",
            &format!(
                "issuer = \"{issuer}\"\nlisten = \"127.0.0.1:{port}\"\n\
                 [database]\nurl = \"sqlite:rolemint.db\"\n\
                 [token_store]\nurl = \"{token_store}\"\n\
                 [keys]\nencryption_key = \"{encryption_key}\"\n\
                 [log]\nformat = \"json\"\nlevel = \"warn\"\n",
                issuer = product.issuer(),
            ),
        )?;
        product.write("deployment.toml", &product.deployment())?;
        Ok(product)
    }

    fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        std::fs::write(self.folder.join(name), text).with_context(|| name.to_owned())
    }

    /// One tenant, its people's provider, and a client that may do all that is measured. With a grace window
    /// a generation that is asked for within it is not rotated, and these clients ask within a millisecond:
    /// without one, every refresh is a write.
    fn deployment(&self) -> String {
        let template =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/roles/data-entry.json");
        format!(
            r#"
            [[roles]]
            role = "data-entry"
            template = "{template}"
            [[tenants]]
            id = "acme"
            name = "Acme"
            [[providers]]
            id = "demo"
            kind = "oidc"
            issuer = "http://127.0.0.1:{provider}"
            client_id = "demo-backend-app"
            keep_claims = ["email", "email_verified", "name", "roles"]
            tenants = {{ by = "domain", table = {{ "acme.example" = "acme" }} }}
            mappings = [{{ claim = "/roles", contains = "data-entry", role = "data-entry" }}]
            [[clients]]
            id = "bench"
            name = "Benchmark"
            authentication = "client_secret_basic"
            client_secret = "{SECRET}"
            grants = ["authorization_code", "refresh_token"]
            redirect_uris = ["{REDIRECT_URI}"]
            introspects = ["{issuer}"]
            lifetimes = {{ refresh_grace = 0 }}
            "#,
            template = template.display(),
            provider = self.provider_port,
            issuer = self.issuer(),
        )
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        let output = command.args(arguments).current_dir(&self.folder).output()?;
        if !output.status.success() {
            bail!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// The server, and so many people signed in.
    pub(crate) async fn start(&self, people: usize) -> anyhow::Result<(Process, Target)> {
        let config = ["--config", "rolemint.toml"];
        self.run(&["apply", "deployment.toml", config[0], config[1]])?;
        // Only its provider is of use. It knows an application without a secret that may be anywhere on this
        // machine, and that is what Rolemint is here.
        let (demo_port, provider_port) = (free_port()?.to_string(), self.provider_port.to_string());
        let ports = ["dev", "--port", &demo_port, "--provider-port", &provider_port, "--ephemeral"];
        let demo = Process::start(&self.program, &ports, &self.folder)?;
        let server = Process::start(&self.program, &["serve", config[0], config[1]], &self.folder)?;
        wait_for_port(self.port).await?;
        wait_for_port(self.provider_port).await?;
        let credentials = BASE64.encode(format!("bench:{SECRET}").as_bytes());
        let authorization = format!("authorization: Basic {credentials}\r\n");
        let (mut refresh_tokens, mut access_tokens) = (Vec::new(), Vec::new());
        for _ in 0..people {
            let (refresh, access) = self.sign_in(&authorization).await?;
            refresh_tokens.push(refresh);
            access_tokens.push(access);
        }
        demo.end()?;
        let (port, fresh) = (self.port, VecDeque::new());
        let authorization = authorization.into();
        Ok((server, Target { port, authorization, refresh_tokens, access_tokens, fresh }))
    }

    /// By way of the provider's sign-in form, to a refresh token and an access token.
    async fn sign_in(&self, authorization: &str) -> anyhow::Result<(String, String)> {
        let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(VERIFIER));
        let query = form(&[
            ("response_type", "code"),
            ("client_id", "bench"),
            ("redirect_uri", REDIRECT_URI),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("login_hint", "dana@acme.example"),
        ]);
        let mut server = Connection::open(self.port).await?;
        let begun = server.send(&get(&format!("/oauth2/authorize?{query}"), "")).await?;
        let cookies: Vec<&str> =
            begun.headers("set-cookie").filter_map(|cookie| cookie.split(';').next()).collect();
        let cookies = format!("cookie: {}\r\n", cookies.join("; "));
        let at_provider = location(begun.headers("location").next(), begun.body)?;

        let mut provider = Connection::open(self.provider_port).await?;
        let host = format!("host: 127.0.0.1:{}", self.provider_port);
        let chosen = post(&target(&at_provider), "", &form(&[("username", "dana@acme.example")]));
        // It answers to its own name only.
        let chosen = chosen.replacen("host: 127.0.0.1", &host, 1);
        let chosen = provider.send(&chosen).await?;
        let back = location(chosen.headers("location").next(), chosen.body)?;

        let finished = server.send(&get(&target(&back), &cookies)).await?;
        let with_code = location(finished.headers("location").next(), finished.body)?;
        let code = with_code.query_pairs().find(|(name, _)| name == "code");
        let (_, code) = code.with_context(|| format!("no code in {with_code}"))?;
        let body = form(&[
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", VERIFIER),
        ]);
        let answer = server.send(&post("/oauth2/token", authorization, &body)).await?;
        let tokens = (member(answer.body, "refresh_token"), member(answer.body, "access_token"));
        let (Some(refresh), Some(access)) = tokens else {
            bail!("no tokens: {} {}", answer.status, answer.body);
        };
        Ok((refresh.to_owned(), access.to_owned()))
    }
}

fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn location(header: Option<&str>, body: &str) -> anyhow::Result<Url> {
    let header = header.with_context(|| format!("not sent on: {body}"))?;
    Ok(Url::parse(header)?)
}

fn target(url: &Url) -> String {
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}
