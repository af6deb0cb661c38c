//! Two real llama-servers behind one llm-proxy of the test's own.

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::service::Service;

use crate::stack::Stack;

/// Tokens of an answer; that it was computed is enough.
const SHORT_ANSWER_TOKENS: u32 = 4;

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_conversation_goes_on_at_the_engine_that_has_its_prompt() {
    let stack = Stack::running();
    let upstreams = format!("{},{}", stack.engine, stack.second_engine);
    let mut proxy = Service::start(
        "llm-proxy",
        &[
            ("PROXY_LISTEN", "127.0.0.1:0"),
            ("PROXY_ADMIN_LISTEN", "127.0.0.1:0"),
            ("PROXY_UPSTREAMS", &upstreams),
            ("LLM_API_KEY", &stack.key),
            ("LLM_MODEL", &stack.model),
        ],
    )
    .await
    .unwrap();
    proxy.ready().await.unwrap();
    let both_up = async || {
        let url = format!("{}/metrics", proxy.admin_url());
        let metrics = stack
            .http
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        metrics
            .lines()
            .filter(|line| line.starts_with("llm_proxy_upstream_up{") && line.ends_with(" 1"))
            .count()
            == 2
    };
    while !both_up().await {}

    let topics = ["horses", "trains", "clouds", "bridges"];
    let mut conversations: Vec<Value> = topics
        .iter()
        .map(|topic| {
            let text = format!("Tell me something about {topic}. ").repeat(40);
            let mut question = stack.question(&text, false, SHORT_ANSWER_TOKENS);
            question["messages"]
                .as_array_mut()
                .unwrap()
                .insert(0, json!({"role": "system", "content": topic.repeat(30)}));
            question
        })
        .collect();
    let ask = async |question: &Value| -> Value {
        let url = format!("{}/v1/chat/completions", proxy.url());
        let request = stack.http.post(url).bearer_auth(&stack.key).json(question);
        request.send().await.unwrap().json().await.unwrap()
    };
    let mut n_cached = Vec::new();
    for _turn in 0..3 {
        let answers = join_all(conversations.iter().map(&ask)).await;
        for (conversation, answer) in conversations.iter_mut().zip(answers) {
            let timings = &answer["timings"];
            n_cached.push((
                timings["cache_n"].as_u64().unwrap(),
                timings["prompt_n"].as_u64().unwrap(),
            ));
            let messages = conversation["messages"].as_array_mut().unwrap();
            messages.push(answer["choices"][0]["message"].clone());
            messages.push(json!({"role": "user", "content": "Go on."}));
        }
    }
    // Of the first turns nothing was there; of the later ones all but what is new.
    let later = &n_cached[topics.len()..];
    assert!(
        later
            .iter()
            .all(|(cached, computed)| cached > &(4 * computed)),
        "{n_cached:?}"
    );
}
