//! One streamed answer from upstream, and the only file that knows async-openai.
//!
//! Requests go through a service of our own: async-openai's default one repeats failed requests, logs and loses error
//! bodies, and drops the comments that tell how long the wait is. Dropping a [`Completion`] cancels it upstream. An end
//! without a finish reason is a failure. What is worth waiting for (a full queue, a model that loads) is asked again.

mod comments;
mod count;
mod refusal;
mod request;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use async_openai::traits::RequestOptionsBuilder as _;
use async_openai::types::stream::StreamResponse;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::{Instant, Sleep};

use self::comments::{CommentReader, Comments};
pub(crate) use self::refusal::UpstreamRefusal;
use self::request::SentChat;
pub(crate) use self::request::{AnswerRequest, AskContent, AskMessage, effective, option_limits};
use crate::config::Config;
use crate::error::Failure;
use crate::event::{Event, Finish};
use crate::protocol::record::{FinishReason, TokenUsage};
use crate::upstream::{VERSION, read_capped};

/// The least pause before a request that has to wait is sent again; chance adds up to as much.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a model that loads is waited for.
const LOADING_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// One event of the answer, as far as it is read. Everything may be missing.
#[derive(Deserialize)]
struct AnswerFrame {
    error: Option<Value>,
    choices: Option<Vec<Choice>>,
    usage: Option<Counts>,
    timings: Option<Speed>,
    prompt_progress: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    reasoning_content: Option<String>,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(default)]
    prompt_tokens: u32,
    #[serde(default)]
    completion_tokens: u32,
    prompt_tokens_details: Option<PromptCounts>,
}

#[derive(Deserialize)]
struct PromptCounts {
    #[serde(default)]
    cached_tokens: u32,
}

#[derive(Deserialize)]
struct Speed {
    predicted_per_second: Option<f64>,
}

impl From<Counts> for TokenUsage {
    fn from(counts: Counts) -> Self {
        Self {
            prompt_tokens: counts.prompt_tokens,
            cached_tokens: counts
                .prompt_tokens_details
                .map_or(0, |details| details.cached_tokens),
            completion_tokens: counts.completion_tokens,
        }
    }
}

impl From<OpenAIError> for UpstreamRefusal {
    fn from(error: OpenAIError) -> Self {
        match error {
            OpenAIError::Boxed(error) => match error.downcast::<Self>() {
                Ok(refusal) => *refusal,
                Err(_) => Self::plain(Failure::Unavailable),
            },
            OpenAIError::Reqwest(error) => Self::plain(unanswered(&error)),
            OpenAIError::StreamError(_) => Self::plain(Failure::Disconnected),
            _ => Self::plain(Failure::Interrupted),
        }
    }
}

/// Why no answer to a request came.
fn unanswered(error: &reqwest::Error) -> Failure {
    if error.is_connect() {
        Failure::Unreachable
    } else if error.is_timeout() {
        Failure::TimedOut
    } else {
        Failure::Unavailable
    }
}

/// Asks for answers.
#[derive(Clone, Debug)]
pub(crate) struct Completions {
    door: Arc<ProxyDoor>,
}

/// What all requests share.
#[derive(Debug)]
struct ProxyDoor {
    http: reqwest::Client,
    config: Config,
    /// Whether llm-proxy is told for whom a message is.
    names_visitors: AtomicBool,
    /// Whether llm-proxy lets our key count tokens.
    counts: AtomicBool,
}

impl Completions {
    pub(crate) fn new(http: reqwest::Client, config: &Config) -> Self {
        Self {
            door: Arc::new(ProxyDoor {
                http,
                config: config.clone(),
                names_visitors: AtomicBool::new(true),
                counts: AtomicBool::new(true),
            }),
        }
    }

    /// Begins an answer. Nothing is sent before [`Completion::next`] is polled.
    ///
    /// # Panics
    ///
    /// Never: strings and numbers always serialise.
    pub(crate) fn ask(&self, ask: &AnswerRequest<'_>) -> Completion {
        let config = &self.door.config;
        let body = SentChat::new(ask, config);
        let body = to_raw_value(&body).expect("strings and numbers always serialise");
        let letter = Letter {
            body: body.into(),
            lane: ask.lane.to_owned(),
            request_id: ask.request_id.to_owned(),
            traceparent: ask.traceparent.clone(),
        };
        let waits_until = ask
            .waits_for_model
            .then(|| Instant::now() + LOADING_PATIENCE);
        Completion {
            door: Arc::clone(&self.door),
            letter: Arc::new(letter),
            stage: AskStage::Asking,
            n_asks: 0,
            named_its_visitor: false,
            waits_until,
            is_loading: false,
            has_begun: false,
            text_after: None,
            finish: Finish {
                reason: FinishReason::Stop,
                usage: None,
                tokens_per_second: None,
            },
            finished: false,
            refusal: None,
        }
    }
}

