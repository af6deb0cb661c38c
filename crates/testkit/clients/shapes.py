"""The shapes that an answer can have, for the suites that send answers back as history.

A call that the token limit cut is no JSON and has no result. It may be refused, by a 400 that names the arguments; every
other shape must be answered.
"""

import json
import urllib.request
from dataclasses import dataclass, field

from suite import KEY, MODEL, PROXY, Straight

QUESTION = "Name one colour."
AGAIN = "And one more?"
RESULT = "It is sunny in Rome."
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": PARAMETERS}}
# Why a cut call is not taken back when llama-server is asked straight.
CUT_CALL = Straight("llama-server says 500 to arguments that are no JSON, not 400")


@dataclass(frozen=True)
class Shape:
    """A question and what makes its answer come out in one shape."""

    name: str
    question: str = QUESTION
    max_tokens: int = 24
    stop: list = field(default_factory=list)
    tools: bool = False

    @property
    def is_cut_call(self) -> bool:
        return self.tools and self.max_tokens < 64


def first_token() -> str:
    """The answer's first token. As a stop sequence it leaves nothing of the answer."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 1, "temperature": 0}
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{PROXY}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["choices"][0]["message"]["content"]


def shapes() -> list[Shape]:
    return [
        Shape("text"),
        Shape("cut_text", max_tokens=3),
        Shape("nothing", stop=[first_token()]),
        Shape("only_thoughts", question="Think. What is 1+1?", max_tokens=8),
        Shape("only_a_call", question="What is the weather in Rome?", max_tokens=64, tools=True),
        Shape("a_cut_call", question="What is the weather in Rome?", max_tokens=18, tools=True),
    ]


def cases(ways: list) -> list:
    """A case for each way to put an answer together and each shape. A way takes a base and a shape."""
    return [case(way, shape) for way in ways for shape in shapes()]


def case(way, shape: Shape):
    def taken_back(base: str) -> None:
        try:
            way(base, shape)
        except Exception as error:
            if not (shape.is_cut_call and names_the_arguments(error)):
                raise

    taken_back.__name__ = f"{way.__name__}__{shape.name}"
    return taken_back


def names_the_arguments(error: Exception) -> bool:
    """Whether this is a 400 for the arguments of a call. Packages wrap the error of the API in one of their own."""
    while error is not None:
        if getattr(error, "status_code", None) == 400:
            return "arguments" in str(error)
        error = error.__cause__ or error.__context__
    return False
