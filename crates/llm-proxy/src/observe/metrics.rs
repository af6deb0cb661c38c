//! What Prometheus reads: every series by name, in one typed struct; docs/metrics.md says what each means.
//!
//! Names follow the OpenTelemetry conventions for generative AI where those have one. Labels come from closed sets
//! only: routes, outcomes, phases, the names of keys, models and upstreams that the settings know. Words of a request
//! are never a label: [`OTHER`] replaces them, or [`NONE`] where a request ended before they were known.

use std::sync::Arc;

use admission::Admission;
use common::server::Refusals;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The label of what is not in its closed set: a model that nobody serves.
pub(crate) const OTHER: &str = "other";
/// The label of what a request had not come to: the key of a stranger, the model of a body that was not read.
pub(crate) const NONE: &str = crate::auth::NOBODY;
/// `gen_ai.provider.name`.
pub(crate) const PROVIDER: &str = "llama.cpp";

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Ending {
    pub(crate) route: &'static str,
    pub(crate) key: Arc<str>,
    pub(crate) model: Arc<str>,
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

/// Which tokens are counted, for whom: `prompt`, `cached` (a part of it), `completion`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Tokens {
    pub(crate) key: Arc<str>,
    pub(crate) model: Arc<str>,
    pub(crate) kind: &'static str,
}

/// Whose requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KeyName {
    pub(crate) key: Arc<str>,
}

/// What became of a changed keys file: `ok` or `failed`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reload {
    pub(crate) outcome: &'static str,
}

/// Which upstream, as HOST:PORT; one that left has no series.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct UpstreamLabel {
    pub(crate) upstream: String,
}

/// What the conventions ask of every series of theirs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct GenAi {
    pub(crate) gen_ai_operation_name: &'static str,
    pub(crate) gen_ai_provider_name: &'static str,
    pub(crate) gen_ai_request_model: Arc<str>,
}

/// The same, with how it ended: an error's code, or empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct GenAiEnding {
    #[prometheus(flatten)]
    pub(crate) gen_ai: GenAi,
    pub(crate) error_type: &'static str,
}

/// The same, with the direction: `input` or `output`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct GenAiTokens {
    #[prometheus(flatten)]
    pub(crate) gen_ai: GenAi,
    pub(crate) gen_ai_token_type: &'static str,
}

/// A histogram for each set of labels.
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Every series.
#[derive(Debug)]
pub(crate) struct ProxyMetrics {
    pub(crate) requests: Family<Ending, Counter>,
    pub(crate) connections_refused: Refusals,
    pub(crate) cancellations: Family<Left, Counter>,
    pub(crate) tokens: Family<Tokens, Counter>,
    pub(crate) dropped_fields: Counter,
    pub(crate) audit_lines_lost: Counter,
    pub(crate) keys_reloads: Family<Reload, Counter>,
    pub(crate) keys_file_refused: Gauge,
    pub(crate) upstream_up: Family<UpstreamLabel, Gauge>,
    pub(crate) quarantined: Counter,
    pub(crate) upstream_ejected: Family<UpstreamLabel, Gauge>,
    pub(crate) queue_wait: Histograms<KeyName>,
    pub(crate) overhead: Histogram,
    pub(crate) between_tokens: Histograms<GenAi>,
    pub(crate) cancel_to_free: Histogram,
    pub(crate) first_token: Histograms<GenAi>,
    pub(crate) per_token: Histograms<GenAi>,
    pub(crate) duration: Histograms<GenAiEnding>,
    pub(crate) usage: Histograms<GenAiTokens>,
}

impl ProxyMetrics {
    /// The series, and the registry that renders them.
    pub(crate) fn new(admission: Admission) -> (Self, Registry) {
        let new = Self {
            requests: Family::default(),
            connections_refused: Refusals::of("llm-proxy"),
            cancellations: Family::default(),
            tokens: Family::default(),
            dropped_fields: Counter::default(),
            audit_lines_lost: Counter::default(),
            keys_reloads: Family::default(),
            keys_file_refused: Gauge::default(),
            upstream_up: Family::default(),
            quarantined: Counter::default(),
            upstream_ejected: Family::default(),
            queue_wait: Histograms::new_with_constructor(waits),
            overhead: microseconds(),
            between_tokens: Histograms::new_with_constructor(token_times),
            cancel_to_free: microseconds(),
            first_token: Histograms::new_with_constructor(prefills),
            per_token: Histograms::new_with_constructor(token_times),
            duration: Histograms::new_with_constructor(answers),
            usage: Histograms::new_with_constructor(token_counts),
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(QueueGauges(admission)));
        new.register_own(registry.sub_registry_with_prefix("llm_proxy"));
        new.register_conventional(registry.sub_registry_with_prefix("gen_ai"));
        (new, registry)
    }

    /// The keys file has changed, and is in force or refused.
    pub(crate) fn keys_file_changed(&self, is_used: bool) {
        let outcome = if is_used { "ok" } else { "failed" };
        self.keys_reloads.get_or_create(&Reload { outcome }).inc();
        self.keys_file_refused.set((!is_used).into());
    }

