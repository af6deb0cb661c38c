//! The model is changed while answers run: two real llama-servers behind one llm-proxy of the test's own. The steps are
//! those of `cargo xtask switch-model`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tempfile::TempDir;
use testkit::service::Service;
use tokio::process::{Child, Command};

use crate::stack::{PATIENCE, Stack};

/// Callers that ask again and again; more than one engine has slots.
const CALLERS: usize = 4;
/// Long enough that answers run at every step.
const ANSWER_TOKENS: u32 = 48;
/// Of a file that is cut off.
const BROKEN_BYTES: u64 = 1024 * 1024;
const LOOK: Duration = Duration::from_millis(50);

/// A llama-server of the test's own.
struct Engine {
    child: Child,
    address: SocketAddr,
}

impl Engine {
    /// As the chain's, with another file on another port.
    fn start(stack: &Stack, model: &Path, address: SocketAddr) -> Self {
        let mut words = stack.engine_command.clone();
        for (flag, value) in [
            ("--model", model.display().to_string()),
            ("--port", address.port().to_string()),
        ] {
            let at = words.iter().position(|word| word == flag).unwrap();
            words[at + 1] = value;
        }
        let child = Command::new(&words[0])
            .args(&words[1..])
            .env("LLAMA_API_KEY", &stack.key)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, address }
    }

    async fn json(&self, stack: &Stack, path: &str) -> Option<Value> {
        let url = format!("http://{}{path}", self.address);
        let asked = stack.http.get(url).bearer_auth(&stack.key).send().await;
        asked.ok()?.error_for_status().ok()?.json().await.ok()
    }

    async fn until_loaded(&self, stack: &Stack, file: &str) {
        let loaded = async {
            loop {
                if let Some(props) = self.json(stack, "/props").await {
                    return props["model_path"].as_str().unwrap().to_owned();
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let path = tokio::time::timeout(PATIENCE, loaded).await.unwrap();
        assert!(path.ends_with(file), "{path}");
    }

    async fn busy_slots(&self, stack: &Stack) -> usize {
        let slots = self.json(stack, "/slots").await.unwrap();
        let slots = slots.as_array().unwrap();
        slots
            .iter()
            .filter(|slot| slot["is_processing"] == true)
            .count()
    }

    async fn stop(mut self) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(sent.unwrap().success());
        self.child.wait().await.unwrap();
    }
}

/// An operator of one llm-proxy.
struct Operator<'a> {
    stack: &'a Stack,
    proxy: &'a Service,
}

impl Operator<'_> {
    async fn status(&self) -> Value {
        let url = format!("{}/status", self.proxy.admin_url());
        let answer = self.stack.http.get(url).send().await.unwrap();
        answer.json().await.unwrap()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let waiting = async {
            while !holds(&self.status().await) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{what}: {}", self.status().await);
    }

    async fn until_used(&self, engine: &Engine) {
        self.until("the engine is used", |status| {
            let upstreams = status["upstreams"].as_array().unwrap();
            upstreams.iter().any(|upstream| {
                upstream["upstream"] == engine.address.to_string() && upstream["up"] == true
            })
        })
        .await;
    }

    async fn until_nothing_runs_at(&self, engine: &Engine) {
        self.until("the engine is empty", |status| {
            let upstreams = status["upstreams"].as_array().unwrap();
            upstreams.iter().any(|upstream| {
                upstream["upstream"] == engine.address.to_string() && upstream["busy"] == 0
            })
        })
        .await;
    }

    async fn drain(&self, address: SocketAddr) {
        let url = self.drained(address);
        let answer = self.stack.http.put(url).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    }

    async fn resume(&self, address: SocketAddr) {
        let url = self.drained(address);
        let answer = self.stack.http.delete(url).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    }

    fn drained(&self, address: SocketAddr) -> String {
        format!(
            "{}/drained?upstream=http://{address}",
            self.proxy.admin_url()
        )
    }
}

/// Callers that ask one question after another, and check that every answer comes whole.
struct Load<'a> {
    stack: &'a Stack,
    proxy: &'a Service,
    n_answers: AtomicUsize,
    is_over: AtomicBool,
}

