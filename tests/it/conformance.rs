//! The tables that every verifier is held to, whatever it is written in (`clients/conformance`).

use std::fs;
use std::path::Path;

use rolemint::domain::permission::{PermissionSet, Resource, Vocabulary};
use serde_json::Value;

fn table(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/conformance");
    serde_json::from_str(&fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

#[test]
fn permissions_allow_what_the_table_says() {
    let table = table("permissions.json");
    for case in table["cases"].as_array().unwrap() {
        let vocabulary = &table["vocabularies"][case["vocabulary"].as_str().unwrap()];
        let vocabulary: Vocabulary = serde_json::from_value(vocabulary.clone()).unwrap();
        let permissions = PermissionSet::parse(&case["permissions"], &vocabulary);
        let permissions = permissions.unwrap_or_default();
        for check in case["checks"].as_array().unwrap() {
            let action = check["action"].as_str().unwrap();
            let allowed = Resource::parse(&check["resource"], action, &vocabulary)
                .is_ok_and(|on| permissions.allows(&on, action, &vocabulary).is_some());
            assert_eq!(allowed, check["allowed"], "{}: {check}", case["name"]);
        }
    }
}
