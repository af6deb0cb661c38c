//! Version 2 when a process is killed in mid-answer: every answer ends exactly once, keeps its text, and can go on.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};
use testkit::service::Service;
use testkit::v2_client::V2Client;
use tokio::time::Instant;

use super::process::signal;
use super::{KEY, start_gateway_with, start_proxy};

/// What a checkpoint may lack: its interval, and a little for a slow disk.
const CHECKPOINT: Duration = Duration::from_millis(3_500);

/// What people are told of an answer whose engine was lost.
const ENGINE_LOST: &str = "the model's server was lost before the answer was complete; try again";

/// Kills the process and waits until it is gone.
async fn kill(service: &mut Service) {
    signal("-KILL", service.pid()).await;
    assert_eq!(service.exit_code().await.unwrap(), None);
}

async fn gateway(base: &str, data: &Path) -> Service {
    let settings = [
        ("GATEWAY_DATA", data.to_str().unwrap()),
        ("GATEWAY_MESSAGES_PER_MINUTE", "0"),
        ("GATEWAY_ANSWERS_PER_USER", "0"),
    ];
    let mut gateway = start_gateway_with(base, &settings).await;
    gateway.ready().await.unwrap();
    gateway
}

fn chat_url(gateway: &Service) -> String {
    let url = gateway.url().replacen("http", "ws", 1);
    format!("{url}/api/v1/ws/chat")
}

async fn fake() -> FakeLlama {
    let llama = FakeLlama::start().await;
    llama.require_key(KEY);
    llama
}

fn words(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("{n}芝🧀 ")).collect()
}

