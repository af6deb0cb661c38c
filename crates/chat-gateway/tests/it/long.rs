//! Long chats: the oldest turns are cut, and the client never hears of it.

use serde_json::json;
use testkit::fake_llama::{FakeLlama, Script};

use crate::gateway::{Gateway, done, error, say};

fn overflow(n_prompt_tokens: u64, n_ctx: u64) -> Script {
    let error = json!({
        "code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": n_prompt_tokens, "n_ctx": n_ctx,
        "message": format!("request ({n_prompt_tokens} tokens) exceeds the available context size ({n_ctx} tokens)"),
    });
    Script::status(400, json!({ "error": error }).to_string())
}

#[tokio::test]
async fn the_oldest_turns_are_cut_when_the_context_that_upstream_names_is_full() {
    let llama = FakeLlama::start().await;
    llama.set_n_ctx(256);
    llama.script(Script::tokens(["y".repeat(60)]));
    let gateway = Gateway::before(llama, &[("GATEWAY_MAX_TOKENS", "64")]).await;
    gateway.readiness(200).await;
    let mut socket = gateway.chat().await;
    let mut lengths = Vec::new();
    for number in 0..30 {
        say(&mut socket, &format!("{number} {}", "x".repeat(60))).await;
        assert_eq!(socket.collect_answer().await.unwrap().1, done());
        let asked = gateway.asked(number).await;
        let bytes: usize = asked.iter().map(String::len).sum();
        assert!(bytes / 3 < 256 - 64, "{bytes} bytes in request {number}");
        assert_eq!(
            *asked.last().unwrap(),
            format!("user: {number} {}", "x".repeat(60))
        );
        assert!(asked[0].starts_with("user: "));
        lengths.push(asked.len());
    }
    assert!(
        lengths.iter().max() > Some(&3),
        "earlier turns are remembered: {lengths:?}"
    );
}

#[tokio::test]
async fn an_overflow_is_asked_again_with_fewer_turns_and_the_client_sees_only_the_answer() {
    let gateway = Gateway::start().await;
    let mut socket = gateway.chat().await;
    for number in 0..6 {
        say(&mut socket, &number.to_string()).await;
        assert_eq!(socket.collect_answer().await.unwrap().1, done());
    }
    gateway.llama.script_once(overflow(4200, 4096));
    gateway.llama.script_once(overflow(4097, 4096));
    say(&mut socket, "last").await;
    assert_eq!(
        socket.collect_answer().await.unwrap(),
        (vec!["Hello".to_owned()], done())
    );
    let (first, second, third) = (
        gateway.asked(6).await,
        gateway.asked(7).await,
        gateway.asked(8).await,
    );
    assert_eq!(first.len(), 13);
    assert!(
        second.len() < first.len() && third.len() < second.len(),
        "{second:?} {third:?}"
    );
    assert!(
        first.ends_with(&second) && second.ends_with(&third),
        "only the oldest turns went"
    );
    assert_eq!(gateway.llama.requests().len(), 9);
    gateway
        .metric("chat_gateway_answers_total{outcome=\"done\"} 7")
        .await;
}

#[tokio::test]
async fn a_single_message_that_does_not_fit_is_an_error_in_words_and_costs_no_history() {
    let gateway = Gateway::start().await;
    let mut socket = gateway.chat().await;
    say(&mut socket, "one").await;
    assert_eq!(socket.collect_answer().await.unwrap().1, done());
    gateway.llama.script_once(overflow(9000, 4096));
    gateway.llama.script_once(overflow(8900, 4096));
    say(&mut socket, "a very long message").await;
    assert_eq!(
        socket.next_json().await.unwrap(),
        error("the message is too long for the model; shorten it")
    );
    assert_eq!(gateway.asked(2).await, ["user: a very long message"]);
    assert_eq!(gateway.llama.requests().len(), 3);
    say(&mut socket, "a short one").await;
    assert_eq!(
        gateway.asked(3).await,
        ["user: one", "assistant: Hello", "user: a short one"]
    );
}
