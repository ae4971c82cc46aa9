"""A GGUF file as the teacher: llama.cpp behind an OpenAI-compatible endpoint on loopback.

It is started by the run that needs it and ends with it: its standard input is a pipe that only the
run holds. It answers one request at a time, in order. A `response_format` of
`{"type": "json_object", "schema": ...}` becomes a grammar, so an answer that is not cut off at
`max_tokens` fits the schema, but for what the package's converter leaves out:

    minimum, maximum     ignored; here an integer between two bounds is spelled out as its values
    several types        lose their other keywords; here they become alternatives
    maxLength            respected up to 1,000, and one above it crashes the server; here that is
                         left out
    control characters   taken inside strings, which is no JSON; here they are not

Other bounds of numbers, and lengths that are left out, must be checked by whoever asks. A GGUF
without a chat template is asked in the format of Llama 2, whatever the model.

    python -m pipeline.local_teacher GGUF CONTEXT THREADS    prints {"port": N}, then loads the file
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError, StageError
from pipeline.loopback import listen_for_parent

if TYPE_CHECKING:
    from fastapi import FastAPI

START_SECONDS = 900  # tens of gigabytes may come from a slow disk
_LONGEST_TEXT = 1_000
_MOST_VALUES = 100


@contextmanager
def started_llama(
    stage: str, gguf: Path, context_tokens: int, threads: int | None, log: Path
) -> Iterator[str]:
    """The base URL of a server of this file that runs for as long as the block.

    It takes every model name and names the file itself in `/v1/models`. Half of the processors
    generate and all of them read prompts where `threads` is None. What it prints is in `log`.
    Raises InputError where the file is no GGUF, StageError where llama.cpp cannot serve it.
    """
    _check_gguf(stage, gguf)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.local_teacher", gguf, str(context_tokens),
             str(threads or 0)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output,
        )  # fmt: skip
    with process:
        try:
            assert process.stdout is not None
            yield _base_url(stage, gguf, process.stdout.readline(), log)
        finally:
            process.kill()  # whatever it is in the middle of, nobody waits for it any more


def _check_gguf(stage: str, gguf: Path) -> None:
    try:
        with gguf.open("rb") as file:
            is_gguf = file.read(4) == b"GGUF"
    except OSError as error:
        raise InputError(
            stage, f"teacher.gguf is {str(gguf)!r}: {error.strerror}", "name a GGUF file"
        ) from None
    if not is_gguf:
        raise InputError(
            stage, f"teacher.gguf is {str(gguf)!r}, which is no GGUF file",
            "convert the model with llama.cpp, or fetch it again",
        )  # fmt: skip


def _base_url(stage: str, gguf: Path, said: bytes, log: Path) -> str:
    """Where the server answers, once it does: its socket is open before the model is loaded."""
    try:
        port = json.loads(said)["port"]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
        try:
            connection.request("GET", "/v1/models")
            if connection.getresponse().status != 200:
                raise ValueError
        finally:
            connection.close()
    except TimeoutError:
        raise StageError(
            stage,
            f"llama.cpp has not loaded {str(gguf)!r} within {START_SECONDS} s "
            f"(it last said: {_last_words(log)})",
            "run it again, now that the disk has read the file, or take a smaller model",
        ) from None  # fmt: skip
    except (OSError, http.client.HTTPException, ValueError):
        raise StageError(
            stage, f"llama.cpp cannot serve {str(gguf)!r}: {_last_words(log)}",
            "fetch the file again, or take one that fits llama-cpp-python and the memory",
        ) from None  # fmt: skip
    return f"http://127.0.0.1:{port}/v1"


def _last_words(log: Path) -> str:
    """The last line in which llama.cpp speaks of an error, else the last line."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return next((line for line in reversed(lines) if " error " in line), (lines or ["nothing"])[-1])


def serve(gguf: Path, context_tokens: int, threads: int | None) -> None:
    """Listen on a free port of loopback, say which, and end when standard input ends."""
    listener = listen_for_parent()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what llama.cpp prints belongs in the log

    import uvicorn

    app = make_app(gguf, context_tokens, threads)
    uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False)).run(sockets=[listener])


def make_app(gguf: Path, context_tokens: int, threads: int | None) -> FastAPI:
    """The package's application with the loaded model; ValueError where it cannot be loaded."""
    from llama_cpp.server.app import create_app
    from llama_cpp.server.settings import ModelSettings, ServerSettings

    _mend_grammars()
    _keep_system_messages()
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    # Made without validation, or else any variable of the environment that has the name of a
    # setting, such as SEED or API_KEY, would set it.
    os.environ.pop("CONFIG_FILE", None)
    model = ModelSettings.model_construct(
        model=str(gguf),
        model_alias=gguf.name,
        n_ctx=context_tokens,
        n_threads=threads or max(1, usable // 2),
        n_threads_batch=threads or usable,
        n_gpu_layers=-1,  # all, where llama.cpp was built for a GPU
        logits_all=False,  # else they are kept for the whole context: gigabytes
        last_n_tokens_size=0,  # no penalty for repeating, which would forbid the score just named
    )
    app: FastAPI = create_app(
        server_settings=ServerSettings.model_construct(), model_settings=[model]
    )
    return app


def _mend_grammars() -> None:
    from llama_cpp import llama_grammar

    convert, char = llama_grammar.json_schema_to_gbnf, llama_grammar.PRIMITIVE_RULES["char"]
    char.content = char.content.replace(r'[^"\\]', r'[^"\\\x00-\x1F]')
    llama_grammar.json_schema_to_gbnf = lambda schema: convert(
        json.dumps(convertible(json.loads(schema)))
    )


def convertible(schema: Any) -> Any:
    """The schema in the words that the package's converter knows; see the top of this file."""
    if isinstance(schema, list):
        return [convertible(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if isinstance(kind, list):
        return {"anyOf": [convertible({**schema, "type": one}) for one in kind]}
    if kind == "integer" and {"minimum", "maximum"} <= schema.keys():
        values = range(schema["minimum"], schema["maximum"] + 1)
        return {"enum": list(values)} if len(values) <= _MOST_VALUES else schema
    if kind == "string" and schema.get("maxLength", 0) > _LONGEST_TEXT:
        return {"type": "string"}
    return {key: convertible(part) for key, part in schema.items()}


def _keep_system_messages() -> None:
    """Where a chat template refuses or drops the system message, the user says it.

    The formats that the package guesses are not taken: that of Mistral drops it.
    """
    from llama_cpp import llama_chat_format

    formatter = llama_chat_format.Jinja2ChatFormatter
    render = formatter.__call__

    def rendered(self: Any, *, messages: list[dict[str, Any]], **rest: Any) -> Any:
        if [message["role"] for message in messages[:2]] != ["system", "user"]:
            return render(self, messages=messages, **rest)
        first, second, *others = messages
        try:
            said = render(self, messages=messages, **rest)
            if first["content"].strip() in said.prompt:
                return said
        except ValueError:  # what a template raises
            pass
        joined = f"{first['content']}\n\n{second['content']}"
        return render(self, messages=[{"role": "user", "content": joined}, *others], **rest)

    formatter.__call__ = rendered
    llama_chat_format.guess_chat_format_from_gguf_metadata = lambda metadata: None


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) or None)
