"""What the labels rest on: who said what, how far they agree, and what a person should look at."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.agreement import measure_agreement
from pipeline.human_labels import HumanLabel
from pipeline.label_plots import plot_agreement, plot_labels, plot_unlabelled
from pipeline.opinions import AGAIN, HUMAN
from pipeline.records import read_batches, read_rows
from pipeline.review import ReviewItem, most_disputed, write_review_queue
from pipeline.sampling import Candidate

OPINIONS = "opinions.parquet"
_EXCERPT_CHARS = 2_000


@dataclass
class Tally:
    """Scores and reasons by annotator, gathered while their opinions pass by, and the verdicts."""

    first: str  # the annotator's name
    drawn: Mapping[str, Candidate]
    humans: Mapping[str, HumanLabel]
    opinions: dict[str, dict[str, int | None]] = field(default_factory=dict)  # None: unlabelled
    reasons: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    final: dict[str, int] = field(default_factory=dict)  # the labels
    unlabelled: Counter[str] = field(default_factory=Counter)  # documents without one, by reason

    def watch(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The opinions, as they come."""
        for row in rows:
            name, score = row["annotator"], row["score"]
            self.opinions.setdefault(name, {})[row["doc_id"]] = score
            if score is None:
                self.reasons[name][row["unlabelled_reason"]] += 1
            yield row

    def decide(self, opinion: Mapping[str, Any], combine: str) -> tuple[int | None, str]:
        """The label and whose it is: a person's, else the first annotator's or the median."""
        doc_id = opinion["doc_id"]
        score, whose = self._verdict(doc_id, combine)
        if score is None:
            self.unlabelled[opinion["unlabelled_reason"]] += 1
        else:
            self.final[doc_id] = score
        return score, whose

    def scores(self) -> dict[str, dict[str, int]]:
        """Scores by annotator, people among them."""
        given = {
            name: {doc_id: score for doc_id, score in said.items() if score is not None}
            for name, said in self.opinions.items()
        }
        human = {i: label.score for i, label in self.humans.items() if i in self.drawn}
        return {**given, HUMAN: human} if human else given

    def _verdict(self, doc_id: str, combine: str) -> tuple[int | None, str]:
        if doc_id in self.humans:
            human = self.humans[doc_id]
            return human.score, f"{HUMAN}: {human.annotator or 'unnamed'}"
        if combine == "first":
            return self.opinions[self.first][doc_id], self.first
        said = (one.get(doc_id) for one in self.opinions.values())
        given = [score for score in said if score is not None]
        return statistics.median_low(given) if given else None, f"median of {len(given)} readings"


def write_label_report(out: Path, tally: Tally, seed: int) -> dict[str, Any]:
    """Write agreement.json and the plots; returns the facts that the card states."""
    by_kind = _count(tally, lambda c: c.kind)
    by_source = _count(tally, lambda c: f"{c.source} ({c.kind})")
    scores = tally.scores()
    agreement = measure_agreement(scores, seed)
    # a second reading is no other annotator: alpha would praise the first for agreeing with itself
    others = {name: said for name, said in scores.items() if not name.endswith(AGAIN)}
    agreement["alpha"] = measure_agreement(others, seed)["alpha"]
    (out / "agreement.json").write_text(json.dumps(agreement, indent=1, sort_keys=True) + "\n")
    reasons = {name: dict(sorted(found.items())) for name, found in sorted(tally.reasons.items())}
    plot_labels(out / "labels.png", by_source, f"labels by {tally.first}")
    plot_agreement(out / "agreement.png", agreement)
    plot_unlabelled(out / "unlabelled.png", reasons)
    used = sum(doc_id in tally.drawn for doc_id in tally.humans)
    return {
        "histogram": by_kind,
        "histogram_by_source": by_source,
        "agreement": {
            "alpha": agreement["alpha"],
            "pairs": [
                {name: figure for name, figure in pair.items() if name != "confusion"}
                for pair in agreement["pairs"]
            ],
        },
        "unlabelled_by_annotator": reasons,
        "human_labels": used,
        "human_labels_unused": len(tally.humans) - used,
    }


def queue_for_review(out: Path, tally: Tally, documents: Sequence[Path], size: int) -> int:
    """Write review.csv and review.jsonl; returns how many documents they hold.

    What a person has labelled is reviewed already.
    """
    items = [_item(c, tally) for c in tally.drawn.values() if c.doc_id not in tally.humans]
    shown = {item.doc_id: item for item in most_disputed(items, size)}
    wanted = pa.array(sorted(shown), pa.string())
    for batch in read_batches(documents, ["doc_id", "url_or_path", "text"]):
        for row in batch.filter(pc.is_in(batch["doc_id"], value_set=wanted)).to_pylist():
            shown[row["doc_id"]] = replace(
                shown[row["doc_id"]],
                url_or_path=row["url_or_path"],
                excerpt=row["text"][:_EXCERPT_CHARS],
            )
    for row in read_rows([out / OPINIONS], ["doc_id", "annotator", "justification"]):
        if row["annotator"] == tally.first and row["doc_id"] in shown:
            said = row["justification"]
            shown[row["doc_id"]] = replace(shown[row["doc_id"]], justification=said)
    return write_review_queue(out, list(shown.values()), size)


def _item(candidate: Candidate, tally: Tally) -> ReviewItem:
    doc_id = candidate.doc_id
    scores = {name: said[doc_id] for name, said in tally.opinions.items() if doc_id in said}
    return ReviewItem(doc_id, candidate.kind, candidate.source, "", scores, "", None)


def _count(tally: Tally, name_of: Callable[[Candidate], str]) -> dict[str, dict[str, int]]:
    """Labels by such a name, and score; every score has its count, zero too."""
    counts: dict[str, dict[str, int]] = {}
    for doc_id, score in tally.final.items():
        row = counts.setdefault(name_of(tally.drawn[doc_id]), {str(n): 0 for n in range(6)})
        row[str(score)] += 1
    return dict(sorted(counts.items()))
