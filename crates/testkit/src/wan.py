"""A network of hosts that are far apart: packets between them take a while, and some are lost.

`wan.py net DELAY_MS LOSS HOST...` makes it until its stdin ends. A HOST is `NAMESPACE=ADDRESS`; the namespace `.` is the
caller's own. It prints `ready`. The line `cut ADDRESS ADDRESS` then lets nothing pass between two hosts, without a word to
either, until the line `join ADDRESS ADDRESS`.

`wan.py relay ADDRESS PORT SOCKET` gives a Unix socket an address on such a host.
"""

import asyncio
import ctypes
import fcntl
import heapq
import os
import random
import selectors
import struct
import subprocess
import sys
import time

# From linux/if_tun.h and sched.h.
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
MOST_BYTES = 65_536

libc = ctypes.CDLL(None, use_errno=True)


def enter(namespace):
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter a network namespace")


def host(namespace, address, own):
    """Gives a host its address, and returns what its packets are read from and written to."""
    if namespace != ".":
        enter(os.open(f"/run/netns/{namespace}", os.O_RDONLY))
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    name = f"wan{os.getpid()}"
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    for arguments in (["addr", "add", f"{address}/24", "dev", name], ["link", "set", name, "up"], ["link", "set", "lo", "up"]):
        subprocess.run(["ip", *arguments], check=True)
    enter(own)
    return tun


def net(delay_ms, loss, hosts):
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    delay, loss = float(delay_ms) / 1000, float(loss)
    chance = random.Random(1)
    tuns, cut, flying, number = {}, set(), [], 0
    selector = selectors.DefaultSelector()
    for named in hosts:
        namespace, address = named.split("=")
        packed = bytes(int(part) for part in address.split("."))
        tuns[packed] = host(namespace, address, own)
        selector.register(tuns[packed], selectors.EVENT_READ)
    os.set_blocking(0, False)
    selector.register(0, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        wait = max(0, flying[0][0] - time.monotonic()) if flying else None
        for key, _ in selector.select(wait):
            if key.fd == 0:
                words = os.read(0, MOST_BYTES).decode().split()
                if not words:
                    return
                for verb, one, other in zip(words[::3], words[1::3], words[2::3]):
                    pair = frozenset(bytes(int(part) for part in address.split(".")) for address in (one, other))
                    (cut.add if verb == "cut" else cut.discard)(pair)
                print("ready", flush=True)
                continue
            packet = os.read(key.fd, MOST_BYTES)
            source, target = packet[12:16], packet[16:20]
            if packet[0] >> 4 != 4 or target not in tuns or frozenset((source, target)) in cut or chance.random() < loss:
                continue
            number += 1
            heapq.heappush(flying, (time.monotonic() + delay, number, target, packet))
        while flying and flying[0][0] <= time.monotonic():
            _, _, target, packet = heapq.heappop(flying)
            try:
                os.write(tuns[target], packet)
            except BlockingIOError:
                pass  # A full queue loses packets.


async def relay(address, port, path):
    async def copy(reader, writer):
        try:
            while data := await reader.read(MOST_BYTES):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def connected(reader, writer):
        server_reader, server_writer = await asyncio.open_unix_connection(path)
        await asyncio.gather(copy(reader, server_writer), copy(server_reader, writer))

    server = await asyncio.start_server(connected, address, int(port))
    print("ready", flush=True)
    await server.serve_forever()


if sys.argv[1] == "net":
    net(sys.argv[2], sys.argv[3], sys.argv[4:])
else:
    asyncio.run(relay(*sys.argv[2:]))
