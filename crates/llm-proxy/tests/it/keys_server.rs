//! The built binary as a server with a keys file: its start, its log, and a clock that jumps.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use testkit::fake_llama::FakeLlama;
use testkit::tools::needs;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::commands::BINARY;
use crate::keys::{KeysFile, hex, lines};
use crate::{MODEL, PATIENCE, UPSTREAM_KEY, question, until};

/// The settings of a server with the keys file at `path`.
fn serving(path: &Path, upstream: &str) -> Command {
    let mut command = Command::new(BINARY);
    command
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
        .env("LOG_FORMAT", "json")
        .env("PROXY_KEYS_FILE", path)
        .env("LLM_MODEL", MODEL);
    command
        .env("PROXY_LISTEN", "127.0.0.1:0")
        .env("PROXY_ADMIN_LISTEN", "127.0.0.1:0");
    command
        .env("PROXY_UPSTREAMS", upstream)
        .env("PROXY_UPSTREAM_API_KEY", UPSTREAM_KEY);
    command
}

#[tokio::test]
async fn a_file_that_is_not_usable_is_refused_at_the_start_in_words_that_help() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let fifo = folder.join("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .await
            .unwrap()
            .success()
    );
    std::fs::write(folder.join("large"), "#".repeat(5 * 1024 * 1024)).unwrap();
    std::fs::write(
        folder.join("plain"),
        lines("app", "a", "").replace(&hex("a"), "llmk_canary"),
    )
    .unwrap();
    std::fs::write(
        folder.join("twice"),
        lines("app", "a", "") + &lines("app", "b", ""),
    )
    .unwrap();
    for (name, said) in [
        ("large", "is larger than 4 MiB"),
        (
            "plain",
            "line 3: `sha256` holds a key instead of its digest",
        ),
        (
            "twice",
            "line 5: another key before this has the name \"app\" too",
        ),
        ("fifo", "is not a file"),
        (".", "is not a file"),
        ("missing/keys.toml", "No such file or directory"),
    ] {
        let output = serving(&folder.join(name), "http://127.0.0.1:1").output();
        let output = tokio::time::timeout(PATIENCE, output)
            .await
            .unwrap()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{name}: {err}");
        assert!(
            err.contains("PROXY_KEYS_FILE is not usable: ") && err.contains(said),
            "{name}: {err}"
        );
        assert!(
            !err.contains("canary") && !err.contains(&hex("a")),
            "{name}: {err}"
        );
    }
}

#[tokio::test]
async fn without_a_key_in_the_file_it_starts_and_says_that_none_is_good() {
    let llama = FakeLlama::start().await;
    llama.require_key(UPSTREAM_KEY);
    let file = KeysFile::of("");
    let missing = file.path().with_file_name("missing.toml");
    for (path, said) in [
        (
            file.path(),
            "the keys file holds no key, so no named key is good",
        ),
        (missing, "there is no keys file, so no named key is good"),
    ] {
        for default in ["", "default-key"] {
            let mut command = serving(&path, &llama.url());
            command.env("LLM_API_KEY", default);
            let server = Server::start(command).await;
            let admin = server.admin.clone();
            until("readiness", async || {
                let ready = reqwest::get(format!("{admin}/readyz")).await;
                ready.unwrap().status() == 200
            })
            .await;
            assert_eq!(server.models("a").await, 401);
            let good = if default.is_empty() { 401 } else { 200 };
            assert_eq!(server.models("default-key").await, good);
            // Keys that come later count.
            std::fs::write(&path, lines("app", "a", "")).unwrap();
            until("the key", async || server.models("a").await == 200).await;
            let printed = server.stop().await;
            let warned = printed.lines().filter(|line| line.contains(said)).count();
            assert_eq!(warned, 1, "{printed}");
            std::fs::remove_file(&path).unwrap();
            file.write("");
        }
    }
}

