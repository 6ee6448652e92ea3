//! What is refused, each for one reason alone, without a server.

use super::*;
use crate::domain::Time;
use crate::jws::PublicKey;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::BASE64URL_NOPAD;
use serde_json::json;

pub(super) const ISSUER: &str = "http://127.0.0.1:9";
pub(super) const NOW: i64 = 1_790_000_000;

/// A verifier whose issuer has one key and is never asked.
pub(super) struct Bench {
    pub(super) shared: Shared,
    pair: Ed25519KeyPair,
    header: Value,
    claims: Value,
}

pub(super) fn bench() -> Bench {
    let pair = Ed25519KeyPair::generate().unwrap();
    let jwk = json!({
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "k1",
        "x": BASE64URL_NOPAD.encode(pair.public_key().as_ref()),
    });
    let key = PublicKey::parse(&jwk).unwrap();
    let shared = Shared {
        issuer: Issuer::new(ISSUER, "api", &Secret::new("secret".into())).unwrap(),
        audience: "https://api.example".into(),
        client_id: "api".into(),
        tenants: BTreeSet::new(),
        stale_after: Duration::from_secs(60),
        clock: Clock::manual(Time::from_timestamp(NOW, 0).unwrap()),
        keys: Keys::fetched(vec![key]),
        vocabulary: KnownVocabulary::new(None),
        known: RwLock::default(),
        remembered: Cache::new(10),
    };
    let claims = json!({
        "iss": ISSUER, "sub": "u_dana", "aud": ["https://other.example", "https://api.example"],
        "exp": NOW + 900, "iat": NOW, "jti": "AQEBAQEBAQEBAQEBAQEBAQ", "client_id": "web",
        "sid": "AgICAgICAgICAgICAgICAg", "tenant": "acme", "provider": "corp", "roles": [], "scope": "",
        "authorization_details": [], "tpl": [], "rev": 7,
    });
    let bench = Bench {
        shared,
        pair,
        header: json!({ "alg": "EdDSA", "kid": "k1", "typ": "at+jwt" }),
        claims,
    };
    bench.hear(r#"{"position":7}"#, "reset");
    bench.hear(r#"{"position":7}"#, "position");
    bench
}

/// A node that was cut off goes on telling what it knows for a while.
#[test]
fn what_the_server_knew_long_ago_is_old() {
    let bench = bench();
    bench.hear(r#"{"position":7,"age_ms":59000}"#, "position");
    assert_eq!(bench.verify(), Ok(()));
    bench.hear(r#"{"position":7,"age_ms":60001}"#, "position");
    assert_eq!(bench.verify(), Err(NotVerified::Stale));
    assert!(bench.verify_as(&bench.token(), OnStale::Allow).is_ok());
}

impl Bench {
    fn hear(&self, data: &str, name: &str) {
        let event = event_stream::Event { name: name.into(), data: data.into() };
        let message = Message::parse(&event).unwrap().unwrap();
        self.shared.hear(&[message], Instant::now()).unwrap();
    }

    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |part: &Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.pair.sign(message.as_bytes());
        format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }

    fn token(&self) -> String {
        self.sign(&self.header, &self.claims)
    }

    fn verify_as(&self, token: &str, on_stale: OnStale) -> Result<Verified, NotVerified> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.shared.verify(token, on_stale))
    }

    pub(super) fn verify(&self) -> Result<(), NotVerified> {
        self.verify_as(&self.token(), OnStale::Refuse).map(drop)
    }

    pub(super) fn with(mut self, claim: &str, value: impl Into<Value>) -> Self {
        self.claims[claim] = value.into();
        self
    }

    fn with_header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }
}

#[test]
fn a_good_token_is_taken_again_and_again() {
    let bench = bench();
    assert_eq!(bench.verify(), Ok(()));
    assert_eq!(bench.verify(), Ok(()));
    let verified = bench.verify_as(&bench.token(), OnStale::Refuse).unwrap();
    assert_eq!(verified.claims().tenant.as_str(), "acme");
    assert!(!verified.is_stale());
    assert_eq!(format!("{verified:?}"), "<verified token of u_dana>");
}

#[test]
fn a_signature_that_is_not_right() {
    let bench = bench();
    let token = bench.token();
    let (rest, _) = token.rsplit_once('.').unwrap();
    let other = bench.pair.sign(b"another message");
    for forged in [
        format!("{rest}."),
        format!("{rest}.AAAA"),
        format!("{rest}.{}", BASE64URL_NOPAD.encode(other.as_ref())),
    ] {
        assert_eq!(bench.verify_as(&forged, OnStale::Allow).unwrap_err(), NotVerified::Signature);
    }
}

#[test]
fn what_is_no_token() {
    let bench = bench();
    let token = bench.token();
    for text in ["", ".", "..", "x", "e30.e30.e30", &format!(".{token}"), &"x".repeat(100_000)] {
        assert_eq!(bench.verify_as(text, OnStale::Allow).unwrap_err(), NotVerified::Malformed);
    }
}

