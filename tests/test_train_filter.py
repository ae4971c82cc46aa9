"""Stage 4 on real code with weak labels: what it seals, what it refuses, and that it repeats."""

import json

import numpy as np
import pytest
from filter_material import SCORE_OF, corpus, label, labels, put

from classifiers.report import Judged, write_report
from classifiers.scorer import Scorer
from pipeline.errors import StageError
from pipeline.train_filter import (
    STAGE,
    ExpectedScore,
    KeepShare,
    PrecisionFloor,
    TrainFilterConfig,
)

SMALL = TrainFilterConfig(trees=40, corpus_sample=200, folds=3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from conftest import Bench

    bench = Bench(tmp_path_factory.mktemp("trained"))
    put(bench)
    return bench.make(STAGE, SMALL)


def test_it_is_better_than_chance_and_says_so_for_the_positive_class(trained):
    metrics = json.loads(trained.file("report/metrics.json").read_text())
    assert list(metrics)[:2] == ["precision", "recall"]
    assert metrics["pr_auc"] > metrics["base_rate"] + 0.2
    confusion = metrics["confusion"]
    kept = confusion["positive_kept"] + confusion["negative_kept"]
    assert metrics["precision"] == pytest.approx(confusion["positive_kept"] / kept)
    assert sum(confusion.values()) == metrics["labels_test"] == trained.facts["labels_test"]
    for name in ("precision", "recall"):
        low, high = metrics["intervals"][name]
        assert 0 <= low <= high <= 1


def test_every_baseline_stands_beside_it(trained):
    baselines = trained.facts["baselines"]
    assert set(baselines) == {
        "fastText supervised", "logistic regression on the embedding", "linear on all words",
        "length alone", "base rate",
    }  # fmt: skip
    assert baselines["fastText supervised"]["pr_auc"] > trained.facts["base_rate"]
    assert trained.facts["pr_auc"] > baselines["length alone"]["pr_auc"]


def test_what_the_report_shows_of_documents_is_escaped(trained, tmp_path):
    metrics = json.loads(trained.file("report/metrics.json").read_text())
    row = {
        "doc_id": "d", "kind": "web", "source": "s", "group": "g", "url_or_path": "<b>",
        "text": "<script>alert(1)</script>", "justification": "<i>",
    }  # fmt: skip
    one = np.ones(1, np.float32)
    wrong = Judged([row, row], np.array([0, 4]), np.array([False, True]), *[np.append(one, 0)] * 2,
                   np.array([True, False]))  # fmt: skip
    write_report(tmp_path, metrics, wrong, ["<u>"])
    page = (tmp_path / "report.html").read_text()
    assert "&lt;script&gt;alert(1)" in page
    assert not any(tag in page for tag in ("<script", "<b>", "<i>", "<u>"))


def test_the_report_says_that_a_stand_in_labelled(trained):
    page = trained.file("report/report.html").read_text()
    assert "rule-based stand-in" in page
    assert "rules of a stand-in" in page
    assert "<pre>" in page
    assert len(trained.files("report/*.png")) == 4


def test_the_same_recipe_gives_the_same_bytes_even_after_a_kill(trained, bench):
    put(bench)
    first = bench.make(STAGE, SMALL)
    left_by_a_kill = first.path.with_name(
        f"{first.path.name}.{first.manifest.fingerprint[:12]}.partial"
    )
    first.path.rename(left_by_a_kill)
    (left_by_a_kill / "manifest.json").unlink()
    (left_by_a_kill / "features" / "words-0000.npy").write_bytes(b"half a table")
    (left_by_a_kill / "forest.onnx").write_bytes(b"half a forest")
    again = bench.make(STAGE, SMALL)
    assert again.manifest.files == trained.manifest.files


def test_the_ledger_counts_what_was_not_used(bench):
    rows = [row for row, _ in corpus()]
    given = labels()
    in_train = next(x for x in given if x["split"] == "train")
    original = next(row for row in rows if row["doc_id"] == in_train["doc_id"])
    twin = {**original, "doc_id": "f" * 24, "group": "elsewhere", "text": original["text"] + "\n"}
    given += [
        label(twin, in_train["score"], split="test"),
        label({"doc_id": "0" * 24, "group": "g"}, 3),
        {**in_train, "annotator": "another"},
        label(rows[-1], None, unlabelled_reason="unparsable"),
    ]
    put(bench, [*rows, twin], given)
    ledger = bench.make(STAGE, SMALL).ledger
    assert ledger.rows_in == len(given)
    assert ledger.dropped["near_copy_across_split"] >= 1
    assert {k: v for k, v in ledger.dropped.items() if k != "near_copy_across_split"} == {
        "document_not_found": 1, "labelled_before": 1, "unlabelled": 1,
    }  # fmt: skip


def test_too_few_positive_labels_are_refused_with_counts_and_a_cure(bench):
    given = [{**x, "score": min(x["score"], 2)} for x in labels(200)]
    put(bench, given=given)
    with pytest.raises(StageError, match=r"train split has 0 positive.*; label more documents"):
        bench.make(STAGE, SMALL)


def test_a_precision_that_cannot_be_had_is_refused(bench):
    noise = [{**x, "score": 4 * (i % 2)} for i, x in enumerate(labels())]
    put(bench, given=noise)
    config = SMALL.model_copy(update={"purpose": PrecisionFloor(value=0.999)})
    with pytest.raises(StageError, match=r"precision of 0.999; the best is 0\.\d+"):
        bench.make(STAGE, config)


@pytest.mark.parametrize(
    ("purpose", "by"),
    [(KeepShare(value=0.1), "score"), (ExpectedScore(value=2.5), "expected_score")],
)
def test_the_purpose_decides_the_cut(bench, purpose, by):
    put(bench)
    config = SMALL.model_copy(update={"purpose": purpose})
    made = bench.make(STAGE, config)
    assert Scorer.open(made.path).decision.by == by
    cut = json.loads(made.file("threshold.json").read_text())
    if by == "score":
        kept = [p["kept_share"] for p in cut["curve"] if p["threshold"] >= cut["decision"]["at"]]
        assert max(kept) <= 0.1 + 1e-9
    else:
        assert cut["decision"]["at"] == 2.5


def test_workers_do_not_change_what_is_made():
    assert SMALL.what() == SMALL.model_copy(update={"workers": 7}).what()
    assert set(SCORE_OF.values()) == {0, 1, 4}
