"""Language and rules for prose: speed, agreement with datatrove, and what each preset drops.

    python -m benchmarks.prose_rules [--quick] [--json FILE]

Speed is CPU time on one thread, without start-up and compiling, over windows of the shared prose
(1 kB to 4 kB each), interleaved with datatrove's Gopher quality filter under two word tokenizers:
its own regular expression, and white space as ours. Agreement and drops are over the documents as
they are. Without the data this says so and measures nothing.
"""

from __future__ import annotations

import gzip
import json
import re
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.datatrove_words import words_of
from benchmarks.measured import Row, arguments, report
from pipeline.language import LanguageRules, identify, judge_languages
from pipeline.prose_measures import measure
from pipeline.prose_rules import PRESETS, ProseRules, judge_measures, judge_prose

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LEAST_CHARS, WINDOW_CHARS = 1_000, 3_000
DOCUMENTS, QUICK_DOCUMENTS, PEER_DOCUMENTS, ROUNDS = 30_000, 6_000, 1_500, 5
AIM_US = 250
READ_CHARS, ALL_CHARS = (1_000, 600, 300, 200, 100), 2**31 - 1
ENGLISH_KINDS = {"textbook", "encyclopedia", "licence", "patent", "abstract"}
BATCH = 4_000
_WORD = re.compile(r"\w+|[^\w\s]")


def main() -> None:
    """Measure speed, then drops."""
    options = arguments(__doc__)
    if not DATA.is_dir():
        sys.exit(f"prose_rules: there is no {DATA}; give it the texts")
    prose = rows_of("web/prose")
    rows = _speed(windows(prose, QUICK_DOCUMENTS if options.quick else DOCUMENTS))
    rows += _agreement(prose) + _drops(prose) + _languages(prose) + _beginnings(prose)
    report(rows, options.json)


