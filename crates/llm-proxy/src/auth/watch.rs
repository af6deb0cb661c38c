//! Notices that the keys file has changed, and puts the new keys in force.
//!
//! The file is read and compared, not watched: editors rename, secret mounts swap links, and network disks tell nobody. A
//! change counts when two looks in a row find the same, so that a file that is being written is not taken for a whole
//! one; SIGHUP makes it count at once. A file that was removed has no keys. One that cannot be read or understood takes
//! no key away, and that is said once a minute until it is mended.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use common::shutdown::Shutdown;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior};

use crate::auth::Keys;
use crate::auth::disk::{self, Look};

/// How often a file that is refused is mentioned in the log.
const REMINDER: Duration = Duration::from_secs(60);

/// What a look found, or why it found nothing.
type Seen = Result<Look, String>;

impl Keys {
    /// Looks at the file every `every` until the shutdown begins, and calls `on_change` with whether a changed file is in
    /// force. Without a file there is nothing to do.
    ///
    /// # Errors
    ///
    /// When SIGHUP cannot be received.
    pub(crate) fn watch(
        self: &Arc<Self>,
        every: Duration,
        on_change: impl Fn(bool) + Send + Sync + 'static,
        shutdown: &Shutdown,
    ) -> std::io::Result<()> {
        let Some((path, look)) = self.file.clone() else {
            return Ok(());
        };
        self.say_in_force(&path, &look);
        let hangup = signal(SignalKind::hangup())?;
        let keys = Arc::clone(self);
        let stop = shutdown.clone();
        shutdown.spawn(async move {
            tokio::select! {
                () = keys.follow(&path, look, every, hangup, on_change) => {}
                () = stop.draining() => {}
            }
        });
        Ok(())
    }

    async fn follow(
        self: &Arc<Self>,
        path: &Arc<Path>,
        at_start: Look,
        every: Duration,
        mut hangup: Signal,
        on_change: impl Fn(bool),
    ) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut device = at_start.device;
        let mut history = History {
            done: Ok(at_start),
            pending: None,
        };
        let mut said_at = Instant::now();
        loop {
            let at_once = tokio::select! {
                _ = ticks.tick() => false,
                Some(()) = hangup.recv() => true,
            };
            let asked = Arc::clone(path);
            let looking = spawn_blocking(move || disk::look(&asked, Some(device)));
            let Ok(seen) = looking.await else {
                continue;
            };
            if let Some(new) = history.see(seen, at_once).cloned() {
                if let Ok(look) = &new {
                    device = look.device;
                }
                // Thousands of keys take a while to read, which must not hold up requests.
                let keys = Arc::clone(self);
                let path = Arc::clone(path);
                let is_used = spawn_blocking(move || keys.reload(&new, &path)).await;
                on_change(is_used.unwrap_or(false));
                said_at = Instant::now();
            } else if said_at.elapsed() >= REMINDER {
                self.say_refused(path);
                said_at = Instant::now();
            }
        }
    }

    /// Puts what was seen in force. Returns whether it can be.
    fn reload(&self, seen: &Seen, path: &Path) -> bool {
        let ring = match seen {
            Ok(look) => self.build(look.bytes()),
            Err(problem) => Err(problem.clone()),
        };
        let refused = ring.map(|ring| self.swap(ring)).err();
        if let (Ok(look), None) = (seen, &refused) {
            self.say_in_force(path, look);
        }
        let is_used = refused.is_none();
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        self.say_refused(path);
        is_used
    }

    fn say_in_force(&self, path: &Path, look: &Look) {
        let path = path.display();
        let n_keys = {
            let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
            ring.n_named
        };
        if n_keys > 0 {
            tracing::info!(%path, keys = n_keys, "the keys file is in force");
        } else if look.is_removed() {
            tracing::warn!(%path, "there is no keys file, so no named key is good");
        } else {
            tracing::warn!(%path, "the keys file holds no key, so no named key is good");
        }
    }

    fn say_refused(&self, path: &Path) {
        if let Some(problem) = self.file_refused() {
            let path = path.display();
            tracing::error!(%path, "the keys file is refused, the keys from before stay good: {problem}");
        }
    }
}

/// What the looks have found so far.
#[derive(Debug)]
struct History {
    /// What was acted on last.
    done: Seen,
    /// What the last look found, if it was something else.
    pending: Option<Seen>,
}

impl History {
    /// What to act on now, if anything.
    fn see(&mut self, seen: Seen, at_once: bool) -> Option<&Seen> {
        if !at_once && self.done == seen {
            self.pending = None;
            return None;
        }
        if !at_once && self.pending.as_ref() != Some(&seen) {
            self.pending = Some(seen);
            return None;
        }
        self.pending = None;
        self.done = seen;
        Some(&self.done)
    }
}

#[cfg(test)]
mod tests {
    use super::{History, Look, Seen};

    fn text(text: &str) -> Seen {
        Ok(Look::of(text))
    }

    fn gone() -> Seen {
        Err("gone".to_owned())
    }

    fn history() -> History {
        History {
            done: text("first"),
            pending: None,
        }
    }

    #[test]
    fn a_change_counts_once_when_it_has_been_seen_twice() {
        let mut history = history();
        assert_eq!(history.see(text("first"), false), None);
        assert_eq!(history.see(text("sec"), false), None);
        // The file was still being written.
        assert_eq!(history.see(text("second"), false), None);
        assert_eq!(history.see(text("second"), false), Some(&text("second")));
        assert_eq!(history.see(text("second"), false), None);
    }

    #[test]
    fn a_file_that_cannot_be_read_for_a_moment_changes_nothing() {
        let mut history = history();
        assert_eq!(history.see(gone(), false), None);
        assert_eq!(history.see(text("first"), false), None);
        assert_eq!(history.see(gone(), false), None);
        assert_eq!(history.see(gone(), false), Some(&gone()));
        assert_eq!(history.see(gone(), false), None);
        // The old file is news again.
        assert_eq!(history.see(text("first"), false), None);
        assert_eq!(history.see(text("first"), false), Some(&text("first")));
    }

    #[test]
    fn a_signal_counts_at_once_also_when_nothing_has_changed() {
        let mut history = history();
        assert_eq!(history.see(text("first"), true), Some(&text("first")));
        assert_eq!(history.see(text("second"), true), Some(&text("second")));
        assert_eq!(history.see(text("second"), false), None);
    }
}
