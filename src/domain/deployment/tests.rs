use super::*;
use crate::domain::revocation::RevocationTarget;
use serde_json::{Value, json};

fn tenant(id: &str) -> Tenant {
    serde_json::from_value(json!({ "id": id, "name": id, "attributes": { "plan": "pro" } }))
        .unwrap()
}
fn role(name: &str, crosses_tenants: bool) -> RoleDeclaration {
    RoleDeclaration {
        role: name.parse().unwrap(),
        source: "{}".into(),
        crosses_tenants,
        ceiling: None,
    }
}
fn provider(id: &str, tenants: &Value, role: &str) -> ProviderDeclaration {
    let provider = json!({
        "id": id, "kind": "oidc", "issuer": "https://login.example", "client_id": "c", "tenants": tenants,
        "mappings": [{ "claim": "/groups", "contains": "x", "role": role }],
        "exchange": { "audiences": ["web-app"] },
    });
    ProviderDeclaration {
        provider: serde_json::from_value(provider).unwrap(),
        client_secret: Some(Secret::new("upstream-s3cr3t".into())),
    }
}
fn client(id: &str, id_tokens_of: &[&str]) -> Client {
    let client = json!({
        "id": id, "name": id, "authentication": { "method": "client_secret_basic", "secrets": [] },
        "grants": [], "exchange": { "id_tokens_of": id_tokens_of },
    });
    serde_json::from_value(client).unwrap()
}
fn sample() -> Deployment {
    Deployment {
        vocabulary: Some("[types]".into()),
        limits: None,
        roles: vec![role("data-entry", false)],
        tenants: vec![tenant("acme"), tenant("globex")],
        providers: vec![provider(
            "corp",
            &json!({ "by": "domain", "table": { "acme.example": "acme", "globex.example": "globex" } }),
            "data-entry",
        )],
        clients: vec![client("web", &["corp"])],
    }
}
fn ids(names: &[&str]) -> Vec<EntryId> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}
fn problems(wanted: &Deployment) -> Vec<String> {
    let problems = plan(&Current::default(), wanted, &[]).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}
fn reasons(plan: &Plan) -> Vec<&str> {
    plan.revocations().iter().map(|r| r.reason.as_str()).collect()
}

#[test]
fn applied_twice_there_is_nothing_left_to_do() {
    let first = plan(&Current::default(), &sample(), &[]).unwrap();
    assert_eq!(
        first.to_string(),
        "+ vocabulary\n+ role data-entry\n+ tenant acme\n+ tenant globex\n+ provider corp\n+ client web\n\
         6 to create, 0 to update, 0 to delete, 0 unchanged"
    );
    assert_eq!(first.revocations(), []);
    let second = plan(&first.outcome, &sample(), &[]).unwrap();
    assert!(second.is_empty());
    assert_eq!(second.to_string(), "nothing to do, 6 unchanged");
}

#[test]
fn a_stored_secret_that_was_sealed_anew_is_no_difference() {
    let mut current = sample();
    for entry in &mut current.providers {
        entry.provider.client_secret =
            Some(crate::domain::provider::SealedSecret("ciphertext".into()));
    }
    assert!(plan(&current, &sample(), &[]).unwrap().is_empty());
}

#[test]
fn nothing_is_deleted_that_prune_does_not_name() {
    let plan = plan(&sample(), &Deployment::default(), &[]).unwrap();
    assert!(plan.is_empty());
    assert_eq!(plan.outcome.tenants.len(), 2);
}

#[test]
fn what_differs_is_named_and_no_secret_is_shown() {
    let mut wanted = sample();
    for tenant in &mut wanted.tenants {
        tenant.name = "Renamed".into();
        tenant.attributes.clear();
    }
    for entry in &mut wanted.providers {
        entry.client_secret = Some(Secret::new("another-s3cr3t".into()));
    }
    for client in &mut wanted.clients {
        client.lifetimes.access_token = 60;
        client.authentication = crate::domain::client::ClientAuthentication::ClientSecretPost {
            secrets: vec![crate::domain::secret::Digest::of("s3cr3t")],
        };
    }
    for role in &mut wanted.roles {
        role.source = "{ }".into();
    }
    let plan = plan(&sample(), &wanted, &[]).unwrap();
    let text = plan.to_string();
    assert_eq!(
        text,
        "~ role data-entry: template\n\
         ~ tenant acme: attributes.plan, name\n~ tenant globex: attributes.plan, name\n\
         ~ provider corp: client_secret\n\
         ~ client web: authentication.method, authentication.secrets, lifetimes.access_token\n\
         0 to create, 5 to update, 0 to delete, 1 unchanged"
    );
    assert!(!format!("{text}{plan:?}").contains("s3cr3t"));
}

