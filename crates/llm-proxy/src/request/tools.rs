//! The tools of a request, and which of them is to be called, in the words of each API.
//!
//! llama-server knows no tool chosen by name, and in Anthropic's words not even a choice of none: the tools that may not be
//! called are left out.

use serde::{Deserialize, Serialize};

use super::format::GivenSchema;
use super::schema::Schema;
use super::values::{FunctionName, Listed, TextOr};
use super::{InvalidRequest, Rules};
use crate::api::Dialect;

/// Tools in a request.
const MAX_TOOLS: usize = 128;

/// The tools of a request, in one API's words.
pub(super) type ToolList<T> = Listed<T, MAX_TOOLS>;

/// A tool of a chat. Only functions are: the API's other tools run on its own servers.
#[derive(Debug, Deserialize)]
#[serde(rename = "type")]
pub(super) enum ChatTool {
    #[serde(rename = "function")]
    Function(WrappedFunction),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrappedFunction {
    function: GivenFunction,
}

/// A tool of a response.
#[derive(Debug, Deserialize)]
#[serde(rename = "type")]
pub(super) enum ResponsesTool {
    #[serde(rename = "function")]
    Function(GivenFunction),
}

/// A tool of a message. llama-server would take one that Anthropic runs for a function without arguments.
#[derive(Debug, Deserialize)]
#[serde(rename = "type=custom")]
pub(super) enum MessagesTool {
    #[serde(rename = "custom")]
    Custom(GivenFunction),
}

/// A function that the model may call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GivenFunction {
    name: FunctionName,
    description: Option<String>,
    #[serde(alias = "input_schema")]
    parameters: Option<GivenSchema>,
    strict: Option<bool>,
}

impl From<ChatTool> for GivenFunction {
    fn from(ChatTool::Function(tool): ChatTool) -> Self {
        tool.function
    }
}

impl From<ResponsesTool> for GivenFunction {
    fn from(ResponsesTool::Function(function): ResponsesTool) -> Self {
        function
    }
}

impl From<MessagesTool> for GivenFunction {
    fn from(MessagesTool::Custom(function): MessagesTool) -> Self {
        function
    }
}

/// A tool as it leaves.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum SentTool {
    Chat {
        r#type: &'static str,
        function: SentFunction,
    },
    Responses {
        r#type: &'static str,
        #[serde(flatten)]
        function: SentFunction,
    },
    Messages(SentFunction),
}

