//! A command for the asynchronous verbs. It is printed before it runs, has a process group of its own, and ends with xtask.
//!
//! The group is killed when the future that runs it is dropped, so Ctrl-C leaves no compiler or installer behind. xtask
//! starts each command through its own hidden verb `bound`, which asks the kernel (Linux only) to end the command when
//! xtask dies, and then becomes the command.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

use crate::say;
use crate::settings::Settings;

/// Lines of a log that an error message shows.
const TAIL_LINES: usize = 20;

/// A program, its arguments, its variables and its folder.
#[derive(Clone)]
pub(crate) struct Call {
    program: OsString,
    args: Vec<OsString>,
    variables: Vec<(String, String)>,
    folder: Option<PathBuf>,
}

impl Call {
    /// A call of `program`.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            variables: Vec::new(),
            folder: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds variables to the inherited environment. They are not printed.
    #[must_use]
    pub(crate) fn variables<'a>(
        mut self,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        self.variables.extend(
            pairs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        self
    }

    /// Adds all settings as variables.
    #[must_use]
    pub(crate) fn settings(self, settings: &Settings) -> Self {
        self.variables(settings.pairs())
    }

    /// Runs it in `folder`.
    #[must_use]
    pub(crate) fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// The program and its arguments.
    pub(crate) fn words(&self) -> Vec<String> {
        std::iter::once(&self.program)
            .chain(&self.args)
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    }

    /// Prints it and starts it with its output on `output`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(crate) fn start(&self, output: Output<'_>) -> Result<RunningCall> {
        say::command(self);
        let itself = if cfg!(target_os = "linux") {
            "/proc/self/exe".into()
        } else {
            std::env::current_exe()?
        };
        let mut command = std::process::Command::new(itself);
        command
            .arg("bound")
            .arg(std::process::id().to_string())
            .arg(&self.program)
            .args(&self.args);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command.process_group(0).stdin(Stdio::null());
        match output {
            Output::Terminal => {}
            Output::Log(path) => {
                let log = create(path)?;
                command.stdout(log.try_clone()?).stderr(log);
            }
            Output::Errors(path) => {
                command.stderr(create(path)?);
            }
            Output::Pipe(writer) => {
                command.stdout(writer.try_clone()?).stderr(writer);
            }
        }
        let child = tokio::process::Command::from(command)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(RunningCall { child, group })
    }

    /// Runs it to its end with its output on the terminal.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(crate) async fn status(&self) -> Result<ExitStatus> {
        self.start(Output::Terminal)?.wait().await
    }

    /// As [`Call::status`], but every exit code except 0 is an error.
    ///
    /// # Errors
    ///
    /// When it fails; its output on the terminal says why.
    pub(crate) async fn run(&self) -> Result<()> {
        let status = self.status().await?;
        if status.success() {
            Ok(())
        } else {
            bail!("{} failed ({status}); its output is above", self.name())
        }
    }

    /// Runs it to its end with its output in the file `log`.
    ///
    /// # Errors
    ///
    /// When it fails, with the last lines of the log.
    pub(crate) async fn run_quietly(&self, log: &Path) -> Result<()> {
        let status = self.start(Output::Log(log))?.wait().await?;
        if status.success() {
            return Ok(());
        }
        bail!(
            "{} failed ({status}). The end of {}:\n{}",
            self.name(),
            log.display(),
            tail(log)
        )
    }

    fn name(&self) -> String {
        Path::new(&self.program)
            .file_name()
            .unwrap_or(&self.program)
            .display()
            .to_string()
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = crate::settings::workspace();
        write!(f, "{}", shortened(&self.program, &root).display())?;
        self.args
            .iter()
            .try_for_each(|arg| write!(f, " {}", shortened(arg, &root).display()))
    }
}

/// `text`, without `root` if it is a path below that.
fn shortened<'a>(text: &'a OsStr, root: &Path) -> &'a OsStr {
    Path::new(text)
        .strip_prefix(root)
        .map_or(text, Path::as_os_str)
}

/// Where a command's output goes.
pub(crate) enum Output<'a> {
    /// This terminal.
    Terminal,
    /// A file, which is emptied first.
    Log(&'a Path),
    /// This terminal; standard error goes to a file, which is emptied first.
    Errors(&'a Path),
    /// A pipe that somebody reads.
    Pipe(std::io::PipeWriter),
}

/// A started command. Dropping it kills the processes that are left of its group.
pub(crate) struct RunningCall {
    child: Child,
    group: Option<Pid>,
}

impl RunningCall {
    /// Waits for its end. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When the kernel cannot say how it ended.
    pub(crate) async fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// Its process id, until it has been waited for.
    pub(crate) const fn pid(&self) -> Option<Pid> {
        self.group
    }

    /// Sends `signal` to its whole group.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // The group may have gone already.
            kill_process_group(group, signal).ok();
        }
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// The hidden verb `bound`: becomes `command`, which ends when the process `parent` ends. Returns only when it fails.
pub(crate) fn bound(parent: u32, command: &[OsString]) -> anyhow::Error {
    let Some((program, args)) = command.split_first() else {
        return anyhow::anyhow!("no command was given");
    };
    #[cfg(target_os = "linux")]
    {
        // Without it only a kill -9 of xtask would leave the command behind.
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM)).ok();
        if rustix::process::getppid()
            .is_none_or(|now| now.as_raw_nonzero().get().cast_unsigned() != parent)
        {
            return anyhow::anyhow!("the process that started {} has gone", program.display());
        }
    }
    let error = std::process::Command::new(program).args(args).exec();
    anyhow::Error::new(error).context(format!("cannot start {}", program.display()))
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines
        .iter()
        .skip(lines.len().saturating_sub(TAIL_LINES))
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Opens an empty log file and creates the folders above it. Everybody who writes to it appends.
pub(crate) fn create(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let open = File::options().create(true).append(true).open(path);
    open.and_then(|log| log.set_len(0).map(|()| log))
        .with_context(|| format!("cannot create {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::create;

    #[test]
    fn a_log_that_another_process_still_writes_to_has_no_holes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/service.log");
        let mut first = create(&path).unwrap();
        first.write_all(b"first, before\n").unwrap();
        let mut second = create(&path).unwrap();
        first.write_all(b"first, after\n").unwrap();
        second.write_all(b"second\n").unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "first, after\nsecond\n"
        );
    }
}