#[test]
fn what_is_too_long_is_not_looked_at() {
    let bench = bench().with("padding", "x".repeat(TOKEN_LIMIT));
    assert_eq!(bench.verify(), Err(NotVerified::Malformed));
}

#[test]
fn another_algorithm() {
    for alg in ["none", "HS256", "RS256", "ES256", "eddsa"] {
        assert_eq!(bench().with_header("alg", alg).verify(), Err(NotVerified::Signature), "{alg}");
    }
}

#[test]
fn a_header_that_says_more_or_less() {
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("jku", json!("https://evil.example")),
        ("jwk", json!({})),
        ("kid", json!(null)),
        ("alg", json!(null)),
    ] {
        let bench = bench().with_header(name, value);
        assert_eq!(bench.verify(), Err(NotVerified::Malformed), "{name}");
    }
}

#[test]
fn a_key_that_the_issuer_does_not_have() {
    for kid in ["k2", "", "../k1", "K1"] {
        assert_eq!(bench().with_header("kid", kid).verify(), Err(NotVerified::UnknownKey), "{kid}");
    }
}

#[test]
fn a_token_of_another_kind() {
    for typ in ["JWT", "at+JWT", "application/at+jwt", "revocations+jwt", ""] {
        assert_eq!(bench().with_header("typ", typ).verify(), Err(NotVerified::OtherType), "{typ}");
    }
}

#[test]
fn another_issuer() {
    for iss in ["http://127.0.0.1:9/", "http://127.0.0.1:90", "http://127.0.0.1", ""] {
        assert_eq!(bench().with("iss", iss).verify(), Err(NotVerified::Issuer), "{iss}");
    }
}

#[test]
fn another_audience() {
    for aud in [json!("https://api.example/"), json!(["https://other.example"]), json!([])] {
        assert_eq!(bench().with("aud", aud).verify(), Err(NotVerified::Audience));
    }
    assert_eq!(bench().with("aud", "https://api.example").verify(), Ok(()));
}

#[test]
fn a_tenant_that_is_not_served_here() {
    let mut bench = bench();
    bench.shared.tenants = ["globex", "acme-corp"].map(|id| id.parse().unwrap()).into();
    assert_eq!(bench.verify(), Err(NotVerified::Tenant));
    let bench = bench.with("tenant", "globex");
    assert_eq!(bench.verify(), Ok(()));
    let audience = "audience=https%3A%2F%2Fapi.example";
    let asked = query("https://api.example", &bench.shared.tenants);
    assert_eq!(asked, format!("{audience}&tenant=acme-corp&tenant=globex"));
    assert_eq!(query("https://api.example", &BTreeSet::new()), audience);
}

#[test]
fn a_token_after_its_end() {
    assert_eq!(bench().with("exp", NOW - SKEW).verify(), Err(NotVerified::Expired));
    let bench = bench().with("exp", NOW - SKEW + 1);
    assert_eq!(bench.verify(), Ok(()), "clocks differ");
    bench.shared.clock.advance(TimeDelta::seconds(1));
    assert_eq!(bench.verify(), Err(NotVerified::Expired), "also one that is remembered");
}

#[test]
fn a_token_of_the_future() {
    assert_eq!(bench().with("iat", NOW + SKEW + 1).verify(), Err(NotVerified::NotYetValid));
    assert_eq!(bench().with("iat", NOW + SKEW).verify(), Ok(()), "clocks differ");
}

#[test]
fn a_token_before_its_time() {
    assert_eq!(bench().with("nbf", NOW + SKEW + 1).verify(), Err(NotVerified::NotYetValid));
    assert_eq!(bench().with("nbf", NOW + SKEW).verify(), Ok(()), "clocks differ");
    assert_eq!(bench().with("nbf", "now").verify(), Err(NotVerified::Malformed));
}

#[test]
fn a_claim_that_is_missing_or_of_another_kind() {
    for name in bench().claims.as_object().unwrap().keys() {
        let bench = bench().with(name, Value::Null);
        let refused = bench.verify_as(&bench.token(), OnStale::Refuse);
        let permitted = name == "authorization_details";
        assert_eq!(refused.is_ok(), permitted, "{name}");
        if let Ok(verified) = refused {
            assert!(!verified.allows("get", &json!({ "cache": "c", "item": "i" })));
        }
    }
}

#[test]
fn an_opaque_token_is_for_introspection() {
    let token = crate::domain::token::write_opaque(1, b"sealed");
    assert_eq!(bench().verify_as(&token, OnStale::Allow).unwrap_err(), NotVerified::Opaque);
}

#[test]
fn a_revoked_token_is_refused_on_every_route() {
    let bench = bench();
    assert_eq!(bench.verify(), Ok(()));
    let entry = r#"{"position":8,"target":"tenant","value":"acme","at":1790000000,"expires_at":1790086400}"#;
    bench.hear(entry, "revocation");
    for on_stale in [OnStale::Refuse, OnStale::Allow] {
        let refused = bench.verify_as(&bench.token(), on_stale).unwrap_err();
        assert_eq!(refused, NotVerified::Revoked, "{on_stale:?}");
    }
    assert_eq!(bench.with("rev", 8).verify(), Ok(()), "one that was minted after");
}

