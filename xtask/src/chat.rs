//! `cargo xtask chat`: a chat in the terminal over the gateway's WebSocket, in version 1 of its protocol.
//!
//! The answer goes to standard output and everything else to standard error, so it works in a pipe:
//! `echo "Why is the sky blue?" | cargo xtask chat`. Version 1 has no message that stops only an answer: Ctrl-C closes
//! the socket, which stops it, and opens a new one.

use std::io::{IsTerminal as _, Write as _};

use anyhow::{Context as _, Result, anyhow, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::addresses::Addresses;
use crate::say;
use crate::settings::{Profile, Settings};
use crate::signals::Stop;
use input::{Input, Lines};

mod input;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Where the gateway has its WebSocket.
const PATH: &str = "/api/v1/ws/chat";
/// What `/help` shows.
const HELP: &str = "\
/reset   begins a new conversation
/help    shows this
/quit    leaves, as Ctrl-D does
Ctrl-C stops an answer. The model then forgets the conversation.
Anything else goes to the model.";

/// What the gateway sends.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum GatewayFrame {
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
enum ChatEnd {
    Whole,
    Stopped,
    Failed(String),
}

/// Chats with the gateway at `address` (default: where `cargo xtask up` puts it) until the input ends.
///
/// # Errors
///
/// When the gateway cannot be reached, or, in a pipe, when a message is not answered.
pub(crate) async fn run(address: Option<String>) -> Result<()> {
    let address = match address {
        Some(address) => address,
        None => Addresses::of(&Settings::load(Profile::Dev)?)?
            .gateway
            .to_string(),
    };
    let url = socket_url(&address)?;
    let is_interactive = std::io::stdin().is_terminal();
    let mut socket = connect(&url).await?;
    let mut stop = Stop::listen()?;
    let mut lines = Lines::open(is_interactive)?;
    if is_interactive {
        say::line(format_args!(
            "Connected to {url}. Type a message, or /help."
        ));
    }
    loop {
        let input = tokio::select! {
            input = lines.next() => input,
            () = stop.asked() => Input::Quit,
        };
        let message = match input {
            Input::Quit => return leave(socket).await,
            Input::Nothing => continue,
            Input::Help => {
                say::line(HELP);
                continue;
            }
            Input::Unknown(command) => {
                say::line(format_args!(
                    "There is no command {command}; /help shows them. To send it, put a space before it."
                ));
                continue;
            }
            Input::Reset => serde_json::json!({"type": "reset"}),
            Input::Message(content) => serde_json::json!({"content": content}),
        };
        // The gateway may have been restarted while nobody wrote. That is no reason to leave.
        if socket
            .send(Message::text(message.to_string()))
            .await
            .is_err()
        {
            socket = connect(&url).await?;
            say::line("(the connection was lost; a new conversation begins)");
            socket
                .send(Message::text(message.to_string()))
                .await
                .context("the gateway closed the socket")?;
        }
        match answer(&mut socket, &mut stop).await? {
            ChatEnd::Whole => {}
            ChatEnd::Stopped if is_interactive => {
                drop(socket);
                socket = connect(&url).await?;
                say::line("\n(stopped; the model has forgotten this conversation)");
            }
            ChatEnd::Stopped => bail!("stopped in the middle of an answer"),
            ChatEnd::Failed(message) if is_interactive => {
                say::line(format_args!("error: {message}"));
            }
            ChatEnd::Failed(message) => bail!("the gateway answered with an error: {message}"),
        }
    }
}

/// The WebSocket's URL for `address`: the page's URL, the socket's own URL, or `HOST:PORT`.
fn socket_url(address: &str) -> Result<String> {
    let (scheme, rest) = address.split_once("://").unwrap_or(("ws", address));
    if matches!(scheme, "https" | "wss") {
        bail!(
            "{address}: `cargo xtask chat` cannot use TLS; give it the gateway's own address, as in http://127.0.0.1:8000/"
        );
    }
    if !matches!(scheme, "http" | "ws") || rest.is_empty() {
        bail!("{address} is no address of a gateway; expected one like http://127.0.0.1:8000/");
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    Ok(match path {
        "" => format!("ws://{host}{PATH}"),
        path => format!("ws://{host}/{path}"),
    })
}

async fn connect(url: &str) -> Result<Socket> {
    match connect_async(url).await {
        Ok((socket, _)) => Ok(socket),
        Err(error) => {
            bail!("cannot reach the gateway at {url} ({error}): is `cargo xtask up` running?")
        }
    }
}

async fn leave(mut socket: Socket) -> Result<()> {
    // The gateway may have closed it already.
    socket.close(None).await.ok();
    Ok(())
}

/// Prints the answer as it comes.
async fn answer(socket: &mut Socket, stop: &mut Stop) -> Result<ChatEnd> {
    loop {
        let frame = tokio::select! {
            frame = socket.next() => frame,
            () = stop.asked() => return Ok(ChatEnd::Stopped),
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
            GatewayFrame::Delta { content } => print(&content)?,
            GatewayFrame::Done => {
                print("\n")?;
                return Ok(ChatEnd::Whole);
            }
            GatewayFrame::ResetOk => {
                say::line("(a new conversation begins)");
                return Ok(ChatEnd::Whole);
            }
            GatewayFrame::Error { message } => return Ok(ChatEnd::Failed(message)),
            GatewayFrame::Other => {}
        }
    }
}

fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write the answer")
}

#[cfg(test)]
mod tests {
    use super::{ChatEnd, answer, connect, socket_url};
    use crate::signals::Stop;
    use futures_util::SinkExt as _;
    use tokio::net::TcpListener;
    use tokio_tungstenite::tungstenite::Message;

    /// How an answer ends that consists of `frames`, after which the gateway closes the socket.
    async fn end_of(frames: &[&'static str]) -> anyhow::Result<ChatEnd> {
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

    #[test]
    fn the_address_may_be_that_of_the_page_or_of_the_socket() {
        let socket = "ws://127.0.0.1:8100/api/v1/ws/chat";
        for address in [
            "127.0.0.1:8100",
            "http://127.0.0.1:8100",
            "http://127.0.0.1:8100/",
            socket,
        ] {
            assert_eq!(socket_url(address).unwrap(), socket, "{address}");
        }
        assert_eq!(socket_url("ws://a/b/c").unwrap(), "ws://a/b/c");
        for (address, problem) in [
            ("https://a/", "cannot use TLS"),
            ("ftp://a/", "expected one like http://127.0.0.1:8000/"),
            ("", "expected one like http://127.0.0.1:8000/"),
        ] {
            let error = socket_url(address).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_whole_only_when_the_gateway_says_done() {
        let whole = [
            r#"{"type":"delta","content":"Hi"}"#,
            r#"{"type":"stats","tps":7}"#,
            r#"{"type":"done"}"#,
        ];
        assert_eq!(end_of(&whole).await.unwrap(), ChatEnd::Whole);
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
            ChatEnd::Failed("no model".to_owned())
        );
    }
}
