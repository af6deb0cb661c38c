//! Which settings are tried, and which of them is best and why. Pure: it sees figures, not engines.

use std::fmt;
use std::time::Duration;

use crate::engine;
use crate::gguf::ModelShape;
use crate::memory::{EngineMemory, KvType, MachineMemory, gib};
use crate::settings::Settings;

/// A turn as people have them: so many new tokens of the prompt, so many of the answer.
const TURN_PROMPT_TOKENS: f64 = 256.0;
const TURN_ANSWER_TOKENS: f64 = 128.0;
/// A gain that is smaller may be chance.
const WORTH: f64 = 1.05;
/// A chat that pauses for longer looks broken.
const MAX_STALL: Duration = Duration::from_secs(2);
/// About as fast as people read, in tokens a second.
const READING_SPEED: f64 = 5.0;
/// The share of the memory that may be used, in percent; the rest is for the other services and the kernel.
const SHARE_OF_MEMORY: u64 = 75;

/// Whether llama-server uses flash attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlashAttention {
    /// As it finds best.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl fmt::Display for FlashAttention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

/// One choice of llama-server's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EngineChoice {
    pub(super) threads: u64,
    pub(super) batch: u64,
    pub(super) flash: FlashAttention,
    pub(super) kv: KvType,
    pub(super) slots: u64,
    /// Tokens of context of each slot.
    pub(super) n_ctx_slot: u64,
    /// Memory for cached prompts, in MiB.
    pub(super) cache_mib: u64,
}

impl EngineChoice {
    /// The settings of now.
    pub(super) fn of(settings: &Settings, cores: u64) -> Self {
        let slots = number(settings, "LLAMA_PARALLEL", engine::PARALLEL).max(1);
        let n_ctx = number(settings, "LLAMA_CTX_SIZE", engine::CTX_SIZE);
        let usual_threads = cores.saturating_sub(1).max(1).to_string();
        Self {
            threads: number(settings, "LLAMA_THREADS", &usual_threads),
            batch: number(settings, "LLAMA_BATCH_SIZE", engine::BATCH_SIZE),
            flash: match settings.get("LLAMA_FLASH_ATTN") {
                Some("on") => FlashAttention::On,
                Some("off") => FlashAttention::Off,
                _ => FlashAttention::Auto,
            },
            kv: KvType::named(settings.get("LLAMA_KV_TYPE").unwrap_or("f16")),
            slots,
            n_ctx_slot: n_ctx / slots,
            cache_mib: number(settings, "LLAMA_CACHE_RAM_MIB", engine::CACHE_RAM_MIB),
        }
    }

    /// The variables that set it.
    pub(super) fn values(self) -> [(&'static str, String); 6] {
        [
            ("LLAMA_THREADS", self.threads.to_string()),
            ("LLAMA_BATCH_SIZE", self.batch.to_string()),
            ("LLAMA_FLASH_ATTN", self.flash.to_string()),
            ("LLAMA_KV_TYPE", self.kv.name().to_owned()),
            ("LLAMA_PARALLEL", self.slots.to_string()),
            ("LLAMA_CTX_SIZE", (self.n_ctx_slot * self.slots).to_string()),
        ]
    }
}

fn number(settings: &Settings, name: &str, default: &str) -> u64 {
    let value = settings.get(name).unwrap_or(default);
    value.parse().unwrap_or_default()
}

/// The figures of one choice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measured {
    /// Tokens of a prompt, alone.
    pub(super) prompt_per_second: f64,
    /// Tokens of an answer, alone.
    pub(super) answer_per_second: f64,
    /// Tokens of each answer while all slots answer.
    pub(super) share_per_second: f64,
    /// The longest pause of a chat beside a long prompt; `None` with one slot.
    pub(super) stall: Option<Duration>,
    /// The memory that the engine held, in bytes.
    pub(super) resident: u64,
}

impl Measured {
    /// How long a usual turn takes, in seconds.
    pub(super) fn turn(&self) -> f64 {
        TURN_PROMPT_TOKENS / self.prompt_per_second + TURN_ANSWER_TOKENS / self.answer_per_second
    }

    fn stall(&self) -> Duration {
        self.stall.unwrap_or_default()
    }
}

/// What bounds the choice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    pub(super) cores: u64,
    pub(super) memory: MachineMemory,
    /// The size of the model's file, in bytes.
    pub(super) weights: u64,
    pub(super) shape: ModelShape,
}

