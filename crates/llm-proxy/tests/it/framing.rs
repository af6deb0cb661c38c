//! Requests whose head or framing is hostile: refused in the error shape, or served as what they are, and never a second
//! request for llama-server. What hyper itself would refuse stands in `common`'s tests of the same server.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::{KEY, PATIENCE, Proxy, question};

/// Status, code and whether the connection was closed within the exchange of `request`.
async fn refusal(proxy: &Proxy, request: &str) -> (u16, String) {
    let answer = proxy.raw(request).await;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head["HTTP/1.1 ".len()..][..3].parse().unwrap();
    let envelope: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
    assert_eq!(envelope["src"], "llm-proxy", "{answer}");
    (
        status,
        envelope["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    )
}

/// A question as it goes over the wire, with `fields` among its header.
fn post(fields: &str) -> String {
    let body = question(false).to_string();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n{fields}\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_hostile_head_is_refused_in_the_error_shape_and_the_connection_closed_or_told_to() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let host = "Host: x\r\nConnection: close\r\n";
    let close = "Connection: close\r\n";
    for (row, request, status, code) in [
        (
            "H1",
            post(&format!("{host}Transfer-Encoding: chunked\r\n")),
            400,
            "malformed_request",
        ),
        (
            "H3",
            post(&format!("{host}Content-Length: 78\r\n")),
            400,
            "malformed_request",
        ),
        (
            "H5",
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
            ),
            400,
            "malformed_request",
        ),
        ("H7", post(close), 400, "bad_target"),
        (
            "H7",
            post(&format!("{close}Host: x\r\nHost: x\r\n")),
            400,
            "bad_target",
        ),
        (
            "H7",
            post(&format!("{close}Host: a:b:c\r\n")),
            400,
            "bad_target",
        ),
        ("H7", post(&format!("{close}Host: \r\n")), 400, "bad_target"),
        (
            "H7",
            post(&format!("{close}Host: a b\r\n")),
            400,
            "bad_target",
        ),
        (
            "H7",
            post(&format!("{close}Host: x/v1/models\r\n")),
            400,
            "bad_target",
        ),
        (
            "H7",
            post(&format!("{close}Host: user@x\r\n")),
            400,
            "bad_target",
        ),
        (
            "H8",
            format!("GET http://evil/health HTTP/1.1\r\n{host}\r\n"),
            400,
            "bad_target",
        ),
        (
            "H9",
            format!("GET /health HTTP/1.1\n{host}\r\n"),
            400,
            "malformed_request",
        ),
        (
            "H11",
            post(&format!("{close}Host: \u{fc}ber\r\n")),
            400,
            "bad_target",
        ),
        (
            "H12",
            post(&format!("{host}{}", "X: y\r\n".repeat(101))),
            431,
            "header_too_large",
        ),
        (
            "H13",
            post(&format!("{host}X: {}\r\n", "y".repeat(16 * 1024))),
            431,
            "header_too_large",
        ),
        (
            "H14",
            format!("GET /{} HTTP/1.1\r\n{host}\r\n", "y".repeat(8 * 1024)),
            414,
            "target_too_long",
        ),
        (
            "H16",
            format!("CONNECT x:80 HTTP/1.1\r\n{host}\r\n"),
            400,
            "bad_target",
        ),
        (
            "H16",
            format!("TRACE /health HTTP/1.1\r\n{host}\r\n"),
            405,
            "method_not_allowed",
        ),
        (
            "H16",
            format!("get /health HTTP/1.1\r\n{host}\r\n"),
            405,
            "method_not_allowed",
        ),
        (
            "H16",
            format!("{} /health HTTP/1.1\r\n{host}\r\n", "M".repeat(1024)),
            405,
            "method_not_allowed",
        ),
        (
            "H20",
            post(&format!("{host}Expect: bogus\r\n")),
            417,
            "expectation_failed",
        ),
        (
            "H20",
            post(&format!("{host}Expect: 100-continue\r\nExpect: x\r\n")),
            417,
            "expectation_failed",
        ),
        (
            "H23",
            post("Host: x\r\nConnection: close, authorization\r\n"),
            400,
            "bad_connection_option",
        ),
        (
            "H23",
            post("Host: x\r\nConnection: close\r\nConnection: x-api-key\r\n"),
            400,
            "bad_connection_option",
        ),
        (
            "H26",
            post(&format!("{host}Content-Encoding: gzip\r\n")),
            415,
            "unsupported_content_encoding",
        ),
        (
            "H26",
            post(&format!("{host}Content-Encoding: identity\r\n")),
            415,
            "unsupported_content_encoding",
        ),
        (
            "H27",
            post(&format!("{host}Content-Type: application/json\r\n")),
            415,
            "unsupported_media_type",
        ),
    ] {
        assert_eq!(
            refusal(&proxy, &request).await,
            (status, code.to_owned()),
            "{row}: {request:.300}"
        );
    }
    for kind in [
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "",
    ] {
        let request = post(host).replace("application/json", kind);
        assert_eq!(
            refusal(&proxy, &request).await,
            (415, "unsupported_media_type".to_owned()),
            "H27: {kind}"
        );
    }
    assert_eq!(llama.requests().len(), 0);
    proxy.until_metric(r#"llm_proxy_requests_total{route="other",key="none",model="none",outcome="expectation_failed",status="4xx"} 2"#).await;
    // What no route saw is counted all the same.
    for (reason, n) in [
        ("malformed_request", 4),
        ("header_too_large", 2),
        ("target_too_long", 1),
    ] {
        proxy
            .until_metric(&format!(
                r#"llm_proxy_connections_refused_total{{reason="{reason}"}} {n}"#
            ))
            .await;
    }
}

#[tokio::test]
async fn every_refusal_has_an_id_also_one_that_no_route_saw() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| {
        config.body_deadline = Duration::from_millis(50);
    })
    .await;
    let unread = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{{"
    );
    for (request, code) in [
        ("GET /health HTTP/1.1\n\n".to_owned(), "malformed_request"),
        (
            post("Host: x\r\nTransfer-Encoding: chunked\r\n"),
            "malformed_request",
        ),
        (
            format!("GET /{} HTTP/1.1\r\n\r\n", "y".repeat(8 * 1024)),
            "target_too_long",
        ),
        (
            post("Host: x\r\nConnection: close, authorization\r\n"),
            "bad_connection_option",
        ),
        (unread, "body_timeout"),
    ] {
        let answer = proxy.raw(&request).await;
        let id = answer
            .split_once("x-request-id: ")
            .and_then(|(_, rest)| rest.split_once("\r\n"));
        let id = id.unwrap_or_else(|| panic!("{code} has no id: {answer}")).0;
        assert_eq!(
            uuid::Uuid::try_parse(id).unwrap().get_version_num(),
            7,
            "{code}"
        );
        assert!(answer.contains(&format!(r#""code":"{code}""#)), "{answer}");
    }
}

#[tokio::test]
async fn a_chunked_body_that_is_not_well_formed_is_refused_and_nothing_behind_it_is_read() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let next = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    for body in [
        "12345678901234567\r\n{}\r\n0\r\n\r\n".to_owned(),
        "-1\r\n{}\r\n0\r\n\r\n".to_owned(),
        "0x2\r\n{}\r\n0\r\n\r\n".to_owned(),
        "2\r\n{}0\r\n\r\n".to_owned(),
        format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(20 * 1024)),
        format!("2\r\n{{}}\r\n0\r\n{}\r\n", "X: y\r\n".repeat(200)),
    ] {
        let answer = refusal(&proxy, &format!("{head}{body}{next}")).await;
        assert_eq!(
            answer,
            (400, "body_unreadable".to_owned()),
            "H18: {body:.100}"
        );
    }
    // A good one is answered, and what follows it is not.
    let body = question(false).to_string();
    let answer = proxy
        .raw(&format!(
            "{head}{:x}\r\n{body}\r\n0\r\n\r\n{next}",
            body.len()
        ))
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("connection: close\r\n"),
        "{answer}"
    );
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert_eq!(llama.requests().len(), 1);
}

#[tokio::test]
async fn a_body_that_is_too_large_or_never_comes_is_refused_and_the_connection_closed() {
    let llama = FakeLlama::start().await;
    let body_deadline = Duration::from_millis(300);
    let proxy = Proxy::with(&llama, |config| config.body_deadline = body_deadline).await;
    let head = |n: usize| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {n}\r\n\r\n"
        )
    };
    let large = format!("{}{}", head(3_000_000), "x".repeat(3_000_000));
    assert_eq!(
        refusal(&proxy, &large).await,
        (413, "body_too_large".to_owned()),
        "H19"
    );
    let began = Instant::now();
    assert_eq!(
        refusal(&proxy, &format!("{}{{", head(9))).await,
        (408, "body_timeout".to_owned()),
        "H19"
    );
    assert!((body_deadline..PATIENCE).contains(&began.elapsed()));

    // P18: a byte now and then does not move the deadline.
    let began = Instant::now();
    let (mut read, mut write) = TcpStream::connect(proxy.address)
        .await
        .unwrap()
        .into_split();
    write.write_all(head(100_000).as_bytes()).await.unwrap();
    let drip = async {
        let mut every = tokio::time::interval(body_deadline / 20);
        loop {
            every.tick().await;
            let _closed = write.write_all(b" ").await;
        }
    };
    let mut answer = String::new();
    tokio::select! {
        () = drip => {}
        answered = read.read_to_string(&mut answer) => assert!(answered.is_ok(), "{answered:?}"),
    }
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("body_timeout"),
        "{answer}"
    );
    assert!((body_deadline..PATIENCE).contains(&began.elapsed()));
    assert_eq!(llama.requests().len(), 0);
}

