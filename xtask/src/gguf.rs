//! The header of a GGUF file, as far as it says how much memory a context takes.
//!
//! Values that it does not need are skipped. A header that is cut off gives what was found before its end, because the
//! sizes come before the tokens of the vocabulary.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};

use anyhow::{Context as _, Result, bail};

/// What the name of a split model's first part has between its beginning and its number of parts.
pub(crate) const FIRST_PART: &str = "-00001-of-";
/// The longest key or name that is kept.
const MAX_TEXT_BYTES: u64 = 4096;
/// Numbers of an array that are kept: one for each layer.
const MAX_NUMBERS: u64 = 4096;
/// Bytes of an f16 number.
const F16_BYTES: u64 = 2;

/// The sizes that decide how much memory a token of context takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ModelShape {
    /// Bytes of keys and values for one token of context, over all layers, as f16. Layers with a sliding window are taken
    /// for whole ones, so this is an upper bound.
    pub(crate) kv_bytes_per_token: u64,
    /// The context that the model was trained on, in tokens.
    pub(crate) n_ctx_train: u64,
}

#[derive(Debug, PartialEq)]
enum HeaderValue {
    Number(u64),
    Numbers(Vec<u64>),
    Text(String),
    Other,
}

impl ModelShape {
    /// Reads the header at the beginning of `file`.
    ///
    /// # Errors
    ///
    /// When it is no GGUF file, or lacks a size.
    pub(crate) fn read(mut file: impl Read) -> Result<Self> {
        let mut magic = [0; 4];
        file.read_exact(&mut magic)
            .context("the file has no header")?;
        if magic != *b"GGUF" {
            bail!("it is not a GGUF file");
        }
        let mut reader = HeaderReader { file };
        reader.number(4)?;
        reader.number(8)?;
        let n_pairs = reader.number(8)?;
        let mut pairs = BTreeMap::new();
        for _ in 0..n_pairs {
            match reader.pair() {
                Ok((key, value)) => drop(pairs.insert(key, value)),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error).context("the header cannot be read"),
            }
        }
        let Some(HeaderValue::Text(architecture)) = pairs.get("general.architecture") else {
            bail!("the header names no architecture");
        };
        Self::of(&HeaderPairs {
            architecture: architecture.clone(),
            pairs,
        })
    }

    fn of(header: &HeaderPairs) -> Result<Self> {
        let n_layers = header.required("block_count")?;
        let lengths =
            header.length("attention.key_length")? + header.length("attention.value_length")?;
        // Models with layers of several kinds have a list.
        let n_kv_heads = match header.get("attention.head_count_kv") {
            Some(HeaderValue::Numbers(of_layers)) => of_layers.iter().sum(),
            Some(HeaderValue::Number(of_each)) => of_each * n_layers,
            _ => header.required("attention.head_count")? * n_layers,
        };
        Ok(Self {
            kv_bytes_per_token: n_kv_heads * lengths * F16_BYTES,
            n_ctx_train: header.required("context_length")?,
        })
    }
}

/// The pairs that were found, and the word that the keys of sizes begin with.
struct HeaderPairs {
    architecture: String,
    pairs: BTreeMap<String, HeaderValue>,
}

impl HeaderPairs {
    fn get(&self, name: &str) -> Option<&HeaderValue> {
        self.pairs.get(&format!("{}.{name}", self.architecture))
    }

    fn number(&self, name: &str) -> Option<u64> {
        match self.get(name) {
            Some(HeaderValue::Number(number)) => Some(*number),
            _ => None,
        }
    }

    fn required(&self, name: &str) -> Result<u64> {
        self.number(name)
            .with_context(|| format!("the header has no {name}"))
    }

    /// The numbers of a head's keys or values; unless the header says it, each head has its share of the embedding.
    fn length(&self, name: &str) -> Result<u64> {
        if let Some(length) = self.number(name) {
            return Ok(length);
        }
        let n_heads = self.required("attention.head_count")?.max(1);
        Ok(self.required("embedding_length")? / n_heads)
    }
}

struct HeaderReader<R> {
    file: R,
}

impl<R: Read> HeaderReader<R> {
    fn pair(&mut self) -> std::io::Result<(String, HeaderValue)> {
        let key = self.text()?;
        let kind = self.number(4)?;
        Ok((key, self.value(kind)?))
    }

