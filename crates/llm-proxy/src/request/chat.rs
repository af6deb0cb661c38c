//! The body of `/v1/chat/completions`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::conversation::{
    self, MAX_MESSAGES, MessagePart, Said, Speaker, arrange, call_as_text, result_as_text,
};
use super::format::{AnswerFormat, ChatFormat, NoFields};
use super::generation::{Effort, Generation, TemplateSettings};
use super::tools::{self, ChatChoice, ChatTool, ChoiceWord, SentTool, ToolList, WantedTools};
use super::typed::Fields;
use super::values::{
    CallArguments, FunctionName, ImageUrl, JustText, Listed, TextOr, WholeIn, tagged,
};
use super::{Checked, InvalidRequest, Rules, Template};
use crate::api::Dialect;

/// Tool calls of one message.
const MAX_TOOL_CALLS: usize = 128;
/// Bytes of a speaker's name.
const MAX_NAME_BYTES: usize = 64;
/// OpenAI's older words for tools, which llama-server passes over.
const OLDER: [&str; 2] = ["functions", "function_call"];

#[derive(Debug, Deserialize)]
struct ChatRequest {
    messages: Listed<ChatMessage, MAX_MESSAGES>,
    tools: Option<ToolList<ChatTool>>,
    tool_choice: Option<TextOr<ChatChoice>>,
    chat_template_kwargs: Option<TemplateSettings>,
    enable_thinking: Option<bool>,
    reasoning_effort: Option<Effort>,
    reasoning: Option<ChatReasoning>,
    thinking: Option<ChatThinking>,
    think: Option<bool>,
    reasoning_budget: Option<WholeIn<-1, 0>>,
    response_format: Option<ChatFormat>,
    parallel_tool_calls: Option<bool>,
    logprobs: Option<bool>,
    top_logprobs: Option<WholeIn<0, 20>>,
}

/// Whether and how much to think, as other gateways ask for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChatReasoning {
    effort: Option<Effort>,
    enabled: Option<bool>,
    exclude: Option<bool>,
}

/// Whether to think, in Anthropic's words.
#[derive(Debug, Deserialize)]
#[serde(rename = "type")]
enum ChatThinking {
    #[serde(rename = "enabled")]
    Enabled(ChatThoughts),
    #[serde(rename = "disabled")]
    Disabled(NoFields),
    #[serde(rename = "adaptive")]
    Adaptive(ChatThoughts),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChatThoughts {
    budget_tokens: Option<WholeIn<0, 1_000_000>>,
}

impl ChatRequest {
    /// Whether to think, in whatever words the request says it; none where it does not.
    fn thinks(&self) -> Result<Option<bool>, InvalidRequest> {
        let by_type = match &self.thinking {
            Some(ChatThinking::Disabled(NoFields {})) => Some(false),
            Some(ChatThinking::Enabled(thoughts) | ChatThinking::Adaptive(thoughts)) => {
                if thoughts.budget_tokens.is_some() {
                    return Err(InvalidRequest::field(
                        "thinking.budget_tokens",
                        "is not supported: use `reasoning_effort`, or `thinking` on /v1/messages",
                    ));
                }
                matches!(self.thinking, Some(ChatThinking::Enabled(_))).then_some(true)
            }
            None => None,
        };
        let mut by_reasoning = None;
        if let Some(reasoning) = &self.reasoning {
            if reasoning.exclude == Some(true) {
                return Err(InvalidRequest::field(
                    "reasoning.exclude",
                    "is not supported: leave out `reasoning_content` when you read the answer",
                ));
            }
            by_reasoning = match reasoning.effort {
                Some(Effort::None) => Some(false),
                _ => reasoning.enabled,
            };
        }
        let by_budget = match self.reasoning_budget {
            Some(WholeIn(0)) => Some(false),
            _ => None,
        };
        Ok(self
            .enable_thinking
            .or(by_type)
            .or(by_reasoning)
            .or(self.think)
            .or(by_budget))
    }

    /// How much to think.
    fn effort(&self) -> Option<Effort> {
        let other = self
            .reasoning
            .as_ref()
            .and_then(|reasoning| reasoning.effort);
        let other = other.filter(|effort| !matches!(effort, Effort::None));
        self.reasoning_effort.or(other)
    }

    /// How many alternatives are told beside each token.
    fn n_alternatives(&self) -> Result<Option<WholeIn<0, 20>>, InvalidRequest> {
        match self.top_logprobs {
            Some(n) if self.logprobs != Some(true) => match n {
                // None are told of no token.
                WholeIn(0) => Ok(None),
                _ => Err(InvalidRequest::field(
                    "top_logprobs",
                    "needs `logprobs` to be true",
                )),
            },
            n => Ok(n),
        }
    }
}

/// What leaves. The prompt comes first: two bodies begin alike as far as their prompts do.
#[derive(Debug, Serialize)]
struct ChatBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_template_kwargs: Option<TemplateSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<SentTool>>,
    messages: Vec<ChatMessage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<WholeIn<0, 20>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<Effort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ChoiceWord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<AnswerFormat>,
}

