"""`instructor` against a running llm-proxy, and straight to llama-server. suite.py says how it is run.

It is run in an environment of its own: it wants an older `jiter`, and so an older `openai`, than the other packages.
"""

from importlib.metadata import version

import instructor
import openai
from pydantic import BaseModel, Field
from suite import KEY, MODEL, STORY, STORY_TOKENS, UNNOTICED, expect_cancelled, expect_free, run, wait

QUESTION = [{"role": "user", "content": "Name one colour."}]
OPTIONS = {"model": MODEL, "messages": QUESTION, "max_tokens": 64, "temperature": 0, "seed": 7}


class Colour(BaseModel):
    """One colour."""

    name: str = Field(max_length=12)


class Weather(BaseModel):
    """The weather in a city."""

    city: str = Field(max_length=12)


class Story(BaseModel):
    """A very long story."""

    lines: list[str] = Field(min_length=50)


def client(base: str, mode: instructor.Mode = instructor.Mode.TOOLS) -> instructor.Instructor:
    return instructor.from_openai(
        openai.OpenAI(base_url=f"{base}/v1", api_key=KEY, max_retries=0, timeout=120), mode=mode)


def async_client(base: str) -> instructor.AsyncInstructor:
    return instructor.from_openai(
        openai.AsyncOpenAI(base_url=f"{base}/v1", api_key=KEY, max_retries=0, timeout=120),
        mode=instructor.Mode.JSON_SCHEMA)


def a_whole_answer_has_text_and_usage(base):
    answer = client(base).chat.completions.create(response_model=None, **OPTIONS)
    assert answer.choices[0].message.content and answer.usage.completion_tokens > 0


def a_streamed_answer_grows_to_the_whole_one(base):
    for mode in (instructor.Mode.JSON_SCHEMA, instructor.Mode.TOOLS):
        parts = list(client(base, mode).create_partial(response_model=Colour, max_retries=0, **OPTIONS))
        assert len(parts) > 1 and parts[-1].name, f"{mode}: {parts}"


def an_answer_has_the_type_that_was_asked_for(base):
    for mode in (instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT, instructor.Mode.JSON_SCHEMA):
        colour = client(base, mode).chat.completions.create(response_model=Colour, max_retries=0, **OPTIONS)
        assert isinstance(colour, Colour) and colour.name, f"{mode}: {colour}"


def a_tool_is_called_and_its_call_can_be_read(base):
    asked = {**OPTIONS, "messages": [{"role": "user", "content": "What is the weather in Rome?"}]}
    weather, answer = client(base).chat.completions.create_with_completion(
        response_model=Weather, max_retries=0, **asked)
    assert weather.city and answer.choices[0].message.tool_calls[0].function.name == "Weather"


def leaving_a_stream_frees_the_slot_at_once(base):
    asked = {**OPTIONS, "messages": [{"role": "user", "content": STORY}], "max_tokens": STORY_TOKENS}

    async def leave():
        parts = async_client(base).create_partial(response_model=Story, max_retries=0, **asked)
        async for part in parts:
            if part.lines:
                break
        await parts.aclose()

    wait(leave())
    expect_free()


def leaving_a_whole_answer_frees_the_slot_at_once(base):
    asked = {**OPTIONS, "messages": [{"role": "user", "content": STORY}], "max_tokens": STORY_TOKENS}
    ask = async_client(base).chat.completions.create
    expect_cancelled(lambda: ask(response_model=Story, max_retries=0, **asked))


CASES = [
    a_whole_answer_has_text_and_usage,
    a_streamed_answer_grows_to_the_whole_one,
    an_answer_has_the_type_that_was_asked_for,
    a_tool_is_called_and_its_call_can_be_read,
    leaving_a_stream_frees_the_slot_at_once,
    leaving_a_whole_answer_frees_the_slot_at_once,
]
DIFFERENCES = {leaving_a_whole_answer_frees_the_slot_at_once: UNNOTICED}

if __name__ == "__main__":
    run(f"instructor {version('instructor')}", CASES, DIFFERENCES)
