//! One HTTP/1.1 connection to an upstream, read in the task that wants the bytes.
//!
//! hyper's client reads in a task of its own and hands over chunk by chunk: two wake-ups for each token, more than all
//! else that a token costs. It is strict: an answer whose end is doubtful is refused, one that broke off is an error,
//! and only a connection whose answer was read to its very end is used again.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use crate::error::Error;
use crate::framing::{Framing, Unframed};

/// The longest header of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Header fields in it.
const MAX_HEADERS: usize = 64;
/// Answers like `100 Continue` before the real one.
const MAX_INTERIM: usize = 8;
/// What is read at once, on the stack: a silent stream holds no buffer.
const READ_BYTES: usize = 16 * 1024;

/// A connection, with one answer on it at a time.
#[derive(Debug)]
pub(crate) struct UpstreamConnection {
    stream: TcpStream,
    framing: Framing,
    /// What of the body came with the header.
    early: BytesMut,
    /// Whether it may be used again once the answer has ended.
    keeps: bool,
    /// When its last answer ended.
    pub(crate) idle_since: Instant,
}

/// An answer's header.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

impl UpstreamConnection {
    /// Connects to `HOST:PORT`.
    pub(crate) async fn open(authority: &str, limit: Duration) -> Result<Self, Error> {
        // A first packet that was lost, as when hundreds connect at once, is sent again by the kernel after a second,
        // which may be all there is. Nothing was sent yet, so another attempt in the middle does no harm.
        let again = async {
            tokio::time::sleep(limit / 2).await;
            connect(authority).await
        };
        let connecting = async {
            tokio::select! {
                connected = connect(authority) => connected,
                connected = again => connected,
            }
        };
        let connected = tokio::time::timeout(limit, connecting)
            .await
            .map_err(|_| Error::ConnectTimeout)?;
        let stream = connected.map_err(|error| match error.kind() {
            std::io::ErrorKind::TimedOut => Error::ConnectTimeout,
            std::io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
            _ => Error::Unreachable,
        })?;
        // Without it, the answer is only later.
        stream.set_nodelay(true).ok();
        let idle_since = Instant::now();
        Ok(Self {
            stream,
            framing: Framing::Ended,
            early: BytesMut::new(),
            keeps: true,
            idle_since,
        })
    }

    /// Whether nothing has come since its last answer, not even the end. Asks the kernel: what tokio knows is older.
    pub(crate) fn is_quiet(&self) -> bool {
        let looked = recv(
            &self.stream,
            &mut [0_u8; 1],
            RecvFlags::PEEK | RecvFlags::DONTWAIT,
        );
        matches!(looked, Err(error) if error == rustix::io::Errno::AGAIN)
    }

    /// Sends a request and reads the header of its answer. Not cancel-safe: a dropped call leaves nothing usable.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Head, Error> {
        let mut sent = false;
        self.keeps = false;
        let (mut reader, mut writer) = self.stream.split();
        // An upstream that refuses may answer before it has read everything, and close.
        let send = async {
            sent = writer.write_all(request).await.is_ok();
            std::future::pending::<()>().await;
        };
        let mut buffer = BytesMut::new();
        let receive = async {
            for _ in 0..=MAX_INTERIM {
                let (head, keeps, framing) = loop {
                    if let Some(head) = parse(&mut buffer)? {
                        break head;
                    }
                    if buffer.len() > MAX_HEAD_BYTES {
                        return Err(Error::Invalid);
                    }
                    match reader.read_buf(&mut buffer).await {
                        Ok(1..) => {}
                        Ok(0) | Err(_) => return Err(Error::Disconnected),
                    }
                };
                if !head.status.is_informational() {
                    return Ok((head, keeps, framing));
                }
            }
            Err(Error::Invalid)
        };
        let (head, keeps, framing) = tokio::select! {
            biased;
            () = send => return Err(Error::Disconnected),
            received = receive => received?,
        };
        self.framing = framing;
        self.early = buffer;
        self.keeps = keeps && sent;
        Ok(head)
    }

    /// Hands what has come of the body to `take`; `false` when it has ended.
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        take: &mut impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Poll<Result<bool, Error>> {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            self.decode(&early, take)?;
            return Poll::Ready(Ok(true));
        }
        if self.framing.has_ended() {
            return Poll::Ready(Ok(false));
        }
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut space = ReadBuf::uninit(&mut space);
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut space));
        read.map_err(|_| Error::Disconnected)?;
        if space.filled().is_empty() {
            self.keeps = false;
            let whole = self.framing.ends_with_the_connection();
            return Poll::Ready(if whole {
                Ok(false)
            } else {
                Err(Error::Disconnected)
            });
        }
        self.decode(space.filled(), take)?;
        Poll::Ready(Ok(true))
    }

    /// Whether the answer was read to its end and another may follow.
    pub(crate) fn is_reusable(&self) -> bool {
        self.keeps && self.framing.has_ended()
    }

    fn decode(
        &mut self,
        bytes: &[u8],
        take: &mut impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let decoded = self.framing.decode(bytes, take);
        // What follows the end was not asked for.
        self.keeps &= matches!(decoded, Ok(n_bytes) if n_bytes == bytes.len());
        decoded.map(drop)
    }
}

