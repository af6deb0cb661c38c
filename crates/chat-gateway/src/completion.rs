//! One streamed answer from upstream, and the only file that knows async-openai.
//!
//! Requests go through a service of our own: async-openai's default one repeats failed requests, and it logs and loses
//! error bodies. Dropping a [`Completion`] cancels it upstream. An end without a finish reason is a failure.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use async_openai::traits::RequestOptionsBuilder as _;
use async_openai::types::stream::StreamResponse;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Config;
use crate::connection::Event;
use crate::context::{Prompt, Role};
use crate::error::{Failure, Overflow};
use crate::upstream::read_capped;

/// The longest upstream error code that is logged, in bytes.
const MAX_CODE_BYTES: usize = 64;

/// llm-proxy's code for a key that may not do what was asked.
const SCOPE_MISSING: &str = "scope_missing";

/// What is sent upstream.
#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    stream: bool,
    temperature: f64,
    max_tokens: u32,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

/// One event of the answer, as far as it is read. Everything may be missing.
#[derive(Deserialize)]
struct Frame {
    error: Option<Value>,
    choices: Option<Vec<Choice>>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

/// What an upstream said when it refused or failed: never its words, which may hold anything.
#[derive(Clone, Debug, thiserror::Error)]
#[error("upstream failed: {} (status {status:?}, code {code:?})", failure.label())]
pub(crate) struct Refusal {
    failure: Failure,
    pub(crate) status: Option<u16>,
    code: Option<String>,
}

impl Refusal {
    /// Upstream's own name for the error.
    pub(crate) fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    const fn plain(failure: Failure) -> Self {
        Self {
            failure,
            status: None,
            code: None,
        }
    }

    /// Reads the `error` of a body or of an event; `status` is `None` in the middle of an answer.
    fn read(status: Option<u16>, error: &Value) -> Self {
        let text = |field: &str| match &error[field] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let (kind, code) = (text("type"), text("code"));
        let names = |name: &str| kind.contains(name) || code.contains(name);
        let failure = match status {
            _ if names("exceed_context_size") || names("context_length_exceeded") => {
                let number = |field: &str| error[field].as_u64();
                let numbers = number("n_prompt_tokens").zip(number("n_ctx"));
                Failure::ContextFull(numbers.map(|(n_prompt_tokens, n_ctx)| Overflow {
                    n_prompt_tokens,
                    n_ctx,
                }))
            }
            Some(413) => Failure::ContextFull(None),
            Some(401 | 403) => Failure::Key,
            Some(404) => Failure::UnknownModel,
            _ if names("loading") || text("message") == "Loading model" => Failure::Loading,
            Some(429) => Failure::Busy,
            _ if names("queue") => Failure::Busy,
            Some(408 | 504) => Failure::TimedOut,
            _ if names("timeout") => Failure::TimedOut,
            Some(400..=499) => Failure::Rejected,
            Some(_) => Failure::Unavailable,
            None => Failure::Interrupted,
        };
        let code = if code.is_empty() || code == "null" {
            kind
        } else {
            code
        };
        Self {
            failure,
            status,
            code: Some(code).filter(|code| is_plain(code)),
        }
    }
}

/// Whether a code may be logged: a name or a number, not a sentence.
fn is_plain(code: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=MAX_CODE_BYTES).contains(&code.len()) && code.bytes().all(plain)
}

impl From<OpenAIError> for Refusal {
    fn from(error: OpenAIError) -> Self {
        match error {
            OpenAIError::Boxed(error) => match error.downcast::<Self>() {
                Ok(refusal) => *refusal,
                Err(_) => Self::plain(Failure::Unavailable),
            },
            OpenAIError::Reqwest(error) if error.is_connect() => Self::plain(Failure::Unreachable),
            OpenAIError::Reqwest(error) if error.is_timeout() => Self::plain(Failure::TimedOut),
            OpenAIError::Reqwest(_) => Self::plain(Failure::Unavailable),
            _ => Self::plain(Failure::Interrupted),
        }
    }
}

