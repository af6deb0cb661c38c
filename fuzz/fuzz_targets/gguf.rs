//! Any bytes as the start of a GGUF file of any size: judged without a panic, and never read beyond the size.

#![no_main]

use std::io::{Cursor, Read as _};

use libfuzzer_sys::fuzz_target;
use source::gguf::{Problem, check};

#[path = "../../crates/model-fetcher/src"]
mod source {
    pub mod gguf;
}

fuzz_target!(|input: &[u8]| {
    // The whole file.
    let whole = check(input, input.len() as u64);
    assert!(!matches!(whole, Err(Problem::NeedsMore)), "a whole file needs no more");
    // The first bytes of one that goes on: whatever is said of them holds for the file with its size.
    let first = input;
    let size = input.len() as u64 * 3 + 64;
    drop(check(first, size)); // Either verdict is good, without a panic.
    // The same, going on with zeros: nothing past the size is looked at.
    let mut endless = Cursor::new(first).chain(std::io::repeat(0)).take(size + 1);
    let verdict = check(&mut endless, size);
    assert!(!matches!(verdict, Err(Problem::NeedsMore)), "nothing is missing");
});
