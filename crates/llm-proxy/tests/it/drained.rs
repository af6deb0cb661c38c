//! `llm-proxy drain` and `resume`: an upstream is taken out of use without a cut, also when it is the only one.

use std::process::Output;

use futures_util::future::join_all;
use llm_proxy::Config;
use serde_json::Value;
use testkit::fake_llama::{FakeLlama, Script};
use tokio::process::Command;

use crate::fleet::{before_all, is_up};
use crate::{Proxy, UPSTREAM_KEY, question, until};

/// `llm-proxy VERB ARGUMENTS` for this proxy: whether it ended with 0, and what it said.
async fn run(proxy: &Proxy, verb: &str, arguments: &[&str]) -> (bool, String) {
    let admin = format!("http://{}", proxy.admin);
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-proxy"));
    command
        .arg(verb)
        .args(arguments)
        .args(["--admin", &admin])
        .kill_on_drop(true);
    let Output { status, stderr, .. } = command.output().await.unwrap();
    (status.success(), String::from_utf8(stderr).unwrap())
}

fn address(llama: &FakeLlama) -> String {
    llama.url().replace("http://", "")
}

async fn status(proxy: &Proxy) -> Value {
    let url = format!("http://{}/status", proxy.admin);
    let answer = proxy.http.get(url).send().await.unwrap();
    answer.json().await.unwrap()
}

#[tokio::test]
async fn a_drained_upstream_ends_its_answers_and_gets_no_new_ones() {
    let old = FakeLlama::start().await;
    old.set_slots(4);
    let new = FakeLlama::start().await;
    new.set_slots(1);
    let proxy = before_all(&[&old, &new], |_| {}).await;
    let address = address(&old);
    old.script_once(Script::tokens(["a", "b"]).stall_after(1));
    let running = loop {
        let answer = proxy.ask(&question(true)).await;
        if old.running() == 1 {
            break answer;
        }
        drop(answer.text().await.unwrap());
    };
    let asked = old.requests().len();
    let (is_done, said) = run(&proxy, "drain", &[&address, "--wait", "0"]).await;
    assert!(
        is_done && said.contains("1 answers still run there"),
        "{said}"
    );
    // More at once than the new one has slots.
    let asking = (0..6).map(async |_| {
        let answer = proxy.ask(&question(true)).await;
        assert!(answer.text().await.unwrap().contains("[DONE]"));
    });
    join_all(asking).await;
    assert_eq!(old.requests().len(), asked);
    let shown = status(&proxy).await;
    assert_eq!(shown["drained"], serde_json::json!([address]));
    let upstream = shown["upstreams"]
        .as_array()
        .unwrap()
        .iter()
        .find(|upstream| upstream["upstream"] == *address)
        .unwrap();
    assert_eq!(
        (&upstream["up"], &upstream["busy"], &upstream["state"]),
        (
            &false.into(),
            &1.into(),
            &"drained, gets no new requests; it answers".into()
        )
    );
    let (is_done, said) = run(&proxy, "drain", &[&old.url(), "--wait", "1"]).await;
    assert!(
        !is_done && said.contains("after 1 s 1 answers still run"),
        "{said}"
    );
    let waiting = async { run(&proxy, "drain", &[&address]).await };
    let ending = async {
        old.release();
        running.text().await.unwrap()
    };
    let ((is_done, said), answer) = tokio::join!(waiting, ending);
    assert!(is_done && said.contains("no answer runs there"), "{said}");
    assert!(answer.contains("[DONE]"), "{answer}");
}

