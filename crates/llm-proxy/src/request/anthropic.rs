//! The body of `/v1/messages`: turns of content blocks, a system prompt beside them, tools in Anthropic's words.
//!
//! llama-server makes a chat of it and passes over what it does not know. What would change the answer is refused here,
//! or said in the words that it does know.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::conversation::{
    self, MAX_MESSAGES, MessagePart, Said, Speaker, arrange, call_as_text, result_as_text,
};
use super::generation::{Effort, Generation, Stops, TemplateSettings};
use super::tools::{
    self, ChoiceWord, MessagesChoice, MessagesTool, SentTool, ToolList, WantedTools,
};
use super::typed::Fields;
use super::values::{
    Base64, FunctionName, Ignored, ImageKind, JsonObject, JustText, Listed, TextOr, WholeIn, tagged,
};
use super::{Checked, InvalidRequest, Rules, Template};
use crate::api::Dialect;

/// What Anthropic runs on its own machines.
const ELSEWHERE: [&str; 2] = ["mcp_servers", "container"];

#[derive(Debug, Deserialize)]
struct MessagesRequest {
    messages: Listed<MessagesTurn, MAX_MESSAGES>,
    system: Option<Said<SystemBlock>>,
    tools: Option<ToolList<MessagesTool>>,
    tool_choice: Option<MessagesChoice>,
    chat_template_kwargs: Option<TemplateSettings>,
    enable_thinking: Option<bool>,
    thinking: Option<Thinking>,
    output_config: Option<OutputConfig>,
    stop_sequences: Option<Stops>,
}

/// How the answer is to be.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "a format is refused while it is read")]
struct OutputConfig {
    effort: Option<Effort>,
    format: Option<Unenforceable>,
}

/// A form of the answer, which llama-server cannot be told in Anthropic's words.
#[derive(Debug)]
struct Unenforceable;

impl<'de> Deserialize<'de> for Unenforceable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom(
            "is not supported: ask for a form of the answer on /v1/chat/completions or /v1/responses",
        ))
    }
}

/// What leaves. The prompt comes first: two bodies begin alike as far as their prompts do.
#[derive(Debug, Serialize)]
struct MessagesBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_template_kwargs: Option<TemplateSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<SentThinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<SentTool>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<SentChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<Said<SystemBlock>>,
    messages: Vec<MessagesTurn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_sequences: Option<Stops>,
}

/// How much to think.
#[derive(Debug, Deserialize)]
#[serde(rename = "type")]
enum Thinking {
    #[serde(rename = "enabled")]
    Enabled(ThinkingBudget),
    #[serde(rename = "disabled")]
    Disabled(ThinkingAsItLikes),
    #[serde(rename = "adaptive")]
    Adaptive(ThinkingAsItLikes),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ThinkingBudget {
    /// The limit of the answer counts them too.
    budget_tokens: WholeIn<1, 1_000_000>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ThinkingAsItLikes {}

/// How many tokens to think, as it leaves.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum SentThinking {
    Enabled {
        budget_tokens: WholeIn<1, 1_000_000>,
    },
}

/// A choice among the tools, as it leaves.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum SentChoice {
    Auto,
    Any,
}

tagged! {
    /// A turn of the conversation.
    enum MessagesTurn: Spoken { role by "role" }
    /// Newer clients speak to the model between two turns.
    "system" => System(TurnOf<SystemBlock>),
    "user" => User(TurnOf<UserBlock>),
    "assistant" => Assistant(TurnOf<AssistantBlock>),
}

/// What one speaker says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(bound(deserialize = "B: Deserialize<'de>"))]
pub(super) struct TurnOf<B> {
    content: Said<B>,
}

