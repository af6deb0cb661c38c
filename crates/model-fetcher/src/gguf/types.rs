//! The types of the GGUF format: of values in the header, and of tensors, with the bytes that they take.

use super::Problem;

/// The value type of a string.
pub(super) const STRING: u32 = 8;
/// The value type of an array.
pub(super) const ARRAY: u32 = 9;

/// Whether a value of that type is an integer.
pub(super) fn is_integer(kind: u32) -> bool {
    matches!(kind, 0..=5 | 10 | 11)
}

/// Bytes of one value of a fixed-size type.
pub(super) fn width(kind: u32) -> Result<u64, Problem> {
    match kind {
        0 | 1 | 7 => Ok(1),
        2 | 3 => Ok(2),
        4..=6 => Ok(4),
        10..=12 => Ok(8),
        _ => Err(Problem::Broken(format!(
            "a value has the unknown type {kind}"
        ))),
    }
}

/// Elements and bytes of one block of a `ggml_type`, as gguf-py 0.19 lists them.
pub(super) fn block(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        0 | 26 => (1, 4),
        1 | 25 | 30 => (1, 2),
        2 | 20 => (32, 18),
        3 => (32, 20),
        6 => (32, 22),
        7 => (32, 24),
        8 => (32, 34),
        9 => (32, 40),
        10 => (256, 84),
        11 | 21 => (256, 110),
        12 => (256, 144),
        13 => (256, 176),
        14 => (256, 210),
        15 => (256, 292),
        16 | 35 => (256, 66),
        17 => (256, 74),
        18 => (256, 98),
        19 => (256, 50),
        22 => (256, 82),
        23 => (256, 136),
        24 => (1, 1),
        27 | 28 => (1, 8),
        29 => (256, 56),
        34 => (256, 54),
        39 => (32, 17),
        40 => (64, 36),
        41 => (128, 18),
        _ => return None,
    })
}
