//! A rendering that says where each permission comes from, for previews and for whoever asks why.
//!
//! It is the rendering that mints tokens with somebody looking on, and not a second one.

use crate::domain::permission::Permission;
use crate::domain::permission::Vocabulary;
use crate::domain::template::expression::Segment;
use crate::domain::template::render::Each;
use crate::domain::template::render::Observer;
use crate::domain::template::render::RenderError;
use crate::domain::template::render::Rendered;
use crate::domain::template::render::RoleTemplate;
use crate::domain::template::render::SelectorTemplate;
use crate::domain::template::render::When;
use crate::domain::template::values::Reference;
use crate::domain::template::values::RenderInput;
use crate::domain::template::values::Scalar;
use crate::domain::template::values::Source;
use crate::domain::template::values::Values;
use serde::Serialize;

/// What a template rendered, and how it came about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Traced {
    pub rendered: Rendered,
    /// One for each permission that was made, in the order of the document, before any was folded into another.
    pub origins: Vec<Origin>,
    pub skipped: Vec<Skipped>,
}

/// Where a permission comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    pub permission: Permission,
    /// Its place in the document: `$.permissions[0]`.
    pub at: Box<str>,
    /// What its selectors are made of, each path once.
    pub values: Vec<ValueUsed>,
    /// The conditions around it, which all came out true, as they are written; the outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Box<str>>,
}

/// A value, by its path: `tenant.id`, or `user.claims.regions[1]` for an element that `$each` arrived at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ValueUsed {
    pub path: Box<str>,
    pub text: String,
}

/// A part of the document that gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The place of the `$each` or `$if`.
    pub at: Box<str>,
    #[serde(flatten)]
    pub why: Why,
    /// Which elements of the lists around it this was for; the outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub elements: Vec<ValueUsed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Why {
    /// The path of the list.
    EmptyList { list: Box<str> },
    /// The condition, as it is written.
    ConditionFalse { condition: Box<str> },
}

impl RoleTemplate {
    /// What `render` gives, errors included, and where it comes from.
    pub fn trace(&self, input: &RenderInput<'_>, v: &Vocabulary) -> Result<Traced, RenderError> {
        let mut tracer = Tracer::default();
        let rendered = self.render_observed(input, v, &mut tracer)?;
        Ok(Traced { rendered, origins: tracer.origins, skipped: tracer.skipped })
    }
}

#[derive(Default)]
struct Tracer {
    origins: Vec<Origin>,
    skipped: Vec<Skipped>,
    /// For each enclosing `$each`, where it is.
    elements: Vec<ValueUsed>,
    /// The enclosing conditions.
    conditions: Vec<Box<str>>,
}

impl Tracer {
    fn value(&self, reference: &Reference, values: &Values<'_>) -> Option<ValueUsed> {
        if let Source::Variable(depth) = reference.source {
            return self.elements.get(depth).cloned();
        }
        let mut text = String::new();
        // It has been written once, into the selector.
        values.write(reference, true, &mut text).ok()?;
        Some(ValueUsed { path: reference.shown.clone(), text })
    }

    fn skip(&mut self, at: &str, why: Why) {
        self.skipped.push(Skipped { at: at.into(), why, elements: self.elements.clone() });
    }
}