fn field(frame: &Value, name: &str) -> String {
    frame[name].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn after_sigkill_an_answer_is_interrupted_with_its_text_and_goes_on() {
    let llama = fake().await;
    let base = format!("{}/v1", llama.url());
    let data = tempfile::tempdir().unwrap();
    let mut first = gateway(&base, data.path()).await;
    let pause = Duration::from_millis(20);
    llama.script(Script::tokens(words(0, 2_000)).every(pause));
    let mut chat = V2Client::connect(&chat_url(&first)).await.unwrap();
    let accepted = chat.say("count", &json!({})).await.unwrap();
    let conversation = field(&accepted, "conversation");
    let answer = field(&accepted, "answer");
    let here = json!({"conversation": conversation});
    let waiting = chat.say("wait", &here).await.unwrap();
    let waiting = field(&waiting, "answer");
    // Read for more than one checkpoint; what was there so long before the kill is safe.
    let begun = Instant::now();
    let mut seen = Vec::new();
    while begun.elapsed() < Duration::from_millis(7_500) {
        chat.next().await.unwrap();
        seen.push((Instant::now(), chat.answers[&answer].position));
    }
    let killed = Instant::now();
    kill(&mut first).await;
    while chat.next().await.is_ok() {}
    let safe = seen
        .iter()
        .rev()
        .find(|(at, _)| killed - *at > CHECKPOINT)
        .map_or(0, |(_, position)| *position);
    assert!(safe > 0);

    let second = gateway(&base, data.path()).await;
    let url = chat_url(&second);
    let mut back = chat.again(&url).await.unwrap();
    back.answers = std::mem::take(&mut chat.answers);
    back.answers.entry(waiting.clone()).or_default();
    back.watch(&conversation).await.unwrap();
    let joined = back.until_done(&answer).await.unwrap();
    let done = joined.done.unwrap();
    assert_eq!(done["status"], "interrupted");
    let whole = words(0, 2_000).concat();
    assert!(whole.starts_with(&joined.text));
    assert!(joined.position >= safe, "{} of {safe}", joined.position);
    let never = back.until_done(&waiting).await.unwrap();
    assert_eq!(never.done.unwrap()["status"], "interrupted");
    assert_eq!(never.text, "");
    // Another reader, who has nothing, is shown the same.
    let mut fresh = back.again(&url).await.unwrap();
    fresh.answers.entry(answer.clone()).or_default();
    fresh.watch(&conversation).await.unwrap();
    assert_eq!(fresh.until_done(&answer).await.unwrap().text, joined.text);

    let rest = whole.strip_prefix(&joined.text).unwrap().to_owned();
    llama.script(Script::tokens([rest]));
    let aim = json!({"type": "continue", "message": answer});
    assert_eq!(back.request(aim).await.unwrap()["type"], "accepted");
    let joined = back.until_done(&answer).await.unwrap();
    assert_eq!(joined.text, whole);
    assert_eq!(joined.done.unwrap()["status"], "done");
}

#[tokio::test]
async fn killed_fifty_times_at_random_the_gateway_loses_nothing_it_acknowledged() {
    const KILLS: u64 = 50;
    let llama = fake().await;
    let base = format!("{}/v1", llama.url());
    let data = tempfile::tempdir().unwrap();
    let mut running = gateway(&base, data.path()).await;
    let pause = Duration::from_millis(1);
    llama.script(Script::tokens(words(0, 40)).every(pause));
    let whole = words(0, 40).concat();
    // Each answer that was acknowledged, with its conversation and what of its end was told.
    let mut acknowledged: Vec<(String, String, Option<Value>)> = Vec::new();
    let mut chat = V2Client::connect(&chat_url(&running)).await.unwrap();
    let mut unsure: Option<Value> = None;
    for round in 0..KILLS {
        // Spread over a message's whole life, 0 to about 100 ms.
        let moment = Duration::from_millis(round * 37 % 100);
        let life = async {
            if let Some(frame) = unsure.take() {
                // Whether it arrived or not: sent again it is begun once.
                let reply = chat.request(frame).await.unwrap();
                assert_eq!(reply["type"], "accepted", "{reply}");
                acknowledged.push((field(&reply, "conversation"), field(&reply, "answer"), None));
            }
            for n in 0.. {
                let frame = json!({"type": "send", "id": format!("{round}-{n}"), "content": "go"});
                unsure = Some(frame.clone());
                let Ok(reply) = chat.request(frame).await else {
                    return;
                };
                assert_eq!(reply["type"], "accepted", "{reply}");
                unsure = None;
                let answer = field(&reply, "answer");
                acknowledged.push((field(&reply, "conversation"), answer.clone(), None));
                let Ok(joined) = chat.until_done(&answer).await else {
                    return;
                };
                acknowledged.last_mut().unwrap().2 = joined.done;
            }
        };
        let pid = running.pid();
        let killing = async {
            tokio::time::sleep(moment).await;
            signal("-KILL", pid).await;
        };
        tokio::join!(life, killing);
        assert_eq!(running.exit_code().await.unwrap(), None);
        running = gateway(&base, data.path()).await;
        chat = chat.again(&chat_url(&running)).await.unwrap();
    }
    assert!(acknowledged.len() > KILLS as usize / 2);
    let ids: std::collections::HashSet<_> = acknowledged.iter().map(|(_, id, _)| id).collect();
    assert_eq!(ids.len(), acknowledged.len(), "begun twice");
    for (conversation, answer, told) in &acknowledged {
        // A socket watches few, so each is looked at with a socket of its own.
        let mut reader = chat.again(&chat_url(&running)).await.unwrap();
        reader.answers.entry(answer.clone()).or_default();
        reader.watch(conversation).await.unwrap();
        let joined = reader.until_done(answer).await.unwrap();
        let done = joined.done.unwrap();
        assert!(whole.starts_with(&joined.text), "{}", joined.text);
        if let Some(told) = told {
            assert_eq!(done["status"], told["status"]);
            assert_eq!(done["position"], told["position"]);
        } else {
            let status = done["status"].as_str().unwrap();
            assert!(["interrupted", "done"].contains(&status), "{done}");
        }
        reader.socket.close().await.ok();
    }
}

#[tokio::test]
async fn when_the_proxy_or_the_engine_dies_the_answer_keeps_its_text_and_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let llama = fake().await;
    let whole = words(0, 40).concat();
    let half = words(0, 20).concat();
    let mut proxy = start_proxy(&llama.url()).await;
    proxy.ready().await.unwrap();
    for fault in ["proxy", "reset", "error", "end"] {
        let mut running = gateway(&format!("{}/v1", proxy.url()), data.path()).await;
        let script = Script::tokens(words(0, 40));
        llama.script(match fault {
            "proxy" => script.stall_after(20),
            "reset" => script.reset_after(20),
            "error" => script.error_after(20, "slot lost"),
            _ => script.end_after(20),
        });
        let mut chat = V2Client::connect(&chat_url(&running)).await.unwrap();
        let accepted = chat.say("count", &json!({})).await.unwrap();
        let answer = field(&accepted, "answer");
        if fault == "proxy" {
            let length = half.len() as u64;
            chat.until_position(&answer, length).await.unwrap();
            kill(&mut proxy).await;
        }
        let joined = chat.until_done(&answer).await.unwrap();
        let done = joined.done.unwrap();
        assert_eq!(joined.text, half, "{fault}");
        let status = done["status"].as_str().unwrap();
        assert!(
            ["interrupted", "failed"].contains(&status),
            "{fault}: {done}"
        );
        assert_eq!(done["error"]["code"], "upstream_error", "{fault}: {done}");
        let message = done["error"]["message"].as_str().unwrap();
        let expected = match fault {
            "reset" | "end" => ENGINE_LOST,
            _ => "the answer was interrupted; send the message again",
        };
        assert_eq!(message, expected, "{fault}");
        if fault == "proxy" {
            // While it is away a message fails with a type, and is kept.
            let refused = chat.say("anybody?", &json!({})).await.unwrap();
            let refused = chat.until_done(&field(&refused, "answer")).await.unwrap();
            let done = refused.done.unwrap();
            assert_eq!(done["error"]["code"], "upstream_unavailable");
            proxy = start_proxy(&llama.url()).await;
            proxy.ready().await.unwrap();
            kill(&mut running).await;
            running = gateway(&format!("{}/v1", proxy.url()), data.path()).await;
            let back = chat.again(&chat_url(&running)).await.unwrap();
            chat = back;
        }
        llama.script(Script::tokens([whole.strip_prefix(&half).unwrap()]));
        let aim = json!({"type": "continue", "message": answer});
        let accepted = chat.request(aim).await.unwrap();
        assert_eq!(accepted["type"], "accepted", "{fault}: {accepted}");
        let joined = chat.until_done(&answer).await.unwrap();
        assert_eq!(joined.text, whole, "{fault}");
        let request = llama.requests().pop().unwrap();
        let messages = request.body["messages"].as_array().unwrap();
        let last = json!({"role": "assistant", "content": half});
        assert_eq!(messages.last(), Some(&last), "{fault}");
    }
}