tagged! {
    /// A block of the system prompt.
    enum SystemBlock: Typed { r#type by "type" }
    "text" => Text(JustText),
}

tagged! {
    /// A block of a user's turn.
    enum UserBlock: Typed { r#type by "type" }
    "text" => Text(JustText),
    "image" => Image(ImageBlock),
    "tool_result" => Result(ResultBlock),
}

tagged! {
    /// A block of the model's turn.
    enum AssistantBlock: Typed { r#type by "type" }
    "text" => Text(JustText),
    "thinking" => Thinking(ThinkingBlock),
    /// Thoughts that only their author can read.
    "redacted_thinking" => Redacted(RedactedBlock),
    "tool_use" => Call(CallBlock),
}

tagged! {
    /// A block of what a tool has returned.
    enum ResultPart: Typed { r#type by "type" }
    "text" => Text(JustText),
    "image" => Image(ImageBlock),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImageBlock {
    source: ImageSource,
}

tagged! {
    /// Where an image is: here as a whole. llama-server would fetch any other.
    enum ImageSource: Typed { r#type by "type" }
    "base64" => Base64(ImageBytes),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImageBytes {
    media_type: ImageKind,
    data: Base64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResultBlock {
    tool_use_id: String,
    #[serde(default = "Said::nothing")]
    content: Said<ResultPart>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ThinkingBlock {
    thinking: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RedactedBlock {
    #[serde(default, skip_serializing_if = "Ignored::stays")]
    data: Ignored,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallBlock {
    id: String,
    name: FunctionName,
    #[serde(default)]
    input: CallInput,
}

/// A call's arguments. Nothing is an empty object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct CallInput(JsonObject);

impl<'de> Deserialize<'de> for CallInput {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let input = Option::<JsonObject>::deserialize(deserializer)?;
        Ok(Self(input.unwrap_or_default()))
    }
}

impl Checked {
    pub(super) fn messages(mut fields: Fields, rules: &Rules<'_>) -> Result<Self, InvalidRequest> {
        fields.refuse(
            &ELSEWHERE,
            "is not supported: tools run where they are asked for",
        )?;
        let request: MessagesRequest = fields.take()?;
        let wanted = request.tool_choice.map(WantedTools::from);
        let mut tools = tools::check(request.tools, wanted, Dialect::Messages, rules)?;
        if tools.choice == Some(ChoiceWord::None) {
            tools.tools = None;
        }
        let mut settings = request.chat_template_kwargs.unwrap_or_default();
        let mut thinking = None;
        match request.thinking {
            Some(Thinking::Enabled(ThinkingBudget { budget_tokens, .. })) => {
                thinking = Some(SentThinking::Enabled { budget_tokens });
            }
            Some(Thinking::Disabled(_)) => settings.think(false),
            Some(Thinking::Adaptive(_)) | None => {}
        }
        if let Some(on) = request.enable_thinking {
            settings.think(on);
        }
        match request.output_config.and_then(|config| config.effort) {
            Some(Effort::None) => settings.think(false),
            Some(effort) => settings.effort(effort),
            None => {}
        }
        let conversation =
            MessagesConversation::check(request.system, request.messages.0, rules.template)?;
        let body = MessagesBody {
            chat_template_kwargs: settings.some(),
            thinking,
            tools: tools.tools,
            tool_choice: match tools.choice {
                Some(ChoiceWord::Auto) => Some(SentChoice::Auto),
                Some(ChoiceWord::Required) => Some(SentChoice::Any),
                Some(ChoiceWord::None) | None => None,
            },
            system: conversation.system,
            messages: conversation.turns,
            stop_sequences: request.stop_sequences,
        };
        let generation = Generation::take(&mut fields, rules, 1)?;
        let mut checked = Self::generated(rules, &body, &generation, fields)?;
        checked.has_images = conversation.n_images > 0;
        checked.tools_left_out = tools.left_out;
        checked.unheld = tools.unheld;
        Ok(checked)
    }
}

/// What was said, as it leaves.
struct MessagesConversation {
    system: Option<Said<SystemBlock>>,
    turns: Vec<MessagesTurn>,
    n_images: usize,
}

impl MessagesConversation {
    fn check(
        mut system: Option<Said<SystemBlock>>,
        turns: Vec<MessagesTurn>,
        template: Template,
    ) -> Result<Self, InvalidRequest> {
        if turns.is_empty() {
            return Err(InvalidRequest::field("messages", "must not be empty"));
        }
        conversation::check_end(&turns, "messages")?;
        let mut n_images = 0;
        let mut checked = Vec::with_capacity(turns.len());
        for (at, turn) in turns.into_iter().enumerate() {
            n_images += turn.n_images(&format!("messages[{at}].content"))?;
            checked.push(turn.tidy());
        }
        if !template.tools {
            without_tools(&mut checked);
        }
        let mut n_before = 0;
        let is_one_system = !template.later_system || !template.system;
        if let Some(content) = system.take_if(|_| is_one_system) {
            checked.insert(0, MessagesTurn::System(TurnOf { content }));
            n_before = 1;
        }
        Ok(Self {
            system,
            turns: arrange(checked, ("messages", n_before), template)?,
            n_images,
        })
    }
}

impl MessagesTurn {
    fn n_images(&self, path: &str) -> Result<usize, InvalidRequest> {
        let Self::User(turn) = self else {
            return Ok(0);
        };
        if let TextOr::Other(blocks) = &turn.content {
            for (at, block) in blocks.0.iter().enumerate() {
                if let UserBlock::Result(result) = block {
                    result.content.n_images(&format!("{path}[{at}].content"))?;
                }
            }
        }
        turn.content.n_images(path)
    }

    /// The turn in llama-server's words. It would leave out a turn without blocks, and with it whose turn it was.
    fn tidy(self) -> Self {
        match self {
            Self::System(turn) => Self::System(turn.tidy()),
            Self::User(mut turn) => {
                if let TextOr::Other(blocks) = &mut turn.content {
                    for block in &mut blocks.0 {
                        if let UserBlock::Result(result) = block {
                            let content = std::mem::replace(&mut result.content, Said::nothing());
                            result.content = content.tidy();
                        }
                    }
                }
                Self::User(turn.tidy())
            }
            Self::Assistant(mut turn) => {
                if let TextOr::Other(blocks) = &mut turn.content {
                    blocks.0.retain(|block| match block {
                        AssistantBlock::Redacted(_) => false,
                        AssistantBlock::Thinking(block) => !block.thinking.is_empty(),
                        AssistantBlock::Text(_) | AssistantBlock::Call(_) => true,
                    });
                }
                Self::Assistant(turn.tidy())
            }
        }
    }

    fn has_tools(&self) -> bool {
        match self {
            Self::System(_) => false,
            Self::User(turn) => matches!(&turn.content, TextOr::Other(blocks)
                if blocks.0.iter().any(|block| matches!(block, UserBlock::Result(_)))),
            Self::Assistant(turn) => matches!(&turn.content, TextOr::Other(blocks)
                if blocks.0.iter().any(|block| matches!(block, AssistantBlock::Call(_)))),
        }
    }
}

impl<B: MessagePart> TurnOf<B> {
    fn tidy(mut self) -> Self {
        self.content = self.content.tidy();
        self
    }
}

impl MessagePart for SystemBlock {
    fn of_text(text: String) -> Self {
        Self::Text(JustText { text })
    }

    fn text(&mut self) -> Option<&mut String> {
        let Self::Text(block) = self;
        Some(&mut block.text)
    }

    fn n_images(&self) -> usize {
        0
    }
}

impl MessagePart for UserBlock {
    fn of_text(text: String) -> Self {
        Self::Text(JustText { text })
    }

    fn text(&mut self) -> Option<&mut String> {
        match self {
            Self::Text(block) => Some(&mut block.text),
            Self::Image(_) | Self::Result(_) => None,
        }
    }

    fn n_images(&self) -> usize {
        match self {
            Self::Text(_) => 0,
            Self::Image(_) => 1,
            Self::Result(result) => match &result.content {
                TextOr::Text(_) => 0,
                TextOr::Other(parts) => parts.0.iter().map(MessagePart::n_images).sum(),
            },
        }
    }
}

impl MessagePart for AssistantBlock {
    fn of_text(text: String) -> Self {
        Self::Text(JustText { text })
    }

    fn text(&mut self) -> Option<&mut String> {
        match self {
            Self::Text(block) => Some(&mut block.text),
            Self::Thinking(_) | Self::Redacted(_) | Self::Call(_) => None,
        }
    }

    fn n_images(&self) -> usize {
        0
    }
}

impl MessagePart for ResultPart {
    fn of_text(text: String) -> Self {
        Self::Text(JustText { text })
    }

    fn text(&mut self) -> Option<&mut String> {
        match self {
            Self::Text(block) => Some(&mut block.text),
            Self::Image(_) => None,
        }
    }

    fn n_images(&self) -> usize {
        usize::from(matches!(self, Self::Image(_)))
    }
}

impl conversation::SpokenTurn for MessagesTurn {
    fn speaker(&self) -> Speaker {
        match self {
            _ if self.has_tools() => Speaker::Tool,
            Self::System(_) => Speaker::System,
            Self::User(_) => Speaker::User,
            Self::Assistant(_) => Speaker::Assistant,
        }
    }

    fn has_calls(&self) -> bool {
        matches!(self, Self::Assistant(_)) && self.has_tools()
    }

    fn append(&mut self, next: Self) {
        match (self, next) {
            (Self::System(before), Self::System(next)) => before.content.append(next.content),
            (Self::User(before), Self::User(next)) => before.content.append(next.content),
            (Self::Assistant(before), Self::Assistant(next)) => before.content.append(next.content),
            _ => {}
        }
    }

    fn by_user(self) -> Self {
        let Self::System(turn) = self else {
            return self;
        };
        let content = match turn.content {
            TextOr::Text(text) => TextOr::Text(text),
            TextOr::Other(blocks) => {
                let blocks = blocks.0.into_iter();
                let blocks = blocks.map(|SystemBlock::Text(block)| UserBlock::Text(block));
                TextOr::Other(Listed(blocks.collect()))
            }
        };
        Self::User(TurnOf { content })
    }
}

/// Makes text of calls and their results, for a template that would not show them.
fn without_tools(turns: &mut [MessagesTurn]) {
    let mut names = HashMap::new();
    for turn in turns {
        match turn {
            MessagesTurn::System(_) => {}
            MessagesTurn::Assistant(turn) => {
                let TextOr::Other(blocks) = &mut turn.content else {
                    continue;
                };
                for block in &mut blocks.0 {
                    if let AssistantBlock::Call(call) = block {
                        let text = call_as_text(&call.name.0, &call.input.0.to_string());
                        names.insert(call.id.clone(), call.name.0.clone());
                        *block = AssistantBlock::of_text(text);
                    }
                }
            }
            MessagesTurn::User(turn) => {
                let TextOr::Other(blocks) = &mut turn.content else {
                    continue;
                };
                let told = std::mem::take(&mut blocks.0).into_iter();
                blocks.0 = told.flat_map(|block| result_told(block, &names)).collect();
            }
        }
    }
}

/// A tool's result as text and images; any other block as it is.
fn result_told(block: UserBlock, names: &HashMap<String, String>) -> Vec<UserBlock> {
    let UserBlock::Result(result) = block else {
        return vec![block];
    };
    let name = names.get(&result.tool_use_id).map(String::as_str);
    let mut said: Said<ResultPart> = TextOr::Text(result_as_text(name));
    said.append(result.content);
    let parts = match said {
        TextOr::Text(text) => return vec![UserBlock::of_text(text)],
        TextOr::Other(parts) => parts.0.into_iter(),
    };
    let told = parts.map(|part| match part {
        ResultPart::Text(block) => UserBlock::Text(block),
        ResultPart::Image(block) => UserBlock::Image(block),
    });
    told.collect()
}
