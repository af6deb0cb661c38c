//! Shutdown: running answers end, sockets close with a code, nothing is left.

use std::time::Duration;

use testkit::fake_llama::Script;
use testkit::ws_client::WsClient;

use crate::gateway::{Gateway, delta, done, error, say};

const DRAIN: Duration = Duration::from_secs(30);
const RESTARTING: &str = "the server is restarting; send the message again in a moment";

#[tokio::test]
async fn an_idle_socket_is_closed_at_once_and_no_other_is_opened() {
    let gateway = Gateway::start().await;
    let mut socket = gateway.chat().await;
    let (abandoned, code) = tokio::join!(gateway.shutdown.finish(DRAIN), socket.wait_close());
    assert_eq!((abandoned, code.unwrap()), (0, 1001));
    assert!(WsClient::connect(&gateway.chat_url()).await.is_err());
}

#[tokio::test]
async fn a_running_answer_ends_what_waits_is_refused_and_the_socket_closes() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let mut socket = gateway.chat().await;
    say(&mut socket, "one").await;
    say(&mut socket, "two").await;
    assert_eq!(socket.next_json().await.unwrap(), delta("a"));
    let drained = async {
        gateway.shutdown.draining().await;
        say(&mut socket, "too late").await;
        assert_eq!(socket.next_json().await.unwrap(), error(RESTARTING));
        gateway.llama.release();
        assert_eq!(socket.next_json().await.unwrap(), delta("b"));
        assert_eq!(socket.next_json().await.unwrap(), done());
        assert_eq!(socket.next_json().await.unwrap(), error(RESTARTING));
        socket.wait_close().await.unwrap()
    };
    assert_eq!(
        tokio::join!(gateway.shutdown.finish(DRAIN), drained),
        (0, 1001)
    );
    assert_eq!(gateway.llama.requests().len(), 1);
}

#[tokio::test]
async fn an_answer_that_outlives_the_deadline_is_stopped_with_an_error() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let mut socket = gateway.chat().await;
    say(&mut socket, "one").await;
    assert_eq!(socket.next_json().await.unwrap(), delta("a"));
    let cut = async {
        assert_eq!(socket.next_json().await.unwrap(), error(RESTARTING));
        socket.wait_close().await.unwrap()
    };
    assert_eq!(
        tokio::join!(gateway.shutdown.finish(Duration::ZERO), cut),
        (0, 1001)
    );
    gateway.llama.client_left(0).await;
}
