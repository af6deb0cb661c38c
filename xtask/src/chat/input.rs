//! What the person types: lines with editing and a history in the terminal, plain lines in a pipe, and the commands in
//! them.
//!
//! Reading blocks and cannot be cancelled, so a thread does it, one line whenever it is asked for one. The history is in
//! memory only: what people write is stored nowhere.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context as _, Result};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::config::Behavior;
use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};
use tokio::sync::mpsc;

use crate::say;

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Send this to the model.
    Message(String),
    /// Begin a new conversation.
    Reset,
    /// Show the commands.
    Help,
    /// Leave; also the end of the input.
    Quit,
    /// An empty line.
    Nothing,
    /// A command that is not known.
    Unknown(String),
}

impl Input {
    /// Reads one line. A command is one word of letters behind a `/`, so a path is a message.
    fn of(line: &str) -> Self {
        let is_command = line
            .strip_prefix('/')
            .is_some_and(|word| word.chars().all(|c| c.is_ascii_alphabetic()));
        match line.trim() {
            "" => Self::Nothing,
            "/reset" => Self::Reset,
            "/help" => Self::Help,
            "/quit" | "/exit" => Self::Quit,
            _ if is_command => Self::Unknown(line.to_owned()),
            message => Self::Message(message.to_owned()),
        }
    }
}

/// The lines of standard input.
pub(super) struct Lines {
    wanted: SyncSender<()>,
    read: mpsc::Receiver<String>,
    /// How the terminal was. A line may still be read when the chat ends.
    before: Option<Termios>,
}

impl Lines {
    /// Opens standard input; nothing is read yet.
    ///
    /// # Errors
    ///
    /// When the terminal cannot be used.
    pub(super) fn open(is_interactive: bool) -> Result<Self> {
        let (wanted, requests) = sync_channel(1);
        let (sender, read) = mpsc::channel(1);
        let before = tcgetattr(std::io::stdin()).ok();
        if is_interactive {
            // The terminal itself, because standard output may be a file.
            let config = Config::builder().behavior(Behavior::PreferTerm).build();
            let editor = DefaultEditor::with_config(config).context("cannot use the terminal")?;
            std::thread::spawn(move || edit_lines(editor, &requests, &sender));
        } else {
            std::thread::spawn(move || read_lines(&requests, &sender));
        }
        Ok(Self {
            wanted,
            read,
            before,
        })
    }

    /// The next line. Cancel-safe: a line that was asked for comes with the next call.
    pub(super) async fn next(&mut self) -> Input {
        // A full channel means that the thread has been asked already, a closed one that the input has ended.
        self.wanted.try_send(()).ok();
        match self.read.recv().await {
            Some(line) => Input::of(&line),
            None => Input::Quit,
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Nothing is left to do for a terminal that has gone.
            tcsetattr(std::io::stdin(), OptionalActions::Now, before).ok();
        }
    }
}

/// Reads lines from the terminal until Ctrl-D.
fn edit_lines(mut editor: DefaultEditor, requests: &Receiver<()>, lines: &mpsc::Sender<String>) {
    while requests.recv().is_ok() {
        let line = loop {
            match editor.readline("> ") {
                Ok(line) => break line,
                Err(ReadlineError::Interrupted) => say::line("(Ctrl-D or /quit leaves)"),
                Err(_) => return,
            }
        };
        // A line without a place in the history is sent all the same.
        editor.add_history_entry(&line).ok();
        if lines.blocking_send(line).is_err() {
            return;
        }
    }
}

/// Reads lines from a pipe until its end.
fn read_lines(requests: &Receiver<()>, lines: &mpsc::Sender<String>) {
    let mut input = std::io::stdin().lines().map_while(Result::ok);
    while requests.recv().is_ok() {
        let Some(line) = input.next() else { return };
        if lines.blocking_send(line).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Input;

    #[test]
    fn commands_are_not_sent_to_the_model() {
        for (line, input) in [
            ("", Input::Nothing),
            ("  ", Input::Nothing),
            ("/help", Input::Help),
            ("/quit", Input::Quit),
            ("/exit ", Input::Quit),
            ("/reset", Input::Reset),
            ("/halp", Input::Unknown("/halp".to_owned())),
            (" /halp", Input::Message("/halp".to_owned())),
            (
                "/etc/hosts is what?",
                Input::Message("/etc/hosts is what?".to_owned()),
            ),
            ("Hi.", Input::Message("Hi.".to_owned())),
        ] {
            assert_eq!(Input::of(line), input, "{line:?}");
        }
    }
}
