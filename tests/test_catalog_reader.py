"""What the catalog says of files that are broken, of runs that stopped, and what it never opens."""

import threading
from types import MappingProxyType

import pytest
from catalog_corpus import copy_planted, damage, seal_planted
from catalog_server import client
from starlette.exceptions import HTTPException

from catalog.parquet_reader import open_reader
from pipeline.errors import StageError

ROOT = "/runs/planted/samples"


@pytest.mark.parametrize(("stage", "what"), [("02-clean", "damaged"), ("01-ingest", "gone")])
def test_a_broken_file_is_one_clear_page(tmp_path, stage, what):
    run = copy_planted(tmp_path)
    path = run / stage / "documents/00000.parquet"
    path.unlink() if what == "gone" else damage(path)
    for address in (ROOT, f"{ROOT}?text=calm", f"{ROOT}/kept00"):
        answer = client(tmp_path).get(address)
        if stage == "01-ingest" and address.endswith("kept00"):
            assert answer.status_code == 200  # it passed cleaning, and its text is from there
            continue
        assert answer.status_code == 409, address
        assert "primer verify" in answer.text
        assert str(tmp_path) not in answer.text


@pytest.mark.parametrize(
    ("until", "shows", "missing"),
    [
        ("ingest", [], ["samples", "review", "filter", "contamination"]),
        ("label", ["samples", "review"], ["filter", "contamination"]),
        pytest.param("clean", ["samples", "waterfall"], ["review"], marks=pytest.mark.long),
        pytest.param("apply-filter", ["samples", "review"], ["filter"], marks=pytest.mark.long),
    ],
)
def test_a_run_that_stopped_says_which_stage_is_missing(tmp_path, until, shows, missing):
    run = seal_planted(tmp_path / "planted", until)
    for unfinished in ("07-decontaminate.0123.partial", "odd.partial"):
        (run / unfinished).mkdir()
    browser = client(tmp_path)
    for page in shows:
        assert browser.get(f"/runs/planted/{page}").status_code == 200, page
    for page in missing:
        answer = browser.get(f"/runs/planted/{page}")
        assert answer.status_code == 404
        assert "The stage " in answer.text
    assert "is not finished" in browser.get("/runs/planted/contamination").text
    if shows:
        decision = "kept" if until == "apply-filter" else "not_scored"
        assert "<article" in browser.get(f"{ROOT}?decision={decision}").text


def test_the_reader_opens_nothing_but_its_files(tmp_path):
    import duckdb

    outside = tmp_path / "outside.csv"
    outside.write_text("a\n1\n")
    with pytest.raises(StageError), open_reader("clean", [str(tmp_path / "other")]) as reader:
        reader.rows("SELECT * FROM read_csv($path)", {"path": str(outside)})
    with open_reader("clean", [str(outside)]) as reader:
        assert reader.rows("SELECT * FROM read_csv($path)", {"path": str(outside)}) == [{"a": 1}]
    for statement in (
        f"COPY (SELECT 1) TO '{tmp_path}/x.csv'", "SET threads = 4", "LOAD httpfs",
        f"ATTACH '{tmp_path}/x.db'", "SELECT * FROM glob('/etc/*')",
    ):  # fmt: skip
        with pytest.raises(StageError) as refused, open_reader("clean", []) as reader:
            reader.rows(statement, MappingProxyType({}))
        assert isinstance(refused.value.__cause__, duckdb.Error)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside.csv"]


def test_a_question_that_takes_too_long_is_given_up():
    with pytest.raises(HTTPException) as given_up, open_reader("clean", [], limit_s=0.1) as reader:
        reader.number("SELECT count(*) AS n FROM range(100000000) a, range(100000) b", {})
    assert given_up.value.status_code == 503


def test_a_question_within_a_question_waits_for_nobody(monkeypatch):
    monkeypatch.setattr("catalog.parquet_reader._free", threading.BoundedSemaphore(1))
    with open_reader("clean", [], limit_s=5) as reader:
        with open_reader("clean", [], limit_s=0.01) as other:
            assert other.number("SELECT 1 AS n", {}) == 1
        assert reader.number("SELECT 2 AS n", {}) == 2
        told = []

        def ask():
            try:
                with open_reader("clean", [], limit_s=0.01):
                    told.append("let in")
            except HTTPException as error:
                told.append(error.status_code)

        thread = threading.Thread(target=ask)  # somebody else does wait
        thread.start()
        thread.join()
    assert told == [503]
    with open_reader("clean", [], limit_s=5) as reader:
        assert reader.number("SELECT 3 AS n", {}) == 3
