//! The fields that the APIs share: how long an answer may be, how random, how it is sent, and what the model's template
//! is told.

use std::collections::BTreeMap;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::typed::Fields;
use super::values::{Listed, NumberIn, SamplingSeed, TextOr, TokenLimit, WholeIn, whole, whole_in};
use super::{InvalidRequest, Rules};

/// Stop sequences in a request.
const MAX_STOPS: usize = 8;
/// Bytes of a stop sequence.
const MAX_STOP_BYTES: usize = 256;
/// Tokens that a request may make more or less likely, as in OpenAI's API.
const MAX_BIASES: usize = 300;
/// What a template can be told at once.
const MAX_SETTINGS: usize = 16;
/// Bytes of a template setting's name.
const MAX_SETTING_NAME_BYTES: usize = 64;
/// Bytes of a template setting.
const MAX_SETTING_BYTES: usize = 256;
/// The setting that most templates with thoughts know.
const THINK: &str = "enable_thinking";
/// Names that a template already knows: llama-server would put the caller's in their place.
const TEMPLATE_NAMES: [&str; 20] = [
    "messages",
    "tools",
    "tool_choice",
    "add_generation_prompt",
    "continue_final_message",
    "bos_token",
    "eos_token",
    "documents",
    "functions",
    "builtin_tools",
    "custom_tools",
    "json_schema",
    "response_format",
    "raise_exception",
    "strftime_now",
    "namespace",
    "range",
    "dict",
    "joiner",
    "cycler",
];

/// How the next token is chosen.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Sampling {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<NumberIn<0, 2>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<NumberIn<0, 1>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_p: Option<NumberIn<0, 1>>,
    /// 0 and -1 switch it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<WholeIn<-1, 1_000>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<NumberIn<-2, 2>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<NumberIn<-2, 2>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logit_bias: Option<LogitBias>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<Stops>,
}

/// How much is answered, and how it is sent.
#[derive(Debug, Deserialize)]
struct Delivery {
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<TokenLimit>,
    max_completion_tokens: Option<TokenLimit>,
    max_output_tokens: Option<TokenLimit>,
    n: Option<AnyWhole>,
    seed: Option<SamplingSeed>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// A whole number whose range the request's [`Rules`] know; none for anything else.
#[derive(Debug)]
struct AnyWhole(Option<i64>);

impl<'de> Deserialize<'de> for AnyWhole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Number(number) => Ok(Self(whole(&number))),
            _ => Ok(Self(None)),
        }
    }
}

/// What the shared fields say.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) sampling: Sampling,
    /// The limit of one answer, in tokens.
    pub(super) max_tokens: u64,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) n_answers: usize,
    pub(super) seed: Option<SamplingSeed>,
}

impl Generation {
    /// Takes the shared fields; at most `max_answers` may be asked for.
    pub(super) fn take(
        fields: &mut Fields,
        rules: &Rules<'_>,
        max_answers: usize,
    ) -> Result<Self, InvalidRequest> {
        let sampling = fields.take()?;
        let delivery: Delivery = fields.take()?;
        let limits = [
            delivery.max_tokens,
            delivery.max_completion_tokens,
            delivery.max_output_tokens,
        ];
        let lowest = limits.into_iter().flatten().map(|limit| limit.0).min();
        let n_answers = match delivery.n {
            None => 1,
            Some(n) => {
                n.0.and_then(|n| usize::try_from(n).ok())
                    .unwrap_or_default()
            }
        };
        if !(1..=max_answers).contains(&n_answers) {
            let max = i64::try_from(max_answers).unwrap_or(i64::MAX);
            return Err(InvalidRequest::field(
                "n",
                format!("must be {}", whole_in(1, max)),
            ));
        }
        let options = delivery.stream_options.unwrap_or_default();
        Ok(Self {
            sampling,
            max_tokens: lowest.unwrap_or(u64::MAX).min(rules.max_tokens),
            stream: delivery.stream.unwrap_or(false),
            include_usage: options.include_usage.unwrap_or(false),
            n_answers,
            seed: delivery.seed,
        })
    }
}

/// Sequences that end the answer. Empty ones would end it at once and are left out.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Stops(Vec<String>);

