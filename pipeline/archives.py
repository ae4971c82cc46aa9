"""Read a web archive (WARC, WET, ARC, each plain or gzip) record by record, here or anywhere.

Each record gives one row: a `Page` (an HTTP 200 response with HTML or plain text, or the text of a
WET record), `Skipped` with a reason (a decision), or `Failed` with a reason and a place (bytes that
could not be read). Records seen are the sum of the three; nothing vanishes. An archive that is cut
gives what stood before the cut, and a `cut_off` row; damage costs its gzip member.

Memory is flat: at most one record and what becomes of it, about four times `max_record_bytes`,
whatever the file holds. Measured: see docs/extraction.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from pydantic import Field

from pipeline.addresses import describe, file_system, local_path
from pipeline.archives_bytes import MAGIC, RECORD_START, START_BYTES, GzipBytes, PlainBytes
from pipeline.archives_charset import Decoded, decode
from pipeline.archives_http import Undecodable, parse_response
from pipeline.archives_records import Failed, Record, read_records
from pipeline.config import Section

HTML = frozenset(("text/html", "application/xhtml+xml"))
TEXT = "text/plain"
OTHER_KINDS = frozenset(
    ("warcinfo", "request", "metadata", "revisit", "resource", "continuation", "filedesc")
)


class ArchiveConfig(Section):
    """How much of an archive is held, and passed over, for one record."""

    max_record_bytes: int = Field(
        16_000_000, ge=10_000, le=1 << 30,
        description="A record, or a page without its compression, that is larger is skipped as "
        "too_large (bytes). Reading takes about four times this memory.",
    )  # fmt: skip
    max_passed_bytes: int = Field(
        4 << 30, ge=1_000_000,
        description="A compressed record that says to be larger is not inflated to pass over it; "
        "reading goes on at the next gzip member (bytes).",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it was sent. `charset` is what its header says; `decode` finds the real one."""

    url: str
    offset: int
    inside: int
    content_type: str
    charset: str
    body: bytes
    date: str
    truncated: str  # why the crawler cut the page (`length`, `time`); empty where it did not

    @property
    def is_html(self) -> bool:
        """Whether the text is still to be extracted."""
        return self.content_type in HTML

    def decode(self) -> Decoded:
        """The page's text (or HTML), its charset, who named it, and how many bytes were wrong."""
        return decode(self.body, self.charset)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record that is no page, or not one to keep."""

    url: str
    offset: int
    inside: int
    reason: str
    evidence: str


Row = Page | Skipped | Failed


def read_archive(address: str, config: ArchiveConfig | None = None) -> Iterator[Row]:
    """Every record of one archive as a row, in its order; never an error because of the file."""
    config = config or ArchiveConfig()
    stream: PlainBytes | None = None
    try:
        before = _stamp(address)
        with _open(address) as file:
            start = file.read(START_BYTES)
            file.seek(0)
            if not start.startswith(MAGIC) and not RECORD_START.match(start.lstrip(b"\r\n")):
                reason = "not_an_archive" if start else "empty_file"
                yield Failed(0, 0, reason, f"the file begins with {start[:16]!r}")
                return
            stream = GzipBytes(file) if start.startswith(MAGIC) else PlainBytes(file)
            for found in read_records(stream, config.max_record_bytes, config.max_passed_bytes):
                yield found if isinstance(found, Failed) else _judge(found, config)
        after = _stamp(address)
        if before != after:
            yield Failed(*stream.place, "changed_while_read", f"{before} became {after}")
    except Exception as error:  # what file systems and lost connections raise has many types
        place = (0, 0) if stream is None else stream.place
        yield Failed(*place, "unreadable", describe(error))


def _open(address: str) -> BinaryIO:
    path = local_path(address)
    if path is not None:
        return path.open("rb")
    fs, place = file_system(address)
    opened: BinaryIO = fs.open(place, "rb", block_size=4 << 20, cache_type="readahead")
    return opened


def _stamp(address: str) -> tuple[Any, ...]:
    """What changes when the file does."""
    path = local_path(address)
    if path is not None:
        facts = path.stat()
        return facts.st_size, facts.st_mtime_ns
    fs, place = file_system(address)
    fs.invalidate_cache()
    info = fs.info(place)
    return tuple(str(info.get(name)) for name in ("size", "ETag", "mtime", "LastModified"))


def _judge(record: Record, config: ArchiveConfig) -> Row:
    """What one record is."""
    if record.kind not in ("response", "conversion"):
        reason = record.kind if record.kind in OTHER_KINDS else "unknown_kind"
        return _skip(record, reason, f"{record.kind[:40]}, {record.length_bytes} bytes")
    if record.block is None:
        return _skip(record, "too_large", f"{record.length_bytes} bytes")
    if record.kind == "conversion":
        said = record.headers.get("content-type", TEXT)
        return _page(record, said.partition(";")[0].strip().lower(), "utf-8", record.block)
    return _judge_response(record, record.block, config.max_record_bytes)


def _judge_response(record: Record, block: bytes, max_bytes: int) -> Row:
    response = parse_response(block)
    if response is None:
        return _skip(record, "not_http", repr(block[:24]))
    if response.status != 200:
        return _skip(record, "not_200", str(response.status))
    kind = response.content_type
    if kind and kind not in HTML and kind != TEXT:
        return _skip(record, "not_text", kind[:80])
    try:
        body = response.body(max_bytes)
    except Undecodable as verdict:
        if verdict.reason == "too_large":
            return _skip(record, verdict.reason, verdict.evidence)
        place = (record.offset, record.inside)
        return Failed(*place, verdict.reason, verdict.evidence, record.url)
    return _page(record, kind or _sniff(body), response.charset, body)


def _page(record: Record, content_type: str, charset: str, body: bytes) -> Row:
    if not body.strip():
        return _skip(record, "empty", f"{len(body)} bytes")
    if content_type not in HTML and content_type != TEXT:
        return _skip(record, "not_text", content_type[:80] or repr(body[:24]))
    is_utf16 = "utf-16" in charset or body.startswith((b"\xff\xfe", b"\xfe\xff"))
    if b"\0" in body[:1_024] and not is_utf16:
        return _skip(record, "not_text", f"{content_type} with a NUL at {body.index(0)}")
    return Page(
        record.url, record.offset, record.inside, content_type, charset, body,
        record.headers.get("warc-date", ""), record.headers.get("warc-truncated", ""),
    )  # fmt: skip


def _sniff(body: bytes) -> str:
    """HTML where a page without a content type begins like it."""
    start = body[:1_024].lstrip().lower()
    return "text/html" if start.startswith((b"<!doctype html", b"<html", b"<head")) else ""


def _skip(record: Record, reason: str, evidence: str) -> Skipped:
    return Skipped(record.url, record.offset, record.inside, reason, evidence)
