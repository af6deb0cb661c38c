//! What Prometheus reads: every series by name, in one typed struct.
//!
//! Labels come from closed sets only (routes, outcomes, phases), never from a request.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Ending {
    pub(crate) route: &'static str,
    /// `ok`, `client_left`, or an error's code.
    pub(crate) outcome: &'static str,
    /// `2xx`, `4xx` or `5xx`; empty when no answer was begun.
    pub(crate) status: &'static str,
}

/// Where a request was when its caller left.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Left {
    pub(crate) phase: &'static str,
}

/// Which tokens are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Tokens {
    pub(crate) kind: &'static str,
}

/// Which upstream, by its place in `PROXY_UPSTREAMS`, from 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Member {
    pub(crate) upstream: u64,
}

/// Every series.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) requests: Family<Ending, Counter>,
    pub(crate) cancellations: Family<Left, Counter>,
    pub(crate) tokens: Family<Tokens, Counter>,
    pub(crate) dropped_fields: Counter,
    pub(crate) in_flight: Gauge,
    pub(crate) queue_depth: Gauge,
    pub(crate) slots: Gauge,
    pub(crate) upstream_up: Family<Member, Gauge>,
    pub(crate) queue_wait: Histogram,
    pub(crate) first_token: Histogram,
    pub(crate) request: Histogram,
}

impl Metrics {
    /// The series, and the registry that renders them.
    pub(crate) fn new() -> (Self, Registry) {
        let short = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        let long = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0];
        let new = Self {
            requests: Family::default(),
            cancellations: Family::default(),
            tokens: Family::default(),
            dropped_fields: Counter::default(),
            in_flight: Gauge::default(),
            queue_depth: Gauge::default(),
            slots: Gauge::default(),
            upstream_up: Family::default(),
            queue_wait: Histogram::new(short),
            first_token: Histogram::new(long),
            request: Histogram::new(long),
        };
        let mut registry = Registry::with_prefix("llm_proxy");
        let r = &mut registry;
        r.register("requests", "Requests by route, outcome and class of status", new.requests.clone());
        r.register("cancellations", "Requests whose caller left, by phase", new.cancellations.clone());
        r.register("tokens", "Tokens in prompts and completions", new.tokens.clone());
        r.register("dropped_fields", "Unknown request fields that were dropped", new.dropped_fields.clone());
        r.register("requests_in_flight", "Requests that hold a slot", new.in_flight.clone());
        r.register("queue_depth", "Requests that wait for a slot", new.queue_depth.clone());
        r.register("slots", "Slots of all upstreams that answer", new.slots.clone());
        r.register("upstream_up", "Whether an upstream answers", new.upstream_up.clone());
        r.register_with_unit("queue_wait", "The wait for a slot", Unit::Seconds, new.queue_wait.clone());
        r.register_with_unit(
            "first_token",
            "From the request to its first token",
            Unit::Seconds,
            new.first_token.clone(),
        );
        r.register_with_unit(
            "request",
            "From the request to the last byte",
            Unit::Seconds,
            new.request.clone(),
        );
        (new, registry)
    }
}
