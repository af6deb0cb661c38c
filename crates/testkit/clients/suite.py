"""Runs a client's cases through a running llm-proxy, and straight to llama-server for comparison.

`cargo xtask test` runs the clients with CORRAL_PROXY_URL, CORRAL_ENGINE_URL, CORRAL_API_KEY and CORRAL_MODEL. Each prints a
line for each case and exits with 1 when one does not hold through the proxy; what llama-server alone does is only shown.
"""

import os
import sys

KEY, MODEL = os.environ["CORRAL_API_KEY"], os.environ["CORRAL_MODEL"]


def outcome(case, base) -> str:
    try:
        case(base)
    except Exception as error:  # whatever it is, it is what the caller would have met
        return f"{type(error).__name__}: {error}".replace("\n", " ")[:110]
    return "ok"


def run(client, cases, not_straight):
    proxy, engine = os.environ["CORRAL_PROXY_URL"], os.environ["CORRAL_ENGINE_URL"]
    failed = 0
    for case in cases:
        through = outcome(case, proxy)
        straight = "not asked" if case in not_straight else outcome(case, engine)
        failed += through != "ok"
        print(f"{case.__name__:60} proxy: {through:8} llama-server: {straight}", flush=True)
    print(f"{client}: {len(cases) - failed} of {len(cases)} hold through the proxy")
    sys.exit(1 if failed else 0)
