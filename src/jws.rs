//! Checking what Rolemint has signed (RFC 7515): the server and the verifier of resource servers decide by
//! this one code. Public keys reach it as they are published (RFC 7517).

use crate::domain::client::SigningAlgorithm;
use aws_lc_rs::signature::{self as algorithms, ParsedPublicKey, RsaPublicKeyComponents};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::crypto::JwtVerifier;
use jsonwebtoken::signature::{Error as SignatureError, Verifier};
use serde::Deserialize;
use serde_json::Value;
use std::fmt;

/// Longer than any token that we make: to be refused before it is looked at.
pub const TOKEN_LIMIT: usize = 64 * 1024;

/// The public half of a signing key, parsed once.
pub struct PublicKey {
    kid: String,
    algorithm: SigningAlgorithm,
    key: ParsedPublicKey,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<public key {} {}>", self.algorithm.as_str(), self.kid)
    }
}

impl PublicKey {
    /// A key that says of itself which one it is, that it signs, and with which algorithm. None: it is of
    /// another kind, or not well made.
    pub fn parse(jwk: &Value) -> Option<Self> {
        let member = |name: &str| jwk.get(name).and_then(Value::as_str);
        let is = |name: &str, wanted: &str| member(name) == Some(wanted);
        let bytes = |name: &str| BASE64URL_NOPAD.decode(member(name)?.as_bytes()).ok();
        if !is("use", "sig") {
            return None;
        }
        let kid = member("kid").filter(|kid| !kid.is_empty())?.to_owned();
        let algorithm = SigningAlgorithm::ALL.into_iter().find(|own| is("alg", own.as_str()))?;
        let key = match algorithm {
            SigningAlgorithm::EdDSA if is("kty", "OKP") && is("crv", "Ed25519") => {
                ParsedPublicKey::new(&algorithms::ED25519, bytes("x")?).ok()?
            }
            SigningAlgorithm::ES256 if is("kty", "EC") && is("crv", "P-256") => {
                // An uncompressed point: 0x04 ‖ x ‖ y.
                let (x, y): ([u8; 32], [u8; 32]) =
                    (bytes("x")?.try_into().ok()?, bytes("y")?.try_into().ok()?);
                let point = [&[4][..], &x, &y].concat();
                ParsedPublicKey::new(&algorithms::ECDSA_P256_SHA256_FIXED, point).ok()?
            }
            SigningAlgorithm::RS256 if is("kty", "RSA") => {
                let components = RsaPublicKeyComponents { n: bytes("n")?, e: bytes("e")? };
                let parameters = &algorithms::RSA_PKCS1_2048_8192_SHA256;
                components.to_parsed_public_key(parameters).ok()?
            }
            _ => return None,
        };
        Some(Self { kid, algorithm, key })
    }

    pub fn kid(&self) -> &str {
        &self.kid
    }
}

/// As the `jsonwebtoken` crate calls it.
pub(crate) const fn jose(algorithm: SigningAlgorithm) -> Algorithm {
    match algorithm {
        SigningAlgorithm::EdDSA => Algorithm::EdDSA,
        SigningAlgorithm::ES256 => Algorithm::ES256,
        SigningAlgorithm::RS256 => Algorithm::RS256,
    }
}

impl Verifier<Vec<u8>> for PublicKey {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        self.key.verify_sig(message, signature).map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for PublicKey {
    fn algorithm(&self) -> Algorithm {
        jose(self.algorithm)
    }
}

/// Why something is not a JWT that one of the keys has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    #[error("it is not built like a token")]
    Malformed,
    #[error("it is a token of another kind")]
    OtherType,
    #[error("it names a key that is not known")]
    UnknownKey,
    #[error("its signature is not right")]
    Signature,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    alg: &'a str,
    kid: &'a str,
    typ: &'a str,
}

/// The claims of a JWT that was signed as a `typ` by the key that `find` knows under its `kid`. Everything in
/// the header is checked: exactly `alg`, `kid` and `typ`, and the algorithm is the key's own, not the token's
/// choice.
pub fn verify<'k>(
    typ: &str,
    token: &str,
    find: impl FnOnce(&str) -> Option<&'k PublicKey>,
) -> Result<Vec<u8>, NotSigned> {
    let (message, signature) = token.rsplit_once('.').ok_or(NotSigned::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(NotSigned::Malformed)?;
    let decode =
        |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| NotSigned::Malformed);
    let header = decode(header)?;
    let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| NotSigned::Malformed)?;
    if header.typ != typ {
        return Err(NotSigned::OtherType);
    }
    let key = find(header.kid).ok_or(NotSigned::UnknownKey)?;
    if header.alg != key.algorithm.as_str() {
        return Err(NotSigned::Signature);
    }
    key.verify(message.as_bytes(), &decode(signature)?).map_err(|_| NotSigned::Signature)?;
    decode(claims)
}

/// The key set of an issuer, as it publishes it. Keys of other kinds are left out.
pub fn parse_keys(jwks: &Value) -> Option<Vec<PublicKey>> {
    let keys = jwks.get("keys")?.as_array()?;
    Some(keys.iter().filter_map(PublicKey::parse).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const X: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";

    fn with(name: &str, value: &Value) -> Value {
        let mut jwk = json!({
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "k1", "x": X,
        });
        jwk[name] = value.clone();
        jwk
    }

    #[test]
    fn a_key_says_what_it_is_for_and_is_what_it_says() {
        assert_eq!(PublicKey::parse(&with("kid", &json!("k1"))).unwrap().kid(), "k1");
        for (name, value) in [
            ("kty", json!("EC")),
            ("kty", json!("oct")),
            ("crv", json!("X25519")),
            ("alg", json!("none")),
            ("alg", json!("HS256")),
            ("alg", json!("ES256")),
            ("alg", json!("RS256")),
            ("alg", Value::Null),
            ("use", json!("enc")),
            ("use", Value::Null),
            ("kid", json!("")),
            ("kid", json!(7)),
            ("x", json!("")),
            ("x", json!("AQEB")),
            ("x", json!(format!("{X}="))),
        ] {
            assert!(PublicKey::parse(&with(name, &value)).is_none(), "{name}: {value}");
        }
    }

    #[test]
    fn other_keys_of_a_set_are_left_out() {
        let good = with("kid", &json!("k1"));
        let keys = parse_keys(&json!({ "keys": [{ "kty": "oct", "k": "AQ" }, good, 7] })).unwrap();
        assert_eq!(keys.iter().map(PublicKey::kid).collect::<Vec<_>>(), ["k1"]);
        assert!(parse_keys(&json!({ "keys": 7 })).is_none());
        assert!(parse_keys(&json!([])).is_none());
    }
}
