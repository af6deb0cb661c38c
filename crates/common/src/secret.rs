//! Keys and tokens: read so that everybody who reads the same text gets the same secret, and never printed by accident.
//!
//! A [`Secret`] has a redacted `Debug`, no `Display` and no `Serialize`, and one greppable way to its text.

use std::fs::File;
use std::io::Read as _;

use secrecy::{ExposeSecret, SecretString};

/// The largest secret file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// A key below this many characters may be found by trying.
const MIN_KEY_CHARACTERS: usize = 16;

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

    /// Whether it is so short that a stranger may find it by trying.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.expose().len() < MIN_KEY_CHARACTERS
    }
}

/// An API key.
///
/// # Errors
///
/// In words that follow the place of `key`, when llama-server would read another key from the same text. It takes each line
/// of a file for a key, and one that begins with `#` for a comment: a file with nothing else switches its keys off. In
/// `LLAMA_API_KEY` it divides keys at commas and takes out double quotes. It never trims.
pub fn parse_key(key: &str) -> Result<Secret, &'static str> {
    if key.trim().is_empty() {
        return Err("is empty");
    }
    if key.starts_with('\u{feff}') {
        return Err(
            "begins with a byte order mark, which llama-server takes for a part of the key: save it as UTF-8 without one",
        );
    }
    if key.contains('\r') {
        return Err(
            "has a line that ends in CR LF, and llama-server takes the CR for a part of the key: end lines with LF alone",
        );
    }
    if key.contains('\n') {
        return Err(
            "has a line feed, at which llama-server divides the keys of a file, or which it takes for a part of one: remove it",
        );
    }
    if key.contains(char::is_whitespace) {
        return Err(
            "has white space in or around the key, which llama-server takes for a part of it: remove it",
        );
    }
    if key.starts_with('#') {
        return Err("begins with #, and llama-server takes that for a comment: choose another key");
    }
    if key.contains([',', '"']) {
        return Err(
            "has a comma or a double quote, at which llama-server divides keys: choose another key",
        );
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(
            "has a character that cannot travel in a header: use ASCII letters, digits and punctuation",
        );
    }
    Ok(Secret::new(key))
}

/// A token that llama-server never sees. A byte order mark and white space around it do not count.
///
/// # Errors
///
/// In words that follow the place of `text`, when it cannot travel in a header.
pub fn parse_token(text: &str) -> Result<Secret, &'static str> {
    let token = text.trim_start_matches('\u{feff}').trim();
    if token.is_empty() {
        Err("is empty")
    } else if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Secret::new(token))
    } else {
        Err("must be one word of ASCII letters, digits and punctuation")
    }
}

/// The text of a secret's file, without line feeds before and after it.
///
/// # Errors
///
/// In a sentence, when it cannot be read, is too large or is not UTF-8.
pub(crate) fn read_file(path: &str) -> Result<String, String> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| format!("cannot open {path}: {error}"))?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(|error| format!("cannot read {path}: {error}"))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("{path} is larger than {MAX_FILE_BYTES} bytes"));
    }
    let text = String::from_utf8(text).map_err(|_| format!("{path} is not UTF-8 text"))?;
    Ok(text.trim_matches('\n').to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Secret, parse_key, parse_token};

    #[test]
    fn a_secret_never_shows_in_debug_output() {
        assert!(!format!("{:?}", Secret::new("hunter2")).contains("hunter2"));
    }

    #[test]
    fn a_key_is_what_llama_server_reads_or_is_refused() {
        assert_eq!(parse_key("0012345").unwrap().expose(), "0012345");
        for (text, reason) in [
            ("\n", "is empty"),
            ("\u{feff}key", "begins with a byte order mark"),
            ("key\r\n", "has a line that ends in CR LF"),
            ("# ours\nkey", "has a line feed"),
            ("key\n", "has a line feed"),
            (" key", "has white space"),
            ("key\t", "has white space"),
            ("two words", "has white space"),
            ("#key", "begins with #"),
            ("key,other", "has a comma"),
            ("\"key\"", "has a comma or a double quote"),
            ("schlüssel", "has a character"),
            ("k\0ey", "has a character"),
        ] {
            let told = parse_key(text).unwrap_err();
            assert!(told.starts_with(reason), "{text:?}: {told}");
        }
    }

    #[test]
    fn a_token_is_freed_of_what_an_editor_leaves_around_it() {
        assert_eq!(parse_token("\u{feff} hf_x\r\n").unwrap().expose(), "hf_x");
        for text in ["\u{feff}\r\n", "hf x", "hf_ü"] {
            assert!(parse_token(text).is_err(), "{text:?}");
        }
    }
}
