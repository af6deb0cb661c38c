//! An upstream from which nothing comes any more, not even a refusal: its packets are dropped, as by a firewall or a
//! machine that lost its power. In a network namespace of its own, so that the rules concern nobody else.

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::fake_llama::{FakeLlama, Script};
use testkit::service::Service;
use testkit::tools::needs;
use tokio::process::Command;

use super::{KEY, start_proxy_with};
use crate::restart::question;

/// The connect deadline as it is shipped, and when its end must have been told.
const CONNECT: Duration = Duration::from_secs(1);
const TOLD: Duration = Duration::from_millis(1_200);
const TOKEN_DEADLINE: Duration = Duration::from_secs(1);
/// Another process that takes the cores can only make a wait longer.
const ATTEMPTS: usize = 5;

async fn in_a_network_of_its_own(command: &str) -> Option<Output> {
    let test = std::env::current_exe().unwrap();
    let command = format!("ip link set lo up && {command}");
    Command::new("unshare")
        .args(["-rn", "sh", "-c", &command])
        .arg(test)
        .output()
        .await
        .ok()
}

#[tokio::test]
async fn an_upstream_whose_packets_are_dropped_is_passed_over_or_given_up_in_time() {
    let rule = "ip link set lo up && iptables -A INPUT -p tcp --dport 9 -j DROP";
    if !needs("unshare", &["-rn", "sh", "-c", rule]) {
        return;
    }
    let inside = "exec \"$0\" --ignored --exact dropped::inside";
    let output = in_a_network_of_its_own(inside).await.unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

/// Drops every packet from and to `port`, or no longer.
async fn drop_packets(port: &str, begin: bool) {
    let verb = if begin { "-A" } else { "-D" };
    for side in ["--sport", "--dport"] {
        let rule = ["INPUT", "-p", "tcp", side, port, "-j", "DROP"];
        assert!(
            Command::new("iptables")
                .arg(verb)
                .args(rule)
                .status()
                .await
                .unwrap()
                .success()
        );
    }
}

/// Closes the connections that wait, so that the next request needs one, and drops what follows.
async fn cut_off(llama: &FakeLlama, port: &str) {
    llama.close_idle();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    drop_packets(port, true).await;
}

async fn ask(proxy: &Service, stream: bool) -> (u16, String, Duration) {
    let http = reqwest::Client::new();
    let began = Instant::now();
    let url = format!("{}/v1/chat/completions", proxy.url());
    let response = http
        .post(url)
        .bearer_auth(KEY)
        .json(&question(stream))
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    (status, response.text().await.unwrap(), began.elapsed())
}

#[tokio::test]
#[ignore = "runs in a network namespace, which another test makes for it"]
async fn inside() {
    let [silent, there] = [FakeLlama::start().await, FakeLlama::start().await];
    [&silent, &there]
        .iter()
        .for_each(|llama| llama.require_key(KEY));
    let port = silent.url().rsplit_once(':').unwrap().1.to_owned();
    let settings = [
        ("PROXY_TOKEN_DEADLINE_SECONDS", "1"),
        ("PROXY_FIRST_TOKEN_DEADLINE_SECONDS", "3"),
    ];
    let mut alone = start_proxy_with(&silent.url(), &settings).await;
    for stream in [true, false] {
        let mut fastest = Duration::MAX;
        for _ in 0..ATTEMPTS {
            alone.ready().await.unwrap();
            cut_off(&silent, &port).await;
            let (status, text, took) = ask(&alone, stream).await;
            drop_packets(&port, false).await;
            let error: Value = serde_json::from_str(&text).unwrap();
            if error["error"]["code"] == "first_token_timeout" {
                // A look at the upstream had left a connection behind in that very moment.
                continue;
            }
            assert_eq!(
                (status, error["error"]["code"].as_str().unwrap()),
                (504, "connect_timeout"),
                "{text}"
            );
            assert!(took >= CONNECT, "{took:?}");
            fastest = fastest.min(took);
            if fastest <= TOLD {
                break;
            }
        }
        assert!(fastest <= TOLD, "{fastest:?}");
    }

    // In the middle of an answer.
    alone.ready().await.unwrap();
    silent.script_once(Script::tokens(["a", "b"]).stall_after(1));
    let http = reqwest::Client::new();
    let url = format!("{}/v1/chat/completions", alone.url());
    let mut response = http
        .post(url)
        .bearer_auth(KEY)
        .json(&question(true))
        .send()
        .await
        .unwrap();
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(r#""content":"a""#) {
        text.extend_from_slice(&response.chunk().await.unwrap().unwrap());
    }
    drop_packets(&port, true).await;
    silent.release();
    let began = Instant::now();
    text.extend_from_slice(&response.bytes().await.unwrap());
    let took = began.elapsed();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains(r#""code":"token_timeout""#) && !text.contains("[DONE]"),
        "{text}"
    );
    assert!(took < TOKEN_DEADLINE * 3, "{took:?}");
    drop_packets(&port, false).await;

    // With another upstream nobody notices.
    let both = format!("{},{}", silent.url(), there.url());
    let mut proxy = start_proxy_with(&both, &settings).await;
    proxy.ready().await.unwrap();
    let slots = format!("{}/metrics", proxy.admin_url());
    while !reqwest::get(&slots)
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
        .contains("llm_proxy_slots 4")
    {}
    for _ in 0..ATTEMPTS {
        cut_off(&silent, &port).await;
        let before = there.requests().len();
        let answers = [ask(&proxy, true).await.0, ask(&proxy, true).await.0];
        drop_packets(&port, false).await;
        // Else it was such a connection again.
        if answers == [200, 200] {
            assert_eq!(there.requests().len(), before + 2);
            return;
        }
    }
    panic!("not once were both requests answered");
}
