//! Plays a script onto a socket in llama-server's own shapes: its integer error codes, its headers, its events.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::WriteHalf;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::LlamaState;
use super::events::{Events, usage};
use super::script::{Deviation, Script};

/// What is left of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterAnswer {
    Keep,
    Close,
    Reset,
}

/// The body's way out, and how a stalled answer learns that it may go on.
pub(super) struct BodyWriter<'a, 'b> {
    out: &'a mut WriteHalf<'b>,
    changes: watch::Receiver<LlamaState>,
    number: usize,
}

impl<'a, 'b> BodyWriter<'a, 'b> {
    pub(super) fn new(
        out: &'a mut WriteHalf<'b>,
        changes: watch::Receiver<LlamaState>,
        number: usize,
    ) -> Self {
        Self {
            out,
            changes,
            number,
        }
    }

    /// Writes `bytes` of the body in HTTP chunks of at most `slice` bytes.
    async fn chunks(&mut self, bytes: &[u8], slice: usize) -> std::io::Result<()> {
        for part in bytes.chunks(slice.clamp(1, bytes.len().max(1))) {
            let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
            chunk.extend_from_slice(part);
            chunk.extend_from_slice(b"\r\n");
            self.out.write_all(&chunk).await?;
        }
        Ok(())
    }

    async fn event(&mut self, script: &Script, event: &str) -> std::io::Result<()> {
        self.chunks(event.as_bytes(), script.slice_bytes).await
    }

    /// Passes `pause`, or the time until a release, with pings when the script has some.
    async fn wait(
        &mut self,
        script: &Script,
        pause: Option<Duration>,
        pings: bool,
    ) -> std::io::Result<()> {
        if pause == Some(Duration::ZERO) {
            // A timer would take a millisecond for it.
            return Ok(());
        }
        let end = pause.map(|pause| Instant::now() + pause);
        let every = script.pings.filter(|_| pings);
        loop {
            let ping = every.map(|every| Instant::now() + every);
            let number = self.number;
            tokio::select! {
                () = at(end) => return Ok(()),
                _ = self.changes.wait_for(|state| state.released > number), if end.is_none() => return Ok(()),
                () = at(ping) => {}
            }
            self.chunks(b":\n\n", usize::MAX).await?;
        }
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Writes the whole answer. Not cancel-safe: a dropped answer is a cut one.
pub(super) async fn play(
    mut wire: BodyWriter<'_, '_>,
    script: &Script,
    (line, request): (&str, &Value),
    alias: &str,
) -> std::io::Result<AfterAnswer> {
    if script.stall_before_headers {
        wire.wait(script, None, false).await?;
    }
    wire.wait(script, Some(script.before_headers), false)
        .await?;
    if script.reset_before_headers {
        return Ok(AfterAnswer::Reset);
    }
    if let Some((head, block, times)) = &script.raw {
        wire.out.write_all(head).await?;
        for _ in 0..*times {
            wire.out.write_all(block).await?;
        }
        return Ok(if script.raw_reset {
            AfterAnswer::Reset
        } else {
            AfterAnswer::Close
        });
    }
    if let Some((status, body)) = &script.refusal {
        wire.out.write_all(&json_close(*status, body)).await?;
        return Ok(AfterAnswer::Close);
    }
    let events = Events::new(line, alias, script);
    if request["stream"] != true {
        return whole(wire, script, &events, alias).await;
    }
    wire.out.write_all(STREAM_HEAD.as_bytes()).await?;
    for (processed, pause) in [(0, script.prefill), (7, Duration::ZERO)] {
        if request["return_progress"] == true {
            wire.event(script, &events.progress(processed)).await?;
        }
        wire.wait(script, Some(pause), true).await?;
    }
    for comment in &script.comments {
        wire.event(script, &format!("{comment}\n\n")).await?;
    }
    if !script.comments.is_empty() {
        wire.wait(script, None, true).await?;
    }
    for event in events.opening() {
        wire.event(script, &event).await?;
    }
    for sent in 0..=script.deltas.len() {
        match script
            .fault
            .as_ref()
            .filter(|(at, _)| *at == sent)
            .map(|(_, fault)| fault)
        {
            None => {}
            Some(Deviation::Stall) => wire.wait(script, None, true).await?,
            Some(Deviation::Reset) => return Ok(AfterAnswer::Reset),
            Some(Deviation::CleanEnd) => return end(wire).await,
            Some(Deviation::ErrorEvent(message)) => {
                wire.event(script, &events.error(message)).await?;
                return end(wire).await;
            }
        }
        if sent == script.deltas.len() {
            break;
        }
        if sent > 0 {
            wire.wait(script, Some(script.every), true).await?;
        }
        wire.event(script, &events.delta(sent)).await?;
    }
    for event in events.ending(request["stream_options"]["include_usage"] == true) {
        wire.event(script, &event).await?;
    }
    let kept = end(wire).await?;
    let Some(pause) = script.closes_after else {
        return Ok(kept);
    };
    tokio::time::sleep(pause).await;
    Ok(AfterAnswer::Close)
}

async fn whole(
    wire: BodyWriter<'_, '_>,
    script: &Script,
    events: &Events<'_>,
    alias: &str,
) -> std::io::Result<AfterAnswer> {
    let content = events.text("content");
    let body = json!({
        "id": "chatcmpl-fake", "object": "chat.completion", "created": 1_795_359_974_u64, "model": alias,
        "choices": [{"index": 0, "finish_reason": script.finish_reason,
            "message": {"role": "assistant", "content": content}}],
        "usage": usage(script),
    });
    wire.out.write_all(&json(200, &body.to_string())).await?;
    Ok(AfterAnswer::Keep)
}

async fn end(wire: BodyWriter<'_, '_>) -> std::io::Result<AfterAnswer> {
    wire.out.write_all(b"0\r\n\r\n").await?;
    Ok(AfterAnswer::Keep)
}

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nAccess-Control-Allow-Origin: \r\n\
    X-Accel-Buffering: no\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\
    Keep-Alive: timeout=5, max=100\r\n\r\n";

/// An error in llama-server's words; it closes the connection after one.
pub(super) fn error(status: u16, kind: &str, message: &str) -> Vec<u8> {
    json_close(
        status,
        &json!({"error": {"message": message, "type": kind, "code": status}}).to_string(),
    )
}

pub(super) fn json(status: u16, body: &str) -> Vec<u8> {
    head(status, body, "Keep-Alive: timeout=5, max=100")
}

fn json_close(status: u16, body: &str) -> Vec<u8> {
    head(status, body, "AfterAnswer: close")
}

fn head(status: u16, body: &str, connection: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} x\r\nServer: llama.cpp\r\nContent-Type: application/json; charset=utf-8\r\n\
         Content-Length: {}\r\n{connection}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
