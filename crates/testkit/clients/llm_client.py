"""The `llm` command against a running llm-proxy, and straight to llama-server. suite.py says how it is run.

The command has its own folder, with the server as one of its extra-openai-models.yaml.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from suite import KEY, MODEL, PATIENCE_SECONDS, STORY, STORY_TOKENS, expect_busy, expect_free, run

QUESTION = "Name one colour."
FUNCTION = 'def weather(city: str) -> str:\n    """The weather in a city."""\n    return f"It is sunny in {city}."\n'
FOLDER = tempfile.TemporaryDirectory(prefix="corral-llm-")


def command(base: str, *args: str, max_tokens: int = 64) -> tuple[list[str], dict]:
    """The command line and its environment."""
    entry = {
        "model_id": "corral", "model_name": MODEL, "api_base": f"{base}/v1", "api_key_name": "corral",
        "supports_tools": True, "supports_schema": True}
    # JSON is YAML too.
    Path(FOLDER.name, "extra-openai-models.yaml").write_text(json.dumps([entry]))
    options = ["-o", "temperature", "0", "-o", "seed", "7", "-o", "max_tokens", str(max_tokens)]
    line = [sys.executable, "-m", "llm", "prompt", "-m", "corral", "--key", KEY, *options, *args]
    return line, {**os.environ, "LLM_USER_PATH": FOLDER.name}


def said(base: str, *args: str) -> str:
    """What the command writes."""
    line, environment = command(base, *args)
    ended = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert ended.returncode == 0, f"exit {ended.returncode}: {ended.stderr}"
    return ended.stdout.strip()


def a_whole_answer_has_text(base):
    assert said(base, "--no-stream", QUESTION)


def a_streamed_answer_is_the_whole_one(base):
    assert said(base, QUESTION) == said(base, "--no-stream", QUESTION)


def an_answer_has_the_form_that_was_asked_for(base):
    assert list(json.loads(said(base, "--no-stream", "--schema", "colour str", QUESTION))) == ["colour"]


def a_tool_is_called_and_its_result_is_read(base):
    for stream in ([], ["--no-stream"]):
        assert "sunny" in said(base, *stream, "--functions", FUNCTION, "What is the weather in Rome?"), stream


def a_conversation_goes_on(base):
    said(base, QUESTION)
    assert said(base, "--continue", "And one more.")


def leaving_a_stream_frees_the_slot_at_once(base):
    line, environment = command(base, STORY, max_tokens=STORY_TOKENS)
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        expect_busy()
        running.stdout.read(1)
        running.send_signal(signal.SIGINT)
        running.wait(PATIENCE_SECONDS)
        expect_free()


CASES = [
    a_whole_answer_has_text,
    a_streamed_answer_is_the_whole_one,
    an_answer_has_the_form_that_was_asked_for,
    a_tool_is_called_and_its_result_is_read,
    a_conversation_goes_on,
    leaving_a_stream_frees_the_slot_at_once,
]

if __name__ == "__main__":
    run(f"llm {version('llm')}", CASES, {})
