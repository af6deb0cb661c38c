//! The clients that callers use, each on the running chain: straight to llama-server and through llm-proxy.
//!
//! A suite prints a table of its cases with the reason for each difference. It fails on a difference without a reason. The
//! files in crates/testkit/clients/ hold the cases and pin the versions. The suites of the README run its snippets.

use anyhow::Result;
use xshell::{Shell, cmd};

use super::chain::TestChain;
use crate::python::Python;
use crate::settings::Settings;
use crate::steps::{StepOutcome, Steps};
use crate::{block_on, doctor, page, say};

/// The folder of the cases, below the workspace's root.
const FOLDER: &str = "crates/testkit/clients";

/// A suite in Python: its step, its environment below `target/`, the packages in it, and its cases.
struct PythonSuite {
    step: &'static str,
    environment: &'static str,
    requirements: &'static str,
    cases: &'static str,
}

const PYTHON: [PythonSuite; 12] = [
    python("readme in python", "readme.py"),
    python("chat in python", "v2_client.py"),
    python("openai in python", "openai_client.py"),
    python("anthropic", "anthropic_client.py"),
    python("langchain", "langchain_client.py"),
    python("pydantic-ai", "pydantic_ai_client.py"),
    python("openai-agents", "agents_client.py"),
    python("llm", "llm_client.py"),
    python("history of sdks", "history_client.py"),
    python("history of frameworks", "history_frameworks.py"),
    PythonSuite {
        step: "instructor",
        environment: "venv-instructor",
        requirements: "requirements-instructor.txt",
        cases: "instructor_client.py",
    },
    PythonSuite {
        step: "http api",
        environment: "venv-schemathesis",
        requirements: "requirements-schemathesis.txt",
        cases: "http_api.py",
    },
];

/// The suites in JavaScript: step and cases.
const JAVASCRIPT: [(&str, &str); 5] = [
    ("readme in javascript", "readme.mjs"),
    ("openai in javascript", "openai_client.mjs"),
    ("vercel ai sdk", "ai_client.mjs"),
    ("history in javascript", "history_client.mjs"),
    ("vercel ai sdk's chat", "ui_stream_client.mjs"),
];

/// A suite in the shared environment.
const fn python(step: &'static str, cases: &'static str) -> PythonSuite {
    PythonSuite {
        step,
        environment: "venv-clients",
        requirements: "requirements.txt",
        cases,
    }
}

/// Runs every suite as a step of its own.
pub(super) fn run(steps: &mut Steps, sh: &Shell, settings: &Settings, chain: &TestChain) {
    for suite in &PYTHON {
        steps.run(suite.step, || in_python(sh, settings, chain, suite));
    }
    for (step, cases) in JAVASCRIPT {
        steps.run(step, || in_javascript(sh, settings, chain, cases));
    }
    steps.run("vercel ai sdk's hook in chromium", || {
        in_chromium(sh, settings, chain, "ui_hook_client.mjs")
    });
    steps.run("curl", || curl(sh, settings, chain));
}

fn in_python(
    sh: &Shell,
    settings: &Settings,
    chain: &TestChain,
    suite: &PythonSuite,
) -> Result<StepOutcome> {
    if settings.which("python3").is_none() {
        return Ok(StepOutcome::Skipped(
            "no python3 (Debian: apt-get install python3 python3-venv)".to_owned(),
        ));
    }
    let python = Python::named(settings, suite.environment);
    let folder = settings.root().join(FOLDER);
    block_on(python.install_all(&folder.join(suite.requirements)))?;
    let interpreter = python.interpreter();
    let cases = folder.join(suite.cases);
    say::run(cmd!(sh, "{interpreter} -B {cases}").envs(chain.variables()))?;
    Ok(StepOutcome::Passed)
}

fn in_javascript(
    sh: &Shell,
    settings: &Settings,
    chain: &TestChain,
    cases: &str,
) -> Result<StepOutcome> {
    let missing: Vec<_> = ["node", "npm"]
        .into_iter()
        .filter(|tool| settings.which(tool).is_none())
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(" or ");
        return Ok(StepOutcome::Skipped(format!(
            "no {missing}: {}",
            page::GET_NODE
        )));
    }
    let packages = block_on(page::install_clients(settings))?;
    say::run(cmd!(sh, "node {FOLDER}/{cases} {packages}").envs(chain.variables()))?;
    Ok(StepOutcome::Passed)
}

/// Cases in JavaScript that open pages.
fn in_chromium(
    sh: &Shell,
    settings: &Settings,
    chain: &TestChain,
    cases: &str,
) -> Result<StepOutcome> {
    let Some(chromium) = doctor::chromium(settings) else {
        return Ok(StepOutcome::Skipped(doctor::GET_CHROMIUM.to_owned()));
    };
    let _env = sh.push_env("CHROMIUM_BIN", chromium);
    in_javascript(sh, settings, chain, cases)
}

fn curl(sh: &Shell, settings: &Settings, chain: &TestChain) -> Result<StepOutcome> {
    if settings.which("curl").is_none() {
        return Ok(StepOutcome::Skipped(
            "no curl (Debian: apt-get install curl)".to_owned(),
        ));
    }
    say::run(cmd!(sh, "sh {FOLDER}/curl.sh").envs(chain.variables()))?;
    Ok(StepOutcome::Passed)
}
