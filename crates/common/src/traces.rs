//! Traces: one span per request, sent as OTLP (HTTP, protobuf) when a collector is configured.
//!
//! Spans leave through a bounded queue and a thread of their own: a slow or missing collector costs spans and never delays
//! a request. A span holds names, counts and ids, never words. Without a collector nothing is built.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::Uri;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;

use crate::env::{Environment, Variable};

const ENDPOINT: Variable = Variable::new(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "",
    "The collector that spans go to, as `http://HOST:4318`; none unless set.",
);
const HEADERS: Variable = Variable::of_library(
    "OTEL_EXPORTER_OTLP_HEADERS",
    "Headers for the collector, as `NAME=VALUE`, separated by commas.",
);
const SERVICE_NAME: Variable = Variable::new(
    "OTEL_SERVICE_NAME",
    "",
    "The service's name in spans; the program's unless set.",
);
const ATTRIBUTES: Variable = Variable::of_library(
    "OTEL_RESOURCE_ATTRIBUTES",
    "Attributes of every span of this service, as `NAME=VALUE`, separated by commas.",
);
const SAMPLER: Variable = Variable::of_library(
    "OTEL_TRACES_SAMPLER",
    "Which requests have a span: `always_on`, `always_off`, `traceidratio`, or one of these after `parentbased_`, which \
     follows the caller's own trace. `parentbased_always_on` unless set.",
);
const SAMPLER_RATIO: Variable = Variable::of_library(
    "OTEL_TRACES_SAMPLER_ARG",
    "The share of requests that `traceidratio` takes, 0 to 1; all unless set.",
);

/// The settings that [`Endpoint::read`] understands.
pub const VARIABLES: &[Variable] = &[
    ENDPOINT,
    HEADERS,
    SERVICE_NAME,
    ATTRIBUTES,
    SAMPLER,
    SAMPLER_RATIO,
];

/// How long one batch may take.
const EXPORT_DEADLINE: Duration = Duration::from_secs(5);
/// How long a service that ends waits for the last batch.
const FLUSH: Duration = Duration::from_secs(2);
/// The largest answer of a collector that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Where spans go.
#[derive(Clone, Debug)]
pub struct Endpoint {
    url: String,
    /// The service's name, when it is not the program's.
    service: Option<String>,
}

impl Endpoint {
    /// Reads `OTEL_EXPORTER_OTLP_ENDPOINT`, and checks the variables that OpenTelemetry reads by itself and ignores when
    /// they are wrong.
    pub fn read(env: &mut Environment) -> Option<Self> {
        for (variable, parse) in CHECKED {
            env.read_with(variable, |text| match text {
                "" => Ok(()),
                text => parse(text),
            });
        }
        let service = env.optional(&SERVICE_NAME);
        let text = env.optional(&ENDPOINT)?;
        let endpoint = Self::parse(&text).map(|endpoint| Self {
            service,
            ..endpoint
        });
        if endpoint.is_none() {
            env.refuse(
                &ENDPOINT,
                "must look like http://HOST:PORT; for TLS put a collector on this network",
            );
        }
        endpoint
    }

    /// Parses `http://HOST:PORT`, perhaps with a path, and appends the path of traces.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let plain = uri.scheme_str() == Some("http") && uri.query().is_none();
        let authority = uri
            .authority()
            .filter(|authority| plain && !authority.as_str().contains('@'))?;
        let path = uri.path().trim_end_matches('/');
        Some(Self {
            url: format!("http://{authority}{path}/v1/traces"),
            service: None,
        })
    }
}

type Check = fn(&str) -> Result<(), String>;

const CHECKED: [(&Variable, Check); 4] = [
    (&HEADERS, check_pairs),
    (&ATTRIBUTES, check_pairs),
    (&SAMPLER, check_sampler),
    (&SAMPLER_RATIO, check_ratio),
];

fn check_pairs(text: &str) -> Result<(), String> {
    if text.split(',').all(is_pair) {
        Ok(())
    } else {
        Err("must be NAME=VALUE, divided by commas".to_owned())
    }
}

