//! Who is signed out by name: the lines of a file.
//!
//! A line that appears counts at the next look. One that disappears counts for one look longer, so that nobody slips in
//! while the file is being written. A file that cannot be read lets nobody in again.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::User;
use super::file::{self, Complaint, READ_EVERY};

/// Who is signed out.
#[derive(Debug)]
pub(super) struct Revoked {
    path: Option<PathBuf>,
    lines: watch::Sender<Arc<HashSet<Box<str>>>>,
}

impl Revoked {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(super) fn open(path: Option<PathBuf>) -> std::io::Result<Self> {
        let lines = match &path {
            Some(path) => lines(&file::read(path)?),
            None => HashSet::new(),
        };
        let lines = watch::Sender::new(Arc::new(lines));
        Ok(Self { path, lines })
    }

    /// Whether `user` is signed out.
    pub(super) fn names(&self, user: &User) -> bool {
        has(&self.lines.borrow(), user)
    }

    /// Waits until `user` is signed out. Cancel-safe.
    pub(super) async fn wait(&self, user: &User) {
        if self.path.is_none() {
            return std::future::pending().await;
        }
        let mut lines = self.lines.subscribe();
        // The sender is `self`, so the wait cannot fail.
        if lines.wait_for(|lines| has(lines, user)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Keeps the list as the file has it. Without a file there is nothing to do. It never ends; cancel-safe.
    pub(super) async fn keep(&self) {
        let Some(path) = &self.path else {
            return std::future::pending().await;
        };
        let mut ticks = interval(READ_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = Arc::clone(&self.lines.borrow());
        let mut complaint = Complaint::default();
        loop {
            ticks.tick().await;
            match file::read_slowly(path.clone()).await {
                Ok(bytes) => {
                    let found = Arc::new(lines(&bytes));
                    self.put_in_force(before.union(&found).cloned().collect());
                    before = found;
                    if complaint.is_over() {
                        tracing::info!("the file of revoked users can be read again");
                    }
                }
                Err(error) => {
                    let problem = error.to_string();
                    if complaint.is_due(&problem) {
                        let path = path.display();
                        tracing::error!(%path, "the file of revoked users cannot be read, so the last list stays: {problem}");
                    }
                }
            }
        }
    }

    fn put_in_force(&self, lines: HashSet<Box<str>>) {
        let n_lines = lines.len();
        let is_news = self.lines.send_if_modified(|in_force| {
            let is_news = **in_force != lines;
            if is_news {
                *in_force = Arc::new(lines);
            }
            is_news
        });
        if is_news {
            tracing::info!(lines = n_lines, "the file of revoked users has changed");
        }
    }
}

/// Whether a line names the user: by their name, their token, or their id in the log.
fn has(lines: &HashSet<Box<str>>, user: &User) -> bool {
    let session = &user.session;
    let names = [
        Some(&*user.id),
        session.subject.as_deref(),
        session.token_id.as_deref(),
    ];
    names.into_iter().flatten().any(|name| lines.contains(name))
}

/// Blank lines and lines that begin with `# ` name nobody.
fn lines(bytes: &[u8]) -> HashSet<Box<str>> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let named = lines.filter(|line| !line.is_empty() && !line.starts_with("# "));
    named.map(Box::from).collect()
}
