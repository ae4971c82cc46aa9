"""False alarms: how often good human texts are faulted, and true rewritings called untrue.

    python -m benchmarks.good_texts [--quick] [--json FILE]

Flaws are looked for in five kinds of good text of at least 300 characters: news lessons
(OneStopEnglish), excerpts for readers (CLEAR), web pages that people would keep (DCLM), chapters of
open textbooks on programming that were not cut short, and docstrings of Python's library; and in
Danish pages (FineWeb-C), which are not English. What a rewriting made up is looked for in news
rewritten by teachers for two lower levels, in the same beside another article, and where a year or
a name was planted. Half a minute. Without the data this says so and measures nothing.
"""

from __future__ import annotations

import ast
import gzip
import json
import statistics
import sys
import sysconfig
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measured import Row, arguments, report
from pipeline.faithfulness import made_up_names, made_up_numbers
from pipeline.flaws import REASONS, count_english, find_flaw, layers_of, words_of
from pipeline.repetition import duplicate_gram_share
from pipeline.rephrase import RephraseConfig

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NEWS = "labelled/onestop_english.jsonl.gz"
LEAST_CHARS = 300
CUT_CHARS = 8_900  # chapters of this length were cut by their source
QUICK_TEXTS = 60
GOPHER = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}  # arXiv 2112.11446, table A1
GIVEN = ("Astrid", "Bogdan", "Chiara", "Dmitri", "Esther", "Farouk", "Gudrun", "Hideki")
FAMILY = ("Kowalczyk", "Lindqvist", "Moreau", "Nakamura", "Okonkwo", "Petrescu", "Quispe")
Fields = dict[str, Any]
Pair = tuple[str, str]  # a text and its source


def main() -> None:
    """Count the alarms of both kinds."""
    options = arguments(__doc__)
    if not DATA.is_dir():
        sys.exit(f"good_texts: there is no {DATA}; give it the texts")
    most = QUICK_TEXTS if options.quick else None
    texts = {name: list(found)[:most] for name, found in _good_texts().items()}
    danish = list(_rows("labelled/fineweb_c_danish_edu_human.jsonl.gz"))[:most]
    rows = [*_faulted(texts), *_language(texts["chapters"], danish), *_gopher(texts["chapters"])]
    report(rows + list(_untrue(rewritings()[:most])), options.json)


def _good_texts() -> dict[str, Iterator[str]]:
    return {
        "news lessons": _rows(NEWS),
        "readers' excerpts": _rows("labelled/clear_readability_NC.jsonl.gz"),
        "kept web pages": _rows(
            "labelled/dclm_human_quality.jsonl.gz", lambda row: int(row["label"]) == 1
        ),
        "chapters": _rows(
            "web/prose.jsonl.gz",
            lambda row: row["kind"] == "textbook" and len(row["text"]) < CUT_CHARS,
        ),
        "docstrings": _docstrings(),
    }


def _rows(name: str, keep: Callable[[Fields], bool] = lambda row: True) -> Iterator[str]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if keep(row) and len(row["text"]) >= LEAST_CHARS:
                yield row["text"]


def _docstrings() -> Iterator[str]:
    """Of the modules of Python's library, their classes and functions; nothing is imported."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                if len(text) >= LEAST_CHARS:
                    yield text


def _faulted(texts: dict[str, list[str]]) -> Iterator[Row]:
    """Each reason, in per cent of each kind of text."""
    shares, seconds, words = {}, 0.0, 0
    for name, some in texts.items():
        began = time.process_time()
        found = Counter(flaw[0] for flaw in map(find_flaw, some) if flaw)
        seconds += time.process_time() - began
        words += sum(len(text.split()) for text in some)
        shares[name] = {reason: 100 * found[reason] / len(some) for reason in REASONS}
    first, *others = shares
    counts = {name: float(len(texts[name])) for name in others}
    yield Row(f"texts: {first}", len(texts[first]), "texts", peers=counts)
    for reason in REASONS[1:]:  # none is too short
        peers = {name: shares[name][reason] for name in others}
        yield Row(f"{reason}: {first}", shares[first][reason], "%", peers=peers)
    yield Row("looking for flaws", 1e3 * seconds / words * 500, "ms per 500 words")


def _language(chapters: Sequence[str], danish: Sequence[str]) -> Iterator[Row]:
    """Danish pages told from English, and how far apart the two are."""
    flaws = list(map(find_flaw, danish))
    found = sum(flaw is not None and flaw[0] == "wrong_language" for flaw in flaws)
    yield Row(f"wrong_language: {len(danish)} Danish pages", 100 * found / len(danish), "%")
    counts = [
        [count_english(layers_of(text)[-1]) for text in texts] for texts in (chapters, danish)
    ]
    medians = [statistics.median(of / max(1, all_) for of, all_ in some) for some in counts]
    yield Row("function words, median: chapters", medians[0], "share",
              peers={"Danish pages": medians[1]})  # fmt: skip


def _gopher(chapters: Sequence[str]) -> Iterator[Row]:
    """What Gopher's own limits for repeated 5- to 10-grams would fault."""
    over = 0
    for text in chapters:
        words = words_of(layers_of(text)[-1])
        over += any(duplicate_gram_share(words, n) > limit for n, limit in GOPHER.items())
    yield Row("over Gopher's limits of 5- to 10-grams: chapters", 100 * over / len(chapters), "%")


def rewritings() -> list[Pair]:
    """News for adults, rewritten by teachers for two lower levels."""
    articles: dict[str, dict[str, str]] = defaultdict(dict)
    with gzip.open(DATA / NEWS, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            articles[row["article"]][row["level"]] = row["text"]
    return [(of[level], of["adv"]) for of in articles.values() if "adv" in of
            for level in ("ele", "int") if level in of]  # fmt: skip


def _untrue(pairs: Sequence[Pair]) -> Iterator[Row]:
    """Alarms on true rewritings, and on those that say what their source does not."""
    asked = {
        "beside another article": [(text, pairs[i - 7][1]) for i, (text, _) in enumerate(pairs)],
        "a planted year": [_planted(pair, f"in {_new_year(i, pair)}")
                           for i, pair in enumerate(pairs)],
        "a planted name": [_planted(pair, f"as {_name(i)} says") for i, pair in enumerate(pairs)],
    }  # fmt: skip
    began = time.process_time()
    true = sum(map(_alarmed, pairs))
    took_ms = 1e3 * (time.process_time() - began) / len(pairs)
    found = {name: float(sum(map(_alarmed, some))) for name, some in asked.items()}
    yield Row(f"alarms: {len(pairs)} rewritings by teachers", true, "texts", peers=found)
    yield Row("looking for what was made up", took_ms, "ms a text")


def _alarmed(pair: Pair) -> bool:
    limits = RephraseConfig()
    return (
        len(made_up_numbers(*pair)) > limits.max_new_numbers
        or len(made_up_names(*pair)) > limits.max_new_names
    )


def _planted(pair: Pair, words: str) -> Pair:
    """These words at the end of a sentence in the middle; whatever else is new is known."""
    text, source = pair
    at = text.index(". ", len(text) // 2)
    return f"{text[:at]} {words}{text[at:]}", f"{source}\n{text}"


def _new_year(number: int, pair: Pair) -> int:
    return next(y for y in range(1_700 + number, 2_000) if str(y) not in "".join(pair))


def _name(number: int) -> str:
    return f"{GIVEN[number % len(GIVEN)]} {FAMILY[number % len(FAMILY)]}"


if __name__ == "__main__":
    main()
