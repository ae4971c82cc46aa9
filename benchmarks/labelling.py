"""How fast documents are labelled, with every answer on the disk, against a server with 256 slots.

    python -m benchmarks.labelling [--quick] [--json FILE]

The server (`benchmarks.slot_server`) runs in a process of its own on loopback. Each document is 2 kB
of text under a rubric of 2 kB, asked for with a JSON schema. Contenders run in turn in one process;
CPU is that of the client's process. Memory and the killed run are measured in child processes.
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
from collections.abc import Callable, Iterator
from contextlib import closing
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
        _measure_slow_server(20 if options.quick else 60),
        *_measure_memory((4_000, 16_000) if options.quick else (10_000, 200_000)),
        _measure_killed(),
    ]
    report(rows, options.json)


def label(base_url: str, documents: Documents, store: Path) -> int:
    """Ask for every label and read it back; returns how many there are."""
    config = TeacherConfig(
        base_url=base_url, model="slots", max_concurrency=SLOTS, structured_output="json_schema"
    )
    with closing(Answers(store)) as answers:
        teacher = Teacher("bench", config, base_url, answers)
        teacher.fetch(documents, lambda *_, **__: None)
        return sum(answer.content is not None for answer in teacher.answers_to(documents))


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
    with (
        started_server(SLOTS, 0.05) as server,
        tempfile.TemporaryDirectory(prefix="primer-labelling-", dir=".") as home,
    ):

        def ours(these: Documents) -> int:
            return label(server.base_url, these, Path(home) / f"{these.name}.sqlite")

        contenders: dict[str, tuple[int, Callable[[Documents], int]]] = {
            "ours": (documents, ours),
            "aiohttp and orjson alone": (documents, lambda d: _ask_bare(server.base_url, d)),
            "gather over AsyncOpenAI": (of_openai, lambda d: _ask_openai(server.base_url, d)),
        }
        speeds: dict[str, list[float]] = {name: [] for name in contenders}
        cpu: dict[str, list[float]] = {name: [] for name in contenders}
        for turn in range(rounds):
            for name, (count, work) in contenders.items():
                before = server.counts()["requests"]
                began, worked = time.perf_counter(), time.process_time()
                done = work(Documents(count, f"{name} {turn}"))
                speeds[name].append(count / (time.perf_counter() - began))
                cpu[name].append((time.process_time() - worked) * 1_000 / count)
                sent = server.counts()["requests"] - before
                assert done == sent == count, f"{name}: {done} labels of {sent} requests"
    speed = {name: statistics.median(figures) for name, figures in speeds.items()}
    work_ms = {name: statistics.median(figures) for name, figures in cpu.items()}
    return [
        Row("labels, each on the disk, at 50 ms", speed.pop("ours"), "documents/s", 1_500, "min",
            speed),
        Row("CPU of the client", work_ms.pop("ours"), "ms/request", 0.5, "max", work_ms),
    ]  # fmt: skip


def _measure_slow_server(rounds: int) -> Row:
    """The share of the server's limit that is used, window growing from a quarter, at 1 s."""
    documents = Documents(SLOTS * rounds)
    with (
        started_server(SLOTS, 1.0) as server,
        tempfile.TemporaryDirectory(prefix="primer-labelling-", dir=".") as home,
    ):
        began = time.perf_counter()
        label(server.base_url, documents, Path(home) / "answers.sqlite")
        used = rounds / (time.perf_counter() - began)
    name = f"share of a server's limit, 1 s latency, {rounds} s of work"
    # a short measure is mostly the growing of the window
    return Row(name, used, "", 0.97 if rounds >= 60 else None, "min")


def _measure_memory(counts: tuple[int, int]) -> list[Row]:
    """Peak resident memory of a process that labels few documents, and many."""
    peaks = []
    for count in counts:
        with (
            started_server(SLOTS, 0.01) as server,
            tempfile.TemporaryDirectory(prefix="primer-labelling-", dir=".") as home,
        ):
            child = _child(server, Path(home), count)
            peaks.append(int(child.communicate()[0]) / 1_024)
    few, many = (f"{count:,}" for count in counts)
    return [
        Row(f"peak memory, {many} documents", peaks[1], "MiB", peers={f"{few} documents": peaks[0]}),
        Row(f"growth of memory from {few} to {many} documents", peaks[1] / peaks[0], "times", 1.1),
    ]  # fmt: skip


def _measure_killed() -> Row:
    """Requests sent twice by a run that was killed (signal 9) in the middle, and run again."""
    with (
        started_server(SLOTS, 0.05) as server,
        tempfile.TemporaryDirectory(prefix="primer-labelling-", dir=".") as home,
    ):
        child = _child(server, Path(home), 4_000)
        while server.counts()["requests"] < 2_000:
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        _child(server, Path(home), 4_000).communicate()
        counts = server.counts()
    assert counts["different"] == 4_000, counts
    twice = counts["requests"] - counts["different"]
    return Row("sent twice of 4,000 after kill -9", twice, "requests", SLOTS)


def _child(server: SlotServer, home: Path, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.labelling", "--child", server.base_url]
    return subprocess.Popen(
        [*command, str(count), str(home / "answers.sqlite")], stdout=subprocess.PIPE, text=True
    )


def _be_child(base_url: str, count: str, store: str) -> None:
    import resource

    label(base_url, Documents(int(count)), Path(store))
    sys.stdout.write(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _be_child(*sys.argv[2:])
    else:
        main()
