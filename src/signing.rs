//! Keys for cryptography: signing tokens, the MAC of refresh tokens, sealing what must not be readable at
//! rest. Every key is parsed once. Keys reach this module as values; it reads no store.

use crate::domain::client::SigningAlgorithm;
use crate::domain::ids::ClientId;
use crate::domain::secret::Secret;
use crate::domain::token::{RefreshClaims, UnverifiedRefreshToken, parse_opaque, write_opaque};
use crate::jws::{self, PublicKey, TOKEN_LIMIT};
use aws_lc_rs::aead::{self, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self as algorithms, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use aws_lc_rs::{constant_time, digest, hmac, rsa};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::crypto::JwtSigner;
use jsonwebtoken::signature::{Error as SignatureError, Signer};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the encryption key must be 32 bytes in base64url")]
    EncryptionKey,
    #[error("a stored key cannot be opened: is this the encryption key that it was stored under?")]
    Sealed,
    #[error("a stored key is not of the form that its algorithm asks for")]
    Malformed,
    #[error("the operating system gave no random bytes or the library failed")]
    Library,
}

/// Random bytes from the operating system.
pub fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeyError::Library)?;
    Ok(bytes)
}

/// A fresh secret of 256 bits, as text.
pub fn random_text(prefix: &str) -> Result<Secret<String>, KeyError> {
    Ok(Secret::new(format!("{prefix}{}", BASE64URL_NOPAD.encode(&random::<32>()?))))
}

/// Encrypts what is kept in the database under the key of the configuration.
#[derive(Clone)]
pub struct SealingKey([u8; 32]);

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<sealing key>")
    }
}

impl SealingKey {
    pub fn parse(text: &Secret<String>) -> Result<Self, KeyError> {
        let bytes = BASE64URL_NOPAD.decode(text.reveal().trim().trim_end_matches('=').as_bytes());
        bytes.ok().and_then(|b| b.try_into().ok()).map(Self).ok_or(KeyError::EncryptionKey)
    }

    /// A fresh key, as it stands in a configuration.
    pub fn generate_text() -> Result<Secret<String>, KeyError> {
        random_text("")
    }

    fn cipher(&self) -> Result<RandomizedNonceKey, KeyError> {
        RandomizedNonceKey::new(&aead::AES_256_GCM, &self.0).map_err(|_| KeyError::Library)
    }

    /// `purpose` is bound to the ciphertext: what was sealed as one thing does not open as another.
    pub fn seal(&self, purpose: &str, plaintext: &[u8]) -> Result<String, KeyError> {
        Ok(BASE64URL_NOPAD.encode(&seal(&self.cipher()?, purpose.as_bytes(), plaintext)?))
    }

    pub fn open(&self, purpose: &str, sealed: &str) -> Result<Secret<Vec<u8>>, KeyError> {
        let bytes = BASE64URL_NOPAD.decode(sealed.as_bytes()).map_err(|_| KeyError::Sealed)?;
        let opened = open(&self.cipher()?, purpose.as_bytes(), &bytes);
        opened.map(Secret::new).ok_or(KeyError::Sealed)
    }
}

fn seal(key: &RandomizedNonceKey, bound: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut ciphertext = plaintext.to_vec();
    let nonce = key
        .seal_in_place_append_tag(Aad::from(bound), &mut ciphertext)
        .map_err(|_| KeyError::Library)?;
    let mut sealed = nonce.as_ref().to_vec();
    sealed.append(&mut ciphertext);
    Ok(sealed)
}

fn open(key: &RandomizedNonceKey, bound: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let mut buffer = ciphertext.to_vec();
    let length = key.open_in_place(nonce, Aad::from(bound), &mut buffer).ok()?.len();
    buffer.truncate(length);
    Some(buffer)
}

enum KeyPair {
    Ed25519(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
    Rs256(rsa::KeyPair),
}

/// A key that signs tokens.
pub struct SigningKey {
    kid: String,
    algorithm: SigningAlgorithm,
    pair: KeyPair,
    public: PublicKey,
    jwk: Value,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<signing key {} {}>", self.algorithm.as_str(), self.kid)
    }
}

