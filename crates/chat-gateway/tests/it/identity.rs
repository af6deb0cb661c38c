//! Who somebody is: anonymous by a signed cookie, or named by a trusted proxy.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use testkit::ws_client::{Refused, WsClient};

use crate::gateway::{Gateway, done, say};
use crate::issuer::sign_with_secret;

const PROXIES: (&str, &str) = ("GATEWAY_TRUSTED_PROXIES", "127.0.0.0/8");
const BY_HEADER: (&str, &str) = ("GATEWAY_AUTH", "header");

/// Who the gateway says sends these fields.
pub(crate) async fn me(gateway: &Gateway, headers: &[(&str, &str)]) -> reqwest::Response {
    let url = format!("http://{}/api/v1/me", gateway.public);
    let mut request = reqwest::Client::new().get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

pub(crate) async fn body(response: reqwest::Response) -> Value {
    response.json().await.unwrap()
}

fn set_cookies(headers: &HeaderMap) -> Vec<&str> {
    let cookies = headers.get_all("set-cookie").iter();
    cookies.map(|cookie| cookie.to_str().unwrap()).collect()
}

/// What a browser sends back, and the cookie's attributes.
fn cookie(response: &reqwest::Response) -> (String, String) {
    let cookies = set_cookies(response.headers());
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    let (pair, attributes) = cookies[0].split_once("; ").unwrap();
    (pair.to_owned(), attributes.to_owned())
}

/// The answer to an upgrade with these fields.
pub(crate) async fn upgrade(gateway: &Gateway, headers: &[(&str, &str)]) -> reqwest::Response {
    let url = format!("http://{}/api/v1/ws/chat", gateway.public);
    let mut request = reqwest::Client::new().get(url);
    let handshake = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ];
    for (name, value) in handshake.iter().chain(headers) {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// The gateway after a restart.
async fn restarted(gateway: Gateway) -> Gateway {
    gateway.shutdown.finish(Duration::from_secs(5)).await;
    Gateway::keeping(gateway.data, gateway.llama, &[]).await
}

async fn is_secure(gateway: &Gateway, scheme: &str) -> bool {
    let (_, attributes) = cookie(&me(gateway, &[("x-forwarded-proto", scheme)]).await);
    attributes
        .split("; ")
        .any(|attribute| attribute == "Secure")
}

/// The id that the upgrade's answer has, when the request had this one.
async fn id_after(gateway: &Gateway, id: &str) -> String {
    let answer = upgrade(gateway, &[("x-request-id", id)]).await;
    answer.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_browser_stays_the_same_user_also_after_a_restart() {
    let gateway = Gateway::start().await;
    let first = me(&gateway, &[]).await;
    assert_eq!(first.headers()["cache-control"], "no-store");
    let (pair, attributes) = cookie(&first);
    assert!(pair.starts_with("corral_user="), "{pair}");
    assert_eq!(
        attributes,
        "HttpOnly; SameSite=Lax; Path=/; Max-Age=31536000"
    );
    let first = body(first).await;
    assert_eq!(first, json!({"id": first["id"]}));

    let again = me(&gateway, &[("cookie", &format!("theme=dark; {pair}"))]).await;
    assert_eq!(set_cookies(again.headers()), Vec::<&str>::new());
    assert_eq!(body(again).await, first);
    assert_ne!(body(me(&gateway, &[]).await).await, first);

    let key = gateway.data.path().join("cookie.key");
    let kept = std::fs::metadata(&key).unwrap();
    assert_eq!((kept.len(), kept.permissions().mode() & 0o777), (32, 0o600));
    let kept = std::fs::read_dir(gateway.data.path()).unwrap();
    let kept = kept.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let kept: Vec<String> = kept.filter(|name| name.starts_with("cookie")).collect();
    assert_eq!(kept, ["cookie.key"]);
    let restarted = restarted(gateway).await;
    let again = me(&restarted, &[("cookie", &pair)]).await;
    assert_eq!(set_cookies(again.headers()), Vec::<&str>::new());
    assert_eq!(body(again).await, first);
}

#[tokio::test]
async fn a_socket_without_a_cookie_works_and_is_given_one() {
    let gateway = Gateway::start().await;
    let opened = upgrade(&gateway, &[]).await;
    assert_eq!(opened.status(), 101);
    let (pair, _) = cookie(&opened);
    let again = upgrade(&gateway, &[("cookie", &pair)]).await;
    assert_eq!(again.status(), 101);
    assert_eq!(set_cookies(again.headers()), Vec::<&str>::new());
    let mut socket = gateway.chat().await;
    say(&mut socket, "Hello").await;
    assert_eq!(socket.collect_answer().await.unwrap().1, done());
}

#[tokio::test]
async fn the_cookie_is_for_https_alone_when_a_trusted_proxy_says_https() {
    let gateway = Gateway::start_with(&[PROXIES]).await;
    assert!(is_secure(&gateway, "https").await);
    assert!(is_secure(&gateway, "https, http").await);
    assert!(!is_secure(&gateway, "http").await);
    let gateway = Gateway::start().await;
    assert!(!is_secure(&gateway, "https").await);
}

#[tokio::test]
async fn a_cookie_that_the_gateway_did_not_sign_names_nobody() {
    let gateway = Gateway::start().await;
    let (pair, _) = cookie(&me(&gateway, &[]).await);
    let theirs = body(me(&gateway, &[("cookie", &pair)]).await).await;
    let (unsigned, signature) = pair.rsplit_once('.').unwrap();
    let payload = unsigned.rsplit_once('.').unwrap().1;
    let sub = "01997f1e-0000-7000-8000-000000000000";
    let claims = json!({"aud": "corral-anonymous", "sub": sub, "iat": 0, "exp": 4_000_000_000_u64});
    let (other, _) = cookie(&me(&Gateway::start().await, &[]).await);
    let huge = "x".repeat(7000);
    for forged in [
        format!("{unsigned}.{}", "A".repeat(signature.len())),
        format!("{unsigned}."),
        format!("corral_user=eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}."),
        format!("corral_user={}", sign_with_secret(&[0; 32], &claims)),
        format!("corral_user={}", sign_with_secret(b"", &claims)),
        format!("corral_user={huge}"),
        "corral_user=".to_owned(),
        format!("Corral_User{}", &pair["corral_user".len()..]),
        other,
    ] {
        let answer = me(&gateway, &[("cookie", &forged)]).await;
        assert_eq!(set_cookies(answer.headers()).len(), 1, "{forged}");
        assert_ne!(body(answer).await, theirs, "{forged}");
    }
}

#[tokio::test]
async fn two_cookies_that_name_two_users_name_nobody() {
    let gateway = Gateway::start().await;
    let (one, _) = cookie(&me(&gateway, &[]).await);
    let (two, _) = cookie(&me(&gateway, &[]).await);
    let both = format!("{one}; {two}");
    assert_eq!(me(&gateway, &[("cookie", &both)]).await.status(), 401);
    assert_eq!(upgrade(&gateway, &[("cookie", &both)]).await.status(), 401);
    let twice = me(
        &gateway,
        &[("cookie", &format!("{one}; {one}; corral_user=x"))],
    )
    .await;
    assert_eq!(set_cookies(twice.headers()), Vec::<&str>::new());
}

#[tokio::test]
async fn a_trusted_proxy_names_the_user() {
    let settings = [PROXIES, BY_HEADER];
    let gateway = Gateway::start_with(&settings).await;
    let ada = [
        ("x-forwarded-user", "ada@example.com"),
        ("x-forwarded-preferred-username", "Ada"),
    ];
    let answer = me(&gateway, &ada).await;
    assert_eq!(set_cookies(answer.headers()), Vec::<&str>::new());
    let answer = body(answer).await;
    let id = answer["id"].as_str().unwrap();
    assert_eq!(answer, json!({"id": id, "name": "Ada"}));
    assert!(id.starts_with("u-") && id.len() == 34, "{id}");
    let nameless = me(&gateway, &ada[..1]).await;
    assert_eq!(body(nameless).await, json!({"id": id}));
    let grace = me(&gateway, &[("x-forwarded-user", "grace@example.com")]).await;
    assert_ne!(body(grace).await["id"], id);
    // The same for ever: conversations belong to it.
    let restarted = Gateway::start_with(&settings).await;
    assert_eq!(body(me(&restarted, &ada).await).await["id"], id);

    let mut socket = WsClient::connect_with(&gateway.chat_url(), &ada)
        .await
        .unwrap();
    say(&mut socket, "Hello").await;
    assert_eq!(socket.collect_answer().await.unwrap().1, done());
    let asked = gateway.llama.request_started(0).await;
    assert_eq!(asked.headers["x-corral-user"], id);
}

#[tokio::test]
async fn the_fields_of_the_proxy_have_the_names_that_the_operator_sets() {
    let gateway = Gateway::start_with(&[
        PROXIES,
        BY_HEADER,
        ("GATEWAY_AUTH_USER_HEADER", "Remote-User"),
        ("GATEWAY_AUTH_NAME_HEADER", "Remote-Name"),
    ])
    .await;
    let answer = me(
        &gateway,
        &[("remote-user", "艾达"), ("remote-name", "艾达·洛芙莱斯")],
    )
    .await;
    assert_eq!(body(answer).await["name"], "艾达·洛芙莱斯");
    let answer = me(&gateway, &[("x-forwarded-user", "ada")]).await;
    assert_eq!(answer.status(), 401);
}

#[tokio::test]
async fn nobody_but_a_trusted_proxy_names_a_user() {
    let gateway =
        Gateway::start_with(&[BY_HEADER, ("GATEWAY_TRUSTED_PROXIES", "10.0.0.0/8")]).await;
    let named = [("x-forwarded-user", "ada"), ("x-forwarded-for", "10.0.0.1")];
    assert_eq!(me(&gateway, &named).await.status(), 401);
    let refused = WsClient::connect_with(&gateway.chat_url(), &named).await;
    let refused = refused.unwrap_err().downcast::<Refused>().unwrap();
    let error: Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!(
        (refused.status, error),
        (
            401,
            json!({
                "error": {"message": "sign in first", "type": "authentication_error",
                    "code": "not_signed_in", "param": null},
                "src": "chat-gateway",
            })
        )
    );
    gateway
        .metric("chat_gateway_upgrades_refused_total{reason=\"not_signed_in\"} 1")
        .await;
}

#[tokio::test]
async fn a_user_that_is_missing_doubled_or_no_name_is_nobody() {
    let gateway = Gateway::start_with(&[PROXIES, BY_HEADER]).await;
    let http = reqwest::Client::new();
    let url = format!("http://{}/api/v1/me", gateway.public);
    let long = "x".repeat(257);
    let names: [&[&[u8]]; 7] = [
        &[],
        &[b""],
        &[b"ada", b"ada"],
        &[b"ada", b"grace"],
        &[b"\xff\xfe"],
        &[b"a\tb"],
        &[long.as_bytes()],
    ];
    for values in names {
        let mut request = http.get(&url).header("cookie", "corral_user=x");
        for value in values {
            request = request.header("x-forwarded-user", HeaderValue::from_bytes(value).unwrap());
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 401, "{values:?}");
        assert_eq!(
            body(answer).await,
            json!({
                "error": {"message": "sign in first", "type": "authentication_error",
                    "code": "unauthenticated", "param": null},
                "src": "chat-gateway",
            })
        );
    }
}

#[tokio::test]
async fn a_client_of_version_2_may_bring_its_ticket_later() {
    let gateway = Gateway::start_with(&[PROXIES, BY_HEADER]).await;
    let offers = [("sec-websocket-protocol", "chat.v1, chat.v2")];
    let opened = upgrade(&gateway, &offers).await;
    assert_eq!(opened.status(), 101);
    let other = [("sec-websocket-protocol", "chat.v22")];
    assert_eq!(upgrade(&gateway, &other).await.status(), 401);
}

#[tokio::test]
async fn a_request_id_of_a_trusted_proxy_is_returned_and_others_are_not() {
    let id = "6f1c1f0e6f1c4f0e8f1c6f1c6f1c6f1c";
    let gateway = Gateway::start_with(&[PROXIES]).await;
    assert_eq!(id_after(&gateway, id).await, id);
    let dashed = "01997f1e-0000-7000-8000-000000000000";
    assert_eq!(id_after(&gateway, dashed).await, dashed);
    for other in ["secret words", "1", &"6".repeat(33)] {
        let made = id_after(&gateway, other).await;
        assert_eq!((made.len(), made == other), (36, false), "{other}");
    }
    let gateway = Gateway::start().await;
    assert_ne!(id_after(&gateway, id).await, id);
    // Also of a refusal, so that whoever reports it can name it.
    let refused = upgrade(&gateway, &[("origin", "https://evil.example")]).await;
    assert_eq!(
        (
            refused.status().as_u16(),
            refused.headers()["x-request-id"].len()
        ),
        (403, 36)
    );
}

#[tokio::test]
async fn pages_of_other_origins_are_told_nothing() {
    let gateway = Gateway::start().await;
    for origin in ["https://evil.example", "null"] {
        assert_eq!(
            me(&gateway, &[("origin", origin)]).await.status(),
            403,
            "{origin}"
        );
    }
    let own = format!("http://{}", gateway.public);
    assert_eq!(me(&gateway, &[("origin", &own)]).await.status(), 200);
}