/// Connects to `HOST:PORT`, or to port 80 where none is named.
async fn connect(authority: &str) -> std::io::Result<TcpStream> {
    match authority.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => TcpStream::connect(authority).await,
        _ => TcpStream::connect((authority, 80)).await,
    }
}

/// Takes a whole header off `buffer`, if it is there, with what it says of the connection and the body.
fn parse(buffer: &mut BytesMut) -> Result<Option<(Head, bool, Framing)>, Error> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Error::Invalid),
    };
    // httparse takes a line feed alone for the end of a line; whoever wrote one may mean something else by it.
    if memchr::memchr_iter(b'\n', &buffer[..length]).any(|at| at == 0 || buffer[at - 1] != b'\r') {
        return Err(Error::Invalid);
    }
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok());
    let status = status
        .filter(|status| *status != StatusCode::SWITCHING_PROTOCOLS)
        .ok_or(Error::Invalid)?;
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for field in response.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Error::Invalid)?;
        headers.append(
            name,
            HeaderValue::from_bytes(field.value).map_err(|_| Error::Invalid)?,
        );
    }
    let keeps = response.version == Some(1) && !headers.get_all("connection").iter().any(closes);
    let framing = Framing::of(status, &headers).map_err(|Unframed| Error::Invalid)?;
    buffer.advance(length);
    Ok(Some((Head { status, headers }, keeps, framing)))
}

/// Whether a `Connection` field says that the connection ends with the answer.
fn closes(value: &HeaderValue) -> bool {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// An upstream's answer, header and body: the same body however it is cut.
#[cfg(fuzzing)]
pub(crate) fn fuzz(input: &[u8]) {
    let mut buffer = BytesMut::from(input);
    let Ok(Some((_, _, framing))) = parse(&mut buffer) else {
        return;
    };
    assert_eq!(
        body_in_parts(framing, &buffer, buffer.len()),
        body_in_parts(framing, &buffer, 1)
    );
}

/// The body that `bytes` hold, how many of them it took and what framing is left; read in parts of `n`.
#[cfg(fuzzing)]
fn body_in_parts(
    mut framing: Framing,
    bytes: &[u8],
    n: usize,
) -> Option<(Vec<u8>, usize, Framing)> {
    let mut body = Vec::new();
    let mut n_used = 0;
    for part in bytes.chunks(n.max(1)) {
        n_used += framing
            .decode(part, &mut |bytes: &[u8]| {
                body.extend_from_slice(bytes);
                Ok(())
            })
            .ok()?;
    }
    Some((body, n_used, framing))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::UpstreamConnection;
    use crate::error::Error;

    #[tokio::test]
    async fn only_a_refused_connection_says_that_nobody_listens() {
        let open = async |authority: &str| {
            let opened = UpstreamConnection::open(authority, Duration::from_secs(5)).await;
            opened.err()
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(open(&address).await, None);
        drop(listener);
        assert_eq!(open(&address).await, Some(Error::ConnectionRefused));
        // The kernel lets nobody connect to all machines at once.
        let everybody = "255.255.255.255:1";
        assert_eq!(open(everybody).await, Some(Error::Unreachable));
    }
}
