//! The codes with which the server closes a socket, and their words.
//!
//! 4400 to 4499 are final: a page shows a message. 4500 to 4599 mean "connect again". Version 1 closes only with the codes
//! of RFC 6455.

/// Why the server closes a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// 1001: the server stops.
    GoingAway,
    /// 1002: the peer broke the WebSocket protocol.
    ProtocolError,
    /// 1003: a binary frame.
    Binary,
    /// 1007: a text frame that is not UTF-8.
    NotUtf8,
    /// 1009: a frame or message above the cap.
    TooLarge,
    /// 4400: too many frames that mean nothing.
    BadFrames,
    /// 4401: nobody is signed in.
    NotSignedIn,
    /// 4406: a version that is not spoken.
    Version,
    /// 4408: no `hello` in time.
    NoHello,
    /// 4409: the user has too many sockets.
    TooManySockets,
    /// 4410: the user's session was revoked.
    Revoked,
    /// 4501: the server stops; connect again.
    Draining,
    /// 4502: the credentials have expired; fetch a ticket and connect again.
    Expired,
    /// 4503: the peer took nothing for too long.
    TooSlow,
    /// 4504: the peer did not answer a ping.
    NoPong,
}

impl Close {
    /// All of them, by code.
    pub const ALL: [Self; 15] = [
        Self::GoingAway,
        Self::ProtocolError,
        Self::Binary,
        Self::NotUtf8,
        Self::TooLarge,
        Self::BadFrames,
        Self::NotSignedIn,
        Self::Version,
        Self::NoHello,
        Self::TooManySockets,
        Self::Revoked,
        Self::Draining,
        Self::Expired,
        Self::TooSlow,
        Self::NoPong,
    ];

    /// The code of the close frame.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::GoingAway => 1001,
            Self::ProtocolError => 1002,
            Self::Binary => 1003,
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
            Self::BadFrames => 4400,
            Self::NotSignedIn => 4401,
            Self::Version => 4406,
            Self::NoHello => 4408,
            Self::TooManySockets => 4409,
            Self::Revoked => 4410,
            Self::Draining => 4501,
            Self::Expired => 4502,
            Self::TooSlow => 4503,
            Self::NoPong => 4504,
        }
    }

    /// The words beside the code.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::GoingAway | Self::Draining => "the server is restarting",
            Self::ProtocolError => "not the WebSocket protocol",
            Self::Binary => "only text frames",
            Self::NotUtf8 => "text must be UTF-8",
            Self::TooLarge => "the message is too large",
            Self::BadFrames => "too many frames that mean nothing",
            Self::NotSignedIn => "not signed in",
            Self::Version => "only version 2 is spoken here",
            Self::NoHello => "no hello came",
            Self::TooManySockets => "too many connections of this user",
            Self::Revoked => "the session was revoked",
            Self::Expired => "the credentials have expired",
            Self::TooSlow => "nothing was read for too long",
            Self::NoPong => "no answer to a ping",
        }
    }
}
