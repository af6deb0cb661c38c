//! Many chats at once never wait for each other.

use std::time::Duration;

use futures_util::future::join_all;
use testkit::fake_llama::Script;
use testkit::ws_client::WsClient;

use crate::gateway::{Gateway, delta, done, say};

const CHATS: usize = 32;

#[tokio::test]
async fn thirty_two_chats_all_have_their_first_token_before_any_has_its_second() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["first", "second"]).stall_after(1));
    let mut sockets = join_all((0..CHATS).map(|_| gateway.chat())).await;
    join_all(sockets.iter_mut().map(|socket| say(socket, "Hello"))).await;
    for first in join_all(sockets.iter_mut().map(WsClient::next_json)).await {
        assert_eq!(first.unwrap(), delta("first"));
    }
    assert_eq!(gateway.llama.most_running(), CHATS);
    gateway.llama.release();
    for socket in &mut sockets {
        assert_eq!(
            socket.collect_answer().await.unwrap(),
            (vec!["second".to_owned()], done())
        );
    }
    gateway
        .metric("chat_gateway_answers_total{outcome=\"done\"} 32")
        .await;
    gateway.metric("chat_gateway_deltas_total 64").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_20_ms_a_token_every_chat_has_its_first_before_any_ends() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["x"; 50]).every(Duration::from_millis(20)));
    let mut sockets = join_all((0..CHATS).map(|_| gateway.chat())).await;
    let answers = sockets.iter_mut().map(async |socket| {
        say(socket, "Hello").await;
        assert_eq!(socket.next_json().await.unwrap(), delta("x"));
        let first = std::time::Instant::now();
        let (deltas, end) = socket.collect_answer().await.unwrap();
        assert_eq!((deltas.len(), end), (49, done()));
        (first, std::time::Instant::now())
    });
    let times = join_all(answers).await;
    let last_first = times.iter().map(|(first, _)| *first).max().unwrap();
    let first_end = times.iter().map(|(_, end)| *end).min().unwrap();
    assert!(
        last_first < first_end,
        "some chat had to wait for another to end"
    );
}

#[tokio::test]
async fn a_chat_whose_reader_sleeps_does_not_slow_another() {
    let gateway = Gateway::start().await;
    let piece = "x".repeat(16 * 1024);
    gateway
        .llama
        .script(Script::tokens([&*piece; 60]).stall_after(60));
    let mut sleeper = gateway.chat().await;
    say(&mut sleeper, "Hello").await;
    gateway.llama.request_started(0).await;
    gateway.llama.script(Script::tokens(["awake"]));
    let mut socket = gateway.chat().await;
    say(&mut socket, "Hello").await;
    assert_eq!(
        socket.collect_answer().await.unwrap(),
        (vec!["awake".to_owned()], done())
    );
}

#[tokio::test]
async fn a_reader_that_pauses_holds_up_only_its_own_answers_and_gets_them_whole() {
    let gateway = Gateway::start().await;
    let piece = "x".repeat(16 * 1024);
    gateway.llama.script(Script::tokens([&*piece; 60]));
    let mut socket = gateway.chat().await;
    for _ in 0..9 {
        say(&mut socket, "Hello").await;
    }
    let last = tokio::time::timeout(Duration::from_secs(1), gateway.llama.request_started(8)).await;
    assert!(
        last.is_err(),
        "nine megabytes went to a reader that takes nothing"
    );
    for number in 0..9 {
        let (deltas, end) = socket.collect_answer().await.unwrap();
        assert_eq!(
            (number, deltas.concat().len(), end),
            (number, 60 * 16 * 1024, done())
        );
    }
}
