"""The stand-in teacher's server: a small OpenAI-compatible endpoint on loopback.

Not an LLM. It answers `/v1/chat/completions` with a JSON schema by rules: scores by
`pipeline.standin_rubric`, comparisons by `standin_verdict`, lessons and exercises by
`standin_writer`. The same client, over the same protocol, talks to it as to any other endpoint. It
is started by the run that needs it and ends with it: its standard input is a pipe that only the run
holds.

    python -m pipeline.standin_server        prints {"port": N} when it listens
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError
from pipeline.loopback import listen_for_parent
from pipeline.rubrics import SCHEMA_NAME
from pipeline.standin_verdict import SCHEMA_NAME as PAIRWISE
from pipeline.teacher_config import STANDIN_MODEL

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response


def answer(schema_name: str, messages: list[dict[str, str]]) -> dict[str, Any]:
    """The content of one answer; KeyError for a schema that the stand-in does not know."""
    if schema_name == SCHEMA_NAME:
        from pipeline.standin_rubric import score

        return score(messages)
    if schema_name == PAIRWISE:
        from pipeline.standin_verdict import compare

        return compare(messages)
    from pipeline.standin_writer import write

    return write(schema_name, messages)


def count_tokens(text: str) -> int:
    """Tokens as the stand-in bills them: a quarter of the bytes, rounded up."""
    return -(-len(text.encode()) // 4)


def make_app() -> Starlette:
    """The application: two routes of the OpenAI protocol."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def models(_: Request) -> Response:
        entry = {"id": STANDIN_MODEL, "object": "model", "created": 0, "owned_by": "rules, no LLM"}
        return JSONResponse({"object": "list", "data": [entry]})

    async def completions(request: Request) -> Response:
        try:
            body = json.loads(await request.body())
            messages = [{"role": m["role"], "content": m["content"]} for m in body["messages"]]
            schema_name = body["response_format"]["json_schema"]["name"]
            if body["model"] != STANDIN_MODEL:
                return _error(404, f"there is no model {body['model']!r}")
            content = await run_in_threadpool(answer, schema_name, messages)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            return _error(400, f"the stand-in needs messages and a json_schema it knows: {error!r}")
        return JSONResponse(_completion(messages, json.dumps(content, ensure_ascii=False)))

    return Starlette(
        routes=[
            Route("/v1/models", models),
            Route("/v1/chat/completions", completions, methods=["POST"]),
        ]
    )


def _completion(messages: list[dict[str, str]], content: str) -> dict[str, Any]:
    prompt = sum(count_tokens(message["content"]) for message in messages)
    completion = count_tokens(content)
    message = {"role": "assistant", "content": content, "refusal": None}
    return {
        "id": "standin",
        "object": "chat.completion",
        "created": 0,
        "model": STANDIN_MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        },
    }


def _error(status: int, message: str) -> Response:
    from starlette.responses import JSONResponse

    kind = "invalid_request_error"
    return JSONResponse({"error": {"message": message, "type": kind, "code": None}}, status)


def serve() -> None:
    """Listen on a free port of loopback, say which, and end when standard input ends."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(make_app(), log_level="error", access_log=False))
    server.run(sockets=[listen_for_parent()])


@contextmanager
def started_standin(stage: str) -> Iterator[str]:
    """The base URL of a stand-in that runs for as long as the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.standin_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise StageError(
                stage, "the stand-in teacher did not start", "see what it printed above"
            )
        yield f"http://127.0.0.1:{json.loads(line)['port']}/v1"
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


if __name__ == "__main__":
    serve()