#[tokio::test]
async fn a_body_where_none_belongs_is_never_taken_for_a_request() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let hidden = post("Host: x\r\n");
    let request = format!(
        "GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {}\r\n\r\n{hidden}\
         GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        hidden.len()
    );
    let answer = proxy.raw(&request).await;
    // Either the body is thrown away and the next request answered, or the connection is closed behind the first answer.
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.matches("HTTP/1.1").count() <= 2 && !answer.contains("chat.completion"),
        "{answer}"
    );
    assert_eq!(llama.requests().len(), 0, "H21");
}

#[tokio::test]
async fn an_upgrade_is_not_taken_up_and_no_field_of_the_connection_goes_upstream() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let fields = "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nTE: trailers\r\nTrailer: x\r\nProxy-Authorization: Basic x\r\n\
         Keep-Alive: timeout=1\r\nProxy-Connection: keep-alive\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: evil\r\n\
         X-Forwarded-Proto: https\r\nX-Real-IP: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\nVia: 1.1 evil\r\nCookie: a=b\r\n\
         X-Original-URL: /slots\r\nX-Rewrite-URL: /slots\r\nX-HTTP-Method-Override: GET\r\nAccept-Encoding: gzip\r\n\
         Range: bytes=0-1\r\nIf-None-Match: *\r\nCache-Control: only-if-cached\r\nX: \u{ff}\r\n";
    let answer = proxy.raw(&post(fields)).await;
    // H22: no 101, and the connection is closed, because nobody can say what follows such a request.
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("connection: close\r\n"),
        "{answer}"
    );
    // H28: neither compressed, nor cached, nor a part.
    assert!(
        answer.contains("cache-control: no-store\r\n")
            && answer.contains(r#""object":"chat.completion""#)
    );
    assert!(
        !answer.contains("content-encoding") && !answer.contains("content-range"),
        "{answer}"
    );
    let received = llama.request_started(0).await;
    let mut names: Vec<&str> = received.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    let own = [
        "accept",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "x-request-id",
    ];
    assert_eq!(names, own, "H22, H24");
    assert_eq!(llama.requests().len(), 1);
}

#[tokio::test]
async fn what_is_refused_early_with_its_body_on_the_way_is_answered_whole_and_closed() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\n\
         Content-Type: application/json\r\nContent-Length: 600000\r\n\r\n{}",
        "x".repeat(600_000)
    );
    for _ in 0..10 {
        assert_eq!(
            refusal(&proxy, &request).await,
            (401, "invalid_api_key".to_owned())
        );
    }
    assert_eq!(llama.requests().len(), 0);
}

#[tokio::test]
async fn a_second_request_on_a_connection_is_judged_like_the_first() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a"]));
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream
        .write_all(post("Host: x\r\n").as_bytes())
        .await
        .unwrap();
    let mut first = Vec::new();
    while !first.ends_with(b"}") {
        assert_ne!(stream.read_buf(&mut first).await.unwrap(), 0);
    }
    let second = post("Host: x\r\nTransfer-Encoding: chunked\r\n");
    stream.write_all(second.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    assert!(answer.contains("malformed_request"), "{answer}");
    assert_eq!(llama.requests().len(), 1);
    assert_eq!(json!(llama.running()), json!(0));
}
