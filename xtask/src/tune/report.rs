//! What `tune` prints: a line for each engine as it is measured, a table beside the settings of now, and the
//! recommendation with its reasons.

use super::search::{EngineChoice, Kept, Machine, Measured};
use crate::memory::gib;
use crate::say;

/// Everything that was measured and decided.
#[derive(Default)]
pub(super) struct TuneReport {
    rows: Vec<(String, EngineChoice, Measured)>,
    kept: Vec<Kept>,
}

impl TuneReport {
    /// Adds the figures of an engine, and shows them.
    pub(super) fn add(&mut self, name: &str, choice: EngineChoice, found: Measured) {
        let stall = found.stall.map_or_else(String::new, |stall| {
            format!(", pause {:.1} s", stall.as_secs_f64())
        });
        say::line(format_args!(
            "  {name}: prompt {:.0}/s, answer {:.1}/s, each of {} {:.1}/s{stall}",
            found.prompt_per_second, found.answer_per_second, choice.slots, found.share_per_second
        ));
        self.rows.push((name.to_owned(), choice, found));
    }

    /// Whether a choice was measured.
    pub(super) fn has(&self, choice: EngineChoice) -> bool {
        self.rows.iter().any(|(_, known, _)| *known == choice)
    }

    /// Notes a decision.
    pub(super) fn keep(&mut self, kept: Kept) -> EngineChoice {
        let choice = kept.choice;
        self.kept.push(kept);
        choice
    }

    /// Prints the table and the recommendation.
    pub(super) fn print(&self, now: EngineChoice, best: &EngineChoice, machine: Machine) {
        println!("{}", self.table(now));
        println!(
            "Recommended{}:\n",
            if *best == now { ", as it is now" } else { "" }
        );
        for (name, value) in best.values() {
            let reason = self.kept.iter().rfind(|kept| kept.variable == name);
            let setting = format!("{name}={value}");
            match reason {
                Some(kept) => println!("  {setting:24} {}", kept.reason),
                None => println!("  {setting}"),
            }
        }
        println!(
            "\nIt takes up to {} of {}.",
            machine.need(*best),
            gib(machine.memory.total)
        );
        if !machine.fits(*best) {
            println!(
                "That leaves less than a quarter to everything else: choose a smaller model, fewer slots, or a smaller \
                 LLAMA_CTX_SIZE or LLAMA_CACHE_RAM_MIB."
            );
        }
        if best.n_ctx_slot > machine.shape.n_ctx_train {
            println!(
                "The model was trained on {} tokens of context; each slot has {}.",
                machine.shape.n_ctx_train, best.n_ctx_slot
            );
        }
    }

    fn table(&self, now: EngineChoice) -> String {
        let base = self.rows.iter().find(|(_, choice, _)| *choice == now);
        let mut text = String::from(
            "\n| | prompt, tokens/s | answer, tokens/s | each, when all slots answer | pause beside a long prompt | memory |\n\
             |---|--:|--:|--:|--:|--:|",
        );
        for (name, choice, found) in &self.rows {
            let than = base.map(|(.., base)| base);
            text += &format!(
                "\n| {name} | {} | {} | {} × {} | {} | {} |",
                beside(
                    found.prompt_per_second,
                    than.map(|base| base.prompt_per_second)
                ),
                beside(
                    found.answer_per_second,
                    than.map(|base| base.answer_per_second)
                ),
                choice.slots,
                beside(
                    found.share_per_second,
                    than.map(|base| base.share_per_second)
                ),
                found.stall.map_or_else(
                    || "–".to_owned(),
                    |stall| format!("{:.1} s", stall.as_secs_f64())
                ),
                gib(found.resident)
            );
        }
        text + "\n\nIn brackets: the ratio to the settings of now.\n"
    }
}

/// A figure and its ratio to that of now.
fn beside(figure: f64, now: Option<f64>) -> String {
    match now {
        Some(now) if now > 0.0 => format!("{figure:.1} ({:.2})", figure / now),
        _ => format!("{figure:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::beside;

    #[test]
    fn a_figure_is_shown_with_its_ratio_to_now() {
        assert_eq!(beside(12.0, Some(8.0)), "12.0 (1.50)");
        assert_eq!(beside(12.0, None), "12.0");
    }
}
