//! For whom a message is: what llm-proxy is told, so that visitors take turns.

use serde_json::json;
use testkit::fake_llama::Script;
use testkit::ws_client::WsClient;

use crate::gateway::{Gateway, done, say};

/// The name under which the message of a socket with this `X-Forwarded-For` is asked.
async fn name_of(gateway: &Gateway, forwarded_for: &str) -> String {
    let number = gateway.llama.requests().len();
    let headers = [("x-forwarded-for", forwarded_for)];
    let socket = WsClient::connect_with(&gateway.chat_url(), &headers).await;
    let mut socket = socket.unwrap();
    say(&mut socket, "Hi").await;
    assert_eq!(socket.collect_answer().await.unwrap().1, done());
    let request = gateway.llama.request_started(number).await;
    let name = request.headers["x-corral-user"].to_str();
    name.unwrap().to_owned()
}

#[tokio::test]
async fn only_a_trusted_proxy_is_believed_about_the_address_of_a_visitor() {
    let gateway = Gateway::start_with(&[("GATEWAY_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let one = name_of(&gateway, "198.51.100.1").await;
    assert_eq!(name_of(&gateway, "203.0.113.9, 198.51.100.1").await, one);
    assert_ne!(name_of(&gateway, "198.51.100.2").await, one);
    assert!(one.starts_with("v-") && !one.contains("198"), "{one}");

    let gateway = Gateway::start().await;
    let one = name_of(&gateway, "198.51.100.1").await;
    assert_eq!(name_of(&gateway, "198.51.100.2").await, one);
}

#[tokio::test]
async fn a_key_that_may_not_name_visitors_still_gets_answers() {
    let gateway = Gateway::start().await;
    let refusal = json!({"error": {"message": "x", "type": "x", "code": "scope_missing"}});
    let refusal = || Script::status(403, refusal.to_string());
    gateway.llama.script_once(refusal());
    let mut socket = gateway.chat().await;
    say(&mut socket, "one").await;
    assert_eq!(socket.collect_answer().await.unwrap().1, done());
    say(&mut socket, "two").await;
    assert_eq!(socket.collect_answer().await.unwrap().1, done());
    let asked = gateway.llama.requests().into_iter();
    let named: Vec<bool> = asked
        .map(|request| request.headers.contains_key("x-corral-user"))
        .collect();
    assert_eq!(named, [true, false, false]);

    // Without a name the refusal means what it says.
    gateway.llama.script_once(refusal());
    say(&mut socket, "three").await;
    let (_, end) = socket.collect_answer().await.unwrap();
    let message = "the model service does not accept this gateway's key; tell the operator";
    assert_eq!(end, json!({"type": "error", "message": message}));
}
