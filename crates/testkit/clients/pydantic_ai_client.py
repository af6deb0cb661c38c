"""`pydantic-ai` against a running llm-proxy, and straight to llama-server. suite.py says how it is run."""

from importlib.metadata import version

from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings
from suite import KEY, MODEL, STORY, STORY_TOKENS, UNNOTICED, expect_cancelled, expect_free, run, wait

QUESTION = "Name one colour."


class Colour(BaseModel):
    """One colour."""

    name: str = Field(max_length=12)


def agent(base: str, max_tokens: int = 64, **more) -> Agent:
    provider = OpenAIProvider(base_url=f"{base}/v1", api_key=KEY)
    settings = ModelSettings(max_tokens=max_tokens, temperature=0, seed=7, timeout=120)
    return Agent(OpenAIChatModel(MODEL, provider=provider), model_settings=settings, retries=0, **more)


def weather(city: str) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}."


def calls(messages) -> list:
    return [part.tool_name for message in messages for part in message.parts if isinstance(part, ToolCallPart)]


def a_whole_answer_has_text_and_usage(base):
    answer = wait(agent(base).run(QUESTION))
    assert answer.output and answer.usage.output_tokens > 0


def a_streamed_answer_is_the_whole_one_in_pieces(base):
    async def stream():
        async with agent(base).run_stream(QUESTION) as answer:
            return [piece async for piece in answer.stream_text(delta=True, debounce_by=None)]

    pieces = wait(stream())
    assert len(pieces) > 3 and "".join(pieces) == wait(agent(base).run(QUESTION)).output


def an_answer_has_the_type_that_was_asked_for(base):
    for form in (NativeOutput(Colour, strict=True), ToolOutput(Colour)):
        colour = wait(agent(base, output_type=form).run(QUESTION)).output
        assert isinstance(colour, Colour) and colour.name, f"{form}: {colour}"


def a_tool_is_called_and_its_result_is_read(base):
    answer = wait(agent(base, tools=[weather]).run("What is the weather in Rome?"))
    assert calls(answer.new_messages()) == ["weather"] and "sunny" in answer.output, answer


def a_streamed_call_of_a_tool_is_put_together(base):
    async def stream():
        async with agent(base, tools=[weather]).run_stream("What is the weather in Rome?") as answer:
            return await answer.get_output(), answer.new_messages()

    output, messages = wait(stream())
    assert calls(messages) == ["weather"] and "sunny" in output, messages


def leaving_a_stream_frees_the_slot_at_once(base):
    async def leave():
        async with agent(base, STORY_TOKENS).run_stream(STORY) as answer:
            await anext(aiter(answer.stream_text(delta=True, debounce_by=None)))
            await answer.cancel()

    wait(leave())
    expect_free()


def leaving_a_whole_answer_frees_the_slot_at_once(base):
    expect_cancelled(lambda: agent(base, STORY_TOKENS).run(STORY))


CASES = [
    a_whole_answer_has_text_and_usage,
    a_streamed_answer_is_the_whole_one_in_pieces,
    an_answer_has_the_type_that_was_asked_for,
    a_tool_is_called_and_its_result_is_read,
    a_streamed_call_of_a_tool_is_put_together,
    leaving_a_stream_frees_the_slot_at_once,
    leaving_a_whole_answer_frees_the_slot_at_once,
]
DIFFERENCES = {leaving_a_whole_answer_frees_the_slot_at_once: UNNOTICED}

if __name__ == "__main__":
    run(f"pydantic-ai {version('pydantic-ai-slim')}", CASES, DIFFERENCES)