impl Machine {
    /// What a choice takes at most.
    pub(super) const fn need(self, choice: EngineChoice) -> EngineMemory {
        EngineMemory::new(
            self.weights,
            self.shape,
            choice.n_ctx_slot * choice.slots,
            choice.kv,
            choice.cache_mib,
        )
    }

    /// Whether a choice leaves a quarter of the memory to everything else.
    pub(super) const fn fits(self, choice: EngineChoice) -> bool {
        self.need(choice).total() <= self.memory.total / 100 * SHARE_OF_MEMORY
    }
}

/// A value, and why it is the one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kept {
    pub(super) choice: EngineChoice,
    /// The variable that was decided.
    pub(super) variable: &'static str,
    pub(super) reason: String,
}

/// Numbers of threads to try.
pub(super) fn threads(cores: u64, is_quick: bool) -> Vec<u64> {
    let mut all = match (cores, is_quick) {
        (_, true) => vec![cores.saturating_sub(1), cores],
        (..=4, false) => (1..=cores).collect(),
        _ => vec![cores / 2, cores * 3 / 4, cores - 1, cores],
    };
    all.retain(|threads| *threads > 0);
    all.dedup();
    all
}

/// Sizes of a compute step to try.
pub(super) fn batches(is_quick: bool) -> Vec<u64> {
    match is_quick {
        true => vec![256, 512],
        false => vec![128, 256, 512, 1024],
    }
}

/// Forms of attention to try.
pub(super) fn flash_attentions(is_quick: bool) -> Vec<FlashAttention> {
    match is_quick {
        true => Vec::new(),
        false => vec![
            FlashAttention::Auto,
            FlashAttention::On,
            FlashAttention::Off,
        ],
    }
}

/// Forms of the context to try.
pub(super) fn kv_types(is_quick: bool) -> Vec<KvType> {
    match is_quick {
        true => Vec::new(),
        false => vec![KvType::Q8],
    }
}

/// Numbers of slots to try: those that fit.
pub(super) fn slots(best: EngineChoice, machine: Machine, is_quick: bool) -> Vec<u64> {
    let mut all = match is_quick {
        true => vec![2, 4],
        false => vec![1, 2, 4, 8],
    };
    all.retain(|slots| {
        machine.fits(EngineChoice {
            slots: *slots,
            ..best
        })
    });
    all
}

/// How often the engine will be started after the first time.
pub(super) fn n_starts(now: EngineChoice, machine: Machine, is_quick: bool) -> u32 {
    let n = threads(machine.cores, is_quick).len()
        + batches(is_quick).len()
        + flash_attentions(is_quick).len()
        + kv_types(is_quick).len()
        + slots(now, machine, is_quick).len();
    // The values of now among them are not measured again.
    u32::try_from(n.saturating_sub(3)).unwrap_or(u32::MAX)
}

/// The fastest number of threads that leaves a core to the rest; of two that are about as fast, the smaller one.
pub(super) fn best_threads(measured: &[(EngineChoice, Measured)], cores: u64) -> Kept {
    let most = cores.saturating_sub(1).max(1);
    let allowed = measured.iter().filter(|(choice, _)| choice.threads <= most);
    let mut allowed: Vec<_> = allowed.collect();
    if allowed.is_empty() {
        allowed = measured.iter().collect();
    }
    allowed.sort_by_key(|(choice, _)| choice.threads);
    let (choice, found) = *fastest(&allowed, Measured::turn);
    let all_cores = measured
        .iter()
        .find(|(other, _)| other.threads == cores && cores > most);
    let beyond = match all_cores.map(|(_, all)| found.turn() / all.turn()) {
        None => String::new(),
        Some(gain) if gain > 1.0 => format!(
            "; with all {cores} a turn was {gain:.2} times as fast, but they stall as soon as anything else computes"
        ),
        Some(gain) => format!(
            "; with all {cores} a turn took {:.2} times as long",
            1.0 / gain
        ),
    };
    Kept {
        choice,
        variable: "LLAMA_THREADS",
        reason: format!("the fastest that leaves a core to the rest{beyond}"),
    }
}

