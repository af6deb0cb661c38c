//! Version 2 of the chat protocol through the whole chain: what is promised of the model, seen at the model.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::v2_client::V2Client;

use crate::stack::Stack;

/// From a `stop` to an idle slot.
const IDLE_WITHIN: Duration = Duration::from_millis(300);
/// Attempts at a promised time: another process that wants the core can only make one longer.
const ATTEMPTS: usize = 5;
/// Turns of the long chat.
const TURNS: usize = 20;
/// What must come from the cache of the prompts of turns that leave nothing out, in percent.
const CACHED_PERCENT: u64 = 90;
const LONG_QUESTION: &str = "Write a very long story about a horse.";

fn text(frame: &Value, field: &str) -> String {
    frame[field].as_str().unwrap().to_owned()
}

async fn open(stack: &Stack) -> V2Client {
    V2Client::connect(&stack.chat()).await.unwrap()
}

/// Waits until the slot is idle after a stop, and how long that took.
async fn stopped(stack: &Stack, chat: &mut V2Client, answer: &str) -> Duration {
    let begun = Instant::now();
    let stop = json!({"type": "stop", "message": answer});
    assert_eq!(chat.request(stop).await.unwrap()["type"], "ok");
    let joined = chat.until_done(answer).await.unwrap();
    assert_eq!(joined.done.unwrap()["status"], "stopped");
    stack.time_until_idle().await;
    begun.elapsed()
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn stop_while_it_writes_frees_the_slot_within_300_ms() {
    let stack = Stack::running();
    let mut best = Duration::MAX;
    for _ in 0..ATTEMPTS {
        stack.wait_for_busy_slots(0).await;
        let mut chat = open(&stack).await;
        let accepted = chat.say(LONG_QUESTION, &json!({})).await.unwrap();
        let answer = text(&accepted, "answer");
        chat.until_position(&answer, 20).await.unwrap();
        best = best.min(stopped(&stack, &mut chat, &answer).await);
        if best <= IDLE_WITHIN {
            return;
        }
    }
    panic!("the best of {ATTEMPTS} was {best:?}");
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn stop_while_it_reads_the_prompt_frees_the_slot() {
    let stack = Stack::running();
    stack.wait_for_busy_slots(0).await;
    let mut chat = open(&stack).await;
    let essay = "The quick brown fox jumps over the lazy dog. ".repeat(250);
    let salted = format!("{} {essay}", uuid::Uuid::now_v7());
    let accepted = chat.say(&salted, &json!({})).await.unwrap();
    let answer = text(&accepted, "answer");
    loop {
        let frame = chat.next().await.unwrap();
        if frame["type"] == "progress" && frame["phase"] == "prompt" {
            break;
        }
    }
    stack.until_busy().await;
    // The model ends its batch of 256 tokens first.
    stopped(&stack, &mut chat, &answer).await;
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn stop_while_it_waits_for_the_model_never_reaches_it() {
    let stack = Stack::running();
    stack.wait_for_busy_slots(0).await;
    let slots = stack.slots().await;
    let mut busy = Vec::new();
    for _ in 0..slots {
        let mut chat = open(&stack).await;
        let accepted = chat.say(LONG_QUESTION, &json!({})).await.unwrap();
        let answer = text(&accepted, "answer");
        chat.until_position(&answer, 1).await.unwrap();
        busy.push((chat, answer));
    }
    let mut chat = open(&stack).await;
    let accepted = chat.say(LONG_QUESTION, &json!({})).await.unwrap();
    let waiting = text(&accepted, "answer");
    loop {
        let frame = chat.next().await.unwrap();
        if frame["type"] == "queued" {
            assert_eq!(frame["place"], 1);
            break;
        }
    }
    let stop = json!({"type": "stop", "message": waiting});
    assert_eq!(chat.request(stop).await.unwrap()["type"], "ok");
    let joined = chat.until_done(&waiting).await.unwrap();
    assert_eq!(joined.text, "");
    assert_eq!(joined.done.unwrap()["status"], "stopped");
    for (mut chat, answer) in busy {
        let stop = json!({"type": "stop", "message": answer});
        chat.request(stop).await.unwrap();
        chat.until_done(&answer).await.unwrap();
    }
    stack.wait_for_busy_slots(0).await;
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn continue_goes_on_exactly_where_the_limit_cut() {
    let stack = Stack::running();
    stack.wait_for_busy_slots(0).await;
    let mut chat = open(&stack).await;
    let seeded = |max_tokens: u32| json!({"options": {"temperature": 0.0, "seed": 7, "max_tokens": max_tokens}});
    let question = "Name twenty animals, separated by commas.";
    let whole = chat.say(question, &seeded(48)).await.unwrap();
    let whole = chat.until_done(&text(&whole, "answer")).await.unwrap();
    let cut = chat.say(question, &seeded(24)).await.unwrap();
    let answer = text(&cut, "answer");
    let first = chat.until_done(&answer).await.unwrap();
    assert_eq!(first.done.as_ref().unwrap()["finish_reason"], "length");
    assert!(
        whole.text.starts_with(&first.text),
        "{} / {}",
        whole.text,
        first.text
    );
    let go_on = json!({"type": "continue", "message": answer});
    let accepted = chat.request(go_on).await.unwrap();
    assert_eq!(text(&accepted, "answer"), answer);
    let joined = chat.until_done(&answer).await.unwrap();
    // What was there stays, and what follows begins exactly there.
    assert!(joined.text.starts_with(&first.text));
    assert!(joined.text.len() > first.text.len());
    assert_eq!(
        &joined.text[..whole.text.len().min(joined.text.len())],
        &whole.text[..whole.text.len().min(joined.text.len())]
    );
    let usage = &joined.done.unwrap()["usage"];
    let prompt = usage["prompt_tokens"].as_u64().unwrap();
    let cached = usage["cached_tokens"].as_u64().unwrap();
    // Question and cut answer are in the slot; the last token or two are computed again.
    assert!(cached + 8 >= prompt, "{usage}");
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_chat_of_twenty_turns_comes_from_the_cache() {
    let stack = Stack::running();
    stack.wait_for_busy_slots(0).await;
    let mut chat = open(&stack).await;
    let mut more = json!({"options": {"temperature": 0.0, "max_tokens": 24}});
    let mut left_out = 0;
    let mut cached = 0;
    let mut prompts = 0;
    for turn in 0..TURNS {
        let accepted = chat
            .say(&format!("Tell me fact number {turn} about horses."), &more)
            .await
            .unwrap();
        more["conversation"] = accepted["conversation"].clone();
        let answer = text(&accepted, "answer");
        let joined = chat.until_done(&answer).await.unwrap();
        let done = joined.done.unwrap();
        assert_eq!(done["status"], "done", "{done}");
        let context = chat
            .others
            .iter()
            .rev()
            .find(|frame| frame["type"] == "context" && frame["answer"] == answer.as_str());
        let now = context.map_or(0, |context| context["left_out"].as_u64().unwrap());
        if turn > 0 && now == left_out {
            // What is new of a turn is its question; the rest was in the slot.
            cached += done["usage"]["cached_tokens"].as_u64().unwrap();
            prompts += done["usage"]["prompt_tokens"].as_u64().unwrap();
        }
        left_out = now;
    }
    let percent = cached * 100 / prompts;
    println!("{percent} % of {prompts} prompt tokens came from the cache");
    assert!(percent >= CACHED_PERCENT, "{percent} % of {prompts}");
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_second_turn_is_asked_with_the_first_one_which_is_in_the_cache() {
    let stack = Stack::running();
    stack.wait_for_busy_slots(0).await;
    let mut chat = open(&stack).await;
    let mut more = json!({"options": {"temperature": 0.0, "max_tokens": 12}});
    let mut turns = Vec::new();
    for question in ["Name a colour.", "Name another one."] {
        let accepted = chat.say(question, &more).await.unwrap();
        more["conversation"] = accepted["conversation"].clone();
        let joined = chat.until_done(&text(&accepted, "answer")).await.unwrap();
        let done = joined.done.unwrap();
        assert_eq!(done["status"], "done", "{done}");
        assert!(joined.n_deltas > 2, "{done}");
        turns.push(done["usage"].clone());
    }
    let tokens = |turn: usize, kind: &str| turns[turn][kind].as_u64().unwrap();
    let first = tokens(0, "prompt_tokens");
    assert!(tokens(1, "prompt_tokens") > first, "{turns:?}");
    assert!(tokens(1, "cached_tokens") >= first, "{turns:?}");
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn an_answer_is_read_on_after_the_network_is_cut() {
    let stack = Stack::running();
    stack.wait_for_busy_slots(0).await;
    let mut chat = open(&stack).await;
    let options = json!({"options": {"max_tokens": 100}});
    let accepted = chat.say(LONG_QUESTION, &options).await.unwrap();
    let answer = text(&accepted, "answer");
    let conversation = text(&accepted, "conversation");
    let mut whole = open_same(&stack, &chat).await;
    whole.watch(&conversation).await.unwrap();
    for position in [5, 40, 90, 160] {
        // The answer may end before the last of them.
        if chat.until_position(&answer, position).await.is_err() {
            break;
        }
        let mut again = open_same(&stack, &chat).await;
        again.answers = std::mem::take(&mut chat.answers);
        chat.socket.abort();
        chat = again;
        chat.watch(&conversation).await.unwrap();
    }
    let joined = chat.until_done(&answer).await.unwrap();
    let other = whole.until_done(&answer).await.unwrap();
    assert_eq!(joined.text, other.text);
}

async fn open_same(stack: &Stack, chat: &V2Client) -> V2Client {
    chat.again(&stack.chat()).await.unwrap()
}
