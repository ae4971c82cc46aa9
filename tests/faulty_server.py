"""A teacher that errs: a real OpenAI-compatible server on loopback that injects faults.

A question says itself what shall go wrong with it: the first request that holds the words
`fault:hang` hangs, the first three that hold `fault:reset*3` are reset, and what holds neither, or
has had its faults, is answered well. Every request is counted. Every one that a real server would
have worked on is billed, also where its answer is lost on the way: a token for each byte of its
messages, and the whole of `max_tokens`.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import pytest

from pipeline.teacher_config import TeacherConfig

LABEL = '{"justification": "It explains.", "score": 3}'
FAULT = re.compile(r"fault:(\w+)(?:\*(\d+))?")
KEY = "sk-never-to-be-seen"

# What a server says instead of working; nothing is billed.
STATUS = {
    "rate_limited": (429, {}),
    "told_to_wait": (429, {"Retry-After": "1"}),
    "told_nonsense": (429, {"Retry-After": "soon"}),
    "broken": (500, {}),
    "overloaded": (503, {}),
    "bad_request": (400, {}),
}
# What is wrong in the body of a 200: fields of the choice, which are billed like any answer.
CHOICE: dict[str, dict[str, Any]] = {
    "prose": {"content": "I would give it a 3."},
    "wrong_schema": {"content": '{"justification": "Splendid.", "score": 9}'},
    "half_a_letter": {"content": '{"justification": "\\ud83d", "score": 3}'},
    "broken_letter": {"content": "\ud83d"},
    "deep": {"content": "[" * 20_000},
    "float": {"content": '{"justification": "It explains.", "score": 3.0}'},
    "blank": {"content": ""},
    "nothing": {"content": None},
    "cut_off": {"content": '{"justification": "It', "finish_reason": "length"},
    "refusal": {"content": None, "refusal": "I will not judge this."},
    "filtered": {"content": None, "finish_reason": "content_filter"},
}
BODY = {
    "malformed": '{"choices": [{"mess',
    "no_completion": '["hello"]',
    "no_choices": '{"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}',
    "endless_usage": '{"choices": [{"message": {"content": "3"}}], '
    '"usage": {"prompt_tokens": 1e999}}',
}


class FaultyServer(ThreadingHTTPServer):
    """What it was asked, and what that cost."""

    daemon_threads = False  # closing waits for every handler, so that no test leaves one behind
    request_queue_size = 128  # many connections at once must not wait for a second try

    def __init__(self, handler: type[Handler] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), handler or Handler)
        self.base_url = f"http://127.0.0.1:{self.server_port}/v1"
        self.models = {"teacher-1"}
        self.told_usage: Any = ...  # what it tells of an answer's tokens; here, the truth
        self.requests = 0  # but for those turned away: with a wrong key, or for another model
        self.turned_away = 0
        self.most_at_once = 0
        self.billed_tokens = [0, 0]  # of prompts and of answers
        self.arrivals: dict[str, list[float]] = defaultdict(list)  # by the user's first message
        self.released = threading.Event()
        self._faults_had: Counter[str] = Counter()
        self._thinking = 0
        self._lock = threading.Lock()

    def config(self, **fields: Any) -> TeacherConfig:
        """How a recipe would name this teacher."""
        given = {"model": "teacher-1", "key_variable": "A_KEY", "max_retries": 2,
                 "structured_output": "json_schema", **fields}  # fmt: skip
        return TeacherConfig(base_url=self.base_url, **given)

    def enter(self, messages: list[dict[str, str]]) -> str | None:
        """Count a request, and say what shall go wrong with it."""
        said = next(m["content"] for m in messages if m["role"] == "user")
        wish = FAULT.search(said)
        with self._lock:
            self.requests += 1
            self.arrivals[said].append(time.monotonic())
            if wish is None or self._faults_had[said] >= int(wish[2] or 1):
                return None
            self._faults_had[said] += 1
            return wish[1]

    def think(self) -> None:
        """Take a while, and count how many do so at once."""
        with self._lock:
            self._thinking += 1
            self.most_at_once = max(self.most_at_once, self._thinking)
        self.released.wait(0.2)
        with self._lock:
            self._thinking -= 1

    def handle_error(self, *_: Any) -> None:
        """Nothing on the screen where a client was killed."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(*_)

    def bill(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Put an answer on the bill, whether it arrives or not."""
        with self._lock:
            self.billed_tokens[0] += prompt_tokens
            self.billed_tokens[1] += completion_tokens


S = TypeVar("S", bound=FaultyServer)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FaultyServer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self.server.turned_away += 1
            self.refuse(401, f"wrong key: {self.headers['Authorization']}")
        elif request["model"] not in self.server.models:
            self.server.turned_away += 1
            self.refuse(404, "no such model")
        else:
            self.work(request, self.server.enter(request["messages"]))

    def work(self, request: dict[str, Any], fault: str | None) -> None:
        if fault in STATUS:
            status, headers = STATUS[fault]
            # as some gateways do, it tells in its error what it was sent
            self.refuse(status, f"{fault}; sent: {self.headers['Authorization']}", headers)
            return
        sent = sum(len(m["content"].encode()) for m in request["messages"])
        self.server.bill(sent, request["max_tokens"])
        body = BODY.get(fault) or completion(
            CHOICE.get(fault, {}), sent, request["max_tokens"], self.server.told_usage
        )
        if fault == "hang":
            self.server.released.wait(30)
            self.close_connection = True
        elif fault == "slow":
            self.server.think()
            self.say(200, body)
        elif fault == "trickle":
            self._trickle()
        elif fault == "reset":
            self._head(200, len(body) + 1)
            self.wfile.write(body[:20].encode())
            # a linger of zero seconds makes closing a reset
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            self.close_connection = True
        else:
            assert fault is None or fault in BODY or fault in CHOICE, f"no such fault: {fault}"
            self.say(200, body)

    def _trickle(self) -> None:
        """Never silent for long, and never done."""
        self._head(200, 10_000)
        self.close_connection = True
        try:
            while not self.server.released.wait(0.05):
                self.wfile.write(b" ")
        except OSError:
            return  # the client had enough, as it should

    def refuse(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        self.say(status, json.dumps({"error": {"message": message, "code": None}}), headers)

    def _head(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def say(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        self._head(status, len(body.encode()), headers)
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Nothing on the screen."""


def completion(
    choice: dict[str, Any], prompt_tokens: int, completion_tokens: int, told_usage: Any = ...
) -> str:
    """The body of an answer."""
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
             "total_tokens": prompt_tokens + completion_tokens}  # fmt: skip
    message = {
        "role": "assistant",
        "content": choice.get("content", LABEL),
        "refusal": choice.get("refusal"),
    }
    finish_reason = choice.get("finish_reason", "stop")
    return json.dumps(
        {
            "id": "c", "object": "chat.completion", "created": 0, "model": "teacher-1",
            "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
            "usage": usage if told_usage is ... else told_usage,
        }
    )  # fmt: skip


@contextmanager
def faulty_server(kind: Callable[[], S] = FaultyServer) -> Iterator[S]:
    """A server that listens, and an environment that leads to it, for as long as the block runs."""
    server = kind()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("A_KEY", KEY)
            for name in ("NO_PROXY", "no_proxy"):  # a proxy of this machine is not for loopback
                patch.setenv(name, "127.0.0.1")
            yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