/// A function as it leaves. Its schema has one of two names.
#[derive(Debug, Serialize)]
pub(super) struct SentFunction {
    name: FunctionName,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Schema>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_schema: Option<Schema>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

impl GivenFunction {
    /// The function as it leaves; `path` is the field that holds its schema.
    fn check(self, path: &str) -> Result<SentFunction, InvalidRequest> {
        let strict = self.strict.unwrap_or(false);
        let schema = self.parameters.map(|schema| schema.rebuild(strict, path));
        Ok(SentFunction {
            name: self.name,
            description: self.description,
            parameters: schema.transpose()?,
            input_schema: None,
            strict: self.strict,
        })
    }
}

impl SentFunction {
    fn into_tool(mut self, dialect: Dialect) -> SentTool {
        let r#type = "function";
        match dialect {
            Dialect::Chat => SentTool::Chat {
                r#type,
                function: self,
            },
            Dialect::Responses => SentTool::Responses {
                r#type,
                function: self,
            },
            Dialect::Messages => {
                self.input_schema = self.parameters.take();
                self.strict = None;
                SentTool::Messages(self)
            }
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

/// A choice of a response that is more than a word.
#[derive(Debug, Deserialize)]
#[serde(rename = "type")]
pub(super) enum ResponsesChoice {
    #[serde(rename = "function")]
    Function(JustName),
    #[serde(rename = "allowed_tools")]
    Allowed(AllowedTools<ResponsesNamed>),
}

/// A choice of a message.
#[derive(Debug, Deserialize)]
#[serde(rename = "type")]
pub(super) enum MessagesChoice {
    #[serde(rename = "auto")]
    Auto(NoName),
    #[serde(rename = "any")]
    Any(NoName),
    #[serde(rename = "tool")]
    Tool(JustName),
    #[serde(rename = "none")]
    None(NoName),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoName {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JustName {
    name: FunctionName,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrappedName {
    function: JustName,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrappedAllowed {
    allowed_tools: AllowedTools<ChatNamed>,
}

/// The tools that may be called, or of which one must be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AllowedTools<T> {
    mode: ChoiceWord,
    tools: ToolList<T>,
}

#[derive(Debug, Deserialize)]
#[serde(rename = "type")]
pub(super) enum ChatNamed {
    #[serde(rename = "function")]
    Function(WrappedName),
}

#[derive(Debug, Deserialize)]
#[serde(rename = "type")]
pub(super) enum ResponsesNamed {
    #[serde(rename = "function")]
    Function(JustName),
}

/// A choice in no API's words.
#[derive(Debug)]
pub(super) struct WantedTools {
    mode: ChoiceWord,
    /// The only tools that may be called, and the field that names them.
    only: Option<(Vec<FunctionName>, &'static str)>,
}

impl WantedTools {
    /// A choice in the words of either of OpenAI's APIs.
    pub(super) fn of<T: Into<Self>>(choice: TextOr<T>) -> Result<Self, InvalidRequest> {
        let word = match choice {
            TextOr::Other(choice) => return Ok(choice.into()),
            TextOr::Text(word) => word,
        };
        match word.as_str() {
            "none" => Ok(ChoiceWord::None.into()),
            "auto" => Ok(ChoiceWord::Auto.into()),
            "required" => Ok(ChoiceWord::Required.into()),
            _ => Err(InvalidRequest::field(
                "tool_choice",
                "must be none, auto, required, or name one function",
            )),
        }
    }

    fn named(name: FunctionName, path: &'static str) -> Self {
        Self {
            mode: ChoiceWord::Required,
            only: Some((vec![name], path)),
        }
    }
}

impl From<ChoiceWord> for WantedTools {
    fn from(mode: ChoiceWord) -> Self {
        Self { mode, only: None }
    }
}

impl From<ChatChoice> for WantedTools {
    fn from(choice: ChatChoice) -> Self {
        let allowed = match choice {
            ChatChoice::Function(choice) => {
                return Self::named(choice.function.name, "tool_choice.function.name");
            }
            ChatChoice::Allowed(choice) => choice.allowed_tools,
        };
        let tools = allowed.tools.0.into_iter();
        let names = tools.map(|ChatNamed::Function(named)| named.function.name);
        Self {
            mode: allowed.mode,
            only: Some((names.collect(), "tool_choice.allowed_tools.tools")),
        }
    }
}

impl From<ResponsesChoice> for WantedTools {
    fn from(choice: ResponsesChoice) -> Self {
        let allowed = match choice {
            ResponsesChoice::Function(choice) => {
                return Self::named(choice.name, "tool_choice.name");
            }
            ResponsesChoice::Allowed(allowed) => allowed,
        };
        let tools = allowed.tools.0.into_iter();
        let names = tools.map(|ResponsesNamed::Function(named)| named.name);
        Self {
            mode: allowed.mode,
            only: Some((names.collect(), "tool_choice.tools")),
        }
    }
}

impl From<MessagesChoice> for WantedTools {
    fn from(choice: MessagesChoice) -> Self {
        match choice {
            MessagesChoice::Auto(NoName {}) => ChoiceWord::Auto.into(),
            MessagesChoice::Any(NoName {}) => ChoiceWord::Required.into(),
            MessagesChoice::None(NoName {}) => ChoiceWord::None.into(),
            MessagesChoice::Tool(tool) => Self::named(tool.name, "tool_choice.name"),
        }
    }
}

/// The tools that leave, and the choice among them.
#[derive(Debug, Default)]
pub(super) struct CheckedTools {
    /// None when there are none.
    pub(super) tools: Option<Vec<SentTool>>,
    pub(super) choice: Option<ChoiceWord>,
    /// Whether there were tools that the model's template cannot show.
    pub(super) left_out: bool,
    /// Keywords of their schemas that no grammar holds, with their places.
    pub(super) unheld: Vec<String>,
}

impl CheckedTools {
    /// Makes room for the form of the answer that the field `form` asks for. llama-server holds the form from the first
    /// token on, so the model could never call a tool.
    pub(super) fn beside_form(&mut self, form: &str) -> Result<(), InvalidRequest> {
        if self.tools.is_none() {
            return Ok(());
        }
        match self.choice {
            Some(ChoiceWord::None) => {
                *self = Self::default();
                Ok(())
            }
            Some(ChoiceWord::Required) => Err(InvalidRequest::field(
                "tool_choice",
                format!(
                    "demands a call, but this model server cannot hold `{form}` and call tools at once: leave one out"
                ),
            )),
            Some(ChoiceWord::Auto) | None => Err(InvalidRequest::field(
                form,
                "cannot be held while `tools` are offered: this model server does one at once, so leave one out",
            )),
        }
    }
}

/// Checks the tools and the choice among them.
pub(super) fn check<T: Into<GivenFunction>>(
    given: Option<ToolList<T>>,
    wanted: Option<WantedTools>,
    dialect: Dialect,
    rules: &Rules<'_>,
) -> Result<CheckedTools, InvalidRequest> {
    let schema = match dialect {
        Dialect::Chat => "function.parameters",
        Dialect::Responses => "parameters",
        Dialect::Messages => "input_schema",
    };
    let given = given.unwrap_or_default().0.into_iter().enumerate();
    let functions = given.map(|(at, tool)| tool.into().check(&format!("tools[{at}].{schema}")));
    let mut functions: Vec<SentFunction> = functions.collect::<Result<_, _>>()?;
    let schemas = functions
        .iter_mut()
        .filter_map(|function| function.parameters.as_mut());
    Schema::check_together(&mut schemas.collect::<Vec<_>>())
        .map_err(|unsupported| unsupported.in_field("tools"))?;

    let left_out = !functions.is_empty() && !rules.template.tools;
    let (choice, only) = wanted.map_or((None, None), |wanted| (Some(wanted.mode), wanted.only));
    if let Some((only, path)) = only {
        functions.retain(|function| only.contains(&function.name));
        if functions.is_empty() {
            let problem = "must be that of one of the tools";
            return Err(InvalidRequest::field(path, problem));
        }
    }
    if choice == Some(ChoiceWord::Required) && (functions.is_empty() || left_out) {
        let problem = if rules.template.tools {
            "demands a call, but there are no tools"
        } else {
            "demands a call, but this model cannot call tools: leave it out"
        };
        return Err(InvalidRequest::field("tool_choice", problem));
    }
    if functions.is_empty() || left_out {
        return Ok(CheckedTools {
            left_out,
            ..CheckedTools::default()
        });
    }
    let mut unheld = Vec::new();
    let mut tools = Vec::with_capacity(functions.len());
    for function in functions {
        if let Some(schema) = &function.parameters {
            unheld.extend_from_slice(schema.unheld());
        }
        tools.push(function.into_tool(dialect));
    }
    Ok(CheckedTools {
        tools: Some(tools),
        choice,
        left_out,
        unheld,
    })
}