/// Asks for answers.
#[derive(Debug)]
pub(crate) struct Completions {
    client: Arc<Client<OpenAIConfig>>,
    model: String,
    temperature: f64,
    max_tokens: u32,
    /// Whether llm-proxy is told for whom a message is.
    names_visitors: AtomicBool,
}

impl Completions {
    pub(crate) fn new(http: reqwest::Client, config: &Config) -> Self {
        let openai = OpenAIConfig::new()
            .with_api_base(&config.base_url)
            .with_api_key(config.api_key.expose())
            .with_org_id("")
            .with_project_id("");
        let once = tower::service_fn({
            let http = http.clone();
            move |factory: HttpRequestFactory| send(http.clone(), factory)
        });
        Self {
            client: Arc::new(Client::build(http, openai).with_http_service(once)),
            model: config.model.clone(),
            temperature: config.temperature,
            max_tokens: config.max_tokens,
            names_visitors: AtomicBool::new(true),
        }
    }

    /// The key may not name visitors: none is named from now on.
    pub(crate) fn leave_names_out(&self) {
        if self.names_visitors.swap(false, Ordering::Relaxed) {
            tracing::warn!(
                "the key in LLM_API_KEY lacks the scope `delegate`, so all visitors share one place in the queue: add the \
                 scope to the key in llm-proxy's keys file"
            );
        }
    }

    /// Begins an answer. Nothing is sent before [`Completion::next`] is polled. `traceparent` names the span that
    /// upstream's is to be below.
    pub(crate) fn ask(
        &self,
        prompt: &Prompt,
        visitor: &str,
        request_id: &str,
        traceparent: Option<String>,
    ) -> Completion {
        let request = Request {
            model: &self.model,
            messages: prompt
                .iter()
                .map(|(role, content)| Message {
                    role: name(*role),
                    content,
                })
                .collect(),
            stream: true,
            temperature: self.temperature,
            max_tokens: self.max_tokens,
        };
        let request =
            serde_json::to_value(&request).map_err(|_| OpenAIError::InvalidArgument(String::new()));
        let client = Arc::clone(&self.client);
        let request_id = request_id.to_owned();
        let names_visitors = self.names_visitors.load(Ordering::Relaxed);
        let visitor = names_visitors.then(|| visitor.to_owned());
        let opening = Box::pin(async move {
            // With it llm-proxy lets a request wait for minutes instead of seconds. Its comments are not read.
            let chat = client.chat().header("x-queue-events", "1")?;
            let mut chat = chat.header("x-request-id", request_id)?;
            if let Some(visitor) = visitor {
                chat = chat.header("x-corral-user", visitor)?;
            }
            if let Some(traceparent) = traceparent {
                chat = chat.header("traceparent", traceparent)?;
            }
            chat.create_stream_byot::<_, Frame>(request?).await
        });
        Completion {
            stage: Stage::Opening(opening),
            names_its_visitor: names_visitors,
            finished: false,
            refusal: None,
        }
    }
}

const fn name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// Sends a request once, and reads an error body before async-openai does.
async fn send(
    http: reqwest::Client,
    factory: HttpRequestFactory,
) -> Result<reqwest::Response, OpenAIError> {
    let response = http.execute(factory.build().await?).await?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = read_capped(response).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    Err(OpenAIError::Boxed(Box::new(Refusal::read(
        Some(status.as_u16()),
        &body["error"],
    ))))
}

type Opening = Pin<Box<dyn Future<Output = Result<StreamResponse<Frame>, OpenAIError>> + Send>>;

enum Stage {
    Opening(Opening),
    Streaming(StreamResponse<Frame>),
    Ended,
}