fn is_pair(text: &str) -> bool {
    text.split_once('=')
        .is_some_and(|(name, value)| !name.trim().is_empty() && !value.trim().is_empty())
}

fn check_sampler(text: &str) -> Result<(), String> {
    match text.strip_prefix("parentbased_").unwrap_or(text) {
        "always_on" | "always_off" | "traceidratio" => Ok(()),
        _ => Err(
            "must be always_on, always_off or traceidratio, perhaps after parentbased_".to_owned(),
        ),
    }
}

fn check_ratio(text: &str) -> Result<(), String> {
    match text.parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(()),
        _ => Err("must be a number from 0 to 1".to_owned()),
    }
}

/// Begins spans. Clones send to the same collector.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<(SdkTracerProvider, SdkTracer)>);

impl Traces {
    /// Sends the spans of `service` to `to`, or nowhere. Must run within the runtime, which then does the sending.
    ///
    /// # Errors
    ///
    /// When the variables that OpenTelemetry itself reads are not usable.
    pub fn start(
        service: &'static str,
        version: &'static str,
        to: Option<&Endpoint>,
    ) -> Result<Self, String> {
        let Some(Endpoint { url, service: name }) = to else {
            return Ok(Self(None));
        };
        let sender = BatchSender {
            pool: Client::builder(TokioExecutor::new()).build_http(),
            runtime: Handle::current(),
            failing: AtomicBool::new(false),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(sender)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url)
            .with_timeout(EXPORT_DEADLINE)
            .build()
            .map_err(|error| format!("OTEL_EXPORTER_OTLP_*: {error}"))?;
        let own = [
            KeyValue::new("service.name", service),
            KeyValue::new("service.version", version),
        ];
        let name = name.clone().map(|name| KeyValue::new("service.name", name));
        // The later one wins.
        let resource = Resource::builder_empty()
            .with_attributes(own)
            .with_detector(Box::new(
                opentelemetry_sdk::resource::EnvResourceDetector::new(),
            ))
            .with_attributes(name)
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        let tracer = provider.tracer(service);
        Ok(Self(Some((provider, tracer))))
    }

    /// Begins a span of a request that this service serves. Its parent is the caller's, when `traceparent` names one.
    #[must_use]
    pub fn server(&self, name: &'static str, traceparent: Option<&str>) -> Span {
        self.span(name, SpanKind::Server, traceparent)
    }

    /// Begins a span of a request that this service sends.
    #[must_use]
    pub fn client(&self, name: &'static str, traceparent: Option<&str>) -> Span {
        self.span(name, SpanKind::Client, traceparent)
    }

    fn span(&self, name: &'static str, kind: SpanKind, traceparent: Option<&str>) -> Span {
        let Some((_, tracer)) = &self.0 else {
            return Span::default();
        };
        let parent = traceparent
            .and_then(parse)
            .map(|parent| Context::new().with_remote_span_context(parent));
        let builder = tracer.span_builder(name).with_kind(kind);
        Span(Some(Box::new(
            tracer.build_with_context(builder, &parent.unwrap_or_default()),
        )))
    }

    /// Sends the queued spans, but waits no longer than two seconds for that.
    pub async fn finish(self) {
        let Some((provider, _)) = self.0 else { return };
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH));
        // Spans that take longer are lost.
        drop(tokio::time::timeout(FLUSH, flushed).await);
    }
}

/// The span that a `traceparent` of W3C Trace Context names.
fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-').skip(1);
    let trace = TraceId::from_hex(parts.next()?).ok()?;
    let span = SpanId::from_hex(parts.next()?).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(parts.next()?, 16).ok()?);
    Some(SpanContext::new(trace, span, flags, true, TraceState::NONE)).filter(SpanContext::is_valid)
}

/// A span that has begun. Dropping it ends it. Without a collector it does nothing.
#[derive(Debug, Default)]
pub struct Span(Option<Box<opentelemetry_sdk::trace::Span>>);

