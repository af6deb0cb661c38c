//! Any text as a frame of version 2 of the chat protocol: it is read, or refused in a short sentence.

#![no_main]

use chat_gateway::protocol::reading::{MAX_COMPLAINT_CHARS, MAX_ID_CHARS, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| match read(input) {
    // What was read can be read again once it is written.
    Ok(frame) => {
        let written = serde_json::to_string(&frame).expect("a frame is JSON");
        assert!(read(&written).is_ok());
    }
    Err(refused) => {
        assert!(refused.message.chars().count() <= MAX_COMPLAINT_CHARS);
        assert!(refused.re.is_none_or(|re| re.chars().count() <= MAX_ID_CHARS));
    }
});