#[tokio::test]
async fn a_file_that_stays_refused_is_said_once_a_minute() {
    if !needs("faketime", &["-f", "+0s", "env"]) {
        return;
    }
    let preload = faketime().await;
    let file = KeysFile::of(&lines("app", "a", ""));
    let llama = FakeLlama::start().await;
    llama.require_key(UPSTREAM_KEY);
    let mut command = serving(&file.path(), &llama.url());
    // Its clock runs a hundred times as fast, so a minute is 0.6 s.
    command
        .env("LD_PRELOAD", preload)
        .env("FAKETIME", "+0 x100");
    let began = Instant::now();
    let mut server = Server::start(command).await;
    file.write("no toml");
    let mut said_at = Vec::new();
    while said_at.len() < 4 {
        let line = server.next_line().await;
        let event: Value = serde_json::from_str(&line).unwrap();
        let message = event["message"].as_str().unwrap_or_default();
        if message.contains("the keys file is refused, the keys from before stay good: line 1:") {
            said_at.push(event["timestamp"].as_str().unwrap().to_owned());
        }
    }
    let said_at: Vec<SystemTime> = said_at
        .iter()
        .map(|time| humantime::parse_rfc3339(time).unwrap())
        .collect();
    for pair in said_at.windows(2) {
        let between = pair[1].duration_since(pair[0]).unwrap();
        assert!(between >= Duration::from_secs(59), "{between:?}");
    }
    // By its clock these are three minutes.
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(60),
        "a clock like ours: {took:?}"
    );
    // By such a clock the engine may be silent for seconds, and is then away. Without its key this would be a 401.
    let asking = async {
        loop {
            match server.models("a").await {
                503 => {}
                status => return status,
            }
        }
    };
    let status = tokio::time::timeout(PATIENCE, asking).await.unwrap();
    assert_eq!(status, 200);
    server.stop().await;
}

/// The moment `offset` from now, as the file has it.
async fn date(offset: &str) -> String {
    let format = ["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d", offset];
    let output = Command::new("date").args(format).output().await.unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What to preload for another clock.
async fn faketime() -> String {
    let mut command = Command::new("faketime");
    let output = command.args(["-f", "+0s", "env"]).output().await.unwrap();
    let environment = String::from_utf8(output.stdout).unwrap();
    let mut lines = environment.lines();
    let preload = lines.find_map(|line| line.strip_prefix("LD_PRELOAD="));
    preload.unwrap().to_owned()
}

#[tokio::test]
async fn a_health_check_does_not_mind_a_file_that_was_broken_while_the_server_runs() {
    let file = KeysFile::of("broken");
    let output = serving(&file.path(), "http://127.0.0.1:1")
        .arg("healthcheck")
        .output()
        .await
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(
        err.contains("cannot be asked") && !err.contains("PROXY_KEYS_FILE"),
        "{err}"
    );
}

/// A server in its own process, and all that it prints.
struct Server {
    child: Child,
    public: String,
    admin: String,
    printed: BufReader<tokio::process::ChildStdout>,
    text: String,
}

impl Server {
    async fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut printed = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        let mut public = String::new();
        let mut admin = String::new();
        while public.is_empty() || admin.is_empty() {
            let mut line = String::new();
            let read = tokio::time::timeout(PATIENCE, printed.read_line(&mut line));
            assert!(
                read.await.unwrap().unwrap() > 0,
                "it ended before it listened: {text}"
            );
            let event: Value = serde_json::from_str(&line).unwrap();
            let address = event["address"].as_str().unwrap_or_default();
            match event["listener"].as_str() {
                Some("public") => public = format!("http://{address}"),
                Some(_) => admin = format!("http://{address}"),
                None => {}
            }
            text.push_str(&line);
        }
        Self {
            child,
            public,
            admin,
            printed,
            text,
        }
    }

    /// The next line that it prints.
    async fn next_line(&mut self) -> String {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.printed.read_line(&mut line));
        assert!(read.await.unwrap().unwrap() > 0, "it ended: {}", self.text);
        self.text.push_str(&line);
        line
    }

    /// The status of a chat request with `key`, once the upstream is known.
    async fn chat(&self, key: &str) -> u16 {
        let url = format!("{}/v1/chat/completions", self.public);
        let request = reqwest::Client::new()
            .post(url)
            .bearer_auth(key)
            .json(&question(false));
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        response.text().await.unwrap();
        status
    }

    async fn models(&self, key: &str) -> u16 {
        let request = reqwest::Client::new()
            .get(format!("{}/v1/models", self.public))
            .bearer_auth(key);
        request.send().await.unwrap().status().as_u16()
    }

    async fn metrics(&self) -> String {
        reqwest::get(format!("{}/metrics", self.admin))
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(
            Command::new("kill")
                .args([name, &id])
                .status()
                .await
                .unwrap()
                .success()
        );
    }

    /// Ends it; returns everything it has printed.
    async fn stop(mut self) -> String {
        self.signal("-TERM").await;
        tokio::time::timeout(PATIENCE, self.printed.read_to_string(&mut self.text))
            .await
            .unwrap()
            .unwrap();
        let mut errors = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors)
            .await
            .unwrap();
        assert!(self.child.wait().await.unwrap().success());
        self.text + &errors
    }
}

