//! `cargo xtask chat`: a chat in the terminal over the gateway's WebSocket, in version 1 of its protocol.
//!
//! The answer goes to standard output and everything else to standard error, so it works in a pipe:
//! `echo "Why is the sky blue?" | cargo xtask chat`. Version 1 has no message that stops an answer: Ctrl-C closes the
//! socket, which does, and opens a new one.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result, anyhow, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::addresses::Addresses;
use crate::say;
use crate::settings::{Profile, Settings};
use crate::signals::Stop;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What the gateway sends.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    Delta {
        content: String,
    },
    Done,
    Error {
        message: String,
    },
    ResetOk,
    #[serde(other)]
    Other,
}

/// How waiting for an answer ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Whole,
    Stopped,
    Failed(String),
}

/// Chats with the gateway at `url` (default: where `cargo xtask up` puts it) until the input ends.
///
/// # Errors
///
/// When the gateway cannot be reached, or, in a pipe, when a message is not answered.
pub(crate) async fn run(url: Option<String>) -> Result<()> {
    let url = match url {
        Some(url) => url,
        None => format!(
            "ws://{}/api/v1/ws/chat",
            Addresses::of(&Settings::load(Profile::Dev)?)?.gateway
        ),
    };
    let interactive = std::io::stdin().is_terminal();
    let mut socket = connect(&url).await?;
    let mut stop = Stop::listen()?;
    let mut lines = read_lines();
    if interactive {
        say::line(format_args!(
            "Connected to {url}. /reset begins anew, Ctrl-C stops an answer, Ctrl-D leaves."
        ));
    }
    loop {
        if interactive {
            eprint!("{}", say::bold("> "));
        }
        let line = tokio::select! {
            line = lines.recv() => line,
            () = stop.asked() => None,
        };
        let Some(line) = line else {
            return leave(socket, interactive).await;
        };
        let message = match line.trim() {
            "" => continue,
            "/reset" => serde_json::json!({"type": "reset"}),
            text => serde_json::json!({"content": text}),
        };
        // A gateway that was restarted while nobody wrote is no reason to leave.
        if socket
            .send(Message::text(message.to_string()))
            .await
            .is_err()
        {
            socket = connect(&url).await?;
            socket
                .send(Message::text(message.to_string()))
                .await
                .context("the gateway closed the socket")?;
        }
        match answer(&mut socket, &mut stop).await? {
            End::Whole => {}
            End::Stopped if interactive => {
                drop(socket);
                socket = connect(&url).await?;
                say::line("\n(stopped; a new conversation begins)");
            }
            End::Stopped => bail!("stopped in the middle of an answer"),
            End::Failed(message) if interactive => say::line(format_args!("error: {message}")),
            End::Failed(message) => bail!("the gateway answered with an error: {message}"),
        }
    }
}

async fn connect(url: &str) -> Result<Socket> {
    match connect_async(url).await {
        Ok((socket, _)) => Ok(socket),
        Err(error) => {
            bail!("cannot reach the gateway at {url} ({error}): is `cargo xtask up` running?")
        }
    }
}

async fn leave(mut socket: Socket, interactive: bool) -> Result<()> {
    if interactive {
        say::line("");
    }
    let _already_closed = socket.close(None).await;
    Ok(())
}

/// Prints the answer as it comes.
async fn answer(socket: &mut Socket, stop: &mut Stop) -> Result<End> {
    loop {
        let frame = tokio::select! {
            frame = socket.next() => frame,
            () = stop.asked() => return Ok(End::Stopped),
        };
        let text = match frame {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(frame))) => {
                let reason = frame.map(|frame| frame.to_string()).unwrap_or_default();
                bail!("the gateway closed the socket in the middle of an answer {reason}");
            }
            Some(Ok(_)) => continue,
            Some(Err(error)) => {
                return Err(
                    anyhow!(error).context("the connection broke in the middle of an answer")
                );
            }
            None => bail!("the connection ended in the middle of an answer"),
        };
        match serde_json::from_str(&text)
            .with_context(|| format!("the gateway sent what v1 does not have: {text}"))?
        {
            Event::Delta { content } => print(&content)?,
            Event::Done => {
                print("\n")?;
                return Ok(End::Whole);
            }
            Event::ResetOk => {
                say::line("(a new conversation begins)");
                return Ok(End::Whole);
            }
            Event::Error { message } => return Ok(End::Failed(message)),
            Event::Other => {}
        }
    }
}

fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write the answer")
}

/// Standard input, line by line, from a thread of its own: a read of it cannot be cancelled.
fn read_lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::{End, answer, connect};
    use crate::signals::Stop;
    use futures_util::SinkExt as _;
    use tokio::net::TcpListener;
    use tokio_tungstenite::tungstenite::Message;

    /// How an answer ends that consists of `frames`, after which the gateway closes the socket.
    async fn end_of(frames: &[&'static str]) -> anyhow::Result<End> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("ws://{}/", listener.local_addr()?);
        let gateway = async {
            let (stream, _) = listener.accept().await?;
            let mut socket = tokio_tungstenite::accept_async(stream).await?;
            for frame in frames {
                socket.send(Message::text(*frame)).await?;
            }
            socket.close(None).await?;
            anyhow::Ok(())
        };
        let client = async { answer(&mut connect(&url).await?, &mut Stop::listen()?).await };
        let (served, end) = tokio::join!(gateway, client);
        served?;
        end
    }

    #[tokio::test]
    async fn an_answer_is_whole_only_when_the_gateway_says_done() {
        let whole = [
            r#"{"type":"delta","content":"Hi"}"#,
            r#"{"type":"stats","tps":7}"#,
            r#"{"type":"done"}"#,
        ];
        assert_eq!(end_of(&whole).await.unwrap(), End::Whole);
        let cut = end_of(&whole[..2]).await.unwrap_err().to_string();
        assert!(cut.contains("in the middle of an answer"), "{cut}");
    }

    #[tokio::test]
    async fn an_error_of_the_gateway_is_shown_in_its_words() {
        let failed = [
            r#"{"type":"delta","content":"Hi"}"#,
            r#"{"type":"error","message":"no model"}"#,
        ];
        assert_eq!(
            end_of(&failed).await.unwrap(),
            End::Failed("no model".to_owned())
        );
    }
}
