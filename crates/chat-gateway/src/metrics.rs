//! What the gateway counts, as typed fields of one struct; several servers in one process share nothing.

use common::server::Refusals;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::bus::Bus;

/// The histogram's borders, in seconds: from a cached prompt to a long prefill on a small machine.
const SECONDS: [f64; 13] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

/// The counters. Clones of a field count together.
#[derive(Debug)]
pub(crate) struct Metrics {
    sockets: Gauge,
    pub(crate) first_token: Histogram,
    pub(crate) deltas: Counter,
    answers: Family<OutcomeLabel, Counter>,
    pub(crate) continued: Counter,
    refused: Family<ReasonLabel, Counter>,
    refusals: Family<CodeLabel, Counter>,
    pub(crate) connections_refused: Refusals,
    pub(crate) bus_up: Gauge,
}

impl Metrics {
    /// Registers them all in `registry`. Nobody is called for a bus that was never asked for: it counts as up.
    pub(crate) fn new(registry: &mut Registry, bus: &Bus) -> Self {
        let registry = registry.sub_registry_with_prefix("chat_gateway");
        let metrics = Self {
            sockets: Gauge::default(),
            first_token: Histogram::new(SECONDS),
            deltas: Counter::default(),
            answers: Family::default(),
            continued: Counter::default(),
            refused: Family::default(),
            refusals: Family::default(),
            connections_refused: Refusals::of(crate::SERVICE),
            bus_up: Gauge::default(),
        };
        registry.register(
            "sockets_open",
            "WebSockets open now",
            metrics.sockets.clone(),
        );
        let help = "From a message's turn to the first piece of its answer";
        registry.register("first_token_seconds", help, metrics.first_token.clone());
        registry.register(
            "deltas",
            "Pieces of answers sent to browsers",
            metrics.deltas.clone(),
        );
        registry.register(
            "answers",
            "Answers by how they ended",
            metrics.answers.clone(),
        );
        registry.register(
            "answers_continued",
            "How often an answer went on by itself after its engine was lost",
            metrics.continued.clone(),
        );
        registry.register(
            "upgrades_refused",
            "WebSockets not opened, by reason",
            metrics.refused.clone(),
        );
        registry.register(
            "refusals",
            "Frames and requests of version 2 that were refused, by the code that the client was told",
            metrics.refusals.clone(),
        );
        metrics.connections_refused.register(registry);
        metrics.bus_up.set(i64::from(bus.shared().is_none()));
        let help = "0 while the bus of several gateways cannot be reached";
        registry.register("bus_up", help, metrics.bus_up.clone());
        // What an alert asks for starts at 0, because Prometheus does not notice a series that starts at 1.
        let code = "storage_unavailable";
        drop(metrics.refusals.get_or_create(&CodeLabel { code }));
        let reason = "full";
        drop(metrics.refused.get_or_create(&ReasonLabel { reason }));
        let lost = "Lines of the log that nobody will read: its reader was stuck";
        registry.register("log_lines_lost", lost, common::telemetry::lost_lines());
        metrics
    }

    /// Counts a socket until the guard is dropped.
    pub(crate) fn socket_opened(&self) -> OpenSocket {
        self.sockets.inc();
        OpenSocket(self.sockets.clone())
    }

    pub(crate) fn answered(&self, outcome: &'static str) {
        self.answers.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn refused(&self, code: &'static str) {
        self.refusals.get_or_create(&CodeLabel { code }).inc();
    }

    pub(crate) fn upgrade_refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }
}

/// An open socket, as counted.
#[derive(Debug)]
pub(crate) struct OpenSocket(Gauge);

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.dec();
    }
}
