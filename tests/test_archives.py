"""Web archives, real ones and damaged ones: every record has a row, and damage costs its record."""

import gzip
from collections import Counter

import pytest
from archive_material import PAGE, SMALL, members, pages, read, record, shared, told
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from pipeline.archives import Failed, Page, read_archive


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
    ids=lambda value: "" if isinstance(value, bytes) else value,
)
def test_what_is_no_archive_is_one_row(tmp_path, content, reason):
    (row,) = read(tmp_path, content)
    assert (type(row), row.reason, row.offset) == (Failed, reason, 0)


def test_trailing_bytes_that_are_no_gzip_are_one_row(tmp_path):
    content = b"".join(members(pages(2)))
    rows = read(tmp_path, content + b"trailing bytes")
    assert told(rows)[2:] == [("Failed", "not_gzip")]
    assert rows[2].offset == len(content)
    assert len(read(tmp_path, content + b"\0" * 5_000)) == 2  # padding is none
