//! What is seen of a request afterwards: the log, metrics, the audit, spans and the status page.

pub(crate) mod audit;
pub(crate) mod metrics;
pub(crate) mod recent;
pub(crate) mod record;
pub(crate) mod status;
pub(crate) mod top;
