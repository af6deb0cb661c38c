//! How much memory will a model take, and is there as much? An estimate that warns with numbers and never refuses.
//!
//! Weights count with the size of the files, the context with its keys and values at half precision. Layers that look
//! back only over a sliding window are counted as such where it is known which they are.

use std::fs;
use std::num::NonZeroU64;

use crate::error::megabytes;
use crate::gguf::{Header, KvHeads, Shape};

/// Bytes of one element of a key or a value: llama-server keeps them as F16.
const ELEMENT_BYTES: u64 = 2;
/// A limit below this is a container's for model-fetcher alone, in which no llama-server runs.
const LEAST_LIMIT_BYTES: u64 = 1 << 30;
/// The architecture of projectors, which have no context.
pub(crate) const PROJECTOR: &str = "clip";
/// Architectures with sliding windows, and which of their layers has none: every so manieth.
const SLIDING: &[(&str, u64)] = &[
    ("gemma2", 2),
    ("gemma3", 6),
    ("gemma3n", 5),
    ("cohere2", 4),
    ("gpt-oss", 2),
    ("llama4", 4),
];

/// Warns when the model of that header, whose files have `weights` bytes, does not fit in memory with `context` tokens.
pub(crate) fn compare(header: &Header, weights: u64, context: Option<NonZeroU64>) {
    if header.split.is_some_and(|(no, _)| no > 0) || header.architecture == PROJECTOR {
        return;
    }
    let tokens = context.map_or(header.shape.context_length, NonZeroU64::get);
    let cache = cache_bytes(header, tokens);
    let needed = weights.saturating_add(cache);
    let Some(available) = available() else { return };
    if needed > available {
        tracing::warn!(
            "the model needs about {} of memory, {} for its weights and {} for a context of {tokens} tokens, and there are \
             {}: llama-server will be slow or be killed; choose a smaller quantisation, or set LLAMA_CTX_SIZE to fewer \
             tokens",
            megabytes(needed),
            megabytes(weights),
            megabytes(cache),
            megabytes(available)
        );
    }
}

/// What keys and values of `tokens` tokens take, in bytes.
fn cache_bytes(header: &Header, tokens: u64) -> u64 {
    let Shape {
        n_layers,
        embedding_length,
        n_heads,
        n_kv_heads,
        key_length,
        value_length,
        ..
    } = header.shape;
    let head = embedding_length.checked_div(n_heads).unwrap_or(0);
    let or_head = |length: u64| if length == 0 { head } else { length };
    let heads = match n_kv_heads {
        KvHeads::All => n_heads.saturating_mul(n_layers),
        KvHeads::Each(heads) => heads.saturating_mul(n_layers),
        KvHeads::Total(heads) => heads,
    };
    let elements = or_head(key_length).saturating_add(or_head(value_length));
    let per_token = heads.saturating_mul(elements).saturating_mul(ELEMENT_BYTES);
    let window = header.shape.sliding_window;
    let period = SLIDING
        .iter()
        .find(|(name, _)| *name == header.architecture)
        .map(|(_, period)| *period);
    match period {
        Some(period) if window > 0 && window < tokens => {
            let full = per_token.div_ceil(period);
            full.saturating_mul(tokens)
                .saturating_add((per_token - full).saturating_mul(window))
        }
        _ => per_token.saturating_mul(tokens),
    }
}

/// The machine's memory or, where that is smaller, the limit of the container, in bytes.
pub(crate) fn available() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let machine = info.lines().find_map(|line| {
        let kibibytes = line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?;
        kibibytes.trim().parse::<u64>().ok()?.checked_mul(1024)
    })?;
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or("/")
        .trim()
        .to_owned();
    let limits = [
        format!("/sys/fs/cgroup{own}/memory.max"),
        "/sys/fs/cgroup/memory.max".to_owned(),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ];
    let limit = limits
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    Some(
        limit
            .filter(|limit| *limit >= LEAST_LIMIT_BYTES)
            .fold(machine, u64::min),
    )
}

#[cfg(test)]
mod tests {
    use super::{available, cache_bytes};
    use crate::gguf::{Header, KvHeads, Shape};

    fn header(architecture: &str, shape: Shape) -> Header {
        Header {
            architecture: architecture.to_owned(),
            n_tensors: 1,
            end: 0,
            split: None,
            shape,
        }
    }

    #[test]
    fn the_cache_of_llama_3_8b_takes_128_kib_per_token() {
        let n_kv_heads = KvHeads::Each(8);
        let shape = Shape {
            n_layers: 32,
            embedding_length: 4096,
            n_heads: 32,
            n_kv_heads,
            ..Shape::default()
        };
        assert_eq!(
            cache_bytes(&header("llama", shape), 8192),
            8192 * 128 * 1024
        );
        let all = Shape {
            n_kv_heads: KvHeads::All,
            ..shape
        };
        assert_eq!(cache_bytes(&header("llama", all), 1), 512 * 1024);
        let total = Shape {
            n_kv_heads: KvHeads::Total(8 * 32),
            ..shape
        };
        assert_eq!(cache_bytes(&header("llama", total), 1), 128 * 1024);
    }

    #[test]
    fn layers_with_a_sliding_window_keep_no_more_than_it() {
        let shape = Shape {
            n_layers: 36,
            n_heads: 8,
            n_kv_heads: KvHeads::Each(4),
            key_length: 256,
            value_length: 256,
            sliding_window: 1024,
            ..Shape::default()
        };
        let layer = 4 * 512 * 2;
        assert_eq!(
            cache_bytes(&header("gemma3", shape), 131_072),
            layer * (6 * 131_072 + 30 * 1024)
        );
        assert_eq!(cache_bytes(&header("gemma3", shape), 512), layer * 36 * 512);
        assert_eq!(
            cache_bytes(&header("qwen3", shape), 131_072),
            layer * 36 * 131_072
        );
    }

    #[test]
    fn a_header_without_numbers_or_with_absurd_ones_gives_an_answer() {
        assert_eq!(cache_bytes(&header("x", Shape::default()), 4096), 0);
        let absurd = Shape {
            n_layers: u64::MAX,
            n_heads: u64::MAX,
            key_length: 9,
            ..Shape::default()
        };
        assert_eq!(cache_bytes(&header("x", absurd), u64::MAX), u64::MAX);
    }

    #[test]
    fn a_machine_knows_its_memory() {
        assert!(available().is_some_and(|bytes| bytes > 64 << 20));
    }
}
