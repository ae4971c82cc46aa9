"""Stage 4 on real code with weak labels: what it seals, what it refuses, and that it repeats."""

import json
import re

import numpy as np
import pytest
from filter_material import SCORE_OF, corpus, label, labels, put

from classifiers.report import Judged, write_report
from classifiers.scorer import Scorer
from pipeline.errors import InputError, StageError
from pipeline.filter_config import (
    ExpectedScore,
    KeepShare,
    PrecisionFloor,
    TokenBudget,
    TrainFilterConfig,
    Tuning,
)
from pipeline.train_filter import STAGE

SMALL = TrainFilterConfig(trees=40, corpus_sample=200, folds=3)
QUICK = SMALL.model_copy(update={"learning_curve_draws": None})


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
    for name in ("precision", "recall", "f1", "pr_auc", "brier"):
        low, high = metrics["intervals"][name]
        assert 0 <= low < metrics[name] < high <= 1


def test_every_baseline_stands_beside_it(trained):
    baselines = trained.facts["baselines"]
    assert set(baselines) == {
        "fastText supervised", "linear regression on the embedding",
        "logistic regression on the embedding", "linear on all words", "length alone", "base rate",
    }  # fmt: skip
    assert baselines["fastText supervised"]["pr_auc"] > trained.facts["base_rate"]
    assert trained.facts["pr_auc"] > baselines["length alone"]["pr_auc"]
    low, high = baselines["length alone"]["forest_leads_by"]
    assert 0 < low < trained.facts["pr_auc"] - baselines["length alone"]["pr_auc"] < high


def test_what_the_report_shows_of_documents_is_escaped(trained, tmp_path):
    metrics = json.loads(trained.file("report/metrics.json").read_text())
    row = {
        "doc_id": "d", "kind": "web", "source": "s", "group": "g", "url_or_path": "<b>",
        "text": "<script>alert(1)</script>", "justification": "<i>",
    }  # fmt: skip
    one = np.ones(1, np.float32)
    wrong = Judged([row, row], np.array([0, 4]), np.array([False, True]), *[np.append(one, 0)] * 2,
                   np.array([True, False]))  # fmt: skip
    pair = [{**row, "text": "</pre><script>"}] * 2
    metrics["leakage"]["closest_pair"] = pair
    write_report(tmp_path, metrics, wrong, ["<u>"])
    page = (tmp_path / "report.html").read_text()
    assert "&lt;script&gt;alert(1)" in page
    assert not any(tag in page for tag in ("<script", "<b>", "<i>", "<u>"))


def test_the_report_says_that_a_stand_in_labelled(trained):
    page = trained.file("report/report.html").read_text()
    assert "rule-based stand-in" in page
    assert "rules of a stand-in" in page
    assert "<pre>" in page


def test_every_plot_is_shown_once_and_told_in_words(trained):
    page = trained.file("report/report.html").read_text()
    shown = re.findall(r'<img src="(\w+)\.png" alt="([^"]*)">', page)
    assert sorted(name for name, _ in shown) == [p.stem for p in trained.files("report/*.png")]
    assert len(shown) == 7
    assert all(re.search(r"\d", told) and len(told) > 40 for _, told in shown)


def test_the_report_answers_what_is_asked_of_a_filter(trained):
    metrics = json.loads(trained.file("report/metrics.json").read_text())
    page = trained.file("report/report.html").read_text()
    assert metrics["learning_curve"]["verdict"] in page
    leakage = metrics["leakage"]
    assert leakage["groups_on_both_sides"] == 0
    assert leakage["greatest_similarity_left"] <= leakage["max_similarity"]
    assert leakage["closest_pair"][0]["url_or_path"] in page
    assert set(metrics["calibrated_by"]["brier"]) == {"isotonic", "platt", "none"}


def test_the_curve_travels_with_the_model(trained):
    cut = json.loads(trained.file("threshold.json").read_text())
    assert cut["curve"] == json.loads(trained.file("report/metrics.json").read_text())["curve"]
    (chosen,) = (point for point in cut["curve"] if point["chosen"])
    assert chosen["threshold"] == cut["decision"]["at"]
    low, high = chosen["intervals"]["kept_tokens"]
    assert low < chosen["kept_tokens"] < high
    assert cut["corpus"]["total_documents"] == len(corpus())
    assert cut["corpus"]["total_bytes"] == sum(len(row["text"].encode()) for row, _ in corpus())


@pytest.mark.long
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
    ledger = bench.make(STAGE, QUICK).ledger
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


def test_a_budget_larger_than_the_corpus_is_the_user_s_mistake(bench):
    put(bench)
    config = SMALL.model_copy(update={"purpose": TokenBudget(value=10**9, bytes_per_token=2.5)})
    with pytest.raises(InputError, match=r"asks for 1,000,000,000 tokens, and the corpus has") as e:
        bench.make(STAGE, config)
    tokens = sum(len(row["text"].encode()) for row, _ in corpus()) / 2.5
    assert f"at most {int(tokens)}," in str(e.value)


def test_a_budget_that_the_sample_cannot_tell_is_refused(bench):
    put(bench)
    config = SMALL.model_copy(update={"purpose": TokenBudget(value=1)})
    with pytest.raises(
        StageError, match=r"budget of 1 tokens is finer .* raise train_filter.corpus"
    ):
        bench.make(STAGE, config)


def test_tuning_and_the_choice_of_calibration_are_told(bench):
    put(bench)
    tuned = {"tuning": Tuning(settings=3, trees=10), "calibration": "auto",
             "learning_curve_draws": None}  # fmt: skip
    made = bench.make(STAGE, SMALL.model_copy(update=tuned))
    metrics = json.loads(made.file("report/metrics.json").read_text())
    assert metrics["tuning"]["forests"] == 3 * metrics["tuning"]["folds"] == 9
    assert metrics["learning_curve"] is None
    page = made.file("report/report.html").read_text()
    assert "9 forests of 10 trees" in page
    assert "asked for no learning curve" in page
    brier = metrics["calibrated_by"]["brier"]
    assert brier[metrics["calibrated_by"]["way"]] == min(brier["isotonic"], brier["platt"])
    assert Scorer.open(made.path).decision.by == "score"


@pytest.mark.parametrize(
    ("purpose", "by"),
    [
        (KeepShare(value=0.1), "score"),
        (ExpectedScore(value=2.5), "expected_score"),
        (TokenBudget(value=100_000), "score"),
    ],
)
def test_the_purpose_decides_the_cut(bench, purpose, by):
    put(bench)
    config = QUICK.model_copy(update={"purpose": purpose})
    made = bench.make(STAGE, config)
    assert Scorer.open(made.path).decision.by == by
    cut = json.loads(made.file("threshold.json").read_text())
    (chosen,) = (point for point in cut["curve"] if point["chosen"])
    match purpose.kind:
        case "keep_share":
            assert 0.08 < chosen["kept_share"] <= 0.1
        case "token_budget":
            assert 80_000 < chosen["kept_tokens"] <= 100_000
        case _:
            assert cut["decision"]["at"] == 2.5


def test_workers_do_not_change_what_is_made():
    assert SMALL.what() == SMALL.model_copy(update={"workers": 7}).what()
    assert set(SCORE_OF.values()) == {0, 1, 4}
