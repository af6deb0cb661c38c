"""A small client of version 2 of the chat protocol, written from docs/protocol.md alone: it chats, loses its network
again and again, and reads on. `cargo xtask test` names the chain in the environment.
"""

import asyncio
import json
import os
import random
import uuid

import websockets

URL = os.environ["CORRAL_GATEWAY_URL"].replace("http", "ws", 1) + "/api/v1/ws/chat"
MEND_THE_CLIENT = {1002, 1003, 1007, 1009}


class Chat:
    cookie = ""  # One user for all sockets.

    def __init__(self, cuts=0, stop_at=None):
        self.cuts, self.stop_at = cuts, stop_at
        self.conversation = self.answer = self.done = None
        self.text, self.position, self.limit = "", 0, 0.5

    async def ask(self, content):
        question = {"type": "send", "id": str(uuid.uuid4()), "content": content}
        while not self.done:
            try:
                await self.one_socket(question)
            except websockets.ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else 1006
                assert code not in MEND_THE_CLIENT and not 4400 <= code < 4500, closed
            except OSError:
                pass  # The network.
            if not self.done:
                await asyncio.sleep(random.uniform(0, self.limit))
                self.limit = min(2 * self.limit, 30)
        return self

    async def one_socket(self, question):
        headers = {"Cookie": Chat.cookie} if Chat.cookie else {}
        async with websockets.connect(URL, subprotocols=["chat.v2"], additional_headers=headers, max_size=None) as socket:
            Chat.cookie = socket.response.headers.get("Set-Cookie", Chat.cookie).split(";")[0]
            await socket.send(json.dumps({"type": "hello", "version": 2}))
            cut_at = len(self.text) + 20
            async for frame in socket:
                frame = json.loads(frame)
                match frame["type"]:
                    case "welcome" if self.answer:
                        held = [{"message": self.answer, "position": self.position}]
                        watch = {"type": "watch", "id": "w", "conversation": self.conversation, "answers": held}
                        await socket.send(json.dumps(watch))
                    case "welcome":
                        await socket.send(json.dumps(question))
                    case "accepted":
                        self.conversation, self.answer = frame["conversation"], frame["answer"]
                    case "delta" | "snapshot":
                        before = self.text if frame["type"] == "delta" else ""
                        self.text, self.position = before + frame.get("text", ""), frame["position"]
                    case "done":
                        self.done = frame
                        return
                    case "error":
                        raise RuntimeError(frame)
                if self.cuts and len(self.text) >= cut_at:
                    self.cuts -= 1
                    socket.transport.abort()  # The network is gone: nothing is said any more.
                if self.stop_at and len(self.text) >= self.stop_at:
                    self.stop_at = await socket.send(json.dumps({"type": "stop", "id": "s", "message": self.answer}))


async def main():
    whole = await Chat(cuts=4).ask("Tell me about lighthouses in three paragraphs.")
    assert whole.cuts == 0 and whole.done["status"] == "done", whole.done
    again = Chat()
    again.conversation, again.answer = whole.conversation, whole.answer
    await again.ask(None)
    assert again.text == whole.text, (again.text, whole.text)
    print(f"cut four times, and all {len(whole.text)} characters are there")
    stopped = await Chat(stop_at=100).ask("Write a very long essay about the sea.")
    assert stopped.done["status"] == "stopped", stopped.done
    print(f"stopped after {len(stopped.text)} characters")


asyncio.run(main())
