"""The near-copy index: time and memory a text at 10,000 and 100,000 texts, and what it misses.

    python -m benchmarks.near_copies [--quick] [--json FILE]

Texts are windows of 120 words of real prose and code, in an order drawn from a seed: many overlap,
as real ones do. Copies of some are planted with a share of their words changed; a pair counts as
one to be found where its 128 minima say so, so recall is about the index alone. Peers index the
same signatures: rensa's RMinHashLSH, which answers with whatever shares a band and compares no
further, and datasketch's MinHashLSH where it is installed (by hand: it is no dependency). Memory is
what the process grew by, and times are of the processor, which neighbours disturb less: every
contender runs on one thread. The worst case is drawn: signatures as of one template, every pair 0.4
alike. Without the data this says so and measures nothing.
"""

from __future__ import annotations

import gc
import gzip
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.measured import Row, arguments, report
from pipeline.near_copies import (
    BANDS,
    MINIMA,
    NearCopies,
    Signature,
    nearest_earlier,
    signature,
    similarity,
)

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FILES = ("web/prose.jsonl.gz", "code/python_files.jsonl.gz")
WINDOW_WORDS = 120
STEP_WORDS = 35
LIMIT = 0.7
COPIES_EACH = 300
TEMPLATE_SHARE = 0.4  # of equal minima in the worst case
CHANGED = (0.0, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06)