#[tokio::test]
async fn no_key_and_no_digest_is_ever_printed_whatever_happens_to_it() {
    let file = KeysFile::of(&lines("app", "canary-good", "requests_per_minute = 3"));
    let llama = FakeLlama::start().await;
    llama.require_key(UPSTREAM_KEY);
    let mut command = serving(&file.path(), &llama.url());
    command
        .env("LOG_LEVEL", "trace")
        .env("LLM_API_KEY", "canary-default");
    let server = Server::start(command).await;
    until("the upstream", async || {
        server.models("canary-good").await == 200
    })
    .await;
    for _ in 0..5 {
        server.chat("canary-good").await;
    }
    for key in ["canary-unknown", "llmk_canary", "canary-default", ""] {
        server.chat(key).await;
    }
    // Every way a file can be wrong, with keys and digests in the wrong places.
    let broken = [
        "llmk_canary",
        "llmk_canary = 1",
        "[[key]]\nname = \"llmk_canary\"\nsha256 = \"llmk_canary\"",
        &lines(
            "app",
            "canary-other",
            "weight = \"llmk_canary\"\nllmk_canary = 1",
        ),
        &(lines("app", "canary-other", "") + &lines("again", "canary-other", "")),
        &lines("app", "canary-default", ""),
    ];
    for (n, broken) in broken.into_iter().enumerate() {
        file.write(broken);
        server.signal("-HUP").await;
        let failed = format!(
            "llm_proxy_keys_reloads_total{{outcome=\"failed\"}} {}\n",
            n + 1
        );
        until(&failed, async || server.metrics().await.contains(&failed)).await;
    }
    file.write(&lines("app", "canary-new", ""));
    until("the new key", async || {
        server.models("canary-new").await == 200
    })
    .await;
    let printed = server.stop().await;
    let digests = [
        "canary-good",
        "canary-default",
        "canary-other",
        "canary-new",
    ]
    .map(hex);
    let leaks = printed.lines().filter(|line| {
        line.contains("canary")
            || line.contains(UPSTREAM_KEY)
            || digests.iter().any(|digest| line.contains(digest))
    });
    assert_eq!(leaks.collect::<Vec<_>>(), [""; 0]);
}

#[tokio::test]
async fn keys_and_days_follow_the_wall_clock_and_minutes_do_not() {
    if !needs("faketime", &["-f", "+0s", "env"]) {
        return;
    }
    let preload = faketime().await;
    // The key begins and ends half an hour from now, by the clock of the test.
    let valid = format!(
        "not_before = {}\nexpires = {}",
        date("-30 min").await,
        date("+30 min").await
    );
    let daily = lines("daily", "d", "tokens_per_day = 10");
    let file =
        KeysFile::of(&(lines("app", "a", &(valid + "\nrequests_per_minute = 1000")) + &daily));
    let llama = FakeLlama::start().await;
    llama.require_key(UPSTREAM_KEY);
    let clock = file.path().with_file_name("clock");
    std::fs::write(&clock, "+0").unwrap();
    let mut command = serving(&file.path(), &llama.url());
    command
        .env("LD_PRELOAD", preload)
        .env("FAKETIME_TIMESTAMP_FILE", &clock);
    command
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("LLM_API_KEY", "b");
    let server = Server::start(command).await;
    until("the upstream", async || server.chat("a").await == 200).await;
    for (offset, status) in [("+1h", 401), ("+0", 200), ("-1h", 401), ("+0", 200)] {
        std::fs::write(&clock, offset).unwrap();
        assert_eq!(server.chat("a").await, status, "{offset}");
        for _ in 0..20 {
            assert_eq!(server.chat("b").await, 200, "{offset}");
        }
        // A look at the file is a tick of the monotonic clock.
        tokio::time::timeout(Duration::from_secs(5), async { server.models("b").await })
            .await
            .unwrap();
    }
    // A day's tokens are there again on the next day, and not before.
    until("the day's tokens to be used up", async || {
        server.chat("d").await == 429
    })
    .await;
    for offset in ["+24h", "+48h"] {
        assert_eq!(server.chat("d").await, 429);
        std::fs::write(&clock, offset).unwrap();
        assert_eq!(server.chat("d").await, 200, "{offset}");
    }
    server.stop().await;
}
