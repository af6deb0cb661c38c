//! Users whom a token of the surrounding app names, and every token that is not good.

use std::path::Path;
use std::time::Duration;

use axum::http::StatusCode;
use jsonwebtoken::{Algorithm, Header};
use serde_json::{Value, json};
use testkit::ws_client::{PATIENCE, WsClient};

use crate::gateway::{Gateway, done, say};
use crate::identity::{body, me, upgrade};
use crate::issuer::{
    AUDIENCE, Publisher, SigningKey, claims, in_seconds, set_of, sign_with, sign_with_secret,
};

const SECRET: &str = "a-secret-of-the-app-0123456789abcdef";

async fn with_secret(more: &[(&str, &str)]) -> Gateway {
    let settings = [
        ("GATEWAY_AUTH", "jwt"),
        ("GATEWAY_JWT_SECRET", SECRET),
        ("GATEWAY_JWT_AUDIENCE", AUDIENCE),
    ];
    Gateway::start_with(&[&settings, more].concat()).await
}

async fn with_keys(variable: &str, place: &str) -> Gateway {
    let settings = [
        ("GATEWAY_AUTH", "jwt"),
        (variable, place),
        ("GATEWAY_JWT_AUDIENCE", AUDIENCE),
    ];
    Gateway::start_with(&settings).await
}

fn signed(claims: &Value) -> String {
    sign_with_secret(SECRET.as_bytes(), claims)
}

/// The status that this token gets as a bearer.
async fn status(gateway: &Gateway, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    me(gateway, &[("authorization", &bearer)])
        .await
        .status()
        .as_u16()
}

/// Asks again and again until this token gets this status.
async fn until(gateway: &Gateway, token: &str, expected: u16) {
    let asking = async {
        while status(gateway, token).await != expected {
            tokio::task::yield_now().await;
        }
    };
    let asked = tokio::time::timeout(PATIENCE, asking).await;
    assert!(asked.is_ok(), "the token never got {expected}");
}

fn write(path: &Path, set: &Value) {
    std::fs::write(path, set.to_string()).unwrap();
}

#[tokio::test]
async fn a_token_names_the_user_as_bearer_and_as_cookie() {
    let gateway = with_secret(&[("GATEWAY_JWT_COOKIE", "app_session")]).await;
    let token = signed(&claims("user-7"));
    let bearer = format!("bearer {token}");
    let cookie = format!("theme=dark; app_session={token}");
    let by_bearer = body(me(&gateway, &[("authorization", &bearer)]).await).await;
    let id = by_bearer["id"].as_str().unwrap();
    assert_eq!(by_bearer, json!({"id": id, "name": "Ada Lovelace"}));
    assert!(id.starts_with("u-") && !id.contains("user-7"), "{id}");
    let by_cookie = me(&gateway, &[("cookie", &cookie)]).await;
    assert!(!by_cookie.headers().contains_key("set-cookie"));
    assert_eq!(body(by_cookie).await, by_bearer);
    // A proxy in front may have its own password.
    let basic = [("authorization", "Basic dTpw"), ("cookie", &*cookie)];
    assert_eq!(body(me(&gateway, &basic).await).await, by_bearer);

    let mut socket = WsClient::connect_with(&gateway.chat_url(), &[("cookie", &cookie)])
        .await
        .unwrap();
    say(&mut socket, "Hello").await;
    assert_eq!(socket.collect_answer().await.unwrap().1, done());
    let asked = gateway.llama.request_started(0).await;
    assert_eq!(asked.headers["x-corral-user"], id);
}

/// A token of these claims, but for one.
fn changed(claims: &Value, name: &str, value: Value) -> String {
    let mut claims = claims.clone();
    claims[name] = value;
    signed(&claims)
}

fn without(claims: &Value, name: &str) -> String {
    let mut claims = claims.clone();
    claims.as_object_mut().unwrap().remove(name);
    signed(&claims)
}

