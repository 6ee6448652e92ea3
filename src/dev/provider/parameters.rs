//! Parameters of a request, none of them twice (RFC 6749 §3.1).

use std::collections::BTreeMap;
use url::form_urlencoded;

#[derive(Debug)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// None: one is repeated. An empty value counts as absent.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(text) {
            if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
                return None;
            }
        }
        parameters.retain(|_, value| !value.is_empty());
        Some(Self(parameters))
    }

    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}
