//! How much memory this machine has, and how much a llama-server takes.

use std::fmt;

use anyhow::{Context as _, Result};

use crate::gguf::ModelShape;

/// What a llama-server takes beside weights, context and cache: its program, buffers of a compute step, connections.
const OVERHEAD_BYTES: u64 = 400 * MIB;
/// A MiB.
pub(crate) const MIB: u64 = 1024 * 1024;

/// The memory of this machine, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MachineMemory {
    /// All of it.
    pub(crate) total: u64,
    /// What new processes can get without swapping.
    pub(crate) available: u64,
}

impl MachineMemory {
    /// Reads `/proc/meminfo`.
    ///
    /// # Errors
    ///
    /// Where there is none: this is Linux only.
    pub(crate) fn read() -> Result<Self> {
        let text = std::fs::read_to_string("/proc/meminfo")
            .context("the memory is read from Linux's /proc/meminfo")?;
        Self::parse(&text).context("/proc/meminfo has another form than Linux's")
    }

    fn parse(text: &str) -> Option<Self> {
        Some(Self {
            total: bytes_of(text, "MemTotal:")?,
            available: bytes_of(text, "MemAvailable:")?,
        })
    }
}

/// The bytes on the line that begins with `name`, as the kernel writes them in /proc.
pub(crate) fn bytes_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// The form in which keys and values of the context are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KvType {
    /// As the model computes them.
    F16,
    /// About half as large, and less exact.
    Q8,
}

impl KvType {
    /// Its name for llama-server.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Q8 => "q8_0",
        }
    }

    /// The type of this name; others are no smaller than they are taken for.
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "q8_0" => Self::Q8,
            _ => Self::F16,
        }
    }

    /// The size of `bytes` of f16 numbers in this form: 34 bytes for 32 numbers in `q8_0`.
    const fn of_f16(self, bytes: u64) -> u64 {
        match self {
            Self::F16 => bytes,
            Self::Q8 => bytes * 34 / 64,
        }
    }
}

/// What a llama-server will take at most, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EngineMemory {
    weights: u64,
    context: u64,
    cache: u64,
}

impl EngineMemory {
    /// That of a model file of `weights` bytes with `n_ctx` tokens of context and a prompt cache of `cache_mib`.
    pub(crate) const fn new(
        weights: u64,
        shape: ModelShape,
        n_ctx: u64,
        kv: KvType,
        cache_mib: u64,
    ) -> Self {
        Self {
            weights,
            context: kv.of_f16(shape.kv_bytes_per_token * n_ctx),
            cache: cache_mib * MIB,
        }
    }

    /// All of it.
    pub(crate) const fn total(self) -> u64 {
        self.weights + self.context + self.cache + OVERHEAD_BYTES
    }
}

impl fmt::Display for EngineMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (weights {}, context {}, prompt cache up to {}, the rest {})",
            gib(self.total()),
            gib(self.weights),
            gib(self.context),
            gib(self.cache),
            gib(OVERHEAD_BYTES)
        )
    }
}

/// Bytes as people read them.
pub(crate) fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1024 * MIB) as f64)
}

#[cfg(test)]
mod tests {
    use super::{EngineMemory, KvType, MIB, MachineMemory, OVERHEAD_BYTES};
    use crate::gguf::ModelShape;

    #[test]
    fn the_machine_s_memory_is_read_from_the_kernel_s_own_words() {
        let text = "MemTotal:       16 kB\nMemFree:  1 kB\nMemAvailable:    4 kB\n";
        let memory = MachineMemory {
            total: 16 * 1024,
            available: 4 * 1024,
        };
        assert_eq!(MachineMemory::parse(text), Some(memory));
        assert_eq!(MachineMemory::parse("MemTotal: 16 kB\n"), None);
    }

    #[test]
    fn a_smaller_kv_type_takes_less_for_the_context_only() {
        let shape = ModelShape {
            kv_bytes_per_token: 64,
            n_ctx_train: 4096,
        };
        let of = |kv| EngineMemory::new(1000, shape, 1024, kv, 1).total() - OVERHEAD_BYTES - MIB;
        assert_eq!(of(KvType::F16), 1000 + 64 * 1024);
        assert_eq!(of(KvType::Q8), 1000 + 34 * 1024);
    }
}