tagged! {
    /// A message of a chat.
    enum ChatMessage: Spoken { role by "role" }
    "system" => System(ChatStatement),
    /// OpenAI's newer name for the system, which templates do not know.
    "developer" => Developer(ChatStatement),
    "user" => User(ChatStatement),
    "assistant" => Assistant(ChatReply),
    "tool" => Tool(ChatToolResult),
}

/// What the system or a user says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct ChatStatement {
    content: Said<ChatPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// What the model has said.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct ChatReply {
    /// Absent or empty when the model only thought or called tools.
    content: Option<Said<ChatPart>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Listed<ChatToolCall, MAX_TOOL_CALLS>>,
    /// Why it would not answer: it said that.
    #[serde(skip_serializing)]
    refusal: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct ChatToolCall {
    id: String,
    #[serde(default)]
    r#type: FunctionWord,
    function: CalledFunction,
}

/// The only kind of call there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
enum FunctionWord {
    #[default]
    #[serde(rename = "function")]
    Function,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct CalledFunction {
    name: FunctionName,
    #[serde(default)]
    arguments: CallArguments,
}

/// What a tool has returned.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct ChatToolResult {
    #[serde(default = "Said::nothing")]
    content: Said<ChatPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    tool_call_id: String,
}

tagged! {
    /// A part of a message.
    enum ChatPart: Typed { r#type by "type" }
    "text" => Text(JustText),
    "image_url" => Image(ChatImage),
    /// Part of an assistant's message.
    "refusal" => Refusal(ChatRefusal),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChatImage {
    image_url: ChatImageUrl,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ChatImageUrl {
    url: ImageUrl,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChatRefusal {
    refusal: String,
}

impl Checked {
    pub(super) fn chat(mut fields: Fields, rules: &Rules<'_>) -> Result<Self, InvalidRequest> {
        fields.refuse(&OLDER, "is not supported: use `tools` and `tool_choice`")?;
        let request: ChatRequest = fields.take()?;
        let thinks = request.thinks()?;
        let reasoning_effort = request.effort();
        let top_logprobs = request.n_alternatives()?;
        let wanted = request.tool_choice.map(WantedTools::of).transpose()?;
        let mut tools = tools::check(request.tools, wanted, Dialect::Chat, rules)?;
        let mut settings = request.chat_template_kwargs.unwrap_or_default();
        if let Some(on) = thinks {
            settings.think(on);
        }
        let format = request.response_format;
        let format = format.map(|format| format.check("response_format"));
        let format = format.transpose()?;
        if format.as_ref().is_some_and(AnswerFormat::is_form) {
            tools.beside_form("response_format")?;
        }
        let n_messages = request.messages.0.len();
        let (mut messages, n_images) = check_messages(request.messages.0, rules.template)?;
        if let (Some(format), Some(ChatMessage::Assistant(begun))) = (&format, messages.last_mut())
        {
            let begins_object = begun
                .content
                .as_mut()
                .is_some_and(|said| said.starts_with('{'));
            let path = format!("messages[{}]", n_messages - 1);
            format.check_begun("response_format", &path, begins_object)?;
        }
        let body = ChatBody {
            chat_template_kwargs: settings.some(),
            messages,
            logprobs: request.logprobs,
            parallel_tool_calls: request.parallel_tool_calls,
            top_logprobs,
            reasoning_effort,
            tools: tools.tools,
            tool_choice: tools.choice,
            response_format: format,
        };
        let generation = Generation::take(&mut fields, rules, rules.max_answers)?;
        let mut checked = Self::generated(rules, &body, &generation, fields)?;
        checked.has_images = n_images > 0;
        checked.tools_left_out = tools.left_out;
        checked.unheld = tools.unheld;
        if let Some(format) = &body.response_format {
            checked.unheld.extend_from_slice(format.unheld());
        }
        Ok(checked)
    }
}

/// The messages that leave, and how many images are in them.
fn check_messages(
    messages: Vec<ChatMessage>,
    template: Template,
) -> Result<(Vec<ChatMessage>, usize), InvalidRequest> {
    if messages.is_empty() {
        return Err(InvalidRequest::field("messages", "must not be empty"));
    }
    conversation::check_end(&messages, "messages")?;
    let mut n_images = 0;
    let mut checked = Vec::with_capacity(messages.len());
    for (at, message) in messages.into_iter().enumerate() {
        if let Some(content) = message.content() {
            n_images += content.n_images(&format!("messages[{at}].content"))?;
        }
        if message
            .name()
            .is_some_and(|name| name.len() > MAX_NAME_BYTES || name.contains(char::is_control))
        {
            return Err(InvalidRequest::field(
                format!("messages[{at}].name"),
                format!("must be 1 to {MAX_NAME_BYTES} bytes"),
            ));
        }
        checked.push(message.tidy());
    }
    if !template.tools {
        checked = without_tools(checked);
    }
    let messages = arrange(checked, ("messages", 0), template)?;
    Ok((messages, n_images))
}

impl ChatMessage {
    fn content(&self) -> Option<&Said<ChatPart>> {
        match self {
            Self::System(said) | Self::Developer(said) | Self::User(said) => Some(&said.content),
            Self::Assistant(reply) => reply.content.as_ref(),
            Self::Tool(result) => Some(&result.content),
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::System(said) | Self::Developer(said) | Self::User(said) => said.name.as_deref(),
            Self::Assistant(reply) => reply.name.as_deref(),
            Self::Tool(result) => result.name.as_deref(),
        }
    }

    /// The message in llama-server's words.
    fn tidy(self) -> Self {
        match self {
            Self::System(said) | Self::Developer(said) => Self::System(said.tidy()),
            Self::User(said) => Self::User(said.tidy()),
            Self::Assistant(reply) => Self::Assistant(reply.tidy()),
            Self::Tool(mut result) => {
                result.content = result.content.tidy();
                Self::Tool(result)
            }
        }
    }
}

impl ChatStatement {
    fn tidy(mut self) -> Self {
        self.content = self.content.tidy();
        self
    }
}

impl ChatReply {
    /// llama-server knows no refusal, and wants content where there are no calls.
    fn tidy(mut self) -> Self {
        if let Some(TextOr::Other(parts)) = &mut self.content {
            for part in &mut parts.0 {
                if let ChatPart::Refusal(refusal) = part {
                    *part = ChatPart::of_text(std::mem::take(&mut refusal.refusal));
                }
            }
        }
        if self.content.is_none() {
            self.content = self.refusal.take().map(TextOr::Text);
        }
        if self.content.is_none() && self.tool_calls.is_none() {
            self.content = Some(Said::nothing());
        }
        self
    }
}

impl MessagePart for ChatPart {
    fn of_text(text: String) -> Self {
        Self::Text(JustText { text })
    }

    fn text(&mut self) -> Option<&mut String> {
        match self {
            Self::Text(part) => Some(&mut part.text),
            Self::Image(_) | Self::Refusal(_) => None,
        }
    }

    fn n_images(&self) -> usize {
        usize::from(matches!(self, Self::Image(_)))
    }
}

impl conversation::SpokenTurn for ChatMessage {
    fn speaker(&self) -> Speaker {
        match self {
            Self::System(_) | Self::Developer(_) => Speaker::System,
            Self::User(_) => Speaker::User,
            Self::Assistant(_) if self.has_calls() => Speaker::Tool,
            Self::Assistant(_) => Speaker::Assistant,
            Self::Tool(_) => Speaker::Tool,
        }
    }

    fn has_calls(&self) -> bool {
        matches!(self, Self::Assistant(reply) if reply.tool_calls.is_some())
    }

    fn append(&mut self, next: Self) {
        match (self, next) {
            (
                Self::System(before) | Self::Developer(before) | Self::User(before),
                Self::System(next) | Self::Developer(next) | Self::User(next),
            ) => {
                before.content.append(next.content);
                if before.name != next.name {
                    before.name = None;
                }
            }
            (Self::Assistant(before), Self::Assistant(next)) => {
                let said = before.content.get_or_insert_with(Said::nothing);
                said.append(next.content.unwrap_or_else(Said::nothing));
                let thoughts = [before.reasoning_content.take(), next.reasoning_content];
                let thoughts: Vec<String> = thoughts.into_iter().flatten().collect();
                before.reasoning_content = (!thoughts.is_empty()).then(|| thoughts.join("\n\n"));
            }
            _ => {}
        }
    }

    fn by_user(self) -> Self {
        match self {
            Self::System(said) | Self::Developer(said) => Self::User(said),
            other => other,
        }
    }
}

/// Calls and their results as text, for a template that would not show them.
fn without_tools(messages: Vec<ChatMessage>) -> Vec<ChatMessage> {
    let mut names = HashMap::new();
    let mut out = Vec::with_capacity(messages.len());
    for message in messages {
        out.push(match message {
            ChatMessage::Assistant(mut reply) => {
                let mut said = reply.content.take().unwrap_or_else(Said::nothing);
                for call in reply.tool_calls.take().unwrap_or_default().0 {
                    let CalledFunction {
                        name, arguments, ..
                    } = call.function;
                    said.append(TextOr::Text(call_as_text(&name.0, &arguments.0)));
                    names.insert(call.id, name.0);
                }
                reply.content = Some(said);
                ChatMessage::Assistant(reply)
            }
            ChatMessage::Tool(result) => {
                let name = names.get(&result.tool_call_id).map(String::as_str);
                let mut said = TextOr::Text(result_as_text(name.or(result.name.as_deref())));
                said.append(result.content);
                ChatMessage::User(ChatStatement {
                    content: said,
                    name: None,
                })
            }
            other => other,
        });
    }
    out
}
