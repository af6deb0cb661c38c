//! What a key looks like, and the only form in which one is kept: its SHA-256.
//!
//! A key of ours is `llmk_`, 27 random base62 digits (160 bits), and 6 base62 digits of the CRC-32 of all that. The
//! prefix lets scanners find a leaked key; the checksum shows when a key was cut or mistyped. Any other text may be a
//! key too: `LLM_API_KEY` has no form.

use std::fmt;

use common::secret::Secret;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

const PREFIX: &str = "llmk_";
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^27 is a little more than 2^160.
const RANDOM_DIGITS: usize = 27;
/// 62^6 is more than 2^32.
const CHECKSUM_DIGITS: usize = 6;
/// The largest multiple of 62 in a byte. Larger bytes would make some digits likelier than others.
const FAIR: u8 = 248;

/// A new key.
pub(super) fn generate() -> Result<Secret, getrandom::Error> {
    let mut key = PREFIX.to_owned();
    while key.len() < PREFIX.len() + RANDOM_DIGITS {
        let mut bytes = [0; 2 * RANDOM_DIGITS];
        getrandom::fill(&mut bytes)?;
        let digits = bytes.into_iter().filter(|byte| *byte < FAIR);
        let missing = PREFIX.len() + RANDOM_DIGITS - key.len();
        key.extend(
            digits
                .take(missing)
                .map(|byte| char::from(ALPHABET[usize::from(byte % 62)])),
        );
    }
    let sum = checksum(key.as_bytes());
    key.extend(sum.map(char::from));
    Ok(Secret::new(key))
}

/// Whether `text` has our prefix: a key, whole or not.
pub(super) fn has_prefix(text: &[u8]) -> bool {
    text.starts_with(PREFIX.as_bytes())
}

/// Whether `text` has our prefix and cannot be a key of ours: cut, mistyped, or made up.
pub(super) fn is_malformed(text: &[u8]) -> bool {
    let Some(at) = text.len().checked_sub(CHECKSUM_DIGITS) else {
        return has_prefix(text);
    };
    let (random, sum) = text.split_at(at);
    has_prefix(text)
        && (random.len() != PREFIX.len() + RANDOM_DIGITS || sum != checksum(random).as_slice())
}

fn checksum(text: &[u8]) -> [u8; CHECKSUM_DIGITS] {
    let mut rest = crc32fast::hash(text);
    let mut digits = [0; CHECKSUM_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// The SHA-256 of a key.
#[derive(Clone, Copy, Eq, Hash)]
#[expect(
    clippy::derived_hash_with_manual_eq,
    reason = "equal digests have equal bytes, and so equal hashes"
)]
pub(super) struct KeyDigest(pub(super) [u8; 32]);

impl KeyDigest {
    pub(super) fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// From 64 hexadecimal digits.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut bytes = [0; 32];
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return None;
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let high = char::from(*high).to_digit(16)?;
            let low = char::from(*low).to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        Some(Self(bytes))
    }

    pub(super) fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Its first digits: enough for people to tell keys apart, and useless to anyone else.
    pub(super) fn id(self) -> String {
        self.to_hex()[..8].to_owned()
    }
}

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        // Not `==`, which stops at the first difference: `subtle` looks at all bytes, so the time a comparison takes
        // does not tell how near a guess came. No test can see the difference.
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyDigest({}...)", self.id())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{KeyDigest, generate, is_malformed};

    #[test]
    fn a_new_key_is_whole_and_never_the_same_twice() {
        let keys: HashSet<String> = (0..500)
            .map(|_| generate().unwrap().expose().to_owned())
            .collect();
        assert_eq!(keys.len(), 500);
        for key in keys {
            assert_eq!(key.len(), 38);
            assert!(
                key.strip_prefix("llmk_")
                    .unwrap()
                    .bytes()
                    .all(|digit| digit.is_ascii_alphanumeric())
            );
            assert!(!is_malformed(key.as_bytes()));
        }
    }

    #[test]
    fn a_key_that_was_cut_mistyped_or_lengthened_is_malformed() {
        let key = generate().unwrap().expose().to_owned();
        assert!((5..key.len()).all(|length| is_malformed(&key.as_bytes()[..length])));
        assert!(is_malformed(format!("{key}0").as_bytes()));
        for at in 5..key.len() {
            let mut typo = key.clone().into_bytes();
            typo[at] = if typo[at] == b'a' { b'b' } else { b'a' };
            assert!(is_malformed(&typo), "{at}");
        }
        assert!(!is_malformed(b"") && !is_malformed(b"llm") && !is_malformed(b"any-other-key"));
    }

    #[test]
    fn a_digest_is_64_hexadecimal_digits_and_shows_8() {
        let digest = KeyDigest::of(b"abc");
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_hex(), hex);
        assert_eq!(KeyDigest::from_hex(&hex.to_uppercase()), Some(digest));
        for other in [
            "",
            &hex[1..],
            &format!("{hex}00"),
            &hex.replace('b', "g"),
            &"é".repeat(32),
        ] {
            assert_eq!(KeyDigest::from_hex(other), None, "{other}");
        }
        assert_eq!(format!("{digest:?}"), "KeyDigest(ba7816bf...)");
    }
}
