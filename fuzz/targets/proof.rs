//! Templates built from bytes: where the proof says that no two tenants meet, none of a few do, whatever values are
//! sent; where it names two that meet, they are two.
//!
//! Bytes choose roles, selectors, their parts, conditions, lists and overrides; then come values for claims.
#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use rolemint::domain::ids::TenantId;
use rolemint::domain::permission::PermissionSet;
use rolemint::domain::template::RoleTemplate;
use rolemint::domain::template::proof::{Subjected, Unproved, prove};
use rolemint::domain::tenant::AttributeValue;
use rolemint_fuzz::{Person, VOCABULARY, assert_apart};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const TENANTS: [&str; 9] = ["a", "b", "aa", "ab", "a-b", "a--b", "b-a", "acme", "acme-corp"];

/// Access roles with the selectors that they take, the widest first.
const ROLES: [(&str, &[&str]); 6] = [
    ("readonly", &["cache", "item"]),
    ("subscribeonly", &["cache", "topic"]),
    ("invoke", &["cache", "func"]),
    ("list", &["bucket", "folder", "file"]),
    ("read", &["bucket", "folder", "file"]),
    ("browse", &["bucket", "folder", "file"]),
];

const CLAIMS: [&str; 3] = ["x", "y", "z"];

fuzz_target!(|bytes: &[u8]| {
    // Too few bytes: nothing is built.
    let _ = run(&mut Unstructured::new(bytes));
});

struct Built {
    tenant: Option<TenantId>,
    template: RoleTemplate,
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let mut built = Vec::new();
    for _ in 0..u.int_in_range(1..=3)? {
        let tenant = if u.ratio(1, 4)? { Some(tenant(u)?) } else { None };
        let mut permissions = Vec::new();
        for _ in 0..u.int_in_range(1..=3)? {
            permissions.push(permission(u)?);
        }
        let source = json!({ "expires_in": 60, "permissions": permissions }).to_string();
        if let Ok(template) = RoleTemplate::compile(&source, &VOCABULARY, false) {
            built.push(Built { tenant, template });
        }
    }
    let names = ["one", "two", "three"];
    let subjected: Vec<Subjected<'_>> = names
        .iter()
        .zip(&built)
        .map(|(name, Built { tenant, template })| Subjected {
            name,
            tenant: tenant.as_ref(),
            template,
        })
        .collect();
    match prove(&subjected, &VOCABULARY) {
        Ok(_) => assert_nobody_meets(u, &built)?,
        Err(Unproved::Meeting(meeting)) => {
            let [one, other] = &meeting.tenants;
            assert_ne!(one, other, "{meeting}");
            for (tenant, side) in meeting.tenants.iter().zip(&meeting.sides) {
                let own = subjected.iter().find(|own| own.name == side.template);
                let only = own.expect("a template that there is").tenant;
                assert!(only.is_none_or(|only| only == tenant), "{meeting}");
            }
        }
        Err(_) => {}
    }
    Ok(())
}

fn assert_nobody_meets(u: &mut Unstructured<'_>, built: &[Built]) -> Result<()> {
    let mut held: Vec<(TenantId, PermissionSet)> = Vec::new();
    for tenant in TENANTS {
        let tenant: TenantId = tenant.parse().expect("a tenant");
        for _ in 0..2 {
            let beta = AttributeValue::Bool(u.arbitrary()?);
            let person = Person::new(tenant.clone(), claims(u)?)
                .with_attributes(BTreeMap::from([("beta".to_owned(), beta)]));
            for own in built {
                if own.tenant.as_ref().is_none_or(|only| *only == tenant)
                    && let Ok(rendered) = person.render(&own.template)
                {
                    held.push((tenant.clone(), rendered.permissions));
                }
            }
        }
    }
    for (index, (tenant, permissions)) in held.iter().enumerate() {
        for (other, others) in held.iter().skip(index + 1).filter(|(other, _)| other != tenant) {
            assert_apart(permissions, others, || format!("{tenant} and {other}"));
        }
    }
    Ok(())
}