def main() -> None:
    """Measure at two sizes; recall is measured among the larger."""
    options = arguments(__doc__)
    if not DATA.is_dir():
        sys.exit(f"near_copies: there is no {DATA}; give it the texts")
    sizes = (2_000, 10_000) if options.quick else (10_000, 100_000)
    began = time.process_time()
    windows = list(_windows(sizes[-1]))
    sketches = [signature(text) for text in windows]
    signed_us = (time.process_time() - began) / len(windows) * 1e6
    rows = [Row(f"a signature of {WINDOW_WORDS} words", signed_us, "microseconds")]
    for size in sizes:
        index, seconds, grown_bytes = _fill(sketches[:size])
        peers = {name: make(windows, sketches[:size]) for name, make in _peers().items()}
        times = {name: figures[0] / size * 1e6 for name, figures in peers.items()}
        sizes_kept = {name: figures[1] / size for name, figures in peers.items()}
        took = seconds / size * 1e6
        rows += [
            Row(f"question and insertion, {size:,} texts", took, "microseconds", 1_000,
                peers=times),
            Row(f"memory the process grew by, {size:,} texts", grown_bytes / size, "bytes a text",
                peers=sizes_kept),
            Row(f"memory of the index, {size:,} texts", index.memory_bytes / size, "bytes a text",
                1_024),
        ]  # fmt: skip
    pair_ns = _pairs_s(sketches[: sizes[0]]) / (sizes[0] * (sizes[0] - 1) / 2) * 1e9
    rows.append(Row("every pair compared, a pair", pair_ns, "ns"))
    report([*rows, *_worst(sizes[0] // 2), *_recall(index, windows)], options.json)


def _windows(count: int) -> Iterator[str]:
    """Windows of the files' words, in an order drawn from a seed; the same text is given once."""
    places, texts = [], []
    for name in FILES:
        with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
            texts += [re.split(r"(?<=\s)", json.loads(line)["text"]) for line in lines]
    for i, words in enumerate(texts):
        places += [(i, at) for at in range(0, max(1, len(words) - WINDOW_WORDS), STEP_WORDS)]
    order, seen = np.random.default_rng(5).permutation(len(places)), set()
    for place in order.tolist():
        i, at = places[place]
        text = "".join(texts[i][at : at + WINDOW_WORDS])
        if text not in seen:
            seen.add(text)
            yield text
        if len(seen) == count:
            return
    sys.exit(f"near_copies: {len(seen):,} windows in {DATA}, {count:,} are needed")


def _fill(sketches: list[Signature]) -> tuple[NearCopies, float, int]:
    """An index of them all, asked before each: itself, seconds, bytes that the process grew by."""
    warm = NearCopies(LIMIT)
    warm.twin_of(sketches[0])  # compiled before the clock starts
    warm.add("", sketches[0])
    before = _resident_bytes()
    index, began = NearCopies(LIMIT), time.process_time()
    for i, sketch in enumerate(sketches):
        index.twin_of(sketch)
        index.add(f"{i:016x}", sketch)
    return index, time.process_time() - began, _resident_bytes() - before


def _peers() -> dict[str, Callable[[list[str], list[Signature]], tuple[float, int]]]:
    found = {"rensa": _fill_rensa}
    if find_spec("datasketch"):
        found["datasketch"] = _fill_datasketch
    return found


def _fill_rensa(windows: list[str], sketches: list[Signature]) -> tuple[float, int]:
    """The bands alone: this peer keeps no signatures to compare candidates by."""
    from rensa import RMinHash, RMinHashLSH

    made = []
    for text in windows[: len(sketches)]:
        made.append(RMinHash(num_perm=MINIMA, seed=0))
        words = text.casefold().split()
        made[-1].update([" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))])
    before = _resident_bytes()
    index, began = RMinHashLSH(LIMIT, MINIMA, BANDS), time.process_time()
    for i, sketch in enumerate(made):
        index.query(sketch)
        index.insert(i, sketch)
    return time.process_time() - began, _resident_bytes() - before


def _fill_datasketch(windows: list[str], sketches: list[Signature]) -> tuple[float, int]:
    from datasketch import MinHash, MinHashLSH

    made = [
        MinHash(MINIMA, hashvalues=sketch.astype(np.uint64), scheme="legacy") for sketch in sketches
    ]
    before = _resident_bytes()
    index, began = MinHashLSH(num_perm=MINIMA, params=(BANDS, MINIMA // BANDS)), time.process_time()
    for i, sketch in enumerate(made):
        index.query(sketch)
        index.insert(f"{i:016x}", sketch)
    return time.process_time() - began, _resident_bytes() - before


def _recall(index: NearCopies, windows: list[str]) -> list[Row]:
    """How many of the planted copies over the limit are found, by how similar they are."""
    generator = np.random.default_rng(9)
    wanted: dict[float, int] = {}
    found: dict[float, int] = {}
    for share in CHANGED:
        for at in generator.permutation(len(windows))[:COPIES_EACH]:
            words = windows[at].split()
            copy = " ".join("other" if generator.random() < share else word for word in words)
            sketch = signature(copy)
            likeness = similarity(sketch, signature(windows[at]))
            if likeness > LIMIT:
                tenth = int(likeness * 10) / 10
                twin = index.twin_of(sketch)
                wanted[tenth] = wanted.get(tenth, 0) + 1
                found[tenth] = found.get(tenth, 0) + (twin is not None and twin[1] >= likeness)
    return [
        Row(f"planted copies found, similarity {tenth} on ({wanted[tenth]})",
            found[tenth] / wanted[tenth], "share", 0.999, "min")
        for tenth in sorted(wanted)
    ]  # fmt: skip


def _pairs_s(sketches: list[Signature]) -> float:
    nearest_earlier(np.array(sketches[:2]))  # compiled before the clock starts
    began = time.process_time()
    nearest_earlier(np.array(sketches))
    return time.process_time() - began


def _worst(texts: int) -> Iterator[Row]:
    """Texts of one template: many share a band with each other, and none is a copy."""
    generator = np.random.default_rng(11)
    index, base = NearCopies(LIMIT), generator.integers(0, 2**32, MINIMA, np.uint32)
    for already in (0, texts):
        own = generator.integers(0, 2**32, (texts, MINIMA), np.uint32)
        made = np.where(generator.random((texts, MINIMA)) < TEMPLATE_SHARE**0.5, base, own)
        began = time.process_time()
        for i, sketch in enumerate(made):
            index.twin_of(sketch)
            index.add(f"{already + i:016x}", sketch)
        took_us = (time.process_time() - began) / texts * 1e6
        yield Row(f"{texts:,} texts of one template after {already:,}", took_us, "microseconds")


def _resident_bytes() -> int:
    import psutil

    gc.collect()
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main()
