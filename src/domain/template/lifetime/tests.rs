use super::*;
use crate::domain::permission::tests::vocabulary;

fn check(member: &str, max_expires_in: Option<u32>, require_expires_in: bool) -> Vec<String> {
    let source = format!("{{\"scope\": [\"a\"]\n{member}}}");
    let template = RoleTemplate::compile(&source, &vocabulary(), false).unwrap();
    let errors = check_lifetime(&template, &Limits { max_expires_in, require_expires_in });
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn an_installation_limits_how_long_tokens_live() {
    let none: Vec<String> = Vec::new();
    assert_eq!(check(", \"expires_in\": 86400", None, false), none);
    assert_eq!(check("", Some(600), false), none);
    assert_eq!(check(", \"expires_in\": 600", Some(600), true), none);
    assert_eq!(
        check(", \"expires_in\": 601", Some(600), true),
        ["2:17: $.expires_in: is 601, and the most that is allowed here is 600; write 600 or less"]
    );
    let missing = |example| {
        format!(
            "1:1: $.expires_in: is missing, and every template must say it here; write \
             `\"expires_in\": {example}`"
        )
    };
    assert_eq!(check("", None, true), [missing(900)]);
    assert_eq!(check("", Some(3600), true), [missing(900)]);
    assert_eq!(check("", Some(60), true), [missing(60)]);
}
