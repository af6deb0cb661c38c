//! The tools of a request, and which of them is to be called, in the words of each API.
//!
//! llama-server knows no tool chosen by name, and in Anthropic's words not even a choice of none: the tools that may not be
//! called are left out.

use serde::{Deserialize, Serialize};

use super::format::GivenSchema;
use super::rebuilt::Schema;
use super::values::{FunctionName, Ignored, Listed, TextOr};
use super::{InvalidRequest, Rules};

/// Tools in a request.
const MAX_TOOLS: usize = 128;

/// A list of tools in one API's words.
pub(super) type ToolList<T> = Listed<T, MAX_TOOLS>;

/// The only kind of tool that is not run by the API's own servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) enum FunctionWord {
    #[serde(rename = "function")]
    Function,
}

/// The same in Anthropic's words. llama-server would take a tool that Anthropic runs for one without arguments.
#[derive(Clone, Copy, Debug, Deserialize)]
enum CustomWord {
    #[serde(rename = "custom")]
    Custom,
}

/// A tool of a chat.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "what clients send beside the function changes nothing"
)]
pub(super) struct ChatTool {
    r#type: FunctionWord,
    function: ChatFunction,
    #[serde(default)]
    cache_control: Ignored,
    #[serde(default)]
    strict: Ignored,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "what clients send beside the function changes nothing"
)]
struct ChatFunction {
    name: FunctionName,
    description: Option<String>,
    parameters: Option<GivenSchema>,
    strict: Option<bool>,
    #[serde(default)]
    cache_control: Ignored,
    #[serde(default)]
    r#type: Ignored,
}

/// A tool of a response.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "what clients send beside the function changes nothing"
)]
pub(super) struct ResponsesTool {
    r#type: FunctionWord,
    name: FunctionName,
    description: Option<String>,
    parameters: Option<GivenSchema>,
    strict: Option<bool>,
    #[serde(default)]
    output_schema: Ignored,
    #[serde(default)]
    defer_loading: Ignored,
    #[serde(default)]
    allowed_callers: Ignored,
    #[serde(default)]
    cache_control: Ignored,
}

/// A tool of a message.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "what clients send beside the function changes nothing"
)]
pub(super) struct MessagesTool {
    r#type: Option<CustomWord>,
    name: FunctionName,
    description: Option<String>,
    input_schema: Option<GivenSchema>,
    strict: Option<bool>,
    #[serde(default)]
    cache_control: Ignored,
    #[serde(default)]
    defer_loading: Ignored,
    #[serde(default)]
    allowed_callers: Ignored,
    #[serde(default)]
    input_examples: Ignored,
    #[serde(default)]
    eager_input_streaming: Ignored,
    #[serde(default)]
    metadata: Ignored,
}

/// A tool in no API's words. `S` is its schema, as it came or as it leaves.
#[derive(Debug)]
pub(super) struct OfferedTool<S> {
    name: FunctionName,
    description: Option<String>,
    schema: Option<S>,
    strict: Option<bool>,
}

/// One API's words for a tool.
pub(super) trait ToolWords {
    /// The field that holds the schema of its arguments.
    const SCHEMA: &'static str;
    /// What leaves.
    type Sent: Serialize + std::fmt::Debug;

    /// The tool, without the words.
    fn offered(self) -> OfferedTool<GivenSchema>;
    /// The words for a checked tool.
    fn sent(tool: OfferedTool<Schema>) -> Self::Sent;
}

/// A function as it leaves in a chat.
#[derive(Debug, Serialize)]
pub(super) struct SentChatTool {
    r#type: FunctionWord,
    function: SentFunction,
}

#[derive(Debug, Serialize)]
struct SentFunction {
    name: FunctionName,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Schema>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// A function as it leaves in a response.
#[derive(Debug, Serialize)]
pub(super) struct SentResponsesTool {
    r#type: FunctionWord,
    #[serde(flatten)]
    function: SentFunction,
}

/// A function as it leaves in a message.
#[derive(Debug, Serialize)]
pub(super) struct SentMessagesTool {
    name: FunctionName,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_schema: Option<Schema>,
}

impl From<OfferedTool<Schema>> for SentFunction {
    fn from(tool: OfferedTool<Schema>) -> Self {
        Self {
            name: tool.name,
            description: tool.description,
            parameters: tool.schema,
            strict: tool.strict,
        }
    }
}

impl ToolWords for ChatTool {
    const SCHEMA: &'static str = "function.parameters";
    type Sent = SentChatTool;

    fn offered(self) -> OfferedTool<GivenSchema> {
        OfferedTool {
            name: self.function.name,
            description: self.function.description,
            schema: self.function.parameters,
            strict: self.function.strict,
        }
    }

