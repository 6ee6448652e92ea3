//! `[[providers]]`

use crate::deployment::{Context, STATUS, all, or, text, urls};
use crate::domain::deployment::{EntryId, ProviderDeclaration};
use crate::domain::ids::{ProviderId, TenantId};
use crate::domain::provider::{
    Provider, ProviderKind, TenantBinding, UpstreamAlgorithm, UpstreamAuthentication,
    UpstreamExchange, email_domain,
};
use crate::domain::recheck::Recheck;
use crate::domain::role_mapping::{RoleMapping, RuleDeclaration};
use crate::domain::scope::is_scope_token;
use crate::domain::secret::Secret;
use crate::domain::tenant::Status;
use crate::toml_reader::{Node, Table, shown};
use std::collections::{BTreeMap, BTreeSet};

const ALGORITHMS: [(&str, UpstreamAlgorithm); 9] = [
    ("RS256", UpstreamAlgorithm::RS256),
    ("RS384", UpstreamAlgorithm::RS384),
    ("RS512", UpstreamAlgorithm::RS512),
    ("PS256", UpstreamAlgorithm::PS256),
    ("PS384", UpstreamAlgorithm::PS384),
    ("PS512", UpstreamAlgorithm::PS512),
    ("ES256", UpstreamAlgorithm::ES256),
    ("ES384", UpstreamAlgorithm::ES384),
    ("EdDSA", UpstreamAlgorithm::EdDSA),
];
const AUTHENTICATION: [(&str, UpstreamAuthentication); 2] = [
    ("client_secret_basic", UpstreamAuthentication::ClientSecretBasic),
    ("client_secret_post", UpstreamAuthentication::ClientSecretPost),
];
const OIDC_KEYS: [&str; 5] = ["issuer", "algorithms", "userinfo", "exchange", "backchannel_logout"];
const OAUTH2_KEYS: [&str; 4] =
    ["authorization_endpoint", "token_endpoint", "userinfo_endpoint", "subject"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Oidc,
    OAuth2,
}

impl<'a> Context<'a> {
    pub(super) fn provider(&self, table: &Table<'a>) -> Option<ProviderDeclaration> {
        let id = table.required("id", "id = \"corp\"").and_then(|node| {
            let id: ProviderId = node.parse()?;
            self.declare(EntryId::Provider(id.clone()), &node);
            Some(id)
        });
        let status = or(table.get("status"), Status::Active, |node| node.one_of(&STATUS));
        let kind_node = table.required("kind", "kind = \"oidc\" or kind = \"oauth2\"");
        let kind_word = kind_node
            .and_then(|node| node.one_of(&[("oidc", Kind::Oidc), ("oauth2", Kind::OAuth2)]));
        let (kind, exchange, backchannel_logout) = match kind_word {
            Some(Kind::Oidc) => (
                oidc(table),
                or(table.get("exchange"), None, |node| exchange(node).map(Some)),
                or(table.get("backchannel_logout"), false, Node::boolean),
            ),
            Some(Kind::OAuth2) => (oauth2(table), Some(None), Some(false)),
            None => {
                // Whichever it is, its keys are not unknown.
                for key in OIDC_KEYS.into_iter().chain(OAUTH2_KEYS) {
                    table.get(key);
                }
                (None, None, None)
            }
        };
        let client_id = text(table, "client_id", "client_id = \"rolemint\", as registered there");
        let authentication = self.upstream_authentication(table);
        let scopes = or(table.get("scopes"), None, |node| scopes(node, kind_word).map(Some));
        let tenants = table
            .required("tenants", "tenants = { by = \"fixed\", tenant = \"acme\" }")
            .and_then(|node| binding(&node));
        let keep_claims = or(table.get("keep_claims"), default_claims(), keep_claims);
        let recheck = or(table.get("recheck"), None, |node| recheck(node).map(Some));
        let mappings = or(table.get("mappings"), Vec::new(), |node| {
            let rules = node.tables();
            let rules: Vec<_> = rules
                .iter()
                .map(|rule| mapping(rule, keep_claims.as_deref(), tenants.as_ref()))
                .collect();
            rules.into_iter().collect()
        });
        table.finish();
        let (client_secret, authentication) = authentication?;
        let provider = Provider {
            id: id?,
            status: status?,
            kind: kind?,
            client_id: client_id?,
            client_secret: None,
            authentication,
            scopes: scopes?,
            tenants: tenants?,
            keep_claims: keep_claims?,
            mappings: mappings?,
            exchange: exchange?,
            backchannel_logout: backchannel_logout?,
            recheck: recheck?,
        };
        self.domains_once(table, &provider);
        Some(ProviderDeclaration { provider, client_secret })
    }

