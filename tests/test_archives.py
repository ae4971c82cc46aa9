"""Web archives, real ones and broken ones: every record has a row, and damage costs its record."""

import gzip
import os
import time
import tracemalloc
import zlib
from collections import Counter
from functools import partial

import brotli
import fsspec
import pytest
import s3fs
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from warcio.archiveiterator import ArchiveIterator

from conftest import SHARED_DATA
from pipeline.archives import ArchiveConfig, Failed, Page, Skipped, read_archive
from pipeline.archives_charset import MIXED, decode

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


@pytest.mark.parametrize(
    ("name", "records", "kept"),
    [
        ("aut-example.warc.gz", 822, 129),
        ("dolma-sample-0000.warc.gz", 48, 22),
        ("iana.warc.gz", 343, 16),
        ("whirlwind.warc.gz", 4, 1),
        ("whirlwind.warc.wet.gz", 2, 1),
        ("edge-iana-chunked.warc", 3, 1),
        ("edge-old-arc.arc.gz", 2, 1),
    ],
)
def test_real_archives_read_as_warcio_reads_them(name, records, kept):
    rows = list(read_archive(str(shared(name))))
    assert len(rows) == records
    assert Counter(type(row) for row in rows)[Page] == kept
    assert not [row for row in rows if isinstance(row, Failed)]
    if name == "edge-old-arc.arc.gz":
        return  # warcio numbers the records of an ARC otherwise
    by_offset = {row.offset: row for row in rows}
    with shared(name).open("rb") as file:
        theirs = ArchiveIterator(file)
        for found in theirs:
            body = found.content_stream().read()
            row = by_offset.pop(theirs.get_record_offset())
            assert row.url == (found.rec_headers.get_header("WARC-Target-URI") or "")
            if isinstance(row, Page):
                assert row.body == body
    assert not by_offset


def test_a_gzip_file_without_members_of_its_own_is_read_record_by_record():
    rows = list(read_archive(str(shared("edge-bad-non-chunked.warc.gz"))))
    assert Counter(type(row).__name__ for row in rows) == {"Skipped": 5, "Page": 1}
    assert {row.offset for row in rows} == {0}
    assert sorted({row.inside for row in rows}) == [row.inside for row in rows]


def test_a_record_with_a_wrong_length_fails_and_the_next_is_found():
    rows = list(read_archive(str(shared("edge-trunc.warc"))))
    assert told(rows) == [("Skipped", "warcinfo"), ("Skipped", "warcinfo"),
                          ("Failed", "wrong_length"), ("Skipped", "request")]  # fmt: skip
    assert "reading goes on at 2566+0" in rows[2].evidence


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(1, 900), packed=st.booleans())
def test_a_cut_archive_gives_what_stood_before_the_cut_and_says_so(tmp_path_factory, cut, packed):
    parts = members(pages(5)) if packed else pages(5)
    whole = b"".join(parts)
    cut = min(cut, len(whole) - 1)
    ends = [sum(map(len, parts[: i + 1])) for i in range(5)]
    path = tmp_path_factory.mktemp("cut") / "a.warc"
    path.write_bytes(whole[:cut])
    rows = list(read_archive(str(path)))
    before = sum(end - 4 * (not packed) <= cut for end in ends)  # blank lines are no loss
    assert [r.url for r in rows[:before]] == [f"http://a.org/{i}" for i in range(before)]
    start = ends[before - 1] if before else 0
    if cut > start:
        (failed,) = rows[before:]
        told_apart = before or cut > (2 if packed else 9)  # what it is at all
        assert failed.reason == ("cut_off" if told_apart else "not_an_archive")
        assert failed.offset == start
    else:
        assert rows[before:] == []


def test_damage_in_a_member_costs_that_member_alone(tmp_path):
    first, second, third = members(pages(3))
    whole = told(read(tmp_path, first + second + third))
    for at in range(len(second)):
        bad = bytearray(second)
        bad[at] ^= 0xFF
        rows = read(tmp_path, first + bytes(bad) + third)
        assert (told(rows)[0], told(rows)[-1]) == (whole[0], whole[2]), at
        if 4 <= at < 10:  # time, flags and system, which no checksum covers
            continue
        (failed,) = rows[1:-1]
        assert isinstance(failed, Failed), at
        assert failed.offset == len(first), at


def test_damage_in_a_real_archive_leaves_the_other_records(tmp_path):
    content = bytearray(shared("aut-example.warc.gz").read_bytes())
    whole = told(read(tmp_path, bytes(content)))
    content[1_000_000:1_000_050] = b"\xff" * 50
    rows = read(tmp_path, bytes(content))
    (failed,) = [row for row in rows if isinstance(row, Failed)]
    assert (failed.offset, failed.reason) == (987_735, "damaged_gzip")
    assert len(rows) == len(whole)
    assert sum(a != b for a, b in zip(told(rows), whole, strict=True)) == 1


