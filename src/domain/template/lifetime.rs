//! What an installation allows of `expires_in`, beyond what every template must keep to.

use crate::domain::template::document::Path;
use crate::domain::template::document::TemplateError;
use crate::domain::template::render::RoleTemplate;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The most seconds that a template may say.
    pub max_expires_in: Option<u32>,
    /// Whether each template must say how long its tokens live.
    pub require_expires_in: bool,
}

/// What a template says that these limits do not allow; none if it keeps to them.
pub fn check_lifetime(template: &RoleTemplate, limits: &Limits) -> Vec<TemplateError> {
    let most = limits.max_expires_in;
    let message = match (template.expires_in, most) {
        (None, _) if limits.require_expires_in => {
            let example = most.unwrap_or(900).min(900);
            format!(
                "is missing, and every template must say it here; write `\"expires_in\": {example}`"
            )
        }
        (Some(seconds), Some(most)) if seconds > most => {
            format!(
                "is {seconds}, and the most that is allowed here is {most}; write {most} or less"
            )
        }
        _ => return Vec::new(),
    };
    let root = Path::default();
    let at = root.key("expires_in");
    let (line, column) =
        at.place(&template.source).or_else(|| root.place(&template.source)).unzip();
    vec![TemplateError { path: at.to_string(), line, column, message }]
}

#[cfg(test)]
mod tests;
