//! Reads what clients of version 2 send, or says what is wrong with it: once, in a frame that names the field.
//!
//! It only reads. Whether what a frame asks for exists and is allowed is for those who do it.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::complaint::{self, sentence};
use super::mend_surrogates;
use super::record::ErrorCode;
use super::v2::{ClientFrame, RefusedFrame};

/// The largest frame before the hello, in bytes.
pub const MAX_HELLO_BYTES: usize = 8 * 1024;
/// The longest id of a frame, in characters.
pub const MAX_ID_CHARS: usize = 64;
/// The longest `message` of a frame that could not be read, in characters.
pub const MAX_COMPLAINT_CHARS: usize = complaint::MAX_CHARS;

const NO_OBJECT: &str = "a frame must be one JSON object";

/// What is read of a frame before its type is known.
#[derive(Deserialize)]
struct FrameHead<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    version: Option<&'a RawValue>,
}

/// Whether a socket without the subprotocol begins with this frame as one of version 2: a message of version 1 with the
/// type `hello` has no `version`.
#[must_use]
pub fn is_hello(frame: &str) -> bool {
    let Ok(head) = head(frame) else {
        return false;
    };
    let kind = head.kind.and_then(string);
    frame.len() <= MAX_HELLO_BYTES && head.version.is_some() && kind.as_deref() == Some("hello")
}

/// Reads a frame.
///
/// # Errors
///
/// With the frame that says what is wrong. It has the `id` of the frame if that is one.
pub fn read(text: &str) -> Result<ClientFrame, Box<RefusedFrame>> {
    let text = &*mend_surrogates(text);
    let head = head(text).map_err(|message| refused(None, message))?;
    let id = head.id.map_or(Err("`id` is missing"), checked_id);
    let re = id.as_ref().ok().cloned();
    let Some(kind) = head.kind else {
        return Err(refused(re, "`type` is missing"));
    };
    let Some(kind) = string(kind) else {
        return Err(refused(re, "`type` must be a string"));
    };
    if kind == "ping" {
        return Ok(ClientFrame::Ping {});
    }
    if kind == "hello" {
        return body(text, None).map(ClientFrame::Hello);
    }
    let frame = match &*kind {
        "send" => body(text, re).map(ClientFrame::Send),
        "regenerate" => body(text, re).map(ClientFrame::Regenerate),
        "continue" => body(text, re).map(ClientFrame::Continue),
        "stop" => body(text, re).map(ClientFrame::Stop),
        "edit_queued" => body(text, re).map(ClientFrame::EditQueued),
        "drop_queued" => body(text, re).map(ClientFrame::DropQueued),
        "watch" => body(text, re).map(ClientFrame::Watch),
        "unwatch" => body(text, re).map(ClientFrame::Unwatch),
        "watch_list" => body(text, re).map(ClientFrame::WatchList),
        _ => {
            return Err(Box::new(RefusedFrame {
                code: ErrorCode::UnknownType,
                ..*refused(re, "this `type` is not one of version 2")
            }));
        }
    };
    // An id that is none is said first: without it no reply finds its request.
    id.map_err(|message| refused(None, message))?;
    frame
}

fn head(text: &str) -> Result<FrameHead<'_>, String> {
    if !text.trim_start().starts_with('{') {
        return Err(NO_OBJECT.to_owned());
    }
    serde_json::from_str(text).map_err(|error| {
        if error.is_data() {
            sentence(".", &error)
        } else {
            NO_OBJECT.to_owned()
        }
    })
}

fn string(json: &RawValue) -> Option<String> {
    serde_json::from_str(json.get()).ok()
}

fn checked_id(json: &RawValue) -> Result<String, &'static str> {
    let id = string(json).ok_or("`id` must be a string")?;
    if (1..=MAX_ID_CHARS).contains(&id.chars().count()) {
        Ok(id)
    } else {
        Err("`id` must be 1 to 64 characters")
    }
}

fn body<T: DeserializeOwned>(text: &str, re: Option<String>) -> Result<T, Box<RefusedFrame>> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        refused(re, sentence(&path, error.inner()))
    })
}

fn refused(re: Option<String>, message: impl Into<String>) -> Box<RefusedFrame> {
    Box::new(RefusedFrame {
        re,
        code: ErrorCode::BadRequest,
        message: message.into(),
        retry_after_seconds: None,
    })
}
