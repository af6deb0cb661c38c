//! The body of `/v1/responses`: what was said as a list of items, and nothing that would have to be kept between two
//! requests.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::conversation::{
    self, MAX_MESSAGES, MessagePart, Said, Speaker, arrange, call_as_text, result_as_text,
};
use super::format::{AnswerFormat, ResponsesFormat};
use super::generation::{Effort, Generation, TemplateSettings};
use super::tools::{
    self, ChoiceWord, ResponsesChoice, ResponsesTool, SentTool, ToolList, WantedTools,
};
use super::typed::Fields;
use super::values::{CallArguments, FunctionName, ImageUrl, JustText, Listed, TextOr, tagged};
use super::{Checked, InvalidRequest, Rules, Template};
use crate::api::Dialect;

/// Parts of one thought.
const MAX_THOUGHTS: usize = 256;
/// What asks for an earlier answer, which nobody has kept.
const KEPT: [&str; 2] = ["previous_response_id", "conversation"];

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "nothing is stored, whatever `store` says")]
struct ResponsesRequest {
    input: TextOr<Listed<Item, MAX_MESSAGES>>,
    instructions: Option<String>,
    tools: Option<ToolList<ResponsesTool>>,
    tool_choice: Option<TextOr<ResponsesChoice>>,
    parallel_tool_calls: Option<bool>,
    chat_template_kwargs: Option<TemplateSettings>,
    enable_thinking: Option<bool>,
    reasoning: Option<Reasoning>,
    text: Option<TextSettings>,
    background: Option<bool>,
    store: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reasoning {
    effort: Option<Effort>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TextSettings {
    format: Option<ResponsesFormat>,
}

/// What leaves. The prompt comes first: two bodies begin alike as far as their prompts do.
#[derive(Debug, Serialize)]
struct ResponsesBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_template_kwargs: Option<TemplateSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<SentTool>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<String>,
    input: TextOr<Vec<Item>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ChoiceWord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<SentReasoning>,
    /// llama-server does not look into `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<AnswerFormat>,
}

#[derive(Debug, Serialize)]
struct SentReasoning {
    effort: Effort,
}

tagged! {
    /// An item of what was said.
    enum Item: Typed { r#type by "type=message" }
    "message" => Message(ItemMessage),
    "function_call" => Call(ItemCall),
    "function_call_output" => Output(ItemOutput),
    "reasoning" => Reasoning(ItemReasoning),
}

tagged! {
    /// A message by whom it is of.
    enum ItemMessage: Spoken { role by "role" }
    "system" => System(InputMessage),
    /// As in a chat.
    "developer" => Developer(InputMessage),
    "user" => User(InputMessage),
    "assistant" => Assistant(OutputMessage),
}

/// What the system or a user says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct InputMessage {
    content: Said<InputPart>,
}

/// What the model has said.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct OutputMessage {
    content: Said<OutputPart>,
}

/// A call of a function.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct ItemCall {
    call_id: String,
    name: FunctionName,
    #[serde(default)]
    arguments: CallArguments,
}

/// What a function has returned.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct ItemOutput {
    call_id: String,
    #[serde(default = "Said::nothing")]
    output: Said<InputPart>,
}

/// What the model thought.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct ItemReasoning {
    #[serde(default)]
    summary: Option<Listed<SummaryPart, MAX_THOUGHTS>>,
    content: Option<Listed<ThoughtPart, MAX_THOUGHTS>>,
}

