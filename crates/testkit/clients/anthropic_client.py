"""Python's `anthropic` package against a running llm-proxy, and straight to llama-server for comparison.

What of `/v1/messages` llama-server does. suite.py says how it is run.
"""

import asyncio

import anthropic
from suite import KEY, MODEL, STORY, STORY_TOKENS, NotAsked, Straight, expect_free, run

QUESTION = [{"role": "user", "content": "Name one colour."}]
# The package no longer knows a temperature; the API does.
OPTIONS = {"messages": QUESTION, "max_tokens": 24, "extra_body": {"temperature": 0}}
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"name": "weather", "description": "The weather.", "input_schema": WEATHER}


def client(base: str, **more) -> anthropic.Anthropic:
    """Shows its key in `x-api-key`, as the package does by itself."""
    return anthropic.Anthropic(**{"base_url": base, "api_key": KEY, "max_retries": 0, "timeout": 120, **more})


def fails(kind, call):
    """The error that `call` ends with, which must be of this class and in the shape that the package reads."""
    try:
        call()
    except kind as error:
        assert type(error) is kind, type(error).__name__
        if isinstance(error, anthropic.APIStatusError):
            assert error.api_message and error.body["type"] == "error", f"{error.body} is not of this API"
            assert isinstance(error.error_code, str) and error.request_id
        return error
    raise AssertionError(f"no {kind.__name__}")


