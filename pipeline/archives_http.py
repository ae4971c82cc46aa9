"""An HTTP response as an archive holds it: status, headers, and a body without its encodings.

Crawlers differ: some store the body as it came (chunked, compressed), some take the encodings off
and leave the headers that name them. So an encoding is undone where the body shows it and its
header names it. Nothing is inflated beyond a limit.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from pipeline.rejected import Rejected

_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})\b")
_CHUNK = re.compile(rb"\s*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class Undecodable(Rejected):
    """A body that gives no bytes."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response: its status, its headers (names in small letters), and the body as stored."""

    status: int
    headers: dict[str, str]
    stored: bytes

    @property
    def content_type(self) -> str:
        """Without its parameters, in small letters; empty where none is named."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str:
        """What the header says; empty where it says nothing."""
        return charset_of(self.headers.get("content-type", ""))

    def body(self, max_bytes: int) -> bytes:
        """The body without chunks and compression; Undecodable where it is larger or damaged."""
        body = self.stored
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            body = _unchunk(body)
        for name in reversed(self.headers.get("content-encoding", "").lower().split(",")[:4]):
            body = _decompress(body, name.strip(), max_bytes)
        if len(body) > max_bytes:
            raise Undecodable("too_large", f"{len(body)} bytes")
        return body


def parse_response(block: bytes) -> Response | None:
    """The response in a record's block; None where it is none."""
    status = _STATUS.match(block)
    if status is None:
        return None
    end = _END_OF_HEADERS.search(block)
    head, stored = (block[: end.start()], block[end.end() :]) if end else (block, b"")
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").split("\n")[1:]:
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    return Response(int(status[1]), headers, stored)


def charset_of(content_type: str) -> str:
    """The charset parameter of a content type; empty where it has none."""
    _, _, after = content_type.lower().partition("charset=")
    return after.partition(";")[0].strip(" \"'")


def _unchunk(body: bytes) -> bytes:
    """The chunks joined; the body itself where it is not chunked, what there is where it is cut."""
    parts, at = [], 0
    while head := _CHUNK.match(body, at):
        size = int(head[1], 16)
        parts.append(body[head.end() : head.end() + size])
        at = head.end() + size
        if size == 0 or at >= len(body):
            return b"".join(parts)
    return body  # a line that is no size: the crawler took the chunks off, or all is damaged


def _decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    try:
        if encoding in ("gzip", "x-gzip") and body.startswith(_GZIP):
            inflated = zlib.decompressobj(31).decompress(body, max_bytes + 1)
        elif encoding == "deflate" and body:
            inflated = _inflate(body, max_bytes + 1)
        elif encoding == "zstd" and body.startswith(_ZSTD):
            inflated = _unzstd(body, max_bytes + 1)
        elif encoding == "br" and body:
            inflated = _unbrotli(body, max_bytes + 1)
        else:  # none, unknown, or taken off by the crawler
            return body
    except Exception as error:  # each library has errors of its own
        raise Undecodable("bad_content_encoding", f"{encoding}: {error}") from error
    if len(inflated) > max_bytes:
        raise Undecodable("too_large", f"{len(body)} bytes of {encoding} hold over {max_bytes}")
    return inflated


def _inflate(body: bytes, most: int) -> bytes:
    """Zlib's format, or raw deflate, or a body whose encoding the crawler took off."""
    for window in (15, -15):
        try:
            return zlib.decompressobj(window).decompress(body, most)
        except zlib.error:
            continue
    return body


def _unzstd(body: bytes, most: int) -> bytes:
    import zstandard

    with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(body) as stream:
        return stream.read(most)


def _unbrotli(body: bytes, most: int) -> bytes:
    """Brotli has no mark to know it by: a body that looks like HTML was taken off already."""
    if body.lstrip()[:1] == b"<":
        return body
    import brotli  # type: ignore[import-untyped]

    return bytes(brotli.Decompressor().process(body, output_buffer_limit=most))
