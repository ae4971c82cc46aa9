"""Decontamination: speed, recall on planted leaks, false positives, and phi-1's check beside ours.

    python -m benchmarks.decontamination [--quick] [--json FILE]

All 15 shared benchmarks against the shared prose and code, in one process, by CPU time, without
building the indexes. Plants: every dress of a sample of every benchmark's items, in real pages.
phi-1's check (13 successive words, arXiv 2306.11644) reads the same renamed programs. False
positives are the hits on the shared corpora less those that reading found to be leaks
(docs/decontamination.md lists them all).
"""

from __future__ import annotations

import gzip
import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.measured import Row, arguments, report
from pipeline.benchmark_items import BenchmarkConfig, Item, read_items
from pipeline.leak_code import CodeRules
from pipeline.leak_index import WordRules, make_index
from pipeline.leak_mappings import MappingName
from pipeline.leak_plants import PlantedConfig, by_dress, measure_recall
from pipeline.leak_renaming import renamed
from pipeline.leak_search import LeakSearch, SearchRules
from pipeline.leak_words import find_words

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
FILES: dict[str, MappingName] = {
    "HumanEval.jsonl.gz": "humaneval", "TruthfulQA.csv.gz": "truthfulqa",
    "arc_challenge_test.jsonl.gz": "arc", "arc_easy_test.jsonl.gz": "arc",
    "boolq_val.jsonl.gz": "boolq", "commonsense_qa_val.jsonl.gz": "csqa", "copa.jsonl.gz": "copa",
    "gsm8k_test.jsonl.gz": "gsm8k", "hellaswag_small.jsonl": "hellaswag", "mbpp.jsonl.gz": "mbpp",
    "mmlu_redux.jsonl.gz": "mmlu", "openbook_qa_test.jsonl.gz": "obqa", "piqa_val.jsonl.gz": "piqa",
    "siqa_val.jsonl.gz": "siqa", "winogrande_val.jsonl.gz": "winogrande",
}  # fmt: skip
CORPORA = ("web/prose.jsonl.gz", "code/python_files.jsonl.gz")
TRUE_LEAKS = {"mosaicml/llm-foundry:tests/data/test_icl_datasets.py"}  # by reading
KNOWN = "networkx/networkx:networkx/readwrite/text.py"  # shares 13 words with HumanEval/78
BATCH = 2_000


def main() -> None:
    """Index, search what is clean, then what is planted."""
    options = arguments(__doc__)
    items = [
        item for file, mapping in FILES.items()
        for item in read_items(BenchmarkConfig(
            name=file.split(".")[0], path=str(SHARED / "benchmarks" / file), mapping=mapping))
    ]  # fmt: skip
    began = time.process_time()
    search = LeakSearch.of(items, SearchRules())
    rows = [Row("building the indexes", time.process_time() - began, "s")]
    names, texts = zip(*_corpus(), strict=True)
    pages = [text for text in texts[:3_000] if len(text) > 4_000][:200]
    texts_array = pa.array(texts, pa.large_string())
    rows += _clean(search, names, texts_array)
    rows.append(_looser(search, names, texts_array))
    config = PlantedConfig(items_per_benchmark=40 if options.quick else 100_000)
    for row in by_dress(measure_recall(search, pages, config, np.random.default_rng(1))):
        limit = 0.95 if row["dress"].startswith("program_") else 1.0
        short = row["dress"].endswith("_short")
        unit = f"of {row['planted']:,} (95 %: {row['low']:.4f} to {row['high']:.4f})"
        rows.append(
            Row(f"recall, {row['dress']}", row["recall"], unit, None if short else limit, "min")
        )
        if short:
            share = row["found"] / row["searched"]
            rows.append(Row(f"recall of the searched, {row['dress']}", share,
                            f"of {row['searched']:,}", 1.0, "min"))  # fmt: skip
    rows.append(_plain_check(search))
    report(rows, options.json)


def _corpus() -> Iterator[tuple[str, str]]:
    for corpus in CORPORA:
        with gzip.open(SHARED / corpus, "rt") as lines:
            for line in lines:
                row = json.loads(line)
                yield f"{row['repo']}:{row['path']}", row["text"]


def _clean(search: LeakSearch, names: tuple[str, ...], texts: pa.Array) -> list[Row]:
    """Speed and hits on the corpora as they are."""
    list(search.find(texts[:50], names[:50]))  # compiles
    hits, began = [], time.process_time()
    for first in range(0, len(texts), BATCH):
        part = slice(first, first + BATCH)
        hits += list(search.find(texts[part], names[part]))
    seconds = time.process_time() - began
    for hit in hits:
        print(f"{hit['doc_id']}  {hit['benchmark']} {hit['item']} {hit['kind']} "
              f"{hit['score']:.2f}  {hit['evidence'][:80]}")  # fmt: skip
    found = {hit["doc_id"] for hit in hits}
    wrong = len(found - TRUE_LEAKS) / len(texts)
    return [
        Row("speed", len(texts) / seconds, "documents/s/core", 5_000, "min"),
        Row("false positives", wrong, f"of {len(texts):,} documents", 0.001),
        Row("the networkx file is found", float(KNOWN in found), "", 1.0, "min"),
    ]


def _looser(search: LeakSearch, names: tuple[str, ...], texts: pa.Array) -> Row:
    """Documents that the programs hit, with the limits as they are and with looser ones."""
    programs = [item for item in search.items if item.code]
    tried = {
        "as they are": SearchRules(),
        "13 words of program text": SearchRules(code_ngram_words=13),
        "trees 0.75 alike": SearchRules(code=CodeRules(min_similarity=0.75, small_tree_parts=5)),
    }
    hit = {
        name: float(
            len({row["doc_id"] for row in LeakSearch.of(programs, rules).find(texts, names)})
        )
        for name, rules in tried.items()
    }
    return Row("documents hit by programs", hit.pop("as they are"), "documents", peers=hit)


def _plain_check(search: LeakSearch) -> Row:
    """Renamed programs found by ours, and by 13 successive words of prompt or solution."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        copies = [(item, renamed(item.code)) for item in search.items if item.code]
    made = [(item, copy) for item, copy in copies if copy is not None]
    texts = pa.array([copy for _, copy in made], pa.large_string())
    ids = [f"{item.benchmark}/{item.name}" for item, _ in made]
    plain = [Item(i.benchmark, i.name, (("code", i.code),)) for i, _ in made]
    rules = WordRules(ngram_words=13, min_item_words=13)
    by_words = find_words(texts, ids, plain, make_index(plain, rules), rules.near_words)
    found = [_own(row) for row in by_words]
    ours = [_own(row) for row in search.find(texts, ids)]
    share = {name: len(set(rows) & set(ids)) / len(ids)
             for name, rows in (("phi-1's 13 words", found), ("ours", ours))}  # fmt: skip
    return Row("renamed programs found", share["ours"], f"of {len(ids):,}", 0.95, "min",
               {"phi-1's 13 words": share["phi-1's 13 words"]})  # fmt: skip


def _own(row: dict[str, object]) -> str | None:
    """The document, where it was told of its own item."""
    name = f"{row['benchmark']}/{row['item']}"
    return name if row["doc_id"] == name else None


if __name__ == "__main__":
    main()