def rows_of(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def windows(prose: list[dict[str, Any]], count: int) -> list[str]:
    """Windows of documents, each begun 37 characters later than the last time round."""
    windows: list[str] = []
    shift = 0
    while len(windows) < count:
        for row in prose:
            for at in range(shift, len(row["text"]), WINDOW_CHARS):
                window = row["text"][at : at + WINDOW_CHARS]
                if len(window) >= LEAST_CHARS:
                    windows.append(window)
        shift += 37
    return windows[:count]


def gopher(split: Callable[[str], list[str]], *steps: str) -> Callable[[list[str]], list[bool]]:
    """datatrove's Gopher filters: whether each text is kept."""
    from datatrove.data import Document
    from datatrove.pipeline import filters

    made = [getattr(filters, step)(language=words_of(split)) for step in steps]

    def keep(texts: list[str]) -> list[bool]:
        documents = [Document(text=text, id="") for text in texts]
        return [all(step.filter(d) is True for step in made) for d in documents]

    return keep


def _speed(windows: list[str]) -> list[Row]:
    """Microseconds a document, the median of rounds in turn."""
    whole = ProseRules(presets=("gopher", "c4", "fineweb"), language=LanguageRules(keep=("en",)))
    batches = [pa.array(windows[at : at + BATCH]) for at in range(0, len(windows), BATCH)]
    few = windows[:PEER_DOCUMENTS]
    regex, quality = gopher(_WORD.findall, "GopherQualityFilter"), "GopherQualityFilter"
    space, repetition = gopher(str.split, quality), "GopherRepetitionFilter"
    both = gopher(str.split, quality, repetition)
    contenders: dict[str, tuple[int, Callable[[], object]]] = {
        "ours": (len(windows), lambda: [judge_prose(b, whole) for b in batches]),
        "measures": (len(windows), lambda: [measure(b) for b in batches]),
        "language": (len(windows), lambda: [identify(b) for b in batches]),
        "datatrove Gopher quality, regex words": (len(few), lambda: regex(few)),
        "datatrove Gopher quality, white space": (len(few), lambda: space(few)),
        "datatrove Gopher quality and repetition": (len(few), lambda: both(few)),
    }
    judge_prose(batches[0][:9], whole)  # compiled and loaded before the clock starts
    took: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for name, (count, work) in contenders.items():
            began = time.process_time()
            work()
            took[name].append((time.process_time() - began) / count * 1e6)
    us = {name: statistics.median(times) for name, times in took.items()}
    chars = statistics.mean(map(len, windows))
    peers = {name: value for name, value in us.items() if name.startswith("datatrove")}
    rates = {name: 1e6 / value for name, value in peers.items()}
    title = f"language and all rules, {len(windows):,} documents of {chars:,.0f} characters"
    return [
        Row(title, us["ours"], "microseconds a document", AIM_US, peers=peers),
        Row(title, 1e6 / us["ours"], "documents/s/core", peers=rates),
        Row("measures alone", us["measures"], "microseconds a document"),
        Row("language alone", us["language"], "microseconds a document"),
    ]


def _agreement(prose: list[dict[str, Any]]) -> list[Row]:
    """With datatrove's two Gopher filters, by its words."""
    texts = [row["text"] for row in prose]
    verdicts = judge_measures(measure(pa.array(texts)), PRESETS["gopher"])
    rows = []
    for name, split in (("white space", str.split), ("regex words", _WORD.findall)):
        keep = gopher(split, "GopherQualityFilter", "GopherRepetitionFilter")(texts)
        same = statistics.mean((v is None) == k for v, k in zip(verdicts, keep, strict=True))
        rows.append(Row(f"verdicts as datatrove's Gopher filters, {name}", same, "share"))
    return rows


def _drops(prose: list[dict[str, Any]]) -> list[Row]:
    """What each preset drops of each kind of source, and by which rule first."""
    measures, rows = measure(pa.array([row["text"] for row in prose])), []
    for preset, rules in PRESETS.items():
        verdicts = judge_measures(measures, rules)
        of_kind: dict[str, list[bool]] = defaultdict(list)
        for row, verdict in zip(prose, verdicts, strict=True):
            of_kind[row["kind"]].append(verdict is not None)
        shares = {kind: statistics.mean(of_kind[kind]) for kind in sorted(of_kind)}
        dropped = statistics.mean(v is not None for v in verdicts)
        rows.append(Row(f"{preset} drops", dropped, "share", peers=shares))
        reasons = Counter(verdict.reason for verdict in verdicts if verdict)
        rows.append(Row(f"{preset} drops", sum(reasons.values()), "documents", peers=reasons))
    return rows


def _languages(prose: list[dict[str, Any]]) -> list[Row]:
    """Accuracy where the language is known, and what a limit on the score costs."""
    known = {
        "Danish pages": ("da", [r["text"] for r in rows_of("labelled/fineweb_c_danish_edu_human")]),
        "English news lessons": ("en", [r["text"] for r in rows_of("labelled/onestop_english")]),
        "English books and papers": (
            "en", [row["text"] for row in prose if row["kind"] in ENGLISH_KINDS]
        ),
    }  # fmt: skip
    rows = []
    for name, (code, texts) in known.items():
        share = statistics.mean(label == code for label in identify(texts).labels)
        rows.append(Row(f"{name} told as such", share, f"of {len(texts):,}"))
    found = identify([row["text"] for row in prose])
    spanish = [
        row["kind"] == "forum" and label == "es"
        for row, label in zip(prose, found.labels, strict=True)
    ]
    doubted = judge_languages(found, LanguageRules(keep=("en",), min_score=0.65))
    reasons = Counter(verdict.reason for verdict in doubted if verdict)
    return [
        *rows,
        Row("forum questions told as Spanish", sum(spanish), "documents"),
        Row("not English with a score of 0.65", reasons.total(), "documents", peers=reasons),
    ]


def _beginnings(prose: list[dict[str, Any]]) -> list[Row]:
    """What reading only the beginning of a text costs and saves."""
    texts = pa.array([row["text"] for row in prose])
    labels: dict[int, list[str | None]] = {}
    us: dict[int, float] = {}
    for chars in (ALL_CHARS, *READ_CHARS):
        began = time.process_time()
        labels[chars] = identify(texts, chars).labels
        us[chars] = (time.process_time() - began) / len(texts) * 1e6
    whole = labels[ALL_CHARS]
    same = {
        str(chars): statistics.mean(a == b for a, b in zip(labels[chars], whole, strict=True))
        for chars in READ_CHARS
    }
    times = {str(chars): us[chars] for chars in READ_CHARS}
    return [
        Row("language by the whole text", us[ALL_CHARS], "microseconds a document", peers=times),
        Row("language by 300 characters, labels as by the whole", same["300"], "share", peers=same),
    ]


if __name__ == "__main__":
    main()
