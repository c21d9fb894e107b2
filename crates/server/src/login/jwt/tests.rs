//! Tokens of the standards' examples, tokens of our own, and tokens of people who want in.

use columba_proto::Time;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair,
    },
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::json;

use super::*;

/// For tests alone.
const RSA: &str = include_str!("rsa_of_tests.pem");

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A Saturday.
const NOW: Moment = Moment { unix_s: 1_794_000_000.0, time: Time(5_000_000) };

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
    let signature = encoded(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn by_secret(header: &Value, claims: &Value) -> String {
    token(header, claims, |signed| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed).as_ref().into())
}

fn hs256(claims: &Value) -> String {
    by_secret(&json!({"alg": "HS256"}), claims)
}

/// Tokens by these keys.
fn tokens_with(keys: Keys, wanted: Jwt) -> Tokens {
    Tokens { wanted, keys: RwLock::new(Arc::new(keys)), fetched: None }
}

fn with_secret(wanted: Jwt) -> Tokens {
    let mut keys = Keys::default();
    keys.add_secret(SECRET).unwrap();
    tokens_with(keys, wanted)
}

fn with_set(set: &Value) -> Tokens {
    let mut keys = Keys::default();
    keys.add_set(set.to_string().as_bytes()).unwrap();
    tokens_with(keys, Jwt::default())
}

fn question(password: &str) -> Question {
    Question {
        user: "eve".into(),
        password: password.as_bytes().into(),
        peer: "10.0.0.1:1".into(),
        client_id: "c".into(),
        listener: 0,
    }
}

fn judged(tokens: &Tokens, password: &str) -> Verdict {
    match tokens.judge(&question(password), NOW) {
        Judged::Said(verdict) => verdict,
        Judged::AwaitsKeys => panic!("there are no others"),
    }
}

fn verdict(tokens: &Tokens, password: &str) -> String {
    match judged(tokens, password) {
        Verdict::Right(known) => format!("right: {}", known.user),
        Verdict::Wrong(_, why) => why.into(),
        Verdict::Pass => "pass".into(),
        Verdict::Unreachable => "unreachable".into(),
    }
}