/// The largest step that is worth its pauses.
pub(super) fn best_batch(measured: &[(EngineChoice, Measured)]) -> Kept {
    let mut sorted: Vec<_> = measured.iter().collect();
    sorted.sort_by_key(|(choice, _)| choice.batch);
    let bearable: Vec<_> = sorted
        .iter()
        .copied()
        .filter(|(_, found)| found.stall() <= MAX_STALL)
        .collect();
    let (choice, found, why) = if bearable.is_empty() {
        let (choice, found) = *sorted[0];
        (
            choice,
            found,
            "the shortest pauses; every step of this machine is long",
        )
    } else {
        let (choice, found) = *fastest(&bearable, prompt_time);
        (choice, found, "the fastest prompts whose pauses are short")
    };
    Kept {
        choice,
        variable: "LLAMA_BATCH_SIZE",
        reason: format!(
            "{why}: another chat pauses for {:.1} s beside a long prompt",
            found.stall().as_secs_f64()
        ),
    }
}

/// `auto`, unless another is clearly faster.
pub(super) fn best_flash(measured: &[(EngineChoice, Measured)]) -> Kept {
    let mut sorted: Vec<_> = measured.iter().collect();
    // What is first wins unless another is clearly faster.
    sorted.sort_by_key(|(choice, _)| choice.flash != FlashAttention::Auto);
    let (choice, found) = *fastest(&sorted, Measured::turn);
    let slowest = sorted
        .iter()
        .map(|(_, other)| other.turn() / found.turn())
        .fold(1.0, f64::max);
    let reason = match (sorted.len(), choice.flash) {
        (1, _) => "not measured".to_owned(),
        (_, FlashAttention::Auto) => {
            format!("nothing is clearly faster; the slowest takes {slowest:.2} times as long")
        }
        _ => format!("clearly the fastest; the slowest takes {slowest:.2} times as long"),
    };
    Kept {
        choice,
        variable: "LLAMA_FLASH_ATTN",
        reason,
    }
}

/// f16, unless only a smaller form fits.
pub(super) fn best_kv(best: EngineChoice, machine: Machine) -> Kept {
    let exact = EngineChoice {
        kv: KvType::F16,
        ..best
    };
    let small = EngineChoice {
        kv: KvType::Q8,
        ..best
    };
    let total = gib(machine.memory.total);
    let (choice, reason) = if machine.fits(exact) {
        let reason = format!(
            "the context as the model computes it fits: {} of {total}",
            gib(machine.need(exact).total())
        );
        (exact, reason)
    } else {
        let reason = format!(
            "f16 takes {} of {total}; q8_0 takes {}, and costs a little of the answers' quality",
            gib(machine.need(exact).total()),
            gib(machine.need(small).total())
        );
        (small, reason)
    };
    Kept {
        choice,
        variable: "LLAMA_KV_TYPE",
        reason,
    }
}

/// As many answers at once as people can still read along with.
pub(super) fn best_slots(best: EngineChoice, measured: &[(EngineChoice, Measured)]) -> Kept {
    let mut sorted: Vec<_> = measured.iter().collect();
    sorted.sort_by_key(|(choice, _)| choice.slots);
    let readable = sorted
        .iter()
        .rfind(|(_, found)| found.share_per_second >= READING_SPEED);
    let (choice, reason) = match readable.or_else(|| sorted.first()) {
        None => (best, "not measured".to_owned()),
        Some((choice, found)) => {
            let share = found.share_per_second;
            let sum = share * choice.slots as f64;
            let n_ctx = choice.n_ctx_slot;
            let reason = if share >= READING_SPEED {
                format!(
                    "the most that still give each answer {READING_SPEED} tokens/s, about as fast as people read: {share:.1} \
                     each, {sum:.1} together, {n_ctx} tokens of context each"
                )
            } else {
                format!(
                    "one answer alone gets {share:.1} tokens/s; more at once would be slower to read"
                )
            };
            (*choice, reason)
        }
    };
    Kept {
        choice,
        variable: "LLAMA_PARALLEL",
        reason,
    }
}

fn prompt_time(found: &Measured) -> f64 {
    1.0 / found.prompt_per_second
}

/// The first one, unless a later one is clearly faster.
fn fastest<'a>(
    measured: &[&'a (EngineChoice, Measured)],
    time: impl Fn(&Measured) -> f64,
) -> &'a (EngineChoice, Measured) {
    let mut best = measured[0];
    for other in &measured[1..] {
        if time(&best.1) > time(&other.1) * WORTH {
            best = other;
        }
    }
    best
}

#[cfg(test)]
mod tests;