def text(message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def a_message_has_text_a_reason_to_stop_and_usage(base):
    message = client(base).messages.create(model=MODEL, **OPTIONS)
    assert message.role == "assistant" and text(message)
    assert message.stop_reason in ("end_turn", "max_tokens")
    assert 0 < message.usage.output_tokens <= 24
    assert message.usage.input_tokens + message.usage.cache_read_input_tokens > 0


def a_key_may_also_be_a_bearers(base):
    assert text(client(base, api_key=None, auth_token=KEY).messages.create(model=MODEL, **OPTIONS))


def a_streamed_message_is_the_whole_one_in_pieces(base):
    create = client(base).messages.create
    events = list(create(model=MODEL, stream=True, **OPTIONS))
    pieces = [event.delta.text for event in events if event.type == "content_block_delta"]
    assert events[0].type == "message_start" and events[-1].type == "message_stop" and len(pieces) > 3
    assert "".join(pieces) == text(create(model=MODEL, **OPTIONS))


def the_streaming_helper_puts_a_message_together(base):
    with client(base).messages.stream(model=MODEL, **OPTIONS) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    assert "".join(pieces) == text(message) and message.stop_reason and message.usage.output_tokens > 0


def leaving_a_stream_frees_the_slot_at_once(base):
    story = [{"role": "user", "content": STORY}]
    with client(base).messages.stream(model=MODEL, messages=story, max_tokens=STORY_TOKENS) as stream:
        next(iter(stream.text_stream))
    expect_free()


def the_system_prompt_and_stop_sequences_are_kept(base):
    system = [{"type": "text", "text": "Answer in one word.", "cache_control": {"type": "ephemeral"}}]
    message = client(base).messages.create(model=MODEL, system=system, stop_sequences=[" "], **OPTIONS)
    assert " " not in text(message)


def a_tool_is_called_and_its_result_is_read(base):
    create = client(base).messages.create
    question = [{"role": "user", "content": "What is the weather in Rome?"}]
    options = {"model": MODEL, "tools": [TOOL], "max_tokens": 64, "extra_body": {"temperature": 0}}
    for choice in ({"type": "auto"}, {"type": "any"}, {"type": "tool", "name": "weather"}):
        called = create(messages=question, tool_choice=choice, **options)
        assert called.stop_reason == "tool_use", f"{choice}: {called}"
        use = next(block for block in called.content if block.type == "tool_use")
        assert use.name == "weather" and "city" in use.input
        result = {"type": "tool_result", "tool_use_id": use.id, "content": "It is sunny in Rome."}
        turns = [*question, {"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}]
        assert "sunny" in text(create(messages=turns, **options)), choice


def no_tool_is_called_when_none_may_be(base):
    question = [{"role": "user", "content": "What is the weather in Rome?"}]
    options = {"model": MODEL, "tools": [TOOL], "max_tokens": 64, "extra_body": {"temperature": 0}}
    answer = client(base).messages.create(messages=question, tool_choice={"type": "none"}, **options)
    assert [block.type for block in answer.content] == ["text"], answer


def a_streamed_call_of_a_tool_is_put_together(base):
    question = [{"role": "user", "content": "What is the weather in Rome?"}]
    options = {"model": MODEL, "tools": [TOOL], "max_tokens": 64, "extra_body": {"temperature": 0}}
    with client(base).messages.stream(messages=question, **options) as stream:
        use = next(block for block in stream.get_final_message().content if block.type == "tool_use")
    assert use.name == "weather" and "city" in use.input


def what_the_api_has_beyond_that_is_taken(base):
    create = client(base).messages.create
    assert create(model=MODEL, metadata={"user_id": "u"}, thinking={"type": "disabled"}, **OPTIONS).content
    thinking = {"type": "enabled", "budget_tokens": 1024}
    assert create(model=MODEL, messages=QUESTION, max_tokens=1100, stop_sequences=["."], thinking=thinking).content


def tokens_are_counted(base):
    assert client(base).messages.count_tokens(model=MODEL, messages=QUESTION).input_tokens > 0


def a_raw_response_has_the_requests_id(base):
    raw = client(base).messages.with_raw_response.create(model=MODEL, **OPTIONS)
    assert raw.headers["request-id"] == raw.headers["x-request-id"] and raw.parse().content


def a_wrong_key_is_an_authentication_error(base):
    api = client(base, api_key="not-the-key")
    error = fails(anthropic.AuthenticationError, lambda: api.messages.create(model=MODEL, **OPTIONS))
    assert error.type == "authentication_error" and error.error_code == "invalid_api_key"


def an_unknown_model_is_a_not_found_error(base):
    error = fails(anthropic.NotFoundError, lambda: client(base).messages.create(model="no-such-model", **OPTIONS))
    assert error.type == "not_found_error"


def a_field_out_of_range_is_a_bad_request_that_names_it(base):
    api, options = client(base), {**OPTIONS, "extra_body": {"temperature": 9}}
    error = fails(anthropic.BadRequestError, lambda: api.messages.create(model=MODEL, **options))
    assert error.body["error"]["param"] == "temperature"


def a_tool_that_anthropic_runs_is_a_bad_request(base):
    api, tool = client(base), {"type": "web_search_20250305", "name": "web_search"}
    fails(anthropic.BadRequestError, lambda: api.messages.create(model=MODEL, tools=[tool], **OPTIONS))


def a_prompt_that_does_not_fit_is_a_bad_request(base):
    api, long = client(base), [{"role": "user", "content": "word " * 6000}]
    error = fails(anthropic.BadRequestError, lambda: api.messages.create(model=MODEL, messages=long, max_tokens=8))
    assert error.type == "invalid_request_error" and error.error_code == "context_length_exceeded"


def a_full_queue_is_a_rate_limit_error(base):
    async def fill():
        api = anthropic.AsyncAnthropic(base_url=base, api_key=KEY, max_retries=0, timeout=60)
        story = [{"role": "user", "content": "Write a very long story about a horse."}]

        async def one():
            return await api.messages.create(model=MODEL, messages=story, max_tokens=300, stream=True)

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
    assert all(type(error) is anthropic.RateLimitError for error in errors), errors
    assert int(errors[0].response.headers["retry-after"]) > 0 and errors[0].error_code == "queue_full"


def nobody_there_is_a_connection_error(_):
    fails(anthropic.APIConnectionError, lambda: client("http://127.0.0.1:9").messages.create(model=MODEL, **OPTIONS))


def a_callers_own_deadline_is_a_timeout_error(base):
    api = client(base, timeout=0.001)
    fails(anthropic.APITimeoutError, lambda: api.messages.create(model=MODEL, **OPTIONS))


CASES = [
    a_message_has_text_a_reason_to_stop_and_usage,
    a_key_may_also_be_a_bearers,
    a_streamed_message_is_the_whole_one_in_pieces,
    the_streaming_helper_puts_a_message_together,
    leaving_a_stream_frees_the_slot_at_once,
    the_system_prompt_and_stop_sequences_are_kept,
    a_tool_is_called_and_its_result_is_read,
    no_tool_is_called_when_none_may_be,
    a_streamed_call_of_a_tool_is_put_together,
    what_the_api_has_beyond_that_is_taken,
    tokens_are_counted,
    a_raw_response_has_the_requests_id,
    a_wrong_key_is_an_authentication_error,
    an_unknown_model_is_a_not_found_error,
    a_field_out_of_range_is_a_bad_request_that_names_it,
    a_tool_that_anthropic_runs_is_a_bad_request,
    a_prompt_that_does_not_fit_is_a_bad_request,
    a_full_queue_is_a_rate_limit_error,
    nobody_there_is_a_connection_error,
    a_callers_own_deadline_is_a_timeout_error,
]
OPENAI_SHAPE = "llama-server's error has OpenAI's shape, not Anthropic's"
DIFFERENCES = {
    no_tool_is_called_when_none_may_be: Straight("llama-server takes `none` for `auto`"),
    a_raw_response_has_the_requests_id: Straight("llama-server gives no id"),
    a_wrong_key_is_an_authentication_error: Straight(OPENAI_SHAPE),
    an_unknown_model_is_a_not_found_error: Straight("llama-server answers to any name"),
    a_field_out_of_range_is_a_bad_request_that_names_it: Straight("llama-server takes a temperature of 9"),
    a_tool_that_anthropic_runs_is_a_bad_request: Straight("llama-server takes a tool it cannot run"),
    a_prompt_that_does_not_fit_is_a_bad_request: Straight(OPENAI_SHAPE),
    a_full_queue_is_a_rate_limit_error: NotAsked("llama-server's queue has no end: it would tell all eighty stories"),
}

if __name__ == "__main__":
    run(f"anthropic (Python) {anthropic.__version__}", CASES, DIFFERENCES)
