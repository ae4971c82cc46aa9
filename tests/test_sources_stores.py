"""Sources that are no files of this machine: archives, memory and S3, and what fails there."""

import gzip
import http.server
import os
import threading
import zipfile

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from source_files import dataset, line, put, texts
from source_reading import read, reasons, source

from pipeline.errors import InputError, StageError
from pipeline.ingest import STAGE, IngestConfig
from pipeline.read_source import Limits, read_piece
from pipeline.records import read_rows
from pipeline.sources_plan import list_source, make_pieces, stamps


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


def test_memory_addresses_work():
    fs = fsspec.filesystem("memory")
    fs.pipe("/corpus/a.txt", b"in memory")
    assert texts("memory://corpus") == ["in memory"]
    fs.rm("/corpus", recursive=True)


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
