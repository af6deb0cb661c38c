//! A WebSocket that costs its load next to nothing: the mask is zero, and text frames are looked at where they were read.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::dialect::ChatVersion;

/// The path of every gateway's socket.
const PATH: &str = "/api/v1/ws/chat";
/// What a socket that waits may hold.
const IDLE_BUFFER_BYTES: usize = 256;
/// Bytes that one read takes at most.
const READ_BYTES: usize = 64 * 1024;
/// The addresses of this machine that sockets come from: each may have only so many.
const N_SOURCES: usize = 250;

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// Why a chat does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ChatFailure {
    /// No connection.
    Connect,
    /// The upgrade was answered with this status.
    Status(u16),
    /// The connection broke off.
    Broken,
    /// The gateway closed with this code.
    Closed(u16),
    /// A frame that no gateway sends.
    Frame,
    /// The answer ended in an error.
    Error,
    /// The answer lacks tokens, or has too many.
    Partial,
    /// It had not come when time was up.
    Late,
}

impl ChatFailure {
    /// How many there are of each kind.
    pub(crate) fn count(all: &[Self]) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for failure in all {
            *counts.entry(format!("{failure:?}")).or_default() += 1;
        }
        counts
    }
}

/// Who opens a socket, and which version it speaks.
#[derive(Clone, Debug)]
pub(crate) struct ChatCaller {
    pub(crate) to: SocketAddr,
    pub(crate) dialect: ChatVersion,
    /// Decides from which of this machine's addresses it comes.
    pub(crate) number: usize,
    /// The cookie of the user, if it is not a new one.
    pub(crate) cookie: Option<String>,
}

/// An open socket.
#[derive(Debug)]
pub(crate) struct ChatSocket {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The cookie that the gateway gave.
    pub(crate) cookie: Option<String>,
}

impl ChatSocket {
    /// Opens a socket, and says hello where that is needed.
    pub(crate) async fn open(caller: &ChatCaller) -> Result<Self, ChatFailure> {
        let source = u8::try_from(caller.number % N_SOURCES).unwrap_or_default();
        let source = Ipv4Addr::new(127, 0, 1, source + 1);
        let stream = connect(caller.to, source)
            .await
            .map_err(|_| ChatFailure::Connect)?;
        let mut socket = Self {
            stream,
            buffer: Vec::with_capacity(IDLE_BUFFER_BYTES),
            cookie: None,
        };
        let to = caller.to;
        let mut request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: {to}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        let cookie = caller.cookie.as_ref();
        let cookie = cookie.map(|cookie| format!("Cookie: {cookie}\r\n"));
        request.extend(caller.dialect.offers().into_iter().map(str::to_owned));
        request.extend(cookie);
        request.push_str("\r\n");
        socket.write(request.as_bytes()).await?;
        socket.read_head().await?;
        if let Some(hello) = caller.dialect.hello() {
            socket.say(&[hello]).await?;
            let mut is_welcome = false;
            while !is_welcome {
                socket
                    .next(&mut |frame: &[u8]| is_welcome |= caller.dialect.is_welcome(frame))
                    .await?;
            }
        }
        Ok(socket)
    }

    /// Reads the answer to the upgrade.
    async fn read_head(&mut self) -> Result<(), ChatFailure> {
        let end = loop {
            let mut windows = self.buffer.windows(4);
            if let Some(at) = windows.position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            self.read(IDLE_BUFFER_BYTES).await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end);
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let field = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("set-cookie").then_some(value)
        });
        let cookie = field.and_then(|value| value.split(';').next());
        self.cookie = cookie.map(|cookie| cookie.trim().to_owned());
        match status {
            Some(101) => Ok(()),
            Some(status) => Err(ChatFailure::Status(status)),
            None => Err(ChatFailure::Broken),
        }
    }

    /// Sends text frames in one write.
    pub(crate) async fn say(&mut self, texts: &[&str]) -> Result<(), ChatFailure> {
        let mut bytes = Vec::new();
        for text in texts {
            frame(&mut bytes, TEXT, text.as_bytes());
        }
        self.write(&bytes).await
    }

    /// Reads once, and hands every text frame that is whole to `look`. Cancel-safe unless the peer pings.
    pub(crate) async fn next(&mut self, look: &mut impl FnMut(&[u8])) -> Result<(), ChatFailure> {
        self.read(READ_BYTES).await?;
        let mut at = 0;
        let mut pongs = Vec::new();
        while let Some((head, payload)) = split(&self.buffer[at..]) {
            let opcode = self.buffer[at];
            let text = &self.buffer[at + head..at + head + payload];
            at += head + payload;
            match opcode {
                TEXT => look(text),
                PING => frame(&mut pongs, PONG, text),
                CLOSE => {
                    let code = text.first_chunk().copied().unwrap_or_default();
                    return Err(ChatFailure::Closed(u16::from_be_bytes(code)));
                }
                _ => return Err(ChatFailure::Frame),
            }
        }
        self.buffer.drain(..at);
        if !pongs.is_empty() {
            self.write(&pongs).await?;
        }
        Ok(())
    }

    /// Answers pings for ever. The buffer becomes small first.
    pub(crate) async fn idle(mut self) -> ChatFailure {
        self.buffer = Vec::new();
        loop {
            if self.stream.readable().await.is_err() {
                return ChatFailure::Broken;
            }
            if let Err(failure) = self.next(&mut |_: &[u8]| {}).await {
                return failure;
            }
            self.buffer = Vec::new();
        }
    }

    async fn read(&mut self, n_bytes: usize) -> Result<(), ChatFailure> {
        self.buffer.reserve(n_bytes);
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(1..) => Ok(()),
            Ok(0) | Err(_) => Err(ChatFailure::Broken),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ChatFailure> {
        let written = self.stream.write_all(bytes).await;
        written.map_err(|_| ChatFailure::Broken)
    }
}

async fn connect(to: SocketAddr, source: Ipv4Addr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Adds a frame whose mask is zero.
fn frame(bytes: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    bytes.push(opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => bytes.push(0x80 | length),
        (_, Ok(length)) => {
            bytes.push(0x80 | 126);
            bytes.extend(length.to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend_from_slice(payload);
}

/// Lengths of the head and the payload of the first frame, once all of it is there.
fn split(bytes: &[u8]) -> Option<(usize, usize)> {
    let (head, payload) = match *bytes.get(1)? {
        126 => {
            let length = bytes.get(2..)?.first_chunk().copied()?;
            (4, usize::from(u16::from_be_bytes(length)))
        }
        127 => {
            let length = bytes.get(2..)?.first_chunk().copied()?;
            (10, usize::try_from(u64::from_be_bytes(length)).ok()?)
        }
        length => (2, usize::from(length)),
    };
    (bytes.len() >= head + payload).then_some((head, payload))
}

#[cfg(test)]
mod tests {
    use super::{TEXT, frame, split};

    #[test]
    fn a_frame_is_split_once_it_is_whole() {
        for length in [0, 1, 125, 126, 0xffff, 0x1_0000] {
            let mut bytes = Vec::new();
            frame(&mut bytes, TEXT, &vec![b'x'; length]);
            // As a server would send it: without a mask.
            let head = bytes.len() - length - 4;
            bytes[1] &= 0x7f;
            bytes.drain(head..head + 4);
            assert_eq!(split(&bytes), Some((head, length)));
            bytes.pop();
            assert_eq!(split(&bytes), None);
        }
    }
}
