//! The services' settings as a process meets them: what is refused with exit code 64 before a port is bound, and what is
//! passed over.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use testkit::fake_llama::FakeLlama;
use testkit::service::binary;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::{KEY, start_gateway_with, start_proxy_with};

/// How long a process may take that must end by itself.
const PATIENCE: Duration = Duration::from_secs(20);
const SERVICES: [&str; 3] = ["llm-proxy", "chat-gateway", "model-fetcher"];
/// What they need. Nobody listens on port 9.
const NEEDED: [(&str, &str); 11] = [
    ("PROXY_LISTEN", "127.0.0.1:0"),
    ("PROXY_ADMIN_LISTEN", "127.0.0.1:0"),
    ("PROXY_UPSTREAMS", "http://127.0.0.1:9"),
    ("GATEWAY_LISTEN", "127.0.0.1:0"),
    ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"),
    ("LLM_BASE_URL", "http://127.0.0.1:9/v1"),
    ("LLM_MODEL", "fake-model"),
    ("HF_REPO_ID", "owner/name"),
    ("HF_FILENAME", "model.gguf"),
    ("HF_ENDPOINT", "http://127.0.0.1:9"),
    ("MODELS_DIR", "/nowhere"),
];

fn needed() -> Vec<(&'static str, &'static OsStr)> {
    NEEDED
        .map(|(name, value)| (name, OsStr::new(value)))
        .to_vec()
}

/// Exit code and standard error of a service with these settings alone.
async fn run(service: &str, arguments: &[&str], settings: &[(&str, &OsStr)]) -> (i32, String) {
    let mut command = Command::new(binary(service).unwrap());
    command
        .args(arguments)
        .env_clear()
        .envs(settings.iter().copied())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, command.output());
    let output = ended.await.expect("it must end by itself").unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// What each service says that refuses these settings, without its own name.
async fn refusals(settings: &[(&str, &OsStr)]) -> Vec<String> {
    let mut told = Vec::new();
    for service in SERVICES {
        let (code, message) = run(service, &[], &[&needed(), settings].concat()).await;
        assert_eq!(code, 64, "{service}: {message}");
        let head = format!("{service}: the settings are not usable:\n  ");
        let problem = message.strip_prefix(&head);
        told.push(problem.expect(&message).trim_end().to_owned());
    }
    told
}

fn write(folder: &Path, text: &[u8]) -> OsString {
    let path = folder.join("key");
    std::fs::write(&path, text).unwrap();
    path.into_os_string()
}

#[tokio::test]
async fn a_key_that_llama_server_reads_differently_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    for (text, reason) in [
        (&b"s3cret-s3cret\r\n"[..], "has a line that ends in CR LF"),
        (
            b"\xef\xbb\xbfs3cret-s3cret\n",
            "begins with a byte order mark",
        ),
        (b"s3cret,s3cret\n", "has a comma"),
        (b"#s3cret-s3cret\n", "begins with #"),
        (b"s3cret\ns3cret\n", "has a line feed"),
        (b" s3cret-s3cret\n", "has white space"),
    ] {
        let path = write(folder.path(), text);
        let value = OsStr::from_bytes(text.strip_suffix(b"\n").unwrap());
        for service in ["llm-proxy", "chat-gateway"] {
            for (name, value, problem) in [
                ("LLM_API_KEY", value, format!("LLM_API_KEY {reason}")),
                (
                    "LLM_API_KEY_FILE",
                    path.as_os_str(),
                    format!("LLM_API_KEY_FILE: {} {reason}", path.display()),
                ),
            ] {
                let settings = [&needed()[..], &[(name, value)]].concat();
                let (code, message) = run(service, &[], &settings).await;
                assert_eq!(code, 64, "{message}");
                assert!(message.contains(&problem), "{problem}: {message}");
                assert!(!message.contains("s3cret"), "{message}");
            }
        }
    }
}

#[tokio::test]
async fn a_level_or_target_that_means_nothing_is_refused_by_every_service() {
    let key = ("LLM_API_KEY", OsStr::new(KEY));
    for level in [
        "loud",
        "info,loud",
        "info,llm_poxy=debug",
        "info,tungstenite=debug",
    ] {
        for told in refusals(&[key, ("LOG_LEVEL", OsStr::new(level))]).await {
            assert!(
                told.starts_with("LOG_LEVEL is not usable: "),
                "{level}: {told}"
            );
        }
    }
}

