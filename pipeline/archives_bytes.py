"""The inflated bytes of an archive, member by member, with the place of each in the file.

An archive is either plain, or a row of gzip members of which each should hold one record. This
reader does its own gzip with zlib, for two reasons. The readers of the field end a cut file as
if it were whole (FastWARC 2.0.1 and warcio 1.8.1 both give 594 records of `aut-example.warc.gz` cut
at byte 1,500,000 and report nothing), and at a damaged member the first gives up and the second
prints. And it inflates piece by piece, so that no member can ask for memory.

A place is (offset in the file, bytes inflated since): a record of a plain file or at the start of a
member has 0 as its second number and can be found again by seeking; one further into a member is
found by inflating from there.
"""

from __future__ import annotations

import re
import sys
import zlib
from contextlib import suppress
from typing import BinaryIO

from pipeline.rejected import Rejected

RAW_BYTES = 1 << 17  # read at once; more only makes the copies of what is left over longer
INFLATED_BYTES = 1 << 17
PADDING_PIECES = 8
MAGIC = b"\x1f\x8b\x08"
RECORD_START = re.compile(
    rb"WARC/[01]\.\d+\r?\n"
    rb"|(?:https?|ftp|filedesc|dns|whois):\S{1,4096} [0-9a-fA-F.:-]{1,45} \d{14} [^\r\n]{1,400}\n"
)
_STARTS = (b"WARC", b"http", b"ftp:", b"file", b"dns:", b"whoi")  # of any of them
START_BYTES = 5_000  # more than the longest start of a record
PROBE_BYTES = 6_000  # which hold such a start even where it is stored uncompressed
READ_AGAIN_BYTES = 1 << 30


class Damaged(Rejected):
    """Bytes that are no record."""


class PlainBytes:
    """The bytes of an archive that is not compressed."""

    search_bytes = sys.maxsize  # how far a next record is looked for

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._buffer, self._at = file, b"", 0
        self._file_at = 0  # of the end of what was read from the file
        self._read_again = 0

    @property
    def place(self) -> tuple[int, int]:
        """Where the next byte stands."""
        return self._file_at - len(self._buffer) + self._at, 0

    def peek(self, count: int) -> bytes:
        """The next bytes, at most `count`; fewer only where the member (or the file) ends."""
        while len(self._buffer) - self._at < count:
            piece = self._more()
            if not piece:
                break
            self._buffer, self._at = self._buffer[self._at :] + piece, 0
        return self._buffer[self._at : self._at + count]

    def read(self, count: int) -> bytes:
        """`count` bytes, or those up to the end of the member."""
        parts, wanted = [], count
        while wanted and (piece := self.peek(min(wanted, INFLATED_BYTES))):
            self._at += len(piece)
            wanted -= len(piece)
            parts.append(piece)
        return b"".join(parts)

    def skip(self, count: int, most: int) -> int:
        """Pass over `count` bytes without holding them; how many there were."""
        held = len(self._buffer) - self._at
        if count <= held:
            self._at += count
            return count
        begun = self.place[0]
        end = self._file.seek(0, 2)
        self._go_to(min(begun + count, end))
        return self.place[0] - begun

    def next_member(self) -> bool:
        """Whether anything follows; blank lines are passed over, but not any number of them."""
        for _ in range(PADDING_PIECES):
            padding = self.peek(RAW_BYTES)
            kept = padding.lstrip(b"\r\n")
            self._at += len(padding) - len(kept)
            if kept or not padding:
                return bool(kept)
        raise Damaged("padding", f"over {PADDING_PIECES * RAW_BYTES} bytes of line ends")

    def resync(self, place: tuple[int, int]) -> bool:
        """Go to the next start of a record behind the one at `place`; False where there is none."""
        self._go_to(self._search_from(place[0] + 1, self.place[0]))
        return self._find_start()

    def _search_from(self, begun: int, reached: int) -> int:
        """Where the next record is looked for: in what was read in vain too, but not for ever.

        Else a file of a million records that all say to reach its end would be read a million
        times.
        """
        self._read_again += max(0, reached - begun)
        return begun if self._read_again <= READ_AGAIN_BYTES else max(begun, reached)

    def _find_start(self) -> bool:
        """Go to the next start of a record in this member: at the start of a line."""
        searched = 0
        while searched < self.search_bytes and (seen := self.peek(RAW_BYTES)):
            for found in RECORD_START.finditer(seen):
                if found.start() and seen[found.start() - 1] == 10:
                    self._at += found.start()
                    return True
            passed = len(seen) if len(seen) < RAW_BYTES else len(seen) - START_BYTES
            self._at += passed
            searched += passed
        return False

    def _go_to(self, offset: int) -> None:
        self._file_at = self._file.seek(offset)
        self._buffer, self._at = b"", 0

    def _more(self) -> bytes:
        piece = self._file.read(RAW_BYTES)
        self._file_at += len(piece)
        return piece


