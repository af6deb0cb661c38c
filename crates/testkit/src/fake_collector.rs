//! An OTLP collector that keeps the spans it is sent, in a form that a test compares as a whole; or one that is stuck.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as otlp;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A span as it arrived. Ids are in hexadecimal; the parent's is empty where there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectedSpan {
    /// The `service.name` it was sent under.
    pub service: String,
    /// Its name.
    pub name: String,
    /// `server` or `client`, or the number of another kind.
    pub kind: String,
    /// The trace it belongs to.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The span above it.
    pub parent: String,
    /// Its attributes.
    pub attributes: BTreeMap<String, Value>,
    /// The names of its events, in their order.
    pub events: Vec<String>,
}

/// A running collector; dropping it ends it.
#[derive(Debug)]
pub struct FakeCollector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<CollectedSpan>>>,
    _guard: JoinSet<std::io::Result<()>>,
}

impl FakeCollector {
    /// Starts one on a free port.
    ///
    /// # Panics
    ///
    /// When no port can be had.
    pub async fn start() -> Self {
        let spans = Arc::<Mutex<Vec<CollectedSpan>>>::default();
        let kept = Arc::clone(&spans);
        let route = post(
            async move |body: Bytes| match ExportTraceServiceRequest::decode(body) {
                Ok(request) => {
                    kept.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend(read(request));
                    StatusCode::OK
                }
                Err(_) => StatusCode::BAD_REQUEST,
            },
        );
        Self::serve(Router::new().route("/v1/traces", route), spans).await
    }

    /// Starts one that takes every connection and never answers.
    ///
    /// # Panics
    ///
    /// When no port can be had.
    pub async fn stuck() -> Self {
        let route = post(async || std::future::pending::<StatusCode>().await);
        Self::serve(Router::new().route("/v1/traces", route), Arc::default()).await
    }

    async fn serve(router: Router, spans: Arc<Mutex<Vec<CollectedSpan>>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let mut serving = JoinSet::new();
        serving.spawn(axum::serve(listener, router).into_future());
        Self {
            address,
            spans,
            _guard: serving,
        }
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has come so far, in the order in which it came.
    #[must_use]
    pub fn spans(&self) -> Vec<CollectedSpan> {
        self.spans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn read(request: ExportTraceServiceRequest) -> Vec<CollectedSpan> {
    let mut spans = Vec::new();
    for resource in request.resource_spans {
        let attributes = attributes(resource.resource.unwrap_or_default().attributes);
        let service = attributes
            .get("service.name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let all = resource
            .scope_spans
            .into_iter()
            .flat_map(|scope| scope.spans);
        spans.extend(all.map(|span| one(service.clone(), span)));
    }
    spans
}

fn one(service: String, span: otlp::Span) -> CollectedSpan {
    let kind = match otlp::span::SpanKind::try_from(span.kind) {
        Ok(otlp::span::SpanKind::Server) => "server".to_owned(),
        Ok(otlp::span::SpanKind::Client) => "client".to_owned(),
        _ => span.kind.to_string(),
    };
    CollectedSpan {
        service,
        name: span.name,
        kind,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        attributes: attributes(span.attributes),
        events: span.events.into_iter().map(|event| event.name).collect(),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, Value> {
    pairs
        .into_iter()
        .map(|pair| (pair.key.clone(), value(pair)))
        .collect()
}

fn value(pair: KeyValue) -> Value {
    match pair.value.and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => json!(text),
        Some(any_value::Value::IntValue(number)) => json!(number),
        Some(any_value::Value::DoubleValue(number)) => json!(number),
        Some(any_value::Value::BoolValue(value)) => json!(value),
        _ => Value::Null,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
