//! Whose fault an error of llama-server is, read from its status and its words.
//!
//! llama-server answers 500 to much that only the request is to blame for, and quotes templates and C++ exceptions. A
//! caller reads a sentence from here instead. Of llama-server's own words only a short and plain sentence of a 400 passes.

use std::borrow::Cow;

use http::StatusCode;
use serde::Deserialize;

use crate::error::{EngineRefusal, Error};

/// The longest sentence of llama-server's that is passed on, in bytes.
const MAX_WORDS_BYTES: usize = 200;

/// What a caller reads when nothing else may pass.
const REFUSED: &str = "the model server refused the request";

/// llama-server's error envelope; its `code` is a number.
#[derive(Deserialize)]
struct Envelope {
    error: ErrorWords,
}

/// What llama-server says of an error. An event of `/v1/messages` holds it without an envelope.
#[derive(Deserialize)]
pub(crate) struct ErrorWords {
    message: String,
    code: Option<u16>,
    n_prompt_tokens: Option<u64>,
    n_ctx: Option<u64>,
}

impl ErrorWords {
    /// Reads the envelope, or what would be in it.
    pub(crate) fn parse(document: &[u8]) -> Option<Self> {
        match serde_json::from_slice(document) {
            Ok(Envelope { error }) => Some(error),
            Err(_) => serde_json::from_slice(document).ok(),
        }
    }
}

/// What llama-server says, and what the caller reads instead.
const TABLE: &str = include_str!("refusals.txt");
/// Where the table comes to what templates say.
const TEMPLATE_SECTION: &str = "[template]";

/// A line of the table.
struct FaultRule {
    words: &'static str,
    field: Option<&'static str>,
    sentence: &'static str,
}

impl FaultRule {
    fn parse(line: &'static str) -> Option<Self> {
        let (words, rest) = line.split_once('|')?;
        let (field, sentence) = rest.split_once('|')?;
        let field = field.trim();
        Some(Self {
            words: words.trim(),
            field: (field != "-").then_some(field),
            sentence: sentence.trim(),
        })
    }

    fn find(section: &'static str, message: &str) -> Option<Self> {
        let mut rules = section.lines().filter_map(Self::parse);
        rules.find(|rule| message.contains(rule.words))
    }
}

/// What marks an error as the template's.
const TEMPLATE_MARKS: &[&str] = &[
    "jinja",
    "generate parser",
    "chat template",
    "callable",
    "callee",
    "not implemented",
    "builtin",
    "built-in",
    "undefined value",
    "null values",
];

/// Failures that are the engine's own, whatever the request.
const ENGINE_MARKS: &[&str] = &[
    "Compute error",
    "Context size has been exceeded",
    "Invalid input batch",
    "failed to get logits",
    "failed to get embeddings",
    "decode() failed",
    "context shift",
    "speculative",
    "memory",
    "alloc",
];

/// What an answer with this status means, whose body says `words`.
pub(crate) fn verdict(status: StatusCode, words: Option<&ErrorWords>) -> Error {
    match status {
        StatusCode::SERVICE_UNAVAILABLE => return Error::Loading,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Error::WrongKey,
        StatusCode::NOT_IMPLEMENTED if words.is_some() => {
            return Error::Refused(EngineRefusal::of(
                None,
                "the model server was started without what this route needs",
            ));
        }
        StatusCode::BAD_REQUEST | StatusCode::INTERNAL_SERVER_ERROR => {}
        _ if status.is_server_error() => return Error::Failed,
        _ if !status.is_client_error() => return Error::Invalid,
        _ => {
            return Error::Refused(EngineRefusal {
                status,
                ..EngineRefusal::of(None, REFUSED)
            });
        }
    }
    let is_refusal = status == StatusCode::BAD_REQUEST;
    let Some(words) = words else {
        return match is_refusal {
            true => Error::Refused(EngineRefusal::of(None, REFUSED)),
            false => Error::Failed,
        };
    };
    if let Some(does_not_fit) = words.n_prompt_tokens.zip(words.n_ctx)
        && is_refusal
    {
        return Error::Refused(EngineRefusal {
            does_not_fit: Some(does_not_fit),
            ..EngineRefusal::of(None, plain(&words.message))
        });
    }
    match known(&words.message) {
        Some(rule) => Error::Refused(EngineRefusal::of(rule.field, rule.sentence)),
        None if is_refusal => Error::Refused(EngineRefusal::of(None, plain(&words.message))),
        None if ENGINE_MARKS.iter().any(|mark| words.message.contains(mark)) => Error::Failed,
        None => Error::Unexplained,
    }
}

