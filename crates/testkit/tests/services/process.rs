//! The services as processes: how they refuse bad settings and how they end.

use serde_json::json;
use testkit::fake_llama::Script;
use testkit::service::binary;
use tokio::process::Command;

use super::{Chain, ask, delta};

pub(super) async fn terminate(pid: Option<u32>) {
    let pid = pid.unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
}

#[tokio::test]
async fn every_service_refuses_bad_settings_all_at_once_with_exit_code_64() {
    for (name, expected) in [
        ("llm-proxy", ["LLM_API_KEY is not set", "PROXY_LISTEN is not usable"]),
        ("chat-gateway", ["LLM_API_KEY is not set", "GATEWAY_LISTEN is not usable"]),
        ("model-fetcher", ["HF_REPO_ID is not set", "HF_FILENAME is not set"]),
    ] {
        let output = Command::new(binary(name).unwrap())
            .env_clear()
            .envs([("PROXY_LISTEN", "nowhere"), ("GATEWAY_LISTEN", "nowhere")])
            .output()
            .await
            .unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{name}: {message}");
        assert!(expected.iter().all(|part| message.contains(part)), "{name}: {message}");
        assert!(!message.contains("nowhere"), "{name} shows a value: {message}");
    }
}

#[tokio::test]
async fn sigterm_lets_a_running_answer_end_and_both_services_exit_0() {
    let mut chain = Chain::start(1).await;
    chain.llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let mut socket = chain.chat().await;
    ask(&mut socket).await;
    assert_eq!(socket.next_json().await.unwrap(), delta("a"));
    terminate(chain.gateway.pid()).await;
    terminate(chain.proxy.pid()).await;
    chain.llama.release();
    assert_eq!(socket.next_json().await.unwrap(), delta("b"));
    assert_eq!(socket.next_json().await.unwrap(), json!({"type": "done"}));
    assert_eq!(socket.wait_close().await.unwrap(), 1001);
    assert_eq!(chain.gateway.exit_code().await.unwrap(), Some(0));
    assert_eq!(chain.proxy.exit_code().await.unwrap(), Some(0));
}