impl Span {
    /// The header that makes this span the parent of the next service's.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        let context = self.0.as_ref()?.span_context();
        let trace = context.trace_id();
        let span = context.span_id();
        let flags = context.trace_flags().to_u8();
        Some(format!("00-{trace}-{span}-{flags:02x}"))
    }

    /// Whether its attributes and events go anywhere.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.0.as_ref().is_some_and(|span| span.is_recording())
    }

    /// Renames the span.
    pub fn rename(&mut self, name: String) {
        if let Some(span) = &mut self.0 {
            span.update_name(name);
        }
    }

    /// Records that something happens now.
    pub fn event(&mut self, name: &'static str) {
        if let Some(span) = &mut self.0 {
            span.add_event(name, Vec::new());
        }
    }

    /// Adds an attribute.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(name, value));
        }
    }

    /// Marks the span as failed; `code` is the error's name.
    pub fn fail(&mut self, code: &'static str) {
        self.set("error.type", code);
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(code));
        }
    }
}

/// Sends the exporter's batches. The exporter runs on a thread without a runtime, so ours does the sending.
#[derive(Debug)]
struct BatchSender {
    pool: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
    /// Whether the last batch was lost; a change is logged once.
    failing: AtomicBool,
}

#[async_trait]
impl HttpClient for BatchSender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let pool = self.pool.clone();
        let exchange = async move {
            let (head, body) = pool.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES)
                .collect()
                .await?
                .to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        };
        // The timer, too, must be created within the runtime.
        let exchange = self
            .runtime
            .spawn(async { tokio::time::timeout(EXPORT_DEADLINE, exchange).await });
        let answer = exchange.await?.map_err(HttpError::from).flatten();
        let failed = !answer
            .as_ref()
            .is_ok_and(|answer| answer.status().is_success());
        if failed != self.failing.swap(failed, Ordering::Relaxed) {
            if failed {
                tracing::warn!(
                    "the collector of OTEL_EXPORTER_OTLP_ENDPOINT does not take spans: they are lost"
                );
            } else {
                tracing::info!("the collector of OTEL_EXPORTER_OTLP_ENDPOINT takes spans again");
            }
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, Traces, VARIABLES, parse};
    use crate::env::Environment;

    #[test]
    fn what_opentelemetry_would_ignore_is_refused() {
        let read = |pairs: &[(&str, &str)]| {
            let mut env = Environment::from_pairs("", &[VARIABLES], pairs.iter().copied());
            Endpoint::read(&mut env);
            env.finish()
        };
        for (name, good, wrong) in [
            (
                "OTEL_TRACES_SAMPLER",
                "parentbased_traceidratio",
                "sometimes",
            ),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25", "25%"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a,x-other=b", "s3cret"),
            ("OTEL_RESOURCE_ATTRIBUTES", "env=prod", "env=,"),
        ] {
            read(&[(name, good)]).unwrap();
            let problem = read(&[(name, wrong)]).unwrap_err().to_string();
            assert!(
                problem.contains(&format!("{name} is not usable: must be ")),
                "{problem}"
            );
            assert!(!problem.contains(wrong), "{problem}");
        }
    }

    #[test]
    fn an_endpoint_is_plain_http_and_gets_the_path_of_traces() {
        let of = |text: &str| Endpoint::parse(text).map(|endpoint| endpoint.url);
        assert_eq!(
            of("http://otel:4318").as_deref(),
            Some("http://otel:4318/v1/traces")
        );
        assert_eq!(
            of("http://otel:4318/base/").as_deref(),
            Some("http://otel:4318/base/v1/traces")
        );
        for text in [
            "otel:4318",
            "https://otel:4318",
            "http://user:word@otel:4318",
            "http://otel:4318?x=1",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn a_traceparent_names_the_parent_and_nonsense_names_none() {
        let parent = parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(
            parent.trace_id().to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(
            (parent.span_id().to_string().as_str(), parent.is_sampled()),
            ("00f067aa0ba902b7", true)
        );
        for text in [
            "",
            "00-x-y-z",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn without_a_collector_nothing_is_built() {
        let mut span = Traces::default().server("test", None);
        span.event("nothing");
        assert!(!span.is_recording() && span.traceparent().is_none());
    }
}
