//! Corral's own programs as the native chain starts them: those for this machine, or those for 64-bit Arm under an emulator.
//!
//! The emulator is a program that is no part of Corral. `CORRAL_ARM64_TOOL` names it; docs/arm.md says what it must do.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::call::Call;
use crate::settings::Settings;

/// The variable that names the emulator.
const TOOL: &str = "CORRAL_ARM64_TOOL";
/// Where it builds, below the workspace's root.
const ARM_BUILD: &str = "target/arm64/aarch64-unknown-linux-gnu/debug";

/// A folder of built programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Programs {
    folder: PathBuf,
    emulator: Option<Emulator>,
}

impl Programs {
    /// The debug build for this machine.
    pub(crate) fn native(settings: &Settings) -> Self {
        Self {
            folder: settings.target("debug"),
            emulator: None,
        }
    }

    /// The debug build for 64-bit Arm.
    pub(crate) fn arm(settings: &Settings, emulator: &Emulator) -> Self {
        Self {
            folder: settings.root().join(ARM_BUILD),
            emulator: Some(emulator.clone()),
        }
    }

    /// A call of `name`, one of Corral's programs.
    pub(crate) fn call(&self, name: &str) -> Call {
        let program = self.folder.join(name);
        match &self.emulator {
            None => Call::new(program),
            Some(emulator) => emulator.call("run").args([program]),
        }
    }
}

/// The program that builds for 64-bit Arm, and runs what it has built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Emulator {
    tool: PathBuf,
}

impl Emulator {
    /// The one that the settings name, if they do.
    ///
    /// # Errors
    ///
    /// When that is no program.
    pub(crate) fn find(settings: &Settings) -> Result<Option<Self>> {
        let Some(path) = settings.get(TOOL) else {
            return Ok(None);
        };
        let tool = settings.which(path).with_context(|| {
            format!("{TOOL}: {path} is not a program; give an emulator's path (docs/arm.md says what it must do)")
        })?;
        Ok(Some(Self { tool }))
    }

    /// The program itself.
    pub(crate) fn tool(&self) -> &Path {
        &self.tool
    }

    /// A call of its `verb`.
    pub(crate) fn call(&self, verb: &str) -> Call {
        Call::new(&self.tool).args([verb])
    }
}
