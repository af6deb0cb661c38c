//! Small synthetic GGUF files for tests: a valid header and tensor table, pseudo-random tensor bytes, any size.
//!
//! They load in no engine. They pass every structural check, and two sizes never share content, so that a digest
//! tells them apart.

/// The file's alignment, which is GGUF's default.
const ALIGNMENT: usize = 32;
/// The `ggml_type` of a tensor of single bytes.
const TYPE_I8: u32 = 24;
/// The value type of an unsigned number of 32 bits.
const VALUE_U32: u32 = 4;
/// The value type of a string.
const VALUE_STRING: u32 = 8;

/// The smallest size that [`tiny`] can make, in bytes.
pub const SMALLEST: usize = 192;

/// A structurally valid GGUF file (version 3, one tensor) of exactly `n_bytes`.
///
/// # Panics
///
/// When `n_bytes` is below [`SMALLEST`].
#[must_use]
pub fn tiny(n_bytes: usize) -> Vec<u8> {
    with_numbers(n_bytes, &[])
}

/// As [`tiny`], with these keys and their numbers in the header.
///
/// # Panics
///
/// When `n_bytes` has no room for the header.
#[must_use]
pub fn with_numbers(n_bytes: usize, numbers: &[(&str, u32)]) -> Vec<u8> {
    assert!(
        n_bytes >= SMALLEST,
        "a GGUF file of {n_bytes} bytes has no room for its header"
    );
    let mut file = Vec::with_capacity(n_bytes);
    file.extend_from_slice(b"GGUF");
    file.extend_from_slice(&3_u32.to_le_bytes());
    file.extend_from_slice(&1_u64.to_le_bytes());
    file.extend_from_slice(&(1 + numbers.len() as u64).to_le_bytes());
    string(&mut file, "general.architecture");
    file.extend_from_slice(&VALUE_STRING.to_le_bytes());
    string(&mut file, "llama");
    for (key, number) in numbers {
        string(&mut file, key);
        file.extend_from_slice(&VALUE_U32.to_le_bytes());
        file.extend_from_slice(&number.to_le_bytes());
    }
    string(&mut file, "token_embd.weight");
    file.extend_from_slice(&1_u32.to_le_bytes());
    let dimension_at = file.len();
    file.extend_from_slice(&0_u64.to_le_bytes());
    file.extend_from_slice(&TYPE_I8.to_le_bytes());
    file.extend_from_slice(&0_u64.to_le_bytes());
    file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
    let n_elements = (n_bytes - file.len()) as u64;
    file[dimension_at..dimension_at + 8].copy_from_slice(&n_elements.to_le_bytes());
    let mut state = 0x9E37_79B9_7F4A_7C15_u64 ^ n_elements;
    while file.len() < n_bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let rest = (n_bytes - file.len()).min(8);
        file.extend_from_slice(&state.to_le_bytes()[..rest]);
    }
    file
}

fn string(file: &mut Vec<u8>, text: &str) {
    file.extend_from_slice(&(text.len() as u64).to_le_bytes());
    file.extend_from_slice(text.as_bytes());
}
