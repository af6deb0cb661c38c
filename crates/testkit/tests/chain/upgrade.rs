//! llm-proxy replaced before the real llama-server, while answers run and callers wait.

use futures_util::future::join_all;
use serde_json::Value;
use testkit::service::Service;
use tokio::process::Command;

use crate::stack::Stack;

/// Callers beyond those that have a slot.
const WAITING: usize = 4;
/// Long enough to be still running when all others wait.
const ANSWER_TOKENS: u32 = 32;

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn an_upgrade_under_load_loses_neither_a_running_nor_a_waiting_answer() {
    let stack = Stack::running();
    stack.wait_for_busy_slots(0).await;
    let slots = stack.slots().await;
    // A port that each process binds anew.
    let public = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let settings = [
        ("PROXY_LISTEN", &*public),
        ("PROXY_ADMIN_LISTEN", "127.0.0.1:0"),
        ("PROXY_UPSTREAMS", &stack.engine),
        ("LLM_API_KEY", &stack.key),
        ("LLM_MODEL", &stack.model),
    ];
    for _ in 0..3 {
        let mut proxy = Service::start("llm-proxy", &settings).await.unwrap();
        proxy.ready().await.unwrap();
        let url = format!("{}/v1/chat/completions", proxy.url());
        let caller = async |n: usize| {
            let stream = n.is_multiple_of(2);
            let body = stack.question(
                &format!("Tell a story of {n} horses."),
                stream,
                ANSWER_TOKENS,
            );
            let request = stack.http.post(&url).bearer_auth(&stack.key).json(&body);
            let text = request.send().await.unwrap().text().await.unwrap();
            if stream {
                assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
            } else {
                let whole: Value = serde_json::from_str(&text).unwrap();
                assert!(whole["choices"][0]["finish_reason"].is_string(), "{text}");
            }
        };
        let operator = async {
            let metrics = format!("{}/metrics", proxy.admin_url());
            let full = format!("llm_proxy_queue_depth {WAITING}");
            while !stack
                .http
                .get(&metrics)
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap()
                .contains(&full)
            {}
            let pid = proxy.pid().unwrap().to_string();
            assert!(
                Command::new("kill")
                    .args(["-TERM", &pid])
                    .status()
                    .await
                    .unwrap()
                    .success()
            );
        };
        tokio::join!(join_all((0..slots + WAITING).map(caller)), operator);
        assert_eq!(proxy.exit_code().await.unwrap(), Some(0));
    }
}
