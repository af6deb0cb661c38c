//! Heads that no handler may see: refused in the envelope, and the connection closed.

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use common::server::ListenerLimits;
use tokio::net::TcpStream;

use crate::{exchange, start, take_id};

/// A refusal on the wire, without its id.
fn refusal(status: &str, code: &str, message: &str) -> String {
    let body = format!(
        r#"{{"error":{{"message":"{message}","type":"invalid_request_error","code":"{code}","param":null}},"src":"test"}}"#
    );
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncache-control: no-store\r\nx-accel-buffering: no\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_bad_head_is_refused_in_the_envelope_and_the_connection_closed() {
    let handler = any(async |request: Request| format!("{} reached a handler", request.uri()));
    let (address, _guard) = start(Router::new().fallback(handler), ListenerLimits::default()).await;
    let malformed = "this is not a well-formed HTTP/1.1 request";
    let lengths = "the body's length is given more than once: send one Content-Length or one Transfer-Encoding";
    let line = "every line of the header must end with a carriage return and a line feed";
    let large = "the request's header is larger than 16 KiB or has more than 64 fields";
    let long = "the request line is longer than 8 KiB";
    let post = "POST / HTTP/1.1\r\nHost: x\r\n";
    let get = "GET / HTTP/1.1\r\nHost: x\r\n";
    let bad = |message| refusal("400 Bad Request", "malformed_request", message);
    let many = "X: y\r\n".repeat(64);
    for (request, expected) in [
        // Both lengths.
        (
            format!("{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            bad(lengths),
        ),
        (
            format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
            bad(lengths),
        ),
        // Not a length.
        (
            format!("{post}Content-Length: +5\r\n\r\nhello"),
            bad(malformed),
        ),
        (format!("{post}Content-Length: -1\r\n\r\n"), bad(malformed)),
        (
            format!("{post}Content-Length: 5, 5\r\n\r\nhello"),
            bad(malformed),
        ),
        (
            format!("{post}Content-Length: 18446744073709551616\r\n\r\n"),
            bad(malformed),
        ),
        // Two lengths, equal or not.
        (
            format!("{post}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
            bad(lengths),
        ),
        (
            format!("{post}Content-Length: 5\r\ncontent-length: 5\r\n\r\nhello"),
            bad(lengths),
        ),
        // Transfer codings.
        (
            format!("{post}Transfer-Encoding: xchunked\r\n\r\n"),
            bad(malformed),
        ),
        (
            format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n"),
            bad(malformed),
        ),
        (
            format!("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
            bad(lengths),
        ),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            bad(malformed),
        ),
        // Bare line feeds, anywhere in the head.
        ("GET / HTTP/1.1\nHost: x\n\n".to_owned(), bad(line)),
        (
            "GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n".to_owned(),
            bad(line),
        ),
        (format!("{get}\n"), bad(line)),
        // Malformed fields.
        (format!("{get}X : y\r\n\r\n"), bad(malformed)),
        (format!("{get}X: y\r\n folded\r\n\r\n"), bad(malformed)),
        (format!("{get}X: y\rz\r\n\r\n"), bad(malformed)),
        (format!("{get}X: y\0z\r\n\r\n"), bad(malformed)),
        // Too many fields, too large a head.
        (
            format!("{get}{many}\r\n"),
            refusal(
                "431 Request Header Fields Too Large",
                "header_too_large",
                large,
            ),
        ),
        (
            format!("{get}X: {}\r\n\r\n", "a".repeat(300 * 1024)),
            refusal(
                "431 Request Header Fields Too Large",
                "header_too_large",
                large,
            ),
        ),
        // Too long a request line.
        (
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(70 * 1024)),
            refusal("414 URI Too Long", "target_too_long", long),
        ),
        // Not HTTP/1.1.
        (
            "\u{16}\u{3}\u{1}\0\u{5}\u{1}\0\0\u{1}\u{3}\u{3}".to_owned(),
            bad(malformed),
        ),
        (
            "GET / HTTP/9.9\r\nHost: x\r\n\r\n".to_owned(),
            bad(malformed),
        ),
        // A bad head behind a good one spoils both when they arrive together.
        (
            format!("{get}\r\n{post}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
            bad(lengths),
        ),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let answer = exchange(&mut stream, &request).await;
        assert_eq!(
            take_id(&answer).1,
            expected,
            "{:?}",
            &request[..request.len().min(120)]
        );
    }
    // HTTP/2 without TLS: closed without a word.
    let mut stream = TcpStream::connect(address).await.unwrap();
    assert_eq!(
        exchange(&mut stream, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await,
        ""
    );
}

#[tokio::test]
async fn pipelined_requests_are_answered_up_to_one_whose_end_is_unclear() {
    let handler = any(async |request: Request| {
        let path = request.uri().path().to_owned();
        let body = axum::body::to_bytes(request.into_body(), 64).await.unwrap();
        format!("[{path} {}]", String::from_utf8(body.to_vec()).unwrap())
    });
    let (address, _guard) = start(Router::new().fallback(handler), ListenerLimits::default()).await;
    let requests = "POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /\
                    \r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n\
                    POST /3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n\
                    GET /4 HTTP/1.1\r\nHost: x\r\n\r\n";
    for size in [requests.len(), 1] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        for piece in requests.as_bytes().chunks(size) {
            // The server may have closed before the last, which is never answered.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, piece).await;
        }
        let mut answer = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer)
            .await
            .unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let bodies: Vec<&str> = answer
            .split("\r\n\r\n")
            .skip(1)
            .map(|rest| &rest[..rest.find(']').unwrap() + 1])
            .collect();
        assert_eq!(bodies, ["[/1 GET /]", "[/2 ]", "[/3 ok]"], "{answer}");
    }
}
