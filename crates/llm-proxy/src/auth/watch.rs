//! Notices that the keys file has changed, and puts the new keys in force.
//!
//! The file is read and compared, not watched: editors rename, secret mounts swap links, and network disks tell nobody.
//! What is there must be seen twice before it counts, so that a file being written is not taken for the whole one;
//! SIGHUP counts at once. A file that is not usable changes nothing, and that is said once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::shutdown::Shutdown;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;

use crate::auth::{Keys, file};
use crate::observe::metrics::{Metrics, Reload};

/// A file's bytes, or why there are none.
type Seen = Result<Arc<[u8]>, String>;

impl Keys {
    /// Looks at the file every `every` until the shutdown begins. Without a file there is nothing to do.
    ///
    /// # Errors
    ///
    /// When SIGHUP cannot be received.
    pub(crate) fn watch(
        self: &Arc<Self>,
        every: Duration,
        metrics: Arc<Metrics>,
        shutdown: &Shutdown,
    ) -> std::io::Result<()> {
        let Some(path) = self.path.clone() else {
            return Ok(());
        };
        let hangup = signal(SignalKind::hangup())?;
        let (keys, stop) = (Arc::clone(self), shutdown.clone());
        shutdown.spawn(async move {
            tokio::select! {
                () = keys.follow(path.into(), every, hangup, metrics) => {}
                () = stop.draining() => {}
            }
        });
        Ok(())
    }

    async fn follow(
        self: &Arc<Self>,
        path: Arc<Path>,
        every: Duration,
        mut hangup: Signal,
        metrics: Arc<Metrics>,
    ) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut history = History {
            done: Ok(Arc::clone(&self.at_start)),
            pending: None,
        };
        loop {
            let at_once = tokio::select! {
                _ = ticks.tick() => false,
                Some(()) = hangup.recv() => true,
            };
            let asked = Arc::clone(&path);
            let Ok(seen) = spawn_blocking(move || file::read(&asked)).await else {
                continue;
            };
            let Some(new) = history.see(seen, at_once).cloned() else {
                continue;
            };
            // Thousands of keys take their time, which is not to be the requests' time.
            let (keys, path, metrics) = (Arc::clone(self), Arc::clone(&path), Arc::clone(&metrics));
            let _joined = spawn_blocking(move || keys.reload(&new, &path, &metrics)).await;
        }
    }

    fn reload(&self, seen: &Seen, path: &Path, metrics: &Metrics) {
        let ring = seen
            .clone()
            .and_then(|bytes| self.build(&bytes).map_err(|problems| problems.to_string()));
        let outcome = match ring {
            Ok(ring) => {
                tracing::info!(path = %path.display(), keys = ring.len(), "the keys file is in force");
                self.swap(ring);
                "ok"
            }
            Err(problem) => {
                let path = path.display();
                tracing::error!(%path, "the keys file is not usable, the keys from before it stay: {problem}");
                "failed"
            }
        };
        metrics
            .keys_reloads
            .get_or_create(&Reload { outcome })
            .inc();
        metrics.keys_file_refused.set((outcome == "failed").into());
    }
}

/// What the file was found to be.
#[derive(Debug)]
struct History {
    /// What was acted on last.
    done: Seen,
    /// What was there at the last look, if it was something else.
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
    use super::{History, Seen};

    fn text(text: &str) -> Seen {
        Ok(text.as_bytes().into())
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
        assert_eq!(
            history.see(text("second"), false),
            None,
            "the file was still being written"
        );
        assert_eq!(history.see(text("second"), false), Some(&text("second")));
        assert_eq!(history.see(text("second"), false), None);
    }

    #[test]
    fn a_file_that_is_gone_for_a_moment_changes_nothing_and_one_that_stays_away_is_told_once() {
        let (mut history, gone) = (history(), || Err("gone".to_owned()));
        assert_eq!(history.see(gone(), false), None);
        assert_eq!(history.see(text("first"), false), None);
        assert_eq!(history.see(gone(), false), None);
        assert_eq!(history.see(gone(), false), Some(&gone()));
        assert_eq!(history.see(gone(), false), None);
        assert_eq!(history.see(text("first"), false), None);
        assert_eq!(
            history.see(text("first"), false),
            Some(&text("first")),
            "the old file is good news again"
        );
    }

    #[test]
    fn a_signal_counts_at_once_also_when_nothing_has_changed() {
        let mut history = history();
        assert_eq!(history.see(text("first"), true), Some(&text("first")));
        assert_eq!(history.see(text("second"), true), Some(&text("second")));
        assert_eq!(history.see(text("second"), false), None);
    }
}