    fn register_own(&self, to: &mut Registry) {
        let requests = "Requests by route, key, model, outcome and class of status";
        to.register("requests", requests, self.requests.clone());
        self.connections_refused.register(to);
        to.register(
            "cancellations",
            "Requests whose caller left, by phase",
            self.cancellations.clone(),
        );
        let tokens = "Tokens by key, model and kind: prompt, cached (a part of it), completion";
        to.register("tokens", tokens, self.tokens.clone());
        to.register(
            "dropped_fields",
            "Unknown request fields that were dropped",
            self.dropped_fields.clone(),
        );
        let lost =
            "Lines of the audit that nobody will read: its reader was stuck or its disk full";
        to.register("audit_lines_lost", lost, self.audit_lines_lost.clone());
        let lost = "Lines of the log that nobody will read: its reader was stuck or its disk full";
        to.register("log_lines_lost", lost, common::telemetry::lost_lines());
        let reloads = "Changes of the keys file, by whether they were taken over";
        to.register("keys_reloads", reloads, self.keys_reloads.clone());
        let refused = "Whether the keys file is refused now, so that the keys from before it stay";
        to.register("keys_file_refused", refused, self.keys_file_refused.clone());
        to.register(
            "upstream_up",
            "Whether an upstream answers",
            self.upstream_up.clone(),
        );
        let quarantined = "Requests that were put in quarantine because engines died under them";
        to.register(
            "requests_quarantined",
            quarantined,
            self.quarantined.clone(),
        );
        let ejected = "Whether an upstream failed and has answered no probe since";
        to.register("upstream_ejected", ejected, self.upstream_ejected.clone());
        let overhead = "From a request's header to asking the upstream, without waiting for its body or a slot";
        to.register_with_unit("overhead", overhead, Unit::Seconds, self.overhead.clone());
        let freed = "From noticing that a caller left to its slot being free";
        let histogram = self.cancel_to_free.clone();
        to.register_with_unit("cancel_to_free", freed, Unit::Seconds, histogram);
        to.register_with_unit(
            "queue_wait",
            "The wait for a slot",
            Unit::Seconds,
            self.queue_wait.clone(),
        );
        let between = "From one token to the next";
        to.register_with_unit(
            "time_between_tokens",
            between,
            Unit::Seconds,
            self.between_tokens.clone(),
        );
    }

    fn register_conventional(&self, to: &mut Registry) {
        let first = "From the request to its first token";
        to.register_with_unit(
            "server_time_to_first_token",
            first,
            Unit::Seconds,
            self.first_token.clone(),
        );
        let per_token =
            "The mean time of a token after the first, one value for each complete answer";
        to.register_with_unit(
            "server_time_per_output_token",
            per_token,
            Unit::Seconds,
            self.per_token.clone(),
        );
        let duration = "From the request to the last byte, of requests that had a slot";
        to.register_with_unit(
            "server_request_duration",
            duration,
            Unit::Seconds,
            self.duration.clone(),
        );
        to.register(
            "client_token_usage",
            "Tokens in the prompt and the completion",
            self.usage.clone(),
        );
    }
}

/// The queue and the slots as they are when somebody asks.
#[derive(Debug)]
struct QueueGauges(Admission);

impl Collector for QueueGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let load = self.0.load();
        for (name, help, unit, value) in [
            (
                "llm_proxy_requests_in_flight",
                "Requests that hold a slot",
                None,
                load.in_flight,
            ),
            (
                "llm_proxy_queue_depth",
                "Requests that wait for a slot",
                None,
                load.waiting,
            ),
            (
                "llm_proxy_queue",
                "What those requests take of the memory",
                Some(&Unit::Bytes),
                load.waiting_bytes,
            ),
            (
                "llm_proxy_slots",
                "Slots of all upstreams that answer",
                None,
                load.slots,
            ),
        ] {
            let gauge = ConstGauge::new(value as i64);
            let metric = encoder.encode_descriptor(name, help, unit, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

/// A queue's waits, in seconds.
fn waits() -> Histogram {
    Histogram::new([
        0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0,
    ])
}

/// First tokens, in seconds: a cached prompt, up to a long one that a CPU prefills at 30 tokens a second.
fn prefills() -> Histogram {
    Histogram::new([
        0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0,
    ])
}

/// Tokens, in seconds: a GPU makes 100 a second, a CPU 5 to 30, and another's prefill stops them for seconds.
fn token_times() -> Histogram {
    Histogram::new([
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0,
    ])
}

/// Whole answers, in seconds, up to the default of the total deadline.
fn answers() -> Histogram {
    Histogram::new([
        0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1800.0,
    ])
}

/// What the proxy itself does, in seconds.
fn microseconds() -> Histogram {
    Histogram::new([
        0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0,
    ])
}

/// Tokens of one request, as the conventions cut them.
fn token_counts() -> Histogram {
    Histogram::new([
        1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16_384.0, 65_536.0,
    ])
}
