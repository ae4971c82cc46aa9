"""WARC and ARC records in the bytes of an archive, and what stands where a record should.

A record is a header, a block whose length the header says, and blank lines. It is given only once
what follows it has been seen: the end of its gzip member (whose checksum is then known to hold), or
the start of another record. Bytes that are none give one row with their place, and reading goes on
at the next start of a record that can be found.

Formats: WARC 1.0 and 1.1 (ISO 28500), ARC 1 and 2 (https://archive.org/web/researcher/ArcFileFormat.php).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.archives_bytes import RECORD_START, START_BYTES, Damaged, PlainBytes

HEADER_BYTES = 1 << 16
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
ARC_FIELDS = 5  # address, IP, date, content type, ..., length


@dataclass(frozen=True, slots=True)
class Record:
    """One record; `block` is None where it is larger than was asked for.

    It begins `inside` inflated bytes behind `offset` of the file (0: exactly there).
    """

    offset: int
    inside: int
    kind: str  # the WARC type in small letters; "response" or "filedesc" of an ARC
    headers: dict[str, str]  # names in small letters
    length_bytes: int
    block: bytes | None

    @property
    def url(self) -> str:
        """Its address; empty where it has none."""
        return self.headers.get("warc-target-uri", "").strip("<>")


@dataclass(frozen=True, slots=True)
class Failed:
    """Bytes that could not be read as what they should be, with their place."""

    offset: int
    inside: int
    reason: str
    evidence: str
    url: str = ""


def read_records(
    stream: PlainBytes, max_record_bytes: int, max_passed_bytes: int
) -> Iterator[Record | Failed]:
    """Every record from here to the end, and one `Failed` for each stretch that is none."""
    while True:
        place: tuple[int, int] | None = None
        try:
            if not stream.next_member():
                return
            place = stream.place
            record = _read(stream, max_record_bytes, max_passed_bytes)
            _check_end(stream)
        except Damaged as damage:
            place = place or stream.place
            found = stream.resync(place)
            at = "{}+{}".format(*stream.place)
            after = f"reading goes on at {at}" if found else "no record was found after it"
            yield Failed(*place, damage.reason, f"{damage.evidence}; {after}")
            if not found:
                return
        else:
            yield record


def _read(stream: PlainBytes, max_record_bytes: int, max_passed_bytes: int) -> Record:
    place = stream.place
    start = stream.peek(START_BYTES)
    if start.startswith(b"WARC/"):
        headers = _warc_header(stream)
        kind = headers.get("warc-type", "").strip().lower()
    elif RECORD_START.match(start):
        headers = _arc_header(stream, start)
        kind = headers["warc-type"]
    elif _is_cut_start(start):
        raise Damaged("cut_off", f"the archive ends within the first line of a record: {start!r}")
    else:
        raise Damaged("not_a_record", f"{start[:24]!r} stands where a record should begin")
    said = headers.get("content-length", "").strip()
    if not (said.isascii() and said.isdecimal() and len(said) < 19 and kind):
        raise Damaged("bad_header", f"WARC-Type {kind[:40]!r}, Content-Length {said[:40]!r}")
    length = int(said)
    block = None
    if length > max_record_bytes:
        held = stream.skip(length, max_passed_bytes)
    else:
        block = stream.read(length)
        held = len(block)
    if held < length:
        raise Damaged("cut_off", f"the record should have {length} bytes and has {held}")
    return Record(*place, kind, headers, length, block)


def _warc_header(stream: PlainBytes) -> dict[str, str]:
    """The named fields of a header; a line that begins with a blank goes on with the last."""
    seen = 2_048
    while not (end := _BLANK_LINE.search(head := stream.peek(seen))):
        if len(head) < seen:
            raise Damaged("cut_off", f"the archive ends within a header of {len(head)} bytes")
        if seen >= HEADER_BYTES:
            raise Damaged("bad_header", f"no blank line in {HEADER_BYTES} bytes of header")
        seen *= 4
    stream.read(end.end())
    fields: dict[str, str] = {}
    name = ""
    for line in head[: end.start()].decode("utf-8", "replace").split("\n")[1:]:
        if line[:1] in " \t" and name:
            fields[name] += " " + line.strip()
            continue
        name, _, value = line.partition(":")
        name = name.strip().lower()
        fields[name] = value.strip()
    return fields


def _arc_header(stream: PlainBytes, start: bytes) -> dict[str, str]:
    """The one line of an ARC record, under the names that a WARC has for them."""
    line = start[: start.index(b"\n") + 1]
    stream.read(len(line))
    fields = line.decode("utf-8", "replace").split()
    if len(fields) < ARC_FIELDS:
        raise Damaged("bad_header", f"{len(fields)} fields in the ARC header {line[:60]!r}")
    kind = "filedesc" if fields[0].startswith("filedesc:") else "response"
    return {
        "warc-type": kind, "warc-target-uri": fields[0], "warc-date": fields[2],
        "content-type": "" if kind == "filedesc" else "application/http",
        "content-length": fields[-1],
    }  # fmt: skip


def _check_end(stream: PlainBytes) -> None:
    """Damaged unless blank lines and then another record or the end of the member follow."""
    rest = stream.peek(START_BYTES).lstrip(b"\r\n")
    if rest and not RECORD_START.match(rest) and not _is_cut_start(rest):
        raise Damaged("wrong_length", f"{rest[:24]!r} follows it, which is no record")


def _is_cut_start(start: bytes) -> bool:
    """Whether the archive ends within what would be the first line of a record."""
    if b"\n" in start or len(start) >= START_BYTES:
        return False
    return b"WARC/".startswith(start[:5]) or b"http".startswith(start[:4])