impl SigningKey {
    /// A fresh key, as PKCS #8.
    pub fn generate(algorithm: SigningAlgorithm) -> Result<Secret<Vec<u8>>, KeyError> {
        let library = |_| KeyError::Library;
        let der = match algorithm {
            SigningAlgorithm::EdDSA => {
                Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8()).map_err(library)?
            }
            SigningAlgorithm::ES256 => EcdsaKeyPair::generate_pkcs8(
                &algorithms::ECDSA_P256_SHA256_FIXED_SIGNING,
                &SystemRandom::new(),
            )
            .map_err(library)?,
            SigningAlgorithm::RS256 => {
                use aws_lc_rs::encoding::AsDer as _;
                let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).map_err(library)?;
                let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().map_err(library)?;
                return Ok(Secret::new(der.as_ref().to_vec()));
            }
        };
        Ok(Secret::new(der.as_ref().to_vec()))
    }

    /// The `kid` is the key's JWK thumbprint (RFC 7638).
    pub fn parse(algorithm: SigningAlgorithm, pkcs8: &Secret<Vec<u8>>) -> Result<Self, KeyError> {
        let der = pkcs8.reveal();
        let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let (pair, members) = match algorithm {
            SigningAlgorithm::EdDSA => {
                let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|_| KeyError::Malformed)?;
                let x = encode(pair.public_key().as_ref());
                (KeyPair::Ed25519(pair), json!({ "crv": "Ed25519", "kty": "OKP", "x": x }))
            }
            SigningAlgorithm::ES256 => {
                let signing = &algorithms::ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair =
                    EcdsaKeyPair::from_pkcs8(signing, der).map_err(|_| KeyError::Malformed)?;
                // An uncompressed point: 0x04 ‖ x ‖ y.
                let point = pair.public_key().as_ref().get(1..);
                let (x, y) = point
                    .and_then(|point| point.split_at_checked(32))
                    .ok_or(KeyError::Malformed)?;
                let jwk = json!({ "crv": "P-256", "kty": "EC", "x": encode(x), "y": encode(y) });
                (KeyPair::Es256(pair), jwk)
            }
            SigningAlgorithm::RS256 => {
                let pair = rsa::KeyPair::from_pkcs8(der).map_err(|_| KeyError::Malformed)?;
                let public = pair.public_key();
                let exponent = encode(public.exponent().big_endian_without_leading_zero());
                let modulus = encode(public.modulus().big_endian_without_leading_zero());
                (KeyPair::Rs256(pair), json!({ "e": exponent, "kty": "RSA", "n": modulus }))
            }
        };
        // RFC 7638 §3: the required members in lexicographic order, which is how they stand above.
        let thumbprint = digest::digest(&digest::SHA256, members.to_string().as_bytes());
        let kid = encode(thumbprint.as_ref());
        let mut jwk = members;
        if let Some(jwk) = jwk.as_object_mut() {
            jwk.insert("kid".to_owned(), json!(kid));
            jwk.insert("alg".to_owned(), json!(algorithm.as_str()));
            jwk.insert("use".to_owned(), json!("sig"));
        }
        let public = PublicKey::parse(&jwk).ok_or(KeyError::Malformed)?;
        Ok(Self { kid, algorithm, pair, public, jwk })
    }

    pub fn kid(&self) -> &str {
        &self.kid
    }
    pub const fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }
    /// The public half (RFC 7517).
    pub const fn jwk(&self) -> &Value {
        &self.jwk
    }

    /// A JWT of these claims.
    pub fn sign(&self, typ: &str, claims: &impl Serialize) -> Result<String, KeyError> {
        #[derive(Serialize)]
        struct Header<'a> {
            alg: &'a str,
            kid: &'a str,
            typ: &'a str,
        }
        let header = Header { alg: self.algorithm.as_str(), kid: &self.kid, typ };
        let part = |json: Result<Vec<u8>, _>| json.map(|json| BASE64URL_NOPAD.encode(&json));
        let header = part(serde_json::to_vec(&header)).map_err(|_| KeyError::Library)?;
        let claims = part(serde_json::to_vec(claims)).map_err(|_| KeyError::Library)?;
        let mut token = header;
        token.push('.');
        token.push_str(&claims);
        let signature = self.try_sign(token.as_bytes()).map_err(|_| KeyError::Library)?;
        token.push('.');
        BASE64URL_NOPAD.encode_append(&signature, &mut token);
        Ok(token)
    }
}

impl Signer<Vec<u8>> for SigningKey {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let failed = |_| SignatureError::new();
        match &self.pair {
            KeyPair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            KeyPair::Es256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            KeyPair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &algorithms::RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    message,
                    &mut signature,
                )
                .map_err(failed)?;
                Ok(signature)
            }
        }
    }
}

impl JwtSigner for SigningKey {
    fn algorithm(&self) -> Algorithm {
        jws::jose(self.algorithm)
    }
}

/// A key that others are derived from: refresh tokens' MACs and opaque tokens' sealing.
pub struct DerivationKey {
    id: u32,
    mac: hmac::Key,
    opaque: RandomizedNonceKey,
}

