//! `[[clients]]`

use crate::deployment::secrets::{digest_of, written_digest};
use crate::deployment::{Context, STATUS, all, or, text, urls};
use crate::domain::client::{
    Client, ClientAuthentication, ExchangePolicy, GrantType, Lifetimes, RedirectUri, RefreshTokens,
    SigningAlgorithm, TokenFormat,
};
use crate::domain::deployment::EntryId;
use crate::domain::ids::{ClientId, ProviderId};
use crate::domain::secret::Digest;
use crate::domain::tenant::Status;
use crate::toml_reader::{Node, Table, shown};
use serde_json::Value;
use std::collections::BTreeSet;

const GRANTS: [(&str, GrantType); 4] = [
    ("authorization_code", GrantType::AuthorizationCode),
    ("refresh_token", GrantType::RefreshToken),
    ("token-exchange", GrantType::TokenExchange),
    (GrantType::TokenExchange.as_str(), GrantType::TokenExchange),
];
const FORMATS: [(&str, TokenFormat); 2] =
    [("jwt", TokenFormat::Jwt), ("opaque", TokenFormat::Opaque)];
const REFRESH_TOKENS: [(&str, RefreshTokens); 2] =
    [("rotate", RefreshTokens::Rotate), ("stable", RefreshTokens::Stable)];

#[derive(Clone, Copy)]
enum Method {
    None,
    Basic,
    Post,
}

impl<'a> Context<'a> {
    pub(super) fn client(&self, table: &Table<'a>) -> Option<Client> {
        let id = table.required("id", "id = \"web\"").and_then(|node| {
            let id: ClientId = node.parse()?;
            self.declare(EntryId::Client(id.clone()), &node);
            Some(id)
        });
        let name = text(table, "name", "name = \"Web app\"");
        let status = or(table.get("status"), Status::Active, |node| node.one_of(&STATUS));
        let authentication = self.authentication(table);
        let grants = table
            .required("grants", "grants = [\"authorization_code\", \"refresh_token\"]")
            .and_then(|node| all(&node, |element| element.one_of(&GRANTS)));
        let redirect_uris = or(table.get("redirect_uris"), Vec::new(), |node| all(node, redirect));
        let audiences = or(table.get("audiences"), Vec::new(), |node| all(node, urls::audience));
        let introspects =
            or(table.get("introspects"), BTreeSet::new(), |node| all(node, urls::audience));
        let ceiling = or(table.get("ceiling"), None, |node| self.ceiling(node).map(Some));
        let origins = or(table.get("origins"), BTreeSet::new(), |node| all(node, urls::origin));
        let providers = or(table.get("providers"), None, |node| providers(node).map(Some));
        let exchange = or(table.get("exchange"), ExchangePolicy::default(), exchange);
        let token_format =
            or(table.get("token_format"), TokenFormat::default(), |node| node.one_of(&FORMATS));
        let algorithm = or(table.get("algorithm"), SigningAlgorithm::default(), |node| {
            node.one_of(&SigningAlgorithm::ALL.map(|algorithm| (algorithm.as_str(), algorithm)))
        });
        let lifetimes = or(table.get("lifetimes"), Lifetimes::default(), lifetimes);
        let refresh_tokens = or(table.get("refresh_tokens"), RefreshTokens::default(), |node| {
            node.one_of(&REFRESH_TOKENS)
        });
        table.finish();
        let client = Client {
            id: id?,
            name: name?,
            status: status?,
            authentication: authentication?,
            grants: grants?,
            redirect_uris: redirect_uris?,
            audiences: audiences?,
            introspects: introspects?,
            ceiling: ceiling?,
            origins: origins?,
            providers: providers?,
            exchange: exchange?,
            token_format: token_format?,
            algorithm: algorithm?,
            lifetimes: lifetimes?,
            refresh_tokens: refresh_tokens?,
        };
        contradictions(table, &client);
        Some(client)
    }

    fn authentication(&self, table: &Table<'a>) -> Option<ClientAuthentication> {
        let method_node = table.required(
            "authentication",
            "authentication = \"none\", \"client_secret_basic\" or \"client_secret_post\"",
        );
        let method = method_node.and_then(|node| {
            node.one_of(&[
                ("none", Method::None),
                ("client_secret_basic", Method::Basic),
                ("client_secret_post", Method::Post),
            ])
        });
        let plain = self.secrets(table);
        let digests = table.get("client_secret_sha256").map(|node| node.one_or_many());
        let plain = plain.and_then(|secrets| {
            let digests: Vec<_> =
                secrets.iter().map(|(secret, node)| digest_of(secret, node)).collect();
            digests.into_iter().collect::<Option<Vec<Digest>>>()
        });
        let digests: Vec<_> = digests.unwrap_or_default().iter().map(written_digest).collect();
        let digests: Option<Vec<Digest>> = digests.into_iter().collect();
        let (method, mut secrets) = (method?, plain?);
        secrets.extend(digests?);
        match method {
            Method::None => {
                if !secrets.is_empty() {
                    table.note("authentication", "is \"none\", but there is a secret: write \"client_secret_basic\", or remove the secret");
                }
                Some(ClientAuthentication::None)
            }
            Method::Basic | Method::Post if secrets.is_empty() => {
                table.note(
                    "client_secret",
                    "missing: write `client_secret_file`, `client_secret_env` or `client_secret_sha256`, or authentication = \"none\"",
                );
                None
            }
            Method::Basic => Some(ClientAuthentication::ClientSecretBasic { secrets }),
            Method::Post => Some(ClientAuthentication::ClientSecretPost { secrets }),
        }
    }

