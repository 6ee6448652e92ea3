//! Any text as a template, rendered for hostile values: it ends, in time and without a panic, and what it renders
//! stays in its tenant.
//!
//! The input is a document, then, each after a byte 0: a tenant, its attributes and the claims of its user, and the
//! same for another tenant. What is left out or cannot be read is plain.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rolemint::domain::ids::TenantId;
use rolemint::domain::permission::PermissionSet;
use rolemint::domain::template::{RoleTemplate, boundary};
use rolemint_fuzz::{Person, VOCABULARY, assert_apart};

fuzz_target!(|input: &str| {
    let mut parts = input.split('\0');
    let source = parts.next().unwrap_or_default();
    let [one, other] = ["acme", "acme-corp"].map(|tenant| person(&mut parts, tenant));
    let compiled = RoleTemplate::compile(source, &VOCABULARY, false);
    let crossing = RoleTemplate::compile(source, &VOCABULARY, true);
    if let Err(errors) = &crossing {
        assert!(!errors.0.is_empty(), "refused without a reason");
        for error in &errors.0 {
            assert!(error.path.starts_with('$') && !error.message.is_empty(), "{error}");
            let lines = source.split('\n').count();
            assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)), "{error}");
        }
        assert!(compiled.is_err(), "accepted of a tenant and refused to staff");
        return;
    }
    if let Ok(crossing) = &crossing {
        assert_eq!(crossing.source(), source);
        let _ = one.render(crossing);
    }
    let Ok(template) = compiled else { return };
    let rendered = [&one, &other].map(|person| person.render(&template).ok());
    for (person, rendered) in [&one, &other].into_iter().zip(&rendered) {
        let Some(rendered) = rendered else { continue };
        let inside = boundary::check(&rendered.permissions, person.tenant(), &VOCABULARY);
        inside.expect("what a template renders is inside its tenant");
        survives_json(&rendered.permissions);
    }
    if let [Some(own), Some(others)] = &rendered
        && one.tenant() != other.tenant()
        // Several permissions of one template may meet; the proof tells.
        && template.outline().len() == 1
    {
        let whose = || format!("{} and {}", one.tenant(), other.tenant());
        assert_apart(&own.permissions, &others.permissions, whose);
    }
});

fn person<'a>(parts: &mut impl Iterator<Item = &'a str>, plain: &str) -> Person {
    let tenant: Option<TenantId> = parts.next().and_then(|text| text.parse().ok());
    let attributes = parts.next().and_then(|text| serde_json::from_str(text).ok());
    let claims = parts.next().and_then(|text| serde_json::from_str(text).ok());
    let tenant = tenant.unwrap_or_else(|| plain.parse().expect("a tenant"));
    Person::new(tenant, claims.unwrap_or_else(plain_claims))
        .with_attributes(attributes.unwrap_or_default())
}

fn plain_claims() -> serde_json::Map<String, serde_json::Value> {
    let claims = r#"{"email":"dana@acme.example","name":"Dana","groups":["editors"],"regions":["eu","us"],"level":3}"#;
    serde_json::from_str(claims).expect("claims")
}

/// What a token says is read again as the same by whoever verifies it.
fn survives_json(permissions: &PermissionSet) {
    if permissions.len() <= rolemint::domain::permission::MAX_PARSED {
        let json = serde_json::to_value(permissions).expect("JSON");
        let parsed = PermissionSet::parse(&json, &VOCABULARY).expect("what was rendered is read");
        assert_eq!(&parsed, permissions);
    }
}
