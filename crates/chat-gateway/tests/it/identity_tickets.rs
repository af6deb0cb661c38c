//! Tickets in the `hello` of version 2, and the bounds and ends of its sockets.

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::v2_client::V2Client;
use testkit::ws_client::WsClient;

use crate::gateway::Gateway;
use crate::identity::{body, me};
use crate::identity_sessions::{SECRET, bearer, settings};
use crate::issuer::{AUDIENCE, claims};

/// Sockets that try one ticket at the same time.
const TRIES: usize = 50;

async fn start() -> Gateway {
    Gateway::start_with(&[
        ("GATEWAY_AUTH", "jwt"),
        ("GATEWAY_JWT_SECRET", SECRET),
        ("GATEWAY_JWT_AUDIENCE", AUDIENCE),
        ("GATEWAY_SOCKETS_PER_USER", "2"),
    ])
    .await
}

pub(crate) async fn ticket(gateway: &Gateway, bearer: &str) -> String {
    let url = format!("http://{}/api/v1/ws/ticket", gateway.public);
    let asked = reqwest::Client::new()
        .post(url)
        .header("authorization", bearer);
    let given = body(asked.send().await.unwrap()).await;
    given["ticket"].as_str().unwrap().to_owned()
}

/// A socket without credentials that says hello with this ticket.
pub(crate) async fn hello(gateway: &Gateway, ticket: &Value) -> WsClient {
    let offers = [("sec-websocket-protocol", "chat.v2")];
    let mut socket = WsClient::connect_with(&gateway.chat_url(), &offers)
        .await
        .unwrap();
    let hello = json!({"type": "hello", "version": 2, "ticket": ticket});
    socket.send_json(&hello).await.unwrap();
    socket
}

/// How a socket goes on after its hello: the user of its welcome, or the code with which it is closed.
pub(crate) async fn outcome(mut socket: WsClient) -> Result<Value, u16> {
    let first = socket.next_json().await.unwrap();
    if first["type"] == "welcome" {
        return Ok(first["user"].clone());
    }
    assert_eq!(first["code"], "unauthenticated", "{first}");
    Err(socket.wait_close().await.unwrap())
}

#[tokio::test]
async fn a_ticket_opens_one_socket_for_its_user_however_many_try() {
    let gateway = start().await;
    let ada = bearer(&claims("ada"));
    let who = body(me(&gateway, &[("authorization", &ada)]).await).await;
    let ticket = ticket(&gateway, &ada).await.into();
    let sockets = join_all((0..TRIES).map(|_| hello(&gateway, &ticket))).await;
    let outcomes = join_all(sockets.into_iter().map(outcome)).await;
    let (welcomed, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(welcomed, [Ok(who)]);
    assert_eq!(refused, vec![Err(4401); TRIES - 1]);
}

#[tokio::test]
async fn a_hello_without_a_good_ticket_and_without_credentials_is_refused() {
    let gateway = start().await;
    for wrong in [
        Value::Null,
        json!(""),
        json!("0123456789abcdef0123456789abcdef"),
        json!("not a ticket"),
    ] {
        let socket = hello(&gateway, &wrong).await;
        assert_eq!(outcome(socket).await, Err(4401), "{wrong}");
    }
    // A wrong ticket is not made good by credentials.
    let ada = bearer(&claims("ada"));
    let headers = [
        ("sec-websocket-protocol", "chat.v2"),
        ("authorization", &*ada),
    ];
    let mut socket = WsClient::connect_with(&gateway.chat_url(), &headers)
        .await
        .unwrap();
    let hello = json!({"type": "hello", "version": 2, "ticket": "wrong"});
    socket.send_json(&hello).await.unwrap();
    assert_eq!(outcome(socket).await, Err(4401));
}

#[tokio::test]
async fn a_socket_of_version_2_beyond_the_users_bound_is_closed_with_4409() {
    let gateway = start().await;
    let ada = bearer(&claims("ada"));
    let headers = [("authorization", &*ada)];
    let first = V2Client::connect_with(&gateway.chat_url(), &headers)
        .await
        .unwrap();
    // Version 2 without the subprotocol takes one seat as well, not two.
    let mut second = WsClient::connect_with(&gateway.chat_url(), &headers)
        .await
        .unwrap();
    let hello = json!({"type": "hello", "version": 2});
    second.send_json(&hello).await.unwrap();
    assert_eq!(second.next_json().await.unwrap()["type"], "welcome");
    let offers = [
        ("sec-websocket-protocol", "chat.v2"),
        ("authorization", &*ada),
    ];
    let mut third = WsClient::connect_with(&gateway.chat_url(), &offers)
        .await
        .unwrap();
    third.send_json(&hello).await.unwrap();
    assert_eq!(third.wait_close().await.unwrap(), 4409);
    gateway.metric("chat_gateway_sockets_open 2").await;
    first.socket.abort();
    gateway.metric("chat_gateway_sockets_open 1").await;
    V2Client::connect_with(&gateway.chat_url(), &headers)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_revoked_user_of_version_2_is_out_however_they_came_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revoked");
    std::fs::write(&path, "").unwrap();
    let gateway = Gateway::start_with(&settings(&path)).await;
    let ada = bearer(&claims("ada"));
    let headers = [("authorization", &*ada)];
    let by_ticket = ticket(&gateway, &ada).await.into();
    let late = ticket(&gateway, &ada).await.into();
    let mut by_ticket = hello(&gateway, &by_ticket).await;
    assert_eq!(by_ticket.next_json().await.unwrap()["type"], "welcome");
    let mut by_token = V2Client::connect_with(&gateway.chat_url(), &headers)
        .await
        .unwrap();
    std::fs::write(&path, "ada\n").unwrap();
    assert_eq!(by_ticket.wait_close().await.unwrap(), 4410);
    assert_eq!(by_token.socket.wait_close().await.unwrap(), 4410);
    assert_eq!(outcome(hello(&gateway, &late).await).await, Err(4401));
}
