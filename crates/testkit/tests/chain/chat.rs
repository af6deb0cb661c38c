//! The browser's way: v1 of the chat protocol through the whole chain.

use serde_json::json;
use testkit::ws_client::WsClient;

use crate::stack::Stack;

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn an_answer_streams_in_pieces_and_ends_with_done() {
    let stack = Stack::running();
    let mut socket = WsClient::connect(&stack.chat()).await.unwrap();
    socket
        .send_json(&json!({"content": "Count from one to five."}))
        .await
        .unwrap();
    let (deltas, end) = socket.collect_answer().await.unwrap();
    // The limit may cut it: this model goes on counting.
    assert_eq!(end["type"], "done");
    assert!(deltas.len() > 2, "{deltas:?}");
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_conversation_goes_on_after_reset_blank_content_and_nonsense() {
    let stack = Stack::running();
    let mut socket = WsClient::connect(&stack.chat()).await.unwrap();
    socket.send_json(&json!({"type": "reset"})).await.unwrap();
    assert_eq!(
        socket.next_json().await.unwrap(),
        json!({"type": "reset_ok"})
    );
    socket.send_json(&json!({"content": "  "})).await.unwrap();
    assert_eq!(
        socket.next_json().await.unwrap(),
        json!({"type": "error", "message": "empty content"})
    );
    socket.send_text("not json").await.unwrap();
    assert_eq!(socket.next_json().await.unwrap()["type"], "error");
    socket
        .send_json(&json!({"content": "Say hello."}))
        .await
        .unwrap();
    let (_, end) = socket.collect_answer().await.unwrap();
    assert_eq!(end["type"], "done");
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn the_page_is_served_and_allows_no_foreign_script() {
    let stack = Stack::running();
    let response = stack
        .http
        .get(format!("{}/", stack.gateway))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(policy.contains("default-src 'self'"), "{policy}");
    assert!(response.text().await.unwrap().contains("<div id=\"root\">"));
}