#[tokio::test]
async fn while_the_only_upstream_is_drained_requests_wait_for_its_successor() {
    let old = FakeLlama::start().await;
    old.set_slots(1);
    let proxy = Proxy::with(&old, |_| {}).await;
    let address = address(&old);
    let running = proxy.ask_stalled(&old).await;
    let (is_done, said) = run(&proxy, "drain", &[&address, "--wait", "0"]).await;
    assert!(
        is_done && said.contains("no other upstream answers: requests wait"),
        "{said}"
    );
    let body = question(true);
    let waiting = proxy.ask(&body);
    let swapping = async {
        proxy.until_metric("llm_proxy_queue_depth 1").await;
        old.release();
        assert!(running.text().await.unwrap().contains("[DONE]"));
        let place = old.stop().await;
        proxy
            .until_metric(&is_up(&format!("http://{place}"), false))
            .await;
        assert_eq!(proxy.ready().await.0, 200);
        let new = FakeLlama::start_at(place).await;
        new.require_key(UPSTREAM_KEY);
        // It answers, and is still drained: its model is tried before anybody gets it.
        proxy
            .until_metric(&is_up(&format!("http://{place}"), true))
            .await;
        proxy.until_metric("llm_proxy_queue_depth 1").await;
        let (is_done, said) = run(&proxy, "resume", &[&address]).await;
        assert!(is_done, "{said}");
        new
    };
    let (answer, new) = tokio::join!(waiting, swapping);
    assert!(answer.text().await.unwrap().contains("[DONE]"));
    assert_eq!(new.requests().len(), 1);
    assert_eq!(status(&proxy).await["drained"], serde_json::json!([]));
}

#[tokio::test]
async fn requests_that_wait_for_a_successor_are_refused_when_none_will_come() {
    let llama = FakeLlama::start().await;
    let impatient = |config: &mut Config| {
        config.deadlines.queue = std::time::Duration::from_millis(300);
    };
    let proxy = Proxy::with(&llama, impatient).await;
    let address = address(&llama);
    run(&proxy, "drain", &[&address]).await;
    assert_eq!(proxy.ask(&question(true)).await.status(), 503);
    let is_down = is_up(&llama.url(), false);
    drop(llama);
    proxy.until_metric(&is_down).await;
    let (is_done, said) = run(&proxy, "resume", &[&address, "--wait", "1"]).await;
    assert!(!is_done && said.contains("after 1 s"), "{said}");
    until("unreadiness", async || proxy.ready().await.0 == 503).await;
}

#[tokio::test]
async fn an_address_may_be_drained_before_its_upstream_is_there() {
    let here = FakeLlama::start().await;
    let later = FakeLlama::start().await.stop().await;
    here.require_key(UPSTREAM_KEY);
    let proxy = Proxy::start(&format!("{},http://{later}", here.url()), |_| {}).await;
    proxy.until_ready().await;
    let (is_done, said) = run(&proxy, "drain", &[&later.to_string()]).await;
    assert!(is_done && said.contains("no answer runs there"), "{said}");
    let (is_done, said) = run(&proxy, "drain", &["10.1.2.3:8080"]).await;
    assert!(
        is_done && said.contains("at the moment it is no upstream"),
        "{said}"
    );
    let there = FakeLlama::start_at(later).await;
    there.require_key(UPSTREAM_KEY);
    proxy.until_metric(&is_up(&there.url(), true)).await;
    for _ in 0..4 {
        let answer = proxy.ask(&question(true)).await;
        assert!(answer.text().await.unwrap().contains("[DONE]"));
    }
    assert_eq!(there.requests().len(), 0);
    let (is_done, said) = run(&proxy, "resume", &["10.1.2.3:8080", "--wait", "0"]).await;
    assert!(is_done, "{said}");
    assert_eq!(
        status(&proxy).await["drained"],
        serde_json::json!([later.to_string()])
    );
    let (is_done, said) = run(&proxy, "resume", &[]).await;
    assert!(is_done, "{said}");
    assert_eq!(status(&proxy).await["drained"], serde_json::json!([]));
}

#[tokio::test]
async fn no_browser_drains_and_what_is_no_address_is_refused() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let url = format!("http://{}/drained", proxy.admin);
    let put = |query: &str| proxy.http.put(format!("{url}{query}"));
    let query = format!("?upstream={}", llama.url());
    let from_a_page = put(&query).header("origin", "http://localhost:9081");
    assert_eq!(from_a_page.send().await.unwrap().status(), 403);
    for wrong in [
        "",
        "?upstream=",
        "?upstream=a:1",
        "?upstream=dns%2Bhttp://a:1",
    ] {
        assert_eq!(put(wrong).send().await.unwrap().status(), 400, "{wrong}");
    }
    assert_eq!(status(&proxy).await["drained"], serde_json::json!([]));
    let (is_done, said) = run(&proxy, "drain", &["two words"]).await;
    assert!(!is_done && said.contains("must look like"), "{said}");
}
