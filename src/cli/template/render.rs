//! `rolemint template render`

use crate::cli::template::files::{self, TemplateFile};
use crate::cli::template::finding::{Finding, lines};
use crate::cli::template::{Beside, FormatArgument, Verdict};
use crate::domain::ids::{ClientId, SubjectId, TenantId};
use crate::domain::permission::Vocabulary;
use crate::domain::template::boundary;
use crate::domain::template::{RenderInput, Traced, User, Why};
use crate::domain::tenant::{AttributeValue, Status, Tenant};
use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(in crate::cli) struct Render {
    /// The template
    file: PathBuf,
    /// The tenant's id
    #[arg(long, value_name = "TENANT")]
    tenant: TenantId,
    /// The tenant's name; without one, its id
    #[arg(long, value_name = "NAME")]
    tenant_name: Option<String>,
    /// The tenant's attributes: an object, or a file with one
    #[arg(long, value_name = "JSON|FILE")]
    attributes: Option<String>,
    /// The user's claims: an object, or a file with one; without claims and --user there is no user
    #[arg(long, value_name = "JSON|FILE")]
    claims: Option<String>,
    /// The user's id; without one, `u_test`
    #[arg(long, value_name = "SUBJECT")]
    user: Option<SubjectId>,
    #[arg(long, value_name = "CLIENT", default_value = "test")]
    client: ClientId,
    #[command(flatten)]
    beside: Beside,
    #[command(flatten)]
    format: FormatArgument,
}

#[derive(Serialize)]
struct Outcome {
    /// None: it did not render.
    #[serde(flatten)]
    traced: Option<Traced>,
    findings: Vec<Finding>,
}

impl Render {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        let file = files::read(&self.file)?;
        let vocabulary = files::read_vocabulary(&self.beside, [self.file.as_path()])?;
        let attributes: Option<BTreeMap<String, AttributeValue>> =
            self.attributes.as_deref().map(|text| read_json("--attributes", text)).transpose()?;
        let claims: Option<Map<String, Value>> =
            self.claims.as_deref().map(|text| read_json("--claims", text)).transpose()?;
        let tenant = Tenant {
            id: self.tenant.clone(),
            name: self.tenant_name.clone().unwrap_or_else(|| self.tenant.to_string()),
            attributes: attributes.unwrap_or_default(),
            status: Status::Active,
            session_idle: None,
            session_absolute: None,
            max_expires_in: None,
        };
        let is_person = claims.is_some() || self.user.is_some();
        let id = self.user.clone().map_or_else(|| "u_test".parse(), Ok)?;
        let claims = claims.unwrap_or_default();
        let user = is_person.then_some(User { id: &id, claims: &claims });
        let input = RenderInput { tenant: &tenant, user, client: &self.client };
        let outcome = render(&file, &self.beside, &input, &vocabulary);
        self.format.print(&outcome, |outcome| {
            lines(&outcome.findings) + &outcome.traced.as_ref().map(text).unwrap_or_default()
        })?;
        Ok(Verdict::found(!outcome.findings.is_empty()))
    }
}

fn render(
    file: &TemplateFile,
    beside: &Beside,
    input: &RenderInput<'_>,
    v: &Vocabulary,
) -> Outcome {
    let refused = |findings| Outcome { traced: None, findings };
    let template = match file.compile(beside, v) {
        Ok(template) => template,
        Err(errors) => return refused(Finding::errors(file, errors)),
    };
    let traced = match template.trace(input, v) {
        Ok(traced) => traced,
        Err(error) => {
            let message = format!("`{}` {}", error.value, error.problem);
            return refused(vec![Finding::at(file, &error.at, "render", message)]);
        }
    };
    // As when a token is minted.
    let inside = boundary::check(&traced.rendered.permissions, &input.tenant.id, v);
    if !file.crosses_tenants(beside)
        && let Err(outside) = inside
    {
        return refused(vec![Finding::at(file, "$", "boundary", outside.to_string())]);
    }
    Outcome { traced: Some(traced), findings: Vec::new() }
}

/// JSON as it stands, or in a file of this name.
fn read_json<T: DeserializeOwned>(option: &str, text: &str) -> anyhow::Result<T> {
    let written = if text.trim_start().starts_with('{') {
        text.to_owned()
    } else {
        fs::read_to_string(text).with_context(|| format!("{option}: {text} cannot be read"))?
    };
    serde_json::from_str(&written).with_context(|| format!("{option} is not the JSON of an object"))
}

fn text(traced: &Traced) -> String {
    let mut out = String::new();
    let rendered = &traced.rendered;
    for permission in rendered.permissions.iter() {
        let _ = writeln!(out, "{}", permission.to_json());
        for origin in traced.origins.iter().filter(|origin| origin.permission == *permission) {
            let values = origin.values.iter().map(|used| format!("{} = {}", used.path, used.text));
            let conditions = origin.conditions.iter().map(|written| format!("if {written}"));
            let from: Vec<_> = values.chain(conditions).collect();
            let _ = writeln!(out, "    from {}: {}", origin.at, from.join(", "));
        }
    }
    for skipped in &traced.skipped {
        let why = match &skipped.why {
            Why::EmptyList { list } => format!("`{list}` is empty"),
            Why::ConditionFalse { condition } => format!("`{condition}` is false"),
        };
        let _ = write!(out, "nothing from {}: {why}", skipped.at);
        for used in &skipped.elements {
            let _ = write!(out, ", for {} = {}", used.path, used.text);
        }
        out.push('\n');
    }
    if !rendered.scope.is_empty() {
        let _ = writeln!(out, "scope: {}", rendered.scope);
    }
    for (name, value) in &rendered.claims {
        let _ = writeln!(out, "claim {name}: {value}");
    }
    if let Some(seconds) = rendered.expires_in {
        let _ = writeln!(out, "expires in {seconds} s");
    }
    out
}
