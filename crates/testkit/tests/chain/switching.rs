//! The model is changed while answers run: real llama-servers behind an llm-proxy of the test's own, and the commands that
//! docs/upstreams.md gives to operators.

use std::collections::BTreeSet;
use std::process::Output;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::service::{Service, binary};
use tokio::process::Command;

use crate::engines::{AliasedEngine, free_address};
use crate::stack::{PATIENCE, Stack};

/// Callers that ask again and again, as many as one engine has slots and two more.
const CALLERS: usize = 4;
/// Long enough that answers run at every step.
const ANSWER_TOKENS: u32 = 48;
const PAUSE: Duration = Duration::from_millis(50);

/// One llm-proxy, its operator and its callers.
struct SwitchingProxy<'a> {
    stack: &'a Stack,
    proxy: Service,
    /// For each answer that has ended: when it was asked for, and the alias of the engine that gave it.
    answers: Mutex<Vec<(Instant, String)>>,
    is_over: AtomicBool,
}

impl SwitchingProxy<'_> {
    /// `llm-proxy VERB ADDRESS`.
    async fn run(&self, verb: &str, engine: &AliasedEngine) {
        let mut command = Command::new(binary("llm-proxy").unwrap());
        command
            .args([verb, &engine.address.to_string(), "--admin"])
            .arg(self.proxy.admin_url())
            .kill_on_drop(true);
        let ran = tokio::time::timeout(PATIENCE, command.output()).await;
        let Output { status, stderr, .. } = ran.expect("it ends").unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    }

    async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let url = format!("{}/status", self.proxy.admin_url());
        let waiting = async {
            loop {
                let answer = self.stack.http.get(&url).send().await.unwrap();
                let status: Value = answer.json().await.unwrap();
                if holds(&status) {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{what}");
    }

    /// Has all callers ask one question after another.
    async fn ask_until_over(&self) {
        let callers = (0..CALLERS).map(|caller| async move {
            let mut turn = 0;
            while !self.is_over.load(Ordering::Relaxed) {
                let begin = Instant::now();
                let alias = self.ask(caller, turn).await;
                self.answers.lock().unwrap().push((begin, alias));
                turn += 1;
            }
        });
        join_all(callers).await;
    }

    /// Asks once, as a stream or not, and checks that the answer is whole.
    async fn ask(&self, caller: usize, turn: usize) -> String {
        let stream = (caller + turn).is_multiple_of(2);
        let text = format!("Tell story {turn} of horse {caller}.");
        let body = self.stack.question(&text, stream, ANSWER_TOKENS);
        let url = format!("{}/v1/chat/completions", self.proxy.url());
        let request = self.stack.http.post(url).bearer_auth(&self.stack.key);
        let answer = request.json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let text = answer.text().await.unwrap();
        let first = match stream {
            true => {
                assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
                let event = text.lines().find_map(|line| line.strip_prefix("data: "));
                event.unwrap().to_owned()
            }
            false => text,
        };
        let object: Value = serde_json::from_str(&first).unwrap();
        assert!(stream || object["choices"][0]["finish_reason"].is_string());
        object["model"].as_str().unwrap().to_owned()
    }

    /// Waits for answers that are asked for from now on. The aliases of the engines that gave them.
    async fn more(&self) -> BTreeSet<String> {
        let now = Instant::now();
        let waiting = async {
            loop {
                let mut answers = self.answers.lock().unwrap().clone();
                answers.retain(|(begin, _)| *begin > now);
                if answers.len() >= CALLERS {
                    return answers.into_iter().map(|(_, alias)| alias).collect();
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.expect("callers get answers")
    }
}

fn only(alias: &str) -> BTreeSet<String> {
    BTreeSet::from([alias.to_owned()])
}

fn busy(status: &Value, engine: &AliasedEngine) -> u64 {
    let name = engine.address.to_string();
    let upstreams = status["upstreams"].as_array().unwrap();
    let found = upstreams
        .iter()
        .find(|upstream| upstream["upstream"] == name);
    found.unwrap()["busy"].as_u64().unwrap()
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn the_model_is_changed_while_answers_run_and_no_caller_notices() {
    let stack = Stack::running();
    let [here, there] = [free_address(), free_address()];
    let old = AliasedEngine::start(&stack, "old", here);
    let upstreams = format!("http://{here},http://{there}");
    let settings = [
        ("PROXY_LISTEN", "127.0.0.1:0"),
        ("PROXY_ADMIN_LISTEN", "127.0.0.1:0"),
        ("PROXY_UPSTREAMS", &upstreams),
        ("LLM_API_KEY", &stack.key),
        ("LLM_MODEL", &stack.model),
    ];
    let mut proxy = Service::start("llm-proxy", &settings).await.unwrap();
    proxy.ready().await.unwrap();
    let proxy = SwitchingProxy {
        stack: &stack,
        proxy,
        answers: Mutex::default(),
        is_over: AtomicBool::new(false),
    };
    let switching = async {
        assert_eq!(proxy.more().await, only("old"));

        // With memory for both: the old engine ends its answers while new requests go to the new one.
        let new = AliasedEngine::start(&stack, "new", there);
        proxy.run("resume", &new).await;
        proxy
            .until("both engines work", |status| {
                busy(status, &old) > 0 && busy(status, &new) > 0
            })
            .await;
        proxy.run("drain", &old).await;
        old.stop().await;
        assert_eq!(proxy.more().await, only("new"));

        // Without: everybody waits for the successor. The first one's address is still drained, and does not matter.
        proxy.run("drain", &new).await;
        new.stop().await;
        proxy
            .until("all callers wait", |status| {
                status["keys"][0]["waiting"] == CALLERS && status["not_ready"].is_null()
            })
            .await;
        let newest = AliasedEngine::start(&stack, "newest", there);
        proxy.run("resume", &newest).await;
        assert_eq!(proxy.more().await, only("newest"));
        proxy.is_over.store(true, Ordering::Relaxed);
        newest
    };
    let (newest, ()) = tokio::join!(switching, proxy.ask_until_over());
    newest.stop().await;
    proxy
        .until("one address is drained", |status| {
            status["drained"] == json!([here.to_string()])
        })
        .await;
}
