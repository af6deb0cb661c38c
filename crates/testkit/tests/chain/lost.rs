//! A real llama-server is killed in the middle of its answers, behind an llm-proxy that has another one.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::service::Service;
use testkit::v2_client::V2Client;

use crate::engines::{AliasedEngine, free_address};
use crate::stack::{PATIENCE, Stack};

/// Long enough that the engine is killed in mid-answer.
const ANSWER_TOKENS: u32 = 200;
/// So much is written before the kill, in bytes.
const WRITTEN: u64 = 40;
const PAUSE: Duration = Duration::from_millis(20);
const QUESTION: &str = "Write a very long story about a horse.";

/// Two engines of the test's own behind an llm-proxy of its own.
struct TwoEngines {
    stack: Stack,
    engines: Vec<AliasedEngine>,
    proxy: Service,
}

impl TwoEngines {
    /// Started, and both can be asked.
    async fn start() -> Self {
        let stack = Stack::running();
        let engines =
            ["one", "two"].map(|alias| AliasedEngine::start(&stack, alias, free_address()));
        let upstreams = engines
            .each_ref()
            .map(|engine| format!("http://{}", engine.address));
        let proxy = [
            ("PROXY_LISTEN", "127.0.0.1:0"),
            ("PROXY_ADMIN_LISTEN", "127.0.0.1:0"),
            ("PROXY_UPSTREAMS", &upstreams.join(",")),
            ("LLM_API_KEY", &stack.key),
            ("LLM_MODEL", &stack.model),
        ];
        let proxy = Service::start("llm-proxy", &proxy).await.unwrap();
        let both = Self {
            engines: Vec::from(engines),
            proxy,
            stack,
        };
        both.until("both engines work", |upstreams| {
            upstreams.iter().all(|upstream| upstream["up"] == true)
        })
        .await;
        both
    }

    /// The upstreams as `/status` of llm-proxy has them.
    async fn upstreams(&self) -> Vec<Value> {
        let url = format!("{}/status", self.proxy.admin_url());
        let answer = self.stack.http.get(&url).send().await.unwrap();
        let status: Value = answer.json().await.unwrap();
        status["upstreams"].as_array().unwrap().clone()
    }

    async fn until(&self, what: &str, holds: impl Fn(&[Value]) -> bool) {
        let waiting = async {
            while !holds(&self.upstreams().await) {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{what}");
    }

    /// Kills the engine that answers now.
    async fn kill_the_busy_one(&mut self) {
        let upstreams = self.upstreams().await;
        let busy = |engine: &AliasedEngine| {
            let name = engine.address.to_string();
            let found = upstreams
                .iter()
                .find(|upstream| upstream["upstream"] == name);
            found.unwrap()["busy"] == 1
        };
        let at = self.engines.iter().position(busy);
        self.engines.remove(at.expect("one answers")).kill().await;
    }

    /// A chat-gateway in front, with this setting.
    async fn gateway(&self, continues: &str) -> Service {
        let settings = [
            ("GATEWAY_LISTEN", "127.0.0.1:0"),
            ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"),
            ("LLM_BASE_URL", &*format!("{}/v1", self.proxy.url())),
            ("LLM_API_KEY", &self.stack.key),
            ("LLM_MODEL", &self.stack.model),
            ("GATEWAY_CONTINUE_LOST_ANSWERS", continues),
        ];
        let mut gateway = Service::start("chat-gateway", &settings).await.unwrap();
        gateway.ready().await.unwrap();
        gateway
    }
}

/// Asks through the gateway; returns the answer's id once it is in the middle.
async fn ask(chat: &mut V2Client) -> String {
    let options = json!({"temperature": 0, "seed": 7, "max_tokens": ANSWER_TOKENS});
    let accepted = chat.say(QUESTION, &json!({"options": options})).await;
    let answer = accepted.unwrap()["answer"].as_str().unwrap().to_owned();
    chat.until_position(&answer, WRITTEN).await.unwrap();
    answer
}

async fn chat(gateway: &Service) -> V2Client {
    let url = gateway.url().replacen("http", "ws", 1);
    V2Client::connect(&format!("{url}/api/v1/ws/chat"))
        .await
        .unwrap()
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn an_engine_killed_in_mid_answer_ends_it_with_an_error_that_says_so() {
    let mut both = TwoEngines::start().await;
    let url = format!("{}/v1/chat/completions", both.proxy.url());
    let question = both.stack.question(QUESTION, true, ANSWER_TOKENS);
    let request = both.stack.http.post(&url).bearer_auth(&both.stack.key);
    let mut stream = request.json(&question).send().await.unwrap();
    let mut text = String::new();
    while text.len() < 2_000 {
        let piece = stream.chunk().await.unwrap().expect("it goes on");
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
    both.kill_the_busy_one().await;
    while let Some(piece) = stream.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
    let events: Vec<&str> = text.split_terminator("\n\n").collect();
    let last = events.last().unwrap().strip_prefix("data: ").unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["error"]["code"], "upstream_disconnected", "{last}");
    assert_eq!(last["src"], "llm-proxy", "{last}");
    assert_eq!(text.matches("\"error\"").count(), 1);
    assert!(!text.contains("[DONE]") && !text.contains("\"finish_reason\":\""));

    // Whoever asks now is answered by the other one.
    let whole = both.stack.question("Say hi.", false, 4);
    let request = both.stack.http.post(&url).bearer_auth(&both.stack.key);
    let answer = request.json(&whole).send().await.unwrap();
    assert_eq!(answer.status(), 200);

    // And it, killed under the gateway, leaves an answer with its text, interrupted by the engine.
    let gateway = both.gateway("0").await;
    let mut chat = chat(&gateway).await;
    let answer = ask(&mut chat).await;
    both.kill_the_busy_one().await;
    let joined = chat.until_done(&answer).await.unwrap();
    let done = joined.done.unwrap();
    assert_eq!(done["status"], "interrupted", "{done}");
    assert_eq!(
        done["error"],
        json!({
            "code": "upstream_error",
            "message": "the model's server was lost before the answer was complete; try again"
        })
    );
    assert!(joined.text.len() as u64 >= WRITTEN);
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn the_other_engine_goes_on_with_an_answer_whose_engine_was_killed() {
    let mut both = TwoEngines::start().await;
    let gateway = both.gateway("1").await;
    let mut chat = chat(&gateway).await;
    let undisturbed = ask(&mut chat).await;
    let undisturbed = chat.until_done(&undisturbed).await.unwrap();
    let answer = ask(&mut chat).await;
    both.kill_the_busy_one().await;
    let joined = chat.until_done(&answer).await.unwrap();
    let done = joined.done.unwrap();
    assert_eq!(done["error"], Value::Null, "{done}");
    assert_eq!(done["status"], "done", "{done}");
    let joints = done["joints"].as_array().expect("it has a joint");
    let [joint] = joints.as_slice() else {
        panic!("{done}");
    };
    assert!(joint.as_u64().unwrap() >= WRITTEN, "{done}");
    assert_eq!(joined.text, undisturbed.text);
    assert_eq!(
        done["finish_reason"],
        undisturbed.done.unwrap()["finish_reason"]
    );
}
