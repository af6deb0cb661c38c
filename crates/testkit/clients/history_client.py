"""Whatever the door gave out, it takes back: answers as `openai` and `anthropic` put them together, sent as history.

Each shape of answer is asked for whole and streamed, in each API. shapes.py has the shapes, suite.py says how it is run.
"""

import json

import anthropic
import openai
from shapes import AGAIN, CUT_CALL, PARAMETERS, RESULT, TOOL, Shape, cases
from suite import KEY, MODEL, run

FUNCTION = {"type": "function", "name": "weather", "description": "The weather.", "parameters": PARAMETERS}
MESSAGES_TOOL = {"name": "weather", "description": "The weather.", "input_schema": PARAMETERS}
ONE_MORE = {"role": "user", "content": AGAIN}


def openai_client(base: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{base}/v1", api_key=KEY, max_retries=0, timeout=120)


def anthropic_client(base: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=base, api_key=KEY, max_retries=0, timeout=120)


def chat(shape: Shape) -> dict:
    """The question of a chat."""
    asked = {"model": MODEL, "messages": [{"role": "user", "content": shape.question}], "temperature": 0,
             "max_tokens": shape.max_tokens}
    return {**asked, **({"stop": shape.stop} if shape.stop else {}), **({"tools": [TOOL]} if shape.tools else {})}


def chat_goes_on(base: str, shape: Shape, message) -> None:
    """Sends the answer back, with a result for each of its calls."""
    calls = message.get("tool_calls") if isinstance(message, dict) else message.tool_calls
    ids = [call["id"] if isinstance(call, dict) else call.id for call in calls or []]
    results = [{"role": "tool", "tool_call_id": id, "content": RESULT} for id in ids]
    asked = {**chat(shape), "max_tokens": 2}
    asked["messages"] = [*asked["messages"], message, *results, ONE_MORE]
    assert openai_client(base).chat.completions.create(**asked).choices


def chat_as_it_came(base, shape):
    raw = openai_client(base).chat.completions.with_raw_response.create(**chat(shape))
    chat_goes_on(base, shape, json.loads(raw.text)["choices"][0]["message"])


def chat_streamed_and_added_up(base, shape):
    """As programs without a helper do it: what the deltas say, added up, and `null` where they said nothing."""
    message = {"role": "assistant", "content": None}
    for chunk in openai_client(base).chat.completions.create(stream=True, **chat(shape)):
        for name, value in chunk.choices[0].delta.model_dump(exclude_none=True).items():
            if name == "tool_calls":
                for part in value:
                    calls = message.setdefault("tool_calls", [])
                    if part["index"] == len(calls):
                        calls.append({**part, "function": {"arguments": "", **part["function"]}})
                    else:
                        calls[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
            elif name in ("content", "reasoning_content"):
                message[name] = (message.get(name) or "") + value
    chat_goes_on(base, shape, message)


def chat_object(base, shape):
    chat_goes_on(base, shape, openai_client(base).chat.completions.create(**chat(shape)).choices[0].message)


def chat_model_dump(base, shape):
    message = openai_client(base).chat.completions.create(**chat(shape)).choices[0].message
    chat_goes_on(base, shape, message.model_dump())


def chat_stream_helper(base, shape):
    # The helper raises when the answer was cut, and has the answer all the same.
    with openai_client(base).chat.completions.stream(**chat(shape)) as stream:
        for _ in stream:
            pass
        message = stream.current_completion_snapshot.choices[0].message
    chat_goes_on(base, shape, message)
    chat_goes_on(base, shape, message.model_dump())


def completion_text(base, shape):
    asked = {"model": MODEL, "prompt": shape.question, "temperature": 0, "max_tokens": shape.max_tokens}
    create = openai_client(base).completions.create
    whole = create(**asked).choices[0].text
    pieces = "".join(chunk.choices[0].text for chunk in create(stream=True, **asked) if chunk.choices)
    for text in (whole, pieces):
        assert create(model=MODEL, prompt=shape.question + text + AGAIN, max_tokens=2).choices


def response(shape: Shape) -> dict:
    """The question of a response."""
    asked = {"model": MODEL, "input": [{"role": "user", "content": shape.question}], "temperature": 0,
             "max_output_tokens": shape.max_tokens}
    return {**asked, **({"extra_body": {"stop": shape.stop}} if shape.stop else {}),
            **({"tools": [FUNCTION]} if shape.tools else {})}


def response_goes_on(base: str, shape: Shape, output: list) -> None:
    """Sends the items of the answer back, with a result for each of its calls."""
    items = [item if isinstance(item, dict) else item.model_dump() for item in output]
    results = [{"type": "function_call_output", "call_id": item["call_id"], "output": RESULT}
               for item in items if item["type"] == "function_call"]
    asked = {**response(shape), "max_output_tokens": 2}
    asked["input"] = [*asked["input"], *output, *results, ONE_MORE]
    assert openai_client(base).responses.create(**asked).id


def response_as_it_came(base, shape):
    raw = openai_client(base).responses.with_raw_response.create(**response(shape))
    response_goes_on(base, shape, json.loads(raw.text)["output"])


def response_objects(base, shape):
    response_goes_on(base, shape, openai_client(base).responses.create(**response(shape)).output)


def response_model_dump(base, shape):
    output = openai_client(base).responses.create(**response(shape)).output
    response_goes_on(base, shape, [item.model_dump() for item in output])


def response_streamed(base, shape):
    """The items as they are done, and those of the last event."""
    events = list(openai_client(base).responses.create(stream=True, **response(shape)))
    done = [event.item for event in events if event.type == "response.output_item.done"]
    response_goes_on(base, shape, done)
    response_goes_on(base, shape, events[-1].response.output)


def message(shape: Shape) -> dict:
    """The question of a message."""
    asked = {"model": MODEL, "messages": [{"role": "user", "content": shape.question}],
             "max_tokens": shape.max_tokens, "extra_body": {"temperature": 0}}
    return {**asked, **({"stop_sequences": shape.stop} if shape.stop else {}),
            **({"tools": [MESSAGES_TOOL]} if shape.tools else {})}


def message_goes_on(base: str, shape: Shape, content: list) -> None:
    """Sends the blocks of the answer back, with a result for each of its calls."""
    blocks = [block if isinstance(block, dict) else block.model_dump() for block in content]
    results = [{"type": "tool_result", "tool_use_id": block["id"], "content": RESULT}
               for block in blocks if block["type"] == "tool_use"]
    again = {"role": "user", "content": [*results, {"type": "text", "text": AGAIN}]}
    asked = {**message(shape), "max_tokens": 2}
    asked["messages"] = [*asked["messages"], {"role": "assistant", "content": content}, again]
    assert anthropic_client(base).messages.create(**asked).id


def message_as_it_came(base, shape):
    raw = anthropic_client(base).messages.with_raw_response.create(**message(shape))
    message_goes_on(base, shape, json.loads(raw.text())["content"])


def message_objects(base, shape):
    message_goes_on(base, shape, anthropic_client(base).messages.create(**message(shape)).content)


def message_model_dump(base, shape):
    content = anthropic_client(base).messages.create(**message(shape)).content
    message_goes_on(base, shape, [block.model_dump() for block in content])


def message_stream_helper(base, shape):
    with anthropic_client(base).messages.stream(**message(shape)) as stream:
        final = stream.get_final_message()
    message_goes_on(base, shape, final.content)
    message_goes_on(base, shape, final.model_dump()["content"])


WAYS = [
    chat_as_it_came,
    chat_streamed_and_added_up,
    chat_object,
    chat_model_dump,
    chat_stream_helper,
    response_as_it_came,
    response_objects,
    response_model_dump,
    response_streamed,
    message_as_it_came,
    message_objects,
    message_model_dump,
    message_stream_helper,
]
CASES = [*cases(WAYS), *(case for case in cases([completion_text]) if case.__name__.endswith("text"))]
DIFFERENCES = {f"{way.__name__}__a_cut_call": CUT_CALL for way in WAYS if not way.__name__.startswith("message")}

if __name__ == "__main__":
    run(f"history of openai {openai.__version__} and anthropic {anthropic.__version__}", CASES, DIFFERENCES)
