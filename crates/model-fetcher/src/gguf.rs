//! Is this a GGUF file, and are all its tensors within its size? Header and tensor table only, read once, forwards.
//!
//! Every count and length is bounded by the file's size before it is followed, and nothing is allocated from it, so that
//! a hostile header costs neither memory nor time. What this finds is a wrong or cut file; flipped bits are for the digest.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read};

use types::{ARRAY, STRING, block, is_integer, width};

mod types;

/// The most keys that a header may have; real ones have fewer than a hundred.
const MAX_KEYS: u64 = 10_000;
/// The longest key, in bytes, by the format's definition.
const MAX_KEY_BYTES: u64 = 65_535;
/// The longest name of a tensor, in bytes; llama.cpp takes 63.
const MAX_TENSOR_NAME_BYTES: u64 = 64;
/// The largest alignment that is believed, in bytes.
const MAX_ALIGNMENT: u64 = 1 << 20;
/// The longest architecture name that is shown, in bytes.
const MAX_ARCHITECTURE_BYTES: u64 = 64;

/// The end of the key that says for how many heads keys and values are kept.
const KV_HEADS: &str = ".attention.head_count_kv";

/// What the header says of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// `general.architecture`, safe to print; empty when there is none.
    pub architecture: String,
    /// How many tensors there are.
    pub n_tensors: u64,
    /// Where the last tensor ends, in bytes from the start of the file.
    pub end: u64,
    /// Which part of how many the file is, from 0; `None` for a model that is one file.
    pub split: Option<(u64, u64)>,
    /// What decides how much memory the context takes.
    pub shape: Shape,
}

/// The numbers of a model that its context's memory follows from; 0 for what the header does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Tokens that the model was made for.
    pub context_length: u64,
    /// Layers.
    pub n_layers: u64,
    /// Size of a token's vector.
    pub embedding_length: u64,
    /// Heads of attention in a layer.
    pub n_heads: u64,
    /// Heads that keys and values are kept for, summed over all layers when they differ, otherwise of one layer.
    pub n_kv_heads: KvHeads,
    /// Elements of a key.
    pub key_length: u64,
    /// Elements of a value.
    pub value_length: u64,
    /// Tokens that a layer with a sliding window looks back.
    pub sliding_window: u64,
}

/// For how many heads keys and values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvHeads {
    /// For as many as there are.
    #[default]
    All,
    /// For so many in each layer.
    Each(u64),
    /// For so many in all layers together.
    Total(u64),
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It is something else.
    #[error("is not a GGUF file: it looks like {0}")]
    LooksLike(&'static str),
    /// It is a GGUF file that cannot be right.
    #[error("is not a usable GGUF file: {0}")]
    Broken(String),
    /// It ends before it should.
    #[error("is cut off: its tensors end at byte {end}, the file at byte {size}")]
    Truncated {
        /// Where the last tensor ends.
        end: u64,
        /// Where the file ends.
        size: u64,
    },
    /// The bytes at hand end within the header: more are needed to judge.
    #[error("has a header that does not end within its first bytes")]
    NeedsMore,
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
}

/// Checks the file of `size` bytes that `start` begins with; `start` may hold just its first bytes.
///
/// # Errors
///
/// [`Problem::NeedsMore`] when `start` ends within the header, otherwise what is wrong.
pub fn check(start: impl Read, size: u64) -> Result<Header, Problem> {
    let mut cursor = Cursor {
        start,
        position: 0,
        size,
    };
    let magic: [u8; 4] = match cursor.take() {
        Err(Problem::Truncated { .. }) => return Err(Problem::LooksLike("an empty or cut file")),
        read => read?,
    };
    if &magic != b"GGUF" {
        return Err(look(magic));
    }
    let version = cursor.u32()?;
    if !(2..=3).contains(&version) {
        let what = if version.is_multiple_of(1 << 16) {
            "big-endian, which does not run here"
        } else {
            "not 2 or 3"
        };
        return Err(Problem::Broken(format!("its version is {what}")));
    }
    let n_tensors = cursor.u64()?;
    let n_keys = cursor.u64()?;
    if n_keys > MAX_KEYS || n_tensors > size {
        return Err(Problem::Broken(format!(
            "it claims {n_keys} keys and {n_tensors} tensors"
        )));
    }
    let HeaderKeys {
        architecture,
        alignment,
        split_no,
        split_count,
        shape,
    } = cursor.keys(n_keys)?;
    let data_bytes = cursor.tensors(n_tensors, alignment)?;
    let end = cursor
        .position
        .checked_next_multiple_of(alignment)
        .and_then(|data| data.checked_add(data_bytes));
    let end =
        end.ok_or_else(|| Problem::Broken("its tensors are larger than any file".to_owned()))?;
    if n_tensors > 0 && end > size {
        return Err(Problem::Truncated { end, size });
    }
    if end.saturating_add(alignment) < size {
        tracing::warn!(end, size, "the GGUF file goes on after its last tensor");
    }
    let split = (split_count > 1).then_some((split_no, split_count));
    Ok(Header {
        architecture,
        n_tensors,
        end,
        split,
        shape,
    })
}

