//! What goes wrong, and when: faults that the next requests meet, and faults that last.

use std::collections::VecDeque;
use std::time::Duration;

/// The kind of request that a fault is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// `/api/models/...` on the Hub.
    Api,
    /// `/{owner}/{name}/resolve/...` on the Hub.
    Resolve,
    /// The bytes of a file over plain HTTPS, wherever they are served.
    Bytes,
    /// `/api/models/.../xet-read-token/...` on the Hub.
    XetToken,
    /// What the CAS says of a file: its terms, and where their xorbs are.
    Reconstruction,
    /// The bytes of a xorb.
    Xorb,
}

/// One thing that goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This answer instead of the right one.
    Status {
        /// The status code.
        code: u16,
        /// Headers of the answer.
        headers: Vec<(&'static str, String)>,
        /// Its body.
        body: &'static str,
    },
    /// This status for HEAD; other methods are answered right.
    NoHead(u16),
    /// No answer at all, while the connection stays open.
    Silence,
    /// The right answer, with this header in place of its own.
    Header(&'static str, String),
    /// The signed URL has expired, and so has every one issued before it: 403 until the file is resolved again. On
    /// [`On::Reconstruction`]: so have the read tokens, and the answer is 401.
    Expired,
    /// The connection breaks after that many bytes of the body.
    CutAfter(u64),
    /// The connection that sends it breaks at every such number of bytes of files, counted over all connections.
    CutEvery(u64),
    /// Nothing more comes after that many bytes of the body, and the connection stays open.
    StallAfter(u64),
    /// 200 and the whole file, whatever `Range` asked for.
    IgnoreRange,
    /// 206 with another range than the one asked for, and that range's bytes.
    WrongContentRange,
    /// One byte of the file, at that offset, is served flipped.
    FlipByteAt(u64),
    /// Each connection is served at most that fast.
    BytesPerSecond(u64),
    /// The answer to resolve has no `X-Linked-Size` and no `X-Linked-ETag`.
    NoDigest,
    /// The answer to resolve names this `X-Repo-Commit`.
    OtherCommit(String),
    /// The answer to resolve redirects there.
    RedirectTo(String),
    /// The read token of Xet lasts that long.
    TokenLasts(Duration),
    /// The read token of Xet is for a CAS at this address.
    CasUrl(String),
}

impl Fault {
    /// An answer with that status and nothing else.
    #[must_use]
    pub fn status(code: u16) -> Self {
        Self::Status {
            code,
            headers: Vec::new(),
            body: "",
        }
    }
}

/// The faults to come.
#[derive(Debug, Default)]
pub(super) struct Script {
    next: Vec<(On, VecDeque<Fault>)>,
    always: Vec<(On, Fault)>,
    /// How many signed URLs were issued.
    signatures: u64,
    /// Signatures up to this one have expired.
    expired: u64,
}

impl Script {
    pub(super) fn push(&mut self, on: On, faults: impl IntoIterator<Item = Fault>) {
        if let Some((_, queue)) = self.next.iter_mut().find(|(kind, _)| *kind == on) {
            queue.extend(faults);
        } else {
            self.next.push((on, faults.into_iter().collect()));
        }
    }

    pub(super) fn always(&mut self, on: On, fault: Fault) {
        self.always.push((on, fault));
    }

    pub(super) fn clear(&mut self) {
        self.next.clear();
        self.always.clear();
    }

    /// The faults of one request of that kind: the lasting ones and the next scripted one.
    pub(super) fn take(&mut self, on: On) -> Vec<Fault> {
        let lasting = self
            .always
            .iter()
            .filter(|(kind, _)| *kind == on)
            .map(|(_, fault)| fault.clone());
        let mut faults: Vec<Fault> = lasting.collect();
        let queue = self.next.iter_mut().find(|(kind, _)| *kind == on);
        faults.extend(queue.and_then(|(_, queue)| queue.pop_front()));
        faults
    }

    /// A new signature for a URL.
    pub(super) fn sign(&mut self) -> u64 {
        self.signatures += 1;
        self.signatures
    }

    /// Lets `signature` and all before it expire.
    pub(super) fn expire(&mut self, signature: u64) {
        self.expired = self.expired.max(signature);
    }

    /// Whether a URL with `signature` is still good.
    pub(super) fn is_valid(&self, signature: u64) -> bool {
        signature > self.expired && signature <= self.signatures
    }
}