impl Load<'_> {
    async fn run(&self) {
        let callers = (0..CALLERS).map(|caller| async move {
            let mut turn = 0;
            while !self.is_over.load(Ordering::Relaxed) {
                self.ask(caller, turn).await;
                turn += 1;
            }
        });
        join_all(callers).await;
    }

    async fn ask(&self, caller: usize, turn: usize) {
        let stream = (caller + turn).is_multiple_of(2);
        let text = format!("Tell story {turn} of horse {caller}.");
        let body = self.stack.question(&text, stream, ANSWER_TOKENS);
        let url = format!("{}/v1/chat/completions", self.proxy.url());
        let request = self.stack.http.post(url).bearer_auth(&self.stack.key);
        let answer = request.json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let text = answer.text().await.unwrap();
        if stream {
            assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        } else {
            let whole: Value = serde_json::from_str(&text).unwrap();
            assert!(whole["choices"][0]["finish_reason"].is_string(), "{text}");
        }
        self.n_answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for a whole answer of each caller, counted from now.
    async fn until_more(&self) {
        let enough = self.n_answers.load(Ordering::Relaxed) + 2 * CALLERS;
        while self.n_answers.load(Ordering::Relaxed) < enough {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The development model under two names, and one that is cut off.
struct Models {
    folder: TempDir,
}

impl Models {
    fn of(stack: &Stack) -> Self {
        let at = stack
            .engine_command
            .iter()
            .position(|word| word == "--model");
        let model = PathBuf::from(&stack.engine_command[at.unwrap() + 1]);
        let folder = tempfile::tempdir().unwrap();
        for name in ["old.gguf", "new.gguf"] {
            std::os::unix::fs::symlink(&model, folder.path().join(name)).unwrap();
        }
        let broken = folder.path().join("broken.gguf");
        std::fs::copy(&model, &broken).unwrap();
        let file = std::fs::File::options().write(true).open(broken).unwrap();
        file.set_len(BROKEN_BYTES).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn the_model_is_changed_while_answers_run_and_no_caller_notices() {
    let stack = Stack::running();
    let models = Models::of(&stack);
    let [here, there] = [free_address(), free_address()];
    let old = Engine::start(&stack, &models.path("old.gguf"), here);
    old.until_loaded(&stack, "old.gguf").await;
    let mut proxy = Service::start(
        "llm-proxy",
        &[
            ("PROXY_LISTEN", "127.0.0.1:0"),
            ("PROXY_ADMIN_LISTEN", "127.0.0.1:0"),
            ("PROXY_UPSTREAMS", &format!("http://{here},http://{there}")),
            ("LLM_API_KEY", &stack.key),
            ("LLM_MODEL", &stack.model),
        ],
    )
    .await
    .unwrap();
    proxy.ready().await.unwrap();
    let operator = Operator {
        stack: &stack,
        proxy: &proxy,
    };
    let load = Load {
        stack: &stack,
        proxy: &proxy,
        n_answers: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
    };
    let switching = async {
        load.until_more().await;

        // A new model that does not load changes nothing.
        operator.drain(there).await;
        let mut broken = Engine::start(&stack, &models.path("broken.gguf"), there);
        assert!(!broken.child.wait().await.unwrap().success());
        load.until_more().await;

        // One that loads takes over, and the old engine is empty before it stops.
        let new = Engine::start(&stack, &models.path("new.gguf"), there);
        new.until_loaded(&stack, "new.gguf").await;
        operator.resume(there).await;
        operator.until_used(&new).await;
        load.until_more().await;
        operator.drain(here).await;
        operator.until_nothing_runs_at(&old).await;
        assert_eq!(old.busy_slots(&stack).await, 0);
        old.stop().await;
        operator.resume(here).await;
        load.until_more().await;

        // Without memory for two, the engine is drained first, and everybody waits for its successor.
        operator.drain(there).await;
        operator.until_nothing_runs_at(&new).await;
        assert_eq!(new.busy_slots(&stack).await, 0);
        new.stop().await;
        operator
            .until("all callers wait", |status| {
                status["keys"][0]["waiting"] == CALLERS && status["not_ready"].is_null()
            })
            .await;
        let newest = Engine::start(&stack, &models.path("old.gguf"), there);
        newest.until_loaded(&stack, "old.gguf").await;
        operator.resume(there).await;
        load.until_more().await;
        load.is_over.store(true, Ordering::Relaxed);
        newest
    };
    let (newest, ()) = tokio::join!(switching, load.run());
    let status = operator.status().await;
    assert_eq!(status["drained"], serde_json::json!([]), "{status}");
    newest.stop().await;
}
