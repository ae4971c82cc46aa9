"""`primer filter` from S3 to S3, over a real S3 protocol on loopback."""

import subprocess
import sys

import pytest
import s3fs
from click.testing import CliRunner
from small_filter import small_filter
from test_filter_command import files_of, put, run

from flows.main import primer


def test_the_output_is_that_of_local_files(store, tmp_path):
    store.put(str(put(tmp_path / "in")), "s3://corpus/in", recursive=True)
    run("--in", tmp_path / "in", "--out", tmp_path / "out")
    said = run("--in", "s3://corpus/in", "--out", "s3://corpus/out")
    assert said.startswith("s3://corpus/out: 2 files, 2 of them now")
    expected = files_of(tmp_path / "out")
    assert {name.removeprefix("corpus/out/") for name in store.find("corpus/out")} == set(expected)
    for name, content in expected.items():
        if not name.startswith("accounts/"):  # which hold the stamps of the files
            assert store.cat(f"corpus/out/{name}") == content, name
    assert "0 of them now" in run("--in", "s3://corpus/in", "--out", "s3://corpus/out")


@pytest.mark.long
def test_workers_reach_the_store_with_the_command_s_own_environment(store, tmp_path):
    """In a process of its own: workers are forked from a server with the environment of its start,
    which another test of this process may have started long ago."""
    store.put(str(put(tmp_path / "in")), "s3://corpus/in", recursive=True)
    done = subprocess.run(
        [sys.executable, "-c", "from flows.main import primer; primer()", "filter", "--model",
         str(small_filter()), "--kind-field", "kind", "--id", "id", "--in", "s3://corpus/in",
         "--out", str(tmp_path / "out"), "--workers", "2"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "2 files, 2 of them now" in done.stdout
    run("--in", tmp_path / "in", "--out", tmp_path / "here")
    here = files_of(tmp_path / "here")
    there = files_of(tmp_path / "out")
    assert set(here) == set(there)
    for name in here:
        assert name.startswith("accounts/") or here[name] == there[name], name


def test_what_is_wrong_there_is_one_line(store, tmp_path, monkeypatch):
    put(tmp_path / "in")
    out = tmp_path / "out"
    said = run("--in", "s3://no-such-bucket/in", "--out", out, code=2)
    assert "s3://no-such-bucket/in" in said
    said += run("--in", tmp_path / "in", "--out", "s3://no-such-bucket/out", code=1)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    said += run("--in", "s3://corpus/in", "--out", out, code=2)
    assert "Unable to locate credentials" in said
    assert all(line.startswith("primer: filter: ") for line in said.splitlines())
    assert len(said.splitlines()) == 3


def test_help_names_the_formats():
    said = CliRunner().invoke(primer, ["filter", "--help"]).output
    assert all(word in said for word in (".jsonl.zst", "s3://", "--dry-run"))
