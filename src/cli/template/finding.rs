//! What is wrong with a template's file, as compilers say it: `FILE:LINE:COLUMN: PATH: message`.

use crate::cli::template::files::TemplateFile;
use crate::domain::template;
use crate::domain::template::proof::Unproved;
use crate::domain::template::{TemplateError, TemplateErrors};
use serde::Serialize;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    Error,
    Warning,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) file: String,
    /// Both from 1; the column counts characters.
    pub(super) line: usize,
    pub(super) column: usize,
    /// In the document, such as `$.permissions[0]`.
    pub(super) path: String,
    pub(super) severity: Severity,
    /// `error`, `meeting`, `test`, `hostile`, `render`, or the code of a warning.
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, path, message, .. } = self;
        write!(f, "{file}:{line}:{column}: ")?;
        match self.severity {
            Severity::Error => write!(f, "{path}: {message}"),
            Severity::Warning => write!(f, "warning: {path}: {message} ({})", self.code),
        }
    }
}

impl Finding {
    /// An error at a path of the document.
    pub(super) fn at(file: &TemplateFile, path: &str, code: &'static str, message: String) -> Self {
        let error = TemplateError::placed(&file.source, path, message);
        Self { code, ..Self::error(file, error) }
    }

    fn error(file: &TemplateFile, error: TemplateError) -> Self {
        let TemplateError { path, line, column, message } = error;
        Self {
            file: file.shown(),
            line: line.unwrap_or(1),
            column: column.unwrap_or(1),
            path,
            severity: Severity::Error,
            code: "error",
            message,
        }
    }

    pub(super) fn errors(file: &TemplateFile, errors: TemplateErrors) -> Vec<Self> {
        errors.0.into_iter().map(|error| Self::error(file, error)).collect()
    }

    pub(super) fn warning(file: &TemplateFile, found: template::Finding) -> Self {
        let template::Finding { path, line, column, code, message } = found;
        Self {
            file: file.shown(),
            line: line.unwrap_or(1),
            column: column.unwrap_or(1),
            path,
            severity: Severity::Warning,
            code,
            message,
        }
    }
}

/// The code of a boundary that is not proved.
pub(super) fn unproved_code(unproved: &Unproved) -> &'static str {
    if matches!(unproved, Unproved::Meeting(_)) { "meeting" } else { "undecided" }
}

/// One a line.
pub(super) fn lines(findings: &[Finding]) -> String {
    findings.iter().flat_map(|finding| [finding.to_string(), "\n".to_owned()]).collect()
}
