//! Tickets, and what is told of the list, at whichever gateway a socket is.

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::v2_client::V2Client;

use crate::gateway::Gateway;
use crate::identity::{body, me};
use crate::identity_sessions::{SECRET, bearer};
use crate::identity_tickets::{hello, outcome, ticket};
use crate::issuer::{AUDIENCE, claims};
use crate::several::Shared;

/// Sockets that try one ticket at the same time.
const TRIES: usize = 20;

/// A gateway that shares the database and the bus, once it hears the others.
async fn member(shared: &Shared) -> Gateway {
    let gateway = Gateway::start_with(&[
        ("GATEWAY_AUTH", "jwt"),
        ("GATEWAY_JWT_SECRET", SECRET),
        ("GATEWAY_JWT_AUDIENCE", AUDIENCE),
        ("GATEWAY_STORE", &shared.database.url()),
        ("GATEWAY_BUS", &shared.valkey.url()),
    ])
    .await;
    gateway.metric("chat_gateway_bus_up 1").await;
    gateway
}

async fn socket(gateway: &Gateway, bearer: &str) -> V2Client {
    let headers = [("authorization", bearer)];
    V2Client::connect_with(&gateway.chat_url(), &headers)
        .await
        .unwrap()
}

/// A socket that is told of its user's list.
async fn lister(gateway: &Gateway, bearer: &str) -> V2Client {
    let mut chat = socket(gateway, bearer).await;
    let reply = chat.request(json!({"type": "watch_list"})).await.unwrap();
    assert_eq!(reply["type"], "ok", "{reply}");
    chat
}

async fn next_of_list(chat: &mut V2Client) -> Value {
    loop {
        let frame = chat.next().await.unwrap();
        if frame["type"] == "list" {
            return frame;
        }
    }
}

/// The frame that tells of a conversation of the list.
fn told(conversation: &str, revision: u64, what: &str) -> Value {
    json!({"type": "list", "conversation": conversation, "revision": revision, "what": what})
}

async fn send(
    gateway: &Gateway,
    bearer: &str,
    method: reqwest::Method,
    path: &str,
    sent: &Value,
) -> Value {
    let url = format!("http://{}/api/v1{path}", gateway.public);
    let client = reqwest::Client::new();
    let request = client.request(method, url).header("authorization", bearer);
    let response = request.json(sent).send().await.unwrap();
    assert!(response.status().is_success(), "{}", response.status());
    let bytes = response.bytes().await.unwrap();
    serde_json::from_slice(&bytes).unwrap_or(Value::Null)
}

#[tokio::test]
async fn a_ticket_of_one_gateway_opens_one_socket_at_whichever_gateway() {
    let Some(shared) = Shared::start().await else {
        return;
    };
    let [first, second] = [member(&shared).await, member(&shared).await];
    let ada = bearer(&claims("ada"));
    let who = body(me(&first, &[("authorization", &ada)]).await).await;
    let ticket = ticket(&first, &ada).await.into();
    let sockets = (0..TRIES).map(|number| {
        let gateway = if number % 2 == 0 { &first } else { &second };
        hello(gateway, &ticket)
    });
    let outcomes = join_all(join_all(sockets).await.into_iter().map(outcome)).await;
    let (welcomed, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(welcomed, [Ok(who)]);
    assert_eq!(refused, vec![Err(4401); TRIES - 1]);
}

#[tokio::test]
async fn while_the_bus_is_away_no_ticket_is_given_and_none_is_burned_for_good() {
    let Some(mut shared) = Shared::start().await else {
        return;
    };
    let gateway = member(&shared).await;
    let ada = bearer(&claims("ada"));
    let late: Value = ticket(&gateway, &ada).await.into();
    shared.valkey.kill().await;
    let url = format!("http://{}/api/v1/ws/ticket", gateway.public);
    let client = reqwest::Client::new();
    let asked = client.post(url).header("authorization", &ada);
    assert_eq!(asked.send().await.unwrap().status(), 503);
    // Not 4401, which is final: the client fetches another ticket and connects again.
    let mut socket = hello(&gateway, &late).await;
    assert_eq!(socket.next_json().await.unwrap()["code"], "internal");
    assert_eq!(socket.wait_close().await.unwrap(), 4502);
    shared.valkey.start_again().await;
    gateway.metric("chat_gateway_bus_up 1").await;
    let fresh = ticket(&gateway, &ada).await.into();
    let mut socket = hello(&gateway, &fresh).await;
    assert_eq!(socket.next_json().await.unwrap()["type"], "welcome");
}

#[tokio::test]
async fn each_change_of_the_list_is_told_at_every_gateway() {
    let Some(shared) = Shared::start().await else {
        return;
    };
    let [first, second] = [member(&shared).await, member(&shared).await];
    let ada = bearer(&claims("ada"));
    let mut here = lister(&first, &ada).await;
    let mut there = lister(&second, &ada).await;
    let mut stranger = lister(&second, &bearer(&claims("eve"))).await;
    let post = reqwest::Method::POST;
    let begun = send(&first, &ada, post, "/conversations", &json!({"title": "a"})).await;
    let id = begun["id"].as_str().unwrap();
    let path = format!("/conversations/{id}");
    assert_eq!(next_of_list(&mut here).await, told(id, 1, "created"));
    assert_eq!(next_of_list(&mut there).await, told(id, 1, "created"));
    let patch = reqwest::Method::PATCH;
    send(&first, &ada, patch, &path, &json!({"pinned": true})).await;
    assert_eq!(next_of_list(&mut there).await, told(id, 2, "changed"));
    let delete = reqwest::Method::DELETE;
    send(&first, &ada, delete, &path, &json!({})).await;
    assert_eq!(next_of_list(&mut there).await, told(id, 3, "deleted"));
    let pong = stranger.socket.send_json(&json!({"type": "ping"})).await;
    pong.unwrap();
    assert_eq!(stranger.next().await.unwrap()["type"], "pong");
}

#[tokio::test]
async fn whoever_may_have_missed_news_of_the_list_connects_again() {
    let Some(mut shared) = Shared::start().await else {
        return;
    };
    let gateway = member(&shared).await;
    let ada = bearer(&claims("ada"));
    let mut chat = lister(&gateway, &ada).await;
    shared.valkey.kill().await;
    gateway.metric("chat_gateway_bus_up 0").await;
    shared.valkey.start_again().await;
    assert_eq!(chat.socket.wait_close().await.unwrap(), 4503);
}
