//! Secrets that a deployment file holds or points at.
//!
//! SECURITY: no message here repeats a secret, nor a value that may be one by mistake.

use crate::deployment::Context;
use crate::domain::secret::{Digest, Secret};
use crate::toml_reader::{Node, Table, shown};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};

/// The shortest secret of a client: what is shorter is guessed.
const SHORTEST: usize = 16;

impl<'a> Context<'a> {
    /// What stands under `client_secret`, or where `client_secret_file` and `client_secret_env` point.
    /// None: one of them is wrong.
    pub(super) fn secrets(&self, table: &Table<'a>) -> Option<Vec<(Secret<String>, Node<'a>)>> {
        let keys = ["client_secret", "client_secret_file", "client_secret_env"];
        let written = keys.into_iter().flat_map(|key| {
            let nodes = table.get(key).map(|node| node.one_or_many()).unwrap_or_default();
            nodes.into_iter().map(move |node| (key, node))
        });
        let secrets: Vec<_> = written
            .map(|(key, node)| {
                let text = match key {
                    "client_secret_file" => self.read(&node)?,
                    "client_secret_env" => self.variable(&node)?,
                    _ => node.string()?.to_owned(),
                };
                let text = text.strip_suffix('\n').unwrap_or(&text);
                let text = text.strip_suffix('\r').unwrap_or(text);
                if text.is_empty() {
                    node.note("the secret is empty");
                    return None;
                }
                Some((Secret::new(text.to_owned()), node))
            })
            .collect();
        secrets.into_iter().collect()
    }

    fn variable(&self, node: &Node<'_>) -> Option<String> {
        let name = node.string()?;
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || !name.bytes().all(is_name) {
            // Somebody may have written the secret itself.
            node.note("must be the name of an environment variable, such as \"CORP_SECRET\"");
            return None;
        }
        let value = (self.around.variable)(name);
        if value.is_none() {
            node.note(format_args!("the environment variable {} is not set", shown(name)));
        }
        value
    }
}

/// What is stored instead of a client's secret.
pub(super) fn digest_of(secret: &Secret<String>, node: &Node<'_>) -> Option<Digest> {
    if secret.reveal().len() < SHORTEST {
        node.note(format_args!(
            "the secret is shorter than {SHORTEST} characters: make one with `openssl rand -hex 32`"
        ));
        return None;
    }
    Some(Digest::of(secret.reveal()))
}

/// A digest that somebody else took, in base64url or in hexadecimal as `sha256sum` prints it.
pub(super) fn written_digest(node: &Node<'_>) -> Option<Digest> {
    let text = node.string()?;
    let hexadecimal = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    let text = hexadecimal.map_or_else(|| text.to_owned(), |bytes| BASE64URL_NOPAD.encode(&bytes));
    let digest = Digest::try_from(text).ok();
    if digest.is_none() {
        node.note("is not a SHA-256 digest: write 64 hexadecimal digits (`printf %s \"$SECRET\" | sha256sum`)");
    }
    digest
}
