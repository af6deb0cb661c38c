//! A socket without a library, for bytes that no library would send.

use std::time::Duration;

use testkit::ws_client::PATIENCE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::gateway::Gateway;

/// The first byte of a whole text frame, of the first part of one, and of the parts after it.
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const TEXT_BEGINS: u8 = 0x01;
pub(crate) const GOES_ON: u8 = 0x00;
pub(crate) const ENDS: u8 = 0x80;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// The request's field that asks for version 2.
pub(crate) const V2: &str = "Sec-WebSocket-Protocol: chat.v2\r\n";

/// An open socket.
pub(crate) struct RawSocket {
    pub(crate) stream: TcpStream,
    /// The answer to the upgrade.
    pub(crate) head: String,
}

impl RawSocket {
    /// Opens one whose request has `fields`, each with its end of line.
    pub(crate) async fn open(gateway: &Gateway, fields: &str) -> Self {
        let socket = Self::knock(gateway, "HTTP/1.1", fields).await;
        assert!(socket.head.starts_with("HTTP/1.1 101 "), "{}", socket.head);
        socket
    }

    /// Asks for one, and reads the answer's head.
    pub(crate) async fn knock(gateway: &Gateway, version: &str, fields: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // So that a reader that takes nothing is noticed early.
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(gateway.public).await.unwrap();
        let request = format!(
            "GET /api/v1/ws/chat {version}\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n",
            gateway.public
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        Self { stream, head }
    }

    /// Sends bytes. A gateway that has closed already takes none, which shows in what it sent before.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.ok();
    }

    /// The next frame: its first byte and its payload. `None` at the end of the connection, however it ends.
    pub(crate) async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let reading = tokio::time::timeout(PATIENCE, self.read());
        reading.await.expect("a frame, or the end").ok()
    }

    /// Reads on until the gateway closes, and returns its code.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        while let Some((first, payload)) = self.next().await {
            if first == CLOSE {
                let code = payload.first_chunk().copied();
                return code.map(u16::from_be_bytes);
            }
        }
        None
    }

    /// As [`RawSocket::close_code`], with the clock paused: how long until then, at most `limit`.
    pub(crate) async fn close_code_after(&mut self, limit: Duration) -> (Option<u16>, Duration) {
        tokio::time::pause();
        let begin = tokio::time::Instant::now();
        let closing = tokio::time::timeout(limit, async {
            loop {
                match self.read().await {
                    Ok((CLOSE, payload)) => break payload.first_chunk().copied(),
                    Ok(_) => {}
                    Err(_) => break None,
                }
            }
        });
        let code = closing.await.expect("the connection ends in time");
        let elapsed = begin.elapsed();
        tokio::time::resume();
        (code.map(u16::from_be_bytes), elapsed)
    }

    async fn read(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let first = self.stream.read_u8().await?;
        let length = match self.stream.read_u8().await? {
            126 => usize::from(self.stream.read_u16().await?),
            127 => usize::try_from(self.stream.read_u64().await?).expect("a frame of this memory"),
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await?;
        Ok((first, payload))
    }
}

/// A frame of at most 125 bytes as a client sends it. Its mask is zero.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126);
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}
