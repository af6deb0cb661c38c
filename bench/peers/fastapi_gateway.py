"""The least gateway that speaks version 1 of the chat protocol: FastAPI and openai, one process.

`cargo xtask bench gateway` measures it beside chat-gateway. It has what a first version would have: a conversation in
memory for each socket, a delta for each token, an error frame. It has no bounds, no log, no pings of its own.
"""

import json
import os

import openai
import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

SYSTEM_PROMPT = {"role": "system", "content": "You are a helpful assistant."}

app = FastAPI()
client = openai.AsyncOpenAI(
    base_url=os.environ["LLM_BASE_URL"],
    api_key=os.environ["LLM_API_KEY"],
    max_retries=0,
)


@app.websocket("/api/v1/ws/chat")
async def chat(socket: WebSocket) -> None:
    await socket.accept()
    messages = [SYSTEM_PROMPT]
    try:
        while True:
            frame = json.loads(await socket.receive_text())
            if frame.get("type") == "reset":
                messages = [SYSTEM_PROMPT]
                await socket.send_json({"type": "reset_ok"})
                continue
            messages.append({"role": "user", "content": frame["content"]})
            messages.append({"role": "assistant", "content": await answer(socket, messages)})
            await socket.send_json({"type": "done"})
    except WebSocketDisconnect:
        pass


async def answer(socket: WebSocket, messages: list) -> str:
    pieces = []
    stream = await client.chat.completions.create(
        model=os.environ["LLM_MODEL"], messages=messages, stream=True, temperature=0.2, max_tokens=1024
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            pieces.append(chunk.choices[0].delta.content)
            await socket.send_json({"type": "delta", "content": pieces[-1]})
    return "".join(pieces)


if __name__ == "__main__":
    host, port = os.environ["LISTEN"].rsplit(":", 1)
    # openai keeps a thousand connections at most by default, which is enough here.
    uvicorn.run(app, host=host, port=int(port), log_level="warning", ws="websockets", backlog=4096)
