//! What stands in the header of an answer: the proxy's own fields and nothing of the upstream's.

use reqwest::Response;
use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};

use crate::{KEY, MODEL, Proxy, question};

/// What a server in llama-server's place could say, and what a cache or a browser would heed.
const THEIRS: &str = "Server: llama.cpp\r\nSet-Cookie: a=b\r\nAccess-Control-Allow-Origin: *\r\nLocation: http://x\r\n\
     Cache-Control: public, max-age=9\r\nX-Accel-Buffering: yes\r\nX-Request-Id: forged\r\nServer-Timing: forged;dur=1\r\n\
     Retry-After: 9\r\nX-Ratelimit-Limit-Requests: 9\r\nVia: 1.1 x\r\nETag: \"x\"\r\nVary: *\r\nDate: never\r\n";

fn raw(status: &str, kind: &str, body: &str) -> Script {
    Script::raw(format!(
        "HTTP/1.1 {status}\r\n{THEIRS}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// The names of the fields, checked to say what they always say; and what `Server-Timing` measures.
fn fields(response: &Response) -> (Vec<String>, Vec<String>) {
    let headers = response.headers();
    let text = |name: &str| {
        headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    };
    assert_eq!(
        (text("cache-control"), text("x-accel-buffering")),
        ("no-store", "no")
    );
    assert!(
        text("x-request-id").len() == 36 && text("date").ends_with("GMT"),
        "{headers:?}"
    );
    let measured = text("server-timing")
        .split(", ")
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, milliseconds) = part.split_once(";dur=").unwrap();
            assert!(milliseconds.parse::<f64>().unwrap() >= 0.0, "{part}");
            name.to_owned()
        });
    let measured = measured.collect();
    let mut names: Vec<String> = headers.keys().map(ToString::to_string).collect();
    names.sort_unstable();
    (names, measured)
}

#[tokio::test]
async fn every_answer_has_the_proxys_own_header_and_nothing_of_the_upstreams() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| {
        config.routes = ["chat", "embeddings"]
            .map(|name| name.parse().unwrap())
            .into();
    })
    .await;
    let event = |delta: Value, end: Value| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": end}]});
    let (token, end) = (
        event(json!({"content": "a"}), Value::Null),
        event(json!({}), json!("stop")),
    );
    let stream = format!("data: {token}\n\ndata: {end}\n\ndata: [DONE]\n\n");
    let refusal = json!({"error": {"code": 400, "message": "no", "type": "x"}}).to_string();
    let post = async |path: &str, body: &Value, script: Script| {
        llama.script(script);
        let url = format!("http://{}{path}", proxy.address);
        proxy
            .http
            .post(url)
            .bearer_auth(KEY)
            .json(body)
            .send()
            .await
            .unwrap()
    };
    let get = async |path: &str| {
        let request = proxy
            .http
            .get(format!("http://{}{path}", proxy.address))
            .bearer_auth(KEY);
        request.send().await.unwrap()
    };
    let chat = "/v1/chat/completions";
    let answer = |length: &str, more: &[&str]| {
        let own = [
            "cache-control",
            "content-type",
            "date",
            "x-accel-buffering",
            "x-request-id",
            length,
        ];
        let mut names: Vec<String> = own
            .iter()
            .chain(more)
            .map(|name| (*name).to_owned())
            .collect();
        names.sort_unstable();
        names
    };
    let whole = |more: &[&str]| answer("content-length", more);
    let timed = whole(&["server-timing"]);
    let events = "text/event-stream";
    for (what, response, status, names, measured) in [
        // The header of a stream goes out before there is a token.
        (
            "a stream",
            post(chat, &question(true), raw("200 OK", events, &stream)).await,
            200,
            answer("transfer-encoding", &["server-timing"]),
            &["queue"][..],
        ),
        (
            "a whole answer",
            post(chat, &question(false), raw("200 OK", events, &stream)).await,
            200,
            timed.clone(),
            &["queue", "ttft"],
        ),
        (
            "an embedding",
            post(
                "/v1/embeddings",
                &json!({"model": MODEL, "input": "x"}),
                raw("200 OK", "application/json", "{}"),
            )
            .await,
            200,
            timed.clone(),
            &["queue"],
        ),
        (
            "a count",
            post(
                "/tokenize",
                &json!({"content": "x"}),
                raw("200 OK", "application/json", "{}"),
            )
            .await,
            200,
            whole(&[]),
            &[],
        ),
        (
            "a refusal of the upstream",
            post(
                chat,
                &question(true),
                raw("400 x", "application/json", &refusal),
            )
            .await,
            400,
            timed,
            &["queue"],
        ),
        (
            "a refusal of the proxy",
            post(chat, &json!({}), Script::tokens(["a"])).await,
            400,
            whole(&[]),
            &[],
        ),
        ("the models", get("/v1/models").await, 200, whole(&[]), &[]),
        ("the health", get("/health").await, 200, whole(&[]), &[]),
        ("nothing", get("/nowhere").await, 404, whole(&[]), &[]),
        (
            "a wrong method",
            get(chat).await,
            405,
            whole(&["allow"]),
            &[],
        ),
    ] {
        assert_eq!(response.status(), status, "{what}");
        let measured = measured.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(fields(&response), (names, measured), "{what}");
    }
}
