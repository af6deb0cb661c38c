//! The crate async-openai through llm-proxy, and straight to llama-server for comparison: its column of docs/clients.md.
//!
//! The cases are those of the clients in Python and JavaScript, as far as the crate has them.

use std::time::Duration;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::{ApiErrorResponse, OpenAIError};
use async_openai::middleware::ReqwestService;
use async_openai::types::chat::{
    ChatCompletionMessageToolCalls, CreateChatCompletionRequest, CreateChatCompletionResponse,
    CreateChatCompletionStreamResponse, FinishReason,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use crate::stack::Stack;

type Api = Client<OpenAIConfig>;

impl Stack {
    /// The crate's client of llm-proxy, then that of llama-server.
    fn both(&self) -> [Api; 2] {
        [&self.proxy, &self.engine].map(|base| api(base, &self.key))
    }

    /// A question in the crate's own types.
    fn asked(&self, more: &Value) -> CreateChatCompletionRequest {
        let mut question = self.question("Name one colour.", false, 24);
        question
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value(question).unwrap()
    }

    /// How a question with `more` in it ends at llm-proxy, and at llama-server.
    async fn errors(&self, more: &Value) -> [Result<CreateChatCompletionResponse, OpenAIError>; 2] {
        let [proxy, engine] = self.both();
        [
            proxy.chat().create(self.asked(more)).await,
            engine.chat().create(self.asked(more)).await,
        ]
    }
}

/// A client that asks once; the crate's own way of sending asks again after 429 and 5xx.
fn api(base: &str, key: &str) -> Api {
    let config = OpenAIConfig::new()
        .with_api_base(format!("{base}/v1"))
        .with_api_key(key);
    Client::with_config(config).with_http_service(ReqwestService::new(reqwest::Client::new()))
}

/// The status, code and field of an error that the crate could read.
fn told<T: std::fmt::Debug>(result: Result<T, OpenAIError>) -> (u16, String, Option<String>) {
    match result {
        Err(OpenAIError::ApiError(ApiErrorResponse {
            status_code,
            api_error,
        })) => (
            status_code.as_u16(),
            api_error.code.unwrap_or_default(),
            api_error.param,
        ),
        other => panic!("no error of the API: {other:?}"),
    }
}

/// Whether the crate has lost an error, because its `code` is a number.
fn is_lost<T>(result: &Result<T, OpenAIError>) -> bool {
    matches!(result, Err(OpenAIError::JSONDeserialize(..)))
}

fn text(answer: &CreateChatCompletionResponse) -> &str {
    answer.choices[0]
        .message
        .content
        .as_deref()
        .unwrap_or_default()
}

async fn stream(
    api: &Api,
    request: CreateChatCompletionRequest,
) -> Vec<CreateChatCompletionStreamResponse> {
    api.chat()
        .create_stream(request)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap()
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn the_served_model_is_listed() {
    let stack = Stack::running();
    for api in stack.both() {
        let models = api.models().list().await.unwrap();
        assert_eq!(
            models
                .data
                .iter()
                .map(|model| &model.id)
                .collect::<Vec<_>>(),
            [&stack.model]
        );
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_whole_answer_has_text_a_reason_to_end_and_usage() {
    let stack = Stack::running();
    for api in stack.both() {
        let answer = api.chat().create(stack.asked(&json!({}))).await.unwrap();
        assert!(!text(&answer).is_empty());
        assert!(matches!(
            answer.choices[0].finish_reason,
            Some(FinishReason::Stop | FinishReason::Length)
        ));
        let usage = answer.usage.unwrap();
        assert!(
            (1..=24).contains(&usage.completion_tokens) && usage.prompt_tokens > 0,
            "{usage:?}"
        );
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_streamed_answer_is_the_whole_one_in_pieces_and_has_usage_when_asked_for() {
    let stack = Stack::running();
    for api in stack.both() {
        let asked = json!({"stream": true, "stream_options": {"include_usage": true}});
        let chunks = stream(&api, stack.asked(&asked)).await;
        let choices = || chunks.iter().flat_map(|chunk| &chunk.choices);
        assert!(chunks.len() > 3);
        assert_eq!(
            choices()
                .filter(|choice| choice.finish_reason.is_some())
                .count(),
            1
        );
        assert!(
            chunks
                .last()
                .unwrap()
                .usage
                .as_ref()
                .unwrap()
                .completion_tokens
                > 0
        );
        let words: String = choices()
            .filter_map(|choice| choice.delta.content.as_deref())
            .collect();
        assert_eq!(
            words,
            text(&api.chat().create(stack.asked(&json!({}))).await.unwrap())
        );
        for chunk in stream(&api, stack.asked(&json!({"stream": true}))).await {
            assert!(
                chunk.usage.is_none() && chunk.choices.len() == 1,
                "{chunk:?}"
            );
        }
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn leaving_a_stream_frees_the_slot_at_once() {
    let stack = Stack::running();
    let story = json!({"messages": [{"role": "user", "content": "Write a very long story about a horse."}],
        "max_tokens": 900, "stream": true});
    for api in stack.both() {
        stack.wait_for_busy_slots(0).await;
        let mut answer = api.chat().create_stream(stack.asked(&story)).await.unwrap();
        answer.next().await.unwrap().unwrap();
        drop(answer);
        let took = stack.time_until_idle().await;
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn log_probabilities_come_when_asked_for() {
    let stack = Stack::running();
    for api in stack.both() {
        let asked = json!({"logprobs": true, "top_logprobs": 2});
        let answer = api.chat().create(stack.asked(&asked)).await.unwrap();
        let n_tokens = answer.usage.as_ref().unwrap().completion_tokens as usize;
        let tokens = answer.choices[0]
            .logprobs
            .as_ref()
            .unwrap()
            .content
            .as_ref()
            .unwrap();
        // A stream, which every answer is put together from, does not show the token that ends it.
        assert!([0, 1].contains(&(n_tokens - tokens.len())) && tokens[0].top_logprobs.len() == 2);
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_schema_is_kept_to() {
    let stack = Stack::running();
    let schema = json!({"type": "object", "properties": {"colour": {"type": "string", "maxLength": 12}}, "required": ["colour"]});
    let format = json!({"type": "json_schema", "json_schema": {"name": "s", "strict": true, "schema": schema}});
    for api in stack.both() {
        let asked = json!({"response_format": format, "max_tokens": 64});
        let answer = api.chat().create(stack.asked(&asked)).await.unwrap();
        let object: Value = serde_json::from_str(text(&answer)).unwrap();
        assert!(object["colour"].is_string(), "{object}");
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_tool_is_called_and_its_result_is_read() {
    let stack = Stack::running();
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let tools =
        json!([{"type": "function", "function": {"name": "weather", "parameters": parameters}}]);
    let question = json!({"role": "user", "content": "What is the weather in Rome?"});
    let by_name = json!({"type": "function", "function": {"name": "weather"}});
    for base in [&stack.tools_proxy, &stack.tools_engine] {
        let api = api(base, &stack.key);
        for choice in [json!("auto"), json!("required"), by_name.clone()] {
            let asked = json!({"messages": [question], "tools": tools, "tool_choice": choice, "max_tokens": 64});
            let called = api.chat().create(stack.asked(&asked)).await.unwrap();
            let message = &called.choices[0].message;
            let Some([ChatCompletionMessageToolCalls::Function(call)]) =
                message.tool_calls.as_deref()
            else {
                panic!("{base}, {choice}: {called:?}");
            };
            assert_eq!(call.function.name, "weather");
            let arguments: Value = serde_json::from_str(&call.function.arguments).unwrap();
            assert!(arguments["city"].is_string(), "{arguments}");
            let result =
                json!({"role": "tool", "tool_call_id": call.id, "content": "It is sunny in Rome."});
            let asked =
                json!({"messages": [question, message, result], "tools": tools, "max_tokens": 64});
            let answer = api.chat().create(stack.asked(&asked)).await.unwrap();
            assert!(text(&answer).contains("sunny"), "{base}: {answer:?}");
        }
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn numbers_that_only_other_servers_know_are_taken() {
    let stack = Stack::running();
    for api in stack.both() {
        let mut asked = stack.question("Name one colour.", false, 24);
        asked.as_object_mut().unwrap().remove("max_tokens");
        let more = json!({"top_k": -1, "min_p": 0.05, "seed": 1_u64 << 62, "max_completion_tokens": 4, "user": "u",
            "metadata": {"a": "b"}, "store": false});
        asked
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let answer: CreateChatCompletionResponse = api.chat().create_byot(asked).await.unwrap();
        assert!(answer.usage.unwrap().completion_tokens <= 4);
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_wrong_key_is_a_401_with_a_code() {
    let stack = Stack::running();
    let [proxy, engine] = [&stack.proxy, &stack.engine].map(|base| api(base, "not-the-key"));
    let error = told(proxy.chat().create(stack.asked(&json!({}))).await);
    assert_eq!(error, (401, "invalid_api_key".to_owned(), None));
    assert!(is_lost(
        &engine.chat().create(stack.asked(&json!({}))).await
    ));
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_model_or_a_route_that_is_not_there_is_a_404_with_a_code() {
    let stack = Stack::running();
    let [proxy, engine] = stack.errors(&json!({"model": "no-such-model"})).await;
    assert_eq!(
        told(proxy),
        (404, "model_not_found".to_owned(), Some("model".to_owned()))
    );
    engine.expect("any name is answered");
    let [proxy, engine] = stack.both();
    let error = told(proxy.models().retrieve("x").await);
    assert_eq!(
        error,
        (404, "model_not_found".to_owned(), Some("model".to_owned()))
    );
    assert!(is_lost(&engine.models().retrieve("x").await));
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_field_out_of_range_is_a_400_that_names_it() {
    let stack = Stack::running();
    let [proxy, engine] = stack.errors(&json!({"temperature": 9})).await;
    assert_eq!(
        told(proxy),
        (
            400,
            "invalid_field".to_owned(),
            Some("temperature".to_owned())
        )
    );
    engine.expect("a temperature of 9 is taken");
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_prompt_that_does_not_fit_is_a_400_with_a_code() {
    let stack = Stack::running();
    let long = json!({"messages": [{"role": "user", "content": "word ".repeat(6_000)}]});
    let [proxy, engine] = stack.errors(&long).await;
    assert_eq!(
        told(proxy),
        (400, "context_length_exceeded".to_owned(), None)
    );
    assert!(is_lost(&engine));
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_full_queue_is_a_429_with_a_code() {
    let stack = Stack::running();
    let proxy = api(&stack.proxy, &stack.key);
    let story = json!({"messages": [{"role": "user", "content": "Write a very long story about a horse."}],
        "max_tokens": 300, "stream": true});
    let asks = (0..80).map(|_| {
        let proxy = &proxy;
        let story = stack.asked(&story);
        async move { proxy.chat().create_stream(story).await }
    });
    // The first that is refused; the others are left.
    let mut asks: futures_util::stream::FuturesUnordered<_> = asks.collect();
    let mut begun = Vec::new();
    let refused = loop {
        match asks.next().await.expect("eighty at once were all taken") {
            Ok(answer) => begun.push(answer),
            Err(error) => break told::<()>(Err(error)),
        }
    };
    assert_eq!(refused, (429, "queue_full".to_owned(), None));
    drop((asks, begun));
    stack.wait_for_busy_slots(0).await;
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn nobody_there_and_the_clients_own_deadline_are_told_apart() {
    let stack = Stack::running();
    let nobody = api("http://127.0.0.1:9", &stack.key)
        .chat()
        .create(stack.asked(&json!({})))
        .await;
    assert!(matches!(nobody, Err(OpenAIError::Reqwest(error)) if error.is_connect()));
    let hasty = reqwest::Client::builder()
        .timeout(Duration::from_millis(1))
        .build()
        .unwrap();
    for base in [&stack.proxy, &stack.engine] {
        let late = api(base, &stack.key).with_http_service(ReqwestService::new(hasty.clone()));
        let late = late.chat().create(stack.asked(&json!({}))).await;
        assert!(matches!(late, Err(OpenAIError::Reqwest(error)) if error.is_timeout()));
    }
}