/// A running answer. Dropping it closes the connection to upstream.
///
/// async-openai reads ahead into a channel without a bound; `max_tokens` is what limits it.
pub(crate) struct Completion {
    stage: Stage,
    names_its_visitor: bool,
    finished: bool,
    refusal: Option<Refusal>,
}

impl Completion {
    /// The next event; after the last one it waits for ever. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Event {
        loop {
            match &mut self.stage {
                Stage::Opening(opening) => match opening.await {
                    Ok(stream) => self.stage = Stage::Streaming(stream),
                    Err(error) => return self.fail(error.into()),
                },
                Stage::Streaming(stream) => match stream.next().await {
                    Some(Ok(frame)) => {
                        if let Some(event) = self.read(frame) {
                            return event;
                        }
                    }
                    Some(Err(error)) => return self.fail(error.into()),
                    None if self.finished => {
                        self.stage = Stage::Ended;
                        return Event::Finished;
                    }
                    None => return self.fail(Refusal::plain(Failure::Interrupted)),
                },
                Stage::Ended => std::future::pending().await,
            }
        }
    }

    /// What upstream said, if it failed.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// Whether llm-proxy refused it because the key may not name visitors.
    pub(crate) fn is_refused_for_its_name(&self) -> bool {
        let refusal = self.refusal.as_ref();
        self.names_its_visitor && refusal.and_then(Refusal::code) == Some(SCOPE_MISSING)
    }

    fn read(&mut self, frame: Frame) -> Option<Event> {
        if let Some(error) = frame.error {
            return Some(self.fail(Refusal::read(None, &error)));
        }
        let choice = frame.choices?.into_iter().next()?;
        self.finished |= choice
            .finish_reason
            .is_some_and(|reason| !reason.is_empty());
        let content = choice
            .delta?
            .content
            .filter(|content| !content.is_empty())?;
        Some(Event::Delta(content))
    }

    fn fail(&mut self, refusal: Refusal) -> Event {
        self.stage = Stage::Ended;
        let failure = refusal.failure;
        self.refusal = Some(refusal);
        Event::Failed(failure)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Completion, Stage};
    use crate::connection::Event;
    use crate::error::{Failure, Overflow};

    #[test]
    fn an_error_in_the_middle_of_an_answer_says_what_failed() {
        for (error, failure) in [
            (
                json!({"code": 500, "message": "Compute error.", "type": "server_error"}),
                Failure::Interrupted,
            ),
            (
                json!({"code": "upstream_disconnected", "type": "server_error"}),
                Failure::Interrupted,
            ),
            (
                json!({"code": "token_timeout", "type": "server_error"}),
                Failure::TimedOut,
            ),
            (
                json!({"code": "queue_timeout", "type": "server_error"}),
                Failure::Busy,
            ),
            (json!("raw words"), Failure::Interrupted),
            (
                json!({"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 5000, "n_ctx": 4096}),
                Failure::ContextFull(Some(Overflow {
                    n_prompt_tokens: 5000,
                    n_ctx: 4096,
                })),
            ),
        ] {
            let mut completion = Completion {
                stage: Stage::Ended,
                names_its_visitor: false,
                finished: true,
                refusal: None,
            };
            let frame = serde_json::from_value(json!({ "error": error })).unwrap();
            assert_eq!(
                completion.read(frame),
                Some(Event::Failed(failure)),
                "{error}"
            );
        }
    }

    #[test]
    fn a_code_is_kept_for_the_log_only_when_it_is_no_sentence() {
        for (code, kept) in [
            ("queue_full", Some("queue_full")),
            ("no slot: \"hello\"", None),
            ("", None),
        ] {
            let mut completion = Completion {
                stage: Stage::Ended,
                names_its_visitor: false,
                finished: false,
                refusal: None,
            };
            completion.read(serde_json::from_value(json!({"error": {"code": code}})).unwrap());
            assert_eq!(completion.refusal().and_then(super::Refusal::code), kept);
        }
    }
}
