//! The downloaders that are compared: how each is called, whether it checks the digest, and how to get one that is
//! missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::hub::{FILE, REPOSITORY, ServedModel};
use crate::python::Python;
use crate::settings::Settings;

/// The Python package of `hf download`. It brings hf_xet along.
const HF: &str = "huggingface_hub==2.4.0";
/// How often curl may be called until it succeeds.
const CURL_CALLS: u32 = 100;

/// One downloader, called in one way.
pub(super) struct Tool {
    /// Its name in the table.
    pub(super) name: String,
    /// Whether it compares the SHA-256 before it ends with 0.
    pub(super) verifies: bool,
    /// Whether a second run in the same folder should notice that there is nothing to do.
    pub(super) notices: bool,
    xet: bool,
    way: DownloadCall,
}

/// The faults that a call must survive. curl needs a script for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// Nothing.
    Once,
    /// Connections that are cut.
    Stubborn,
    /// A kill before its end. The call is a single process then, so that its processor time is not lost with its parent.
    Doomed,
}

#[derive(Clone)]
enum DownloadCall {
    Ours(Vec<PathBuf>),
    Curl { then_sum: bool },
    Aria2c(PathBuf),
    Hf(PathBuf),
    Missing(String),
}

impl Tool {
    fn new(name: &str, verifies: bool, notices: bool, way: DownloadCall) -> Self {
        Self {
            name: name.to_owned(),
            verifies,
            notices,
            xet: false,
            way,
        }
    }

    /// The same over Xet.
    fn over_xet(self) -> Self {
        Self { xet: true, ..self }
    }

    /// How to get it, if it is missing.
    pub(super) fn missing(&self) -> Option<&str> {
        if let DownloadCall::Missing(advice) = &self.way {
            Some(advice)
        } else {
            None
        }
    }

    /// The file that it makes in `folder`.
    pub(super) fn goal(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// The command that fetches the file of `place` into `folder` and resumes if part of it is there.
    pub(super) fn command(&self, place: &ServedModel, folder: &Path, care: Care) -> Command {
        let url = place.url();
        let mut command = match &self.way {
            DownloadCall::Ours(words) => {
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]);
                command
            }
            DownloadCall::Curl { then_sum } => {
                let curl = format!("curl -fsSL -C - -o {FILE} {url}");
                let sum = format!("echo '{}  {FILE}' | sha256sum --check", place.sha256);
                let script = match (care, then_sum) {
                    // A cut body ends curl, and only a new call resumes.
                    (Care::Stubborn, true) => {
                        format!("for n in $(seq {CURL_CALLS}); do {curl} && break; done; {sum}")
                    }
                    (Care::Stubborn, false) => {
                        format!("for n in $(seq {CURL_CALLS}); do {curl} && break; done")
                    }
                    (Care::Once, true) => format!("{curl} && {sum}"),
                    (Care::Once, false) | (Care::Doomed, _) => format!("exec {curl}"),
                };
                let mut command = Command::new("sh");
                command.args(["-c", &script]);
                command
            }
            DownloadCall::Aria2c(program) => {
                let mut command = Command::new(program);
                command.args([
                    "-x8",
                    "-s8",
                    "--file-allocation=falloc",
                    "--max-tries=0",
                    "--no-conf",
                    "-q",
                    "-c",
                ]);
                command.args([
                    "-o",
                    FILE,
                    &format!("--checksum=sha-256={}", place.sha256),
                    &url,
                ]);
                command
            }
            DownloadCall::Hf(program) => {
                let mut command = Command::new(program);
                command.args(["download", REPOSITORY, FILE, "--local-dir", "."]);
                command
            }
            DownloadCall::Missing(_) => Command::new("false"),
        };
        command.current_dir(folder).env_clear();
        command.envs([
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("NO_PROXY", "127.0.0.1"),
            ("HOME", "."),
        ]);
        command.envs([
            ("HF_ENDPOINT", place.hub.as_str()),
            ("HF_REPO_ID", REPOSITORY),
            ("HF_FILENAME", FILE),
        ]);
        command.envs([("HF_HOME", ".hf"), ("HF_HUB_DISABLE_TELEMETRY", "1")]);
        if self.xet {
            command.env("MODEL_TRANSPORT", "xet");
        } else {
            command.env("HF_HUB_DISABLE_XET", "1");
        }
        command.env("MODELS_DIR", ".");
        command
    }
}

/// All of them, ours first.
pub(super) async fn all(settings: &Settings) -> Result<Vec<Tool>> {
    let program = settings.target("release/model-fetcher");
    let ours = DownloadCall::Ours(vec![program]);
    let example = settings.target("release/examples/bench_fetch");
    let one_stream = vec![example.clone(), PathBuf::from("1")];
    let eight_streams = vec![example, PathBuf::from("8")];
    let aria2c = match settings.which("aria2c") {
        Some(program) => DownloadCall::Aria2c(program),
        None => DownloadCall::Missing("not installed (Debian: apt-get install aria2)".to_owned()),
    };
    let hf = match Python::new(settings).install(HF).await {
        Ok(()) => DownloadCall::Hf(settings.target("venv/bin/hf")),
        Err(error) => DownloadCall::Missing(format!("not installed ({HF} from PyPI): {error}")),
    };
    Ok(vec![
        Tool::new("model-fetcher as shipped", true, true, ours.clone()),
        Tool::new(
            "model-fetcher, 1 stream",
            true,
            false,
            DownloadCall::Ours(one_stream.clone()),
        ),
        Tool::new(
            "model-fetcher, 8 streams",
            true,
            false,
            DownloadCall::Ours(eight_streams.clone()),
        ),
        Tool::new(
            "model-fetcher, 1 stream, fsync does nothing",
            true,
            false,
            unsynced(settings, one_stream),
        ),
        Tool::new(
            "model-fetcher, 8 streams, fsync does nothing",
            true,
            false,
            unsynced(settings, eight_streams),
        ),
        Tool::new("curl", false, false, curl(settings, false)),
        Tool::new("curl, then sha256sum", true, false, curl(settings, true)),
        Tool::new("aria2c -x8 -s8 --checksum", true, true, aria2c),
        Tool::new("hf download, without Xet", false, true, hf.clone()),
        Tool::new("model-fetcher over Xet", true, false, ours).over_xet(),
        Tool::new("hf download over Xet", false, false, hf).over_xet(),
    ])
}

/// The command `words`, with an fsync that does nothing.
fn unsynced(settings: &Settings, words: Vec<PathBuf>) -> DownloadCall {
    match settings.which("eatmydata") {
        Some(eatmydata) => DownloadCall::Ours([vec![eatmydata], words].concat()),
        None => {
            DownloadCall::Missing("needs eatmydata (Debian: apt-get install eatmydata)".to_owned())
        }
    }
}

fn curl(settings: &Settings, then_sum: bool) -> DownloadCall {
    match settings.which("curl") {
        Some(_) => DownloadCall::Curl { then_sum },
        None => DownloadCall::Missing("not installed (Debian: apt-get install curl)".to_owned()),
    }
}
