//! Two llm-proxies that take requests before one real llama-server at the same time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use testkit::service::Service;

use crate::engines::{AliasedEngine, free_address};
use crate::stack::Stack;

/// Callers of each proxy.
const CALLERS: usize = 4;
/// Questions of each caller.
const TURNS: usize = 4;
const ANSWER_TOKENS: u32 = 16;
/// Between two looks at the engine's metrics, far less than an answer takes.
const PAUSE: Duration = Duration::from_millis(5);

/// A sample of the engine's own metrics.
fn sample(metrics: &str, name: &str) -> u64 {
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("no {name} in\n{metrics}"));
    value.parse::<f64>().unwrap() as u64
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn two_proxies_before_one_engine_leave_nothing_to_wait_there() {
    let stack = Stack::running();
    let slots = stack.slots().await;
    let engine = AliasedEngine::start(&stack, "shared", free_address());
    let upstream = format!("http://{}", engine.address);
    let settings = [
        ("PROXY_LISTEN", "127.0.0.1:0"),
        ("PROXY_ADMIN_LISTEN", "127.0.0.1:0"),
        ("PROXY_UPSTREAMS", &*upstream),
        ("PROXY_QUEUE_DEADLINE_SECONDS", "60"),
        ("LLM_API_KEY", &stack.key),
        ("LLM_MODEL", &stack.model),
    ];
    let ready = async || {
        let mut proxy = Service::start("llm-proxy", &settings).await.unwrap();
        proxy.ready().await.unwrap();
        proxy
    };
    let stack = &stack;
    let ask_all = async |proxy: &Service, name: &str| {
        let url = format!("{}/v1/chat/completions", proxy.url());
        let callers = (0..CALLERS).map(async |n| {
            for turn in 0..TURNS {
                let text = format!("Tell story {turn} of {name} {n}.");
                let body = stack.question(&text, false, ANSWER_TOKENS);
                let request = stack.http.post(&url).bearer_auth(&stack.key).json(&body);
                assert_eq!(request.send().await.unwrap().status(), 200);
            }
        });
        join_all(callers).await;
    };
    // Its processing and its deferred requests.
    let look = async || {
        let request = stack.http.get(format!("{upstream}/metrics"));
        let metrics = request.bearer_auth(&stack.key).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let processing = sample(&metrics, "llamacpp:requests_processing");
        (processing, sample(&metrics, "llamacpp:requests_deferred"))
    };
    let old = ready().await;
    let is_over = AtomicBool::new(false);
    let taking_over = async {
        while look().await.0 < slots as u64 {}
        let new = ready().await;
        ask_all(&new, "horses").await;
    };
    let asking = async {
        tokio::join!(ask_all(&old, "trains"), taking_over);
        is_over.store(true, Ordering::Relaxed);
    };
    let watching = async {
        let mut most = (0, 0);
        while !is_over.load(Ordering::Relaxed) {
            let (processing, deferred) = look().await;
            most = (most.0.max(processing), most.1.max(deferred));
            tokio::time::sleep(PAUSE).await;
        }
        most
    };
    let ((), most) = tokio::join!(asking, watching);
    assert_eq!(most, (slots as u64, 0));
    engine.stop().await;
}