    fn upstream_authentication(
        &self,
        table: &Table<'a>,
    ) -> Option<(Option<Secret<String>>, UpstreamAuthentication)> {
        let secrets = self.secrets(table);
        let authentication = table.get("authentication");
        if let (Some([]), Some(node)) = (secrets.as_deref(), &authentication) {
            node.note("a provider without a secret has no way to use it: add `client_secret_file` or `client_secret_env`");
        }
        let authentication = or(authentication, UpstreamAuthentication::default(), |node| {
            node.one_of(&AUTHENTICATION)
        });
        let mut secrets = secrets?.into_iter();
        let first = secrets.next().map(|(secret, _)| secret);
        for (_, node) in secrets {
            node.note("is a second secret: a provider has one");
        }
        Some((first, authentication?))
    }

    /// Reports an e-mail domain that an entry before this one has too.
    fn domains_once(&self, table: &Table<'_>, provider: &Provider) {
        for domain in provider.domains() {
            let mut domains = self.domains.borrow_mut();
            if let Some(first) = domains.get(domain) {
                table.note(
                    "tenants",
                    format_args!("the e-mail domain {domain} belongs to provider {first} already: it must lead to one"),
                );
            } else {
                domains.insert(domain.to_owned(), provider.id.clone());
            }
        }
    }
}

fn oidc(table: &Table<'_>) -> Option<ProviderKind> {
    let issuer = table
        .required("issuer", "issuer = \"https://login.example.com\"")
        .and_then(|node| urls::issuer(&node));
    let default = BTreeSet::from([UpstreamAlgorithm::RS256]);
    let algorithms = or(table.get("algorithms"), default, |node| {
        let algorithms: BTreeSet<_> = all(node, |element| element.one_of(&ALGORITHMS))?;
        if algorithms.is_empty() {
            node.note("no ID token could be verified: write algorithms = [\"RS256\"]");
        }
        Some(algorithms)
    });
    let userinfo = or(table.get("userinfo"), false, Node::boolean);
    Some(ProviderKind::Oidc { issuer: issuer?, algorithms: algorithms?, userinfo: userinfo? })
}

fn oauth2(table: &Table<'_>) -> Option<ProviderKind> {
    let endpoint = |key| {
        let node = table.required(key, &format!("{key} = \"https://…\""))?;
        urls::endpoint(&node).map(|(url, _)| url)
    };
    let authorization_endpoint = endpoint("authorization_endpoint");
    let token_endpoint = endpoint("token_endpoint");
    let userinfo_endpoint = endpoint("userinfo_endpoint");
    let subject =
        table.required("subject", "subject = \"/id\"").and_then(|node| urls::pointer(&node));
    let issuer = or(table.get("issuer"), None, |node| urls::issuer(node).map(Some));
    Some(ProviderKind::OAuth2 {
        issuer: issuer?,
        authorization_endpoint: authorization_endpoint?,
        token_endpoint: token_endpoint?,
        userinfo_endpoint: userinfo_endpoint?,
        subject: subject?,
    })
}

fn scopes(node: &Node<'_>, kind: Option<Kind>) -> Option<Vec<String>> {
    let scopes: Vec<String> = all(node, |element| {
        let scope = element.string()?;
        if !is_scope_token(scope) {
            element.note(format_args!(
                "{} is not one scope: write each as a string of its own",
                shown(scope)
            ));
            return None;
        }
        Some(scope.to_owned())
    })?;
    if kind == Some(Kind::Oidc) && !scopes.iter().any(|scope| scope == "openid") {
        node.note("an OpenID Connect provider gives no ID token without \"openid\": add it");
    }
    Some(scopes)
}

fn binding(node: &Node<'_>) -> Option<TenantBinding> {
    let table = node.table()?;
    let by = table
        .required("by", "by = \"fixed\", by = \"claim\" or by = \"domain\"")
        .and_then(|node| node.one_of(&[("fixed", 0), ("claim", 1), ("domain", 2)]));
    let rows = |read: ReadRow| {
        let node = table.required("table", "table = { \"value\" = \"tenant\" }")?;
        let rows: Vec<_> = node.table()?.entries().into_iter().map(read).collect();
        if rows.is_empty() {
            node.note("is empty: nobody could sign in");
        }
        rows.into_iter().collect::<Option<BTreeMap<_, _>>>()
    };
    let binding = match by {
        Some(0) => {
            let tenant = table.required("tenant", "tenant = \"acme\"");
            tenant.and_then(|node| node.parse()).map(|tenant| TenantBinding::Fixed { tenant })
        }
        Some(1) => {
            let claim = table.required("claim", "claim = \"/org_id\"");
            let claim = claim.and_then(|node| urls::pointer(&node));
            let table = rows(|(value, node)| Some((value.to_owned(), node.parse()?)));
            claim.zip(table).map(|(claim, table)| TenantBinding::Claim { claim, table })
        }
        Some(_) => rows(domain_row).map(|table| TenantBinding::Domain { table }),
        // Whichever it is, its keys are not unknown.
        None => {
            for key in ["tenant", "claim", "table"] {
                table.get(key);
            }
            None
        }
    };
    table.finish();
    binding
}