impl ProxyDoor {
    /// The key may not name visitors: none is named from now on.
    fn leave_names_out(&self) {
        if self.names_visitors.swap(false, Ordering::Relaxed) {
            tracing::warn!(
                "the key in LLM_API_KEY lacks the scope `delegate`, so all visitors share one place in the queue: add the \
                 scope to the key in llm-proxy's keys file"
            );
        }
    }

    /// Reads a refusal's body.
    async fn refusal(&self, response: reqwest::Response) -> UpstreamRefusal {
        let status = response.status().as_u16();
        let body = read_capped(response).await.unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let mut refusal = UpstreamRefusal::read(Some(status), &body["error"]);
        if status == 404 && !self.config.base_url.ends_with(VERSION) {
            refusal.failure = Failure::WrongAddress;
        }
        refusal
    }

    /// Sends a request once, reads an error's body before async-openai does, and hands the answer's comments to `reader`.
    async fn send(
        self: Arc<Self>,
        factory: HttpRequestFactory,
        mut reader: CommentReader,
    ) -> Result<reqwest::Response, OpenAIError> {
        let response = self.http.execute(factory.build().await?).await?;
        if !response.status().is_success() {
            let refusal = self.refusal(response).await;
            return Err(OpenAIError::Boxed(Box::new(refusal)));
        }
        let bytes = response
            .bytes_stream()
            .inspect_ok(move |bytes| reader.read(bytes));
        let body = reqwest::Body::wrap_stream(bytes);
        Ok(axum::http::Response::new(body).into())
    }
}

/// A request as it is sent, perhaps more than once.
#[derive(Debug)]
struct Letter {
    body: Arc<RawValue>,
    lane: String,
    request_id: String,
    traceparent: Option<String>,
}

/// A body that was serialised once.
#[derive(Serialize)]
#[serde(transparent)]
struct SharedBody<'a>(&'a RawValue);

type Opened = (StreamResponse<AnswerFrame>, Comments);
type Opening = Pin<Box<dyn Future<Output = Result<Opened, OpenAIError>> + Send>>;

enum AskStage {
    Asking,
    Opening(Opening),
    Streaming(StreamResponse<AnswerFrame>, Comments),
    /// Until it is asked again.
    Pausing(Pin<Box<Sleep>>),
    Ended,
}

/// A running answer. Dropping it closes the connection to upstream.
///
/// async-openai reads ahead into a channel without a bound; `max_tokens` is what limits it.
pub(crate) struct Completion {
    door: Arc<ProxyDoor>,
    letter: Arc<Letter>,
    stage: AskStage,
    n_asks: u32,
    named_its_visitor: bool,
    /// How long a model that loads is waited for.
    waits_until: Option<Instant>,
    is_loading: bool,
    /// Whether a piece of it has come.
    has_begun: bool,
    /// Text that came in one event with thoughts.
    text_after: Option<String>,
    finish: Finish,
    finished: bool,
    refusal: Option<UpstreamRefusal>,
}

impl Completion {
    /// The next event; after the last one it waits for ever. Cancel-safe.
    ///
    /// Waiting is not failing: while the model is busy it asks again, as long as somebody wants to know.
    pub(crate) async fn next(&mut self) -> Event {
        if let Some(text) = self.text_after.take() {
            return Event::Text(text);
        }
        loop {
            match &mut self.stage {
                AskStage::Asking => self.stage = AskStage::Opening(self.open()),
                AskStage::Opening(opening) => match opening.await {
                    Ok((stream, comments)) => self.stage = AskStage::Streaming(stream, comments),
                    Err(error) => {
                        if let Some(event) = self.fail(error.into()) {
                            return event;
                        }
                    }
                },
                AskStage::Streaming(stream, comments) => {
                    // The answer itself is newer than what was told before it.
                    let frame = tokio::select! {
                        biased;
                        frame = stream.next() => frame,
                        comment = comments.next() => return comment.into(),
                    };
                    if let Some(event) = self.read(frame) {
                        return event;
                    }
                }
                AskStage::Pausing(pause) => {
                    pause.await;
                    self.stage = AskStage::Asking;
                }
                AskStage::Ended => std::future::pending().await,
            }
        }
    }