#[test]
fn a_prune_is_refused_while_something_names_it() {
    let prune = |names: &[&str]| match plan(&sample(), &Deployment::default(), &ids(names)) {
        Ok(plan) => plan.to_string(),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    };
    assert_eq!(prune(&["tenant:acme"]), "tenant acme cannot be pruned: provider corp names it");
    assert_eq!(
        prune(&["provider:corp", "role:data-entry"]),
        "provider corp cannot be pruned: client web names it"
    );
    assert_eq!(
        prune(&["tenant:acme", "provider:corp", "client:web", "tenant:acme"]),
        "- client web\n- provider corp\n- tenant acme\n\
         ! ends tokens and sessions: client web deleted\n\
         ! ends tokens and sessions: provider corp deleted\n\
         ! ends tokens and sessions: tenant acme deleted\n\
         0 to create, 0 to update, 3 to delete, 0 unchanged"
    );
    assert_eq!(
        prune(&["client:wbe"]),
        "  client wbe: not there, nothing to prune\nnothing to do, 0 unchanged"
    );
    let both = plan(&sample(), &sample(), &ids(&["tenant:acme"])).unwrap_err();
    assert_eq!(both, [PlanProblem::DeclaredAndPruned("tenant:acme".parse().unwrap())]);
}

#[test]
fn suspending_revokes_once() {
    let mut wanted = sample();
    for tenant in wanted.tenants.iter_mut().take(1) {
        tenant.status = crate::domain::tenant::Status::Suspended;
    }
    for client in &mut wanted.clients {
        client.status = crate::domain::tenant::Status::Suspended;
    }
    let suspending = plan(&sample(), &wanted, &[]).unwrap();
    assert!(suspending.to_string().contains("~ tenant acme: status becomes suspended\n"));
    let targets: Vec<_> = suspending.revocations().iter().map(|r| r.target.clone()).collect();
    assert_eq!(
        targets,
        [
            RevocationTarget::Tenant("acme".parse().unwrap()),
            RevocationTarget::Client("web".parse().unwrap())
        ]
    );
    assert_eq!(plan(&suspending.outcome, &wanted, &[]).unwrap().revocations(), []);
    // Waking it up ends nothing.
    assert_eq!(plan(&suspending.outcome, &sample(), &[]).unwrap().revocations(), []);
}

#[test]
fn sessions_end_that_the_provider_would_no_longer_yield() {
    let rebound = |tenants: &Value| {
        let mut wanted = sample();
        wanted.providers = vec![provider("corp", tenants, "data-entry")];
        plan(&sample(), &wanted, &[]).unwrap()
    };
    let shrunk = rebound(&json!({ "by": "domain", "table": { "globex.example": "globex" } }));
    assert_eq!(reasons(&shrunk), ["provider corp no longer yields tenant acme as it did"]);
    assert_eq!(shrunk.revocations().first().unwrap().tenant, Some("acme".parse().unwrap()));
    // Still yielded, but not to those who had it.
    let moved = rebound(&json!({ "by": "domain", "table": {
        "acme.example": "globex", "globex.example": "globex", "new.example": "acme" } }));
    assert_eq!(reasons(&moved), ["provider corp no longer yields tenant acme as it did"]);
    let grown = rebound(&json!({ "by": "domain", "table": {
        "acme.example": "acme", "globex.example": "globex", "new.example": "acme" } }));
    assert_eq!(reasons(&grown), Vec::<&str>::new());
    assert_eq!(reasons(&rebound(&json!({ "by": "fixed", "tenant": "acme" }))).len(), 1);
    assert_eq!(
        reasons(&rebound(&json!({ "by": "claim", "claim": "/org", "table": { "a": "acme" } })))
            .len(),
        2
    );
}

#[test]
fn another_upstream_means_other_people() {
    let mut wanted = sample();
    for entry in &mut wanted.providers {
        let mut json = serde_json::to_value(&entry.provider).unwrap();
        json["issuer"] = json!("https://elsewhere.example");
        entry.provider = serde_json::from_value(json).unwrap();
    }
    let plan = plan(&sample(), &wanted, &[]).unwrap();
    assert_eq!(reasons(&plan), ["provider corp speaks to another upstream"]);
    assert_eq!(plan.revocations().first().unwrap().tenant, None);
}

