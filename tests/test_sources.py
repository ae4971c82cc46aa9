"""Files, trees and globs of a source; and all that may be wrong with them."""

import gzip
import json
import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from source_files import line, put, run_apart, texts
from source_reading import read, reasons, source

from pipeline.errors import InputError
from pipeline.read_source import Limits, read_piece
from pipeline.sources_plan import list_source, make_pieces


def test_a_file_a_directory_and_a_glob(tmp_path):
    put(tmp_path, {"x/a.jsonl": line("a"), "x/b.jsonl": line("b"), "y/c.jsonl": line("c")})
    assert texts(tmp_path) == ["a", "b", "c"]
    assert texts(tmp_path / "x" / "b.jsonl") == ["b"]
    assert texts(tmp_path / "*" / "*.jsonl") == ["a", "b", "c"]
    assert texts(f"file://{tmp_path}/x") == ["a", "b"]


def test_formats_are_told_only_where_all_agree(tmp_path):
    put(tmp_path, {"a.jsonl": line("a"), "b.txt": "plain"})
    with pytest.raises(InputError, match=r"holds files of the formats jsonl, text; state ingest"):
        read(tmp_path)
    assert texts(tmp_path, format="text") == ['{"text": "a"}\n', "plain"]
    assert texts(tmp_path, include=["*.jsonl"]) == ["a"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"revision": "main"}, r"revision = 'main' is for git, and this is text"),
        ({"fields": {"text": "x"}}, r"is for jsonl and csv and parquet, and this is text"),
        ({"format": "jsonl", "read": "docstring"}, r"read = 'docstring' is for text and git"),
    ],
)
def test_a_field_that_the_format_has_no_use_for_is_a_mistake(tmp_path, fields, said):
    put(tmp_path, {"a.txt": "a"})
    with pytest.raises(InputError, match=rf"source 'here': .*{said}"):
        read(tmp_path, **fields)


def test_the_weight_is_kept(tmp_path):
    put(tmp_path, {"a.txt": "a"})
    assert json.loads(read(tmp_path, weight=2.5)[0][0]["metadata"])["weight"] == 2.5


def test_circles_pipes_and_odd_names_end_nowhere(tmp_path):
    put(tmp_path, {"a/b.txt": "b"})
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "self").symlink_to("self")
    os.mkfifo(tmp_path / "pipe")
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.txt")).write_text("odd")
    documents, rejects = read(tmp_path)
    assert [d["url_or_path"] for d in documents] == ["a/b.txt", "caf\\xe9.txt"]
    assert reasons(rejects) == {"self": "unreadable", "pipe": "unreadable"}


def test_what_may_not_be_read_is_a_reject(tmp_path):
    """As a plain user in a process of its own, because root may read everything."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        root = put(Path(folder), {"open.txt": "open", "closed.txt": "no", "dir/in.txt": "no"})
        root.chmod(0o755)
        (root / "closed.txt").chmod(0)
        (root / "dir").chmod(0)
        script = (
            "import os, sys\n"
            "from source_reading import read, reasons\n"
            "import encodings.utf_8_sig\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "documents, rejects = read(sys.argv[1])\n"
            "print([d['text'] for d in documents], reasons(rejects))"
        )
        done = run_apart(script, root)
    said = "['open'] {'closed.txt': 'unreadable', 'dir': 'unreadable'}\n"
    assert done.stdout == said, done.stderr


def test_empty_files_and_wrong_magic(tmp_path):
    names = ("a.jsonl", "b.csv", "c.parquet", "d.jsonl.gz", "e.txt", "f.ipynb")
    found = {}
    for name in names:
        put(tmp_path / name[0], {name: b""})
        (reject,) = read(tmp_path / name[0])[1]
        found[name] = reject["reason"], reject["dropped"]
    empty, cut = ("empty", True), ("truncated", False)
    assert list(found.values()) == [empty, empty, cut, cut, empty, empty]
    put(tmp_path / "wrong", {"a.parquet": b"PK\x03\x04" * 9, "b.parquet": b"PAR1"})
    assert list(reasons(read(tmp_path / "wrong")[1]).values()) == ["wrong_magic", "truncated"]
    put(tmp_path / "packed", {"a.jsonl.zst": b"\x1f\x8b" * 9})
    assert list(reasons(read(tmp_path / "packed")[1]).values()) == ["wrong_magic"]


def test_a_file_that_changes_while_it_is_read_says_so(tmp_path):
    put(
        tmp_path,
        {"a.jsonl": "".join(line(f"text {i}") for i in range(2_000)), "b.jsonl": line("b")},
    )
    given = source(tmp_path)
    first, second = make_pieces([list_source(given)])
    found = read_piece(given, first, Limits(1_000))
    assert next(found).text == "text 0"
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write(line("later"))
    *_, last = found
    assert (last.address, last.reason) == ("a.jsonl", "changed_while_read")
    assert [row.text for row in read_piece(given, second, Limits(1_000))] == ["b"]
    put(tmp_path / "t", {"a.txt": "before"})
    given = source(tmp_path / "t")
    (piece,) = make_pieces([list_source(given)])
    put(tmp_path / "t", {"a.txt": "after it"})
    (refusal,) = read_piece(given, piece, Limits(1_000))
    assert refusal.reason == "changed_while_read"


def bombs(root):
    """Half a GB of text, in four ways."""
    root.mkdir()
    packer = zstandard.ZstdCompressor().compressobj()
    zeros = bytes(1 << 24)
    with (root / "a.jsonl.zst").open("wb") as file:
        for _ in range(32):
            file.write(packer.compress(zeros))
        file.write(packer.flush())
    block = gzip.compress(zeros)
    (root / "b.jsonl.gz").write_bytes(block * 32)
    (root / "c.txt.gz").write_bytes(block * 32)
    value = pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), ["x" * (1 << 20)])
    pq.write_table(pa.table({"text": value}), root / "d.parquet")
    return root


def test_bombs_are_read_in_bounded_memory(tmp_path):
    """In a process of its own, whose greatest memory is asked for at its end."""
    root = bombs(tmp_path / "bombs")
    script = (
        "import sys\n"
        "from source_reading import read, reasons\n"
        "import pyarrow.parquet, zstandard\n"
        "for pattern in ('*.zst', 'b*', 'c*', 'd*'):\n"
        "    form = 'text' if pattern == 'c*' else None\n"
        "    documents, rejects = read(sys.argv[1], include=[pattern], format=form)\n"
        "    print(len(documents), len(rejects), sorted({r['reason'] for r in rejects}))\n"
        "status = open('/proc/self/status').read()\n"  # ru_maxrss counts the parent's memory too
        "print(int(status.partition('VmHWM:')[2].split()[0]) >> 10)\n"
    )
    done = run_apart(script, root)
    assert done.returncode == 0, done.stderr
    *said, peak_mib = done.stdout.splitlines()
    assert said == ["0 1 ['inflates_too_much']"] * 2 + ["0 1 ['too_large']", "0 500 ['too_large']"]
    assert int(peak_mib) < 400