#[tokio::test]
async fn an_answer_goes_on_at_another_engine_when_its_own_dies() {
    let data = tempfile::tempdir().unwrap();
    let llamas = [fake().await, fake().await];
    for llama in &llamas {
        llama.script(Script::tokens(words(0, 40)).stall_after(20));
    }
    let upstreams = llamas.each_ref().map(FakeLlama::url).join(",");
    let proxy = start_proxy(&upstreams).await;
    let metrics = format!("{}/metrics", proxy.admin_url());
    let both_up = async || {
        let metrics = reqwest::get(&metrics).await.unwrap().text().await.unwrap();
        let lines = metrics.lines();
        let up = lines.filter(|line| line.starts_with("llm_proxy_upstream_up{"));
        up.filter(|line| line.ends_with(" 1")).count() == llamas.len()
    };
    while !both_up().await {}
    let settings = [
        ("GATEWAY_DATA", data.path().to_str().unwrap()),
        ("GATEWAY_CONTINUE_LOST_ANSWERS", "1"),
    ];
    let base = format!("{}/v1", proxy.url());
    let mut running = start_gateway_with(&base, &settings).await;
    running.ready().await.unwrap();
    let mut chat = V2Client::connect(&chat_url(&running)).await.unwrap();
    let accepted = chat.say("count", &json!({})).await.unwrap();
    let answer = field(&accepted, "answer");
    let half = words(0, 20).concat();
    let length = half.len() as u64;
    chat.until_position(&answer, length).await.unwrap();
    let [one, two] = llamas;
    let (dies, stays) = match one.running() {
        1 => (one, two),
        _ => (two, one),
    };
    stays.script(Script::tokens(words(20, 40)));
    dies.stop().await;
    let joined = chat.until_done(&answer).await.unwrap();
    assert_eq!(joined.text, words(0, 40).concat());
    let done = joined.done.unwrap();
    assert_eq!(
        (&done["status"], &done["joints"], &done["error"]),
        (&json!("done"), &json!([length]), &Value::Null)
    );
    let request = stays.requests().pop().unwrap();
    let last = json!({"role": "assistant", "content": half});
    assert_eq!(
        request.body["messages"].as_array().unwrap().last(),
        Some(&last)
    );
}