#[tokio::test]
async fn a_token_that_is_not_good_names_nobody() {
    let gateway = with_secret(&[("GATEWAY_JWT_ISSUER", "https://app.example")]).await;
    let good = json!({
        "sub": "user-7", "aud": AUDIENCE, "iss": "https://app.example", "exp": in_seconds(600),
    });
    assert_eq!(status(&gateway, &signed(&good)).await, 200);
    let token = signed(&good);
    let parts: Vec<&str> = token.split('.').collect();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let hs512 = "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9";
    let key = SigningKey::new("k", Algorithm::ES256);
    let critical = Header {
        crit: Some(vec!["b64".to_owned()]),
        ..Header::default()
    };
    for (why, token) in [
        ("no token", String::new()),
        ("not a token", "hello".to_owned()),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("four parts", format!("{token}.{}", parts[2])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("alg none", format!("{none}.{}.", parts[1])),
        (
            "alg none, signed",
            format!("{none}.{}.{}", parts[1], parts[2]),
        ),
        ("another alg", format!("{hs512}.{}.{}", parts[1], parts[2])),
        ("a public key's alg", key.sign(&good)),
        (
            "an extension",
            sign_with(&critical, SECRET.as_bytes(), &good),
        ),
        ("another secret", sign_with_secret(&[b'x'; 32], &good)),
        ("an empty secret", sign_with_secret(b"", &good)),
        ("expired", changed(&good, "exp", in_seconds(-31).into())),
        ("no end", without(&good, "exp")),
        ("an end in words", changed(&good, "exp", "tomorrow".into())),
        ("an end beyond time", changed(&good, "exp", json!(1e300))),
        ("a negative end", changed(&good, "exp", (-1).into())),
        ("not yet good", changed(&good, "nbf", in_seconds(60).into())),
        ("for another", changed(&good, "aud", "wiki".into())),
        ("for others", changed(&good, "aud", json!(["wiki", "mail"]))),
        ("for nobody", without(&good, "aud")),
        (
            "of another issuer",
            changed(&good, "iss", "https://evil.example".into()),
        ),
        ("of no issuer", without(&good, "iss")),
        ("no user", without(&good, "sub")),
        ("an empty user", changed(&good, "sub", "".into())),
        ("a number as user", changed(&good, "sub", 7.into())),
        ("a long user", changed(&good, "sub", "x".repeat(257).into())),
        ("a long id", changed(&good, "jti", "x".repeat(257).into())),
        (
            "a huge token",
            changed(&good, "padding", "x".repeat(7000).into()),
        ),
    ] {
        assert_eq!(status(&gateway, &token).await, 401, "{why}");
    }
    for (why, token) in [
        (
            "one of its audiences",
            changed(&good, "aud", json!(["wiki", AUDIENCE])),
        ),
        (
            "a moment over",
            changed(&good, "exp", in_seconds(-10).into()),
        ),
        (
            "an end with a fraction",
            changed(&good, "exp", json!(4e9 + 0.5)),
        ),
        (
            "no name that can be shown",
            changed(&good, "name", json!({"first": "Ada"})),
        ),
    ] {
        assert_eq!(status(&gateway, &token).await, 200, "{why}");
    }
}

#[tokio::test]
async fn a_request_with_two_tokens_or_one_in_its_address_names_nobody() {
    let gateway = with_secret(&[("GATEWAY_JWT_COOKIE", "app_session")]).await;
    let one = signed(&claims("one"));
    let two = signed(&claims("two"));
    let cookies = format!("app_session={one}; app_session={two}");
    assert_eq!(me(&gateway, &[("cookie", &cookies)]).await.status(), 401);
    let bearer = format!("Bearer {one}");
    let twice = [("authorization", &*bearer), ("authorization", &*bearer)];
    assert_eq!(me(&gateway, &twice).await.status(), 401);
    assert_eq!(upgrade(&gateway, &[]).await.status(), 401);
    for query in ["token", "access_token", "jwt", "ticket", "app_session"] {
        let path = format!("/api/v1/me?{query}={one}");
        assert_eq!(gateway.get(&path).await.status(), 401, "{query}");
    }
    // The cookie has a name only if the operator gave it one.
    let gateway = with_secret(&[]).await;
    let cookie = format!("app_session={one}");
    assert_eq!(me(&gateway, &[("cookie", &cookie)]).await.status(), 401);
}

#[tokio::test]
async fn a_token_may_be_signed_with_any_key_that_its_issuer_publishes() {
    let rsa = SigningKey::new("rsa", Algorithm::RS256);
    let ec = SigningKey::new("ec", Algorithm::ES256);
    let ed = SigningKey::new("ed", Algorithm::EdDSA);
    let mut set = set_of(&[&rsa, &ec, &ed]);
    let keys = set["keys"].as_array_mut().unwrap();
    keys.push(json!({"kty": "oct", "kid": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXg"}));
    keys.push(json!({"kty": "PQC", "kid": "new", "alg": "ML-DSA-65"}));
    let issuer = Publisher::start(&set).await;
    let gateway = with_keys("GATEWAY_JWKS_URL", &issuer.url()).await;
    for key in [&rsa, &ec, &ed] {
        let token = key.sign(&claims("user-7"));
        assert_eq!(status(&gateway, &token).await, 200, "{}", key.id);
    }
    let unknown = SigningKey::new("unknown", Algorithm::ES256);
    let posing = SigningKey::new("ec", Algorithm::ES256);
    let public = ec.public();
    let n = rsa.public()["n"].as_str().unwrap().to_owned();
    let x = public["x"].as_str().unwrap().to_owned();
    for (why, token) in [
        ("an unknown key", unknown.sign(&claims("user-7"))),
        (
            "another key under a known name",
            posing.sign(&claims("user-7")),
        ),
        (
            "a public key as secret",
            sign_with_secret(n.as_bytes(), &claims("user-7")),
        ),
        (
            "a part of a public key as secret",
            sign_with_secret(x.as_bytes(), &claims("user-7")),
        ),
        (
            "a secret of the set",
            sign_with_secret(b"secret-secret-secret-secret-x", &claims("user-7")),
        ),
    ] {
        assert_eq!(status(&gateway, &token).await, 401, "{why}");
    }
    assert_eq!(issuer.n_asked(), 1);
}

#[tokio::test]
async fn a_key_that_the_issuer_has_changed_is_fetched_when_a_token_names_it() {
    let old = SigningKey::new("old", Algorithm::ES256);
    let new = SigningKey::new("new", Algorithm::ES256);
    let issuer = Publisher::start(&set_of(&[&old])).await;
    let gateway = with_keys("GATEWAY_JWKS_URL", &issuer.url()).await;
    let by_old = old.sign(&claims("user-7"));
    let by_new = new.sign(&claims("user-7"));
    assert_eq!(status(&gateway, &by_old).await, 200);
    issuer.publish(&set_of(&[&new]));
    // A stranger's tokens do not make the gateway ask the issuer without end.
    for _ in 0..10 {
        assert_eq!(status(&gateway, &by_new).await, 401);
    }
    assert_eq!(issuer.n_asked(), 1);
    half_a_minute().await;
    assert_eq!(status(&gateway, &by_new).await, 200);
    assert_eq!(status(&gateway, &by_old).await, 401);
    assert_eq!(issuer.n_asked(), 2);
}

/// Moves the clock on.
async fn half_a_minute() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn an_issuer_that_fails_takes_no_key_away() {
    let key = SigningKey::new("key", Algorithm::ES256);
    let other = SigningKey::new("other", Algorithm::ES256);
    let issuer = Publisher::start(&set_of(&[&key])).await;
    let gateway = with_keys("GATEWAY_JWKS_URL", &issuer.url()).await;
    let token = key.sign(&claims("user-7"));
    assert_eq!(status(&gateway, &token).await, 200);
    let huge = json!({"keys": set_of(&[&other])["keys"], "padding": "x".repeat(300 * 1024)});
    let many = json!({"keys": vec![other.public(); 65]});
    for (n_asked, (status_code, answer)) in [
        (StatusCode::INTERNAL_SERVER_ERROR, set_of(&[&other])),
        (StatusCode::OK, json!("nonsense")),
        (StatusCode::OK, json!({"keys": []})),
        (StatusCode::OK, huge),
        (StatusCode::OK, many),
    ]
    .into_iter()
    .enumerate()
    {
        issuer.answer(status_code, &answer.to_string());
        half_a_minute().await;
        assert_eq!(status(&gateway, &other.sign(&claims("user-7"))).await, 401);
        assert!(issuer.n_asked() >= n_asked + 2, "it was not asked");
        assert_eq!(status(&gateway, &token).await, 200, "{n_asked}");
    }
    issuer.publish(&set_of(&[&other]));
    half_a_minute().await;
    assert_eq!(status(&gateway, &other.sign(&claims("user-7"))).await, 200);
}

#[tokio::test]
async fn an_issuer_that_is_up_later_than_the_gateway_is_asked_again() {
    let key = SigningKey::new("key", Algorithm::ES256);
    let issuer = Publisher::start(&json!({})).await;
    issuer.answer(StatusCode::SERVICE_UNAVAILABLE, "");
    let gateway = with_keys("GATEWAY_JWKS_URL", &issuer.url()).await;
    let token = key.sign(&claims("user-7"));
    assert_eq!(status(&gateway, &token).await, 401);
    issuer.publish(&set_of(&[&key]));
    until(&gateway, &token, 200).await;
}

#[tokio::test]
async fn a_file_of_keys_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let old = SigningKey::new("old", Algorithm::EdDSA);
    let new = SigningKey::new("new", Algorithm::EdDSA);
    let by_old = old.sign(&claims("user-7"));
    let by_new = new.sign(&claims("user-7"));
    write(&path, &set_of(&[&old]));
    let gateway = with_keys("GATEWAY_JWKS_FILE", path.to_str().unwrap()).await;
    assert_eq!(status(&gateway, &by_old).await, 200);
    assert_eq!(status(&gateway, &by_new).await, 401);
    write(&path, &set_of(&[&old, &new]));
    until(&gateway, &by_new, 200).await;
    write(&path, &set_of(&[&new]));
    until(&gateway, &by_old, 401).await;
    assert_eq!(status(&gateway, &by_new).await, 200);
    // What is no set of keys takes none away.
    write(&path, &json!({"keys": "later"}));
    std::fs::remove_file(&path).unwrap();
    half_a_minute().await;
    assert_eq!(status(&gateway, &by_new).await, 200);
}

#[tokio::test]
async fn a_token_without_the_name_of_its_key_is_good_when_one_key_fits() {
    let one = SigningKey::new("one", Algorithm::ES256);
    let two = SigningKey::new("two", Algorithm::ES256);
    let rsa = SigningKey::new("rsa", Algorithm::RS256);
    let issuer = Publisher::start(&set_of(&[&one, &rsa])).await;
    let gateway = with_keys("GATEWAY_JWKS_URL", &issuer.url()).await;
    assert_eq!(
        status(&gateway, &one.sign_without_id(&claims("user-7"))).await,
        200
    );
    let issuer = Publisher::start(&set_of(&[&one, &two])).await;
    let gateway = with_keys("GATEWAY_JWKS_URL", &issuer.url()).await;
    assert_eq!(
        status(&gateway, &one.sign_without_id(&claims("user-7"))).await,
        401
    );
}
