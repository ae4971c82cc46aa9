"""A run sealed by hand for the catalog: hostile texts, every decision, and enough to turn pages.

Its tables are what the stages write, row by row; only their contents are made up.
"""

import json
import shutil
from dataclasses import dataclass, field

import pyarrow.parquet as pq
from catalog_server import XSS
from made_once import made_once

from benchmarks.sealed_runs import seal
from pipeline.clean_examples import EXAMPLE
from pipeline.copies_clusters import COPY
from pipeline.leak_records import LEAK
from pipeline.records import (
    DOCUMENT,
    DROPPED,
    LABEL,
    OPINION,
    REJECT,
    SCORE,
    SYNTHETIC_REJECT,
    write_table,
)
from pipeline.splits import ValidationConfig, in_validation

TROJAN = "if level != 'user\u202e \u2066// Check if admin\u2069 \u2066': \x00\x1b[31m"
INJECTION = "'; DROP TABLE documents; -- ' OR '1'='1"
SEED, SHARE = 7, 0.2
GROUPS = {
    in_validation(group, SEED, ValidationConfig(share=SHARE)): group
    for group in (f"site-{i}" for i in range(99))
}
HELD_OUT, OPEN = GROUPS[True], GROUPS[False]


def document(doc_id, text, source="web-crawl", kind="web", group=OPEN, **also):
    return {
        "doc_id": doc_id, "text": text, "kind": kind, "source": source, "group": group,
        "url_or_path": f"https://example.org/{doc_id}", "licence": None, "language": "en",
        "origin": "human", "metadata": "{}", **also,
    }  # fmt: skip


@dataclass
class Planted:
    """What lies in each stage, before it is sealed."""

    passed: list = field(default_factory=lambda: [
        *(document(f"kept{i:02}", f"Text {i}, a calm lesson.", kind="code" if i % 3 == 0 else "web",
                   language="python" if i % 3 == 0 else "en") for i in range(45)),
        document("low0", "Buy now", source=INJECTION, licence="MIT"),
        document("held", "Nobody trains on this.", group=HELD_OUT),
        document("leak", "As in the book: what is nine times nine, asked the teacher. Eighty-one."),
        document("hostile", XSS + TROJAN, url_or_path=XSS, licence=XSS, language=XSS),
        document("long", "word " * 9_000 + "needle"),
    ])  # fmt: skip
    dropped: list = field(default_factory=lambda: [
        (document("short", "Call +1 415 555 2671"), "too_few_words", "1"),
        (document("short2", "ho"), "too_few_words", "1"),
        (document("twin", "Text 1, a calm lesson!", source="books"), "near_copy", "0.9"),
        (document("secret", "token = ghp_abcdefghijklmnopqrstuvwxyz0123456789"), "secret", "x"),
    ])  # fmt: skip

    def scores(self):
        """A score for each that passed: all of `kept` have one of two, so that ties are met."""
        for row in self.passed:
            keep = row["doc_id"].startswith(("kept", "held", "leak", "hostile", "long"))
            score = (0.75 if row["doc_id"] < "kept30" else 0.5) if keep else 0.125
            yield {
                "doc_id": row["doc_id"], "score": score, "expected_score": 5 * score, "keep": keep,
            }  # fmt: skip


def label(doc_id, score, annotator="teacher", **also):
    return {
        "doc_id": doc_id, "annotator": annotator, "rubric": "educational-prose@1#0", "score": score,
        "justification": f"Because {XSS}", "raw_answer": None,
        "unlabelled_reason": None if score is not None else "no_json", **also,
    }  # fmt: skip


def seal_planted(run, until="decontaminate", planted=None):
    """Seal the stages up to `until`; returns the run's directory."""
    planted = planted or Planted()
    for write in (_ingest, _clean, _label, _apply_filter, _synthesize, _decontaminate):
        write(run, planted)
        if write.__name__[1:].replace("_", "-") == until:
            break
    return run


def planted_runs():
    """A directory with the run `planted`, whole; not to be changed."""
    return made_once("catalog-planted", lambda place: seal_planted(place / "planted"))


def copy_planted(place):
    """The whole run again, to be changed; returns its directory."""
    return shutil.copytree(planted_runs() / "planted", place / "planted")


def _ingest(run, planted):
    rows = [*planted.passed, *(row for row, *_ in planted.dropped)]
    write_table(run / "01-ingest/documents/00000.parquet", rows, DOCUMENT)
    rejects = [{"source": "web-crawl", "url_or_path": XSS, "offset": 3, "reason": "undecodable",
                "evidence": XSS}]  # fmt: skip
    write_table(run / "01-ingest/rejects.parquet", rejects, REJECT)
    seal(run / "01-ingest", {"unit": "records", "rows_in": len(rows) + 1, "kept": len(rows),
                             "failed": {"undecodable": 1}})  # fmt: skip