class GzipBytes(PlainBytes):
    """The same of an archive of gzip members; reading ends with each member."""

    search_bytes = 1 << 24  # in the rest of a member, which may inflate without end

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._raw = b""  # read from the file, not inflated yet
        self._member, self._inflated = 0, 0
        self._inflater = zlib.decompressobj(31)

    @property
    def place(self) -> tuple[int, int]:
        return self._member, self._inflated - len(self._buffer) + self._at

    def skip(self, count: int, most: int) -> int:
        """As above; Damaged where more than `most` bytes would have to be inflated."""
        if count > most:
            raise Damaged("too_large", f"{count} bytes would have to be inflated to pass over them")
        passed = 0
        while passed < count and (piece := self.peek(min(count - passed, INFLATED_BYTES))):
            self._at += len(piece)
            passed += len(piece)
        return passed

    def next_member(self) -> bool:
        """Whether this member goes on or another follows; Damaged where neither is gzip."""
        while not super().next_member():
            self._raw = self._raw.lstrip(b"\0")
            if len(self._raw) < len(MAGIC) and not self._refill():
                if not self._raw:
                    return False
                self._begin(self._file_at - len(self._raw))
                raise Damaged("cut_off", f"the file ends in a gzip header: {self._raw!r}")
            if not self._raw:
                continue  # nothing but padding so far
            self._begin(self._file_at - len(self._raw))
            if not self._raw.startswith(MAGIC):
                raise Damaged("not_gzip", f"{self._raw[:16]!r} instead of a gzip member")
        return True

    def resync(self, place: tuple[int, int]) -> bool:
        """Go to the next start of a record in this member, or to the next that begins with one."""
        with suppress(Damaged):  # of its own, or of the bytes that are searched
            if self._find_start():
                return True
        offset = self._find_member(self._search_from(place[0] + 1, self._file_at - len(self._raw)))
        if offset < 0:
            return False
        self._file_at = self._file.seek(offset)
        self._raw = b""
        self._begin(offset)
        return True

    def _find_member(self, offset: int) -> int:
        """The offset of the next gzip member that begins with a record; -1 where there is none."""
        self._file.seek(offset)
        seen, ended = b"", False
        while not ended:
            piece = self._file.read(RAW_BYTES)
            seen, ended = seen + piece, not piece
            probed = len(seen) if ended else max(0, len(seen) - PROBE_BYTES)
            at = -1
            while 0 <= (at := seen.find(MAGIC, at + 1)) < probed:
                if _begins_record(seen[at : at + PROBE_BYTES]):
                    return offset + at
            offset, seen = offset + probed, seen[probed:]
        return -1

    def _begin(self, offset: int) -> None:
        self._member, self._inflated = offset, 0
        self._buffer, self._at = b"", 0
        self._inflater = zlib.decompressobj(31)

    def _refill(self) -> bool:
        piece = self._file.read(RAW_BYTES)
        self._file_at += len(piece)
        self._raw += piece
        return bool(piece)

    def _more(self) -> bytes:
        inflater = self._inflater
        while not inflater.eof:
            whole = bool(self._raw) or self._refill()
            try:
                piece = inflater.decompress(self._raw, INFLATED_BYTES)
            except zlib.error as error:
                said = str(error).removeprefix("Error ")
                raise Damaged("damaged_gzip", f"zlib {said}") from error
            self._raw = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            if piece:
                self._inflated += len(piece)
                return piece
            if not whole and not inflater.eof:
                raise Damaged("cut_off", f"the file ends at {self._file_at}, within a gzip member")
        return b""


def _begins_record(raw: bytes) -> bool:
    """Whether these bytes inflate to the start of a record; piece by piece, up to any damage."""
    inflater, head = zlib.decompressobj(31), b""
    for at in range(0, len(raw), 256):
        try:
            head += inflater.decompress(raw[at : at + 256], START_BYTES)
        except zlib.error:
            break
        if RECORD_START.match(head):
            return True
        if len(head) >= 4 and head[:4] not in _STARTS:
            break
    return False
