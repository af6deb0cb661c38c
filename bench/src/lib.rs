//! What the load generators share: the cost of processes, spreads of samples, and tokens that are times.

pub mod process;
pub mod samples;
pub mod stamps;