#[test]
fn the_examples_of_the_standards_are_verified() {
    let set = json!({"keys": [
        {"kty": "oct", "kid": "a1", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"},
        {"kty": "RSA", "kid": "a2", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
        {"kty": "EC", "crv": "P-256", "kid": "a3", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
        {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    ]});
    let joe = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let tokens = with_set(&set);
    let keys = tokens.keys.read().unwrap();
    for (header, payload, signature) in [
        // RFC 7515, A.1 to A.3; RFC 8037, A.4.
        ("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", joe, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        (
            "eyJhbGciOiJSUzI1NiJ9",
            joe,
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        ("eyJhbGciOiJFUzI1NiJ9", joe, "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"),
        (
            "eyJhbGciOiJFZERTQSJ9",
            "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ] {
        let token = format!("{header}.{payload}.{signature}");
        let parts = Parts::of(&token).unwrap();
        let algorithm = Algorithm::of(&parts.header.alg).unwrap();
        let verify = |signed: &str, signature: &[u8]| keys.verify(algorithm, None, signed.as_bytes(), signature);
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert_eq!(verify(parts.signed, &signature), Some(true), "{algorithm:?}");
        let mut other = signature.clone();
        other[20] ^= 1;
        assert_eq!(verify(parts.signed, &other), Some(false), "{algorithm:?}");
        assert_eq!(verify(parts.signed, &signature[1..]), Some(false), "{algorithm:?}");
        assert_eq!(verify(&parts.signed.replace('J', "K"), &signature), Some(false), "{algorithm:?}");
    }
}

type Sign<'s> = Box<dyn Fn(&[u8]) -> Vec<u8> + 's>;

#[test]
fn every_algorithm_opens_by_its_own_key_and_by_no_other() {
    let chance = SystemRandom::new();
    let rsa = RsaKeyPair::from_pkcs8(PrivatePkcs8KeyDer::from_pem_slice(RSA.as_bytes()).unwrap().secret_pkcs8_der()).unwrap();
    let rsa_sign = |padding: &'static dyn ring::signature::RsaEncoding, signed: &[u8]| {
        let mut signature = vec![0; rsa.public().modulus_len()];
        rsa.sign(padding, &chance, signed, &mut signature).unwrap();
        signature
    };
    let ec =
        |kind| EcdsaKeyPair::from_pkcs8(kind, EcdsaKeyPair::generate_pkcs8(kind, &chance).unwrap().as_ref(), &chance).unwrap();
    let (p256, p384) = (ec(&ECDSA_P256_SHA256_FIXED_SIGNING), ec(&ECDSA_P384_SHA384_FIXED_SIGNING));
    let ed = Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&chance).unwrap().as_ref()).unwrap();
    let components = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(rsa.public());
    let point = |pair: &EcdsaKeyPair, crv: &str| {
        let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
        json!({"keys": [{"kty": "EC", "crv": crv, "x": encoded(x), "y": encoded(y)}]})
    };
    let sets = [
        json!({"keys": [{"kty": "oct", "k": encoded(SECRET)}]}),
        json!({"keys": [{"kty": "RSA", "n": encoded(&components.n), "e": encoded(&components.e)}]}),
        point(&p256, "P-256"),
        point(&p384, "P-384"),
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": encoded(ed.public_key())}]}),
    ];
    let by_hmac = |kind, signed: &[u8]| hmac::sign(&hmac::Key::new(kind, SECRET), signed).as_ref().to_vec();
    let signers: [(&str, usize, Sign<'_>); 12] = [
        ("HS256", 0, Box::new(|signed| by_hmac(hmac::HMAC_SHA256, signed))),
        ("HS384", 0, Box::new(|signed| by_hmac(hmac::HMAC_SHA384, signed))),
        ("HS512", 0, Box::new(|signed| by_hmac(hmac::HMAC_SHA512, signed))),
        ("RS256", 1, Box::new(|signed| rsa_sign(&RSA_PKCS1_SHA256, signed))),
        ("RS384", 1, Box::new(|signed| rsa_sign(&RSA_PKCS1_SHA384, signed))),
        ("RS512", 1, Box::new(|signed| rsa_sign(&RSA_PKCS1_SHA512, signed))),
        ("PS256", 1, Box::new(|signed| rsa_sign(&RSA_PSS_SHA256, signed))),
        ("PS384", 1, Box::new(|signed| rsa_sign(&RSA_PSS_SHA384, signed))),
        ("PS512", 1, Box::new(|signed| rsa_sign(&RSA_PSS_SHA512, signed))),
        ("ES256", 2, Box::new(|signed| p256.sign(&chance, signed).unwrap().as_ref().into())),
        ("ES384", 3, Box::new(|signed| p384.sign(&chance, signed).unwrap().as_ref().into())),
        ("EdDSA", 4, Box::new(|signed| ed.sign(signed).as_ref().into())),
    ];
    for (alg, own, sign) in &signers {
        let token = token(&json!({"alg": alg}), &json!({"sub": "gate"}), sign);
        for (index, set) in sets.iter().enumerate() {
            let expected = if index == *own { "right: gate" } else { "the token's signature is by none of the keys" };
            assert_eq!(verdict(&with_set(set), &token), expected, "{alg} {index}");
        }
        // A key that is for another algorithm is not for this one, though it could.
        let mut set = sets[*own].clone();
        set["keys"][0]["alg"] = json!(alg);
        assert_eq!(verdict(&with_set(&set), &token), "right: gate", "{alg}");
        set["keys"][0]["alg"] = json!(if *alg == "RS256" { "PS256" } else { "RS256" });
        assert_eq!(verdict(&with_set(&set), &token), "the token's signature is by none of the keys", "{alg}");
    }
}

#[test]
fn nobody_gets_in_by_a_token_that_says_itself_how_to_verify_it() {
    let tokens = with_secret(Jwt::default());
    let claims = json!({"sub": "root"});
    let unknown = "the token is signed by no algorithm that is known here";
    for alg in ["none", "None", "NONE", "nOnE", "", "HS1", "ES256K", "ES512", "RSA-OAEP", "dir"] {
        assert_eq!(verdict(&tokens, &token(&json!({"alg": alg}), &claims, |_| Vec::new())), unknown, "{alg}");
        assert_eq!(verdict(&tokens, &by_secret(&json!({"alg": alg}), &claims)), unknown, "{alg}");
    }
    // With a key of the attacker's own along.
    let own = b"attacker attacker attacker attacker attacker";
    let by_own = |header: &Value| {
        token(header, &claims, |signed| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, own), signed).as_ref().into())
    };
    let jwk = json!({"kty": "oct", "k": encoded(own)});
    for header in [
        json!({"alg": "HS256", "jwk": jwk}),
        json!({"alg": "HS256", "jku": "http://127.0.0.1:1/keys"}),
        json!({"alg": "HS256", "x5u": "http://127.0.0.1:1/keys", "x5c": ["AAAA"]}),
    ] {
        assert_eq!(verdict(&tokens, &by_own(&header)), "the token's signature is by none of the keys", "{header}");
        // They do not matter either where the token is good.
        assert_eq!(verdict(&tokens, &by_secret(&header, &claims)), "right: root", "{header}");
    }
    for header in [json!({"alg": "HS256", "crit": ["b64"], "b64": false}), json!({"alg": "HS256", "crit": []})] {
        assert_eq!(verdict(&tokens, &by_secret(&header, &claims)), "the token has extensions that are not understood");
    }
    // An empty signature, one of another token, a signature that goes on.
    let good = hs256(&claims);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    for (text, expected) in [
        (format!("{signed}."), "the token's signature is by none of the keys"),
        (format!("{signed}.{}", &signature[..20]), "the token's signature is by none of the keys"),
        (format!("{signed}.{}", &signature[..21]), "the token's signature is none"),
        (format!("{signed}.{signature}AAAA"), "the token's signature is by none of the keys"),
        (
            format!("{}.{signature}", hs256(&json!({"sub": "other"})).rsplit_once('.').unwrap().0),
            "the token's signature is by none of the keys",
        ),
        (format!("{good}."), "pass"),
        (format!("{good}\0"), "pass"),
        (format!(" {good}"), "pass"),
    ] {
        assert_eq!(verdict(&tokens, &text), expected, "{text}");
    }
    // A name twice in the header could mean one thing here and another elsewhere.
    let twice = format!("{}.{}", encoded(r#"{"alg":"none","alg":"HS256"}"#), encoded(claims.to_string()));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), twice.as_bytes());
    assert_eq!(verdict(&tokens, &format!("{twice}.{}", encoded(signature))), "pass");
}

#[test]
fn a_public_key_is_never_a_secret() {
    let rsa = RsaKeyPair::from_pkcs8(PrivatePkcs8KeyDer::from_pem_slice(RSA.as_bytes()).unwrap().secret_pkcs8_der()).unwrap();
    let components = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(rsa.public());
    let set = json!({"keys": [{"kty": "RSA", "n": encoded(&components.n), "e": encoded(&components.e)}]});
    let tokens = with_set(&set);
    for public in [rsa.public().as_ref(), &components.n, set["keys"][0]["n"].as_str().unwrap().as_bytes(), b""] {
        let forged = token(&json!({"alg": "HS256"}), &json!({"sub": "root"}), |signed| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, public), signed).as_ref().into()
        });
        assert_eq!(verdict(&tokens, &forged), "the token's signature is by none of the keys");
    }
    let mut keys = Keys::default();
    let pem =
        "\n-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    assert_eq!(keys.add_secret(pem.as_bytes()), Err(KeyError::NoSecret));
    assert_eq!(keys.add_pem(RSA.as_bytes()), Err(KeyError::Private));
    assert_eq!(keys.add_pem(pem.as_bytes()), Ok(()));
}

#[test]
fn what_is_no_token_is_left_to_others_and_a_huge_one_is_not_looked_at() {
    let tokens = with_secret(Jwt::default());
    for password in ["", "pencil", "a.b.c", "ey.ey.ey", "eyJ.eyJ", "...", "ey..", "eyJhbGciOiJub25lIn0.e30", "ey\u{e9}.a.b"] {
        assert_eq!(verdict(&tokens, password), "pass", "{password}");
    }
    let deep = format!("{}.{}.", encoded(r#"{"alg":"HS256"}"#), encoded("[".repeat(8_000)));
    assert_eq!(verdict(&tokens, &deep), "the token's signature is by none of the keys");
    let huge = hs256(&json!({"sub": "gate", "more": "x".repeat(13_000)}));
    assert_eq!(verdict(&tokens, &huge), "a token of more than 16 KiB");
    assert_eq!(verdict(&tokens, &hs256(&json!({"sub": "gate", "more": "x".repeat(10_000)}))), "right: gate");
    // Signed and yet nonsense: an object in an object in an object.
    let signed = format!("{}.{}", encoded(r#"{"alg":"HS256"}"#), encoded("{\"a\":".repeat(2_000)));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    assert_eq!(verdict(&tokens, &format!("{signed}.{}", encoded(signature))), "the token's claims are none");
}

#[test]
fn a_token_is_good_in_its_time() {
    let leeway = Duration::from_secs(30);
    let stays = with_secret(Jwt { leeway, at_expiry: AtExpiry::Stay, ..Jwt::default() });
    let ends = with_secret(Jwt { leeway, ..Jwt::default() });
    let now = 1_794_000_000_i64;
    let (early, late) = ("the token is not good yet", "the token has expired");
    for (claims, expected, left_ms) in [
        (json!({"exp": now + 60}), "right: gate", Some(90_000)),
        (json!({"exp": now - 29}), "right: gate", Some(1_000)),
        (json!({"exp": now - 30}), late, None),
        (json!({"exp": 0}), late, None),
        (json!({"exp": -1e300}), late, None),
        (json!({"exp": NOW.unix_s + 0.5}), "right: gate", Some(30_500)),
        (json!({"nbf": now + 30}), "right: gate", None),
        (json!({"nbf": now + 31}), early, None),
        (json!({"nbf": now, "exp": now + 10}), "right: gate", Some(40_000)),
        (json!({"exp": "tomorrow"}), "the token has a time that is none", None),
        (json!({"exp": null}), "the token has a time that is none", None),
        (json!({"nbf": [now]}), "the token has a time that is none", None),
    ] {
        let mut claims = claims;
        claims["sub"] = json!("gate");
        let token = hs256(&claims);
        assert_eq!(verdict(&ends, &token), expected, "{claims}");
        let until = |tokens: &Tokens| match judged(tokens, &token) {
            Verdict::Right(known) => known.until,
            Verdict::Wrong(..) | Verdict::Pass | Verdict::Unreachable => None,
        };
        assert_eq!(until(&ends), left_ms.map(|ms| NOW.time.plus_ms(ms)), "{claims}");
        assert_eq!(until(&stays), None, "{claims}");
    }
    // Further away than anybody counts.
    assert!(matches!(judged(&ends, &hs256(&json!({"sub": "a", "exp": 1e300}))), Verdict::Right(_)));
}

#[test]
fn a_token_is_for_us_and_by_whom_we_trust() {
    let wanted = Jwt { issuers: vec!["https://a".into(), "https://b".into()], audiences: vec!["mqtt".into()], ..Jwt::default() };
    let tokens = with_secret(wanted);
    let (issuer, audience) = ("the token is of another issuer", "the token is for another audience");
    for (claims, expected) in [
        (json!({"iss": "https://b", "aud": "mqtt"}), "right: gate"),
        (json!({"iss": "https://a", "aud": ["web", "mqtt"]}), "right: gate"),
        (json!({"iss": "https://c", "aud": "mqtt"}), issuer),
        (json!({"iss": ["https://a"], "aud": "mqtt"}), issuer),
        (json!({"aud": "mqtt"}), issuer),
        (json!({"iss": "https://a", "aud": "web"}), audience),
        (json!({"iss": "https://a", "aud": []}), audience),
        (json!({"iss": "https://a"}), audience),
    ] {
        let mut claims = claims;
        claims["sub"] = json!("gate");
        assert_eq!(verdict(&tokens, &hs256(&claims)), expected, "{claims}");
    }
}

#[test]
fn a_token_says_who_it_is_and_what_that_may_do() {
    let plain = with_secret(Jwt::default());
    let strict = Jwt {
        user_name: UserName::Same,
        client_id_claim: Some("client".into()),
        username_claim: "name".into(),
        ..Jwt::default()
    };
    let strict = with_secret(strict);
    for (tokens, claims, expected) in [
        (&plain, json!({"sub": "gate"}), "right: gate"),
        (&plain, json!({}), "the token names no user"),
        (&plain, json!({"sub": ""}), "the token names no user"),
        (&plain, json!({"sub": 7}), "the token names no user"),
        (&plain, json!({"sub": "a\nINFO client connected"}), "the token names no user"),
        (&plain, json!({"sub": "x".repeat(1_025)}), "the token names no user"),
        (&plain, json!({"sub": "gate", "acl": "everything"}), "the token has rules that are not understood"),
        (&strict, json!({"name": "eve", "client": "c"}), "right: eve"),
        (&strict, json!({"name": "bob", "client": "c"}), "the token is for another user name"),
        (&strict, json!({"name": "eve", "client": "d"}), "the token is for another client identifier"),
        (&strict, json!({"name": "eve"}), "the token is for another client identifier"),
        (&strict, json!({"sub": "eve", "client": "c"}), "the token names no user"),
    ] {
        assert_eq!(verdict(tokens, &hs256(&claims)), expected, "{claims}");
    }
    let Verdict::Right(known) = judged(&plain, &hs256(&json!({"sub": "gate", "acl": {"pub": ["a"]}}))) else {
        panic!("it is good")
    };
    assert!(known.rules.is_some() && known.version.is_none());
}

#[test]
fn a_token_that_names_a_key_is_held_against_that_one() {
    let other = b"another one another one another one another one";
    let set = json!({"keys": [
        {"kty": "oct", "kid": "old", "k": encoded(other)},
        {"kty": "oct", "kid": "new", "k": encoded(SECRET)},
        {"kty": "oct", "kid": "for secrets", "use": "enc", "k": encoded(SECRET)},
        {"kty": "oct", "kid": "for signing", "key_ops": ["sign"], "k": encoded(SECRET)},
        {"kty": "oct", "kid": "short", "k": encoded("short")},
        {"kty": "what", "kid": "unknown"},
        "nothing",
    ]});
    let tokens = with_set(&set);
    for (kid, expected) in [
        (json!("new"), "right: gate"),
        (json!(null), "right: gate"),
        (json!("old"), "the token's signature is by none of the keys"),
        (json!("for secrets"), "the token names a key that is not there"),
        (json!("for signing"), "the token names a key that is not there"),
        (json!("short"), "the token names a key that is not there"),
        (json!("../../etc/passwd"), "the token names a key that is not there"),
    ] {
        let token = by_secret(&json!({"alg": "HS256", "kid": kid}), &json!({"sub": "gate"}));
        assert_eq!(verdict(&tokens, &token), expected, "{kid}");
    }
}

#[test]
fn keys_that_do_not_do_are_named() {
    let set = |text: &str| Keys::default().add_set(text.as_bytes());
    assert_eq!(set("{}"), Err(KeyError::Set));
    assert_eq!(set("[]"), Err(KeyError::Set));
    assert_eq!(set(r#"{"keys": []}"#), Err(KeyError::None));
    assert_eq!(set(r#"{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}"#), Err(KeyError::None), "a weak one");
    let many: Vec<_> = (0..101).map(|_| json!({"kty": "oct", "k": encoded(SECRET)})).collect();
    assert_eq!(set(&json!({"keys": many}).to_string()), Err(KeyError::Much));
    assert_eq!(Keys::default().add_secret(b"emqxsecret\n"), Err(KeyError::Short));
    assert_eq!(Keys::default().add_pem(b"nothing"), Err(KeyError::Pem));
    assert_eq!(Keys::default().add_pem(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), Err(KeyError::None));
}

#[test]
fn keys_are_read_from_public_keys_and_certificates_of_each_kind() {
    for kind in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256] {
        let pair = if *kind == rcgen::PKCS_RSA_SHA256 {
            rcgen::KeyPair::from_pem(RSA).unwrap()
        } else {
            rcgen::KeyPair::generate_for(kind).unwrap()
        };
        let certificate = rcgen::CertificateParams::default().self_signed(&pair).unwrap();
        for pem in [pair.public_key_pem(), certificate.pem()] {
            assert_eq!(Keys::default().add_pem(pem.as_bytes()), Ok(()), "{kind:?} {pem}");
        }
    }
}

#[test]
fn a_bad_file_of_keys_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, SECRET).unwrap();
    let tokens = Tokens::open(&Jwt { secret_file: Some(path.clone()), ..Jwt::default() }, None).unwrap().unwrap();
    let good = hs256(&json!({"sub": "gate"}));
    assert_eq!(verdict(&tokens, &good), "right: gate");

    std::fs::write(&path, "short").unwrap();
    let said = tokens.read_again().unwrap_err().to_string();
    assert!(said.ends_with("secret: a secret of fewer than 32 bytes (RFC 7518, 3.2)"), "{said}");
    assert_eq!(verdict(&tokens, &good), "right: gate");
    std::fs::write(&path, b"another one another one another one another one").unwrap();
    tokens.read_again().unwrap();

    assert_eq!(verdict(&tokens, &good), "the token's signature is by none of the keys");
}
