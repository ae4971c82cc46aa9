"""Where sources are: trees, globs, datasets, stores; and all that may be wrong there."""

import gzip
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
import zstandard
from hub_server import hub
from moto.server import ThreadedMotoServer
from source_reading import read, reasons, source

from pipeline.errors import InputError, StageError
from pipeline.ingest import STAGE, IngestConfig
from pipeline.read_source import Limits, read_piece
from pipeline.records import read_rows
from pipeline.sources_plan import list_source, make_pieces, stamps


def texts(*arguments, **fields):
    return [document["text"] for document in read(*arguments, **fields)[0]]


def put(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def line(text):
    return json.dumps({"text": text}) + "\n"


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
            "import os, sys; sys.path[:0] = ['tests']\n"
            "from source_reading import read, reasons\n"
            "import encodings.utf_8_sig\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "documents, rejects = read(sys.argv[1])\n"
            "print([d['text'] for d in documents], reasons(rejects))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(root)], capture_output=True, text=True, check=True
        )
    assert done.stdout == "['open'] {'closed.txt': 'unreadable', 'dir': 'unreadable'}\n"


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
        "import sys; sys.path[:0] = ['tests']\n"
        "from source_reading import read, reasons\n"
        "import pyarrow.parquet, zstandard\n"
        "for pattern in ('*.zst', 'b*', 'c*', 'd*'):\n"
        "    form = 'text' if pattern == 'c*' else None\n"
        "    documents, rejects = read(sys.argv[1], include=[pattern], format=form)\n"
        "    print(len(documents), len(rejects), sorted({r['reason'] for r in rejects}))\n"
        "status = open('/proc/self/status').read()\n"  # ru_maxrss counts the parent's memory too
        "print(int(status.partition('VmHWM:')[2].split()[0]) >> 10)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(root)], capture_output=True, text=True, check=True
    )
    *said, peak_mib = done.stdout.splitlines()
    assert said == ["0 1 ['inflates_too_much']"] * 2 + ["0 1 ['too_large']", "0 500 ['too_large']"]
    assert int(peak_mib) < 400


README = """---
license: odc-by
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
  - split: test
    path: data/test-*
- config_name: extra
  data_files: extra/*.parquet
---
# A dataset
"""


def dataset(root, readme=README):
    names = ("data/train-00000-of-00002", "data/train-00001-of-00002")
    for name in (*names, "data/test-00000-of-00001", "extra/e"):
        path = root / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"text": [name]}), path)
    if readme:
        put(root, {"README.md": readme, ".gitattributes": "*.parquet filter=lfs"})
    return root


def test_a_hugging_face_dataset_is_read_by_config_and_split(tmp_path):
    root = dataset(tmp_path / "with")
    assert len(texts(root)) == 3
    assert texts(root, split="test") == ["data/test-00000-of-00001"]
    assert texts(root, subset="extra") == ["extra/e"]
    (document,), _ = read(root, subset="extra")
    assert json.loads(document["metadata"])["dataset_licence"] == "odc-by"
    assert document["licence"] is None
    plain = dataset(tmp_path / "without", readme=None)
    assert len(texts(plain)) == 4
    assert len(texts(plain, split="train")) == 2
    for fields, said in (({"split": "dev"}, "no split 'dev', but test, train"),
                         ({"subset": "x"}, "no subset 'x', but default, extra")):  # fmt: skip
        with pytest.raises(InputError, match=said):
            read(root, **fields)


def read_hub(endpoint, **environment):
    """In a process of its own: huggingface_hub takes its endpoint where it is imported."""
    script = (
        "import sys; sys.path[:0] = ['tests']\n"
        "from source_reading import read, source\n"
        "from pipeline.sources_plan import list_source\n"
        "given = 'hf://datasets/owner/name'\n"
        "print([d['text'] for d in read(given, split='test')[0]], len(read(given)[0]))\n"
        "print(len({file.stamp for file in list_source(source(given)).files}))\n"
    )
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False,
        env={**os.environ, "HF_ENDPOINT": endpoint, **environment},
    )  # fmt: skip


def test_a_dataset_of_the_hub_is_read_by_its_address(tmp_path):
    root = dataset(tmp_path)
    files = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    with hub(files) as endpoint:
        done = read_hub(endpoint)
    assert done.stdout == "['data/test-00000-of-00001'] 3\n3\n", done.stderr
    done = read_hub(endpoint, HF_HUB_OFFLINE="1")
    assert "hf://datasets/owner/name cannot be listed (Cannot reach" in done.stderr


