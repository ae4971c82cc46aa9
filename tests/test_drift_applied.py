"""Drift in stage 5 and `primer filter`: planted shifts are found and named, and none is made up."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filter_material import FILES, corpus, put

from conftest import Bench, document
from pipeline import apply_filter, train_filter
from pipeline.apply_filter import ApplyFilterConfig
from pipeline.corpus_files import list_corpus
from pipeline.document_batch import Fields
from pipeline.drift_reference import MARK_CHARS, open_reference
from pipeline.drift_report import DriftConfig
from pipeline.filter_corpus import FilterCorpus, FilterOptions, judge_corpus_drift
from pipeline.records import DOCUMENT, read_rows, write_table
from pipeline.train_filter import TrainFilterConfig

SMALL = TrainFilterConfig(trees=20, corpus_sample=200, folds=2, workers=1)
FEW = ApplyFilterConfig(tasks=2, workers=1)


def shifted(rows):
    """The same files shouted, and from elsewhere: their letters change, their lines do not."""
    return [document(row["text"].upper(), f"new/{row['url_or_path']}") for row in rows]


def write_clean(run, rows, files=3):
    """Other documents below the trained filter, as a run has that starts at apply-filter."""
    for i in range(files):
        write_table(run / "02-clean" / "documents" / f"{i:05}.parquet", rows[i::files], DOCUMENT)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("drift"))
    put(bench)
    bench.make(train_filter.STAGE, SMALL)
    bench.stages.append(train_filter.STAGE)
    return bench


def others(count):
    """Files that the filter has not seen, of the same repositories and others."""
    known = {row["url_or_path"] for row, _ in corpus()}
    with gzip.open(FILES, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rows = [row for row in rows if row["path"] not in known]
    chosen = np.random.default_rng(3).permutation(len(rows))[:count]
    return [document(rows[i]["text"], rows[i]["path"], group=rows[i]["repo"]) for i in chosen]


def strata_of(sealed):
    record = json.loads(sealed.file("drift.json").read_text())
    return {row["stratum"]: row for row in record["strata"]}


def test_other_documents_of_the_same_sort_have_not_drifted(trained, caplog):
    write_clean(trained.run, others(700))
    sealed = trained.make(apply_filter.STAGE, SMALL, FEW)
    assert {s["verdict"] for s in strata_of(sealed).values()} <= {"stable", "notable"}
    assert pq.read_table(sealed.file("next_sample.parquet")).num_rows == 0
    assert sealed.facts["drift"]["documents"] == 700
    assert "training sample" not in caplog.text


SHOUTED, ELSEWHERE = 250, 150
CONFIG = FEW.model_copy(update={"drift": DriftConfig(sample=40)})


@pytest.fixture(scope="module")
def drifted(trained):
    rows = others(700)
    kept, few = rows[: -SHOUTED - ELSEWHERE], rows[-ELSEWHERE:]
    new = [{**row, "source": "elsewhere"} for row in few]
    write_clean(trained.run, [*kept, *shifted(rows[len(kept) : -ELSEWHERE]), *new])
    return trained.make(apply_filter.STAGE, SMALL, CONFIG)


def test_planted_drift_names_the_stratum_and_the_columns(drifted):
    strata = strata_of(drifted)
    assert strata["test/code"]["verdict"] == "drifted"
    verdicts = {c["name"]: c["verdict"] for c in strata["test/code"]["columns"]}
    assert {verdicts[name] for name in ("upper_share", "lower_share")} == {"drifted"}
    unmoved = ("log_bytes", "log_lines", "space_share", "digit_share", "indented_line_share")
    assert {verdicts[name] for name in unmoved} == {"stable"}
    worst = [c["name"] for c in strata["test/code"]["columns"][:8]]
    assert {"upper_share", "lower_share"} & set(worst)
    assert strata["elsewhere/code"]["verdict"] == "new"
    assert strata["elsewhere/code"]["documents"] == ELSEWHERE
    assert drifted.file("drift.png").read_bytes().startswith(b"\x89PNG")


def test_the_next_sample_is_of_what_drifted_and_of_what_is_new(drifted):
    rows = list(read_rows([drifted.file("next_sample.parquet")]))
    assert [row["stratum"] for row in rows] == ["elsewhere/code"] * 20 + ["test/code"] * 20
    documents = {r["doc_id"]: r for r in read_rows(
        sorted((drifted.path.parent / "02-clean" / "documents").glob("*.parquet")))}  # fmt: skip
    scores = {r["doc_id"]: r["score"] for r in read_rows(drifted.files("scores/*.parquet"))}
    for row in rows:
        source = documents[row["doc_id"]]
        assert {name: row[name] for name in ("source", "kind", "url_or_path")} == {
            name: source[name] for name in ("source", "kind", "url_or_path")
        }
        assert row["score"] == scores[row["doc_id"]]
    shouted = sum(row["url_or_path"].startswith("new/") for row in rows)
    assert 5 <= shouted <= 18  # 250 of 550 of their stratum


@pytest.mark.parametrize(("tasks", "workers"), [(1, 1), (5, 1)])
def test_tasks_and_workers_change_no_byte_and_the_log_warns(
    trained, drifted, tasks, workers, caplog
):
    config = CONFIG.model_copy(update={"tasks": tasks, "workers": workers})
    made = trained.make(apply_filter.STAGE, SMALL, config)
    assert made.manifest.files == drifted.manifest.files
    assert made.facts["drift"] == drifted.facts["drift"]
    (said,) = [r.getMessage() for r in caplog.records if "training sample" in r.getMessage()]
    assert "2 strata" in said
    assert f"{made.path}/next_sample.parquet" in said
    assert "label.also" in said


def test_off_and_before_there_was_a_reference_nothing_is_said(trained, drifted, caplog):
    made = [trained.make(apply_filter.STAGE, SMALL, FEW.model_copy(update={"drift": None}))]
    reference = trained.run / "04-train-filter" / "reference.json"
    kept = reference.read_bytes()
    reference.unlink()
    try:
        made.append(trained.make(apply_filter.STAGE, SMALL, FEW.model_copy(update={"tasks": 5})))
    finally:
        reference.write_bytes(kept)
    for sealed in made:
        assert sealed.facts["drift"] is None
        assert json.loads(sealed.file("drift.json").read_text())["strata"] is None
        assert pq.read_table(sealed.file("next_sample.parquet")).num_rows == 0
    assert "training sample" not in caplog.text


def test_what_the_filter_was_made_from_is_no_part_of_the_reference_nor_counted(trained):
    write_clean(trained.run, [row for row, _ in corpus()])
    config = FEW.model_copy(update={"tasks": 4})
    sealed, path = trained.make(apply_filter.STAGE, SMALL, config), trained.run / "04-train-filter"
    reference = open_reference(path)
    assert (path / "reference.json").stat().st_size < 60_000
    labels = list(read_rows([trained.run / "03-label" / "labels.parquet"]))
    learnt = {row["doc_id"][:MARK_CHARS] for row in labels if row["split"] == "train"}
    assert 0 < len(reference.seen - learnt) <= SMALL.corpus_sample
    # all that is left of so small a corpus is the reference, and so is what is counted
    assert reference.documents == sealed.facts["drift"]["documents"] == 700 - len(reference.seen)
    assert {c["psi"] for s in strata_of(sealed).values() for c in s["columns"]} == {0}


def test_a_corpus_outside_of_a_run_is_compared_by_kind(trained, tmp_path, caplog):
    rows = [{"text": row["text"].upper(), "kind": "code"} for row in others(1_200)]
    (tmp_path / "in").mkdir()
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows[600:])
    (tmp_path / "in" / "b.jsonl").write_bytes(lines)
    pq.write_table(pa.Table.from_pylist(rows[:600]), tmp_path / "in" / "a.parquet")
    model, out = trained.run / "04-train-filter", str(tmp_path / "out")
    files = tuple(list_corpus("filter", [str(tmp_path / "in")]))
    options = FilterOptions(Fields(kind_field="kind"))
    assert judge_corpus_drift(model, out, [f.name for f in files])["documents"] == 0
    FilterCorpus(model, "hash", files, out, options)(0, 1)
    told = judge_corpus_drift(model, out, [f.name for f in files])
    assert {s["stratum"]: s["verdict"] for s in told["strata"]} == {
        "all": "drifted", "code": "drifted"}  # fmt: skip
    assert 100 <= told["documents"] <= 200  # about one in eight
    sample = pq.read_table(f"{out}/next_sample.parquet").to_pylist()
    assert len(sample) == told["offered"] == told["documents"]
    assert {row["doc_id"].split(":")[0] for row in sample} == {"a.parquet", "b.jsonl"}
    assert "1 stratum" in caplog.text
