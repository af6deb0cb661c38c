//! How a session begins with a ticket and ends: revoked, or with its token.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_gateway::bus::Bus;
use chat_gateway::identity::{Identities, SessionEnd, User};
use chat_gateway::{Config, VARIABLES};
use common::env::Environment;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use testkit::ws_client::WsClient;
use tokio::task::JoinSet;

use crate::gateway::{Gateway, done, say};
use crate::identity::{body, me};
use crate::issuer::{AUDIENCE, claims, in_seconds, sign_with_secret};

pub(crate) const SECRET: &str = "a-secret-of-the-app-0123456789abcdef";
/// The most that a revocation may take.
const PROMPT: Duration = Duration::from_secs(5);

pub(crate) fn settings(revoked: &Path) -> [(&str, &str); 4] {
    [
        ("GATEWAY_AUTH", "jwt"),
        ("GATEWAY_JWT_SECRET", SECRET),
        ("GATEWAY_JWT_AUDIENCE", AUDIENCE),
        ("GATEWAY_REVOKED_FILE", revoked.to_str().unwrap()),
    ]
}

pub(crate) fn bearer(claims: &Value) -> String {
    format!("Bearer {}", sign_with_secret(SECRET.as_bytes(), claims))
}

fn with_id(sub: &str, jti: &str) -> Value {
    let mut claims = claims(sub);
    claims["jti"] = jti.into();
    claims
}

async fn socket(gateway: &Gateway, bearer: &str) -> WsClient {
    let headers = [("authorization", bearer)];
    WsClient::connect_with(&gateway.chat_url(), &headers)
        .await
        .unwrap()
}

/// Moves the clock on, so that the file is read again while the next requests run.
async fn next_look() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
}

/// The gateway's knowledge of people without a gateway, and somebody whom it knows.
pub(crate) async fn identities(claims: &Value) -> (Identities, User) {
    let mut env = Environment::from_pairs(
        "GATEWAY_",
        &[VARIABLES],
        [
            ("GATEWAY_AUTH", "jwt"),
            ("GATEWAY_JWT_SECRET", SECRET),
            ("GATEWAY_JWT_AUDIENCE", AUDIENCE),
            ("LLM_API_KEY", "key"),
            ("LLM_MODEL", "model"),
        ],
    );
    let config = Config::read(&mut env);
    env.finish().unwrap();
    let identities = Identities::open(&config, Bus::default(), None).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(
        "authorization",
        HeaderValue::from_str(&bearer(claims)).unwrap(),
    );
    let peer = "127.0.0.1".parse().unwrap();
    let signed_in = identities.of(&headers, peer).await.unwrap();
    (identities, signed_in.user)
}

#[tokio::test]
async fn a_revoked_user_is_out_within_five_seconds_and_stays_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revoked");
    std::fs::write(&path, "# who left\n\nsomebody else\n").unwrap();
    let gateway = Gateway::start_with(&settings(&path)).await;
    let ada = bearer(&with_id("ada", "token-1"));
    let again = bearer(&with_id("ada", "token-2"));
    let grace = bearer(&with_id("grace", "token-3"));
    let mut of_ada = [socket(&gateway, &ada).await, socket(&gateway, &again).await];
    let mut of_grace = socket(&gateway, &grace).await;

    let revoked_at = Instant::now();
    std::fs::write(&path, "somebody else\r\nada\r\n").unwrap();
    for socket in &mut of_ada {
        assert_eq!(socket.wait_close().await.unwrap(), 4410);
    }
    assert!(revoked_at.elapsed() < PROMPT, "{:?}", revoked_at.elapsed());
    for token in [&ada, &again] {
        assert_eq!(
            me(&gateway, &[("authorization", token)]).await.status(),
            401
        );
        let refused =
            WsClient::connect_with(&gateway.chat_url(), &[("authorization", token)]).await;
        assert!(refused.is_err());
    }
    say(&mut of_grace, "Hello").await;
    assert_eq!(of_grace.collect_answer().await.unwrap().1, done());

    // A file that is gone lets nobody in again; one without the line does.
    std::fs::remove_file(&path).unwrap();
    for _ in 0..3 {
        next_look().await;
        for _ in 0..10 {
            let asked = me(&gateway, &[("authorization", &ada)]).await;
            assert_eq!(asked.status(), 401);
        }
    }
    std::fs::write(&path, "").unwrap();
    while me(&gateway, &[("authorization", &ada)]).await.status() != 200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_token_is_revoked_by_its_id_and_any_user_by_the_id_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revoked");
    std::fs::write(&path, "").unwrap();
    let gateway = Gateway::start_with(&settings(&path)).await;
    let lost = bearer(&with_id("ada", "token-1"));
    let other = bearer(&with_id("ada", "token-2"));
    let grace = bearer(&claims("grace"));
    let grace_id = body(me(&gateway, &[("authorization", &grace)]).await).await;
    let mut on_lost = socket(&gateway, &lost).await;
    let mut on_other = socket(&gateway, &other).await;
    let mut of_grace = socket(&gateway, &grace).await;
    let grace_id = grace_id["id"].as_str().unwrap();
    std::fs::write(&path, format!("token-1\n{grace_id}\n")).unwrap();
    assert_eq!(on_lost.wait_close().await.unwrap(), 4410);
    assert_eq!(of_grace.wait_close().await.unwrap(), 4410);
    assert_eq!(
        me(&gateway, &[("authorization", &lost)]).await.status(),
        401
    );
    assert_eq!(
        me(&gateway, &[("authorization", &other)]).await.status(),
        200
    );
    say(&mut on_other, "Hello").await;
    assert_eq!(on_other.collect_answer().await.unwrap().1, done());
}