impl<'de> Deserialize<'de> for Stops {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stops = match TextOr::<Listed<String, MAX_STOPS>>::deserialize(deserializer)? {
            TextOr::Text(stop) => vec![stop],
            TextOr::Other(stops) => stops.0,
        };
        if stops.iter().any(|stop| stop.len() > MAX_STOP_BYTES) {
            return Err(D::Error::custom(format_args!(
                "must be at most {MAX_STOPS} strings of 1 to {MAX_STOP_BYTES} bytes"
            )));
        }
        Ok(Self(
            stops.into_iter().filter(|stop| !stop.is_empty()).collect(),
        ))
    }
}

/// How much more or less likely a token is made, by the token's id.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct LogitBias(BTreeMap<u32, NumberIn<-100, 100>>);

impl<'de> Deserialize<'de> for LogitBias {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = BTreeMap::<String, NumberIn<-100, 100>>::deserialize(deserializer)?;
        if given.len() > MAX_BIASES {
            return Err(D::Error::custom(format_args!(
                "must have at most {MAX_BIASES} entries"
            )));
        }
        let by_token = given.into_iter().map(|(token, bias)| {
            // Anything but an id would be cut into tokens by llama-server.
            let is_id = token.bytes().all(|byte| byte.is_ascii_digit());
            match token.parse() {
                Ok(token) if is_id => Ok((token, bias)),
                _ => Err(D::Error::custom(
                    "must be an object from the ids of tokens to numbers from -100 to 100",
                )),
            }
        });
        by_token.collect::<Result<_, _>>().map(Self)
    }
}

/// How much the model may think.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

impl Effort {
    fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }
}

/// What the model's template is told, by name. llama-server lays these over what it tells the template itself.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct TemplateSettings(BTreeMap<String, TemplateSetting>);

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum TemplateSetting {
    Switch(bool),
    Number(serde_json::Number),
    Word(String),
}

impl TemplateSettings {
    /// Tells the template whether to think, unless the caller has told it so by this name.
    pub(super) fn think(&mut self, on: bool) {
        let setting = TemplateSetting::Switch(on);
        self.0.entry(THINK.to_owned()).or_insert(setting);
    }

    /// Tells the template how much to think, unless the caller has told it so by this name.
    pub(super) fn effort(&mut self, effort: Effort) {
        let setting = TemplateSetting::Word(effort.word().to_owned());
        self.0
            .entry("reasoning_effort".to_owned())
            .or_insert(setting);
    }

    /// These settings, unless there are none.
    pub(super) fn some(self) -> Option<Self> {
        (!self.0.is_empty()).then_some(self)
    }
}

impl<'de> Deserialize<'de> for TemplateSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SettingsVisitor).map(Self)
    }
}

struct SettingsVisitor;

impl<'de> Visitor<'de> for SettingsVisitor {
    type Value = BTreeMap<String, TemplateSetting>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut given: A) -> Result<Self::Value, A::Error> {
        let mut settings = BTreeMap::new();
        while let Some(SettingName(name)) = given.next_key()? {
            let setting = if name == THINK {
                // llama-server reads this one itself.
                given
                    .next_value::<Option<bool>>()?
                    .map(TemplateSetting::Switch)
            } else {
                given.next_value()?
            };
            settings.extend(setting.map(|setting| (name, setting)));
            if settings.len() > MAX_SETTINGS {
                let problem = format!("must have at most {MAX_SETTINGS} entries");
                return Err(A::Error::custom(problem));
            }
        }
        Ok(settings)
    }
}

/// A name that a template may be told a setting by.
struct SettingName(String);

impl<'de> Deserialize<'de> for SettingName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let is_plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_plain || !(1..=MAX_SETTING_NAME_BYTES).contains(&name.len()) {
            return Err(D::Error::custom(format_args!(
                "must be named by 1 to {MAX_SETTING_NAME_BYTES} of the characters a-z A-Z 0-9 _"
            )));
        }
        if TEMPLATE_NAMES.contains(&name.as_str()) {
            return Err(D::Error::custom("is not accepted here"));
        }
        Ok(Self(name))
    }
}

impl<'de> Deserialize<'de> for TemplateSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Bool(on) => Ok(Self::Switch(on)),
            Value::Number(number) => Ok(Self::Number(number)),
            Value::String(word) if word.len() <= MAX_SETTING_BYTES => Ok(Self::Word(word)),
            _ => Err(D::Error::custom(format_args!(
                "must be true, false, a number or a string of at most {MAX_SETTING_BYTES} bytes"
            ))),
        }
    }
}
