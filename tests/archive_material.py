"""Archives as the tests make them, and rows as the tests compare them."""

import gzip
import tracemalloc

import pytest

from conftest import SHARED_DATA
from pipeline.archives import ArchiveConfig, Page, read_archive

WEB = SHARED_DATA / "web"
SMALL = ArchiveConfig(max_record_bytes=1_000_000, max_passed_bytes=100_000_000)
PAGE = b"<html><body><p>A page about tides.</p></body></html>"


def shared(name):
    if not (WEB / name).exists():
        pytest.skip(f"{WEB / name} is absent: the shared test data is not beside the repository")
    return WEB / name


def record(kind, block, length=None, **fields):
    head = [b"WARC/1.0", b"WARC-Type: " + kind.encode(),
            f"Content-Length: {len(block) if length is None else length}".encode()]  # fmt: skip
    head += [f"{name.replace('_', '-')}: {value}".encode() for name, value in fields.items()]
    return b"\r\n".join(head) + b"\r\n\r\n" + block + b"\r\n\r\n"


def response(url, body, *headers, status=200, kind="text/html"):
    head = [f"HTTP/1.1 {status} OK", f"Content-Type: {kind}", *headers]
    block = "\r\n".join(head).encode() + b"\r\n\r\n" + body
    return record("response", block, WARC_Target_URI=url)


def pages(count):
    return [response(f"http://a.org/{i}", PAGE.replace(b"tides", b"%d" % i)) for i in range(count)]


def members(records):
    return [gzip.compress(r, mtime=0) for r in records]


def read(tmp_path, content, config=SMALL):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(content)
    return list(read_archive(str(path), config))


def told(rows):
    """(kind of row, reason or address) of each."""
    return [(type(r).__name__, r.url if isinstance(r, Page) else r.reason) for r in rows]


def peak_bytes(work):
    tracemalloc.start()
    try:
        return work(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