def _clean(run, planted):
    folder, half = run / "02-clean", len(planted.passed) // 2
    write_table(folder / "documents/00000.parquet", planted.passed[:half], DOCUMENT)
    write_table(folder / "documents/00001.parquet", planted.passed[half:], DOCUMENT)
    dropped = [
        {"doc_id": row["doc_id"], "reason": reason, "evidence": evidence, "kind": "web", "bytes": 2,
         "tokens": 1} for row, reason, evidence in planted.dropped
    ]  # fmt: skip
    write_table(folder / "dropped.parquet", dropped, DROPPED)
    copy = {"doc_id": "twin", "cluster": 1, "survivor": "kept01", "similarity": 0.9, "kind": "near"}
    write_table(folder / "copies.parquet", [copy], COPY)
    example = {"reason": "too_few_words", "place": 0.1, "doc_id": "short2", "kind": "web",
               "url_or_path": "u", "evidence": "1", "text": "a sealed example"}  # fmt: skip
    write_table(folder / "examples.parquet", [example], EXAMPLE)
    reasons = {"too_few_words": 2, "near_copy": 1, "secret": 1}
    all_in = len(planted.passed) + len(dropped)
    seal(folder, {"unit": "documents", "rows_in": all_in, "kept": len(planted.passed),
                  "dropped": reasons}, seed=SEED)  # fmt: skip


def _label(run, _):
    opinions = [
        label("kept00", 5), label("kept00", 1, "second"), label("kept01", 3), label("low0", 4),
        label("kept02", None), label("hostile", 2), label("hostile", 3, "second"),
    ]  # fmt: skip
    empty = {"finish_reason": "stop", "prompt_tokens": 1, "completion_tokens": 1}
    write_table(run / "03-label/opinions.parquet", [{**o, **empty} for o in opinions], OPINION)
    labels = [{**o, "split": "test" if o["doc_id"] == "low0" else "train"}
              for o in opinions if o["annotator"] == "teacher"]  # fmt: skip
    write_table(run / "03-label/labels.parquet", labels, LABEL)
    rubrics = {"web": "educational-prose", "code": "/gone.md"}
    config = {
        "ValidationConfig": {"share": SHARE, "max_bytes": 10_000},
        "LabelConfig": {"rubrics": rubrics},
    }
    seal(run / "03-label", {"unit": "documents", "rows_in": 5, "kept": 4,
                            "failed": {"no_json": 1}}, config)  # fmt: skip


def _apply_filter(run, planted):
    scores, half = list(planted.scores()), len(planted.passed) // 2
    write_table(run / "05-apply-filter/scores/00000.parquet", scores[:half], SCORE)
    write_table(run / "05-apply-filter/scores/00001.parquet", scores[half:], SCORE)
    kept = [row for row, s in zip(planted.passed, scores, strict=True) if s["keep"]]
    write_table(run / "05-apply-filter/kept/00000.parquet", kept, DOCUMENT)
    below = {"below_threshold": len(scores) - len(kept)}
    seal(run / "05-apply-filter", {"unit": "documents", "rows_in": len(scores), "kept": len(kept),
                                   "dropped": below})  # fmt: skip


def _synthesize(run, _):
    told = {"task": "lesson", "grounded_in": ["kept00"], "annotator": XSS, "title": XSS,
            "rubric_score": 4}  # fmt: skip
    written = document("written", "# A lesson", source="synthetic", origin="synthetic",
                       metadata=json.dumps(told))  # fmt: skip
    write_table(run / "06-synthesize/textbooks/00000.parquet", [written], DOCUMENT)
    write_table(run / "06-synthesize/books/00000.parquet", [], DOCUMENT)
    rejects = [{"prompt_id": f"p{i}", "reason": "near_copy", "evidence": "0.99", "draw": "{}",
                "text": XSS} for i in range(60)]  # fmt: skip
    write_table(run / "06-synthesize/rejects.parquet", rejects, SYNTHETIC_REJECT)
    seal(run / "06-synthesize", {"unit": "drafts", "rows_in": 61, "kept": 1,
                                 "dropped": {"near_copy": 60}})  # fmt: skip


def _decontaminate(run, planted):
    hits = [
        {"doc_id": "leak", "benchmark": "sums" if i else XSS, "item": str(i), "part": "question",
         "kind": "whole" if i % 2 else "words", "evidence": "what is nine times nine",
         "document_text": f"{XSS} what is nine times nine, asked", "score": 1.0,
         "item_text": "What is NINE times nine?"}
        for i in range(14)
    ]  # fmt: skip
    folder = run / "07-decontaminate"
    write_table(folder / "hits.parquet", hits, LEAK)
    raw = [row for row in planted.passed if row["doc_id"] != "leak"]
    for arm, rows in (("raw", raw), ("kept+synthetic", raw[:20])):
        write_table(folder / f"arms/{arm}/00000.parquet", rows, DOCUMENT)
    verdict = {"name": XSS, "items": 9, "items_searched": 9, "items_leaked": 1,
               "items_leaked_share": 1 / 9, "documents_removed": 1,
               "documents_by_kind": {"words": 1}}  # fmt: skip
    (folder / "benchmarks.json").write_text(json.dumps([verdict]))
    (folder / "planted.json").write_text("null")
    seal(folder, {"unit": "documents", "rows_in": 51, "kept": 50, "dropped": {"contaminated": 1}},
         facts={"documents_by_arm": {"raw": len(raw), "kept+synthetic": 20}})  # fmt: skip


def damage(path):
    """Break a Parquet file in place: its length stays, its footer does not."""
    content = bytearray(path.read_bytes())
    content[-300:-8] = b"\xff" * len(content[-300:-8])
    path.write_bytes(bytes(content))
    assert not _opens(path)


def _opens(path):
    try:
        pq.read_table(path)
    except Exception:
        return False
    return True
