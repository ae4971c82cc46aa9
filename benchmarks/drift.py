"""How often drift is told where there is none, how often where there is some, and what it costs.

    python -m benchmarks.drift [--quick] [--json FILE]      # 1 min

A filter is trained on 1,200 real files and pages with labels of the stand-in's rubrics; all else is
drawn from the others, at random, again and again. No drift: the reference and the later documents
are two parts of one sort. By repository: two parts without a repository in common, which do differ.
Drift: the later documents are of another sort, or a share of them is. The rules are compared on the
same draws: ours, any PSI over 0.25, any KS distance that is significant at 5 % by itself.

Last, what a reference tells that is made of the documents that the filter was made of, and what it
costs to count a document.

The data is no part of the project; without it this says so and measures nothing.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.labelled_sets import CODE, DATA, PROSE
from benchmarks.measured import Row, arguments, medians, report
from classifiers.drift import Bins, Reference, ks_critical, ks_distance, psi
from classifiers.drift_verdict import SCORES, Limits, judge_drift
from classifiers.features import Features
from classifiers.forest import to_onnx
from classifiers.scorer import Forest, Scorer
from classifiers.threshold import Decision
from pipeline.document_batch import Batch
from pipeline.drift_count import DriftCount
from pipeline.drift_reference import count_reference, drift_columns
from pipeline.filter_config import TrainFilterConfig
from pipeline.labelled import Material, kinds_of, texts_of
from pipeline.leakage import Leakage
from pipeline.learn_filter import Trained, learn_filter
from pipeline.records import ROWS_PER_GROUP
from pipeline.standin_code import judge_code
from pipeline.standin_prose import judge_prose

LABELS = 1_200
DANISH = "labelled/fineweb_c_danish_edu_human.jsonl.gz"
JAVA = "labelled/java_readability_human.jsonl.gz"
Matrix = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]
Draw = Callable[[np.random.Generator], tuple[Numbers, Numbers]]


@dataclass(frozen=True)
class Pool:
    """Documents that the filter has not been trained on, and what drift reads of each."""

    columns: Matrix
    names: tuple[str, ...]
    sorts: npt.NDArray[np.object_]
    groups: npt.NDArray[np.object_]

    def of(self, *sorts: str) -> Numbers:
        """The places of the documents of these sorts."""
        return np.flatnonzero(np.isin(self.sorts, sorts))


def main() -> None:
    """Train once, then draw."""
    options = arguments(__doc__)
    if not DATA.is_dir():
        sys.exit(f"drift: there is no {DATA}; give it the weakly labelled data")
    documents = list(_documents())
    order = np.random.default_rng(5).permutation(len(documents))
    first = [i for i in order if documents[i]["sort"] not in ("danish", "java")][:LABELS]
    labelled = [documents[i] for i in first]
    trained, scorer = _train(labelled)
    others = [documents[i] for i in sorted(set(range(len(documents))) - set(first))]
    columns = _columns(scorer, others)
    pool = Pool(
        columns, (*scorer.features.names, *SCORES),
        np.array([d["sort"] for d in others], object),
        np.array([d["group"] for d in others], object),
    )  # fmt: skip
    rounds = 40 if options.quick else 300
    rows = [_rates(pool, name, draw, rounds) for name, draw in _draws(pool)]
    rows += _made_of_seen(pool, scorer, trained, labelled)
    rows.append(_cost(scorer, others[: ROWS_PER_GROUP // 4], 9))
    report(rows, options.json)


def _documents() -> Iterator[dict[str, Any]]:
    for file, kind, sort, text in (
        (CODE, "code", "nature", "text"), (PROSE, "web", "kind", "text"),
        (DANISH, "web", None, "text"), (JAVA, "code", None, "code"),
    ):  # fmt: skip
        named = Path(file).name.partition("_")[0]
        with gzip.open(DATA / file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                row = json.loads(line)
                yield {
                    "doc_id": f"{file}:{number}", "text": row[text], "kind": kind,
                    "sort": row[sort] if sort else {"fineweb": "danish"}.get(named, named),
                    "group": row.get("repo", f"{file}:{number}"),
                    "n_bytes": len(row[text].encode()),
                }  # fmt: skip


def _train(rows: list[dict[str, Any]]) -> tuple[Trained, Scorer]:
    for row in rows:
        judged = judge_code(row["text"]) if row["kind"] == "code" else judge_prose(row["text"])
        row["score"] = sum(holds for holds, _ in judged)
    nothing = Leakage(0, np.zeros(0), None)
    material = Material(rows, [], rows, len(rows), 1, nothing, ["stand-in"], len(rows), {})
    trained = learn_filter(material, TrainFilterConfig(), 0)
    model = trained.forest
    table = np.column_stack([trained.embedding.table_, model.lexical_])
    scorer = Scorer(
        Forest.open(to_onnx(model.forest_)), Features(trained.embedding.idf_, table),
        model.forest_.classes_, model.positive_score_min, trained.calibration,
        Decision("score", 0.0),
    )  # fmt: skip
    return trained, scorer


def _columns(scorer: Scorer, rows: list[dict[str, Any]]) -> Matrix:
    features = scorer.features.transform(texts_of(rows), kinds_of(rows))
    return drift_columns(features, *scorer.judge(features))


def _draws(pool: Pool) -> Iterator[tuple[str, Draw]]:
    code, prose = pool.of("ordinary", "teaching"), pool.of("web", "textbook", "docs", "forum")
    for name, members in (("code", code), ("prose", prose)):
        for n, m in ((200, 200), (1_000, 200), (1_000, 1_000)):
            if n + m <= len(members):
                yield f"none: {name}", partial(_apart, members, n, m)
        yield f"none: {name}, other repositories", partial(_apart_by_group, pool, members)
    for name, before, after in (
        ("ordinary code to teaching code", pool.of("ordinary"), pool.of("teaching")),
        ("textbooks to web pages", pool.of("textbook"), pool.of("web")),
        ("documentation to changelogs", pool.of("docs"), pool.of("changelog")),
        ("web pages to Danish pages", pool.of("web"), pool.of("danish")),
        ("Python to Java", pool.of("ordinary"), pool.of("java")),
    ):
        for share in (0.1, 0.25, 0.5, 1.0):
            yield f"{share:.0%}: {name}", partial(_mixed, before, after, share)


def _apart(members: Numbers, n: int, m: int, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
    drawn = rng.permutation(members)
    return drawn[:n], drawn[n : n + m]


def _apart_by_group(
    pool: Pool, members: Numbers, rng: np.random.Generator
) -> tuple[Numbers, Numbers]:
    groups = rng.permutation(np.unique(pool.groups[members].astype(str)))
    here = np.isin(pool.groups[members].astype(str), groups[::2])
    return members[here], members[~here]


def _mixed(
    before: Numbers, after: Numbers, share: float, rng: np.random.Generator
) -> tuple[Numbers, Numbers]:
    """Half of the one sort; and 200 documents, a share of which are of the other."""
    drawn, half = rng.permutation(before), len(before) // 2
    few = round(200 * share)
    later = np.concatenate([rng.choice(after, few), drawn[half : half + 200 - few]])
    return drawn[:half], later


def _rates(pool: Pool, name: str, draw: Draw, rounds: int) -> Row:
    """The share of the draws of which drift is told."""
    told: Counter[str] = Counter()
    n = m = 0
    for seed in range(rounds):
        before, after = draw(np.random.default_rng([6, seed]))
        n, m = len(before), len(after)
        bins = Bins.of(pool.names, pool.columns[before])
        p, q = bins.count(pool.columns[before]), bins.count(pool.columns[after])
        found = judge_drift(Reference(bins, {"a/web": p}), {"a/web": q}, Limits())
        told.update({next(s.verdict for s in found if s.name == "a/web"): 1})
        told["any PSI over 0.25"] += bool((psi(p, q) > 0.25).any())
        told["any KS at 5 %"] += bool((ks_distance(p, q) > ks_critical(n, m, 0.05)).any())
    others = ("notable", "any PSI over 0.25", "any KS at 5 %")
    peers = {other: told[other] / rounds for other in others}
    unit = f"of {rounds} draws drifted, {n} and {m} documents"
    return Row(name, told["drifted"] / rounds, unit, peers=peers)


def _made_of_seen(
    pool: Pool, scorer: Scorer, trained: Trained, labelled: list[dict[str, Any]]
) -> list[Row]:
    """The PSI of columns between the filter's own documents and others, and between others."""
    seen = _columns(scorer, labelled)
    held_out = trained.held_out  # a training document's score is the one from out of its fold
    seen[:, -2:] = np.column_stack([held_out.score, held_out.expected_score])
    unseen = np.random.default_rng(7).permutation(pool.of(*{d["sort"] for d in labelled}))
    apart, later = np.array_split(pool.columns[unseen], 2)
    found = {}
    for name, before in (("its own documents", seen), ("documents set apart", apart)):
        bins = Bins.of(pool.names, before)
        found[name] = dict(
            zip(pool.names, psi(bins.count(before), bins.count(later)).tolist(), strict=True)
        )
    ours, others = found.values()
    return [
        Row(f"PSI of {name} by chance, reference of its own documents", ours[name],
            f"on {len(later)} unseen documents", peers={"of documents set apart": others[name]})
        for name in ("word_axis_00", "word_axis_31", "lexical", *SCORES)
    ]  # fmt: skip


def _cost(scorer: Scorer, rows: list[dict[str, Any]], rounds: int) -> Row:
    """Microseconds of counting a document, beside those of scoring it."""
    texts, kinds = texts_of(rows), kinds_of(rows)
    features = scorer.features.transform(texts, kinds)
    score, expected = scorer.judge(features)
    strata = [f"bench/{row['kind']}" for row in rows]
    reference = count_reference(
        scorer.features.names, drift_columns(features, score, expected), strata
    )
    ids = pa.array([row["doc_id"] for row in rows])
    sources = pa.record_batch({"source": pa.array(["bench"] * len(rows))})
    batch = Batch(sources, texts, kinds, ids)
    count = DriftCount(reference, "bench", 1, 200)
    took = medians(
        {
            "count": lambda: count.add(batch, features, score, expected),
            "score": lambda: scorer.judge(scorer.features.transform(texts, kinds)),
        },
        rounds,
    )
    us = {name: seconds / len(rows) * 1e6 for name, (seconds, _) in took.items()}
    return Row("counting a document", us["count"], "us", peers={"scoring it": us["score"]})


if __name__ == "__main__":
    main()