/// From a row of the table to what it means.
type ReadRow = fn((&str, Node<'_>)) -> Option<(String, TenantId)>;

fn domain_row((domain, node): (&str, Node<'_>)) -> Option<(String, TenantId)> {
    // An address is compared in this form, so a row in any other would never count.
    match email_domain(&format!("x@{domain}")) {
        Some(form) if form == domain => {}
        Some(form) => node.note(format_args!("write the domain as {}", shown(&form))),
        None => node.note("is not a domain such as \"acme.example\""),
    }
    Some((domain.to_owned(), node.parse()?))
}

fn default_claims() -> Vec<String> {
    ["email", "email_verified", "name", "groups"].map(str::to_owned).to_vec()
}

fn keep_claims(node: &Node<'_>) -> Option<Vec<String>> {
    all(node, |element| {
        let claim = element.string()?;
        if claim.is_empty() || claim.starts_with('/') {
            element.note(format_args!(
                "must be a claim's name such as \"roles\", not {}",
                shown(claim)
            ));
            return None;
        }
        Some(claim.to_owned())
    })
}

fn mapping(
    table: &Table<'_>,
    keep_claims: Option<&[String]>,
    binding: Option<&TenantBinding>,
) -> Option<RuleDeclaration> {
    let string =
        |key| or(table.get(key), None, |node| node.string().map(|text| Some(text.to_owned())));
    let claim = text(table, "claim", "claim = \"/roles\"");
    let (equals, contains, matches) = (string("equals"), string("contains"), string("matches"));
    let tenant_node = table.get("tenant");
    let tenant: Option<Option<TenantId>> =
        or(tenant_node.clone(), None, |node| node.parse().map(Some));
    let mapped = table.required("role", "role = \"data-entry\"").and_then(|node| node.parse());
    table.finish();
    let rule = RuleDeclaration {
        claim: claim?,
        equals: equals?,
        contains: contains?,
        matches: matches?,
        tenant: tenant?,
        role: mapped?,
    };
    if let Some(keep_claims) = keep_claims
        && let Err(error) = RoleMapping::parse(&rule, keep_claims)
    {
        table.note_whole(error);
    }
    if let (Some(node), Some(tenant), Some(binding)) = (tenant_node, &rule.tenant, binding)
        && !yields(binding, tenant)
    {
        node.note(format_args!(
            "`tenants` of this provider does not yield {tenant}, so the rule never matches"
        ));
    }
    Some(rule)
}

fn yields(binding: &TenantBinding, wanted: &TenantId) -> bool {
    match binding {
        TenantBinding::Fixed { tenant } => tenant == wanted,
        TenantBinding::Claim { table, .. } | TenantBinding::Domain { table } => {
            table.values().any(|tenant| tenant == wanted)
        }
    }
}

fn exchange(node: &Node<'_>) -> Option<UpstreamExchange> {
    let table = node.table()?;
    let audiences = table.required("audiences", "audiences = [\"web-app\"]").and_then(|node| {
        let audiences: BTreeSet<String> =
            all(&node, |element| element.string().map(str::to_owned))?;
        if audiences.is_empty() || audiences.contains("") {
            node.note(
                "must name the applications whose ID tokens are taken, by their client_id there",
            );
        }
        Some(audiences)
    });
    let max_age = or(table.get("max_age"), 300, |node| node.number(1, 86_400));
    let require_jti = or(table.get("require_jti"), false, Node::boolean);
    table.finish();
    Some(UpstreamExchange { audiences: audiences?, max_age: max_age?, require_jti: require_jti? })
}

fn recheck(node: &Node<'_>) -> Option<Recheck> {
    let table = node.table()?;
    let every = table.required("every", "every = 300").and_then(|node| node.number(1, 86_400));
    let at_most = or(table.get("at_most"), None, |node| node.number(1, 604_800).map(Some));
    table.finish();
    let every = every?;
    let at_most = at_most?.unwrap_or_else(|| Recheck::default_at_most(every));
    if at_most < every {
        node.note("`at_most` is shorter than `every`: sessions would end before anybody is asked");
    }
    Some(Recheck { every, at_most })
}