fn look(magic: [u8; 4]) -> Problem {
    let text = String::from_utf8_lossy(&magic).to_ascii_lowercase();
    Problem::LooksLike(match text.as_str() {
        "<!do" | "<htm" | "<hea" => "an HTML page, perhaps of a login or a proxy",
        "<?xm" | "<err" => "an XML error message",
        "vers" => "a Git LFS pointer, not the file that it points to",
        "pk\u{3}\u{4}" => "a zip archive",
        "ggml" | "tjgg" | "fmgg" => "a GGML file from before GGUF; llama.cpp no longer reads it",
        "fugg" => "a GGUF file for big-endian machines",
        text if text.starts_with('{') || text.starts_with('[') => "JSON, perhaps an error message",
        _ => "something else (safetensors and PyTorch files need converting first)",
    })
}

struct HeaderKeys {
    architecture: String,
    alignment: u64,
    split_no: u64,
    split_count: u64,
    shape: Shape,
}

impl HeaderKeys {
    /// Where the number of that key goes, if it is one that matters.
    fn number(&mut self, key: &str) -> Option<&mut u64> {
        Some(match key {
            "split.no" => &mut self.split_no,
            "split.count" => &mut self.split_count,
            _ => match key.split_once('.')?.1 {
                "context_length" => &mut self.shape.context_length,
                "block_count" => &mut self.shape.n_layers,
                "embedding_length" => &mut self.shape.embedding_length,
                "attention.head_count" => &mut self.shape.n_heads,
                "attention.key_length" => &mut self.shape.key_length,
                "attention.value_length" => &mut self.shape.value_length,
                "attention.sliding_window" => &mut self.shape.sliding_window,
                _ => return None,
            },
        })
    }
}

struct Cursor<R> {
    start: R,
    position: u64,
    size: u64,
}

impl<R: Read> Cursor<R> {
    /// The next `N` bytes.
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        self.fits(N as u64)?;
        let mut bytes = [0; N];
        self.start.read_exact(&mut bytes).map_err(short)?;
        self.position += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, Problem> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Problem> {
        self.take().map(u64::from_le_bytes)
    }

    /// Passes over `n_bytes`.
    fn skip(&mut self, n_bytes: u64) -> Result<(), Problem> {
        self.fits(n_bytes)?;
        let passed =
            io::copy(&mut self.start.by_ref().take(n_bytes), &mut io::sink()).map_err(short)?;
        self.position += passed;
        if passed == n_bytes {
            Ok(())
        } else {
            Err(Problem::NeedsMore)
        }
    }

    /// A string of at most `limit` bytes.
    fn string(&mut self, limit: u64, what: &str) -> Result<Vec<u8>, Problem> {
        let length = self.u64()?;
        if length > limit {
            return Err(Problem::Broken(format!("{what} is {length} bytes long")));
        }
        self.fits(length)?;
        let mut bytes = Vec::new();
        self.start
            .by_ref()
            .take(length)
            .read_to_end(&mut bytes)
            .map_err(short)?;
        self.position += bytes.len() as u64;
        if bytes.len() as u64 == length {
            Ok(bytes)
        } else {
            Err(Problem::NeedsMore)
        }
    }

    fn fits(&self, n_bytes: u64) -> Result<(), Problem> {
        match self.position.checked_add(n_bytes) {
            Some(end) if end <= self.size => Ok(()),
            end => Err(Problem::Truncated {
                end: end.unwrap_or(u64::MAX),
                size: self.size,
            }),
        }
    }