fn tenant(u: &mut Unstructured<'_>) -> Result<TenantId> {
    Ok(u.choose(&TENANTS)?.parse().expect("a tenant"))
}

/// Another tenant's id as often as anything.
fn claims(u: &mut Unstructured<'_>) -> Result<Map<String, Value>> {
    let value = |u: &mut Unstructured<'_>| -> Result<Value> {
        Ok(match u.int_in_range(0..=3)? {
            0 => json!(u.choose(&TENANTS)?),
            1 => json!(u.choose(&[
                "*",
                "-",
                "-b",
                "b-",
                ":",
                "a:",
                "\u{202e}a",
                "",
                "{{tenant.id}}"
            ])?),
            2 => json!(u.arbitrary::<&str>()?),
            _ => json!(u.arbitrary::<u8>()?),
        })
    };
    let mut claims = Map::new();
    for name in CLAIMS {
        claims.insert(name.to_owned(), value(u)?);
    }
    let list = [value(u)?, value(u)?];
    claims.insert("list".to_owned(), json!(list));
    Ok(claims)
}

fn permission(u: &mut Unstructured<'_>) -> Result<Value> {
    let (role, keys) = u.choose(&ROLES)?;
    let mut permission = Map::from_iter([("role".to_owned(), json!(role))]);
    let mut values: Vec<String> = CLAIMS.map(|name| format!("{{{{user.claims.{name}}}}}")).into();
    if u.ratio(1, 4)? {
        permission.insert("$each".to_owned(), json!("user.claims.list"));
        permission.insert("$as".to_owned(), json!("one"));
        values.push("{{one}}".to_owned());
    }
    if u.ratio(1, 4)? {
        permission.insert("$if".to_owned(), json!("tenant.attributes.beta"));
    }
    // One that is likely to keep tenants apart; without any, nothing is left to prove.
    let separating = u.int_in_range(0..=keys.len() - 1)?;
    for (level, key) in keys.iter().enumerate() {
        let prefix = if matches!(*key, "item" | "file") { "keyPrefix" } else { "namePrefix" };
        let (text, is_prefix) = if level == separating {
            orderly(u, &values)?
        } else if u.ratio(1, 2)? {
            permission.insert((*key).to_owned(), json!({ "all": true }));
            continue;
        } else {
            disorderly(u, &values)?
        };
        let selector = if is_prefix { json!({ prefix: text }) } else { json!(text) };
        permission.insert((*key).to_owned(), selector);
    }
    Ok(Value::Object(permission))
}

const DELIMITERS: [&str; 3] = [":", "/", "#"];

/// As people write it.
fn orderly(u: &mut Unstructured<'_>, values: &[String]) -> Result<(String, bool)> {
    let before = u.choose(&["", "", "a", "a-", "-", "a:"])?;
    let after = u.choose(&["", "", "-b", "-", "b", "-a", "--b"])?;
    let mut text = format!("{before}{{{{tenant.id}}}}{after}");
    let delimited = u.ratio(1, 2)?;
    if delimited {
        text.push_str(u.choose(&DELIMITERS)?);
        if u.ratio(1, 2)? {
            text.push_str(u.choose(values)?);
        }
        text.push_str(u.choose(&["", "a", "-b", ":"])?);
    }
    Ok((text, delimited && u.ratio(1, 2)?))
}

fn disorderly(u: &mut Unstructured<'_>, values: &[String]) -> Result<(String, bool)> {
    let mut text = String::new();
    for _ in 0..u.int_in_range(1..=3)? {
        match u.int_in_range(0..=4)? {
            0 => text.push_str("{{tenant.id}}"),
            1 => text.push_str(u.choose(values)?),
            2 => text.push_str(u.choose(&DELIMITERS)?),
            _ => text.push_str(u.choose(&["a", "b", "-", "-b", "a-"])?),
        }
    }
    Ok((text, u.ratio(1, 3)?))
}