tagged! {
    /// A part of what was said to the model.
    enum InputPart: Typed { r#type by "type" }
    "input_text" => Text(JustText),
    "input_image" => Image(InputImage),
}

tagged! {
    /// A part of what the model said.
    enum OutputPart: Typed { r#type by "type" }
    "output_text" => Text(JustText),
    /// As some clients send it back.
    "input_text" => Input(JustText),
    "refusal" => Refusal(OutputRefusal),
}

tagged! {
    /// A part of what the model thought.
    enum ThoughtPart: Typed { r#type by "type" }
    "reasoning_text" => Thought(JustText),
}

tagged! {
    /// A part of what the model thought, in short.
    enum SummaryPart: Typed { r#type by "type" }
    "summary_text" => Summary(JustText),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InputImage {
    image_url: ImageUrl,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputRefusal {
    refusal: String,
}

impl Checked {
    pub(super) fn responses(mut fields: Fields, rules: &Rules<'_>) -> Result<Self, InvalidRequest> {
        fields.refuse(
            &KEPT,
            "is not supported: nothing is kept here, so send all that was said in `input`",
        )?;
        let request: ResponsesRequest = fields.take()?;
        if request.background == Some(true) {
            return Err(InvalidRequest::field(
                "background",
                "must be false: an answer that nobody reads is not written",
            ));
        }
        let wanted = request.tool_choice.map(WantedTools::of).transpose()?;
        let mut tools = tools::check(request.tools, wanted, Dialect::Responses, rules)?;
        let mut settings = request.chat_template_kwargs.unwrap_or_default();
        if let Some(on) = request.enable_thinking {
            settings.think(on);
        }
        let format = request.text.and_then(|text| text.format);
        let format = format.map(|format| format.check("text.format"));
        let format = format.transpose()?;
        if format.as_ref().is_some_and(AnswerFormat::is_form) {
            tools.beside_form("text.format")?;
        }
        let n_items = match &request.input {
            TextOr::Text(_) => 0,
            TextOr::Other(items) => items.0.len(),
        };
        let mut conversation =
            ResponsesConversation::check(request.instructions, request.input, rules.template)?;
        if let (Some(format), Some(begun)) = (&format, conversation.begun()) {
            let path = format!("input[{}]", n_items.saturating_sub(1));
            format.check_begun("text.format", &path, begun.starts_with('{'))?;
        }
        let effort = request.reasoning.and_then(|reasoning| reasoning.effort);
        let body = ResponsesBody {
            chat_template_kwargs: settings.some(),
            instructions: conversation.instructions,
            input: conversation.input,
            parallel_tool_calls: request.parallel_tool_calls,
            tools: tools.tools,
            tool_choice: tools.choice,
            reasoning: effort.map(|effort| SentReasoning { effort }),
            response_format: format,
        };
        let generation = Generation::take(&mut fields, rules, 1)?;
        let mut checked = Self::generated(rules, &body, &generation, fields)?;
        checked.has_images = conversation.n_images > 0;
        checked.tools_left_out = tools.left_out;
        checked.unheld = tools.unheld;
        if let Some(format) = &body.response_format {
            checked.unheld.extend_from_slice(format.unheld());
        }
        Ok(checked)
    }
}

/// What was said, as it leaves.
struct ResponsesConversation {
    instructions: Option<String>,
    input: TextOr<Vec<Item>>,
    n_images: usize,
}

impl ResponsesConversation {
    /// What the model has said of the answer already.
    fn begun(&mut self) -> Option<&mut Said<OutputPart>> {
        match &mut self.input {
            TextOr::Other(items) => match items.last_mut() {
                Some(Item::Message(ItemMessage::Assistant(begun))) => Some(&mut begun.content),
                _ => None,
            },
            TextOr::Text(_) => None,
        }
    }

    fn check(
        instructions: Option<String>,
        input: TextOr<Listed<Item, MAX_MESSAGES>>,
        template: Template,
    ) -> Result<Self, InvalidRequest> {
        let items = match input {
            TextOr::Text(text) if text.is_empty() => {
                return Err(InvalidRequest::field("input", "must not be empty"));
            }
            TextOr::Text(text) => {
                return Ok(Self {
                    instructions,
                    input: TextOr::Text(text),
                    n_images: 0,
                });
            }
            TextOr::Other(items) => items.0,
        };
        conversation::check_end(&items, "input")?;
        let mut n_images = 0;
        for (at, item) in items.iter().enumerate() {
            n_images += item.n_images(&format!("input[{at}]"))?;
        }
        let mut items: Vec<Item> = items.into_iter().filter_map(Item::tidy).collect();
        if items.is_empty() {
            return Err(InvalidRequest::field("input", "must not be empty"));
        }
        if !template.tools {
            items = without_tools(items);
        }
        // The instructions are a system message too.
        let mut instructions = instructions;
        let mut n_before = 0;
        let is_one_system = !template.later_system || !template.system;
        if let Some(instructions) = instructions.take_if(|_| is_one_system) {
            items.insert(0, Item::of_system(instructions));
            n_before = 1;
        }
        let items = arrange(items, ("input", n_before), template)?;
        Ok(Self {
            instructions,
            input: TextOr::Other(items),
            n_images,
        })
    }
}

impl Item {
    fn of_system(text: String) -> Self {
        Self::Message(ItemMessage::System(InputMessage::of(TextOr::Text(text))))
    }

    fn n_images(&self, path: &str) -> Result<usize, InvalidRequest> {
        match self {
            Self::Message(
                ItemMessage::System(said) | ItemMessage::Developer(said) | ItemMessage::User(said),
            ) => said.content.n_images(&format!("{path}.content")),
            Self::Output(output) => output.output.n_images(&format!("{path}.output")),
            Self::Message(ItemMessage::Assistant(_)) | Self::Call(_) | Self::Reasoning(_) => Ok(0),
        }
    }

    /// The item in llama-server's words; none where it holds nothing that llama-server could read.
    fn tidy(self) -> Option<Self> {
        match self {
            Self::Message(ItemMessage::System(said) | ItemMessage::Developer(said)) => {
                Some(Self::Message(ItemMessage::System(said.tidy())))
            }
            Self::Message(ItemMessage::User(said)) => {
                Some(Self::Message(ItemMessage::User(said.tidy())))
            }
            Self::Message(ItemMessage::Assistant(said)) => {
                Some(Self::Message(ItemMessage::Assistant(said.tidy())))
            }
            Self::Output(mut output) => {
                output.output = output.output.tidy();
                Some(Self::Output(output))
            }
            Self::Reasoning(thoughts) => thoughts.tidy().map(Self::Reasoning),
            Self::Call(_) => Some(self),
        }
    }
}

impl InputMessage {
    fn of(content: Said<InputPart>) -> Self {
        Self { content }
    }

    fn tidy(mut self) -> Self {
        self.content = self.content.tidy();
        self
    }
}

impl OutputMessage {
    fn of(content: Said<OutputPart>) -> Self {
        Self { content }
    }

    /// llama-server's template parser knows no refusal.
    fn tidy(mut self) -> Self {
        self.content = self.content.tidy();
        if let TextOr::Other(parts) = &mut self.content {
            for part in &mut parts.0 {
                match part {
                    OutputPart::Text(_) => {}
                    OutputPart::Input(said) => *part = OutputPart::Text(said.clone()),
                    OutputPart::Refusal(said) => {
                        *part = OutputPart::of_text(std::mem::take(&mut said.refusal));
                    }
                }
            }
        }
        self
    }
}

impl ItemReasoning {
    /// llama-server reads the first part only, and refuses an item without one.
    fn tidy(mut self) -> Option<Self> {
        let thoughts = self.content.take().unwrap_or_default().0.into_iter();
        let mut texts: Vec<String> = thoughts
            .map(|ThoughtPart::Thought(part)| part.text)
            .collect();
        if texts.iter().all(String::is_empty) {
            let summary = self.summary.take().unwrap_or_default().0.into_iter();
            texts = summary
                .map(|SummaryPart::Summary(part)| part.text)
                .collect();
        }
        let text = texts.join("\n\n");
        if text.is_empty() {
            return None;
        }
        self.summary = Some(Listed(Vec::new()));
        self.content = Some(Listed(vec![ThoughtPart::Thought(JustText { text })]));
        Some(self)
    }
}

impl MessagePart for InputPart {
    fn of_text(text: String) -> Self {
        Self::Text(JustText { text })
    }

    fn text(&mut self) -> Option<&mut String> {
        match self {
            Self::Text(part) => Some(&mut part.text),
            Self::Image(_) => None,
        }
    }

    fn n_images(&self) -> usize {
        usize::from(matches!(self, Self::Image(_)))
    }
}

impl MessagePart for OutputPart {
    fn of_text(text: String) -> Self {
        Self::Text(JustText { text })
    }

    fn text(&mut self) -> Option<&mut String> {
        match self {
            Self::Text(part) | Self::Input(part) => Some(&mut part.text),
            Self::Refusal(part) => Some(&mut part.refusal),
        }
    }

    fn n_images(&self) -> usize {
        0
    }
}

impl conversation::SpokenTurn for Item {
    fn speaker(&self) -> Speaker {
        match self {
            Self::Message(ItemMessage::System(_) | ItemMessage::Developer(_)) => Speaker::System,
            Self::Message(ItemMessage::User(_)) => Speaker::User,
            Self::Message(ItemMessage::Assistant(_)) => Speaker::Assistant,
            Self::Call(_) | Self::Output(_) | Self::Reasoning(_) => Speaker::Tool,
        }
    }

    fn has_calls(&self) -> bool {
        matches!(self, Self::Call(_))
    }

    fn is_models_words(&self) -> bool {
        matches!(
            self,
            Self::Message(ItemMessage::Assistant(_)) | Self::Reasoning(_)
        )
    }

    fn append(&mut self, next: Self) {
        match (self, next) {
            (
                Self::Message(
                    ItemMessage::System(before)
                    | ItemMessage::Developer(before)
                    | ItemMessage::User(before),
                ),
                Self::Message(
                    ItemMessage::System(next)
                    | ItemMessage::Developer(next)
                    | ItemMessage::User(next),
                ),
            ) => before.content.append(next.content),
            (
                Self::Message(ItemMessage::Assistant(before)),
                Self::Message(ItemMessage::Assistant(next)),
            ) => before.content.append(next.content),
            _ => {}
        }
    }

    fn by_user(self) -> Self {
        match self {
            Self::Message(ItemMessage::System(said) | ItemMessage::Developer(said)) => {
                Self::Message(ItemMessage::User(said))
            }
            other => other,
        }
    }
}

/// Calls and their results as text, for a template that would not show them.
fn without_tools(items: Vec<Item>) -> Vec<Item> {
    let mut names = HashMap::new();
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        out.push(match item {
            Item::Call(call) => {
                let text = call_as_text(&call.name.0, &call.arguments.0);
                names.insert(call.call_id, call.name.0);
                let said = OutputMessage::of(TextOr::Text(text));
                Item::Message(ItemMessage::Assistant(said))
            }
            Item::Output(output) => {
                let name = names.get(&output.call_id).map(String::as_str);
                let mut said = TextOr::Text(result_as_text(name));
                said.append(output.output);
                Item::Message(ItemMessage::User(InputMessage::of(said)))
            }
            other => other,
        });
    }
    out
}
