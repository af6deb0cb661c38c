//! One shutdown for a whole service, with one deadline.
//!
//! Not ready -> stop accepting -> let answers end -> close what is left -> return. Every task is spawned here: none is
//! forgotten, and none is waited for longer than the deadline.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long tasks may take to close their sockets once the drain has ended.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// The two moments of a shutdown and the tasks it waits for. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// A shutdown that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a task that [`Shutdown::finish`] waits for.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Makes [`Shutdown::finish`] wait until the hold is dropped. For tasks that something else spawns, as for an upgraded
    /// socket.
    pub fn hold(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    /// Whether the drain has begun: the service is no longer ready.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Whether the drain has ended: connections that are still open are closed.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Waits for the drain to begin: accept nothing more, finish what runs. Cancel-safe.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Waits for the drain to end: close every connection. Cancel-safe.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Begins the drain, waits for all tasks until `deadline`, then closes the rest. Returns the number of tasks that were
    /// abandoned, which is 0 after a clean end.
    pub async fn finish(&self, deadline: Duration) -> usize {
        self.draining.cancel();
        self.tasks.close();
        if tokio::time::timeout(deadline, self.tasks.wait())
            .await
            .is_err()
        {
            self.closing.cancel();
            // Those that remain are counted below.
            tokio::time::timeout(CLOSE_GRACE, self.tasks.wait())
                .await
                .ok();
        }
        self.closing.cancel();
        self.tasks.len()
    }
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
///
/// When the handlers cannot be installed.
pub async fn signalled() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Shutdown;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn finish_waits_for_tasks_that_end_by_themselves() {
        let shutdown = Shutdown::new();
        let task = shutdown.clone();
        shutdown.spawn(async move { task.draining().await });
        assert_eq!(shutdown.finish(Duration::from_secs(10)).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn finish_waits_until_a_hold_is_dropped() {
        let shutdown = Shutdown::new();
        let held = shutdown.hold();
        let began = tokio::time::Instant::now();
        let late = async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(held);
        };
        assert_eq!(
            tokio::join!(shutdown.finish(Duration::from_secs(10)), late).0,
            0
        );
        assert_eq!(began.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn finish_closes_late_tasks_and_abandons_those_that_ignore_it() {
        let shutdown = Shutdown::new();
        let task = shutdown.clone();
        shutdown.spawn(async move { task.closing().await });
        shutdown.spawn(std::future::pending::<()>());
        assert_eq!(shutdown.finish(Duration::from_secs(10)).await, 1);
    }
}
