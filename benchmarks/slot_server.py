"""A server as fast as one core can be, that answers like an LLM: so many at once, after so long.

    python -m benchmarks.slot_server SLOTS LATENCY_SECONDS

It listens on a free port of loopback, prints it, and ends with standard input; each line that it
reads there is answered with its counts so far, as JSON. A label is the answer to every question.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LABEL = json.dumps({"justification": "It explains what it says, and why.", "score": 3})
_BODY = json.dumps(
    {
        "id": "c", "object": "chat.completion", "created": 0, "model": "slots",
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None,
                     "message": {"role": "assistant", "content": _LABEL, "refusal": None}}],
        "usage": {"prompt_tokens": 700, "completion_tokens": 20, "total_tokens": 720},
    }
).encode()  # fmt: skip
_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)


class _Slots:
    """So many requests are worked on at once; the others wait in a line."""

    def __init__(self, slots: int, latency_seconds: float) -> None:
        self.free, self.latency_seconds = slots, latency_seconds
        self.line: deque[_Connection] = deque()
        self.requests = 0
        self.seen: set[int] = set()

    def enter(self, connection: _Connection, body: bytes) -> None:
        self.requests += 1
        self.seen.add(hash(body))
        if self.free:
            self.free -= 1
            self._work(connection)
        else:
            self.line.append(connection)

    def counts(self) -> dict[str, int]:
        return {"requests": self.requests, "different": len(self.seen)}

    def _work(self, connection: _Connection) -> None:
        asyncio.get_running_loop().call_later(self.latency_seconds, self._done, connection)

    def _done(self, connection: _Connection) -> None:
        connection.answer()
        if self.line:
            self._work(self.line.popleft())
        else:
            self.free += 1


class _Connection(asyncio.Protocol):
    """One keep-alive connection: just enough HTTP for a client that sends one request at a time."""

    def __init__(self, slots: _Slots) -> None:
        self.slots, self.received = slots, b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, rest = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(rest) >= length:
            self.received = rest[length:]
            self.slots.enter(self, rest[:length])

    def answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(_RESPONSE)


async def _serve(slots: _Slots) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(slots), "127.0.0.1", 0, backlog=1_024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while await commands.readline():
        sys.stdout.write(json.dumps(slots.counts()) + "\n")
        sys.stdout.flush()


class SlotServer:
    """A running server, seen from the client's process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.base_url = f"http://127.0.0.1:{int(process.stdout.readline())}/v1"

    def counts(self) -> dict[str, int]:
        """Requests so far, and how many of them were different."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("counts\n")
        self._process.stdin.flush()
        counts: dict[str, int] = json.loads(self._process.stdout.readline())
        return counts


@contextmanager
def started_server(slots: int, latency_seconds: float) -> Iterator[SlotServer]:
    """A server in a process of its own, for as long as the block runs."""
    command = [sys.executable, "-m", "benchmarks.slot_server", str(slots), str(latency_seconds)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield SlotServer(process)
        process.kill()


if __name__ == "__main__":
    asyncio.run(_serve(_Slots(int(sys.argv[1]), float(sys.argv[2]))))
