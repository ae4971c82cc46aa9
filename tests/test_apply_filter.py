"""Stage 5: row for row, whatever the shards, and whatever the documents."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filter_material import corpus, put

from conftest import Bench, document
from pipeline import apply_filter, train_filter
from pipeline.apply_filter import ApplyFilterConfig
from pipeline.errors import StageError
from pipeline.filter_config import ExpectedScore, TrainFilterConfig
from pipeline.records import DOCUMENT

SMALL = TrainFilterConfig(trees=30, corpus_sample=200, folds=3)
POISON = ["\x00" * 3_000, "x=1;" * 3_000_000, "\n", "é" * 100_000, "(" * 50_000]


def bench_with(path, rows, files=3, config=SMALL):
    bench = Bench(path)
    put(bench, rows, files=files)
    trained = bench.make(train_filter.STAGE, config)
    bench.stages.append(train_filter.STAGE)
    return bench, trained


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    rows = [row for row, _ in corpus()]
    rows += [document(text, f"poison/{i}.py") for i, text in enumerate(POISON)]
    return bench_with(tmp_path_factory.mktemp("apply"), rows)


@pytest.fixture(scope="module")
def applied(prepared):
    return prepared[0].make(apply_filter.STAGE, SMALL, ApplyFilterConfig(tasks=2, workers=1))


def test_every_document_has_a_score_and_the_kept_ones_are_those_marked(applied, prepared):
    clean = prepared[0].run / "02-clean" / "documents"
    kept = 0
    for scores, chosen in zip(
        applied.files("scores/*.parquet"), applied.files("kept/*.parquet"), strict=True
    ):
        whole, marks = pq.read_table(clean / scores.name), pq.read_table(scores)
        assert marks["doc_id"].equals(whole["doc_id"])
        assert pq.read_table(chosen).equals(whole.filter(marks["keep"]))
        kept += pc_sum(marks["keep"])
    assert applied.ledger.kept == kept
    assert applied.ledger.rows_in == len(corpus()) + len(POISON)
    assert applied.facts["kept_share"] == kept / applied.ledger.rows_in
    assert sum(applied.facts["score_histogram"]) == applied.ledger.rows_in


def test_kept_rows_lie_in_groups_of_one_size(applied):
    """However few of a batch are kept; the scores of all lie in one group."""
    for path in [*applied.files("kept/*.parquet"), *applied.files("scores/*.parquet")]:
        assert pq.ParquetFile(path).num_row_groups <= 1
    kept = pq.ParquetFile(applied.files("kept/*.parquet")[0])
    assert kept.schema_arrow.equals(DOCUMENT)
    text = kept.metadata.row_group(0).column(DOCUMENT.get_field_index("text"))
    assert not text.is_stats_set
    assert "RLE_DICTIONARY" not in text.encodings


def pc_sum(column):
    return int(np.sum(column.to_numpy(zero_copy_only=False)))


def test_a_poisonous_document_costs_only_itself(applied):
    scores = pa.concat_tables(pq.read_table(path) for path in applied.files("scores/*.parquet"))
    for name in ("score", "expected_score"):
        values = scores[name].to_numpy()
        assert np.isfinite(values).all()
        assert values.min() >= 0
        assert values.max() <= (1 if name == "score" else 5)


@pytest.mark.parametrize(("tasks", "workers"), [(1, 1), (7, 1), (3, 2)])
def test_tasks_and_workers_change_no_byte(prepared, applied, tasks, workers):
    made = prepared[0].make(
        apply_filter.STAGE, SMALL, ApplyFilterConfig(tasks=tasks, workers=workers)
    )
    assert made.manifest.files == applied.manifest.files
    assert made.manifest.ledger == applied.manifest.ledger


def test_nothing_above_the_threshold_names_the_best_score(tmp_path):
    config = SMALL.model_copy(update={"purpose": ExpectedScore(value=5.0)})
    bench, trained = bench_with(tmp_path, [row for row, _ in corpus()], config=config)
    assert json.loads(trained.file("threshold.json").read_text())["decision"]["at"] == 5.0
    # the best expected score, which is more than any probability
    with pytest.raises(StageError, match=r"no document of 700 .* the best is [1-4]\.\d+"):
        bench.make(apply_filter.STAGE, config, ApplyFilterConfig(tasks=1, workers=1))
