//! Templates as files: `ROLE.json`, and a tenant's own below `tenants/TENANT/`.

use crate::catalog::STANDARD_VOCABULARY;
use crate::cli::template::Beside;
use crate::domain::permission::Vocabulary;
use crate::domain::template::version::TemplateName;
use crate::domain::template::{RoleTemplate, TemplateErrors};
use anyhow::{Context as _, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const VOCABULARY: &str = "resources.toml";
const ROLES: &str = "roles";
const TENANTS: &str = "tenants";

/// The text of a template, and whose it is by the name of its file.
#[derive(Clone, Debug)]
pub(super) struct TemplateFile {
    pub(super) path: PathBuf,
    pub(super) name: TemplateName,
    pub(super) source: String,
}

impl TemplateFile {
    pub(super) fn shown(&self) -> String {
        self.path.display().to_string()
    }
    /// Overrides never may.
    pub(super) fn crosses_tenants(&self, beside: &Beside) -> bool {
        self.name.tenant.is_none() && beside.crosses_tenants.contains(&self.name.role)
    }
    pub(super) fn compile(
        &self,
        beside: &Beside,
        v: &Vocabulary,
    ) -> Result<RoleTemplate, TemplateErrors> {
        RoleTemplate::compile(&self.source, v, self.crosses_tenants(beside))
    }
}

/// Reads files, and folders of them, in a stable order, each once.
pub(super) fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<TemplateFile>> {
    let mut found = BTreeSet::new();
    for path in paths {
        let metadata = fs::metadata(path).with_context(|| cannot_read(path))?;
        if metadata.is_dir() {
            let before = found.len();
            list_repository(path, &mut found)?;
            if found.len() == before {
                bail!(
                    "{} holds no template: no {ROLES}/ROLE.json and no ROLE.json",
                    path.display()
                );
            }
        } else {
            found.insert(path.clone());
        }
    }
    found.iter().map(|path| read(path)).collect()
}

pub(super) fn read(path: &Path) -> anyhow::Result<TemplateFile> {
    let name = name_of(path)?;
    let source = fs::read_to_string(path).with_context(|| cannot_read(path))?;
    Ok(TemplateFile { path: path.to_owned(), name, source })
}

pub(super) fn cannot_read(path: &Path) -> String {
    format!("{} cannot be read", path.display())
}

/// The file of a template in a repository.
pub(super) fn place_in(folder: &Path, name: &TemplateName) -> PathBuf {
    let folder = match &name.tenant {
        None => folder.join(ROLES),
        Some(tenant) => folder.join(TENANTS).join(tenant.as_str()),
    };
    folder.join(format!("{}.json", name.role))
}

/// A repository has the folders `roles` or `tenants`; any other folder holds its templates itself.
fn list_repository(folder: &Path, found: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    let (roles, tenants) = (folder.join(ROLES), folder.join(TENANTS));
    if !roles.is_dir() && !tenants.is_dir() {
        return list_folder(folder, found);
    }
    if roles.is_dir() {
        list_folder(&roles, found)?;
    }
    if tenants.is_dir() {
        for tenant in entries(&tenants)? {
            if tenant.is_dir() {
                list_folder(&tenant, found)?;
            }
        }
    }
    Ok(())
}

fn list_folder(folder: &Path, found: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    let json = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "json");
    found.extend(entries(folder)?.into_iter().filter(|path| json(path) && path.is_file()));
    Ok(())
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| cannot_read(folder))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>();
    paths.with_context(|| cannot_read(folder))
}

fn name_of(path: &Path) -> anyhow::Result<TemplateName> {
    let text =
        |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let role = text(path.file_stem()).unwrap_or_default();
    let role = role
        .parse()
        .with_context(|| format!("{}: a template's file is called ROLE.json", path.display()))?;
    // The folder may be named by a relative path that does not show what is above it.
    let whole = std::path::absolute(path).with_context(|| cannot_read(path))?;
    let folder = whole.parent();
    let is_override = folder
        .and_then(Path::parent)
        .and_then(Path::file_name)
        .is_some_and(|above| above == TENANTS);
    let tenant = if is_override { text(folder.and_then(Path::file_name)) } else { None };
    let tenant = tenant.map(|tenant| tenant.parse()).transpose().with_context(|| {
        format!("{}: a tenant's own templates stand in {TENANTS}/TENANT/", path.display())
    })?;
    Ok(TemplateName { role, tenant })
}

/// The vocabulary that these templates are written in.
pub(super) fn read_vocabulary<'a>(
    beside: &Beside,
    templates: impl IntoIterator<Item = &'a Path>,
) -> anyhow::Result<Vocabulary> {
    let mut found = BTreeSet::new();
    if let Some(path) = &beside.vocabulary {
        found.insert(Some(path.clone()));
    } else {
        for path in templates {
            found.insert(vocabulary_near(path)?);
        }
    }
    if found.len() > 1 {
        let shown = |path: &Option<PathBuf>| {
            path.as_ref().map_or("the built-in one".to_owned(), |path| path.display().to_string())
        };
        let shown = found.iter().map(shown).collect::<Vec<_>>().join(", ");
        bail!("these templates have several vocabularies ({shown}): say which with --vocabulary");
    }
    match found.pop_first().flatten() {
        None => parse_vocabulary(STANDARD_VOCABULARY, "the built-in vocabulary".as_ref()),
        Some(path) => {
            let source = fs::read_to_string(&path).with_context(|| cannot_read(&path))?;
            parse_vocabulary(&source, &path)
        }
    }
}

fn parse_vocabulary(source: &str, path: &Path) -> anyhow::Result<Vocabulary> {
    toml::from_str(source).with_context(|| format!("{} is not a vocabulary", path.display()))
}

/// In the template's folder, or above `roles`, or above `tenants/TENANT`.
fn vocabulary_near(template: &Path) -> anyhow::Result<Option<PathBuf>> {
    let whole = std::path::absolute(template).with_context(|| cannot_read(template))?;
    let mut near = whole.ancestors().skip(1).take(3).map(|folder| folder.join(VOCABULARY));
    Ok(near.find(|path| path.is_file()))
}