impl Observer for Tracer {
    fn element_begins(&mut self, list: &Reference, index: usize, value: Scalar<'_>) {
        let text = match value {
            Scalar::Text(text) => text.to_owned(),
            Scalar::Integer(integer) => integer.to_string(),
            Scalar::Bool(value) => value.to_string(),
        };
        self.elements.push(ValueUsed { path: format!("{}[{index}]", list.shown).into(), text });
    }
    fn element_ends(&mut self) {
        self.elements.pop();
    }
    fn condition_holds(&mut self, when: &When) {
        self.conditions.push(when.written.clone());
    }
    fn condition_ends(&mut self) {
        self.conditions.pop();
    }
    fn permission(
        &mut self,
        at: &str,
        selectors: &[SelectorTemplate],
        made: &Permission,
        values: &Values<'_>,
    ) {
        let segments = selectors.iter().filter_map(|selector| match selector {
            SelectorTemplate::Fixed(_) => None,
            SelectorTemplate::Slot(slot) => Some(&slot.segments),
        });
        let mut used: Vec<ValueUsed> = Vec::new();
        for segment in segments.flatten() {
            let Segment::Value(reference) = segment else { continue };
            let Some(value) = self.value(reference, values) else { continue };
            if used.iter().all(|other| other.path != value.path) {
                used.push(value);
            }
        }
        self.origins.push(Origin {
            permission: made.clone(),
            at: at.into(),
            values: used,
            conditions: self.conditions.clone(),
        });
    }
    fn list_is_empty(&mut self, each: &Each) {
        self.skip(&each.at, Why::EmptyList { list: each.list.shown.clone() });
    }
    fn condition_is_false(&mut self, when: &When) {
        self.skip(&when.at, Why::ConditionFalse { condition: when.written.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::permission::PermissionSet;
    use crate::domain::permission::tests::vocabulary;
    use crate::domain::template::User;
    use crate::domain::tenant::Tenant;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn tenant() -> Tenant {
        let attributes = json!({"plan": "pro", "beta": false, "sites": ["north", "south"]});
        serde_json::from_value(json!({"id": "acme", "name": "Acme", "attributes": attributes}))
            .unwrap()
    }

    /// Place, values, conditions.
    type Found<'a> = (&'a str, Vec<(&'a str, &'a str)>, Vec<&'a str>);
    type Both = (Result<Rendered, RenderError>, Result<Traced, RenderError>);

    fn both(template: &Value, claims: &Value) -> Both {
        let v = vocabulary();
        let template = RoleTemplate::compile(&template.to_string(), &v, true).unwrap();
        let (tenant, claims) = (tenant(), claims.as_object().unwrap());
        let user = Some(User { id: &"u_dana".parse().unwrap(), claims });
        let input = RenderInput { tenant: &tenant, user, client: &"demo-web".parse().unwrap() };
        (template.render(&input, &v), template.trace(&input, &v))
    }

    fn item(each: Option<(&str, &str)>, condition: Option<&str>, item: &str) -> Value {
        let mut one = json!({"role": "readonly", "cache": "c", "item": item});
        if let Some((list, name)) = each {
            one["$each"] = list.into();
            one["$as"] = name.into();
        }
        if let Some(condition) = condition {
            one["$if"] = condition.into();
        }
        one
    }

    #[test]
    fn each_permission_says_what_it_is_made_of() {
        let template = json!({"permissions": [
            {"role": "readonly", "cache": "{{tenant.id}}", "item": {"keyPrefix": "{{tenant.id}}:"}},
            {"$if": "eq tenant.attributes.plan 'pro'", "permissions": [
                item(None, Some("eq user.id 'u_dana'"), "{{tenant.id}}:{{user.id}}"),
                {"$each": "tenant.attributes.sites", "$as": "site", "permissions": [
                    item(Some(("user.claims.regions", "region")), None, "{{tenant.id}}:{{site}}:{{region}}"),
                ]},
            ]},
            item(None, None, "{{tenant.id}}:x"),
        ]});
        let (rendered, traced) = both(&template, &json!({"regions": ["eu", 7]}));
        let traced = traced.unwrap();
        assert_eq!(traced.rendered, rendered.unwrap());
        assert!(traced.skipped.is_empty());
        let pro = "eq tenant.attributes.plan 'pro'";
        let leaf = "$.permissions[1].permissions[1].permissions[0]";
        let tenant = ("tenant.id", "acme");
        let (north, south) =
            (("tenant.attributes.sites[0]", "north"), ("tenant.attributes.sites[1]", "south"));
        let (eu, seven) = (("user.claims.regions[0]", "eu"), ("user.claims.regions[1]", "7"));
        let wanted: [Found<'_>; 7] = [
            ("$.permissions[0]", vec![tenant], vec![]),
            (
                "$.permissions[1].permissions[0]",
                vec![tenant, ("user.id", "u_dana")],
                vec![pro, "eq user.id 'u_dana'"],
            ),
            (leaf, vec![tenant, north, eu], vec![pro]),
            (leaf, vec![tenant, north, seven], vec![pro]),
            (leaf, vec![tenant, south, eu], vec![pro]),
            (leaf, vec![tenant, south, seven], vec![pro]),
            ("$.permissions[2]", vec![tenant], vec![]),
        ];
        let found: Vec<Found<'_>> = (traced.origins.iter())
            .map(|origin| {
                let values = origin.values.iter().map(|used| (&*used.path, &*used.text)).collect();
                (&*origin.at, values, origin.conditions.iter().map(AsRef::as_ref).collect())
            })
            .collect();
        assert_eq!(found, wanted);
        let made: Vec<_> = traced
            .origins
            .iter()
            .map(|origin| origin.permission.to_json()["item"].clone())
            .collect();
        assert_eq!(
            made,
            [
                json!({"keyPrefix": "acme:"}),
                json!("acme:u_dana"),
                json!("acme:north:eu"),
                json!("acme:north:7"),
                json!("acme:south:eu"),
                json!("acme:south:7"),
                json!("acme:x"),
            ]
        );
    }

    #[test]
    fn what_was_skipped_says_why() {
        let template = json!({"permissions": [
            item(Some(("user.groups", "group")), None, "{{tenant.id}}:{{group}}"),
            item(None, Some("tenant.attributes.beta"), "{{tenant.id}}:b"),
            item(Some(("user.claims.regions", "region")), Some("ne region 'eu'"), "{{tenant.id}}:{{region}}"),
        ]});
        let (_, traced) = both(&template, &json!({"regions": ["us", "eu"], "groups": []}));
        let traced = traced.unwrap();
        assert_eq!(traced.origins.len(), 1);
        assert_eq!(
            serde_json::to_value(&traced).unwrap(),
            json!({
                "rendered": {
                    "permissions": [{"type": "cache", "role": "readonly", "cache": "c", "item": "acme:us"}],
                    "scope": "", "expires_in": null, "claims": {},
                },
                "origins": [{
                    "permission": {"type": "cache", "role": "readonly", "cache": "c", "item": "acme:us"},
                    "at": "$.permissions[2]",
                    "values": [
                        {"path": "tenant.id", "text": "acme"},
                        {"path": "user.claims.regions[0]", "text": "us"},
                    ],
                    "conditions": ["ne region 'eu'"],
                }],
                "skipped": [
                    {"at": "$.permissions[0].$each", "reason": "empty_list", "list": "user.groups"},
                    {"at": "$.permissions[1].$if", "reason": "condition_false", "condition": "tenant.attributes.beta"},
                    {"at": "$.permissions[2].$if", "reason": "condition_false", "condition": "ne region 'eu'",
                     "elements": [{"path": "user.claims.regions[1]", "text": "eu"}]},
                ],
            })
        );
    }

    fn any_item() -> impl Strategy<Value = Value> {
        let text = proptest::sample::select(
            &[
                "{{tenant.id}}:{{user.id}}",
                "{{tenant.id}}:{{user.claims.a}}",
                "{{tenant.id}}:",
                "x",
            ][..],
        );
        let condition = proptest::sample::select(
            &[
                None,
                Some("user.claims.a"),
                Some("eq user.claims.a 'x'"),
                Some("in 'x' user.claims.b"),
            ][..],
        );
        let list = proptest::sample::select(
            &[None, Some("user.claims.a"), Some("user.claims.b"), Some("tenant.attributes.sites")]
                [..],
        );
        let around = (list, condition);
        let leaf = (around.clone(), text).prop_map(|((list, condition), text)| {
            (
                list,
                condition,
                json!({"role": "readonly", "cache": "c", "item": {"keyPrefix": text}}),
            )
        });
        // A group in a group; the variables of lists are told apart by their depth.
        let group = (around, proptest::collection::vec(leaf.clone(), 1..3)).prop_map(
            |((list, condition), leaves)| {
                let leaves: Vec<_> =
                    leaves.into_iter().map(|leaf| guarded(leaf, "inner")).collect();
                (list, condition, json!({"permissions": leaves}))
            },
        );
        prop_oneof![leaf, group].prop_map(|item| guarded(item, "outer"))
    }

    type Guarded = (Option<&'static str>, Option<&'static str>, Value);

    fn guarded((list, condition, mut item): Guarded, name: &str) -> Value {
        if let Some(list) = list {
            item["$each"] = list.into();
            item["$as"] = name.into();
        }
        if let Some(condition) = condition {
            item["$if"] = condition.into();
        }
        item
    }

    fn claim() -> impl Strategy<Value = Option<Value>> {
        let some = |value: Value| Just(Some(value));
        prop_oneof![
            4 => some(json!("x")),
            4 => some(json!(["x", "y"])),
            4 => some(json!(true)),
            2 => some(json!([])),
            1 => some(json!([1, "x"])),
            1 => some(json!(vec!["x"; 40])),
            1 => some(json!("a:b")),
            1 => some(json!(null)),
            1 => Just(None),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_trace_is_the_rendering(
            items in proptest::collection::vec(any_item(), 1..4), a in claim(), b in claim(),
        ) {
            let claims = [("a", a), ("b", b)].into_iter();
            let claims: serde_json::Map<_, _> =
                claims.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
            let (rendered, traced) = both(&json!({"permissions": items}), &Value::Object(claims));
            match (rendered, traced) {
                (Err(error), traced) => prop_assert_eq!(traced, Err(error)),
                (Ok(rendered), traced) => {
                    let traced = traced.unwrap();
                    prop_assert_eq!(&traced.rendered, &rendered);
                    let made = traced.origins.into_iter().map(|origin| origin.permission);
                    let folded = PermissionSet::from_permissions(made, &vocabulary());
                    prop_assert_eq!(folded, rendered.permissions);
                }
            }
        }
    }

    #[test]
    fn what_does_not_render_is_not_traced() {
        for item in [
            item(None, None, "{{tenant.id}}:{{user.email}}"),
            item(None, Some("user.claims.none"), "{{tenant.id}}"),
            item(Some(("user.claims.none", "x")), None, "{{tenant.id}}"),
            item(Some(("user.claims.wide", "x")), None, "{{tenant.id}}:{{x}}"),
        ] {
            let (rendered, traced) =
                both(&json!({"permissions": [item]}), &json!({"wide": ["a", "*"]}));
            assert_eq!(traced.unwrap_err(), rendered.unwrap_err());
        }
        // Too many repetitions are too many with somebody looking on, too.
        let inner = item(Some(("user.claims.many", "b")), Some("eq b 'x'"), "{{tenant.id}}");
        let outer = json!({"$each": "user.claims.many", "$as": "a", "permissions": [inner]});
        let (rendered, traced) =
            both(&json!({"permissions": [outer]}), &json!({"many": vec!["y"; 100]}));
        assert_eq!(traced.unwrap_err(), rendered.unwrap_err());
    }
}
