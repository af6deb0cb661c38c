"""Python's `openai` package against a running llm-proxy: what callers in Python rely on.

`cargo xtask test` runs it with CORRAL_PROXY_URL, CORRAL_API_KEY and CORRAL_MODEL; it exits with 1 at the first promise
that does not hold.
"""

import os
import sys

import openai

BASE_URL = os.environ["CORRAL_PROXY_URL"] + "/v1"
MODEL = os.environ["CORRAL_MODEL"]
QUESTION = [{"role": "user", "content": "Name one colour."}]
OPTIONS = {"messages": QUESTION, "max_tokens": 24, "temperature": 0, "seed": 7}


def client(key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=BASE_URL, api_key=key, max_retries=0, timeout=120)


def the_served_model_is_listed(api: openai.OpenAI) -> None:
    assert [model.id for model in api.models.list()] == [MODEL]


def a_whole_answer_has_text_a_reason_to_end_and_usage(api: openai.OpenAI) -> None:
    answer = api.chat.completions.create(model=MODEL, **OPTIONS)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert 0 < answer.usage.completion_tokens <= 24 and answer.usage.prompt_tokens > 0


def a_streamed_answer_is_the_whole_one_in_pieces(api: openai.OpenAI) -> None:
    chunks = list(api.chat.completions.create(model=MODEL, stream=True, stream_options={"include_usage": True}, **OPTIONS))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    assert text and len(chunks) > 3
    assert len(reasons) == 1 and reasons[0] in ("stop", "length")
    assert chunks[-1].usage.completion_tokens > 0


def a_wrong_key_is_an_authentication_error(_: openai.OpenAI) -> None:
    try:
        client("not-the-key").chat.completions.create(model=MODEL, **OPTIONS)
    except openai.AuthenticationError as error:
        assert error.status_code == 401 and isinstance(error.code, str), error.body
    else:
        raise AssertionError("the wrong key was accepted")


def an_unknown_model_is_a_not_found_error(api: openai.OpenAI) -> None:
    try:
        api.chat.completions.create(model="no-such-model", **OPTIONS)
    except openai.NotFoundError as error:
        assert error.status_code == 404 and isinstance(error.code, str), error.body
    else:
        raise AssertionError("an unknown model was accepted")


def main() -> int:
    api = client(os.environ["CORRAL_API_KEY"])
    for promise in (
        the_served_model_is_listed,
        a_whole_answer_has_text_a_reason_to_end_and_usage,
        a_streamed_answer_is_the_whole_one_in_pieces,
        a_wrong_key_is_an_authentication_error,
        an_unknown_model_is_a_not_found_error,
    ):
        promise(api)
        print(f"ok  {promise.__name__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
