//! The development model with only its first layers. What it writes is nonsense, but an emulator computes a token of it in
//! a fraction of a second, where the whole model takes most of one.

use anyhow::{Context as _, Result, ensure};

/// The layers that are left.
const LAYERS: u32 = 2;
/// The key that says how many layers there are.
const LAYER_COUNT: &[u8] = b"llama.block_count";
/// What the name of a layer's tensor begins with; its number follows.
const LAYER: &str = "blk.";
/// Where the data of a tensor may begin, in bytes, unless a file says otherwise. This model's does not.
const ALIGNMENT: usize = 32;

/// One tensor, as the header of a file describes it.
struct CutTensor<'a> {
    name: &'a [u8],
    /// Its dimensions and its type.
    shape: &'a [u8],
    /// Where its data begins, in bytes from the beginning of all data.
    offset: usize,
}

impl CutTensor<'_> {
    fn is_left(&self) -> bool {
        let name = String::from_utf8_lossy(self.name);
        let layer = name.strip_prefix(LAYER).and_then(|rest| {
            let (layer, _) = rest.split_once('.')?;
            layer.parse::<u32>().ok()
        });
        layer.is_none_or(|layer| layer < LAYERS)
    }
}

/// `file`, a whole GGUF file, without its further layers.
///
/// # Errors
///
/// When it is no such file.
pub(super) fn cut(file: &[u8]) -> Result<Vec<u8>> {
    let mut header = CutHeader { file, at: 0 };
    let magic_and_version = header.take(8)?;
    ensure!(magic_and_version.starts_with(b"GGUF"), "it is no GGUF file");
    let n_tensors = header.count()?;
    let n_pairs = header.count()?;
    let mut pairs = Vec::new();
    for _ in 0..n_pairs {
        let begin = header.at;
        let is_layer_count = header.text()? == LAYER_COUNT;
        let kind = header.u32()?;
        let value = header.at;
        header.skip(kind)?;
        if is_layer_count {
            pairs.extend_from_slice(&file[begin..value]);
            pairs.extend_from_slice(&LAYERS.to_le_bytes());
        } else {
            pairs.extend_from_slice(&file[begin..header.at]);
        }
    }
    let mut tensors = Vec::new();
    for _ in 0..n_tensors {
        let name = header.text()?;
        let begin = header.at;
        let n_dimensions = header.u32()? as usize;
        header.take(8 * n_dimensions + 4)?;
        let shape = &file[begin..header.at];
        let offset = header.count()?;
        tensors.push(CutTensor {
            name,
            shape,
            offset,
        });
    }
    let data = file.get(header.at.next_multiple_of(ALIGNMENT)..);
    let data = data.context("its data is cut off")?;
    tensors.sort_by_key(|tensor| tensor.offset);
    let ends: Vec<usize> = tensors.iter().skip(1).map(|next| next.offset).collect();

    let mut infos = Vec::new();
    let mut kept = Vec::new();
    let mut n_kept: u64 = 0;
    for (tensor, end) in tensors.iter().zip(ends.into_iter().chain([data.len()])) {
        if tensor.is_left() {
            infos.extend_from_slice(&(tensor.name.len() as u64).to_le_bytes());
            infos.extend_from_slice(tensor.name);
            infos.extend_from_slice(tensor.shape);
            infos.extend_from_slice(&(kept.len() as u64).to_le_bytes());
            let bytes = data.get(tensor.offset..end);
            kept.extend_from_slice(bytes.context("its data is cut off")?);
            kept.resize(kept.len().next_multiple_of(ALIGNMENT), 0);
            n_kept += 1;
        }
    }
    let n_kept = n_kept.to_le_bytes();
    let n_pairs = (n_pairs as u64).to_le_bytes();
    let mut all = [magic_and_version, &n_kept, &n_pairs, &pairs, &infos].concat();
    all.resize(all.len().next_multiple_of(ALIGNMENT), 0);
    all.extend_from_slice(&kept);
    Ok(all)
}

/// A header that is read from its beginning.
struct CutHeader<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> CutHeader<'a> {
    fn take(&mut self, n_bytes: usize) -> Result<&'a [u8]> {
        let taken = self.file.get(self.at..self.at.saturating_add(n_bytes));
        let taken = taken.context("its header is cut off")?;
        self.at += n_bytes;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into()?))
    }

    /// A number of 64 bits.
    fn count(&mut self) -> Result<usize> {
        let number = u64::from_le_bytes(self.take(8)?.try_into()?);
        Ok(usize::try_from(number)?)
    }

    fn text(&mut self) -> Result<&'a [u8]> {
        let n_bytes = self.count()?;
        self.take(n_bytes)
    }

    /// Goes past a value of this type.
    fn skip(&mut self, kind: u32) -> Result<()> {
        match kind {
            0 | 1 | 7 => self.take(1)?,
            2 | 3 => self.take(2)?,
            4..=6 => self.take(4)?,
            8 => self.text()?,
            9 => {
                let kind = self.u32()?;
                for _ in 0..self.count()? {
                    self.skip(kind)?;
                }
                &[]
            }
            _ => self.take(8)?,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{ALIGNMENT, CutHeader, cut};

    fn text(name: &str) -> Vec<u8> {
        [&(name.len() as u64).to_le_bytes(), name.as_bytes()].concat()
    }

    /// A file with one word per tensor, which is the tensor's name.
    fn file(layers: u32, names: &[&str]) -> Vec<u8> {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend((names.len() as u64).to_le_bytes());
        file.extend(2_u64.to_le_bytes());
        file.extend([text("list"), 9_u32.to_le_bytes().to_vec()].concat());
        file.extend([&8_u32.to_le_bytes()[..], &1_u64.to_le_bytes()].concat());
        file.extend(text("x"));
        file.extend([text("llama.block_count"), 4_u32.to_le_bytes().to_vec()].concat());
        file.extend(layers.to_le_bytes());
        for (n, name) in names.iter().enumerate() {
            file.extend([text(name), 1_u32.to_le_bytes().to_vec()].concat());
            file.extend([&8_u64.to_le_bytes()[..], &0_u32.to_le_bytes()].concat());
            file.extend(((n * ALIGNMENT) as u64).to_le_bytes());
        }
        for name in names {
            file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
            file.extend(name.as_bytes());
        }
        file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
        file
    }

    #[test]
    fn the_first_layers_and_what_is_in_no_layer_are_left() {
        let whole = [
            "blk.2.q", "blk.0.q", "blk.1.q", "blk.12.q", "norm", "blk.1.k",
        ];
        let left = ["blk.0.q", "blk.1.q", "norm", "blk.1.k"];
        assert_eq!(cut(&file(30, &whole)).unwrap(), file(2, &left));
    }

    #[test]
    fn a_file_that_is_cut_off_is_an_error() {
        let whole = file(30, &["norm"]);
        for length in [0, 7, 30, whole.len() - ALIGNMENT - 1] {
            let error = cut(&whole[..length]).unwrap_err().to_string();
            assert!(error.contains("cut off"), "{length}: {error}");
        }
        let mut header = CutHeader { file: &[], at: 0 };
        assert!(header.skip(99).is_err());
    }
}