    /// What upstream said, if it failed.
    pub(crate) fn refusal(&self) -> Option<&UpstreamRefusal> {
        self.refusal.as_ref()
    }

    /// How often the request was sent.
    pub(crate) const fn n_asks(&self) -> u32 {
        self.n_asks
    }

    fn open(&mut self) -> Opening {
        self.n_asks += 1;
        self.named_its_visitor = self.door.names_visitors.load(Ordering::Relaxed);
        let names_visitor = self.named_its_visitor;
        let door = Arc::clone(&self.door);
        let letter = Arc::clone(&self.letter);
        Box::pin(async move {
            let config = OpenAIConfig::new()
                .with_api_base(&door.config.base_url)
                .with_api_key(door.config.api_key.expose())
                .with_org_id("")
                .with_project_id("");
            let (reader, comments) = CommentReader::new();
            let http = door.http.clone();
            let once = tower::service_fn(move |factory: HttpRequestFactory| {
                Arc::clone(&door).send(factory, reader.clone())
            });
            let client = Client::build(http, config).with_http_service(once);
            // With it llm-proxy tells how long the wait is, and lets a request wait for minutes instead of seconds.
            let chat = client.chat().header("x-queue-events", "1")?;
            let mut chat = chat.header("x-request-id", letter.request_id.as_str())?;
            if names_visitor {
                chat = chat.header("x-corral-user", letter.lane.as_str())?;
            }
            if let Some(traceparent) = &letter.traceparent {
                chat = chat.header("traceparent", traceparent.as_str())?;
            }
            let stream = chat
                .create_stream_byot::<_, AnswerFrame>(SharedBody(&letter.body))
                .await?;
            Ok((stream, comments))
        })
    }

    fn read(&mut self, frame: Option<Result<AnswerFrame, OpenAIError>>) -> Option<Event> {
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return self.fail(error.into()),
            None if self.finished => {
                self.stage = AskStage::Ended;
                return Some(Event::Finished(self.finish));
            }
            None => return self.fail(UpstreamRefusal::plain(Failure::Disconnected)),
        };
        if let Some(error) = frame.error {
            return self.fail(UpstreamRefusal::read(None, &error));
        }
        if let Some(counts) = frame.usage {
            self.finish.usage = Some(counts.into());
        }
        if let Some(speed) = frame.timings {
            self.finish.tokens_per_second = speed.predicted_per_second;
        }
        let choice = frame.choices?.into_iter().next()?;
        if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
            self.finished = true;
            self.finish.reason = match reason.as_str() {
                "length" => FinishReason::Length,
                "tool_calls" => FinishReason::ToolCalls,
                _ => FinishReason::Stop,
            };
        }
        // Builds of llama-server tell the text of an answer that goes on again, while they read the prompt that holds it.
        let delta = choice.delta.filter(|_| frame.prompt_progress.is_none())?;
        let text = delta.content.filter(|text| !text.is_empty());
        let thoughts = delta.reasoning_content.filter(|text| !text.is_empty());
        let event = match (thoughts, text) {
            (None, Some(text)) => Event::Text(text),
            (thoughts, text) => {
                self.text_after = text;
                Event::Reasoning(thoughts?)
            }
        };
        self.has_begun = true;
        Some(event)
    }

    /// The request failed: it is asked again if that is only a matter of time, otherwise this is the answer's end.
    fn fail(&mut self, refusal: UpstreamRefusal) -> Option<Event> {
        let failure = refusal.failure;
        if self.named_its_visitor && refusal.is_for_its_scope() {
            self.door.leave_names_out();
            self.stage = AskStage::Asking;
            return None;
        }
        let waits_for_model = self.waits_until.is_some_and(|until| Instant::now() < until);
        if !self.has_begun && failure == Failure::Busy {
            self.pause();
            return None;
        }
        if !self.has_begun && failure == Failure::Loading && waits_for_model {
            self.pause();
            let is_news = !std::mem::replace(&mut self.is_loading, true);
            return is_news.then_some(Event::Loading);
        }
        self.stage = AskStage::Ended;
        self.refusal = Some(refusal);
        Some(Event::Failed(failure))
    }

    fn pause(&mut self) {
        let chance = RandomState::new().build_hasher().finish() % 1_000;
        let pause = PAUSE + Duration::from_millis(chance);
        self.stage = AskStage::Pausing(Box::pin(tokio::time::sleep(pause)));
    }
}
