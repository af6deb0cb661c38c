//! The choices of `tune`, for figures of machines that are slow, fast or small.

use std::time::Duration;

use super::{
    EngineChoice, FlashAttention, Machine, Measured, best_batch, best_flash, best_kv, best_slots,
    best_threads, slots, threads,
};
use crate::gguf::ModelShape;
use crate::memory::{KvType, MIB, MachineMemory};

const NOW: EngineChoice = EngineChoice {
    threads: 2,
    batch: 256,
    flash: FlashAttention::Auto,
    kv: KvType::F16,
    slots: 2,
    n_ctx_slot: 4096,
    cache_mib: 1024,
};

/// An engine with these tokens a second of a prompt and of an answer, and this pause.
fn speed(prompt: f64, answer: f64, stall_ms: u64) -> Measured {
    Measured {
        prompt_per_second: prompt,
        answer_per_second: answer,
        share_per_second: answer / 2.0,
        stall: Some(Duration::from_millis(stall_ms)),
        resident: 0,
    }
}

/// A machine with so much memory, and a model whose context takes 128 KiB a token.
fn machine(total_mib: u64) -> Machine {
    Machine {
        cores: 4,
        memory: MachineMemory {
            total: total_mib * MIB,
            available: total_mib * MIB,
        },
        weights: 2048 * MIB,
        shape: ModelShape {
            kv_bytes_per_token: 128 * 1024,
            n_ctx_train: 131_072,
        },
    }
}

#[test]
fn all_cores_are_measured_and_never_recommended() {
    assert_eq!(threads(4, false), [1, 2, 3, 4]);
    assert_eq!(threads(16, false), [8, 12, 15, 16]);
    assert_eq!(threads(1, true), [1]);
    let with = |threads, turn: f64| {
        let choice = EngineChoice { threads, ..NOW };
        (choice, speed(100.0 * turn, 10.0 * turn, 0))
    };
    let kept = best_threads(&[with(4, 4.0), with(3, 2.0), with(1, 1.0)], 4);
    assert_eq!(kept.choice.threads, 3);
    assert!(
        kept.reason
            .contains("with all 4 a turn was 2.00 times as fast"),
        "{kept:?}"
    );
    let stalled = best_threads(&[with(4, 1.0), with(3, 2.0)], 4);
    assert!(
        stalled
            .reason
            .contains("with all 4 a turn took 2.00 times as long"),
        "{stalled:?}"
    );
    // Two that are about as fast: the smaller one leaves more to the rest.
    assert_eq!(
        best_threads(&[with(3, 1.02), with(2, 1.0)], 4)
            .choice
            .threads,
        2
    );
    assert_eq!(best_threads(&[with(1, 1.0)], 1).choice.threads, 1);
}

#[test]
fn a_batch_that_freezes_other_chats_is_not_recommended() {
    let with =
        |batch, prompt, stall_ms| (EngineChoice { batch, ..NOW }, speed(prompt, 10.0, stall_ms));
    let of = |measured: &[_]| best_batch(measured).choice.batch;
    let slow = with(1024, 200.0, 5000);
    assert_eq!(
        of(&[with(512, 150.0, 1900), with(256, 100.0, 900), slow]),
        512
    );
    assert_eq!(
        of(&[with(512, 101.0, 1900), with(256, 100.0, 900), slow]),
        256
    );
    assert_eq!(
        of(&[with(512, 150.0, 6000), with(128, 50.0, 4000), slow]),
        128
    );
}

#[test]
fn flash_attention_stays_auto_unless_another_is_clearly_faster() {
    let with = |flash, answer| (EngineChoice { flash, ..NOW }, speed(100.0, answer, 0));
    let of = |off| {
        let measured = [
            with(FlashAttention::Off, off),
            with(FlashAttention::Auto, 10.0),
        ];
        best_flash(&measured).choice.flash
    };
    assert_eq!(of(10.3), FlashAttention::Auto);
    assert_eq!(of(14.0), FlashAttention::Off);
}

#[test]
fn a_less_exact_context_is_recommended_only_when_the_exact_one_does_not_fit() {
    // 2 GiB of weights, 1 GiB each of context and cache, 0.4 GiB beside; a quarter stays free.
    assert_eq!(best_kv(NOW, machine(8192)).choice.kv, KvType::F16);
    let tight = best_kv(NOW, machine(5500));
    assert_eq!(tight.choice.kv, KvType::Q8);
    assert!(tight.reason.contains("quality"), "{tight:?}");
}

#[test]
fn slots_are_as_many_as_fit_and_can_be_read_along() {
    assert_eq!(slots(NOW, machine(8192), false), [1, 2, 4]);
    let with = |slots, share| {
        let choice = EngineChoice { slots, ..NOW };
        let mut found = speed(100.0, 20.0, 0);
        found.share_per_second = share;
        (choice, found)
    };
    let kept = best_slots(NOW, &[with(4, 6.0), with(1, 20.0), with(8, 3.0)]);
    let values = kept.choice.values().map(|(_, value)| value);
    assert_eq!(values, ["2", "256", "auto", "f16", "4", "16384"]);
    assert_eq!(
        best_slots(NOW, &[with(2, 2.0), with(1, 4.0)]).choice.slots,
        1
    );
    assert_eq!(best_slots(NOW, &[]).choice, NOW);
}