@settings(max_examples=150, deadline=None)
@given(
    packed=st.booleans(),
    edits=st.lists(st.tuples(st.integers(0, 800), st.binary(max_size=4), st.integers(0, 40)),
                   min_size=1, max_size=4),
)  # fmt: skip
def test_a_file_damaged_in_any_way_gives_rows_and_never_an_error(tmp_path_factory, packed, edits):
    content = b"".join(members(pages(4)) if packed else pages(4))
    for at, new, gone in edits:
        content = content[:at] + new + content[at + gone :]
    path = tmp_path_factory.mktemp("edited") / "a.warc"
    path.write_bytes(content)
    rows = list(read_archive(str(path), SMALL))
    places = [(row.offset, row.inside) for row in rows]
    assert places == sorted(places)
    assert "unreadable" not in {reason for _, reason in told(rows)}


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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty_file"),
        (b"PK\x03\x04" + b"x" * 10_000, "not_an_archive"),
        (b"<html>not an archive</html>", "not_an_archive"),
        (gzip.compress(b"not an archive " * 99), "not_a_record"),
        (b"\x1f\x8b\x08" + b"\xff" * 500, "damaged_gzip"),
        (b"\x1f\x8b\x08", "cut_off"),
        (record("response", b"x", "minus one"), "bad_header"),
        (b"WARC/1.0\r\n" + b"a: b\r\n" * 50_000, "bad_header"),
        (record("response", b"x" * 99, 5_000), "cut_off"),
    ],
)  # fmt: skip
def test_what_is_no_archive_is_one_row(tmp_path, content, reason):
    (row,) = read(tmp_path, content)
    assert (type(row), row.reason, row.offset) == (Failed, reason, 0)


def test_trailing_bytes_that_are_no_gzip_are_one_row(tmp_path):
    content = b"".join(members(pages(2)))
    rows = read(tmp_path, content + b"trailing bytes")
    assert told(rows)[2:] == [("Failed", "not_gzip")]
    assert rows[2].offset == len(content)
    assert len(read(tmp_path, content + b"\0" * 5_000)) == 2  # padding is none


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


def peak_bytes(work):
    tracemalloc.start()
    try:
        return work(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def head_of(length):
    return record("response", b"", length, WARC_Target_URI="http://a.org/huge")[:-4]


@pytest.mark.parametrize(
    ("member", "fate"),
    [
        (bomb(head_of(90 << 20), 90, b"\r\n\r\n"), ("Skipped", "too_large")),
        (bomb(head_of(200 << 20), 200, b"\r\n\r\n"), ("Failed", "too_large")),  # not inflated
        (bomb(head_of(1_000), 200), ("Failed", "wrong_length")),  # says to be small
        (bomb(head_of(0), 0, b"\r\n" * 2_000_000), ("Failed", "padding")),
        (bomb(head_of(900_000), 1, b"\r\n\r\n"), ("Failed", "wrong_length")),
    ],
    ids=["passed over", "not inflated", "small it says", "blank lines", "longer than it says"],
)  # fmt: skip
def test_a_gzip_bomb_is_one_row_in_bounded_memory(tmp_path, member, fate):
    first, last = members(pages(2))
    path = tmp_path / "a.warc.gz"
    path.write_bytes(first + member + last)
    del member
    rows, peak = peak_bytes(lambda: list(read_archive(str(path), SMALL)))
    assert [row for row in told(rows) if row[0] != "Page"][-1:] == [fate]
    assert told(rows)[0] == ("Page", "http://a.org/0")
    assert told(rows)[-1] == ("Page", "http://a.org/1")
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


def test_a_damaged_body_fails_and_a_chunked_one_is_joined(tmp_path):
    chunks = b"7\r\n<p>One \r\n5;x=y\r\ntwo.\n\r\n0\r\n\r\n"
    says = "Transfer-Encoding: chunked"
    rows = read(tmp_path, response("http://a.org/0", chunks, says)
                + response("http://a.org/1", PAGE, says)
                + response("http://a.org/2", chunks[:10], says)
                + response("http://a.org/3", b"\x1f\x8b\x08\x00zz" * 9, "Content-Encoding: gzip"),
                )  # fmt: skip
    assert [row.body for row in rows[:3]] == [b"<p>One two.\n", PAGE, b"<p>One "]
    assert told(rows)[3] == ("Failed", "bad_content_encoding")
    assert rows[3].url == "http://a.org/3"


def test_other_records_are_skipped_with_a_reason(tmp_path):
    content = [
        response("http://a.org/0", PAGE, status=404),
        response("http://a.org/1", PAGE, kind="image/png"),
        response("http://a.org/2", b" \r\n "),
        response("http://a.org/3", b"%PDF\0\0"),
        record("response", b"4 records of DNS"),
        record("invented", b"x"),
        record("revisit", b"x"),
        response("http://a.org/4", b"words", kind="text/plain; charset=ascii"),
        response("http://a.org/5", b"\n<!DOCTYPE html><p>words", kind=""),
    ]
    rows = read(tmp_path, b"".join(content))
    reasons = ["not_200", "not_text", "empty", "not_text", "not_http", "unknown_kind", "revisit"]
    assert [row.reason for row in rows[:7]] == reasons
    assert all(isinstance(row, Skipped) for row in rows[:7])
    assert [(row.is_html, row.content_type) for row in rows[7:]] == [
        (False, "text/plain"), (True, "text/html"),
    ]  # fmt: skip


def test_arc_records_and_one_that_lies_about_its_length(tmp_path):
    def arc(url, body, length=None):
        block = b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + body
        length = len(block) if length is None else length
        return f"{url} 1.2.3.4 20140216050221 text/html {length}\n".encode() + block + b"\n"

    rows = read(tmp_path, b"filedesc://x.arc 0.0.0.0 20140216050221 text/plain 4\n1 0 \n"
                + arc("http://a.org/0", PAGE) + arc("http://a.org/1", PAGE, 60)
                + arc("http://a.org/2", PAGE))  # fmt: skip
    assert told(rows) == [("Skipped", "filedesc"), ("Page", "http://a.org/0"),
                          ("Failed", "wrong_length"), ("Page", "http://a.org/2")]  # fmt: skip
    assert rows[1].body == PAGE
    assert rows[1].date == "20140216050221"


RUSSIAN = "Приливы и отливы на море зависят от Луны, и об этом написано много книг."


@pytest.mark.parametrize(
    ("body", "header", "charset", "by", "wrong"),
    [
        ("é".encode(), "utf-8", "utf-8", "header", 0),
        ("“é”".encode("cp1252"), "ISO-8859-1", "cp1252", "header", 0),
        (RUSSIAN.encode("cp1251"), "windows-1251", "cp1251", "header", 0),
        (RUSSIAN.encode("cp1251"), "", "cp1251", "detected", 0),
        (RUSSIAN.encode("cp1251"), "utf-8", "cp1251", "detected", 0),  # a wrong header
        (b'<meta charset="koi8-r">' + RUSSIAN.encode("koi8-r"), "", "koi8-r", "meta", 0),
        (b'<meta charset="utf-16">' + "é".encode(), "", "utf-8", "meta", 0),
        ("\ufeffé".encode(), "koi8-r", "utf-8", "bom", 0),
        ("\ufeffé".encode("utf-16"), "", "utf-16-le", "bom", 0),
        (RUSSIAN.encode(), "", "utf-8", "detected", 0),
        (RUSSIAN.encode() + b"\x93!\x94", "utf-8", MIXED, "header", 2),
        (b"plain", "punycode", "utf-8", "detected", 0),  # a codec of Python's, and no charset
    ],
    ids=lambda value: "" if isinstance(value, bytes) else str(value),
)  # fmt: skip
def test_the_charset_and_who_named_it(body, header, charset, by, wrong):
    found = decode(body, header)
    assert (found.charset, found.charset_by, found.wrong_bytes) == (charset, by, wrong)
    expected = ("é", RUSSIAN, "“é”", "plain", RUSSIAN + "“!”")
    assert found.text.split(">")[-1] in expected


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["", "utf-8", "gbk", "shift_jis", "utf-16", "x"]))
def test_any_bytes_decode(body, header):
    decode(body, header).text.encode("utf-8")  # no surrogate is left


