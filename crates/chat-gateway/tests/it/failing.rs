//! When upstream fails: one error, no `done`, nothing retried, and a clean conversation afterwards.

use testkit::fake_llama::{FakeLlama, Script};
use testkit::ws_client::WsClient;

use crate::gateway::{Gateway, delta, done, error, say};

const INTERRUPTED: &str = "the answer was interrupted; send the message again";

/// The next message is answered, and upstream hears nothing of the failed turn.
async fn goes_on(gateway: &Gateway, socket: &mut WsClient) {
    let number = gateway.llama.requests().len();
    say(socket, "again").await;
    assert_eq!(
        socket.collect_answer().await.unwrap(),
        (vec!["Hello".to_owned()], done())
    );
    assert_eq!(gateway.asked(number).await, ["user: again"]);
    assert_eq!(gateway.llama.requests().len(), number + 1);
}

#[tokio::test]
async fn an_answer_that_breaks_is_one_error_and_leaves_no_trace() {
    let broken = || Script::tokens(["half", " an answer"]);
    for (script, outcome) in [
        (broken().end_after(1), "disconnected"),
        (broken().reset_after(1), "disconnected"),
        (
            broken().error_after(1, "at http://10.0.0.7/secret: Compute error."),
            "interrupted",
        ),
        (broken().end_after(2), "disconnected"),
    ] {
        let gateway = Gateway::start().await;
        gateway.llama.script_once(script.clone());
        let mut socket = gateway.chat().await;
        say(&mut socket, "one").await;
        assert_eq!(
            socket.next_json().await.unwrap(),
            delta("half"),
            "{script:?}"
        );
        let (_, end) = socket.collect_answer().await.unwrap();
        assert_eq!(end, error(INTERRUPTED), "{script:?}");
        goes_on(&gateway, &mut socket).await;
        gateway
            .metric(&format!(
                "chat_gateway_answers_total{{outcome=\"{outcome}\"}} 1"
            ))
            .await;
        gateway
            .metric("chat_gateway_answers_total{outcome=\"done\"} 1")
            .await;
    }
}

#[tokio::test]
async fn a_refusal_is_a_short_sentence_of_ours_and_is_not_retried() {
    let enveloped =
        |code: &str| format!(r#"{{"error":{{"message":"raw words","type":"x","code":"{code}"}}}}"#);
    for (script, message) in [
        (
            Script::refusal(503, "unavailable_error", "Loading model"),
            "the model is still loading; try again in a moment",
        ),
        (
            Script::status(503, enveloped("model_loading")),
            "the model is still loading; try again in a moment",
        ),
        (
            Script::refusal(401, "authentication_error", "Invalid API Key"),
            "the model service does not accept this gateway's key; tell the operator",
        ),
        (
            Script::status(504, enveloped("first_token")),
            "the model took too long to answer; try again",
        ),
        (
            Script::refusal(404, "not_found_error", "raw words"),
            "the model service does not know the configured model; tell the operator",
        ),
        (
            Script::refusal(500, "server_error", "raw words"),
            "the model service failed; try again in a moment",
        ),
        (
            Script::status(502, "<html>raw words"),
            "the model service failed; try again in a moment",
        ),
        (
            Script::refusal(400, "invalid_request_error", "raw words"),
            "the model service does not accept this message",
        ),
        (
            Script::tokens(["x"]).reset_before_headers(),
            "the model service failed; try again in a moment",
        ),
    ] {
        let gateway = Gateway::start().await;
        gateway.llama.script_once(script.clone());
        let mut socket = gateway.chat().await;
        say(&mut socket, "one").await;
        assert_eq!(
            socket.next_json().await.unwrap(),
            error(message),
            "{script:?}"
        );
        goes_on(&gateway, &mut socket).await;
    }
}

#[tokio::test]
async fn a_message_that_finds_the_model_busy_waits_for_its_answer() {
    let busy =
        |code: &str| format!(r#"{{"error":{{"message":"raw words","type":"x","code":"{code}"}}}}"#);
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script_once(Script::status(429, busy("queue_full")));
    gateway
        .llama
        .script_once(Script::status(503, busy("queue_timeout")));
    let mut socket = gateway.chat().await;
    say(&mut socket, "one").await;
    assert_eq!(
        socket.collect_answer().await.unwrap(),
        (vec!["Hello".to_owned()], done())
    );
    let asked = gateway.llama.requests();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|request| request.body == asked[0].body));
    assert_eq!(asked[0].headers["x-queue-events"], "1");

    // Leaving ends the wait.
    for _ in 0..20 {
        gateway
            .llama
            .script_once(Script::status(429, busy("queue_full")));
    }
    say(&mut socket, "two").await;
    gateway.llama.request_started(3).await;
    socket.abort();
    gateway
        .metric("chat_gateway_answers_total{outcome=\"closed\"} 1")
        .await;
}

#[tokio::test]
async fn an_upstream_that_is_away_is_an_error_until_it_is_back() {
    let Gateway {
        llama,
        shutdown,
        traces,
        public,
        admin,
        data,
    } = Gateway::start().await;
    let url = format!("ws://{public}/api/v1/ws/chat");
    let mut socket = WsClient::connect(&url).await.unwrap();
    let address = llama.stop().await;
    say(&mut socket, "one").await;
    let away = error("the model service cannot be reached; try again in a moment");
    assert_eq!(socket.next_json().await.unwrap(), away);
    let gateway = Gateway {
        llama: FakeLlama::start_at(address).await,
        shutdown,
        traces,
        public,
        admin,
        data,
    };
    goes_on(&gateway, &mut socket).await;
}

#[tokio::test]
async fn an_answer_without_end_is_stopped() {
    let gateway = Gateway::start().await;
    let piece = "x".repeat(256 * 1024);
    gateway
        .llama
        .script(Script::tokens([&*piece; 5]).stall_after(5));
    let mut socket = gateway.chat().await;
    say(&mut socket, "one").await;
    let (_, end) = socket.collect_answer().await.unwrap();
    assert_eq!(end, error("the answer grew too long and was stopped"));
    gateway.llama.client_left(0).await;
}