/// What an error inside a stream means. Its status is its `code`; words without one are a failure.
pub(crate) fn verdict_of_event(words: Option<&ErrorWords>) -> Error {
    let status = words
        .and_then(|words| words.code)
        .and_then(|code| StatusCode::from_u16(code).ok())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match verdict(status, words) {
        // The engine has begun to compute: an error whose words are not known is its own.
        Error::Unexplained => Error::Failed,
        error => error,
    }
}

fn known(message: &str) -> Option<FaultRule> {
    let (of_the_request, of_the_template) = TABLE.split_once(TEMPLATE_SECTION)?;
    let lower = message.to_ascii_lowercase();
    // A template's error quotes the template's source, which may hold any word, and then gives its reason.
    if lower.contains(" executing ") {
        let reason = lower.rsplit("error: ").next().unwrap_or(&lower);
        return FaultRule::find(of_the_template, reason);
    }
    let rule = FaultRule::find(of_the_request, message);
    let is_template = TEMPLATE_MARKS.iter().any(|mark| lower.contains(mark));
    match rule {
        None if is_template => FaultRule::find(of_the_template, &lower),
        rule => rule,
    }
}

/// The message of a 400 when it is a short plain sentence about the request, or what of it may pass.
fn plain(message: &str) -> Cow<'static, str> {
    if is_plain(message) {
        return Cow::Owned(message.to_owned());
    }
    let field = message
        .strip_prefix("Field '")
        .and_then(|rest| rest.split_once('\''))
        .map(|(name, _)| name)
        .filter(|name| name.len() <= 64 && name.bytes().all(is_of_a_name));
    match field {
        Some(name) => Cow::Owned(format!(
            "`{name}` has a value that the model server does not take"
        )),
        None => Cow::Borrowed(REFUSED),
    }
}

/// Whether a sentence holds neither source, nor exceptions, nor paths, nor flags.
fn is_plain(message: &str) -> bool {
    const FOREIGN: &[&str] = &[
        "exception",
        "::",
        "//",
        "{",
        "}",
        "<|",
        "--",
        "\\",
        "std",
        "0x",
        ".cpp",
        ".gguf",
        "http",
    ];
    message.len() <= MAX_WORDS_BYTES
        && !message.is_empty()
        && message.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && !FOREIGN.iter().any(|part| message.contains(part))
        && !message
            .split(' ')
            .any(|word| word.trim_start_matches(['\'', '"', '(']).starts_with('/'))
}

fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.')
}