def test_an_address_beyond_this_machine_and_one_that_is_not_there(tmp_path):
    content = shared("iana.warc.gz").read_bytes()
    with fsspec.open("memory://crawl/a.warc.gz", "wb") as file:
        file.write(content)
    there = list(read_archive("memory://crawl/a.warc.gz"))
    assert there == list(read_archive(str(WEB / "iana.warc.gz")))
    for address in ("memory://crawl/none.warc.gz", str(tmp_path / "none"), str(tmp_path)):
        (row,) = read_archive(address)
        assert (type(row), row.reason) == (Failed, "unreadable")


def test_a_file_that_may_not_be_read_is_one_row(tmp_path):
    path = tmp_path / "a.warc"
    path.write_bytes(pages(1)[0])
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # root may read everything: be nobody for a moment
        os.seteuid(65_534)
    try:
        (row,) = read_archive(str(path))
    finally:
        os.seteuid(user)
    assert (row.reason, "Permission denied" in row.evidence) == ("unreadable", True)


def test_an_object_in_s3_and_buckets_and_keys_that_are_not_there(monkeypatch):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    for name, value in {
        "AWS_ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port()),
        "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    try:
        s3fs.S3FileSystem.clear_instance_cache()
        store = s3fs.S3FileSystem()
        store.mkdir("crawl")
        with store.open("crawl/a.warc.gz", "wb") as file:
            file.write(b"".join(members(pages(3))))
        assert [row.url for row in read_archive("s3://crawl/a.warc.gz")] == [
            f"http://a.org/{i}" for i in range(3)
        ]
        for address in ("s3://crawl/b.warc.gz", "s3://no-such-bucket/a.warc.gz"):
            assert told(read_archive(address)) == [("Failed", "unreadable")]
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()


def test_a_file_that_changes_while_it_is_read_says_so(tmp_path):
    path = tmp_path / "a.warc"
    path.write_bytes(b"".join(pages(3)))
    rows = read_archive(str(path))
    first = next(rows)
    with path.open("ab") as file:
        file.write(pages(4)[3])
    assert told([first, *rows])[-1] == ("Failed", "changed_while_read")