    /// Reads of the keys what is needed, and passes over the others.
    fn keys(&mut self, n_keys: u64) -> Result<HeaderKeys, Problem> {
        let mut keys = HeaderKeys {
            architecture: String::new(),
            alignment: 32,
            split_no: 0,
            split_count: 0,
            shape: Shape::default(),
        };
        let mut seen = HashSet::new();
        for _ in 0..n_keys {
            let key = self.string(MAX_KEY_BYTES, "a key")?;
            let key = String::from_utf8(key)
                .map_err(|_| Problem::Broken("a key is not text".to_owned()))?;
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            if key.is_empty() || !seen.insert(hasher.finish()) {
                return Err(Problem::Broken("a key is empty or there twice".to_owned()));
            }
            match (key.as_str(), self.u32()?) {
                ("general.architecture", STRING) => {
                    let name = self.string(MAX_ARCHITECTURE_BYTES, "the architecture's name")?;
                    keys.architecture = String::from_utf8_lossy(&name).escape_debug().to_string();
                }
                ("general.alignment", 4) => {
                    let alignment = u64::from(self.u32()?);
                    if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
                        return Err(Problem::Broken(format!("its alignment is {alignment}")));
                    }
                    keys.alignment = alignment;
                }
                ("general.alignment" | "general.architecture", _) => {
                    return Err(Problem::Broken(
                        "its alignment or architecture is of the wrong type".to_owned(),
                    ));
                }
                (key, ARRAY) if key.ends_with(KV_HEADS) => {
                    if let Some(total) = self.sum_array()? {
                        keys.shape.n_kv_heads = KvHeads::Total(total);
                    }
                }
                (key, kind) if key.ends_with(KV_HEADS) && is_integer(kind) => {
                    keys.shape.n_kv_heads = KvHeads::Each(self.integer(kind)?);
                }
                (_, ARRAY) => self.skip_array()?,
                (_, STRING) => self.skip_string()?,
                (key, kind) if is_integer(kind) => {
                    let value = self.integer(kind)?;
                    if let Some(number) = keys.number(key) {
                        *number = value;
                    }
                }
                (_, kind) => self.skip(width(kind)?)?,
            }
        }
        Ok(keys)
    }

    /// An integer of that type; a negative one is read as 0.
    fn integer(&mut self, kind: u32) -> Result<u64, Problem> {
        let n_bytes = width(kind)?;
        self.fits(n_bytes)?;
        let mut bytes = [0; 8];
        let taken = &mut bytes[..usize::try_from(n_bytes).unwrap_or(8)];
        self.start.read_exact(taken).map_err(short)?;
        let negative =
            matches!(kind, 1 | 3 | 5 | 11) && taken.last().is_some_and(|byte| byte & 0x80 != 0);
        self.position += n_bytes;
        Ok(if negative {
            0
        } else {
            u64::from_le_bytes(bytes)
        })
    }

    /// The sum of an array of integers; `None`, and passed over, when it is of something else.
    fn sum_array(&mut self) -> Result<Option<u64>, Problem> {
        let kind = self.u32()?;
        let n_elements = self.u64()?;
        if !is_integer(kind) {
            self.skip(width(kind)?.saturating_mul(n_elements))?;
            return Ok(None);
        }
        // Each element takes a byte at least: the loop ends with the file, whatever the count says.
        let sum = (0..n_elements).try_fold(0_u64, |sum, _| {
            Ok::<_, Problem>(sum.saturating_add(self.integer(kind)?))
        });
        sum.map(Some)
    }

    fn skip_string(&mut self) -> Result<(), Problem> {
        let length = self.u64()?;
        self.skip(length)
    }

    fn skip_array(&mut self) -> Result<(), Problem> {
        let kind = self.u32()?;
        let n_elements = self.u64()?;
        if kind == STRING {
            // Each has at least its length's eight bytes: the loop ends with the file, whatever the count says.
            return (0..n_elements).try_for_each(|_| self.skip_string());
        }
        self.skip(width(kind)?.saturating_mul(n_elements))
    }

    /// Passes over the tensor table; returns how many bytes of data the tensors take.
    fn tensors(&mut self, n_tensors: u64, alignment: u64) -> Result<u64, Problem> {
        let mut next = Some(0_u64);
        let mut end = 0_u64;
        for _ in 0..n_tensors {
            let name = self.string(MAX_TENSOR_NAME_BYTES, "a tensor's name")?;
            let name = String::from_utf8_lossy(&name).escape_debug().to_string();
            let n_dimensions = self.u32()?;
            if !(1..=4).contains(&n_dimensions) {
                return Err(Problem::Broken(format!(
                    "tensor {name} has {n_dimensions} dimensions"
                )));
            }
            let mut n_elements = 1_u64;
            let mut row = 0_u64;
            for dimension in 0..n_dimensions {
                let length = self.u64()?;
                row = if dimension == 0 { length } else { row };
                let product = n_elements
                    .checked_mul(length)
                    .filter(|product| *product > 0);
                n_elements = product.ok_or_else(|| {
                    Problem::Broken(format!("tensor {name} has no possible shape"))
                })?;
            }
            let kind = self.u32()?;
            let offset = self.u64()?;
            if !offset.is_multiple_of(alignment)
                || offset < end
                || next.is_some_and(|next| offset != next)
            {
                return Err(Problem::Broken(format!(
                    "tensor {name} overlaps another or leaves a gap"
                )));
            }
            let n_bytes = match block(kind) {
                // A type newer than this program: only its place is known.
                None => 0,
                Some((elements, bytes)) if row.is_multiple_of(elements) => {
                    let n_bytes = (n_elements / elements).checked_mul(bytes);
                    n_bytes.ok_or_else(|| {
                        Problem::Broken(format!("tensor {name} is larger than any file"))
                    })?
                }
                Some(_) => return Err(Problem::Broken(format!("tensor {name} has broken rows"))),
            };
            end = offset
                .checked_add(n_bytes)
                .ok_or_else(|| Problem::Broken(format!("tensor {name} is larger than any file")))?;
            next = block(kind).and_then(|_| end.checked_next_multiple_of(alignment));
        }
        Ok(end)
    }
}

fn short(error: io::Error) -> Problem {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        Problem::NeedsMore
    } else {
        Problem::Unreadable(error)
    }
}
