//! One answer from the queue to its last byte.

pub(crate) mod deadlines;
pub(crate) mod queue_events;
pub(crate) mod relay;
pub(crate) mod whole;