/// Any bytes as the body of an error: what a caller reads is short, and no exception.
#[cfg(fuzzing)]
pub(crate) fn fuzz(input: &[u8]) {
    let words = ErrorWords::parse(input);
    for status in [StatusCode::BAD_REQUEST, StatusCode::INTERNAL_SERVER_ERROR] {
        if let Error::Refused(refusal) = verdict(status, words.as_ref()) {
            assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
            assert!(
                refusal.message.len() <= MAX_WORDS_BYTES && !refusal.message.contains("exception")
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::{ErrorWords, verdict};
    use crate::error::Error;

    /// The status, the field and the sentence that a caller reads.
    fn told(status: u16, message: &str) -> (u16, Option<&'static str>, String) {
        let body = json!({"error": {"code": status, "message": message, "type": "x"}}).to_string();
        let words = ErrorWords::parse(body.as_bytes());
        match verdict(StatusCode::from_u16(status).unwrap(), words.as_ref()) {
            Error::Refused(refusal) => (
                refusal.status.as_u16(),
                refusal.field,
                refusal.message.into_owned(),
            ),
            other => panic!("{status} {message}: {other:?}"),
        }
    }

    fn error(status: u16, message: &str) -> Error {
        let body = json!({"error": {"code": status, "message": message}}).to_string();
        verdict(
            StatusCode::from_u16(status).unwrap(),
            ErrorWords::parse(body.as_bytes()).as_ref(),
        )
    }

    /// Errors of build 11434 that depend on the request alone, in its own words.
    const OF_THE_REQUEST: &[(u16, &str)] = &[
        (
            500,
            "Failed to parse tool call arguments as JSON: [json.exception.parse_error.101] parse error at line 1, column 6: syntax error while parsing value - unexpected end of input; expected '[', '{', or a literal",
        ),
        (
            500,
            "Failed to parse messages: [json.exception.out_of_range.403] key 'text' not found",
        ),
        (
            500,
            "Failed to parse tools: Missing tool type: {}; tools = [\n  {}\n]",
        ),
        (
            500,
            "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
        ),
        (500, "Failed to load image or audio file"),
        (500, "Unsupported param: suffix"),
        (
            500,
            "input (5000 tokens) is too large to process. increase the physical batch size (current batch size: 256)",
        ),
        (
            500,
            "\n------------\nWhile executing CallExpression at line 1, column 9 in source:\n...{{ raise_exception('x') }}...\n      ^\nError: Jinja Exception: x",
        ),
        (500, "Value is not callable: Undefined"),
        (500, "Unknown (built-in) filter 'x' for type String"),
        (
            400,
            "Unable to generate parser for this template. Automatic parser generation failed: \n------------\nWhile executing For at line 1, column 4 in source:\n...{% for message in messages %}...\n      ^\nError: Expected iterable or object type in for loop: got Integer",
        ),
        (
            400,
            "Unable to generate parser for this template. Automatic parser generation failed: JSON schema conversion failed:\nInvalid pattern ^(a$: unbalanced parentheses",
        ),
        (
            400,
            "Failed to initialize samplers: failed to parse grammar",
        ),
        (
            400,
            "[json.exception.parse_error.101] parse error at line 1, column 40: syntax error while parsing value - invalid string: ill-formed UTF-8 byte; last read: '\"\u{fffd}'",
        ),
        (
            400,
            "Field 'temperature': [json.exception.type_error.302] type must be number, but is string",
        ),
        (400, "/models/secret.gguf: no such file"),
        (400, "logprobs is not supported with tools + stream"),
        (
            501,
            "This server does not support embeddings. Start it with `--embeddings`",
        ),
    ];

    #[test]
    fn what_depends_on_the_request_alone_is_a_400_in_one_readable_sentence() {
        for (status, message) in OF_THE_REQUEST {
            let (status, _, sentence) = told(*status, message);
            assert_eq!(status, 400, "{message}");
            for foreign in [
                "exception",
                "{",
                "\n",
                "parser",
                "source",
                "::",
                "--",
                "/models",
            ] {
                assert!(!sentence.contains(foreign), "{message}: {sentence}");
            }
        }
    }

    #[test]
    fn the_field_that_is_to_blame_is_named() {
        let alternate = "Unable to generate parser for this template. Automatic parser generation failed: \n------------\n\
            While executing CallExpression at line 1, column 226 in source:\n...'system' %}{{ raise_exception('Conversation roles \
            must alternate user...\n      ^\nError: Jinja Exception: Conversation roles must alternate user/assistant/...";
        let sentence = "the model's chat template wants `user` and `assistant` messages in turn: merge those of one role that follow each other";
        assert_eq!(
            told(400, alternate),
            (400, Some("messages"), sentence.to_owned())
        );
        let system = "\nError: Jinja Exception: System role not supported";
        let sentence = "the model's chat template does not take this system message: send one, before all others";
        assert_eq!(
            told(500, &format!("While executing{system}")),
            (400, Some("messages"), sentence.to_owned())
        );
        let arguments = "a tool call in `messages` has `arguments` that are not JSON: send them as the model wrote them";
        assert_eq!(
            told(500, OF_THE_REQUEST[0].1),
            (400, Some("messages"), arguments.to_owned())
        );
        let temperature = "`temperature` has a value that the model server does not take";
        assert_eq!(
            told(400, OF_THE_REQUEST[14].1),
            (400, None, temperature.to_owned())
        );
    }

    #[test]
    fn a_short_plain_sentence_of_a_refusal_passes_as_it_is() {
        for message in [
            "Field 'n': Value must be between 1 <= value <= 2, but got 9",
            "Cannot have 2 or more assistant messages at the end of the list.",
            "'messages' is required",
        ] {
            assert_eq!(told(400, message), (400, None, message.to_owned()));
        }
    }

    #[test]
    fn a_failure_is_the_engines_own_or_unexplained_until_it_is_asked() {
        for message in [
            "Compute error.",
            "Context size has been exceeded.",
            "decode() failed: Compute error.",
        ] {
            assert_eq!(error(500, message), Error::Failed, "{message}");
        }
        assert_eq!(error(500, "unknown error"), Error::Unexplained);
        assert_eq!(error(502, "bad gateway"), Error::Failed);
        assert_eq!(
            verdict(StatusCode::INTERNAL_SERVER_ERROR, None),
            Error::Failed
        );
        assert_eq!(error(503, "Loading model"), Error::Loading);
    }
}
