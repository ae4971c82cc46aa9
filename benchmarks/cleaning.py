"""The whole clean of prose: documents a second on one core, beside datatrove's Gopher rules alone.

    python -m benchmarks.cleaning [--quick] [--json FILE]

Stage 2 as it runs in a recipe, from the Parquet of ingest to that of clean: language, all rules of
the presets gopher, c4 and fineweb, personal data, exact and near copies, waterfall and examples.
The documents are real prose and windows of it, of 1 to 3 thousand characters. CPU seconds of the
process and its children at two sizes; the difference is free of start-up. datatrove's filters run
in turn, on fewer documents, with words cut at white space, which is their fastest way. Last, the
memory of the largest process. Without the data this says so and measures nothing.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measured import Row, arguments, report
from benchmarks.prose_rules import DATA, PEER_DOCUMENTS, gopher, rows_of, windows
from pipeline.clean import STAGE, CleanConfig
from pipeline.ledger import Ledger
from pipeline.prose_rules import ProseRules
from pipeline.records import DOCUMENT, make_doc_id, write_table
from pipeline.stage import Outcome, Sealed, Stage, Workplace
from pipeline.step import make_plan, run_step

SIZES, QUICK_SIZES = (4_000, 34_000), (2_000, 14_000)
ROUNDS, QUICK_ROUNDS = 3, 1
LIMIT = 1_000  # documents/s/core
FILES = 4


class Recipe:
    """A recipe of the one section."""

    seed = 7

    def __init__(self, config: CleanConfig) -> None:
        self._config = config

    def section(self, kind: Any) -> Any:
        return self._config if kind is CleanConfig else kind()


def main() -> None:
    """Measure in turn, then report."""
    options = arguments(__doc__)
    if not DATA.is_dir():
        sys.exit(f"cleaning: there is no {DATA}; give it the texts")
    small, large = QUICK_SIZES if options.quick else SIZES
    texts = windows(rows_of("web/prose"), large)
    quality = gopher(str.split, "GopherQualityFilter")
    both = gopher(str.split, "GopherQualityFilter", "GopherRepetitionFilter")
    peers = {"datatrove Gopher quality": quality, "and repetition": both}
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in peers}
    clean(texts[:500])  # compiled and loaded before the clock starts
    for _ in range(QUICK_ROUNDS if options.quick else ROUNDS):
        little, (much, made) = clean(texts[:small])[0], clean(texts)
        ours.append((much - little) / (large - small))
        for name, keep in peers.items():
            few = texts[:PEER_DOCUMENTS]
            began = time.process_time()
            keep(few)
            theirs[name].append((time.process_time() - began) / len(few))
    report(list(_rows(ours, theirs, made, large)), options.json)


def clean(texts: Sequence[str]) -> tuple[float, Sealed]:
    """CPU seconds of the stage over these texts, and what it sealed."""

    def ingest(place: Workplace) -> Outcome:
        share = -(-len(texts) // FILES)
        for i in range(FILES):
            part = range(i * share, min(len(texts), (i + 1) * share))
            rows = (_document(str(at), texts[at]) for at in part)
            write_table(place.out / "documents" / f"{i:05}.parquet", rows, DOCUMENT)
        return Outcome(Ledger("documents", len(texts), len(texts)))

    config = CleanConfig(prose=ProseRules(presets=("primer",)), workers=1)
    with tempfile.TemporaryDirectory(prefix="primer-cleaning-") as folder:
        stages = [Stage(1, "ingest", 1, (), (), (), ingest), STAGE]
        first, second = make_plan(stages, Recipe(config), Path(folder)).values()
        run_step(first)
        began = _cpu_s()
        made = run_step(second)
        return _cpu_s() - began, made


def _document(address: str, text: str) -> dict[str, Any]:
    return {
        "doc_id": make_doc_id("prose", address, text), "text": text, "kind": "web",
        "source": "prose", "group": "prose", "url_or_path": address, "licence": None,
        "language": None, "origin": "human", "metadata": "{}",
    }  # fmt: skip


def _cpu_s() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def _rows(
    ours: list[float], theirs: dict[str, list[float]], made: Sealed, documents: int
) -> Iterator[Row]:
    rates = {name: 1 / statistics.median(seconds) for name, seconds in theirs.items()}
    yield Row(
        f"the whole clean of prose, {documents:,} documents", 1 / statistics.median(ours),
        "documents/s/core", LIMIT, "min", rates,
    )  # fmt: skip
    facts = made.facts
    yield Row("bytes for each pre-token of what is left", facts["bytes"] / facts["pretokens"], "")
    yield Row("dropped", 100 * (1 - made.ledger.kept / documents), "%")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # one worker works in here
    yield Row("memory, the documents' own list included", peak, "MiB")


if __name__ == "__main__":
    main()
