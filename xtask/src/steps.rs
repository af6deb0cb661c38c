//! Runs the steps of `test` and `ci` one after another and counts them. A failed step does not stop the others. A skipped
//! step says how to get the tool that it lacks. The last line is the count.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::say;

/// How a step ended that did not fail.
#[derive(Debug)]
pub(crate) enum StepOutcome {
    /// It ran and found nothing wrong.
    Passed,
    /// This machine lacks something: what, and how to get it, in one line.
    Skipped(String),
}

/// The steps so far.
#[derive(Debug)]
pub(crate) struct Steps {
    may_skip: bool,
    rows: Vec<(&'static str, Verdict, Duration)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    Skipped,
}

impl Steps {
    /// No steps yet. Unless `may_skip`, a skipped step has failed.
    pub(crate) const fn new(may_skip: bool) -> Self {
        Self {
            may_skip,
            rows: Vec::new(),
        }
    }

    /// Runs one step and notes how it ended. Returns false when it failed.
    pub(crate) fn run(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> Result<StepOutcome>,
    ) -> bool {
        say::line(say::bold(format_args!("== {name}")));
        let begin = Instant::now();
        let verdict = match step() {
            Ok(StepOutcome::Passed) => Verdict::Passed,
            Ok(StepOutcome::Skipped(reason)) if self.may_skip => {
                say::line(format_args!("{name}: skipped: {reason}"));
                Verdict::Skipped
            }
            Ok(StepOutcome::Skipped(reason)) => {
                say::line(format_args!(
                    "{name}: failed, because --all forbids skipping: {reason}"
                ));
                Verdict::Failed
            }
            Err(error) => {
                say::line(format_args!("{name}: failed: {error:#}"));
                Verdict::Failed
            }
        };
        self.rows.push((name, verdict, begin.elapsed()));
        verdict != Verdict::Failed
    }

    /// Prints a line per step and the count; 1 when any failed.
    pub(crate) fn finish(self) -> ExitCode {
        let width = self
            .rows
            .iter()
            .map(|(name, ..)| name.len())
            .max()
            .unwrap_or(0);
        say::line("");
        for (name, verdict, time) in &self.rows {
            let verdict = match verdict {
                Verdict::Passed => "passed ",
                Verdict::Failed => "FAILED ",
                Verdict::Skipped => "skipped",
            };
            say::line(format_args!(
                "{name:width$}  {verdict}  {:>7}",
                say::seconds(*time)
            ));
        }
        println!("{}", self.count());
        if self.number(Verdict::Failed) == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn count(&self) -> String {
        format!(
            "{} passed, {} failed, {} skipped",
            self.number(Verdict::Passed),
            self.number(Verdict::Failed),
            self.number(Verdict::Skipped)
        )
    }

    fn number(&self, verdict: Verdict) -> usize {
        self.rows
            .iter()
            .filter(|(_, row, _)| *row == verdict)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::{StepOutcome, Steps};

    fn three(may_skip: bool) -> String {
        let mut steps = Steps::new(may_skip);
        steps.run("a", || Ok(StepOutcome::Passed));
        steps.run("b", || Ok(StepOutcome::Skipped("no engine".to_owned())));
        steps.run("c", || anyhow::bail!("broken"));
        steps.count()
    }

    #[test]
    fn a_skipped_step_counts_as_failed_only_when_skipping_is_forbidden() {
        assert_eq!(three(true), "1 passed, 1 failed, 1 skipped");
        assert_eq!(three(false), "1 passed, 2 failed, 0 skipped");
    }
}