impl DerivationKey {
    pub fn parse(id: u32, bytes: &Secret<Vec<u8>>) -> Result<Self, KeyError> {
        if bytes.reveal().len() != 32 {
            return Err(KeyError::Malformed);
        }
        let root = hmac::Key::new(hmac::HMAC_SHA256, bytes.reveal());
        let derive = |label: &[u8]| hmac::sign(&root, label);
        let mac = hmac::Key::new(hmac::HMAC_SHA256, derive(b"refresh token").as_ref());
        let opaque = RandomizedNonceKey::new(&aead::AES_256_GCM, derive(b"opaque token").as_ref())
            .map_err(|_| KeyError::Library)?;
        Ok(Self { id, mac, opaque })
    }

    fn refresh_mac(&self, claims: &RefreshClaims, client: &ClientId) -> [u8; 16] {
        let tag = hmac::sign(&self.mac, &claims.mac_input(client));
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

/// Every key of the installation.
pub struct KeyRing {
    /// The newest first, for each algorithm.
    signing: Vec<SigningKey>,
    derivation: BTreeMap<u32, DerivationKey>,
    newest_derivation: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token of ours")]
pub struct NotOurs;

impl KeyRing {
    /// At least one key of each kind.
    pub fn new(signing: Vec<SigningKey>, derivation: Vec<DerivationKey>) -> Result<Self, KeyError> {
        let newest_derivation =
            derivation.iter().map(|key| key.id).max().ok_or(KeyError::Malformed)?;
        let has = |algorithm| signing.iter().any(|key| key.algorithm == algorithm);
        if !SigningAlgorithm::ALL.into_iter().all(has) {
            return Err(KeyError::Malformed);
        }
        let derivation = derivation.into_iter().map(|key| (key.id, key)).collect();
        Ok(Self { signing, derivation, newest_derivation })
    }

    /// Signs with the newest key of that algorithm.
    pub fn sign(
        &self,
        algorithm: SigningAlgorithm,
        typ: &str,
        claims: &impl Serialize,
    ) -> Result<String, KeyError> {
        let key = self.signing.iter().find(|key| key.algorithm == algorithm);
        key.ok_or(KeyError::Malformed)?.sign(typ, claims)
    }

    /// The claims of a JWT that one of our keys signed as a `typ`.
    pub fn verify(&self, typ: &str, token: &str) -> Result<Vec<u8>, NotOurs> {
        if token.len() > TOKEN_LIMIT {
            return Err(NotOurs);
        }
        let key = |kid: &str| self.signing.iter().find(|key| key.kid == kid);
        jws::verify(typ, token, |kid| key(kid).map(|key| &key.public)).map_err(|_| NotOurs)
    }

    /// The JWK set (RFC 7517 §5).
    pub fn jwks(&self) -> Value {
        json!({ "keys": self.signing.iter().map(SigningKey::jwk).collect::<Vec<_>>() })
    }

    /// The key that new sessions pin.
    pub const fn newest_derivation(&self) -> u32 {
        self.newest_derivation
    }

    pub fn write_refresh_token(
        &self,
        claims: &RefreshClaims,
        client: &ClientId,
    ) -> Result<Secret<String>, KeyError> {
        let key = self.derivation.get(&claims.key).ok_or(KeyError::Malformed)?;
        Ok(claims.write(&key.refresh_mac(claims, client)))
    }

    /// What a refresh token says, if it is ours and this client's.
    pub fn verify_refresh_token(
        &self,
        token: &UnverifiedRefreshToken,
        client: &ClientId,
    ) -> Result<RefreshClaims, NotOurs> {
        let key = self.derivation.get(&token.claims.key).ok_or(NotOurs)?;
        let expected = key.refresh_mac(&token.claims, client);
        constant_time::verify_slices_are_equal(&expected, &token.mac).map_err(|_| NotOurs)?;
        Ok(token.claims)
    }

    pub fn seal_opaque(&self, claims: &impl Serialize) -> Result<String, KeyError> {
        let key = self.derivation.get(&self.newest_derivation).ok_or(KeyError::Malformed)?;
        let json = serde_json::to_vec(claims).map_err(|_| KeyError::Library)?;
        Ok(write_opaque(key.id, &seal(&key.opaque, b"opaque access token", &json)?))
    }

    pub fn open_opaque(&self, token: &str) -> Result<Vec<u8>, NotOurs> {
        let (id, sealed) = Some(token)
            .filter(|token| token.len() <= TOKEN_LIMIT)
            .and_then(parse_opaque)
            .ok_or(NotOurs)?;
        let key = self.derivation.get(&id).ok_or(NotOurs)?;
        open(&key.opaque, b"opaque access token", &sealed).ok_or(NotOurs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::SessionId;

    fn ring() -> KeyRing {
        let signing = SigningAlgorithm::ALL
            .map(|a| SigningKey::parse(a, &SigningKey::generate(a).unwrap()).unwrap());
        let derivation = [1, 2].map(|id| {
            DerivationKey::parse(id, &Secret::new(vec![u8::try_from(id).unwrap(); 32])).unwrap()
        });
        KeyRing::new(signing.into(), derivation.into()).unwrap()
    }

    #[test]
    fn what_is_signed_is_verified_with_every_algorithm() {
        let ring = ring();
        for algorithm in SigningAlgorithm::ALL {
            let token = ring.sign(algorithm, "at+jwt", &json!({ "a": 1 })).unwrap();
            assert_eq!(ring.verify("at+jwt", &token), Ok(b"{\"a\":1}".to_vec()));
            assert_eq!(ring.verify("JWT", &token), Err(NotOurs), "another kind of token");
            let (rest, _) = token.rsplit_once('.').unwrap();
            for forged in [
                format!("{rest}."),
                format!("{rest}.AAAA"),
                rest.to_owned(),
                format!("{token}.x"),
                format!("{token}="),
            ] {
                assert_eq!(ring.verify("at+jwt", &forged), Err(NotOurs));
            }
        }
    }

    #[test]
    fn the_header_decides_nothing() {
        let ring = ring();
        let token = ring.sign(SigningAlgorithm::EdDSA, "at+jwt", &json!({})).unwrap();
        let kid = ring.signing[0].kid();
        let (_, rest) = token.split_once('.').unwrap();
        for header in [
            json!({ "alg": "none", "kid": kid, "typ": "at+jwt" }),
            json!({ "alg": "HS256", "kid": kid, "typ": "at+jwt" }),
            json!({ "alg": "EdDSA", "kid": kid, "typ": "at+jwt", "crit": ["exp"] }),
            json!({ "alg": "EdDSA", "kid": kid, "typ": "at+jwt", "b64": false }),
            json!({ "alg": "EdDSA", "kid": "../../x", "typ": "at+jwt" }),
            json!({ "alg": "EdDSA", "kid": kid }),
            json!({ "alg": "EdDSA", "typ": "at+jwt" }),
        ] {
            // Signed by the right key over exactly this header: only the header itself is wrong.
            let message = format!(
                "{}.{}",
                BASE64URL_NOPAD.encode(header.to_string().as_bytes()),
                rest.split_once('.').unwrap().0
            );
            let signature = ring.signing[0].try_sign(message.as_bytes()).unwrap();
            let forged = format!("{message}.{}", BASE64URL_NOPAD.encode(&signature));
            assert_eq!(ring.verify("at+jwt", &forged), Err(NotOurs), "{header}");
        }
    }

    #[test]
    fn a_refresh_token_is_its_clients_only() {
        let ring = ring();
        let claims = RefreshClaims { key: 1, session: SessionId::new([1; 16]), generation: 1 };
        let (mine, theirs) = ("mine".parse().unwrap(), "theirs".parse().unwrap());
        let text = ring.write_refresh_token(&claims, &mine).unwrap();
        let token = UnverifiedRefreshToken::parse(text.reveal()).unwrap();
        assert_eq!(ring.verify_refresh_token(&token, &mine), Ok(claims));
        assert_eq!(ring.verify_refresh_token(&token, &theirs), Err(NotOurs));
        let of_another_key =
            UnverifiedRefreshToken { claims: RefreshClaims { key: 2, ..claims }, ..token };
        assert_eq!(ring.verify_refresh_token(&of_another_key, &mine), Err(NotOurs));
    }

    #[test]
    fn what_is_sealed_opens_for_the_same_purpose_and_key_only() {
        let text = SealingKey::generate_text().unwrap();
        let key = SealingKey::parse(&text).unwrap();
        let sealed = key.seal("signing key", b"x").unwrap();
        assert_eq!(key.open("signing key", &sealed).unwrap().reveal(), b"x");
        assert!(key.open("provider secret", &sealed).is_err());
        let other = SealingKey::parse(&SealingKey::generate_text().unwrap()).unwrap();
        assert!(other.open("signing key", &sealed).is_err());
        assert!(SealingKey::parse(&Secret::new("short".into())).is_err());
    }

    #[test]
    fn an_opaque_token_says_nothing_without_the_key() {
        let ring = ring();
        let token = ring.seal_opaque(&json!({ "sub": "u_x" })).unwrap();
        assert_eq!(ring.open_opaque(&token), Ok(b"{\"sub\":\"u_x\"}".to_vec()));
        let mut forged = token.into_bytes();
        let last = forged.len() - 1;
        forged[last - 4] ^= 1;
        assert!(ring.open_opaque(&String::from_utf8_lossy(&forged)).is_err());
    }
}