#[tokio::test]
async fn a_socket_ends_with_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revoked");
    std::fs::write(&path, "").unwrap();
    let gateway = Gateway::start_with(&settings(&path)).await;
    // 30 s of leeway make this two seconds from now.
    let mut claims = claims("ada");
    claims["exp"] = in_seconds(-28).into();
    let token = bearer(&claims);
    let mut socket = socket(&gateway, &token).await;
    assert_eq!(socket.wait_close().await.unwrap(), 4502);
    assert_eq!(
        me(&gateway, &[("authorization", &token)]).await.status(),
        401
    );
}

#[tokio::test]
async fn a_ticket_is_given_to_who_is_signed_in_and_to_no_other_page() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revoked");
    std::fs::write(&path, "").unwrap();
    let gateway = Gateway::start_with(&settings(&path)).await;
    let http = reqwest::Client::new();
    let url = format!("http://{}/api/v1/ws/ticket", gateway.public);
    let token = bearer(&claims("ada"));
    let given = http
        .post(&url)
        .header("authorization", &token)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (given.status().as_u16(), &given.headers()["cache-control"]),
        (200, &HeaderValue::from_static("no-store"))
    );
    let given: Value = given.json().await.unwrap();
    let ticket = given["ticket"].as_str().unwrap();
    assert_eq!(given, json!({"ticket": ticket, "expires_in_seconds": 60}));
    assert!(
        ticket.len() == 32 && ticket.bytes().all(|digit| digit.is_ascii_hexdigit()),
        "{ticket}"
    );
    let stranger = http.post(&url).send().await.unwrap();
    assert_eq!(stranger.status(), 401);
    let evil = http
        .post(&url)
        .header("authorization", &token)
        .header("origin", "https://evil.example");
    assert_eq!(evil.send().await.unwrap().status(), 403);
    let looked = http
        .get(&url)
        .header("authorization", &token)
        .send()
        .await
        .unwrap();
    assert_eq!(looked.status(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_once_however_many_try() {
    let (identities, user) = identities(&claims("ada")).await;
    let ticket = identities.ticket(&user).await.unwrap();
    let identities = Arc::new(identities);
    let mut running = JoinSet::new();
    for _ in 0..50 {
        let identities = Arc::clone(&identities);
        let ticket = ticket.clone();
        running.spawn(async move { identities.redeem(&ticket).await.unwrap() });
    }
    let mut winners: Vec<User> = Vec::new();
    while let Some(tried) = running.join_next().await {
        winners.extend(tried.unwrap());
    }
    assert_eq!(winners.len(), 1);
    assert_eq!((&winners[0].id, &winners[0].name), (&user.id, &user.name));
    assert!(identities.redeem(&ticket).await.unwrap().is_none());
    let good = identities.ticket(&user).await.unwrap();
    for malformed in [
        "",
        "x",
        &ticket[1..],
        &format!("{good}0"),
        &format!("+{}", &good[1..]),
    ] {
        assert!(
            identities.redeem(malformed).await.unwrap().is_none(),
            "{malformed}"
        );
    }
    assert!(identities.redeem(&good).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_ticket_is_good_for_a_minute_and_a_user_has_sixteen() {
    let (identities, user) = identities(&claims("ada")).await;
    let late = identities.ticket(&user).await.unwrap();
    let last_moment = identities.ticket(&user).await.unwrap();
    tokio::time::advance(Duration::from_secs(59)).await;
    assert!(identities.redeem(&last_moment).await.unwrap().is_some());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(identities.redeem(&late).await.unwrap().is_none());

    let mut tickets = Vec::new();
    for _ in 0..17 {
        tickets.push(identities.ticket(&user).await.unwrap());
    }
    let mut good = Vec::new();
    for ticket in tickets {
        good.push(identities.redeem(&ticket).await.unwrap().is_some());
    }
    assert_eq!(good, [vec![false], vec![true; 16]].concat());
}

#[tokio::test]
async fn a_ticket_does_not_outlive_its_token() {
    let mut claims = claims("ada");
    claims["exp"] = in_seconds(-29).into();
    let (identities, user) = identities(&claims).await;
    let ticket = identities.ticket(&user).await.unwrap();
    assert_eq!(identities.ended(&user).await, SessionEnd::Expired);
    assert!(identities.redeem(&ticket).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_printed_of_a_user_is_the_id_alone() {
    let (_, user) = identities(&claims("ada@example.com")).await;
    assert_eq!(format!("{user:?}"), format!("User({:?})", user.id));
}
