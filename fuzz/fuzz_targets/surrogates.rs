//! Any text as a frame: after its half surrogate pairs are mended every byte keeps its place, and mending again changes
//! nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use source::surrogates::mend_surrogates;

#[path = "../../crates/chat-gateway/src/protocol"]
mod source {
    pub mod surrogates;
}

fuzz_target!(|frame: &str| {
    let mended = mend_surrogates(frame);
    assert_eq!(mended.len(), frame.len(), "every byte keeps its place");
    assert_eq!(mend_surrogates(&mended), mended, "mended is mended");
});
