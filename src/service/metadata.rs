//! What the server says of itself (RFC 8414, OpenID Connect Discovery) and its public keys (RFC 7517).

use crate::domain::client::{GrantType, SigningAlgorithm};
use crate::domain::scope::PROTOCOL_SCOPES;
use crate::service::Service;
use serde_json::{Value, json};

impl Service {
    /// The same document serves both well-known addresses.
    pub fn metadata(&self) -> Value {
        let issuer = &self.0.issuer;
        let at = |path: &str| format!("{issuer}{path}");
        let vocabulary = self.0.catalog.vocabulary();
        let types: Vec<&str> = vocabulary.types().iter().map(|kind| kind.name()).collect();
        json!({
            "issuer": issuer,
            "authorization_endpoint": at("/oauth2/authorize"),
            "token_endpoint": at("/oauth2/token"),
            "userinfo_endpoint": at("/oauth2/userinfo"),
            "introspection_endpoint": at("/oauth2/introspect"),
            "revocation_endpoint": at("/oauth2/revoke"),
            "jwks_uri": at("/oauth2/jwks"),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": GrantType::ALL.map(GrantType::as_str),
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported":
                ["none", "client_secret_basic", "client_secret_post"],
            "introspection_endpoint_auth_methods_supported":
                ["client_secret_basic", "client_secret_post"],
            "revocation_endpoint_auth_methods_supported":
                ["none", "client_secret_basic", "client_secret_post"],
            "scopes_supported": PROTOCOL_SCOPES,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": SigningAlgorithm::ALL.map(SigningAlgorithm::as_str),
            "authorization_details_types_supported": types,
            "authorization_response_iss_parameter_supported": true,
            "claims_supported": [
                "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "sid", "tenant",
                "email", "email_verified", "name",
            ],
            "claims_parameter_supported": false,
            "request_parameter_supported": false,
            "request_uri_parameter_supported": false,
            "prompt_values_supported": ["none", "login", "consent", "select_account"],
        })
    }

    /// The JWK set, as text.
    pub fn jwks(&self) -> &str {
        &self.0.jwks
    }
}
