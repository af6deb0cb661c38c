"""`openai-agents` on chat completions against a running llm-proxy, and straight to llama-server.

suite.py says how it is run.
"""

from importlib.metadata import version

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from agents.items import ToolCallItem
from openai import AsyncOpenAI
from pydantic import BaseModel, Field
from suite import KEY, MODEL, STORY, STORY_TOKENS, UNNOTICED, expect_cancelled, expect_free, run, wait

QUESTION = "Name one colour."
set_tracing_disabled(True)


class Colour(BaseModel):
    """One colour."""

    name: str = Field(max_length=12)


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}."


def agent(base: str, max_tokens: int = 64, tool_choice: str | None = None, **more) -> Agent:
    client = AsyncOpenAI(base_url=f"{base}/v1", api_key=KEY, max_retries=0, timeout=120)
    settings = ModelSettings(
        temperature=0, max_tokens=max_tokens, include_usage=True, tool_choice=tool_choice, extra_body={"seed": 7})
    model = OpenAIChatCompletionsModel(model=MODEL, openai_client=client)
    return Agent(name="Clerk", model=model, model_settings=settings, **more)


def calls(items) -> list:
    return [item.raw_item.name for item in items if isinstance(item, ToolCallItem)]


async def streamed(agent: Agent, question: str):
    """The finished run, and its pieces of text."""
    answer = Runner.run_streamed(agent, question)
    pieces = []
    async for event in answer.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            pieces.append(event.data.delta)
    return answer, pieces


def a_whole_answer_has_text_and_usage(base):
    answer = wait(Runner.run(agent(base), QUESTION))
    assert answer.final_output and answer.context_wrapper.usage.output_tokens > 0


def a_streamed_answer_is_the_whole_one_in_pieces(base):
    answer, pieces = wait(streamed(agent(base), QUESTION))
    assert len(pieces) > 3 and "".join(pieces) == answer.final_output
    assert answer.context_wrapper.usage.output_tokens > 0
    assert answer.final_output == wait(Runner.run(agent(base), QUESTION)).final_output


def an_answer_has_the_type_that_was_asked_for(base):
    colour = wait(Runner.run(agent(base, output_type=Colour), QUESTION)).final_output
    assert isinstance(colour, Colour) and colour.name


def a_tool_is_called_and_its_result_is_read(base):
    for choice in (None, "required", "weather"):
        clerk = agent(base, tool_choice=choice, tools=[weather])
        answer = wait(Runner.run(clerk, "What is the weather in Rome?", max_turns=3))
        assert calls(answer.new_items) == ["weather"] and "sunny" in answer.final_output, f"{choice}: {answer}"


def a_streamed_call_of_a_tool_is_put_together(base):
    answer, _ = wait(streamed(agent(base, tools=[weather]), "What is the weather in Rome?"))
    assert calls(answer.new_items) == ["weather"] and "sunny" in answer.final_output, answer


def leaving_a_stream_frees_the_slot_at_once(base):
    async def leave():
        answer = Runner.run_streamed(agent(base, STORY_TOKENS), STORY)
        async for event in answer.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                break
        answer.cancel()
        async for _ in answer.stream_events():
            pass

    wait(leave())
    expect_free()


def leaving_a_whole_answer_frees_the_slot_at_once(base):
    expect_cancelled(lambda: Runner.run(agent(base, STORY_TOKENS), STORY))


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
    run(f"openai-agents {version('openai-agents')}", CASES, DIFFERENCES)
