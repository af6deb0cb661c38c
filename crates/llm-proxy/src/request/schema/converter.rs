//! llama.cpp's own converter, as a child process that may die: what it makes of a schema, and what that costs.
//!
//! `cargo xtask schemas` compiles it from `fuzz/converter` and names it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde::Deserialize;

/// The running converter, started again after it has died.
pub(crate) struct Converter {
    program: PathBuf,
    running: Option<(Child, BufReader<ChildStdout>)>,
}

/// What became of one schema.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Conversion {
    /// It is a grammar.
    Converted(Converted),
    /// The converter or the grammar's parser refused it.
    Refused {
        /// What they said, for whoever reads the failure.
        #[expect(dead_code, reason = "it is printed with the outcome")]
        error: String,
    },
    /// The converter died, or ran longer than it may.
    Died,
}

/// The figures of a grammar.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the fuzz target looks at the rules only")
)]
pub(crate) struct Converted {
    /// Its text.
    pub(crate) grammar_bytes: usize,
    /// Its rules, those for repetitions included.
    pub(crate) rules: usize,
    /// The most stacks that random ways through it had.
    pub(crate) stacks: usize,
    pub(crate) convert_s: f64,
    pub(crate) parse_s: f64,
    pub(crate) walk_s: f64,
    /// Of the process, which keeps what its allocator keeps.
    pub(crate) peak_kib: u64,
    pub(crate) now_kib: u64,
}

impl Converter {
    /// `program` is started with the first schema.
    pub(crate) fn new(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            running: None,
        }
    }

    /// What becomes of `schema`, which is one line of JSON.
    pub(crate) fn convert(&mut self, schema: &str) -> Conversion {
        let outcome = self.ask(schema).unwrap_or(Conversion::Died);
        if matches!(outcome, Conversion::Died)
            && let Some((mut child, _)) = self.running.take()
        {
            // It is gone or stuck; both are what was asked.
            child.kill().ok();
            child.wait().ok();
        }
        outcome
    }

    fn ask(&mut self, schema: &str) -> Option<Conversion> {
        if self.running.is_none() {
            let mut child = Command::new(&self.program)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("the converter starts");
            let stdout = child.stdout.take().expect("its output was asked for");
            let answers = BufReader::new(stdout);
            self.running = Some((child, answers));
        }
        let (child, answers) = self.running.as_mut()?;
        writeln!(child.stdin.as_mut()?, "{schema}").ok()?;
        let mut line = String::new();
        answers.read_line(&mut line).ok().filter(|n| *n > 0)?;
        serde_json::from_str(&line).ok()
    }
}

impl Drop for Converter {
    fn drop(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
