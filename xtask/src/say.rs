//! Prints for the developer: every command that runs, dimmed on a terminal, and lines of our own.
//!
//! All of it goes to standard error. Standard output is for the result (an answer, a rendered page).

use std::fmt::Display;
use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Prints a command that is about to run.
pub(crate) fn command(command: impl Display) {
    eprintln!("{}", dim(format_args!("$ {command}")));
}

/// Prints and runs a command in the foreground.
///
/// # Errors
///
/// When it cannot be started or does not end with 0.
pub(crate) fn run(cmd: xshell::Cmd<'_>) -> Result<()> {
    command(&cmd);
    cmd.quiet().run().context("the command above failed")
}

/// Prints and runs a command and returns its standard output, without the last newline.
///
/// # Errors
///
/// When it cannot be started or does not end with 0.
pub(crate) fn read(cmd: xshell::Cmd<'_>) -> Result<String> {
    command(&cmd);
    cmd.quiet().read().context("the command above failed")
}

/// Prints one line for the developer.
pub(crate) fn line(text: impl Display) {
    eprintln!("{text}");
}

/// `text`, dimmed when standard error is a terminal.
pub(crate) fn dim(text: impl Display) -> String {
    styled("2", text)
}

/// `text`, bold when standard error is a terminal.
pub(crate) fn bold(text: impl Display) -> String {
    styled("1", text)
}

fn styled(code: &str, text: impl Display) -> String {
    if std::io::stderr().is_terminal() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_string()
    }
}

/// A duration as people read it: `0.4 s`, `75 s`.
pub(crate) fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{seconds:.0} s")
    }
}

/// A long duration in its largest unit: `40 s`, `12 min`, `3 h`.
pub(crate) fn roughly(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
