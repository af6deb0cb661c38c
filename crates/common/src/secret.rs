//! Keys and tokens that cannot be printed by accident: redacted `Debug`, no `Display`, no `Serialize`, one greppable
//! way to the text, and a comparison whose time says nothing about the text.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A key or token, wiped from memory when dropped.
#[derive(Clone, Debug)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text itself, for the one place that puts it on the wire.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether `presented` is this secret. Both are hashed first, so that neither length nor content shows in the time.
    #[must_use]
    pub fn matches(&self, presented: &[u8]) -> bool {
        Sha256::digest(self.expose().as_bytes()).as_slice().ct_eq(Sha256::digest(presented).as_slice()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_never_shows_in_debug_output() {
        assert!(!format!("{:?}", Secret::new("hunter2")).contains("hunter2"));
    }

    #[test]
    fn only_the_whole_text_matches() {
        let secret = Secret::new("a-long-key");
        assert!(secret.matches(b"a-long-key"));
        for other in ["", "a-long-ke", "a-long-key ", "A-long-key"] {
            assert!(!secret.matches(other.as_bytes()), "{other:?}");
        }
    }
}
