//! The tests that ended early because a tool is missing. No test runner shows them.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::settings::Settings;
use crate::steps::StepOutcome;

/// The list of one run.
pub(crate) struct SkippedTests {
    /// The file that has it.
    pub(crate) list: PathBuf,
}

impl SkippedTests {
    /// The variable that names the file for `testkit::tools`, which adds a line for each test that ends early.
    pub(crate) const VARIABLE: &str = "CORRAL_TEST_SKIPPED";

    /// An empty list, in the file `name` below `target/`.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn start(settings: &Settings, name: &str) -> Result<Self> {
        let list = settings.target(name);
        std::fs::create_dir_all(settings.target(""))
            .and_then(|()| std::fs::write(&list, ""))
            .with_context(|| format!("cannot write {}", list.display()))?;
        Ok(Self { list })
    }

    /// Skipped when a test was, so that `--all` fails.
    ///
    /// # Errors
    ///
    /// When the list cannot be read.
    pub(crate) fn outcome(&self) -> Result<StepOutcome> {
        let list = std::fs::read_to_string(&self.list)
            .with_context(|| format!("cannot read {}", self.list.display()))?;
        let lines: Vec<&str> = list.lines().collect();
        if lines.is_empty() {
            return Ok(StepOutcome::Passed);
        }
        Ok(StepOutcome::Skipped(format!(
            "{} tests had nothing to test with (Debian: apt-get install strace faketime iptables iproute2 util-linux valgrind prometheus prometheus-alertmanager):\n  {}",
            lines.len(),
            lines.join("\n  ")
        )))
    }
}
