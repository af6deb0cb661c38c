"""Python's `openai` package against a running llm-proxy, and straight to llama-server for comparison.

Chats, and what of `/v1/responses` llama-server does. suite.py says how it is run.
"""

import asyncio
import json

import openai
from suite import KEY, MODEL, STORY, STORY_TOKENS, NotAsked, Straight, expect_free, run

QUESTION = [{"role": "user", "content": "Name one colour."}]
OPTIONS = {"messages": QUESTION, "max_tokens": 24, "temperature": 0, "seed": 7}
ASKED = {"input": QUESTION, "max_output_tokens": 24, "temperature": 0, "extra_body": {"seed": 7}}
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": WEATHER}}


def client(base: str, **more) -> openai.OpenAI:
    return openai.OpenAI(**{"base_url": base + "/v1", "api_key": KEY, "max_retries": 0, "timeout": 120, **more})


def fails(kind, call):
    """The error that `call` ends with, which must be of this class and carry a code that is text."""
    try:
        call()
    except kind as error:
        assert type(error) is kind, type(error).__name__
        if isinstance(error, openai.APIStatusError):
            assert isinstance(error.code, str), f"code {error.code!r} is no text"
        return error
    raise AssertionError(f"no {kind.__name__}")


def the_served_model_is_listed(base):
    assert [model.id for model in client(base).models.list()] == [MODEL]


def a_whole_answer_has_text_a_reason_to_end_and_usage(base):
    answer = client(base).chat.completions.create(model=MODEL, **OPTIONS)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert 0 < answer.usage.completion_tokens <= 24 and answer.usage.prompt_tokens > 0


def a_streamed_answer_is_the_whole_one_in_pieces(base):
    create = client(base).chat.completions.create
    chunks = list(create(model=MODEL, stream=True, stream_options={"include_usage": True}, **OPTIONS))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    assert len(chunks) > 3 and len(reasons) == 1 and reasons[0] in ("stop", "length")
    assert chunks[-1].usage.completion_tokens > 0
    assert text == create(model=MODEL, **OPTIONS).choices[0].message.content


def a_stream_without_usage_has_none(base):
    for chunk in client(base).chat.completions.create(model=MODEL, stream=True, **OPTIONS):
        assert chunk.usage is None and chunk.choices


def the_streaming_helper_puts_an_answer_together(base):
    with client(base).chat.completions.stream(model=MODEL, **OPTIONS) as stream:
        answer = stream.get_final_completion()
    assert answer.choices[0].message.content


def leaving_a_stream_frees_the_slot_at_once(base):
    story = [{"role": "user", "content": STORY}]
    with client(base).chat.completions.create(
            model=MODEL, stream=True, messages=story, max_tokens=STORY_TOKENS) as stream:
        next(iter(stream))
    expect_free()


def log_probabilities_come_when_asked_for(base):
    answer = client(base).chat.completions.create(model=MODEL, logprobs=True, top_logprobs=2, **OPTIONS)
    tokens = answer.choices[0].logprobs.content
    # A stream, which every answer is put together from, does not show the token that ends it.
    assert answer.usage.completion_tokens - len(tokens) in (0, 1) and len(tokens[0].top_logprobs) == 2


def a_schema_is_kept_to(base):
    schema = {"type": "object", "properties": {"colour": {"type": "string", "maxLength": 12}}, "required": ["colour"]}
    answer = client(base).chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=64, temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": schema}})
    assert list(json.loads(answer.choices[0].message.content)) == ["colour"]


def a_tool_is_called_and_its_result_is_read(base):
    create = client(base).chat.completions.create
    question = [{"role": "user", "content": "What is the weather in Rome?"}]
    by_name = {"type": "function", "function": {"name": "weather"}}
    for choice in ("auto", "required", by_name):
        called = create(model=MODEL, messages=question, tools=[TOOL], tool_choice=choice, max_tokens=64, temperature=0)
        message = called.choices[0].message
        assert called.choices[0].finish_reason == "tool_calls", f"{choice}: {called}"
        assert "city" in json.loads(message.tool_calls[0].function.arguments)
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "It is sunny in Rome."}
        turns = [*question, message, result]
        answer = create(model=MODEL, messages=turns, tools=[TOOL], max_tokens=64, temperature=0)
        assert "sunny" in answer.choices[0].message.content, f"{choice}: {answer}"


