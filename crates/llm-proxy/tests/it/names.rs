//! Upstreams by name: every address behind one is an upstream, and is followed when it comes and goes; and settings that
//! cannot be.

use std::time::{Duration, Instant};

use common::env::Environment;
use llm_proxy::{Config, VARIABLES};
use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};
use testkit::tools::needs;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::fleet::is_up;
use crate::{KEY, MODEL, PATIENCE, Proxy, UPSTREAM_KEY, question, until};

#[tokio::test]
async fn every_address_behind_a_name_is_an_upstream_and_the_name_itself_is_none() {
    let llama = FakeLlama::start().await;
    llama.require_key(UPSTREAM_KEY);
    let url = llama.url();
    let port = url.rsplit_once(':').unwrap().1;
    let proxy = Proxy::start(&format!("dns+http://localhost:{port}"), |_| {}).await;
    proxy.until_ready().await;
    assert_eq!(proxy.ask(&question(true)).await.status(), 200);
    let metrics = proxy.metrics().await;
    assert!(
        metrics.contains(&is_up(&url, true)) && !metrics.contains("localhost"),
        "{metrics}"
    );
}

/// The binary in a mount namespace where `hosts` is `/etc/hosts`. `None` where the kernel does not allow that.
async fn binary_with_hosts(
    hosts: &std::path::Path,
    upstreams: &str,
) -> Option<tokio::process::Child> {
    if !needs("unshare", &["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]) {
        return None;
    }
    let script = "mount --bind \"$1\" /etc/hosts && exec \"$2\"";
    let mut command = Command::new("unshare");
    command
        .args(["-rm", "sh", "-c", script, "sh"])
        .arg(hosts)
        .arg(env!("CARGO_BIN_EXE_llm-proxy"))
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs([
            ("PROXY_LISTEN", "127.0.0.1:0"),
            ("PROXY_ADMIN_LISTEN", "127.0.0.1:0"),
        ])
        .envs([
            ("PROXY_UPSTREAMS", upstreams),
            ("LLM_API_KEY", KEY),
            ("PROXY_UPSTREAM_API_KEY", UPSTREAM_KEY),
        ])
        .envs([("LLM_MODEL", MODEL), ("LOG_FORMAT", "json")])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true);
    Some(command.spawn().unwrap())
}

#[tokio::test]
async fn a_name_that_gets_a_new_address_or_one_more_is_followed() {
    let first = FakeLlama::start().await;
    let port = first.url().rsplit_once(':').unwrap().1.parse().unwrap();
    let second = FakeLlama::start_at((std::net::Ipv4Addr::new(127, 0, 0, 2), port).into()).await;
    let third = FakeLlama::start_at((std::net::Ipv4Addr::new(127, 0, 0, 3), port).into()).await;
    [&first, &second, &third]
        .iter()
        .for_each(|llama| llama.require_key(UPSTREAM_KEY));
    let hosts = tempfile::NamedTempFile::new().unwrap();
    let names = |text: &str| std::fs::write(hosts.path(), text).unwrap();
    names("127.0.0.1 llamas\n");
    let upstreams = format!("dns+http://llamas:{port}");
    let Some(mut proxy) = binary_with_hosts(hosts.path(), &upstreams).await else {
        return;
    };
    let mut lines = BufReader::new(proxy.stdout.take().unwrap()).lines();
    let mut says = async |what: &str| {
        let said = async { while !lines.next_line().await.unwrap().unwrap().contains(what) {} };
        tokio::time::timeout(PATIENCE, said).await.unwrap();
    };
    let ready = |number: u32| format!("127.0.0.{number}:{port}");
    says(&format!("\"upstream\":\"{}\"", ready(1))).await;
    // It goes away and the name is another's: that is noticed when it is missed, not only when it is time to look.
    names("127.0.0.2 llamas\n");
    let began = Instant::now();
    drop(first);
    says(&format!("\"upstream\":\"{}\"", ready(2))).await;
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    names("127.0.0.2 llamas\n127.0.0.3 llamas\n");
    says(&format!("\"upstream\":\"{}\"", ready(3))).await;
    // A lookup that fails changes nothing; what is missing in one that does not fail leaves.
    names("");
    says("the name was not resolved").await;
    names("127.0.0.3 llamas\n");
    says("the upstream left").await;
}

/// `drained` of `/status` of the llm-proxy with this admin listener, and which of its upstreams get requests.
async fn shown(admin: &str) -> (Value, Vec<String>) {
    let answer = reqwest::get(format!("http://{admin}/status"))
        .await
        .unwrap();
    let status: Value = answer.json().await.unwrap();
    let upstreams = status["upstreams"].as_array().unwrap();
    let used = upstreams.iter().filter(|upstream| upstream["up"] == true);
    let used = used.map(|upstream| upstream["upstream"].as_str().unwrap().to_owned());
    (status["drained"].clone(), used.collect())
}

