"""Runs a client's cases twice, straight to llama-server and through llm-proxy, and prints a table of both.

`cargo xtask test` names both in the environment. The model's own template knows no tools, so llama-server runs with
tools.jinja, which does. A case takes the address of the server it asks.

A case holds when it raises nothing. It must hold through the proxy and straight, or DIFFERENCES gives the reason why not.
An unexplained difference fails, and so does a reason for a difference that is not there.
"""

import asyncio
import json
import os
import sys
import time
import traceback
import urllib.request
from dataclasses import dataclass
from typing import Callable

KEY = os.environ["CORRAL_API_KEY"]
MODEL = os.environ["CORRAL_MODEL"]
PROXY = os.environ["CORRAL_TOOLS_PROXY_URL"]
ENGINE = os.environ["CORRAL_TOOLS_ENGINE_URL"]
LOOP = asyncio.new_event_loop()

# A story that nobody reads to its end: more than ten seconds of the development model.
STORY = "Write a very long story about a horse."
STORY_TOKENS = 900
# How long a slot may be busy after its caller left; the story would take several times as long.
FREE_WITHIN_SECONDS = 2.0
# How long anything else may take: one core computes all of it.
PATIENCE_SECONDS = 60.0

@dataclass(frozen=True)
class Proxy:
    """The reason why a case does not hold through the proxy, though it holds straight."""

    reason: str


@dataclass(frozen=True)
class Straight:
    """The reason why a case does not hold straight, though it holds through the proxy; `always` or by chance."""

    reason: str
    always: bool = True


@dataclass(frozen=True)
class NotAsked:
    """The reason why llama-server is not asked at all."""

    reason: str


# Why leaving a whole answer does not free its slot when llama-server is asked straight.
UNNOTICED = Straight(
    "llama-server notices that the caller of a whole answer left only when nobody else asks anything", always=False)


def outcome(case: Callable[[str], None], base: str) -> str:
    """`ok`, or what the caller would have met."""
    try:
        case(base)
    except Exception as error:
        if os.environ.get("CORRAL_TRACE"):
            traceback.print_exc()
        return f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
    return "ok"


def verdict(through: str, straight: str | None, difference) -> str | None:
    """Why the two outcomes are not what `difference` says, or nothing."""
    match difference:
        case None if through != "ok":
            return "does not hold through the proxy, and no reason is given"
        case None if straight != "ok":
            return "holds only through the proxy, and no reason is given"
        case Straight(always=True) if straight == "ok":
            return "holds straight too: take its reason out"
        case Proxy() if through == "ok":
            return "holds through the proxy: take its reason out"
        case Proxy() if straight != "ok":
            return "holds nowhere"
        case Straight() | NotAsked() if through != "ok":
            return "does not hold through the proxy"
    return None


def run(client: str, cases: list, differences: dict) -> None:
    """Runs all cases, prints the table, and ends the process: with 1 when a case is not as promised."""
    only = sys.argv[1:]
    chosen = [case for case in cases if not only or case.__name__ in only]
    problems = 0
    for case in chosen:
        difference = differences.get(case) or differences.get(case.__name__)
        through = outcome(case, PROXY)
        straight = None if isinstance(difference, NotAsked) else outcome(case, ENGINE)
        if difference is None and straight != "ok":
            # llama-server closes a connection after each stream without saying so. What a client sends into one is lost.
            straight = outcome(case, ENGINE)
        problem = verdict(through, straight, difference)
        problems += problem is not None
        print(f"{case.__name__:62} proxy: {through:8} llama-server: {straight or 'not asked'}", flush=True)
        if difference is not None:
            print(f"    differs: {difference.reason}", flush=True)
        if problem is not None:
            print(f"    FAILED: {problem}", flush=True)
    print(f"{client}: {len(chosen) - problems} of {len(chosen)} are as promised", flush=True)
    sys.exit(1 if problems else 0)


def busy_slots() -> int:
    """How many slots of llama-server compute now."""
    request = urllib.request.Request(f"{ENGINE}/slots", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
        return sum(slot["is_processing"] for slot in json.load(response))


def expect_free() -> None:
    """To be called when a story has just been left: its slot must be free at once."""
    # The loop goes on meanwhile, as it would in a program: some packages close what was left from a task of their own.
    wait(asyncio.to_thread(until_free))


def until_free() -> None:
    left = time.monotonic()
    while busy_slots():
        took = time.monotonic() - left
        assert took < FREE_WITHIN_SECONDS, f"a slot is busy {took:.1f} s after its caller left"
        # Asking llama-server more often than this delays its own look at clients that have left.
        time.sleep(0.05)


def expect_busy() -> None:
    """Waits until a slot computes."""
    begin = time.monotonic()
    while not busy_slots():
        assert time.monotonic() - begin < PATIENCE_SECONDS, "no slot ever computed"
        time.sleep(0.05)


def wait(coroutine):
    """Runs a coroutine to its end. All run on one loop: the packages keep connections from one call to the next."""
    return LOOP.run_until_complete(coroutine)


def expect_cancelled(ask: Callable) -> None:
    """Asks with the coroutine that `ask` makes, leaves while the answer is computed, and expects a free slot."""

    async def leave() -> None:
        task = asyncio.ensure_future(ask())
        try:
            await asyncio.to_thread(expect_busy)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    wait(leave())
    expect_free()