def no_tool_is_called_when_none_may_be(base):
    answer = client(base).chat.completions.create(model=MODEL, tools=[TOOL], tool_choice="none", **OPTIONS)
    assert answer.choices[0].message.content and not answer.choices[0].message.tool_calls


def a_streamed_call_of_a_tool_is_put_together(base):
    question = [{"role": "user", "content": "What is the weather in Rome?"}]
    asked = {"model": MODEL, "messages": question, "tools": [TOOL], "max_tokens": 64, "temperature": 0}
    with client(base).chat.completions.stream(**asked) as stream:
        call = stream.get_final_completion().choices[0].message.tool_calls[0]
    assert call.function.name == "weather" and "city" in json.loads(call.function.arguments)


def numbers_that_only_other_servers_know_are_taken(base):
    create = client(base).chat.completions.create
    more = {"extra_body": {"top_k": -1, "min_p": 0.05}, "seed": 2**62, "max_completion_tokens": 4}
    answer = create(model=MODEL, messages=QUESTION, user="u", metadata={"a": "b"}, store=False, **more)
    assert answer.usage.completion_tokens <= 4


def a_raw_response_has_the_requests_id(base):
    raw = client(base).chat.completions.with_raw_response.create(model=MODEL, **OPTIONS)
    assert raw.headers["x-request-id"] and raw.parse().choices


def a_wrong_key_is_an_authentication_error(base):
    api = client(base, api_key="not-the-key")
    error = fails(openai.AuthenticationError, lambda: api.chat.completions.create(model=MODEL, **OPTIONS))
    assert error.status_code == 401


def an_unknown_model_is_a_not_found_error(base):
    api = client(base)
    fails(openai.NotFoundError, lambda: api.chat.completions.create(model="no-such-model", **OPTIONS))


def an_unknown_route_is_a_not_found_error(base):
    fails(openai.NotFoundError, lambda: client(base).files.list())


def a_field_out_of_range_is_a_bad_request_that_names_it(base):
    api = client(base)
    error = fails(openai.BadRequestError, lambda: api.chat.completions.create(model=MODEL, messages=QUESTION, temperature=9))
    assert error.param == "temperature"


def a_prompt_that_does_not_fit_is_a_bad_request(base):
    api, long = client(base), [{"role": "user", "content": "word " * 6000}]
    error = fails(openai.BadRequestError, lambda: api.chat.completions.create(model=MODEL, messages=long))
    assert error.code == "context_length_exceeded"


def a_full_queue_is_a_rate_limit_error(base):
    async def fill():
        api = openai.AsyncOpenAI(base_url=base + "/v1", api_key=KEY, max_retries=0, timeout=60)
        story = [{"role": "user", "content": "Write a very long story about a horse."}]

        async def one():
            return await api.chat.completions.create(model=MODEL, messages=story, max_tokens=300, stream=True)

        waiting = [asyncio.ensure_future(one()) for _ in range(80)]
        done, _ = await asyncio.wait(waiting, timeout=20, return_when=asyncio.FIRST_EXCEPTION)
        errors = [task.exception() for task in done if task.exception()]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await api.close()
        return errors

    errors = asyncio.run(fill())
    assert errors, "eighty at once were all taken"
    assert all(type(error) is openai.RateLimitError for error in errors), errors
    assert int(errors[0].response.headers["retry-after"]) > 0


def a_response_has_text_and_usage(base):
    answer = client(base).responses.create(model=MODEL, **ASKED)
    assert answer.output_text and answer.status == "completed"
    assert 0 < answer.usage.output_tokens <= 24 and answer.usage.input_tokens > 0


def a_streamed_response_is_the_whole_one_in_pieces(base):
    create = client(base).responses.create
    events = list(create(model=MODEL, stream=True, **ASKED))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    assert text == events[-1].response.output_text == create(model=MODEL, **ASKED).output_text


