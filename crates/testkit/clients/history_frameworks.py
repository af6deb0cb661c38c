"""Whatever the door gave out, it takes back: answers as LangChain, pydantic-ai and openai-agents keep them in a history.

Each shape of answer is asked for whole and streamed. shapes.py has the shapes, suite.py says how it is run.
"""

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.messages import ModelRequest, ToolCallPart, ToolReturnPart, UserPromptPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings as PydanticSettings
from pydantic_ai.tools import ToolDefinition
from shapes import AGAIN, CUT_CALL, PARAMETERS, RESULT, TOOL, Shape, cases
from suite import KEY, MODEL, run, wait

set_tracing_disabled(True)


def langchain_model(base: str, shape: Shape, max_tokens: int):
    model = ChatOpenAI(model=MODEL, base_url=f"{base}/v1", api_key=KEY, max_tokens=max_tokens, temperature=0,
                       stop=shape.stop or None, timeout=120, max_retries=0)
    return model.bind_tools([TOOL]) if shape.tools else model


def langchain_goes_on(base: str, shape: Shape, answer) -> None:
    # A call whose arguments are no JSON is kept apart, and goes back all the same.
    calls = [*answer.tool_calls, *answer.invalid_tool_calls]
    results = [ToolMessage(RESULT, tool_call_id=call["id"]) for call in calls]
    turns = [HumanMessage(shape.question), answer, *results, HumanMessage(AGAIN)]
    langchain_model(base, shape, 2).invoke(turns)


def langchain_whole(base, shape):
    langchain_goes_on(base, shape, langchain_model(base, shape, shape.max_tokens).invoke(shape.question))


def langchain_streamed(base, shape):
    pieces = list(langchain_model(base, shape, shape.max_tokens).stream(shape.question))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    langchain_goes_on(base, shape, whole)


def pydantic_asked(base: str, shape: Shape, max_tokens: int) -> dict:
    settings = PydanticSettings(max_tokens=max_tokens, temperature=0, timeout=120)
    if shape.stop:
        settings["stop_sequences"] = shape.stop
    tools = [ToolDefinition(name="weather", description="The weather.", parameters_json_schema=PARAMETERS)]
    return {
        "model": OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=f"{base}/v1", api_key=KEY)),
        "model_settings": settings,
        "model_request_parameters": ModelRequestParameters(function_tools=tools if shape.tools else []),
    }


def pydantic_goes_on(base: str, shape: Shape, answer) -> None:
    results = [ToolReturnPart(part.tool_name, RESULT, part.tool_call_id)
               for part in answer.parts if isinstance(part, ToolCallPart)]
    again = ModelRequest([*results, UserPromptPart(AGAIN)])
    turns = [ModelRequest.user_text_prompt(shape.question), answer, again]
    wait(model_request(messages=turns, **pydantic_asked(base, shape, 2)))


def pydantic_ai_whole(base, shape):
    asked = pydantic_asked(base, shape, shape.max_tokens)
    answer = wait(model_request(messages=[ModelRequest.user_text_prompt(shape.question)], **asked))
    pydantic_goes_on(base, shape, answer)


def pydantic_ai_streamed(base, shape):
    async def stream():
        asked = pydantic_asked(base, shape, shape.max_tokens)
        async with model_request_stream(
                messages=[ModelRequest.user_text_prompt(shape.question)], **asked) as events:
            async for _ in events:
                pass
            return events.get()

    pydantic_goes_on(base, shape, wait(stream()))


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return RESULT


def agent(base: str, shape: Shape, max_tokens: int) -> Agent:
    client = AsyncOpenAI(base_url=f"{base}/v1", api_key=KEY, max_retries=0, timeout=120)
    settings = ModelSettings(temperature=0, max_tokens=max_tokens,
                             extra_body={"stop": shape.stop} if shape.stop else None)
    return Agent(name="Clerk", model=OpenAIChatCompletionsModel(model=MODEL, openai_client=client),
                 model_settings=settings, tools=[weather] if shape.tools else [],
                 tool_use_behavior="stop_on_first_tool")


def agents_goes_on(base: str, shape: Shape, answer) -> None:
    turns = [*answer.to_input_list(), {"role": "user", "content": AGAIN}]
    # Enough for a whole call: the package takes no answer that was cut before its first word.
    wait(Runner.run(agent(base, shape, 64), turns, max_turns=1))


def agents_whole(base, shape):
    agents_goes_on(base, shape, wait(Runner.run(agent(base, shape, shape.max_tokens), shape.question)))


def agents_streamed(base, shape):
    async def stream():
        answer = Runner.run_streamed(agent(base, shape, shape.max_tokens), shape.question)
        async for _ in answer.stream_events():
            pass
        return answer

    agents_goes_on(base, shape, wait(stream()))


# The package gives up by itself on an answer that was cut while it had only thoughts.
CASES = [
    *cases([langchain_whole, langchain_streamed, pydantic_ai_whole, pydantic_ai_streamed]),
    *(case for case in cases([agents_whole, agents_streamed]) if "only_thoughts" not in case.__name__),
]
# The other packages mend the arguments before they send them back.
DIFFERENCES = {f"{way.__name__}__a_cut_call": CUT_CALL for way in (langchain_whole, agents_whole, agents_streamed)}

if __name__ == "__main__":
    run("history of LangChain, pydantic-ai and openai-agents", CASES, DIFFERENCES)
