//! A WebSocket client for tests: JSON frames, an answer as one value, and every way of leaving.
//!
//! It owns patience (every wait fails after [`PATIENCE`] instead of hanging) and no opinion on the protocol beyond
//! `delta` and its terminals.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderName, HeaderValue, Response};
use tokio_tungstenite::tungstenite::{self, Message};

/// How long a frame, a close or a handshake may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A handshake that the server answered with another status than 101.
#[derive(Debug)]
pub struct Refused {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the upgrade was refused with {}: {}",
            self.status, self.body
        )
    }
}

impl std::error::Error for Refused {}

/// An open socket.
#[derive(Debug)]
pub struct WsClient {
    socket: WebSocketStream<TcpStream>,
    opening: HeaderMap,
}

impl WsClient {
    /// Opens `ws://HOST:PORT/PATH` as a native client does, without an `Origin`.
    ///
    /// # Errors
    ///
    /// When the peer cannot be reached; with a [`Refused`] inside when it answered anything but 101.
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        Self::connect_with(url, &[]).await
    }

    /// As [`WsClient::connect`], as the page of `origin` does.
    ///
    /// # Errors
    ///
    /// As [`WsClient::connect`].
    pub async fn connect_from(url: &str, origin: &str) -> anyhow::Result<Self> {
        Self::connect_with(url, &[("origin", origin)]).await
    }

    /// As [`WsClient::connect`], with further header fields; one named `host` replaces the address.
    ///
    /// # Errors
    ///
    /// As [`WsClient::connect`].
    pub async fn connect_with(url: &str, headers: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut request = url.into_client_request()?;
        let authority = request
            .uri()
            .authority()
            .context("the address has a host")?
            .to_string();
        for (name, value) in headers {
            let name = HeaderName::try_from(*name)?;
            let value = HeaderValue::try_from(*value)?;
            if name == "host" {
                request.headers_mut().insert(name, value);
            } else {
                request.headers_mut().append(name, value);
            }
        }
        let opening = async {
            let stream = TcpStream::connect(&authority).await?;
            stream.set_nodelay(true)?;
            match tokio_tungstenite::client_async(request, stream).await {
                Ok((socket, response)) => Ok(Self {
                    socket,
                    opening: response.into_parts().0.headers,
                }),
                Err(tungstenite::Error::Http(response)) => Err(refused(&response).into()),
                Err(error) => Err(error.into()),
            }
        };
        patiently("the handshake", opening).await
    }

    /// A field of the answer that opened the socket.
    #[must_use]
    pub fn opened_with(&self, name: &str) -> Option<&str> {
        self.opening.get(name)?.to_str().ok()
    }

    /// Sends `value` as a text frame.
    ///
    /// # Errors
    ///
    /// When the socket is closed.
    pub async fn send_json(&mut self, value: &Value) -> anyhow::Result<()> {
        self.send(Message::text(value.to_string())).await
    }

    /// Sends a text frame that need not be JSON.
    ///
    /// # Errors
    ///
    /// When the socket is closed.
    pub async fn send_text(&mut self, text: &str) -> anyhow::Result<()> {
        self.send(Message::text(text)).await
    }

    /// Sends any message, or a raw frame that breaks the rules.
    ///
    /// # Errors
    ///
    /// When the socket is closed.
    pub async fn send(&mut self, message: Message) -> anyhow::Result<()> {
        patiently("a write", async { Ok(self.socket.send(message).await?) }).await
    }

    /// The next text frame as JSON; pings are answered on the way.
    ///
    /// # Errors
    ///
    /// When the socket closes, the frame is no JSON text, or nothing comes.
    pub async fn next_json(&mut self) -> anyhow::Result<Value> {
        match self.next().await? {
            Message::Text(text) => Ok(serde_json::from_str(&text)?),
            other => bail!("a text frame was expected, not {other:?}"),
        }
    }

    /// Reads one answer: the texts of its deltas, and the frame that ended it (`done` or `error`).
    ///
    /// # Errors
    ///
    /// As [`WsClient::next_json`].
    pub async fn collect_answer(&mut self) -> anyhow::Result<(Vec<String>, Value)> {
        let mut deltas = Vec::new();
        loop {
            let frame = self.next_json().await?;
            if frame["type"] != "delta" {
                return Ok((deltas, frame));
            }
            deltas.push(
                frame["content"]
                    .as_str()
                    .context("a delta has content")?
                    .to_owned(),
            );
        }
    }

    /// Closes with code 1000 and waits for the server's close.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn close(mut self) -> anyhow::Result<()> {
        patiently("the close", async { Ok(self.socket.close(None).await?) }).await?;
        while let Some(Ok(_)) =
            patiently("the close", async { Ok(self.socket.next().await) }).await?
        {}
        Ok(())
    }

    /// Drops the TCP connection, as a browser that is killed.
    pub fn abort(self) {
        drop(self.socket);
    }

    /// Reads on until the server closes, and returns its code. Frames before it are skipped.
    ///
    /// # Errors
    ///
    /// When the server closes without a code, or not at all.
    pub async fn wait_close(&mut self) -> anyhow::Result<u16> {
        loop {
            match patiently("the server's close", async { Ok(self.socket.next().await) }).await? {
                Some(Ok(Message::Close(frame))) => {
                    return Ok(frame.context("a close without a code")?.code.into());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    return Err(error).context("the server closed without a close frame");
                }
                None => bail!("the server closed without a close frame"),
            }
        }
    }

    async fn next(&mut self) -> anyhow::Result<Message> {
        loop {
            let next = patiently("a frame", async { Ok(self.socket.next().await) }).await?;
            match next.context("the socket is closed")?? {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return Ok(message),
            }
        }
    }
}

fn refused(response: &Response<Option<Vec<u8>>>) -> Refused {
    let body = response.body().as_deref().unwrap_or_default();
    Refused {
        status: response.status().as_u16(),
        body: String::from_utf8_lossy(body).into_owned(),
    }
}

async fn patiently<T>(
    what: &str,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let waited = tokio::time::timeout(PATIENCE, work).await;
    waited.with_context(|| format!("{what} took longer than {} s", PATIENCE.as_secs()))?
}
