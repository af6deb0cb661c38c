#!/usr/bin/env python3
"""Starts llama.cpp's own server out of the PyPI package `xllamacpp`, with the flags of `llama-server`.

For machines without a llama-server: the wheel holds the same C++ server, ready built. Flags that are missing here are
refused, never ignored, so that a chain that runs on this one runs on the real one too. The key comes from the variable
LLAMA_API_KEY, never from the command line. It stays in the foreground, ends at once on SIGTERM and SIGINT, and ends when
the process that started it has gone.
"""

import argparse
import os
import signal
import sys
import time

EX_USAGE = 64
PARENT_POLL_SECONDS = 0.5
KV_TYPES = ["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="llama_server.py", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--model", required=True, metavar="FILE", help="the GGUF file")
    add("--alias", required=True, metavar="NAME", help="the model's name in the API")
    add("--host", default="127.0.0.1", metavar="ADDRESS")
    add("--port", type=int, required=True)
    add("--ctx-size", type=int, default=0, metavar="TOKENS", help="divided among the slots; 0: what the model was trained on")
    add("--parallel", type=int, default=1, metavar="SLOTS")
    add("--threads", type=int, default=-1)
    add("--batch-size", type=int, default=2048, metavar="TOKENS")
    add("--ubatch-size", type=int, default=512, metavar="TOKENS")
    add("--flash-attn", choices=["on", "off", "auto"], default="auto")
    add("--cache-type-k", choices=KV_TYPES, default="f16", help="the form of the context's keys")
    add("--cache-type-v", choices=KV_TYPES, default="f16", help="the form of the context's values")
    add("--chat-template-file", metavar="FILE", help="a template instead of the model's own")
    add("--cache-ram", type=int, default=8192, metavar="MIB", help="host memory for cached prompts; 0: none")
    add("--no-cache-idle-slots", action="store_true")
    add("--predict", type=int, default=-1, metavar="TOKENS", help="the answer's length when a request names none")
    add("--timeout", type=int, default=3600, metavar="SECONDS", help="per read and per write")
    add("--sse-ping-interval", type=int, default=30, metavar="SECONDS")
    add("--cors-origins", default="*", metavar="LIST")
    add("--metrics", action="store_true")
    add("--no-ui", action="store_true", help="taken for granted: the wheel holds no page")
    add("--offline", action="store_true", help="never fetch anything")
    return parser.parse_args()


def parameters(args: argparse.Namespace, key: str):
    """`args` as llama.cpp's own parser would have set them."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = args.model
    params.model_alias = {args.alias}
    params.hostnames = [args.host]
    params.port = args.port
    params.n_ctx = args.ctx_size
    params.n_parallel = args.parallel
    params.cpuparams.n_threads = args.threads
    params.cpuparams_batch.n_threads = args.threads
    params.n_batch = args.batch_size
    params.n_ubatch = min(args.ubatch_size, args.batch_size)
    attention = {"on": "ENABLED", "off": "DISABLED", "auto": "AUTO"}[args.flash_attn]
    params.flash_attn_type = getattr(xllamacpp.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{attention}")
    params.cache_type_k = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{args.cache_type_k.upper()}")
    params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{args.cache_type_v.upper()}")
    if args.chat_template_file:
        with open(args.chat_template_file, encoding="utf-8") as file:
            params.chat_template = file.read()
    params.cache_ram_mib = args.cache_ram
    params.cache_idle_slots = not args.no_cache_idle_slots
    params.n_predict = args.predict
    params.timeout_read = params.timeout_write = args.timeout
    params.sse_ping_interval = args.sse_ping_interval
    params.cors_origins = args.cors_origins
    params.cors_origins_explicit = args.cors_origins != "*"
    params.endpoint_metrics = args.metrics
    params.ui = False
    params.offline = args.offline
    params.api_keys = [part for part in key.split(",") if part]
    return params


def refuse(problem: str) -> int:
    print(f"llama_server.py: {problem}", file=sys.stderr)
    return EX_USAGE


def main() -> int:
    args, parent = arguments(), os.getppid()
    key = os.environ.get("LLAMA_API_KEY", "").strip()
    if not key:
        return refuse("LLAMA_API_KEY is empty: set it, or anyone who reaches the port may use the model")
    if not os.path.isfile(args.model):
        return refuse(f"{args.model} is not a file: fetch the model first (cargo xtask fetch-model)")

    # Loading happens inside one C++ call, in which no Python signal handler could run: both signals just end us.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        import xllamacpp
    except ImportError as error:
        return refuse(f"xllamacpp cannot be imported ({error}): remove target/venv and run `cargo xtask up` again")
    try:
        server = xllamacpp.Server(parameters(args, key))
    except Exception as error:  # The wheel raises bare exceptions: whatever it is, the model does not run.
        print(f"llama_server.py: the server did not start: {error}", file=sys.stderr)
        return 1

    # The C++ destructor waits for open streams to notice, up to one ping; leaving at once frees the port at once.
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print(f"llama_server.py: ready on {server.listening_address}", flush=True)
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
