//! A chat that outgrows the model's context: whole oldest turns are left out, seldom and many at once.

use serde_json::{Value, json};
use testkit::fake_llama::Script;

use crate::gateway::Gateway;
use crate::v2_tools::{converse, open, plain, say};

const CONTEXT: u64 = 1_000;
const ANSWER: u64 = 200;

/// The words of the messages of every chat that the model was asked for, after the system prompt.
fn prompts(gateway: &Gateway) -> Vec<Vec<String>> {
    let requests = gateway.llama.requests();
    let chats = requests
        .iter()
        .filter(|request| request.line == "POST /v1/chat/completions");
    chats
        .map(|request| {
            let messages = request.body["messages"].as_array().unwrap();
            let words = messages[1..].iter().map(|message| &message["content"]);
            words
                .map(|words| words.as_str().unwrap().to_owned())
                .collect()
        })
        .collect()
}

#[tokio::test]
async fn the_oldest_turns_are_left_out_seldom_so_that_the_beginning_stays() {
    const TURNS: usize = 40;
    let max_tokens = ANSWER.to_string();
    let settings = [
        ("GATEWAY_MAX_TOKENS", &*max_tokens),
        ("GATEWAY_MESSAGES_PER_MINUTE", "0"),
    ];
    let gateway = Gateway::start_with(&settings).await;
    gateway.llama.set_n_ctx(CONTEXT as usize);
    gateway.llama.count_tokens();
    gateway.readiness(200).await;
    let mut chat = open(&gateway).await;
    let mut conversation = None;
    let mut asked = Vec::new();
    for turn in 0..TURNS {
        gateway.llama.script(Script::tokens([format!(
            "answer {turn} {}",
            "a".repeat(90)
        )]));
        let question = format!("question {turn} {}", "q".repeat(90));
        let [id, _, _] = converse(&mut chat, conversation.as_deref(), &question).await;
        conversation = Some(id);
        asked.push(question);
    }
    let prompts = prompts(&gateway);
    assert_eq!(prompts.len(), TURNS, "an overflow was met");
    let mut cuts = 0;
    for (turn, pair) in prompts.windows(2).enumerate() {
        let [before, after] = pair else { panic!() };
        if !after.starts_with(before) {
            cuts += 1;
            // Whole turns: it begins with a question, and holds everything since.
            assert!(after[0].starts_with("question"), "{turn}");
        }
        assert_eq!(after.last(), Some(&asked[turn + 1]));
    }
    assert!((2..=TURNS / 5).contains(&cuts), "{cuts} cuts");
    let contexts = chat
        .others
        .iter()
        .filter(|frame| frame["type"] == "context");
    let contexts: Vec<&Value> = contexts.collect();
    assert_eq!(contexts.len(), TURNS);
    for (turn, (context, prompt)) in contexts.iter().zip(&prompts).enumerate() {
        assert_eq!(context["size"], CONTEXT);
        assert_eq!(context["left_out"], 2 * turn + 1 - prompt.len(), "{turn}");
        let used = context["used"].as_u64().unwrap();
        assert!(used > 0 && used <= CONTEXT - ANSWER, "{context}");
    }
}

#[tokio::test]
async fn an_overflow_that_the_model_reports_leads_to_one_shorter_ask() {
    let gateway = Gateway::start().await;
    gateway.readiness(200).await;
    let mut chat = open(&gateway).await;
    let mut conversation = None;
    for turn in 0..6 {
        let question = format!("question {turn} {}", "q".repeat(300));
        let [id, _, _] = converse(&mut chat, conversation.as_deref(), &question).await;
        conversation = Some(id);
    }
    let overflow = json!({"error": {
        "code": 400, "type": "exceed_context_size_error", "message": "too long",
        "n_prompt_tokens": 1_200, "n_ctx": 1_000,
    }});
    gateway
        .llama
        .script_once(Script::status(400, overflow.to_string()));
    let here = json!({"conversation": conversation});
    let [_, _, answer] = say(&mut chat, "last", &here).await;
    let joined = chat.until_done(&answer).await.unwrap();
    assert_eq!(joined.done.unwrap()["status"], "done");
    let prompts = prompts(&gateway);
    assert_eq!(prompts.len(), 8);
    assert!(prompts[7].len() < prompts[6].len());
    assert!(prompts[6].ends_with(&prompts[7]));
    let mut contexts = chat
        .others
        .iter()
        .filter(|frame| frame["type"] == "context");
    let told = contexts.next_back().unwrap();
    assert_eq!(told["left_out"], prompts[6].len() - prompts[7].len());
}

#[tokio::test]
async fn a_message_that_does_not_fit_alone_fails_with_its_reason() {
    let gateway = Gateway::start().await;
    let overflow = json!({"error": {
        "code": 400, "type": "exceed_context_size_error", "message": "too long",
        "n_prompt_tokens": 9_000, "n_ctx": 1_000,
    }});
    gateway
        .llama
        .script(Script::status(400, overflow.to_string()));
    let mut chat = open(&gateway).await;
    let [_, _, answer] = say(&mut chat, &"long ".repeat(6_000), &plain()).await;
    let done = chat.until_done(&answer).await.unwrap().done.unwrap();
    assert_eq!(done["status"], "failed");
    assert_eq!(done["error"]["code"], "context_too_long");
    assert_eq!(prompts(&gateway).len(), 1);
}
