"""How fast documents are labelled, with every answer on the disk, against a server with 256 slots.

    python -m benchmarks.labelling [--quick] [--json FILE]

The server (`benchmarks.slot_server`) runs in a process of its own on loopback, and so does every
turn of a contender, which measures itself without its start. Contenders take turns; medians count.
Each document is 2 kB of text under a rubric of 2 kB, asked for with a JSON schema.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from benchmarks.measured import Row, arguments, report
from benchmarks.slot_server import SlotServer, started_server
from pipeline.answers import Answers
from pipeline.dialect import Dialect
from pipeline.question import Question
from pipeline.rubrics import SCHEMA, SCHEMA_NAME
from pipeline.teacher import Teacher
from pipeline.teacher_config import TeacherConfig

SLOTS = 256
PAGE = "Water boils at a lower temperature on a mountain, because the air presses less. " * 25
_NAMES = {"ours": "ours", "bare": "aiohttp and orjson alone", "openai": "gather over AsyncOpenAI"}
RUBRIC = "Judge the educational value of a document. Add one point for each that holds. " * 25


@dataclass(frozen=True)
class Documents:
    """So many questions, made as they are read."""

    count: int
    name: str = ""

    def __iter__(self) -> Iterator[Question]:
        for i in range(self.count):
            text = f"{self.name} {i}: {PAGE}"
            messages = ({"role": "system", "content": RUBRIC}, {"role": "user", "content": text})
            yield Question(str(i), messages, SCHEMA_NAME, SCHEMA, max_tokens=400)


def main() -> None:
    """Measure all of it."""
    options = arguments(__doc__)
    rows = [
        *_measure_speed(*((4_000, 500, 1) if options.quick else (20_000, 2_000, 3))),
        _measure_slow_server(10 if options.quick else 60),
        *_measure_memory(*((2_000, 8_000) if options.quick else (10_000, 200_000))),
        _measure_killed(),
    ]
    report(rows, options.json)


def label(base_url: str, documents: Documents, store: Path) -> tuple[int, float]:
    """Ask for every label and read it back: how many there are, and seconds until all were kept."""
    began = time.perf_counter()
    config = TeacherConfig(
        base_url=base_url, model="slots", max_concurrency=SLOTS, structured_output="json_schema"
    )
    with closing(Answers(store)) as answers:
        teacher = Teacher("bench", config, base_url, answers)
        teacher.fetch(documents, lambda *_, **__: None)
        fetched_seconds = time.perf_counter() - began
        labels = sum(answer.content is not None for answer in teacher.answers_to(documents))
        return labels, fetched_seconds


def _ask_bare(base_url: str, documents: Documents) -> int:
    """The floor: aiohttp and orjson alone; nothing is checked, stored or retried."""
    import aiohttp

    async def ask_all() -> int:
        connector = aiohttp.TCPConnector(limit=SLOTS)
        gate, done = asyncio.Semaphore(SLOTS), 0
        async with aiohttp.ClientSession(connector=connector) as session:

            async def ask(body: bytes) -> None:
                nonlocal done
                async with gate, session.post(f"{base_url}/chat/completions", data=body) as answer:
                    said = orjson.loads(await answer.read())
                done += "score" in orjson.loads(said["choices"][0]["message"]["content"])

            await asyncio.gather(*(ask(Dialect().render(q, "slots")) for q in documents))
        return done

    return asyncio.run(ask_all())


def _ask_openai(base_url: str, documents: Documents) -> int:
    """The usual way: asyncio.gather over the openai package; nothing is stored."""
    from openai import AsyncOpenAI

    async def ask_all() -> int:
        gate, done = asyncio.Semaphore(SLOTS), 0
        async with AsyncOpenAI(base_url=base_url, api_key="none") as client:

            async def ask(body: bytes) -> None:
                nonlocal done
                async with gate:
                    said = await client.chat.completions.create(**orjson.loads(body))
                done += "score" in orjson.loads(said.choices[0].message.content or "")

            await asyncio.gather(*(ask(Dialect().render(q, "slots")) for q in documents))
        return done

    return asyncio.run(ask_all())


def _measure_speed(documents: int, of_openai: int, rounds: int) -> list[Row]:
    """Documents a second and CPU a request, at 50 ms."""
    counts = {"ours": documents, "bare": documents, "openai": of_openai}
    speeds: dict[str, list[float]] = {name: [] for name in counts}
    cpu: dict[str, list[float]] = {name: [] for name in counts}
    with _started(0.05) as (server, home):
        for turn in range(rounds):
            for name, count in counts.items():
                before = server.counts()["requests"]
                seen = _finish(_child(name, server, home / f"{turn}.sqlite", count, f"{turn}"))
                speeds[name].append(count / seen["seconds"])
                cpu[name].append(seen["cpu_seconds"] * 1_000 / count)
                sent = server.counts()["requests"] - before
                assert seen["labels"] == sent == count, f"{name}: {seen} of {sent} requests"
    speed = {_NAMES[name]: statistics.median(figures) for name, figures in speeds.items()}
    work_ms = {_NAMES[name]: statistics.median(figures) for name, figures in cpu.items()}
    return [
        Row("labels, each on the disk, at 50 ms", speed.pop("ours"), "documents/s", 1_500, "min",
            speed),
        Row("CPU of the client", work_ms.pop("ours"), "ms/request", 0.5, "max", work_ms),
    ]  # fmt: skip


def _measure_slow_server(rounds: int) -> Row:
    """The share of the server's limit that is used at 1 s, while the window grows from its half."""
    count = SLOTS // 2 + SLOTS * (rounds - 1)  # fills every round but the first
    with _started(1.0) as (server, home):
        seen = _finish(_child("ours", server, home / "a.sqlite", count))
    name = f"share of a server's limit, 1 s latency, {count:,} documents"
    # a short measure is mostly the growing of the window
    return Row(
        name, count / SLOTS / seen["fetched_seconds"], "", 0.97 if rounds >= 60 else None, "min"
    )