    fn sent(tool: OfferedTool<Schema>) -> SentChatTool {
        SentChatTool {
            r#type: FunctionWord::Function,
            function: tool.into(),
        }
    }
}

impl ToolWords for ResponsesTool {
    const SCHEMA: &'static str = "parameters";
    type Sent = SentResponsesTool;

    fn offered(self) -> OfferedTool<GivenSchema> {
        OfferedTool {
            name: self.name,
            description: self.description,
            schema: self.parameters,
            strict: self.strict,
        }
    }

    fn sent(tool: OfferedTool<Schema>) -> SentResponsesTool {
        SentResponsesTool {
            r#type: FunctionWord::Function,
            function: tool.into(),
        }
    }
}

impl ToolWords for MessagesTool {
    const SCHEMA: &'static str = "input_schema";
    type Sent = SentMessagesTool;

    fn offered(self) -> OfferedTool<GivenSchema> {
        OfferedTool {
            name: self.name,
            description: self.description,
            schema: self.input_schema,
            strict: self.strict,
        }
    }

    fn sent(tool: OfferedTool<Schema>) -> SentMessagesTool {
        SentMessagesTool {
            name: tool.name,
            description: tool.description,
            input_schema: tool.schema,
        }
    }
}

/// A choice among the tools that is one word in OpenAI's APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ChoiceWord {
    None,
    Auto,
    Required,
}

