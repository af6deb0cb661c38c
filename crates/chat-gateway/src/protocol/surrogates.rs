//! Half surrogate pairs in JSON: a text that a program cut in the middle of an emoji, written as `\ud83d`.
//!
//! JSON allows them, Rust's strings cannot hold them, and serde_json refuses the whole string. Each becomes U+FFFD, as
//! browsers do it in `toWellFormed()`. Whole pairs and everything else stay as they are, at the same place.

use std::borrow::Cow;

/// What stands for a half surrogate pair.
const REPLACEMENT: &str = "\\ufffd";

/// `json` with U+FFFD in the place of every escape that is half of a surrogate pair. What is no JSON stays no JSON.
#[must_use]
pub fn mend_surrogates(json: &str) -> Cow<'_, str> {
    let mut mended = String::new();
    let mut kept = 0;
    let mut at = 0;
    while let Some(found) = json[at..].find('\\') {
        at += found;
        match unit(json, at) {
            Some(0xD800..=0xDBFF) if matches!(unit(json, at + 6), Some(0xDC00..=0xDFFF)) => {
                at += 12;
            }
            Some(0xD800..=0xDFFF) => {
                mended.push_str(&json[kept..at]);
                mended.push_str(REPLACEMENT);
                at += 6;
                kept = at;
            }
            // Whatever is escaped begins no escape itself.
            _ => at += 1 + json[at + 1..].chars().next().map_or(0, char::len_utf8),
        }
    }
    if kept == 0 {
        return Cow::Borrowed(json);
    }
    mended.push_str(&json[kept..]);
    Cow::Owned(mended)
}

/// The UTF-16 unit that the escape `\uXXXX` at `at` names, if there is one.
fn unit(json: &str, at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::mend_surrogates;

    /// A JSON string of these units, each as an escape.
    fn escaped(units: &[u16]) -> String {
        let escapes: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
        format!("\"{escapes}\"")
    }

    #[test]
    fn half_a_pair_becomes_the_replacement_character() {
        for (json, expected) in [
            (r#""cut \ud83d""#, "cut \u{fffd}"),
            (r#""\udE00 first""#, "\u{fffd} first"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
            (r#""\ud83d\\ude00""#, "\u{fffd}\\ude00"),
            (r#""\\ud83d""#, "\\ud83d"),
            (r#""\\\ud83d""#, "\\\u{fffd}"),
            (r#""\ud83d\ude00 芝\n""#, "\u{1f600} 芝\n"),
        ] {
            let mended = mend_surrogates(json);
            assert_eq!(serde_json::from_str::<String>(&mended).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn escapes_read_as_utf16_does_it(units in prop::collection::vec(prop_oneof![0xD7FE..=0xE001_u16, any::<u16>()], 0..20)) {
            let json = escaped(&units);
            let mended = mend_surrogates(&json);
            let text: String = serde_json::from_str(&mended).unwrap();
            prop_assert_eq!(text, String::from_utf16_lossy(&units));
        }

        #[test]
        fn what_holds_no_half_pair_is_not_changed(text in ".*", noise in r#"[\\u"dD83nE0芝]*"#) {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(mend_surrogates(&json), &*json);
            let mended = mend_surrogates(&noise);
            prop_assert_eq!(mended.len(), noise.len());
            prop_assert_eq!(mend_surrogates(&mended), &*mended);
            let is_json = serde_json::from_str::<&serde_json::value::RawValue>(&noise).is_ok();
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&mended).is_ok(), is_json);
        }
    }
}