def _measure_memory(few: int, many: int) -> list[Row]:
    """Peak resident memory of a process that labels few documents, and many."""
    peaks = {}
    for count in (few, many):
        with _started(0.01) as (server, home):
            seen = _finish(_child("ours", server, home / "a.sqlite", count))
        peaks[count] = seen["peak_bytes"] / 2**20
    growth = peaks[many] / peaks[few]
    return [
        Row(f"peak memory, {many:,} documents", peaks[many], "MiB",
            peers={f"{few:,} documents": peaks[few]}),
        Row(f"growth of memory from {few:,} to {many:,} documents", growth, "times", 1.1),
    ]  # fmt: skip


def _measure_killed() -> Row:
    """Requests sent twice by a run that was killed (signal 9) in the middle, and run again."""
    with _started(0.05) as (server, home):
        child = _child("ours", server, home / "a.sqlite", 4_000)
        while server.counts()["requests"] < 2_000:
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        _finish(_child("ours", server, home / "a.sqlite", 4_000))
        counts = server.counts()
    assert counts["different"] == 4_000, counts
    twice = counts["requests"] - counts["different"]
    return Row("sent twice of 4,000 after kill -9", twice, "requests", SLOTS)


@contextmanager
def _started(latency_seconds: float) -> Iterator[tuple[SlotServer, Path]]:
    """A server, and a directory on the disk for the answers (/tmp may be memory)."""
    with (
        started_server(SLOTS, latency_seconds) as server,
        tempfile.TemporaryDirectory(prefix="primer-labelling-", dir=".") as home,
    ):
        yield server, Path(home)


def _child(
    contender: str, server: SlotServer, store: Path, count: int, name: str = ""
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.labelling", "--child", contender, server.base_url]
    return subprocess.Popen(
        [*command, str(store), str(count), name], stdout=subprocess.PIPE, text=True
    )


def _finish(child: subprocess.Popen[str]) -> dict[str, float]:
    said, _ = child.communicate()
    seen: dict[str, float] = json.loads(said)
    return seen


def _be_child(contender: str, base_url: str, store: str, count: str, name: str) -> None:
    import aiohttp  # noqa: F401  # what is measured begins after the imports
    import fastjsonschema  # noqa: F401
    import openai  # noqa: F401

    documents = Documents(int(count), f"{contender} {name}")
    began, worked = time.perf_counter(), time.process_time()
    fetched_seconds = 0.0
    if contender == "ours":
        labels, fetched_seconds = label(base_url, documents, Path(store))
    else:
        labels = (_ask_bare if contender == "bare" else _ask_openai)(base_url, documents)
    seen = {
        "labels": labels,
        "fetched_seconds": fetched_seconds,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - worked,
        "peak_bytes": _peak_bytes(),
    }
    sys.stdout.write(json.dumps(seen))


def _peak_bytes() -> int:
    """Of this program; what `getrusage` says includes the program that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1_024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _be_child(*sys.argv[2:])
    else:
        main()
