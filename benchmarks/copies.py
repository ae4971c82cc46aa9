"""Finding copies: signatures a second beside peers, and a million documents within 4 GiB.

    python -m benchmarks.copies [--quick] [--json FILE]

Signatures: CPU seconds over the shared prose, interleaved; the floor is rensa on shingles that are
ready, the peers do what they do from text. Whole corpus: documents of six windows of 12 words each
from random places of that prose, of which one in twenty is an exact copy (other case and
punctuation) and one in twenty a near copy (words changed, or cut off at the end) of an earlier
one. A process of its own finds them, and this one watches the memory of it and its workers. What
was planted is then compared with what was found, by its Jaccard similarity counted exactly.
"""

from __future__ import annotations

import gzip
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.datatrove_words import words_of
from benchmarks.measured import Row, arguments, report
from pipeline.copies import needed_mib

PROSE = Path(__file__).resolve().parents[2] / "shared" / "data" / "web" / "prose.jsonl.gz"
LIMIT, MOST_MIB, WORKERS = 0.8, 4_096, 2
WINDOWS, WINDOW_WORDS = 6, 12
SHARD = 50_000  # documents in a file
_WORD = re.compile(r"\w+")


def main() -> None:
    if sys.argv[1:2] == ["--find"]:
        find(Path(sys.argv[2]), int(sys.argv[3]))
        return
    options = arguments(__doc__)
    with gzip.open(PROSE, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    rows = _signatures(texts[:500] if options.quick else texts, 3 if options.quick else 5)
    with tempfile.TemporaryDirectory(prefix="copies-") as home:
        rows += _whole(Path(home), texts, 20_000 if options.quick else 1_000_000)
    report(rows, options.json)


def _signatures(texts: list[str], rounds: int) -> list[Row]:
    from rensa import RMinHash

    from pipeline.near_copies import MINIMA
    from pipeline.shingles import sketch

    column = pa.array(texts)
    ready = [shingles(text) for text in texts]

    def rensa_alone() -> None:
        for parts in ready:
            made = RMinHash(num_perm=MINIMA, seed=0)
            made.update(parts)
            made.digest()

    few = texts[:: max(1, len(texts) // 200)]
    work: dict[str, tuple[Callable[[], object], int]] = {
        "ours": (lambda: sketch(column), len(texts)),
        "rensa on ready shingles": (rensa_alone, len(texts)),
    }
    for name, peer in _peers().items():
        work[name] = (partial(_each, peer, few), len(few))
    sketch(column[:50])  # compiled before the clock starts
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, (run, _) in work.items():
            began = time.process_time()
            run()
            seconds[name].append(time.process_time() - began)
    speeds = {name: work[name][1] / statistics.median(s) for name, s in seconds.items()}
    ours = speeds.pop("ours")
    return [Row("signatures", ours, "documents/s/core", 10_000, "min", speeds)]


def _each(peer: Callable[[str], object], texts: list[str]) -> None:
    for text in texts:
        peer(text)


def _peers() -> dict[str, Callable[[str], object]]:
    """Peers that are installed, each from a text to its signature."""
    from pipeline.near_copies import MINIMA, signature

    found: dict[str, Callable[[str], object]] = {"rensa from text": signature}
    if find_spec("datasketch"):
        from datasketch import MinHash

        def by_datasketch(text: str) -> object:
            made = MinHash(MINIMA, scheme="legacy")
            made.update_batch([part.encode() for part in shingles(text)])
            return made.digest()

        found["datasketch from text"] = by_datasketch
    if find_spec("datatrove"):
        from datatrove.pipeline.dedup import MinhashDedupSignature
        from datatrove.pipeline.dedup.minhash import MinhashConfig

        spaces = words_of(str.split)
        step = MinhashDedupSignature(tempfile.gettempdir(), MinhashConfig(n_grams=5), spaces)
        found["datatrove from text, words by spaces"] = lambda text: step.get_signature(
            step.get_shingles(text)
        )
    return found


def _whole(home: Path, texts: list[str], documents: int) -> list[Row]:
    planted = dict(_write(home, texts, documents))
    least_mib = needed_mib(documents, WORKERS)
    command = [sys.executable, "-m", "benchmarks.copies", "--find", str(home), str(least_mib)]
    began, peak, cpu_s = time.perf_counter(), 0, dict[int, float]()
    with subprocess.Popen(command) as child:
        while child.poll() is None:
            peak = max(peak, _tree_bytes(child.pid, cpu_s))
            time.sleep(0.1)
    if child.returncode:
        raise SystemExit("the search failed")
    wall_s = time.perf_counter() - began
    passes = json.loads((home / "seconds.json").read_text())
    scratch = passes.pop("scratch bytes") / documents
    found = {row["doc_id"]: row for row in pq.read_table(home / "found.parquet").to_pylist()}
    return [
        Row(f"copies of {documents:,} documents", wall_s, "s", None, "max", passes),
        Row("the same, processor time with start-up", sum(cpu_s.values()), "s"),
        Row("memory of all its processes", peak / (1 << 20), "MiB", min(least_mib, MOST_MIB)),
        Row("scratch", scratch, "bytes/document"),
        *_recall(home, planted, found),
    ]


def _tree_bytes(pid: int, cpu_s: dict[int, float]) -> int:
    """Resident memory of a process and all below it, shared pages counted twice; notes seconds."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            try:
                total += process.memory_info().rss
                times = process.cpu_times()
                cpu_s[process.pid] = times.user + times.system
            except psutil.Error:
                continue
    except psutil.Error:
        pass
    return total


def find(home: Path, memory_mib: int) -> None:
    """What the process that is measured does, with the least memory that is accepted."""
    from pipeline.copies import CopiesConfig, check_memory, find_copies
    from pipeline.copies_clusters import COPY
    from pipeline.copies_runs import SketchShard
    from pipeline.shards import run_shards
    from pipeline.stage import Workplace

    place = Workplace("clean", home / "out", home, 0, {}, {})
    files = tuple(sorted((home / "documents").iterdir()))
    config = CopiesConfig(max_similarity=LIMIT, memory_mib=memory_mib)
    check_memory("clean", config, sum(pq.read_metadata(f).num_rows for f in files), WORKERS)
    began = time.perf_counter()
    sketches = home / "sketches"
    run_shards(place, "sketch", SketchShard(files, sketches), "documents", len(files), WORKERS)
    sketched = time.perf_counter()
    copies = find_copies(place, sketches, config, WORKERS)
    paired = time.perf_counter()
    with pq.ParquetWriter(home / "found.parquet", COPY) as writer:
        for batch in copies.batches():
            writer.write_batch(batch)
    seconds = {
        "sketch": sketched - began, "pair, check, unite": paired - sketched,
        "evidence": time.perf_counter() - paired, "pairs compared": copies.compared.rows_in,
        "pairs confirmed": copies.compared.kept,
        "scratch bytes": sum(
            path.stat().st_size
            for top in (sketches, place.scratch / "copies") for path in top.rglob("*.*")
        ),
    }  # fmt: skip
    (home / "seconds.json").write_text(json.dumps(seconds))


def _write(home: Path, texts: list[str], documents: int) -> Iterator[tuple[str, str]]:
    """Write the corpus; yields (planted copy, its source), which is in this file or the first."""
    words = " ".join(texts).split()
    generator = np.random.default_rng(11)
    (home / "documents").mkdir()
    first: list[tuple[str, str]] = []
    for start in range(0, documents, SHARD):
        names, column, sources = [], [], first.copy()
        count = min(SHARD, documents - start)
        places = generator.integers(0, len(words) - WINDOW_WORDS, (count, WINDOWS)).tolist()
        for k, draw in enumerate(generator.random(count)):
            names.append(f"{start + k:07}")
            if draw < 0.1 and len(sources) > 100:
                source, text = sources[generator.integers(len(sources))]
                column.append(f"{text.upper()}!" if draw < 0.05 else _near(text, generator))
                yield names[-1], source
            else:
                column.append(" ".join(w for p in places[k] for w in words[p : p + WINDOW_WORDS]))
                sources.append((names[-1], column[-1]))
        first = first or sources
        table = pa.table({"doc_id": names, "text": column})
        pq.write_table(table, home / "documents" / f"{start:07}.parquet", compression="zstd")


def _near(text: str, generator: np.random.Generator) -> str:
    """One or two words changed, or up to 24 cut off at the end."""
    words = text.split()
    if generator.random() < 0.3:
        for at in generator.permutation(len(words))[: generator.integers(1, 3)]:
            words[at] = "otherwise"
        return " ".join(words)
    return " ".join(words[: -int(generator.integers(1, 25))])


def shingles(text: str) -> list[str]:
    words = _WORD.findall(text.casefold())
    return [" ".join(words[i : i + 5]) for i in range(len(words) - 4)] or [" ".join(words)]


def jaccard(one: str, other: str) -> float:
    a, b = set(shingles(one)), set(shingles(other))
    return len(a & b) / len(a | b)


def _recall(home: Path, planted: dict[str, str], found: dict[str, dict[str, object]]) -> list[Row]:
    """Planted copies that are dropped, by similarity; and what was dropped that should not be."""
    wanted = {*planted, *planted.values(), *found, *(str(r["survivor"]) for r in found.values())}
    text: dict[str, str] = {}
    for path in sorted((home / "documents").iterdir()):
        for batch in pq.ParquetFile(path).iter_batches(20_000):
            ids = batch["doc_id"].to_pylist()
            text |= {
                n: t for n, t in zip(ids, batch["text"].to_pylist(), strict=True) if n in wanted
            }
    tries: dict[str, list[bool]] = {}
    for copy, source in planted.items():
        likeness = jaccard(text[copy], text[source])
        ends = {str(found[n]["survivor"]) if n in found else n for n in (copy, source)}
        bin_ = "1" if likeness == 1 else f"{int(likeness * 20) / 20:.2f} on"
        tries.setdefault(bin_, []).append(len(ends) == 1)
    limits = {"1": 1.0, "0.95 on": 1.0, "0.90 on": 0.999, "0.85 on": 0.9}
    rows = [
        Row(f"planted copies found, similarity {bin_} ({len(hits)})",
            float(np.mean(hits)), "share", limits.get(bin_), "min")
        for bin_, hits in sorted(tries.items(), reverse=True) if len(hits) > 20
    ]  # fmt: skip
    truth = [jaccard(text[n], text[str(r["survivor"])]) for n, r in found.items()]
    for limit in (LIMIT, LIMIT - 0.1, LIMIT - 0.2):
        share = float(np.mean(np.array(truth) < limit))
        most = 0.001 if limit < LIMIT - 0.15 else None
        rows.append(Row(f"dropped, truly under {limit:.1f} to the survivor", share, "share", most))
    unplanted = [n for n in found if n not in planted and n not in planted.values()]
    rows.append(Row("dropped without being planted", len(unplanted), "documents"))
    return rows


if __name__ == "__main__":
    main()
