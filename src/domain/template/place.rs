//! From a path of a document to the place in its text, for those who know only the path.

use crate::domain::template::document;
use crate::domain::template::document::Path;
use crate::domain::template::document::TemplateError;
use serde_json::Value;

impl TemplateError {
    /// What is wrong at a path such as `$.permissions[0].item`; without line and column if there is nothing there.
    pub fn placed(source: &str, path: &str, message: String) -> Self {
        let document = document::parse(source).ok();
        let found = document.and_then(|document| find(&document, &Path::default(), path));
        match found {
            Some(at) => at.error(source, message),
            None => Self { path: path.to_owned(), line: None, column: None, message },
        }
    }
}

/// Keys may hold anything, so the path is compared as a whole and not taken apart.
fn find(value: &Value, at: &Path, wanted: &str) -> Option<Path> {
    let shown = at.to_string();
    if shown == wanted {
        return Some(at.clone());
    }
    wanted.starts_with(&shown).then_some(())?;
    match value {
        Value::Object(object) => {
            object.iter().find_map(|(key, value)| find(value, &at.key(key), wanted))
        }
        Value::Array(list) => {
            let mut list = list.iter().enumerate();
            list.find_map(|(index, value)| find(value, &at.index(index), wanted))
        }
        _ => None,
    }
}
