//! The services as processes: how they refuse bad settings and how they end.

use serde_json::json;
use testkit::fake_llama::Script;
use testkit::service::binary;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::{Chain, ask, delta};

pub(super) async fn terminate(pid: Option<u32>) {
    signal("-TERM", pid).await;
}

pub(super) async fn signal(name: &str, pid: Option<u32>) {
    let pid = pid.unwrap().to_string();
    assert!(
        Command::new("kill")
            .args([name, &pid])
            .status()
            .await
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn every_service_refuses_bad_settings_all_at_once_with_exit_code_64() {
    for (name, expected) in [
        (
            "llm-proxy",
            ["LLM_API_KEY is not set", "PROXY_LISTEN is not usable"],
        ),
        (
            "chat-gateway",
            ["LLM_API_KEY is not set", "GATEWAY_LISTEN is not usable"],
        ),
        (
            "model-fetcher",
            ["HF_REPO_ID is not set", "HF_FILENAME is not set"],
        ),
    ] {
        let output = Command::new(binary(name).unwrap())
            .env_clear()
            .envs([("PROXY_LISTEN", "nowhere"), ("GATEWAY_LISTEN", "nowhere")])
            .output()
            .await
            .unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{name}: {message}");
        assert!(
            expected.iter().all(|part| message.contains(part)),
            "{name}: {message}"
        );
        assert!(
            !message.contains("nowhere"),
            "{name} shows a value: {message}"
        );
    }
}

#[tokio::test]
async fn sigterm_lets_a_running_answer_end_and_both_services_exit_0() {
    let mut chain = Chain::start(1).await;
    chain
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
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

#[tokio::test]
async fn connections_accepted_by_the_kernel_before_the_signal_are_answered() {
    let mut chain = Chain::start(1).await;
    for service in [&mut chain.gateway, &mut chain.proxy] {
        let address = service.url().replace("http://", "");
        // While it stands still, the kernel alone takes connections.
        signal("-STOP", service.pid()).await;
        let mut waiting = Vec::new();
        for _ in 0..100 {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream
                .write_all(b"GET /api HTTP/1.1\r\nHost: x\r\n\r\n")
                .await
                .unwrap();
            waiting.push(stream);
        }
        terminate(service.pid()).await;
        signal("-CONT", service.pid()).await;
        for stream in &mut waiting {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        }
        assert_eq!(service.exit_code().await.unwrap(), Some(0));
    }
}