def a_response_calls_a_function_and_reads_its_result(base):
    create = client(base).responses.create
    tool = {"type": "function", "name": "weather", "description": "The weather.", "parameters": WEATHER, "strict": False}
    question = [{"role": "user", "content": "What is the weather in Rome?"}]
    for choice in ("auto", "required"):
        called = create(
            model=MODEL, input=question, tools=[tool], tool_choice=choice, max_output_tokens=64, temperature=0).output
        call = next(item for item in called if item.type == "function_call")
        assert call.name == "weather" and "city" in json.loads(call.arguments)
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "It is sunny in Rome."}
        answer = create(
            model=MODEL, input=[*question, *called, result], tools=[tool], max_output_tokens=64, temperature=0)
        assert "sunny" in answer.output_text, f"{choice}: {answer}"


def a_response_keeps_to_a_schema(base):
    schema = {"type": "object", "properties": {"colour": {"type": "string", "maxLength": 12}}, "required": ["colour"],
              "additionalProperties": False}
    form = {"format": {"type": "json_schema", "name": "s", "strict": True, "schema": schema}}
    answer = client(base).responses.create(model=MODEL, input=QUESTION, max_output_tokens=64, temperature=0, text=form)
    assert list(json.loads(answer.output_text)) == ["colour"]


def leaving_a_streamed_response_frees_the_slot_at_once(base):
    with client(base).responses.create(
            model=MODEL, stream=True, input=STORY, max_output_tokens=STORY_TOKENS) as stream:
        next(event for event in stream if event.type == "response.output_text.delta")
    expect_free()


def what_a_response_does_not_keep_is_a_bad_request_that_names_it(base):
    api = client(base)
    error = fails(openai.BadRequestError, lambda: api.responses.create(model=MODEL, input="hi", previous_response_id="resp_1"))
    assert error.param == "previous_response_id"


def nobody_there_is_a_connection_error(_):
    api = client("http://127.0.0.1:9")
    fails(openai.APIConnectionError, lambda: api.chat.completions.create(model=MODEL, **OPTIONS))


def a_callers_own_deadline_is_a_timeout_error(base):
    api = client(base, timeout=0.001)
    fails(openai.APITimeoutError, lambda: api.chat.completions.create(model=MODEL, **OPTIONS))


CASES = [
    the_served_model_is_listed,
    a_whole_answer_has_text_a_reason_to_end_and_usage,
    a_streamed_answer_is_the_whole_one_in_pieces,
    a_stream_without_usage_has_none,
    the_streaming_helper_puts_an_answer_together,
    leaving_a_stream_frees_the_slot_at_once,
    log_probabilities_come_when_asked_for,
    a_schema_is_kept_to,
    a_tool_is_called_and_its_result_is_read,
    no_tool_is_called_when_none_may_be,
    a_streamed_call_of_a_tool_is_put_together,
    numbers_that_only_other_servers_know_are_taken,
    a_raw_response_has_the_requests_id,
    a_wrong_key_is_an_authentication_error,
    an_unknown_model_is_a_not_found_error,
    an_unknown_route_is_a_not_found_error,
    a_field_out_of_range_is_a_bad_request_that_names_it,
    a_prompt_that_does_not_fit_is_a_bad_request,
    a_full_queue_is_a_rate_limit_error,
    a_response_has_text_and_usage,
    a_streamed_response_is_the_whole_one_in_pieces,
    a_response_calls_a_function_and_reads_its_result,
    a_response_keeps_to_a_schema,
    leaving_a_streamed_response_frees_the_slot_at_once,
    what_a_response_does_not_keep_is_a_bad_request_that_names_it,
    nobody_there_is_a_connection_error,
    a_callers_own_deadline_is_a_timeout_error,
]
DIFFERENCES = {
    a_raw_response_has_the_requests_id: Straight("llama-server gives no id"),
    an_unknown_model_is_a_not_found_error: Straight("llama-server answers to any name"),
    a_field_out_of_range_is_a_bad_request_that_names_it: Straight("llama-server takes a temperature of 9"),
    a_prompt_that_does_not_fit_is_a_bad_request: Straight("llama-server's `code` is 400"),
    a_full_queue_is_a_rate_limit_error: NotAsked("llama-server's queue has no end: it would tell all eighty stories"),
    a_response_keeps_to_a_schema: Straight("llama-server does not look at `text.format`"),
    what_a_response_does_not_keep_is_a_bad_request_that_names_it: Straight("llama-server's error names no field"),
}

if __name__ == "__main__":
    run(f"openai (Python) {openai.__version__}", CASES, DIFFERENCES)
