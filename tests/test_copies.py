"""Copies of a whole corpus: found, the same however it is cut, bounded, and resumed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from copies_material import changed, copies_of, corpus, page, sketched

from pipeline import copies, copies_checks, copies_clusters, copies_pairs, copies_runs
from pipeline.copies import CopiesConfig, check_memory, find_copies, needed_mib
from pipeline.errors import InputError
from pipeline.near_copies import BANDS


def as_rows(texts, **scores):
    return [
        {"doc_id": name, "text": text if isinstance(text, str) else " ".join(text),
         "score": scores.get(name)}
        for name, text in texts.items()
    ]  # fmt: skip


def test_planted_copies_are_found_and_nothing_else(tmp_path):
    rows = corpus()
    found = copies_of(tmp_path, rows)
    planted = [row["doc_id"] for row in rows if row["doc_id"][0] != "p"]
    assert [row["doc_id"] for row in found] == planted
    for row in found:
        assert row["survivor"] == "p" + row["doc_id"][1:]
        if row["doc_id"][0] == "e":
            assert (row["kind"], row["similarity"]) == ("exact", 1.0)
        else:
            assert row["kind"] == "near"
            assert 0.8 < row["similarity"] < 0.95  # two words of 120: 10 shingles of 116


def test_a_cluster_has_one_number_and_says_how_alike_its_ends_are(tmp_path):
    first = page(1)
    second = changed(first, 2, 1)
    third = changed(second, 2, 2)
    other = page(2)
    rows = as_rows(
        {"a": other, "b": first, "c": second, "d": other, "e": third, "f": second, "g": page(3)}
    )
    found = {row["doc_id"]: row for row in copies_of(tmp_path, rows)}
    assert {name: row["survivor"] for name, row in found.items()} == {
        "c": "b", "d": "a", "e": "b", "f": "b"
    }  # fmt: skip
    assert {name: row["cluster"] for name, row in found.items()} == {"c": 1, "d": 0, "e": 1, "f": 1}
    assert {name: row["kind"] for name, row in found.items()} == {
        "c": "near", "d": "exact", "e": "near", "f": "near"
    }  # fmt: skip
    assert found["e"]["similarity"] < found["c"]["similarity"] == found["f"]["similarity"]


def test_the_highest_score_survives_and_of_equal_ones_the_earliest(tmp_path):
    first, other = page(1), page(2)
    texts = {"a": first, "b": changed(first, 1, 1), "c": first, "d": other, "e": other, "f": other}
    rows = as_rows(texts, a=0.1, b=0.7, c=0.7, e=-3.0, f=-3.0)
    found = copies_of(tmp_path, rows, score="score", survivor="highest_score")
    assert [(row["doc_id"], row["survivor"], row["kind"]) for row in found] == [
        ("a", "b", "near"), ("c", "b", "near"), ("d", "e", "exact"), ("f", "e", "exact"),
    ]  # fmt: skip
    (tmp_path / "again").mkdir()
    found = copies_of(tmp_path / "again", rows, score="score")
    assert {row["survivor"] for row in found} == {"a", "d"}


@pytest.fixture
def tiny(monkeypatch):
    """Limits so small that a tiny corpus reaches them all."""
    monkeypatch.setattr(copies_runs, "RUN_DOCUMENTS", 70)
    monkeypatch.setattr(copies_runs, "BATCH_BYTES", 40_000)
    monkeypatch.setattr(copies_pairs, "_PIECE_DOCUMENTS", 300)
    monkeypatch.setattr(copies_checks, "CHECKED_PAIRS", 50)
    monkeypatch.setattr(copies_clusters, "_ROWS", 17)
    monkeypatch.setattr(copies, "_RANK_DOCUMENTS", 200)
    monkeypatch.setattr(copies, "_room", lambda *_: 150)


LONG = pytest.mark.long


@pytest.mark.parametrize("shards", [pytest.param(1, marks=LONG), 3, pytest.param(8, marks=LONG)])
def test_the_same_for_any_cut_and_any_room(tmp_path, request, shards):
    rows = template_corpus() + corpus(70)
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    whole = copies_of(tmp_path / "here", rows)
    assert len(whole) > 20
    request.getfixturevalue("tiny")
    assert copies_of(tmp_path / "there", rows, shards) == whole


def template_corpus(pages=170):
    """Half of each page is the same on all: everything shares a band; every ninth is a copy."""
    template, rows = page(77, 180), []
    for number in range(pages):
        rows.append((f"t{number}", template + page(7_000 + number, 60)))
        if number % 9 == 8:
            rows.append((f"tn{number - 8}", changed(rows[-8][1], 2, number)))
    return as_rows(dict(rows))


@pytest.mark.long
def test_processes_give_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(copies, "_RANK_DOCUMENTS", 50)
    rows = corpus()
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    assert copies_of(tmp_path / "here", rows, 4, workers=2) == copies_of(tmp_path / "there", rows)


def test_where_everything_shares_a_band_the_work_is_bounded(tmp_path):
    rows = as_rows({f"t{n}": page(1, 300) + page(50 + n, 180) for n in range(1_500)})
    place, sketches = sketched(tmp_path, rows, 1)
    found = find_copies(place, sketches, CopiesConfig(), 1)
    pairs = len(rows) * (len(rows) - 1) // 2
    assert 0 < found.compared.rows_in <= len(rows) * BANDS * 5 < pairs / 4
    assert not list(found.batches())  # alike by half: below the limit


def test_a_page_that_stands_there_a_thousand_times(tmp_path):
    """Its copies are exact, so they fill no bucket and are never compared."""
    texts = {f"s{n}": page(5) for n in range(1_000)}
    rows = as_rows({**texts, "near": changed(page(5), 1, 3), "other": page(6)})
    place, sketches = sketched(tmp_path, rows, 3)
    found = find_copies(place, sketches, CopiesConfig(), 1)
    dropped = [row for batch in found.batches() for row in batch.to_pylist()]
    assert len(dropped) == 1_000
    assert {row["survivor"] for row in dropped} == {"s0"}
    assert found.compared.rows_in == 1


def test_no_documents_and_texts_without_words(tmp_path):
    assert copies_of(tmp_path / "none", []) == []
    rows = as_rows({"a": "", "b": "?!", "c": "", "d": "?!", "e": "one", "f": "ONE."})
    found = copies_of(tmp_path / "few", rows)
    assert [(row["doc_id"], row["survivor"]) for row in found] == [
        ("c", "a"), ("d", "b"), ("f", "e")
    ]  # fmt: skip


def test_too_small_a_memory_is_refused_with_the_number_that_is_enough(tmp_path):
    place, sketches = sketched(tmp_path, corpus(20), 1)
    needed = needed_mib(20, 2)
    with pytest.raises(InputError, match=rf"memory_mib is 300, but .* needs {needed}; set"):
        find_copies(place, sketches, CopiesConfig(memory_mib=300), 2)
    check_memory("clean", CopiesConfig(memory_mib=needed), 20, 2)
    assert needed_mib(100_000_000, 2) > 2 * needed_mib(1_000_000, 2)
    with pytest.raises(InputError, match="at most 4,294,967,295"):
        check_memory("clean", CopiesConfig(), 1 << 32, 2)


def test_a_killed_pass_does_only_what_was_not_finished(tmp_path):
    """A process is killed in pass 2, and what was written before is not written again."""
    rows = template_corpus() + corpus(70)
    place, sketches = sketched(tmp_path, rows, 2)
    script = (
        "import sys, time, pathlib, test_copies; test_copies.stop_at_the_tenth();"
        "test_copies.find_again(pathlib.Path(sys.argv[1]))"
    )
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    driver = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    bands = place.scratch / "copies" / "bands"
    deadline = time.monotonic() + 120
    while len(list(bands.glob("*.ends.npy"))) < 10:
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait(10)
    before = {path: path.stat().st_mtime_ns for path in bands.glob("*.ends.npy")}
    assert 10 <= len(before) < BANDS
    found = find_copies(place, sketches, CopiesConfig(), 1)
    assert before.items() <= {p: p.stat().st_mtime_ns for p in bands.glob("*.ends.npy")}.items()
    kept = [row for batch in found.batches() for row in batch.to_pylist()]
    (tmp_path / "anew").mkdir()
    assert kept == copies_of(tmp_path / "anew", rows)


def stop_at_the_tenth():
    """In the process that is killed: the partitions after the tenth take for ever."""
    fill = copies_pairs.PairShard._fill

    def slow(self, file, band, low, high):
        if band >= 10:
            time.sleep(60)
        fill(self, file, band, low, high)

    copies_pairs.PairShard._fill = slow


def find_again(home):
    """What the killed process runs."""
    from pipeline.stage import Workplace

    place = Workplace("clean", home / "out", home, 0, {}, {})
    find_copies(place, home / "sketches", CopiesConfig(), 1)


def test_recall_of_near_copies_is_what_the_bands_promise(tmp_path):
    rows = as_rows({f"p{n}": page(n, 200) for n in range(400)})
    rows += as_rows({f"n{n}": changed(page(n, 200), 3, n) for n in range(400)})
    found = copies_of(tmp_path, rows)  # Jaccard .858: 15 of 196 shingles changed
    assert len(found) >= 370  # the estimate of one in thirty is below the limit
    assert all(row["survivor"][1:] == row["doc_id"][1:] for row in found)
    assert abs(np.mean([row["similarity"] for row in found]) - 0.86) < 0.02