def test_a_zip_archive_is_a_place_too(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/a.txt", "first")
        archive.writestr("in/b.txt", "second " * 300)
        archive.writestr("bomb.txt", bytes(1 << 27))
    documents, rejects = read(f"zip://::{path}")
    assert [d["url_or_path"] for d in documents] == ["in/a.txt", "in/b.txt"]
    assert reasons(rejects) == {"bomb.txt": "too_large"}
    raw = bytearray(path.read_bytes())
    at = raw.index(b"in/b.txt") + 8
    raw[at + 2 : at + 8] = b"\xff" * 6
    path.write_bytes(raw)
    assert reasons(read(f"zip://::{path}")[1])["in/b.txt"] == "damaged"


def test_memory_addresses_work(tmp_path):
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe("/corpus/a.txt", b"in memory")
    assert texts("memory://corpus") == ["in memory"]
    fs.rm("/corpus", recursive=True)


@pytest.fixture(scope="module")
def server():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def store(server, monkeypatch):
    given = {"AWS_ENDPOINT_URL": server, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
             "AWS_DEFAULT_REGION": "us-east-1"}  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    store = s3fs.S3FileSystem()
    store.mkdir("corpus")
    yield store
    store.rm("corpus", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_store_gives_what_local_files_give(store, bench, tmp_path):
    root = put(
        tmp_path / "x", {"a.jsonl.gz": gzip.compress(line("a").encode()), "t/b.jsonl": line("b")}
    )
    root = dataset(root / "p").parent
    store.put(str(root), "corpus/x", recursive=True)
    for fields in ({"include": ["*.jsonl*"]}, {"include": ["*.parquet"]},
                   {"include": ["*.md"], "format": "text"}):  # fmt: skip
        there = read("s3://corpus/x", **fields)
        assert there == read(root, **fields)
        assert there[0]
    listed = list_source(source("s3://corpus/x", include=["*.jsonl*"]))
    before = dict(stamps(listed))
    assert set(before) == {"here/a.jsonl.gz", "here/t/b.jsonl"}
    store.pipe("corpus/x/t/b.jsonl", line("c").encode())
    assert dict(stamps(list_source(listed.source)))["here/t/b.jsonl"] != before["here/t/b.jsonl"]
    sealed = bench.make(STAGE, IngestConfig(sources=(listed.source,), tasks=2))
    assert [d["text"] for d in read_rows(sealed.files("documents/*"))] == ["a", "c"]


def test_a_missing_bucket_is_one_line(store):
    with pytest.raises(
        InputError, match=r"source 'here': s3://nowhere/x .*; correct ingest\."
    ) as said:
        read("s3://nowhere/x")
    assert "\n" not in str(said.value)


class _Expired(http.server.BaseHTTPRequestHandler):
    """A store that answers as S3 does when a session token is too old."""

    def do_GET(self):
        body = (b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>ExpiredToken</Code>'
                b"<Message>The provided token has expired.</Message></Error>")  # fmt: skip
        self.send_response(400)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def expired():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Expired)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_expired_credentials_name_themselves_and_stop_a_run(store, expired, monkeypatch):
    store.pipe("corpus/y/a.jsonl", line("a").encode())
    given = source("s3://corpus/y")
    (piece,) = make_pieces([list_source(given)])
    monkeypatch.setenv("AWS_ENDPOINT_URL", expired)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(InputError, match=r"cannot be listed \(The provided token has expired"):
        read("s3://corpus/y")
    with pytest.raises(StageError, match=r"a\.jsonl cannot be read .*; renew the cred"):
        list(read_piece(given, piece, Limits(1_000)))


def test_a_store_that_fails_on_the_way_stops_the_run(store, tmp_path):
    """A lost object is no damaged row group: a sealed stage would never ask for it again."""
    rows = pa.table({"text": [f"{i} " + os.urandom(20_000).hex() for i in range(300)]})
    pq.write_table(rows, tmp_path / "a.parquet", row_group_size=50, use_dictionary=False)
    store.put(str(tmp_path / "a.parquet"), "corpus/z/a.parquet")
    given = source("s3://corpus/z")
    (piece,) = make_pieces([list_source(given)])
    found = read_piece(given, piece, Limits(100_000))
    assert next(found).text.startswith("0 ")
    store.rm("corpus/z/a.parquet")
    with pytest.raises(StageError, match=r"a\.parquet cannot be read .*; renew the credentials"):
        list(found)


def test_the_weight_is_kept(tmp_path):
    put(tmp_path, {"a.txt": "a"})
    assert json.loads(read(tmp_path, weight=2.5)[0][0]["metadata"])["weight"] == 2.5
