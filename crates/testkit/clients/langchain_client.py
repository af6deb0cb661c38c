"""LangChain's `langchain-openai` against a running llm-proxy, and straight to llama-server. suite.py says how it is run."""

from importlib.metadata import version

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field
from suite import KEY, MODEL, STORY, STORY_TOKENS, UNNOTICED, expect_cancelled, expect_free, run, wait

QUESTION = "Name one colour."


class Colour(BaseModel):
    """One colour."""

    name: str = Field(max_length=12)


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}."


def model(base: str, **more) -> ChatOpenAI:
    options = {"max_tokens": 64, "temperature": 0, "seed": 7, "timeout": 120, "max_retries": 0, **more}
    return ChatOpenAI(model=MODEL, base_url=f"{base}/v1", api_key=KEY, **options)


def a_whole_answer_has_text_and_usage(base):
    answer = model(base).invoke(QUESTION)
    assert answer.text and answer.response_metadata["finish_reason"] in ("stop", "length")
    assert answer.usage_metadata["output_tokens"] > 0


def a_streamed_answer_is_the_whole_one_in_pieces(base):
    pieces = list(model(base, stream_usage=True).stream(QUESTION))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert len(pieces) > 3 and whole.usage_metadata["output_tokens"] > 0
    assert whole.text == model(base).invoke(QUESTION).text


def an_answer_has_the_type_that_was_asked_for(base):
    for method in ("json_schema", "function_calling"):
        colour = model(base).with_structured_output(Colour, method=method).invoke(QUESTION)
        assert isinstance(colour, Colour) and colour.name, f"{method}: {colour}"


def a_tool_is_called_and_its_result_is_read(base):
    for choice in ("any", "weather", "auto"):
        question = HumanMessage("What is the weather in Rome?")
        called = model(base).bind_tools([weather], tool_choice=choice).invoke([question])
        assert [call["name"] for call in called.tool_calls] == ["weather"], f"{choice}: {called}"
        results = [weather.invoke(call) for call in called.tool_calls]
        assert isinstance(results[0], ToolMessage)
        answer = model(base).bind_tools([weather]).invoke([question, called, *results])
        assert answer.text and not answer.tool_calls, answer


def a_streamed_call_of_a_tool_is_put_together(base):
    pieces = list(model(base).bind_tools([weather], tool_choice="any").stream("What is the weather in Rome?"))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert [call["name"] for call in whole.tool_calls] == ["weather"] and "city" in whole.tool_calls[0]["args"]


def leaving_a_stream_frees_the_slot_at_once(base):
    async def leave():
        stream = model(base, max_tokens=STORY_TOKENS).astream(STORY)
        await anext(stream)
        await stream.aclose()

    wait(leave())
    expect_free()


def leaving_a_whole_answer_frees_the_slot_at_once(base):
    expect_cancelled(lambda: model(base, max_tokens=STORY_TOKENS).ainvoke(STORY))


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
    run(f"langchain-openai {version('langchain-openai')}", CASES, DIFFERENCES)
