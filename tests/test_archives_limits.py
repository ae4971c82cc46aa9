"""Archives that would take all memory or time: each costs a row, and no more than its limit."""

import gzip
import os
import time
import zlib
from functools import partial

import brotli
import pytest
import zstandard
from archive_material import PAGE, SMALL, members, pages, peak_bytes, read, record, response, told

from pipeline.archives import read_archive


def test_a_file_of_records_that_all_reach_its_end_is_not_read_for_each(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.archives_bytes.READ_AGAIN_BYTES", 5_000_000)
    content = b"".join(record("response", b"", 900_000)[:-4] for _ in range(2_000))
    began = time.process_time()
    rows = read(tmp_path, content)
    assert {reason for _, reason in told(rows)} == {"cut_off"}
    assert 2 < len(rows) < 2_000
    assert time.process_time() - began < 5
    magic = b"\x1f\x8b\x08\0" * 100_000
    began = time.process_time()
    assert told(read(tmp_path, magic)) == [("Failed", "damaged_gzip")]
    assert time.process_time() - began < 10


def zeros(count_mib):
    """A raw deflate stream of so many MiB of zeros, and its trailer, made quickly."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    mib = bytes(1 << 20)
    piece = packer.compress(mib) + packer.flush(zlib.Z_FULL_FLUSH)
    return piece * count_mib


def bomb(head, count_mib, tail=b""):
    """A gzip member of `head`, zeros and `tail`."""
    crc = zlib.crc32(head)
    for _ in range(count_mib):
        crc = zlib.crc32(bytes(1 << 20), crc)
    size = len(head) + (count_mib << 20) + len(tail)
    first = zlib.compressobj(9, zlib.DEFLATED, -15)
    begun = first.compress(head) + first.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    ended = last.compress(tail) + last.flush()
    body = begun + zeros(count_mib) + ended
    checks = zlib.crc32(tail, crc).to_bytes(4, "little") + (size % 2**32).to_bytes(4, "little")
    return b"\x1f\x8b\x08" + bytes(7) + body + checks


def head_of(length):
    return record("response", b"", length, WARC_Target_URI="http://a.org/huge")[:-4]


@pytest.mark.parametrize(
    ("says_bytes", "holds_mib", "tail", "fates"),
    [
        (90 << 20, 90, b"\r\n\r\n", [("Skipped", "too_large")]),
        (200 << 20, 200, b"\r\n\r\n", [("Failed", "too_large")]),
        (1_000, 200, b"", [("Failed", "wrong_length")]),
        (0, 0, b"\r\n" * 2_000_000, [("Skipped", "not_http"), ("Failed", "padding")]),
        (900_000, 1, b"\r\n\r\n", [("Failed", "wrong_length")]),
    ],
    ids=["passed over", "not inflated", "small it says", "blank lines", "longer than it says"],
)
def test_a_gzip_bomb_is_one_row_in_bounded_memory(tmp_path, says_bytes, holds_mib, tail, fates):
    first, last = members(pages(2))
    path = tmp_path / "a.warc.gz"
    path.write_bytes(first + bomb(head_of(says_bytes), holds_mib, tail) + last)
    rows, peak = peak_bytes(lambda: list(read_archive(str(path), SMALL)))
    assert told(rows) == [("Page", "http://a.org/0"), *fates, ("Page", "http://a.org/1")]
    assert peak < 4 * SMALL.max_record_bytes


def test_a_record_of_a_gigabyte_is_one_row_in_bounded_memory(tmp_path):
    first, last = pages(2)
    path = tmp_path / "a.warc"
    with path.open("wb") as file:  # sparse: nothing is written for the gigabyte
        file.write(first + head_of(1 << 30))
        file.seek(1 << 30, os.SEEK_CUR)
        file.write(b"\r\n\r\n" + last)
    rows, peak = peak_bytes(lambda: list(read_archive(str(path), SMALL)))
    assert told(rows) == [("Page", "http://a.org/0"), ("Skipped", "too_large"),
                          ("Page", "http://a.org/1")]  # fmt: skip
    assert peak < 4 * SMALL.max_record_bytes


PACKERS = {
    "gzip": gzip.compress, "deflate": zlib.compress, "br": partial(brotli.compress, quality=1),
    "zstd": zstandard.ZstdCompressor().compress,
}  # fmt: skip


@pytest.mark.parametrize("encoding", PACKERS)
def test_an_encoded_body_is_decoded_and_one_that_explodes_is_too_large(tmp_path, encoding):
    says = f"Content-Encoding: {encoding}"
    pack = PACKERS[encoding]
    content = [response("http://a.org/0", pack(PAGE), says),
               response("http://a.org/1", PAGE, says),  # taken off by the crawler
               response("http://a.org/2", pack(bytes(60_000_000)), says)]  # fmt: skip
    rows, peak = peak_bytes(lambda: read(tmp_path, b"".join(content)))
    assert [row.body for row in rows[:2]] == [PAGE, PAGE]
    assert told(rows)[2] == ("Skipped", "too_large")
    assert peak < 4 * SMALL.max_record_bytes
