"""`primer filter`: what it writes, what it skips, what one bad file costs, and what it says."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import cache

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import zstandard
from click.testing import CliRunner
from filter_material import corpus
from small_filter import small_filter

from classifiers.scorer import Scorer
from flows.main import primer

BAD = [{"id": "bad", "text": None, "kind": "code", "n": None},
       {"id": "odd", "text": "x", "kind": "pdf", "n": None}]  # fmt: skip


@cache
def good():
    """Real documents, as rows of a corpus."""
    return [
        {"id": row["doc_id"], "text": row["text"], "kind": "code", "n": {"stars": [i]}}
        for i, (row, _) in enumerate(corpus()[:300])
    ]


def run(*arguments, code=0):
    """What the command prints; it must end with this exit code."""
    given = ["filter", "--model", str(small_filter()), "--kind-field", "kind", "--id", "id"]
    done = CliRunner().invoke(primer, [*given, *(str(a) for a in arguments)])
    assert done.exit_code == code, done.output
    return done.output


def put(folder, rows=None):
    """The same documents as Parquet and as JSON lines, in a folder of a folder."""
    rows = [*good(), *BAD] if rows is None else rows
    (folder / "deep").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "deep" / "a.parquet", row_group_size=50)
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    (folder / "b.jsonl.zst").write_bytes(zstandard.compress(lines))
    return folder


def files_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def kept_lines(path):
    with zstandard.open(path, "rb") as stream:
        return [json.loads(line) for line in stream.read().splitlines()]


@pytest.fixture(scope="module")
def filtered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filter")
    said = run("--in", put(folder / "in"), "--out", folder / "out")
    return folder, said


def test_kept_rows_scores_failures_and_the_summary(filtered):
    folder, said = filtered
    out = folder / "out"
    scorer = Scorer.open(small_filter() / "04-train-filter")
    score, expected, keep = scorer.score(
        pa.array([row["text"] for row in good()]), pa.array(["code"] * len(good()))
    )
    table = pq.read_table(folder / "in" / "deep" / "a.parquet").slice(0, len(good()))
    kept = pq.read_table(out / "kept" / "deep" / "a.parquet")
    assert kept.equals(table.filter(pa.array(keep)))
    assert kept_lines(out / "kept" / "b.jsonl.zst") == kept.to_pylist()
    for name in ("deep/a", "b.jsonl.zst"):
        scores = pq.read_table(out / "scores" / f"{name}.parquet")
        assert scores["doc_id"].to_pylist() == [row["id"] for row in good()]
        assert scores["score"].to_numpy().tolist() == score.tolist()
        assert scores["expected_score"].to_numpy().tolist() == expected.tolist()
        failed = pq.read_table(out / "failed" / f"{name}.parquet").to_pylist()
        assert [(f["row"], f["reason"]) for f in failed] == [
            (301, "no_text"),
            (302, "unknown_kind"),
        ]
    ledger = json.loads((out / "manifest.json").read_text())["ledger"]
    assert (ledger["rows_in"], ledger["kept"]) == (604, 2 * int(keep.sum()))
    assert f"604 documents, {2 * keep.sum()} kept" in said
    assert "4 failed (no_text 2, unknown_kind 2)" in said
    assert len(said.splitlines()) == 1


def test_a_second_run_touches_nothing_and_says_the_same(filtered):
    folder, said = filtered
    before = {p: p.stat().st_mtime_ns for p in (folder / "out" / "kept").rglob("*.*")}
    again = run("--in", folder / "in", "--out", folder / "out")
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert again.split(";")[1].startswith(said.split(";")[1].split(", 4 failed")[0])
    assert "2 files, 0 of them now" in again


@pytest.mark.parametrize(
    "options",
    [("--tasks", 1), pytest.param(("--workers", 2, "--tasks", 2), marks=pytest.mark.long)],
)
def test_tasks_and_workers_change_no_byte(filtered, tmp_path, options):
    run("--in", filtered[0] / "in", "--out", tmp_path, *options)
    assert files_of(tmp_path) == files_of(filtered[0] / "out")


def test_through_memory_it_is_the_same_but_for_the_stamps(filtered):
    memory = fsspec.filesystem("memory")
    memory.put(str(filtered[0] / "in"), "/corpus", recursive=True)
    run("--in", "memory://corpus", "--out", "memory://out")
    for name, content in files_of(filtered[0] / "out").items():
        if not name.startswith("accounts/"):
            assert memory.cat(f"/out/{name}") == content, name
    memory.rm("/corpus", recursive=True)
    memory.rm("/out", recursive=True)


@pytest.mark.parametrize("form", ["parquet", "jsonl.zst"])
def test_kept_rows_in_the_other_format(filtered, tmp_path, form):
    rows = [{**row, "at": None if i < 200 else "2020-01-01"} for i, row in enumerate(good())]
    run("--in", put(tmp_path / "in", rows), "--out", tmp_path / "out", "--format", form)
    kept = tmp_path / "out" / "kept"
    names = [f"{name}.{form}" for name in ("deep/a", "b")]
    read = kept_lines if form == "jsonl.zst" else lambda path: pq.read_table(path).to_pylist()
    first, second = (read(kept / name) for name in names)
    assert len(first) == len(second) > 0
    ids = {row["id"] for row in first}
    assert first == second == [row for row in rows if row["id"] in ids]
    assert not [path for path in kept.rglob("*") if path.name.startswith(".")]


def test_a_file_that_is_cut_off_costs_itself_until_it_is_mended(tmp_path):
    folder = put(tmp_path / "in")
    whole = (folder / "b.jsonl.zst").read_bytes()
    (folder / "b.jsonl.zst").write_bytes(whole[:-500])
    said = run("--in", folder, "--out", tmp_path / "out", code=1)
    assert "b.jsonl.zst: Truncated compressed stream, after" in said
    assert "1 of 2 files could not be read" in said
    assert (tmp_path / "out" / "kept" / "deep" / "a.parquet").exists()
    assert not (tmp_path / "out" / "kept" / "b.jsonl.zst").exists()
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["unreadable"] == [
        "b.jsonl.zst"
    ]
    (folder / "b.jsonl.zst").write_bytes(whole)
    said = run("--in", folder, "--out", tmp_path / "out")
    assert "2 files, 1 of them now; 604 documents" in said


def test_a_changed_file_is_filtered_again_and_other_options_are_refused(tmp_path):
    folder, out = put(tmp_path / "in", good()), tmp_path / "out"
    run("--in", folder, "--out", out)
    pq.write_table(pa.Table.from_pylist(good()[:10]), folder / "deep" / "a.parquet")
    assert "1 of them now; 310 documents" in run("--in", folder, "--out", out)
    said = run("--in", folder, "--out", out, "--max-document-bytes", 2_000, code=2)
    assert "another filter or other options" in said


def test_what_is_wrong_is_one_line(tmp_path):
    folder = put(tmp_path / "in", good()[:5])
    (tmp_path / "file").write_text("")
    for code, words, arguments in [
        (2, "nothing to read", ["--out", tmp_path / "out"]),
        (2, "no file at", ["--in", tmp_path / "no", "--out", tmp_path / "out"]),
        (2, "cannot be listed", ["--in", "no-such://a", "--out", tmp_path / "out"]),
        (1, "stopped while writing", ["--in", folder, "--out", tmp_path / "file" / "out"]),
        (1, "no column nothing", ["--in", folder, "--out", tmp_path / "o", "--text", "nothing"]),
    ]:
        said = run(*arguments, code=code)
        assert words in said
        assert said.strip().splitlines()[-1].startswith("primer: filter: ")
    done = CliRunner().invoke(primer, ["filter", "--model", "none", "--in", "a", "--out", "b"])
    assert (done.exit_code, len(done.output.splitlines())) == (2, 1)


def test_a_dry_run_writes_nothing(tmp_path):
    said = run("--in", put(tmp_path / "in"), "--out", tmp_path / "out", "--dry-run")
    assert said.startswith("2 of 2 files to filter")
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_a_killed_run_leaves_nothing_that_looks_whole(tmp_path):
    (tmp_path / "in").mkdir()
    rows = pa.Table.from_pylist(good() * 20)
    for i in range(6):
        pq.write_table(rows, tmp_path / "in" / f"{i}.parquet")
    command = [
        sys.executable, "-c", "from flows.main import primer; primer()", "filter", "--model",
        str(small_filter()), "--in", str(tmp_path / "in"), "--out", str(tmp_path / "killed"),
        "--kind-field", "kind", "--id", "id",
    ]  # fmt: skip
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    accounts = tmp_path / "killed" / "accounts"
    while child.poll() is None and not list(accounts.glob("*.json")):
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    done = {path.name.removesuffix(".json") for path in accounts.glob("*.json")}
    assert 0 < len(done) < 6
    assert not (tmp_path / "killed" / "manifest.json").exists()
    for path in (tmp_path / "killed" / "kept").glob("*.parquet"):
        assert pc.all(pc.is_valid(pq.read_table(path)["text"])).as_py()
    assert f"{6 - len(done)} of them now" in run(
        "--in", tmp_path / "in", "--out", tmp_path / "killed"
    )
    run("--in", tmp_path / "in", "--out", tmp_path / "whole")
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
