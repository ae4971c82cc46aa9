"""Personal data and secrets: speed, recall on planted values, and what is found in real texts.

    python -m benchmarks.pii [--quick] [--json FILE]

Speed is CPU time of `redact` on one thread, without start-up, over windows of the shared prose of
1 to 3 kB. Recall is over values put between words of real prose, and into comments and strings of
real programs that must parse afterwards; each text takes one. The texts' own finds are counted by
type; docs/pii.md says what reading them showed. Without the data this says so and measures nothing.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter

import pyarrow as pa

from benchmarks.measured import Row, arguments, report
from benchmarks.pii_plants import Plant, plants
from benchmarks.prose_rules import DATA, rows_of, windows
from pipeline.pii import PiiConfig, Redacted, redact
from pipeline.pii_code import parses
from pipeline.pii_config import TYPES
from pipeline.pii_find import find
from pipeline.pii_marks import EVERY, marks_of

LEAST_DOCUMENTS_PER_S = 10_000
DOCUMENTS, QUICK_DOCUMENTS, BATCH, ROUNDS = 30_000, 6_000, 4_000, 3
EACH, QUICK_EACH, SEED = 30, 4, 7
UNFILTERED_EVERY, QUICK_UNFILTERED_EVERY = 1, 8


def main() -> None:
    """Measure speed, recall, and what the mark leaves out."""
    options = arguments(__doc__)
    if not DATA.is_dir():
        sys.exit(f"pii: there is no {DATA}; give it the texts")
    prose = [row["text"] for row in rows_of("web/prose")]
    code = [row["text"] for row in rows_of("code/python_files")]
    rows = _speed(windows(rows_of("web/prose"), QUICK_DOCUMENTS if options.quick else DOCUMENTS))
    each = QUICK_EACH if options.quick else EACH
    rows += _recall(prose, "web", each) + _recall([t for t in code if parses(t)], "code", each)
    step = QUICK_UNFILTERED_EVERY if options.quick else UNFILTERED_EVERY
    rows += _unmarked(prose[::step] + code[::step])
    report(rows + _found(prose, "web") + _found(code, "code"), options.json)


def _speed(texts: list[str]) -> list[Row]:
    """Documents a second: everything, and the marks alone."""
    batches = [pa.array(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH)]
    kinds, config = ["web"] * BATCH, PiiConfig()
    redact(batches[0], kinds, config)
    whole, marks = [], []
    for _ in range(ROUNDS):
        began = time.process_time()
        for batch in batches:
            redact(batch, kinds, config)
        middle = time.process_time()
        for batch in batches:
            marks_of(batch)
        whole.append(middle - began)
        marks.append(time.process_time() - middle)
    speed, alone = (len(texts) / sorted(spent)[ROUNDS // 2] for spent in (whole, marks))
    unit = "documents/s/core"
    return [
        Row("pii.speed", speed, unit, LEAST_DOCUMENTS_PER_S, "min"),
        Row("pii.marks_speed", alone, unit),
    ]


def _recall(texts: list[str], kind: str, each: int) -> list[Row]:
    """The share of planted values that are gone, by type and by sort."""
    draw = random.Random(SEED)  # noqa: S311
    planted = list(plants(SEED, each))
    full = [_put(plant, draw.choice(texts), kind, draw) for plant in planted]
    redacted = redact(pa.array(full), [kind] * len(full), PiiConfig())
    gone = _gone(planted, redacted)
    if kind == "code":
        assert all(map(parses, redacted.texts.to_pylist())), "an edited program does not parse"
    rows = []
    for type_ in TYPES:
        sorts = sorted({plant.sort for plant in planted if plant.type == type_})
        shares = [_share(planted, gone, type_, sort) for sort in sorts]
        found, all_ = (sum(column) for column in zip(*shares, strict=True))
        low, high = wilson(found, all_)
        peers = {"from": low, "to": high, "planted": float(all_)}
        missed = {
            f"of {sort}": part / whole
            for sort, (part, whole) in zip(sorts, shares, strict=True)
            if part < whole
        }
        rows.append(Row(f"pii.recall.{kind}.{type_}", found / all_, "share", peers=peers | missed))
    return rows


def _gone(planted: list[Plant], redacted: Redacted) -> list[bool]:
    """Whether each value was seen and is no longer in its text, or its text is dropped."""
    return [
        verdict is not None or (plant.value not in text and plant.type in counts)
        for plant, text, counts, verdict in zip(
            planted, redacted.texts.to_pylist(), redacted.counts, redacted.verdicts, strict=True
        )
    ]


def _share(planted: list[Plant], gone: list[bool], type_: str, sort: str) -> tuple[int, int]:
    of_sort = [g for p, g in zip(planted, gone, strict=True) if (p.type, p.sort) == (type_, sort)]
    return sum(of_sort), len(of_sort)


def _put(plant: Plant, text: str, kind: str, draw: random.Random) -> str:
    """The text with the plant between two words, or in a comment or a string at the end."""
    if kind == "code":
        if "\n" in plant.words:
            return f'{text}\nVALUE = """{plant.words}"""\n'
        quoted = plant.words.replace("\\", "\\\\").replace("'", "\\'")
        line = draw.choice([f"# {plant.words}", f"VALUE = '{quoted}'"])
        return f"{text}\n{line}\n"
    spaces = [at for at, c in enumerate(text) if c == " "] or [0]
    at = draw.choice(spaces)
    return f"{text[:at]} {plant.words} {text[at:]}"


def wilson(found: int, all_: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927)."""
    share, grown = found / all_, 1 + z * z / all_
    middle = share + z * z / (2 * all_)
    half = z * (share * (1 - share) / all_ + z * z / (4 * all_ * all_)) ** 0.5
    return (middle - half) / grown, (middle + half) / grown


def _unmarked(texts: list[str]) -> list[Row]:
    """How many texts the marks keep from a detector that finds something in them: none."""
    config = PiiConfig()
    marks = marks_of(pa.array(texts)).tolist()
    began = time.process_time()
    behind = [find(text, mark, config) for text, mark in zip(texts, marks, strict=True)]
    middle = time.process_time()
    without = [find(text, EVERY, config) for text in texts]
    spent = middle - began, time.process_time() - middle
    lost = sum(one != other for one, other in zip(behind, without, strict=True))
    speeds = [len(texts) / seconds for seconds in spent]
    return [
        Row("pii.lost_by_marks", lost, f"of {len(texts)} texts", 0),
        Row("pii.detectors_behind_marks", speeds[0], "documents/s/core",
            peers={"without marks": speeds[1]}),
    ]  # fmt: skip


def _found(texts: list[str], kind: str) -> list[Row]:
    """What the texts hold, by type."""
    config = PiiConfig()
    redacted = redact(pa.array(texts), [kind] * len(texts), config)
    total = Counter(dict.fromkeys(TYPES, 0))
    for counts in redacted.counts:
        total.update(counts)
    touched = sum(map(bool, redacted.counts))
    dropped = sum(verdict is not None for verdict in redacted.verdicts)
    name = f"pii.found.{kind}"
    return [
        Row(f"{name}.documents", touched, f"of {len(texts)}", peers={"dropped": float(dropped)}),
        *(Row(f"{name}.{type_}", total[type_], "finds") for type_ in TYPES),
    ]


if __name__ == "__main__":
    main()
