//! Asks a service of the chain whether it is ready. The GET is written by hand: a status code is all that is needed, and an
//! HTTP client would double the time that the first `cargo xtask` takes to compile.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long one probe may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The most bytes of an answer that are read; a reason is shorter.
const MAX_ANSWER_BYTES: u64 = 4096;

/// Whether `path` at `address` answers 200.
///
/// # Errors
///
/// With the reason, in a few words for a line of progress.
pub(crate) async fn ready(address: SocketAddr, path: &str) -> Result<(), String> {
    let answer = tokio::time::timeout(TIMEOUT, ask(address, path))
        .await
        .map_err(|_| "no answer".to_owned())?
        .map_err(|_| "not listening yet".to_owned())?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split(' ').nth(1) == Some("200") {
        Ok(())
    } else {
        Err(reason(body))
    }
}

async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(MAX_ANSWER_BYTES)
        .read_to_end(&mut answer)
        .await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// llama-server gives its reason in an OpenAI error, our services in a line of text.
fn reason(body: &str) -> String {
    let message = serde_json::from_str::<serde_json::Value>(body)
        .ok()
        .and_then(|error| Some(error.pointer("/error/message")?.as_str()?.to_owned()));
    message.unwrap_or_else(|| body.trim().trim_start_matches("not ready: ").to_owned())
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn the_reason_is_taken_from_either_kind_of_answer() {
        assert_eq!(
            reason(r#"{"error":{"message":"Loading model","code":503}}"#),
            "Loading model"
        );
        assert_eq!(reason("not ready: no upstream\n"), "no upstream");
    }
}