/// A choice of a chat that is more than a word.
#[derive(Debug, Deserialize)]
#[serde(rename = "type")]
pub(super) enum ChatChoice {
    #[serde(rename = "function")]
    Function(WrappedName),
    #[serde(rename = "allowed_tools")]
    Allowed(WrappedAllowed),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrappedName {
    function: JustName,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JustName {
    name: FunctionName,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrappedAllowed {
    allowed_tools: AllowedTools<ChatNamed>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AllowedTools<T> {
    mode: AllowedMode,
    tools: ToolList<T>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AllowedMode {
    Auto,
    Required,
}

/// A function by its name, in a list of those that are allowed.
#[derive(Debug, Deserialize)]
#[serde(rename = "type")]
enum ChatNamed {
    #[serde(rename = "function")]
    Function(WrappedName),
}

/// A choice of a response that is more than a word.
#[derive(Debug, Deserialize)]
#[serde(rename = "type")]
pub(super) enum ResponsesChoice {
    #[serde(rename = "function")]
    Function(JustName),
    #[serde(rename = "allowed_tools")]
    Allowed(AllowedTools<ResponsesNamed>),
}

#[derive(Debug, Deserialize)]
#[serde(rename = "type")]
pub(super) enum ResponsesNamed {
    #[serde(rename = "function")]
    Function(JustName),
}

/// A choice of a message.
#[derive(Debug, Deserialize)]
#[serde(rename = "type")]
pub(super) enum MessagesChoice {
    #[serde(rename = "auto")]
    Auto(HowMany),
    #[serde(rename = "any")]
    Any(HowMany),
    #[serde(rename = "tool")]
    Tool(NamedTool),
    #[serde(rename = "none")]
    None(HowMany),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "llama-server knows no such bound for messages")]
pub(super) struct HowMany {
    #[serde(default)]
    disable_parallel_tool_use: Ignored,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "llama-server knows no such bound for messages")]
pub(super) struct NamedTool {
    name: FunctionName,
    #[serde(default)]
    disable_parallel_tool_use: Ignored,
}

/// A choice in no API's words.
#[derive(Debug)]
pub(super) struct WantedTools {
    mode: ChoiceWord,
    /// The only tools that may be called.
    only: Option<Vec<FunctionName>>,
    /// The field that names them.
    path: &'static str,
}

impl WantedTools {
    /// A choice in the words of either of OpenAI's APIs.
    pub(super) fn of<T: Into<Self>>(choice: TextOr<T>) -> Result<Self, InvalidRequest> {
        let word = match choice {
            TextOr::Other(choice) => return Ok(choice.into()),
            TextOr::Text(word) => word,
        };
        match word.as_str() {
            "none" => Ok(Self::word(ChoiceWord::None)),
            "auto" => Ok(Self::word(ChoiceWord::Auto)),
            "required" => Ok(Self::word(ChoiceWord::Required)),
            _ => Err(InvalidRequest::field(
                "tool_choice",
                "must be none, auto, required, or name one function",
            )),
        }
    }

    fn word(mode: ChoiceWord) -> Self {
        Self {
            mode,
            only: None,
            path: "tool_choice",
        }
    }

    fn named(name: FunctionName, path: &'static str) -> Self {
        Self {
            mode: ChoiceWord::Required,
            only: Some(vec![name]),
            path,
        }
    }

    fn allowed(mode: AllowedMode, only: Vec<FunctionName>, path: &'static str) -> Self {
        let mode = match mode {
            AllowedMode::Auto => ChoiceWord::Auto,
            AllowedMode::Required => ChoiceWord::Required,
        };
        Self {
            mode,
            only: Some(only),
            path,
        }
    }
}

impl From<ChatChoice> for WantedTools {
    fn from(choice: ChatChoice) -> Self {
        match choice {
            ChatChoice::Function(choice) => {
                Self::named(choice.function.name, "tool_choice.function.name")
            }
            ChatChoice::Allowed(WrappedAllowed { allowed_tools }) => {
                let names = allowed_tools.tools.0.into_iter();
                Self::allowed(
                    allowed_tools.mode,
                    names
                        .map(|ChatNamed::Function(named)| named.function.name)
                        .collect(),
                    "tool_choice.allowed_tools.tools",
                )
            }
        }
    }
}

impl From<ResponsesChoice> for WantedTools {
    fn from(choice: ResponsesChoice) -> Self {
        match choice {
            ResponsesChoice::Function(JustName { name }) => Self::named(name, "tool_choice.name"),
            ResponsesChoice::Allowed(allowed) => {
                let names = allowed.tools.0.into_iter();
                Self::allowed(
                    allowed.mode,
                    names
                        .map(|ResponsesNamed::Function(named)| named.name)
                        .collect(),
                    "tool_choice.tools",
                )
            }
        }
    }
}

impl From<MessagesChoice> for WantedTools {
    fn from(choice: MessagesChoice) -> Self {
        match choice {
            MessagesChoice::Auto(_) => Self::word(ChoiceWord::Auto),
            MessagesChoice::Any(_) => Self::word(ChoiceWord::Required),
            MessagesChoice::None(_) => Self::word(ChoiceWord::None),
            MessagesChoice::Tool(tool) => Self::named(tool.name, "tool_choice.name"),
        }
    }
}

/// The tools that leave, and the choice among them.
#[derive(Debug)]
pub(super) struct CheckedTools<T> {
    /// None when there are none.
    pub(super) tools: Option<Vec<T>>,
    pub(super) choice: Option<ChoiceWord>,
    /// Whether there were tools that the model's template cannot show.
    pub(super) left_out: bool,
}

/// Checks the tools and the choice among them.
pub(super) fn check<W: ToolWords>(
    given: Option<ToolList<W>>,
    wanted: Option<WantedTools>,
    rules: &Rules<'_>,
) -> Result<CheckedTools<W::Sent>, InvalidRequest> {
    let given = given.unwrap_or_default().0;
    let mut tools = Vec::with_capacity(given.len());
    for (at, tool) in given.into_iter().enumerate() {
        tools.push(
            tool.offered()
                .rebuild(&format!("tools[{at}].{}", W::SCHEMA))?,
        );
    }
    let schemas = tools.iter_mut().filter_map(|tool| tool.schema.as_mut());
    Schema::check_together(&mut schemas.collect::<Vec<_>>())
        .map_err(|unsupported| unsupported.in_field("tools"))?;
    let had_tools = !tools.is_empty();
    let mut choice = None;
    if let Some(wanted) = wanted {
        if let Some(only) = &wanted.only {
            tools.retain(|tool| only.contains(&tool.name));
            if tools.is_empty() {
                let problem = "must be that of one of the tools";
                return Err(InvalidRequest::field(wanted.path, problem));
            }
        }
        choice = Some(wanted.mode);
    }
    if choice == Some(ChoiceWord::Required) {
        let problem = if !rules.template.tools {
            "demands a call, but this model cannot call tools: leave it out"
        } else {
            "demands a call, but there are no tools"
        };
        if tools.is_empty() || !rules.template.tools {
            return Err(InvalidRequest::field("tool_choice", problem));
        }
    }
    let left_out = had_tools && !rules.template.tools;
    if tools.is_empty() || left_out {
        return Ok(CheckedTools {
            tools: None,
            choice: None,
            left_out,
        });
    }
    Ok(CheckedTools {
        tools: Some(tools.into_iter().map(W::sent).collect()),
        choice,
        left_out,
    })
}

impl OfferedTool<GivenSchema> {
    fn rebuild(self, path: &str) -> Result<OfferedTool<Schema>, InvalidRequest> {
        let strict = self.strict.unwrap_or(false);
        let schema = self.schema.map(|schema| schema.rebuild(strict, path));
        Ok(OfferedTool {
            name: self.name,
            description: self.description,
            schema: schema.transpose()?,
            strict: self.strict,
        })
    }
}
