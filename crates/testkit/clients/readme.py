"""The snippets of README.md that call the API with curl, Python and FastAPI, run on the chain as a reader would run them.

`cargo xtask test` names the chain in the environment. Only its address and key replace those of the page. A snippet works
when it ends well and prints something. readme.mjs has those in JavaScript.
"""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[3]
# The development model sometimes writes as long as it may.
PATIENCE_SECONDS = 180


def snippets(language: str) -> list[str]:
    """The blocks in `language` that call llm-proxy, with the address and the key of the chain."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return [
        block.replace("http://127.0.0.1:8081", os.environ["CORRAL_PROXY_URL"])
        .replace("dev-key-that-is-not-secret", os.environ["CORRAL_API_KEY"])
        .replace("$(sed -n s/^LLM_API_KEY=//p .env.dev)", os.environ["CORRAL_API_KEY"])
        for block in blocks
        if "http://127.0.0.1:8081" in block
    ]


def printed(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def answered(block: str) -> str:
    """What the app of `block` answers."""
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102
    transport = httpx.ASGITransport(app=names["app"])
    async with httpx.AsyncClient(transport=transport, base_url="http://app", timeout=PATIENCE_SECONDS) as client:
        answer = await client.get("/ask", params={"q": "Hello"})
    assert answer.status_code == 200, answer.text
    return answer.text


def main() -> None:
    os.environ["LLM_API_KEY"] = os.environ["CORRAL_API_KEY"]
    os.environ["LLM_MODEL"] = os.environ["CORRAL_MODEL"]
    whole, streamed = snippets("sh")
    plain, fastapi = snippets("python")
    outputs = {
        "curl": printed("sh", "-c", whole),
        "curl, streamed": printed("sh", "-c", streamed),
        "Python": printed(sys.executable, "-c", plain),
        "FastAPI": asyncio.run(answered(fastapi)),
    }
    assert '"finish_reason"' in outputs["curl"], outputs["curl"]
    assert outputs["curl, streamed"].rstrip().endswith("data: [DONE]"), outputs["curl, streamed"]
    for name, output in outputs.items():
        assert output.strip(), f"{name} printed nothing"
        print(f"{name}: {len(output)} characters")


main()
