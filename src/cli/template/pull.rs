//! `rolemint template pull`

use crate::cli::ConfigArgument;
use crate::cli::installation::Installation;
use crate::cli::template::files;
use crate::cli::template::{FormatArgument, Verdict};
use crate::domain::ids::Role;
use crate::domain::template::version::{TemplateName, TemplateVersion};
use crate::service::templates;
use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// So many tenants are asked for at once.
const PAGE: u32 = 500;

#[derive(Args, Debug)]
pub(in crate::cli) struct Pull {
    /// The folder with `roles` and `tenants` below it
    #[arg(default_value = "templates", value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    config: ConfigArgument,
    /// Of these roles only
    #[arg(long, value_name = "ROLE")]
    role: Vec<Role>,
    /// Write over files that say something else
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    format: FormatArgument,
}

#[derive(Default, Serialize)]
struct Outcome {
    written: Vec<Pulled>,
    unchanged: Vec<Pulled>,
    /// Files that say something else. Nothing is written then, unless forced.
    differing: Vec<Pulled>,
}

#[derive(Serialize)]
struct Pulled {
    file: String,
    version: TemplateVersion,
    #[serde(skip)]
    path: PathBuf,
    #[serde(skip)]
    source: String,
}

impl Pull {
    pub(super) async fn run(&self) -> anyhow::Result<Verdict> {
        let installation = Installation::open(&self.config).await?;
        let mut outcome = Outcome::default();
        let mut missing = Vec::new();
        for name in self.names(&installation).await? {
            let found = templates::show(&installation.database, &name, None).await?;
            let path = files::place_in(&self.folder, &name);
            let file = path.display().to_string();
            let version = name.at(found.version);
            let pulled = Pulled { file, version, path, source: found.source };
            match read(&pulled.path)? {
                None => missing.push(pulled),
                Some(source) if source == pulled.source => outcome.unchanged.push(pulled),
                Some(_) if self.force => missing.push(pulled),
                Some(_) => outcome.differing.push(pulled),
            }
        }
        if outcome.differing.is_empty() {
            for pulled in &missing {
                write(&pulled.path, &pulled.source)?;
            }
            outcome.written = missing;
        }
        self.format.print(&outcome, text)?;
        Ok(Verdict::found(!outcome.differing.is_empty()))
    }

    /// Of every published template.
    async fn names(&self, installation: &Installation) -> anyhow::Result<Vec<TemplateName>> {
        let database = &installation.database;
        for role in &self.role {
            templates::show_role(database, role).await?;
        }
        let mut names = Vec::new();
        for summary in templates::list_roles(database).await? {
            let role = summary.role;
            if !self.role.is_empty() && !self.role.contains(&role) {
                continue;
            }
            if summary.published.is_some() {
                names.push(TemplateName::base(role.clone()));
            }
            let mut after = None;
            loop {
                let page = templates::list_overrides(database, &role, after.as_ref(), PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.tenant.clone());
                let tenants = page.into_iter().map(|own| Some(own.tenant));
                names.extend(tenants.map(|tenant| TemplateName { role: role.clone(), tenant }));
            }
        }
        Ok(names)
    }
}

fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(source) => Ok(Some(source)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| files::cannot_read(path)),
    }
}

fn write(path: &Path, source: &str) -> anyhow::Result<()> {
    let cannot = || format!("{} cannot be written", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(cannot)?;
    }
    fs::write(path, source).with_context(cannot)
}

fn text(outcome: &Outcome) -> String {
    let mut out = String::new();
    let groups = [
        ("written", &outcome.written),
        ("unchanged", &outcome.unchanged),
        ("says something else", &outcome.differing),
    ];
    for (what, group) in groups {
        for Pulled { file, version, .. } in group {
            let _ = writeln!(out, "{what}: {file} ({version})");
        }
    }
    if !outcome.differing.is_empty() {
        out.push_str("nothing was written: push or keep what you have, or add --force\n");
    }
    out
}