    /// A template document: in the file itself, or JSON in a file beside it.
    fn ceiling(&self, node: &Node<'_>) -> Option<Value> {
        if !node.is_string() {
            node.table()?;
            return node.json();
        }
        let source = self.read(node)?;
        let path = node.string()?;
        let ceiling: Value = serde_json::from_str(&source)
            .map_err(|error| node.note(format_args!("{} is not JSON: {error}", shown(path))))
            .ok()?;
        if !ceiling.is_object() {
            node.note(format_args!("{} must hold a JSON object", shown(path)));
            return None;
        }
        Some(ceiling)
    }
}

/// What may stand there by itself, and not beside something else.
fn contradictions(table: &Table<'_>, client: &Client) {
    let may = |grant| client.may_use(grant);
    let code = may(GrantType::AuthorizationCode);
    if code && client.redirect_uris.is_empty() {
        table.note("redirect_uris", "missing: `authorization_code` needs at least one, such as \"https://app.example.com/callback\"");
    }
    if !code && !client.redirect_uris.is_empty() {
        table.note(
            "redirect_uris",
            "is used by `authorization_code` only: add it to `grants`, or remove this",
        );
    }
    if may(GrantType::RefreshToken) && !code {
        table.note(
            "grants",
            "`refresh_token` comes with `authorization_code`: add it, or remove this",
        );
    }
    let stable = client.refresh_tokens == RefreshTokens::Stable;
    if stable && !may(GrantType::RefreshToken) {
        table.note(
            "refresh_tokens",
            "is of no use without the grant: add \"refresh_token\" to `grants`, or remove this",
        );
    }
    let exchange = &client.exchange;
    let exchanges = exchange.access_tokens || !exchange.id_tokens_of.is_empty();
    if may(GrantType::TokenExchange) && !exchanges {
        table.note("exchange", "missing: `token-exchange` allows nothing by itself; write exchange = { id_tokens_of = [\"corp\"] } or exchange = { access_tokens = true }");
    }
    if exchanges && !may(GrantType::TokenExchange) {
        table
            .note("exchange", "is of no use without the grant: add \"token-exchange\" to `grants`");
    }
    if client.is_public() {
        if stable {
            table.note("refresh_tokens", "a public client's refresh tokens rotate, since nothing else finds a copy: give it a secret, or remove this");
        }
        if may(GrantType::TokenExchange) {
            table.note("grants", "a public client may not exchange tokens: give it a secret, or remove `token-exchange`");
        }
        if !client.introspects.is_empty() {
            table.note(
                "introspects",
                "a public client may not introspect: give it a secret, or remove this",
            );
        }
    }
    if client.audiences.iter().collect::<BTreeSet<_>>().len() < client.audiences.len() {
        table.note("audiences", "holds the same audience twice");
    }
}

fn redirect(node: &Node<'_>) -> Option<RedirectUri> {
    let text = node.string()?;
    RedirectUri::try_from(text.to_owned()).map_err(|error| node.note(error)).ok()
}

fn providers(node: &Node<'_>) -> Option<BTreeSet<ProviderId>> {
    let providers: BTreeSet<_> = all(node, Node::parse)?;
    if providers.is_empty() {
        node.note("allows no provider: name some, or leave the key out to allow all");
    }
    Some(providers)
}

fn exchange(node: &Node<'_>) -> Option<ExchangePolicy> {
    let table = node.table()?;
    let id_tokens_of =
        or(table.get("id_tokens_of"), BTreeSet::new(), |node| all(node, Node::parse));
    let access_tokens = or(table.get("access_tokens"), false, Node::boolean);
    table.finish();
    Some(ExchangePolicy { id_tokens_of: id_tokens_of?, access_tokens: access_tokens? })
}

fn lifetimes(node: &Node<'_>) -> Option<Lifetimes> {
    let table = node.table()?;
    let default = Lifetimes::default();
    let seconds = |key, default| or(table.get(key), default, |node| node.number(0, u32::MAX));
    let code = seconds("code", default.code);
    let access_token = seconds("access_token", default.access_token);
    let session_idle = seconds("session_idle", default.session_idle);
    let session_absolute = seconds("session_absolute", default.session_absolute);
    let refresh_grace = seconds("refresh_grace", default.refresh_grace);
    table.finish();
    let lifetimes = Lifetimes {
        code: code?,
        access_token: access_token?,
        session_idle: session_idle?,
        session_absolute: session_absolute?,
        refresh_grace: refresh_grace?,
    };
    lifetimes.check().map_err(|problem| node.note(problem)).ok()?;
    Some(lifetimes)
}
