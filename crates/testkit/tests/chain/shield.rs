//! Attacks that stop llama-server, crash it, or read what is another's: sent through the proxy to the real engine, which
//! is then the same process and answers, while the attacker has an error in the proxy's own shape.
//!
//! Each test says what the bare engine (build b11434) does with its attack, as measured.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::stack::Stack;

/// A chat takes a fraction of this; an engine that a schema has stopped takes minutes.
const PROMPTLY: Duration = Duration::from_secs(15);

impl Stack {
    /// Sends `body` as a chat request and returns its refusal as status, code and field.
    async fn refusal(&self, body: String) -> (u16, String, String) {
        let request = self
            .http
            .post(format!("{}/v1/chat/completions", self.proxy))
            .bearer_auth(&self.key);
        let response = request
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        let envelope: Value = response.json().await.unwrap();
        assert_eq!(envelope["src"], "llm-proxy", "{envelope}");
        let text = |name: &str| {
            envelope["error"][name]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        (status, text("code"), text("param"))
    }

    /// Sends a chat request with `more` in it, and expects a 400 for the field `param`.
    async fn is_refused(&self, more: &Value, param: &str) {
        let mut body = self.question("Hello", true, 4);
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let refusal = self.refusal(body.to_string()).await;
        assert_eq!(
            refusal,
            (400, "invalid_field".to_owned(), param.to_owned()),
            "{more:.200}"
        );
    }

    /// The engine is the process that it was, and answers.
    pub(crate) async fn engine_lives(&self) {
        if let Some(pid) = &self.engine_pid {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            assert!(
                !stat.is_empty() && !stat.contains(") Z "),
                "the engine has died: {stat}"
            );
        }
        let asked = self.completion(&self.question("Hello", false, 2)).send();
        let answer = tokio::time::timeout(PROMPTLY, asked)
            .await
            .expect("the engine answers promptly")
            .unwrap();
        assert_eq!(answer.status(), 200);
    }
}

fn schema(schema: &Value) -> Value {
    json!({"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}})
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_grammar_that_crashes_the_engine_is_refused() {
    // Bare: SIGSEGV. Thirteen thousand levels pass there, and one without a rule has aborted other builds.
    let stack = Stack::running();
    let grammar = format!("root ::= {}\"a\"{}", "(".repeat(20_000), ")".repeat(20_000));
    stack
        .is_refused(&json!({"grammar": grammar}), "grammar")
        .await;
    stack
        .is_refused(&json!({"grammar": "root ::="}), "grammar")
        .await;
    stack
        .is_refused(&json!({"grammar_lazy": true}), "grammar_lazy")
        .await;
    stack
        .is_refused(&json!({"grammar_triggers": [{}]}), "grammar_triggers")
        .await;
    stack
        .is_refused(&json!({"chat_parser": "x"}), "chat_parser")
        .await;
    stack.engine_lives().await;
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn json_nested_thousands_deep_is_refused() {
    // Bare: a schema of 8,000 levels is SIGSEGV, or stops the engine for more than 20 s.
    let stack = Stack::running();
    let deep = |open: &str, close: &str, levels| {
        format!("{}1{}", open.repeat(levels), close.repeat(levels))
    };
    let body = |field: &str, value: &str| {
        let model = &stack.model;
        format!(
            r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}],"{field}":{value}}}"#
        )
    };
    let too_deep = (400, "invalid_field".to_owned(), "body".to_owned());
    let items = deep(r#"{"type":"array","items":"#, "}", 8_000);
    let format = format!(r#"{{"type":"json_schema","json_schema":{{"schema":{items}}}}}"#);
    assert_eq!(
        stack.refusal(body("response_format", &format)).await,
        too_deep
    );
    assert_eq!(stack.refusal(body("json_schema", &items)).await, too_deep);
    assert_eq!(
        stack.refusal(body("x", &deep("[", "]", 100_000))).await,
        too_deep
    );
    assert_eq!(stack.refusal("[".repeat(200_000)).await.0, 400);
    stack.engine_lives().await;
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_schema_that_stops_the_engine_for_minutes_is_refused() {
    // Bare: each of these answers nobody for more than 20 s, in any slot; the ranges take half a second per token.
    let stack = Stack::running();
    let param = "response_format.json_schema.schema";
    let pattern = |pattern: String| schema(&json!({"type": "string", "pattern": pattern}));
    stack
        .is_refused(&pattern("^(a?){500}$".to_owned()), param)
        .await;
    stack
        .is_refused(&pattern(format!("^{}$", "a*".repeat(200))), param)
        .await;
    stack
        .is_refused(
            &pattern(format!("^({})*$", vec!["a"; 400].join("|"))),
            param,
        )
        .await;
    let words: Vec<String> = (0..20_000).map(|n| format!("w{n}")).collect();
    stack
        .is_refused(&pattern(format!("^({})$", words.join("|"))), param)
        .await;
    stack
        .is_refused(&schema(&json!({"enum": words})), param)
        .await;
    let level = |at| {
        let next = json!({"$ref": format!("#/$defs/a{}", at + 1)});
        (format!("a{at}"), json!({"anyOf": vec![next; 16]}))
    };
    let mut levels: serde_json::Map<String, Value> = (0..16).map(level).collect();
    levels.insert("a16".to_owned(), json!({"type": "string"}));
    stack
        .is_refused(
            &schema(&json!({"$ref": "#/$defs/a0", "$defs": levels})),
            param,
        )
        .await;
    let range =
        |at: i64| json!({"type": "integer", "minimum": at, "maximum": 1_000_000_000_000_000 + at});
    let ranges: Vec<Value> = (0..100).map(range).collect();
    stack
        .is_refused(
            &schema(&json!({"type": "array", "items": {"anyOf": ranges}})),
            param,
        )
        .await;
    let function = json!({"name": "f", "parameters": {"type": "string", "pattern": "^(a?){500}$"}});
    let tools =
        json!({"tools": [{"type": "function", "function": function}], "tool_choice": "required"});
    stack
        .is_refused(&tools, "tools[0].function.parameters")
        .await;
    stack.engine_lives().await;
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn every_schema_that_passes_leaves_the_engine_answering() {
    // The largest of each kind that are let through; all together they take a few seconds.
    let stack = Stack::running();
    let values: Vec<String> = (0..500).map(|n| format!("v{n}")).collect();
    let fields: serde_json::Map<String, Value> = (0..240)
        .map(|n| (format!("p{n}"), json!({"type": "string"})))
        .collect();
    let range =
        |at: i64| json!({"type": "integer", "minimum": at, "maximum": 1_000_000_000_000_000 + at});
    for passes in [
        json!({"type": "string", "pattern": "^(a?){15}$"}),
        json!({"type": "string", "pattern": format!("^{}$", "a*".repeat(31))}),
        json!({"type": "string", "pattern": format!("^({})*$", vec!["a"; 31].join("|"))}),
        json!({"type": "string", "minLength": 1, "maxLength": 1_000_000_000}),
        json!({"enum": values}),
        json!({"type": "object", "properties": fields}),
        json!({"type": "array", "minItems": 1_000_000, "items": {"type": "string"}}),
        json!({"type": "array", "items": {"anyOf": (0..13).map(range).collect::<Vec<_>>()}}),
    ] {
        let mut body = stack.question("Hello", false, 8);
        body.as_object_mut()
            .unwrap()
            .extend(schema(&passes).as_object().unwrap().clone());
        let asked = stack.completion(&body).send();
        let answer = tokio::time::timeout(PROMPTLY, asked)
            .await
            .expect("an answer in time")
            .unwrap();
        assert!(
            [200, 400].contains(&answer.status().as_u16()),
            "{passes:.100}: {answer:?}"
        );
    }
    stack.engine_lives().await;
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn fields_that_hold_slots_or_reach_around_the_limits_are_refused_by_name() {
    // Bare: 49,152 alternatives are 14 MB for three tokens; `n` takes as many slots as it wants; `n_predict` beats both other names
    // of the limit; `n_discard` has written out of bounds.
    let stack = Stack::running();
    for (field, value) in [
        ("top_logprobs", json!(49_152)),
        ("n", json!(9)),
        ("n", json!(1_000_000)),
        ("n_predict", json!(-1)),
        ("max_tokens", json!(-1)),
        ("max_completion_tokens", json!(0)),
        ("n_discard", json!(-1)),
        ("n_keep", json!(-1)),
        ("n_probs", json!(49_152)),
        ("id_slot", json!(0)),
        ("ignore_eos", json!(true)),
        ("cache_prompt", json!(false)),
        ("t_max_predict_ms", json!(1)),
        ("samplers", json!(["top_k"])),
        ("lora", json!([{"id": 0}])),
        ("prompt", json!(vec!["x"; 50])),
        ("chat_template", json!("{{ x }}")),
        ("api_base", json!("http://127.0.0.1:1")),
        ("temperature", json!(1e9)),
        ("stop", json!(vec!["x"; 1_000])),
    ] {
        stack.is_refused(&json!({field: value}), field).await;
    }
    let unbounded = json!({"logit_bias": {"1": -1_000}});
    stack.is_refused(&unbounded, "logit_bias.1").await;
    stack.engine_lives().await;
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn no_name_of_the_token_limit_gives_more_than_the_smallest() {
    // Bare: `max_completion_tokens` beats `max_tokens`, and the engine's own `-n` is no cap.
    let stack = Stack::running();
    let mut body = stack.question("Write a very long story about a horse.", false, 1_000_000);
    body["max_completion_tokens"] = json!(5);
    let answer: Value = stack
        .completion(&body)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(answer["usage"]["completion_tokens"], 5, "{answer}");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

/// No promise but a fact, which docs/threat-model.md explains. When it changes, so must that page.
#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn control_tokens_in_a_users_text_are_control_tokens_for_the_model() {
    let stack = Stack::running();
    let mut sizes = Vec::new();
    for text in ["<|im_end|>", "< |im_end|>"] {
        for times in [1, 11] {
            let question = stack.question(&text.repeat(times), false, 1);
            let answer = stack.completion(&question).send().await.unwrap();
            let answer: Value = answer.json().await.unwrap();
            sizes.push(answer["usage"]["prompt_tokens"].as_u64().unwrap());
        }
    }
    let [one, eleven, one_broken, eleven_broken] = sizes[..] else {
        unreachable!("two texts, each at two lengths");
    };
    assert_eq!(eleven - one, 10, "each is one token, as in the template");
    assert!(
        eleven_broken - one_broken >= 50,
        "with a space each is several tokens of plain text: {one_broken} and {eleven_broken}"
    );
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_body_of_a_hundred_megabytes_is_refused_unread() {
    // Bare: read and tokenised as a whole, before it is found not to fit.
    let stack = Stack::running();
    let address = stack.proxy.trim_start_matches("http://");
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 100000000\r\n\r\n{{",
        stack.key
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let read = tokio::time::timeout(PROMPTLY, socket.read_exact(&mut answer));
    read.await.expect("an answer without the body").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    stack.engine_lives().await;
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn nothing_that_a_caller_names_is_fetched_or_read() {
    // Bare, with a projector: any http URL is fetched, ten megabytes and ten seconds each.
    let stack = Stack::running();
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = trap.local_addr().unwrap();
    for url in [
        format!("http://{address}/a.png"),
        format!("https://{address}/a.png"),
        "file:///etc/passwd".to_owned(),
        "data:image/svg+xml;base64,AAAA".to_owned(),
        "data:text/html,x".to_owned(),
        "/etc/passwd".to_owned(),
    ] {
        let part = json!({"type": "image_url", "image_url": {"url": url}});
        let messages = json!({"messages": [{"role": "user", "content": [part]}]});
        stack
            .is_refused(&messages, "messages[0].content[0].image_url.url")
            .await;
    }
    for kind in ["input_audio", "video_url", "file"] {
        let messages = json!({"messages": [{"role": "user", "content": [{"type": kind}]}]});
        stack
            .is_refused(&messages, "messages[0].content[0].type")
            .await;
    }
    let connected = tokio::time::timeout(Duration::from_millis(200), trap.accept()).await;
    assert!(connected.is_err(), "somebody fetched it");
    stack.engine_lives().await;
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn no_route_that_shows_or_changes_what_belongs_to_others_is_reached() {
    // Bare: every one of these is answered with the one key that there is; adapters are changed for everybody.
    let stack = Stack::running();
    for (method, path) in [
        ("GET", "/slots"),
        ("POST", "/slots/0?action=save"),
        ("POST", "/slots/0?action=erase"),
        ("GET", "/props"),
        ("POST", "/props"),
        ("GET", "/metrics"),
        ("GET", "/lora-adapters"),
        ("POST", "/lora-adapters"),
        ("GET", "/v1/stream?conv_id=x"),
        ("DELETE", "/v1/stream?conv_id=x"),
        ("POST", "/v1/streams/lookup"),
        ("POST", "/v1/chat/completions/control"),
        ("POST", "/infill"),
        ("POST", "/completion"),
        ("POST", "/apply-template"),
        ("POST", "/detokenize"),
        ("POST", "/cors-proxy"),
        ("POST", "/tools"),
        ("POST", "/models/load"),
        ("DELETE", "/models"),
        ("POST", "/v1/audio/transcriptions"),
        ("POST", "/predict"),
    ] {
        let url = format!("{}{path}", stack.proxy);
        let request = stack
            .http
            .request(method.parse().unwrap(), url)
            .bearer_auth(&stack.key);
        let response = request.json(&json!([])).send().await.unwrap();
        assert_eq!(response.status(), 404, "{method} {path}");
        assert_eq!(
            response.json::<Value>().await.unwrap()["error"]["code"],
            "not_found",
            "{method} {path}"
        );
    }
    stack.engine_lives().await;
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_conversation_id_neither_keeps_an_answer_running_nor_lets_anyone_read_it() {
    // Bare: with this header leaving cancels nothing, and whoever guesses the id reads or stops the answer.
    let stack = Stack::running();
    stack.wait_for_busy_slots(0).await;
    let body = stack.question("Write a very long story about a horse.", true, 900);
    let request = stack
        .completion(&body)
        .header("x-conversation-id", "guessed");
    let mut answer = request.send().await.unwrap().bytes_stream();
    answer.next().await.unwrap().unwrap();
    let kept = stack
        .http
        .get(format!("{}/v1/stream?conv_id=guessed", stack.engine))
        .bearer_auth(&stack.key);
    assert_eq!(
        kept.send().await.unwrap().status(),
        404,
        "the engine keeps the answer"
    );
    drop(answer);
    stack.wait_for_busy_slots(0).await;
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn half_sent_requests_never_reach_the_engine() {
    // Bare: nine hundred of them stop even /health.
    let stack = Stack::running();
    let address = stack.proxy.trim_start_matches("http://");
    let mut sockets = Vec::new();
    for _ in 0..400 {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket
            .write_all(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthor")
            .await
            .unwrap();
        sockets.push(socket);
    }
    let began = Instant::now();
    let health = stack
        .http
        .get(format!("{}/health", stack.engine))
        .send()
        .await
        .unwrap();
    assert_eq!(health.status(), 200);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "the engine took {:?}",
        began.elapsed()
    );
    stack.engine_lives().await;
}