    fn value(&mut self, kind: u64) -> std::io::Result<HeaderValue> {
        match kind {
            8 => Ok(HeaderValue::Text(self.text()?)),
            9 => self.list(),
            // Floating-point numbers are no sizes.
            6 | 12 => {
                self.skip(width(kind)?)?;
                Ok(HeaderValue::Other)
            }
            _ => Ok(HeaderValue::Number(self.number(width(kind)?)?)),
        }
    }

    fn list(&mut self) -> std::io::Result<HeaderValue> {
        let kind = self.number(4)?;
        let n = self.number(8)?;
        match kind {
            8 => {
                for _ in 0..n {
                    let length = self.number(8)?;
                    self.skip(length)?;
                }
                Ok(HeaderValue::Other)
            }
            4 | 5 | 10 | 11 if n <= MAX_NUMBERS => {
                let width = width(kind)?;
                let numbers: std::io::Result<Vec<u64>> =
                    (0..n).map(|_| self.number(width)).collect();
                Ok(HeaderValue::Numbers(numbers?))
            }
            _ => {
                self.skip(n.saturating_mul(width(kind)?))?;
                Ok(HeaderValue::Other)
            }
        }
    }

    fn text(&mut self) -> std::io::Result<String> {
        let length = self.number(8)?;
        if length > MAX_TEXT_BYTES {
            // A chat template; nothing asks for it.
            self.skip(length)?;
            return Ok(String::new());
        }
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(length).read_to_end(&mut bytes)?;
        if read as u64 != length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A little-endian number of `width` bytes.
    fn number(&mut self, width: u64) -> std::io::Result<u64> {
        let mut bytes = [0; 8];
        let width = usize::try_from(width).unwrap_or(8).min(8);
        self.file.read_exact(&mut bytes[..width])?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn skip(&mut self, length: u64) -> std::io::Result<()> {
        let skipped = std::io::copy(&mut (&mut self.file).take(length), &mut std::io::sink())?;
        if skipped == length {
            Ok(())
        } else {
            Err(ErrorKind::UnexpectedEof.into())
        }
    }
}

/// Bytes of one value of this kind.
fn width(kind: u64) -> std::io::Result<u64> {
    match kind {
        0 | 1 | 7 => Ok(1),
        2 | 3 => Ok(2),
        4..=6 => Ok(4),
        10..=12 => Ok(8),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::ModelShape;

    fn text(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }

    /// A header with these numbers, a template, a list of words, and a list of heads if there is one.
    fn header(numbers: &[(&str, u32)], heads: &[u32]) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(0_u64.to_le_bytes());
        bytes.extend((numbers.len() as u64 + 4).to_le_bytes());
        text(&mut bytes, "general.architecture");
        bytes.extend(8_u32.to_le_bytes());
        text(&mut bytes, "llama");
        text(&mut bytes, "tokenizer.chat_template");
        bytes.extend(8_u32.to_le_bytes());
        text(&mut bytes, &"x".repeat(5000));
        for (key, number) in numbers {
            text(&mut bytes, &format!("llama.{key}"));
            bytes.extend(4_u32.to_le_bytes());
            bytes.extend(number.to_le_bytes());
        }
        text(&mut bytes, "llama.attention.head_count_kv");
        bytes.extend(9_u32.to_le_bytes());
        bytes.extend(4_u32.to_le_bytes());
        bytes.extend((heads.len() as u64).to_le_bytes());
        heads
            .iter()
            .for_each(|head| bytes.extend(head.to_le_bytes()));
        text(&mut bytes, "tokenizer.ggml.tokens");
        bytes.extend(9_u32.to_le_bytes());
        bytes.extend(8_u32.to_le_bytes());
        bytes.extend(2_u64.to_le_bytes());
        text(&mut bytes, "a");
        text(&mut bytes, "b");
        bytes
    }

    #[test]
    fn the_memory_of_a_token_comes_from_the_header_even_when_that_is_cut_off() {
        let numbers = [
            ("block_count", 3),
            ("embedding_length", 64),
            ("attention.head_count", 4),
            ("context_length", 2048),
        ];
        let bytes = header(&numbers, &[1, 2, 3]);
        let shape = ModelShape {
            // Six heads of 16 numbers, keys and values.
            kv_bytes_per_token: 6 * 32 * 2,
            n_ctx_train: 2048,
        };
        assert_eq!(ModelShape::read(&*bytes).unwrap(), shape);
        assert_eq!(ModelShape::read(&bytes[..bytes.len() - 9]).unwrap(), shape);
        assert!(ModelShape::read(&bytes[..200]).is_err());
        assert!(ModelShape::read(&b"<html>"[..]).is_err());
    }
}
