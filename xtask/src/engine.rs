//! Which llama-server the native chain runs on: `LLAMA_SERVER_BIN`, then `PATH`, then the PyPI package `xllamacpp`.
//!
//! All three are llama.cpp's own server and get the same flags, which are those of deploy/docker-compose.*.yml.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::call::Call;
use crate::programs::Emulator;
use crate::python::{ENGINE, Python};
use crate::settings::Settings;

/// Tokens of context over all slots, unless `LLAMA_CTX_SIZE` says otherwise.
pub(crate) const CTX_SIZE: &str = "8192";
/// Slots, unless `LLAMA_PARALLEL` says otherwise.
pub(crate) const PARALLEL: &str = "2";
/// Tokens in one compute step, which nothing interrupts, unless `LLAMA_BATCH_SIZE` says otherwise.
pub(crate) const BATCH_SIZE: &str = "256";
/// MiB of cached prompts, unless `LLAMA_CACHE_RAM_MIB` says otherwise.
pub(crate) const CACHE_RAM_MIB: &str = "1024";
/// Whether flash attention is used, unless `LLAMA_FLASH_ATTN` says otherwise.
const FLASH_ATTN: &str = "auto";
/// The form of the context's keys and values, unless `LLAMA_KV_TYPE` says otherwise.
const KV_TYPE: &str = "f16";
/// Tokens of an answer whose request names no limit, unless `LLAMA_PREDICT` says otherwise.
const PREDICT: &str = "1024";

/// A llama-server that this machine has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// A program.
    Program(PathBuf),
    /// The wheel in the virtual environment, started by deploy/llama_server.py.
    Wheel {
        /// The environment's interpreter.
        interpreter: PathBuf,
        /// The Python file that takes llama-server's flags.
        starter: PathBuf,
    },
    /// A llama-server for 64-bit Arm.
    Emulated(Emulator),
}

/// The program to use, if the machine has one; `None` means the wheel.
///
/// # Errors
///
/// When `LLAMA_SERVER_BIN` names no program.
pub(crate) fn installed(settings: &Settings) -> Result<Option<PathBuf>> {
    match settings.get("LLAMA_SERVER_BIN") {
        Some(path) => {
            let program = settings.which(path).with_context(|| {
                format!("LLAMA_SERVER_BIN: {path} is not a program; give llama-server's path, or unset it")
            })?;
            Ok(Some(program))
        }
        None => Ok(settings.which("llama-server")),
    }
}

/// Finds an engine, and installs the wheel when there is none.
///
/// # Errors
///
/// When there is none and the wheel cannot be installed.
pub(crate) async fn find(settings: &Settings, python: &Python) -> Result<Engine> {
    if let Some(program) = installed(settings)? {
        return Ok(Engine::Program(program));
    }
    match python.install(ENGINE).await {
        Ok(()) => Ok(Engine::Wheel {
            interpreter: python.interpreter(),
            starter: settings.root().join("deploy/llama_server.py"),
        }),
        Err(error) => bail!(
            "there is no llama-server, and the PyPI package {ENGINE} could not be installed: {error:#}. Fix that, or \
             get llama-server from https://github.com/ggml-org/llama.cpp and put it on PATH or its path into \
             LLAMA_SERVER_BIN"
        ),
    }
}

impl Engine {
    /// The command that serves the GGUF file `model` as `alias` on `listen`. The key is in its environment.
    ///
    /// # Errors
    ///
    /// When there is no key.
    pub(crate) fn call(
        &self,
        settings: &Settings,
        model: &Path,
        alias: &str,
        listen: SocketAddr,
    ) -> Result<Call> {
        let call = match self {
            Self::Program(program) => Call::new(program),
            Self::Wheel {
                interpreter,
                starter,
            } => Call::new(interpreter).args([starter]),
            // Warming up and fitting into memory take longer under an emulator than loading.
            Self::Emulated(emulator) => {
                let call = emulator.call("llama-server");
                call.args(["--no-warmup", "--fit", "off"])
            }
        };
        let batch = settings.get("LLAMA_BATCH_SIZE").unwrap_or(BATCH_SIZE);
        let kv_type = settings.get("LLAMA_KV_TYPE").unwrap_or(KV_TYPE);
        let threads = spare_threads().to_string();
        let key = settings
            .secret("PROXY_UPSTREAM_API_KEY")
            .or_else(|_| settings.secret("LLM_API_KEY"))?;
        Ok(call
            .args(["--model".as_ref(), model.as_os_str()])
            .args(["--alias", alias])
            .args([
                "--host",
                &listen.ip().to_string(),
                "--port",
                &listen.port().to_string(),
            ])
            .args([
                "--ctx-size",
                settings.get("LLAMA_CTX_SIZE").unwrap_or(CTX_SIZE),
                "--parallel",
                settings.get("LLAMA_PARALLEL").unwrap_or(PARALLEL),
            ])
            .args([
                "--threads",
                settings.get("LLAMA_THREADS").unwrap_or(&threads),
            ])
            .args(["--batch-size", batch, "--ubatch-size", batch])
            .args([
                "--flash-attn",
                settings.get("LLAMA_FLASH_ATTN").unwrap_or(FLASH_ATTN),
            ])
            .args(["--cache-type-k", kv_type, "--cache-type-v", kv_type])
            .args([
                "--cache-ram",
                settings.get("LLAMA_CACHE_RAM_MIB").unwrap_or(CACHE_RAM_MIB),
                "--no-cache-idle-slots",
            ])
            .args([
                "--predict",
                settings.get("LLAMA_PREDICT").unwrap_or(PREDICT),
            ])
            .args(["--timeout", "600", "--sse-ping-interval", "5"])
            .args([
                "--cors-origins",
                "localhost",
                "--metrics",
                "--no-ui",
                "--offline",
            ])
            .variables([("LLAMA_API_KEY", key.as_str())]))
    }
}

/// One thread fewer than cores: with all of them, the model stalls as soon as anything else needs a core.
fn spare_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
}