#[test]
fn what_is_old_is_refused_where_the_route_does_not_allow_it() {
    let mut bench = bench();
    bench.shared.stale_after = Duration::ZERO;
    assert_eq!(bench.verify(), Err(NotVerified::Stale));
    let verified = bench.verify_as(&bench.token(), OnStale::Allow).unwrap();
    assert!(verified.is_stale());
    bench.shared.stale_after = Duration::from_secs(60);
    assert_eq!(bench.verify(), Ok(()));
    // Before anything was told to the end, too.
    bench.shared.known = RwLock::default();
    assert_eq!(bench.verify(), Err(NotVerified::Stale));
    assert!(bench.verify_as(&bench.token(), OnStale::Allow).unwrap().is_stale());
}

#[test]
fn a_key_that_was_taken_back_takes_its_tokens_with_it() {
    let mut bench = bench();
    assert_eq!(bench.verify(), Ok(()));
    bench.shared.keys = Keys::fetched(Vec::new());
    assert_eq!(bench.verify(), Err(NotVerified::UnknownKey));
}

#[test]
fn another_vocabulary_counts_at_once() {
    let mut bench = bench().with(
        "authorization_details",
        json!([{ "type": "lamp", "role": "guest", "lamp": { "all": true } }]),
    );
    let allowed = |bench: &Bench, action: &str| {
        let verified = bench.verify_as(&bench.token(), OnStale::Refuse).unwrap();
        verified.allows(action, &json!({ "lamp": "1" }))
    };
    assert!(!allowed(&bench, "look"), "no vocabulary is known");
    for (actions, look, switch) in
        [(json!(["look"]), true, false), (json!(["look", "switch"]), true, true)]
    {
        let vocabulary = json!({ "types": { "lamp": {
            "selectors": ["lamp"], "kind": "tenant",
            "actions": { "look": "lamp", "switch": "lamp" },
            "roles": { "guest": actions },
        } } });
        let vocabulary = serde_json::from_value(vocabulary).unwrap();
        bench.shared.vocabulary = KnownVocabulary::new(Some(vocabulary));
        assert_eq!((allowed(&bench, "look"), allowed(&bench, "switch")), (look, switch));
    }
}

#[test]
fn a_refusal_says_what_rfc_6750_says_and_nothing_of_the_token() {
    for (error, status, challenge) in [
        (NotVerified::Missing, 401, Some("Bearer realm=\"rolemint\"")),
        (NotVerified::Malformed, 401, Some("Bearer error=\"invalid_token\"")),
        (NotVerified::Stale, 503, None),
        (NotVerified::NoKeys, 503, None),
    ] {
        assert_eq!((error.status(), error.www_authenticate()), (status, challenge));
    }
    assert!(NotVerified::Revoked.www_authenticate().unwrap().contains("was revoked"));
}

#[test]
fn the_token_of_a_header() {
    assert_eq!(bearer(Some("Bearer abc")), Ok("abc"));
    assert_eq!(bearer(Some("bearer  abc ")), Ok("abc"));
    for header in [None, Some(""), Some("abc"), Some("Basic abc"), Some("Bearerabc")] {
        assert_eq!(bearer(header), Err(NotVerified::Missing), "{header:?}");
    }
}

fn settings(issuer: &str) -> Settings {
    Settings::new(issuer, "https://api.example", "api", Secret::new("secret".into()))
}

#[test]
fn what_cannot_work_does_not_start() {
    assert_eq!(Verifier::start(settings(ISSUER)).err(), Some(Misconfigured::NoRuntime));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _within = runtime.enter();
    for issuer in ["http://a.example", "127.0.0.1", "http://127.0.0.1:9/", "http://127.0.0.1:9?x=1"]
    {
        let refused = Verifier::start(settings(issuer)).err();
        assert_eq!(refused, Some(Misconfigured::Issuer), "{issuer}");
    }
    for reader in ["", "a b", "ä", &"x".repeat(65)] {
        let settings = Settings { reader: Some(reader.into()), ..settings(ISSUER) };
        assert_eq!(Verifier::start(settings).err(), Some(Misconfigured::Reader), "{reader}");
    }
    let every = Duration::from_secs(5);
    let settings = Settings { follow: Follow::Snapshot { every }, ..settings(ISSUER) };
    assert_eq!(Verifier::start(settings).err(), Some(Misconfigured::StaleAfter));
}

#[test]
fn it_stops_following_when_it_is_dropped() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let verifier = Verifier::start(settings(ISSUER)).unwrap();
        assert_eq!((verifier.position(), verifier.is_stale()), (None, true));
        let shared = Arc::downgrade(&verifier.0.shared);
        let clone = verifier.clone();
        drop(verifier);
        tokio::task::yield_now().await;
        assert!(shared.upgrade().is_some(), "a clone is left");
        drop(clone);
        while shared.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    });
}