#[test]
fn what_does_not_exist_cannot_be_named() {
    let mut wanted = sample();
    wanted.tenants = vec![tenant("acme")];
    wanted.roles.clear();
    wanted.clients.push(client("app", &["crop"]));
    assert_eq!(
        problems(&wanted),
        [
            "provider corp names role data-entry, which does not exist: declare it too",
            "provider corp names tenant globex, which does not exist: declare it too",
            "client app names provider crop, which does not exist: declare it too",
        ]
    );
    // What the database holds counts.
    let current = Deployment { clients: Vec::new(), providers: Vec::new(), ..sample() };
    let rest = Deployment { tenants: Vec::new(), roles: Vec::new(), ..sample() };
    assert!(plan(&current, &rest, &[]).is_ok());
}

#[test]
fn a_domain_leads_to_one_provider() {
    let mut wanted = sample();
    let table = json!({ "by": "domain", "table": { "acme.example": "globex" } });
    wanted.providers.push(provider("other", &table, "data-entry"));
    assert_eq!(
        problems(&wanted),
        [
            "the e-mail domain acme.example belongs to provider corp and to provider other: it must lead to one"
        ]
    );
}

#[test]
fn a_role_that_crosses_tenants_comes_from_the_platforms_providers_only() {
    let mut wanted = sample();
    wanted.tenants.push(tenant("platform"));
    wanted.roles.push(role("operator", true));
    let of = |tenants: &Value| {
        let mut wanted = wanted.clone();
        wanted.providers.push(provider("staff", tenants, "operator"));
        plan(&Current::default(), &wanted, &[])
    };
    assert!(of(&json!({ "by": "fixed", "tenant": "platform" })).is_ok());
    let table = json!({ "staff.example": "platform", "partner.example": "acme" });
    let refused = of(&json!({ "by": "domain", "table": table })).unwrap_err();
    assert_eq!(
        refused.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "provider staff maps to role operator, which crosses tenants, and may yield other tenants than \
             `platform`: add `tenant = \"platform\"` to the mapping"
        ]
    );
    let rule = &mut wanted.providers;
    rule.push(provider("staff", &json!({ "by": "domain", "table": table }), "operator"));
    let last = rule.last_mut().unwrap();
    last.provider.mappings[0].tenant = Some("platform".parse().unwrap());
    assert!(plan(&Current::default(), &wanted, &[]).is_ok());
}

#[test]
fn losing_the_right_to_cross_tenants_ends_what_has_it() {
    let mut current = sample();
    current.roles = vec![role("spare", true)];
    current.providers.clear();
    current.clients.clear();
    let wanted = Deployment { roles: vec![role("spare", false)], ..Deployment::default() };
    let plan = plan(&current, &wanted, &[]).unwrap();
    assert_eq!(
        plan.to_string(),
        "~ role spare: crosses_tenants becomes false\n\
         ! ends tokens and sessions: role spare may no longer cross tenants\n\
         0 to create, 1 to update, 0 to delete, 0 unchanged"
    );
}

#[test]
fn an_id_token_can_mean_one_provider_only() {
    let mut wanted = sample();
    wanted.providers.push(provider(
        "twin",
        &json!({ "by": "fixed", "tenant": "acme" }),
        "data-entry",
    ));
    wanted.clients = vec![client("web", &["corp", "twin"])];
    assert_eq!(
        problems(&wanted),
        [
            "client web may bring ID tokens of provider corp and of provider twin, and one for \"web-app\" \
             could be either's: both have the same issuer"
        ]
    );
    wanted.clients = vec![client("one", &["corp"]), client("two", &["twin"])];
    for entry in &mut wanted.providers {
        if entry.provider.id.as_str() == "twin" {
            entry.provider.exchange = None;
        }
    }
    assert_eq!(
        problems(&wanted),
        ["client two may bring ID tokens of provider twin, which declares no `exchange`"]
    );
}

#[test]
fn an_entry_is_named_as_kind_and_id() {
    assert_eq!("tenant:acme".parse::<EntryId>().unwrap().to_string(), "tenant acme");
    assert_eq!("client:a:b".parse::<EntryId>().unwrap().to_string(), "client a:b");
    for bad in ["acme", "tenants:acme", "tenant:", "tenant:Acme"] {
        assert!(bad.parse::<EntryId>().is_err(), "{bad}");
    }
}
