//! What an operator sees of one key's lane.

use std::time::Duration;

/// One key's lane, for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// The key's name.
    pub caller: String,
    /// Requests in the queue.
    pub waiting: usize,
    /// Requests with a slot.
    pub running: usize,
    /// How long a further request of this key would wait.
    pub wait: Duration,
}
