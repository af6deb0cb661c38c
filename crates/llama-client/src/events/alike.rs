//! Knows an event for a token without reading it: one that differs from an earlier token's only inside the string of its
//! text says the same with another text.
//!
//! An answer of llama-server is one such event after another. Where this is not sure, the event is read as a whole.

use std::ops::Range;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// Events to learn from before it is given up: this answer's are of another kind.
const MAX_LESSONS: u8 = 4;

/// The bytes around the text of an earlier token.
#[derive(Debug, Default)]
pub struct Alike {
    before: Vec<u8>,
    after: Vec<u8>,
    is_reasoning: bool,
    n_lessons: u8,
}

/// Where an event's text is: the inside of a JSON string, never empty, in UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its bytes in the event.
    pub at: Range<usize>,
    /// Whether it has to be unescaped.
    pub is_escaped: bool,
    /// Whether it is of the reasoning rather than of the answer.
    pub is_reasoning: bool,
}

/// A token and nothing else. A field that is not known here could mean something.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the other fields may be there, and are not read")]
struct PlainToken<'a> {
    #[serde(borrow)]
    choices: [PlainChoice<'a>; 1],
    id: Option<IgnoredAny>,
    object: Option<IgnoredAny>,
    created: Option<IgnoredAny>,
    model: Option<IgnoredAny>,
    system_fingerprint: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the other fields may be there, and are not read")]
struct PlainChoice<'a> {
    #[serde(borrow)]
    delta: PlainDelta<'a>,
    index: Option<IgnoredAny>,
    finish_reason: (),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum PlainDelta<'a> {
    #[serde(borrow)]
    Content(&'a RawValue),
    #[serde(borrow)]
    ReasoningContent(&'a RawValue),
}

impl Alike {
    /// The text of `event`, if it is certainly a token and nothing else.
    pub fn token(&self, event: &[u8]) -> Option<Text> {
        if self.before.is_empty() {
            return None;
        }
        let text = event
            .strip_prefix(self.before.as_slice())?
            .strip_suffix(self.after.as_slice())?;
        let at = self.before.len()..event.len() - self.after.len();
        Some(Text {
            at,
            is_escaped: inside_of_a_string(text)?,
            is_reasoning: self.is_reasoning,
        })
    }

    /// Learns from an event that was read as a whole and is a token.
    pub fn learn(&mut self, event: &[u8]) {
        if self.n_lessons == MAX_LESSONS {
            return;
        }
        self.n_lessons += 1;
        let Some(json) = event.strip_prefix(b"data: ") else {
            return;
        };
        let Ok(plain) = serde_json::from_slice::<PlainToken<'_>>(json) else {
            return;
        };
        let [PlainChoice { delta, .. }] = plain.choices;
        let (text, is_reasoning) = match delta {
            PlainDelta::Content(text) => (text.get(), false),
            PlainDelta::ReasoningContent(text) => (text.get(), true),
        };
        if !(text.len() > 2 && text.starts_with('"')) {
            return;
        }
        // The range of the string, without its quotes.
        let begin = text.as_ptr() as usize - event.as_ptr() as usize + 1;
        let end = begin + text.len() - 2;
        self.before = event[..begin].to_vec();
        self.after = event[end..].to_vec();
        self.is_reasoning = is_reasoning;
    }
}

/// Whether `text` is the inside of a JSON string that is not empty, and if so, whether it has escapes. Rare ones are left
/// to the parser.
fn inside_of_a_string(text: &[u8]) -> Option<bool> {
    let mut is_escaped = false;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' | 0..0x20 => return None,
            b'\\' => {
                is_escaped = true;
                bytes.next().filter(|byte| br#""\/nrt"#.contains(byte))?;
            }
            _ => {}
        }
    }
    (!text.is_empty() && std::str::from_utf8(text).is_ok()).then_some(is_escaped)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use proptest::{collection, prop_assert_eq};

    use super::Alike;
    use crate::events::{Kind, read};

    fn event(delta: &str) -> String {
        format!(
            "data: {{\"choices\":[{{\"finish_reason\":null,\"index\":0,\"delta\":{delta}}}],\"created\":1,\"id\":\"x\",\"model\":\"m\"}}\n\n"
        )
    }

    fn learnt(delta: &str) -> Alike {
        let mut alike = Alike::default();
        alike.learn(event(delta).as_bytes());
        alike
    }

    #[test]
    fn a_token_is_known_by_the_one_before_it() {
        let alike = learnt(r#"{"content":"Hello"}"#);
        let text = |delta: &str| {
            let event = event(delta);
            let text = alike.token(event.as_bytes())?;
            Some((event[text.at].to_owned(), text.is_escaped))
        };
        assert_eq!(
            text(r#"{"content":" wörld"}"#),
            Some((" wörld".to_owned(), false))
        );
        assert_eq!(
            text(r#"{"content":"a\n\"b\""}"#),
            Some((r#"a\n\"b\""#.to_owned(), true))
        );
        for other in [
            r#"{"content":""}"#,
            r#"{"content":null}"#,
            r#"{"content":"a","tool_calls":[{}]}"#,
            r#"{"content":"a"},"error":{"x":"b"}"#,
            r#"{"content":"a\x"}"#,
            r#"{"content":"a\"}"#,
            "{\"content\":\"a\nb\"}",
            r#"{"reasoning_content":"a"}"#,
        ] {
            assert_eq!(text(other), None, "{other}");
        }
    }

    #[test]
    fn nothing_is_learnt_from_an_event_that_says_more_than_its_text() {
        assert!(!learnt(r#"{"content":"a"}"#).before.is_empty());
        assert!(learnt(r#"{"reasoning_content":"a"}"#).is_reasoning);
        for delta in [
            r#"{"content":"a","reasoning_content":"b"}"#,
            r#"{"content":"a","role":"assistant"}"#,
            r#"{"content":["a"]}"#,
            r#"{"content":"a"},"logprobs":{"content":[]}"#,
            r#"{"content":"a"}}],"usage":{"prompt_tokens":1},"more":[{"a":{}"#,
        ] {
            assert!(learnt(delta).before.is_empty(), "{delta}");
        }
    }

    proptest! {
        #[test]
        fn what_it_knows_is_what_the_parser_reads(text in collection::vec(any::<u8>(), 0..12), word in "[a-z\\\\\"nu{}:,]{0,12}") {
            let alike = learnt(r#"{"content":"Hello"}"#);
            for text in [text.as_slice(), word.as_bytes()] {
                let event = event(r#"{"content":"@"}"#).into_bytes();
                let at = event.iter().position(|byte| *byte == b'@').unwrap();
                let event = [&event[..at], text, &event[at + 1..]].concat();
                if let Some(known) = alike.token(&event) {
                    prop_assert_eq!(read(&event), (Kind::Token, None));
                    prop_assert_eq!(&event[known.at], text);
                }
            }
        }
    }
}