#[tokio::test]
async fn while_new_upstreams_are_drained_those_that_join_get_no_requests() {
    let first = FakeLlama::start().await;
    let port = first.url().rsplit_once(':').unwrap().1.parse().unwrap();
    let second = FakeLlama::start_at((std::net::Ipv4Addr::new(127, 0, 0, 2), port).into()).await;
    first.require_key(UPSTREAM_KEY);
    second.require_key(UPSTREAM_KEY);
    let hosts = tempfile::NamedTempFile::new().unwrap();
    let names = |text: &str| std::fs::write(hosts.path(), text).unwrap();
    names("127.0.0.1 llamas\n");
    let upstreams = format!("dns+http://llamas:{port}");
    let Some(mut proxy) = binary_with_hosts(hosts.path(), &upstreams).await else {
        return;
    };
    let mut lines = BufReader::new(proxy.stdout.take().unwrap()).lines();
    let mut says = async |what: &str| {
        let said = async {
            loop {
                let line = lines.next_line().await.unwrap().unwrap();
                if line.contains(what) {
                    return serde_json::from_str::<Value>(&line).unwrap();
                }
            }
        };
        tokio::time::timeout(PATIENCE, said).await.unwrap()
    };
    let admin = says("\"listener\":\"admin\"").await;
    let admin = admin["address"].as_str().unwrap();
    says("the upstream is ready").await;
    let change = async |method: reqwest::Method, query: &str| {
        let url = format!("http://{admin}/drained?upstream={query}");
        let answer = reqwest::Client::new().request(method, url).send().await;
        assert_eq!(answer.unwrap().status(), 204);
    };
    let [one, two] = [1, 2].map(|number| format!("127.0.0.{number}:{port}"));

    change(reqwest::Method::PUT, "new").await;
    names("127.0.0.1 llamas\n127.0.0.2 llamas\n");
    says("the upstream is ready").await;
    assert_eq!(shown(admin).await, (json!([two, "new"]), vec![one.clone()]));
    // One that leaves again is forgotten.
    names("127.0.0.1 llamas\n");
    says("the upstream left").await;
    assert_eq!(shown(admin).await, (json!(["new"]), vec![one.clone()]));
    names("127.0.0.1 llamas\n127.0.0.2 llamas\n");
    says("the upstream is ready").await;
    change(reqwest::Method::DELETE, &format!("http://{two}")).await;
    assert_eq!(
        shown(admin).await,
        (json!(["new"]), vec![one.clone(), two.clone()])
    );
    change(reqwest::Method::DELETE, "new").await;
    assert_eq!(shown(admin).await, (json!([]), vec![one, two]));
}

#[tokio::test]
async fn a_name_that_leads_nowhere_for_a_moment_is_no_death_of_an_engine() {
    let llama = FakeLlama::start().await;
    llama.require_key(UPSTREAM_KEY);
    let url = llama.url();
    let port = url.rsplit_once(':').unwrap().1;
    let hosts = tempfile::NamedTempFile::new().unwrap();
    let names = |text: &str| std::fs::write(hosts.path(), text).unwrap();
    names("127.0.0.1 llama\n");
    let upstreams = format!("http://llama:{port}");
    let Some(mut proxy) = binary_with_hosts(hosts.path(), &upstreams).await else {
        return;
    };
    let mut lines = BufReader::new(proxy.stdout.take().unwrap()).lines();
    let mut public = String::new();
    let mut admin = String::new();
    while public.is_empty() || admin.is_empty() {
        let line = lines.next_line().await.unwrap().unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        let address = || event["address"].as_str().unwrap().to_owned();
        match event["listener"].as_str() {
            Some("public") => public = address(),
            Some(_) => admin = address(),
            None => {}
        }
    }
    let http = reqwest::Client::new();
    let ready = async || {
        let url = format!("http://{admin}/readyz");
        http.get(url).send().await.unwrap().status() == 200
    };
    let ask = async || {
        let url = format!("http://{public}/v1/chat/completions");
        let asking = http.post(url).bearer_auth(KEY).json(&question(true));
        asking.send().await.unwrap()
    };
    for n in 0..2 {
        until("readiness", ready).await;
        // Its caller leaves, and the engine may still work on it.
        llama.script_once(Script::tokens(["a", "b"]).stall_after(1));
        drop(ask().await);
        llama.client_left(n).await;
        // No machine has this address; the kernel says so at once.
        names("255.255.255.255 llama\n");
        assert_eq!(ask().await.status(), 503);
        names("127.0.0.1 llama\n");
    }
    until("readiness", ready).await;
    assert_eq!(ask().await.status(), 200);
}

#[test]
fn upstreams_that_cannot_be_are_refused() {
    let refused = |upstreams: &str| {
        let settings = [
            ("PROXY_UPSTREAMS", upstreams),
            ("LLM_API_KEY", KEY),
            ("LLM_MODEL", MODEL),
        ];
        let mut env = Environment::from_pairs("PROXY_", &[VARIABLES], settings);
        Config::read(&mut env);
        env.finish().map_err(|invalid| invalid.to_string()).err()
    };
    for fine in [
        "http://a:1",
        "http://a:1, http://b:1",
        "dns+http://a:8080",
        "http://[::1]:8080",
        "http://10.0.0.1:8081",
    ] {
        assert_eq!(refused(fine), None, "{fine}");
    }
    for (wrong, why) in [
        ("a:1", "must look like"),
        ("https://a:1", "must look like"),
        ("file:///etc/passwd", "must look like"),
        ("http://a:1/v1", "must look like"),
        ("http://user:word@a:1", "must look like"),
        ("http://a:1,", "must look like"),
        ("dns+http://a", "must look like"),
        ("dns+http://a:0", "must look like"),
        ("http://a:1,http://A:1", "A:1 is named twice"),
        ("http://a:1,dns+http://a:1", "a:1 is named twice"),
        (
            "http://127.0.0.1:8081",
            "127.0.0.1:8081 is llm-proxy's own address",
        ),
        (
            "http://localhost:9081",
            "localhost:9081 is llm-proxy's own address",
        ),
        ("http://[::1]:8081", "[::1]:8081 is llm-proxy's own address"),
    ] {
        let refusal = refused(wrong).unwrap_or_else(|| panic!("{wrong} was taken"));
        assert!(
            refusal.contains("PROXY_UPSTREAMS") && refusal.contains(why),
            "{wrong}: {refusal}"
        );
    }
}