#[tokio::test]
async fn stop_reaches_the_engine_through_both_services_from_any_tab() {
    let data = tempfile::tempdir().unwrap();
    let llama = fake().await;
    let mut proxy = start_proxy(&llama.url()).await;
    proxy.ready().await.unwrap();
    let running = gateway(&format!("{}/v1", proxy.url()), data.path()).await;
    let mut chat = V2Client::connect(&chat_url(&running)).await.unwrap();
    let mut other = chat.again(&chat_url(&running)).await.unwrap();
    for (number, tokens) in [0, 1].into_iter().enumerate() {
        llama.script(Script::tokens(["a", "b"]).stall_after(tokens));
        let accepted = chat.say("hi", &json!({})).await.unwrap();
        let answer = field(&accepted, "answer");
        llama.request_started(number).await;
        chat.until_position(&answer, tokens as u64).await.unwrap();
        let began = Instant::now();
        let stop = json!({"type": "stop", "message": answer});
        assert_eq!(other.request(stop).await.unwrap()["type"], "ok");
        llama.client_left(number).await;
        assert!(began.elapsed() < Duration::from_millis(300));
        let done = chat.until_done(&answer).await.unwrap().done.unwrap();
        assert_eq!(done["status"], "stopped");
    }
}

#[tokio::test]
async fn readers_that_take_nothing_cost_the_gateway_little_memory() {
    const READERS: u64 = 40;
    const CHARACTER: &str = "\u{1}";
    let data = tempfile::tempdir().unwrap();
    let llama = fake().await;
    let settings = [
        ("GATEWAY_DATA", data.path().to_str().unwrap()),
        ("GATEWAY_SOCKETS_PER_USER", "0"),
    ];
    let base = format!("{}/v1", llama.url());
    let mut running = start_gateway_with(&base, &settings).await;
    running.ready().await.unwrap();
    let url = chat_url(&running);
    llama.script(Script::tokens(vec![CHARACTER.repeat(1_000); 1_000]).stall_after(1_000));
    let mut chat = V2Client::connect(&url).await.unwrap();
    let accepted = chat.say("long", &json!({})).await.unwrap();
    let conversation = field(&accepted, "conversation");
    let answer = field(&accepted, "answer");
    chat.until_position(&answer, 1_000_000).await.unwrap();
    let before = resident_kib(&running);
    let mut readers = Vec::new();
    for n in 0..READERS {
        let mut reader = chat.again(&url).await.unwrap();
        let frame = json!({"type": "watch", "id": n.to_string(), "conversation": conversation});
        reader.socket.send_json(&frame).await.unwrap();
        readers.push(reader);
    }
    // Another tab is still served while all of them are full.
    for _ in 0..20 {
        chat.socket
            .send_json(&json!({"type": "ping"}))
            .await
            .unwrap();
        assert_eq!(chat.next().await.unwrap()["type"], "pong");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let each = resident_kib(&running).saturating_sub(before) / READERS;
    println!("{each} KiB for each reader that takes nothing of 6 MB");
    assert!(each < 1_200, "{each} KiB");
    drop(readers);
}

/// The memory of a process that is resident.
fn resident_kib(service: &Service) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid().unwrap()));
    let status = status.unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse().unwrap()
}
