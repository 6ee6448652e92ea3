//! From the path that a template's mistake bears to a JSON pointer (RFC 6901).

use serde_json::Value;

/// `$.claims.a/b[0]` in the document that it speaks of becomes `/claims/a~1b/0`. The document
/// decides where one name ends and the next begins, since a name may hold a dot. A path that leads
/// to something missing is followed as far as it goes, and the last name is taken whole.
pub(super) fn pointer(path: &str, document: Option<&Value>) -> String {
    let steps = path.strip_prefix('$').unwrap_or(path);
    let mut pointer = String::new();
    follow(steps, document, &mut pointer);
    pointer
}

fn follow(steps: &str, at: Option<&Value>, pointer: &mut String) {
    if let Some(rest) = steps.strip_prefix('[') {
        let Some((index, rest)) = rest.split_once(']') else { return };
        push(index, pointer);
        let inner = index.parse::<usize>().ok().and_then(|index| at?.get(index));
        follow(rest, inner, pointer);
    } else if let Some(rest) = steps.strip_prefix('.') {
        let (name, rest) = name(rest, at);
        push(name, pointer);
        follow(rest, at.and_then(|value| value.get(name)), pointer);
    }
}

/// The longest name of the object that the steps begin with; else up to the next step.
fn name<'a>(steps: &'a str, at: Option<&Value>) -> (&'a str, &'a str) {
    let names = at.and_then(Value::as_object).into_iter().flat_map(serde_json::Map::keys);
    let ends = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
    let known = names.filter(|name| steps.strip_prefix(name.as_str()).is_some_and(ends));
    let length = known.map(String::len).max();
    let length = length.or_else(|| steps.find(['.', '['])).unwrap_or(steps.len());
    steps.split_at_checked(length).unwrap_or((steps, ""))
}

fn push(name: &str, pointer: &mut String) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pointer_leads_to_what_the_path_names() {
        let document = json!({
            "permissions": [{ "item": { "keyPrefix": "x" } }, { "a": 1 }],
            "claims": { "https://a.example/plan": "p", "a~b": ["q"], "a": { "b": "r" }, "a.b": "s" },
        });
        let leads = [
            ("$.permissions[0].item.keyPrefix", json!("x")),
            ("$.permissions[1]", json!({ "a": 1 })),
            ("$.claims.https://a.example/plan", json!("p")),
            ("$.claims.a~b[0]", json!("q")),
            ("$.claims.a.b", json!("s")),
        ];
        for (path, value) in leads {
            let pointer = pointer(path, Some(&document));
            assert_eq!(document.pointer(&pointer), Some(&value), "{path}: {pointer}");
        }
        assert_eq!(pointer("$", Some(&document)), "");
    }

    #[test]
    fn what_is_not_there_is_still_named() {
        let document = json!({ "permissions": [{}] });
        assert_eq!(pointer("$.permissions[0].role", Some(&document)), "/permissions/0/role");
        assert_eq!(pointer("$.permissions[7].role", None), "/permissions/7/role");
        assert_eq!(pointer("$.expires_in", None), "/expires_in");
    }
}