#[tokio::test]
async fn a_value_that_is_not_utf_8_is_refused_by_every_service() {
    let latin = OsStr::from_bytes(b"inf\xf6");
    let key = ("LLM_API_KEY", OsStr::new(KEY));
    let told = refusals(&[key, ("LOG_LEVEL", latin)]).await;
    assert_eq!(told, ["LOG_LEVEL is not UTF-8 text"; 3]);
}

#[tokio::test]
async fn levels_in_any_case_and_service_links_of_kubernetes_start_both_services() {
    let llama = FakeLlama::start().await;
    llama.require_key(KEY);
    let settings = [
        (
            "LOG_LEVEL",
            "WARNING,llm-proxy=Info,chat-gateway=INFO,common=info",
        ),
        ("PROXY_PORT", "tcp://10.96.0.7:8081"),
        ("PROXY_SERVICE_HOST", "10.96.0.7"),
        ("PROXY_SERVICE_PORT_HTTP", "8081"),
        ("PROXY_PORT_8081_TCP_ADDR", "10.96.0.7"),
        ("GATEWAY_PORT_8000_TCP", "tcp://10.96.0.8:8000"),
        ("GATEWAY_SERVICE_HOST", "10.96.0.8"),
    ];
    let mut proxy = start_proxy_with(&llama.url(), &settings).await;
    proxy.ready().await.unwrap();
    let base = format!("{}/v1", proxy.url());
    let mut gateway = start_gateway_with(&base, &settings).await;
    gateway.ready().await.unwrap();
}

#[tokio::test]
async fn a_misspelt_setting_is_refused_with_the_one_that_was_meant() {
    for (service, name, meant) in [
        ("llm-proxy", "PROXY_MAX_TOKEN", "PROXY_MAX_TOKENS"),
        ("chat-gateway", "GATEWAY_LISTEM", "GATEWAY_LISTEN"),
        ("model-fetcher", "MODEL_SHA265", "MODEL_SHA256"),
    ] {
        let (code, message) = run(service, &[], &[(name, OsStr::new("8"))]).await;
        let problem = format!("\n  {name} is not a setting; did you mean {meant}?\n");
        assert_eq!(code, 64);
        assert!(message.contains(&problem), "{message}");
    }
}

#[tokio::test]
async fn a_health_check_reads_the_admin_listener_and_no_other_setting() {
    for (service, name, prefix) in [
        ("llm-proxy", "PROXY_ADMIN_LISTEN", "PROXY"),
        ("chat-gateway", "GATEWAY_ADMIN_LISTEN", "GATEWAY"),
    ] {
        let wrong = format!("{prefix}_DRAIN_SECONDS");
        let ask = async |admin: &str| {
            let settings = [
                (name, OsStr::new(admin)),
                (&*wrong, OsStr::new("nonsense")),
                ("LOG_LEVEL", OsStr::new("nonsense")),
            ];
            run(service, &["healthcheck"], &settings).await
        };
        let (code, message) = ask("127.0.0.1:9").await;
        assert_eq!(code, 1, "{message}");
        assert!(
            message.contains("127.0.0.1:9 cannot be asked: "),
            "{message}"
        );
        let (code, message) = ask("nowhere").await;
        assert_eq!(code, 64, "{message}");
    }
}

#[tokio::test]
async fn settings_of_a_file_count_below_those_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(
        folder.path(),
        b"PROXY_ADMIN_LISTEN = \"127.0.0.1:9\"\nPROXY_MAX_TOKENS = 0\n",
    );
    let file = ("SETTINGS_FILE", path.as_os_str());
    let (code, message) = run("llm-proxy", &["healthcheck"], &[file]).await;
    assert!(code == 1 && message.contains("127.0.0.1:9 "), "{message}");
    let zero = "PROXY_MAX_TOKENS is not usable";
    let (_, message) = run("llm-proxy", &[], &[file]).await;
    assert!(message.contains(zero), "{message}");
    let (_, message) = run(
        "llm-proxy",
        &[],
        &[file, ("PROXY_MAX_TOKENS", OsStr::new("8"))],
    )
    .await;
    assert!(!message.contains(zero), "{message}");
}

#[tokio::test]
async fn a_short_key_is_warned_of_at_the_start() {
    let mut child = Command::new(binary("llm-proxy").unwrap())
        .env_clear()
        .envs(needed())
        .env("LLM_API_KEY", "a")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let warned = async {
        let warning = "LLM_API_KEY is so short that a stranger may find it by trying";
        while !lines.next_line().await.unwrap().unwrap().contains(warning) {}
    };
    tokio::time::timeout(PATIENCE, warned).await.unwrap();
}
