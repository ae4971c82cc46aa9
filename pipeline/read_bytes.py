"""The bytes of a file of a source, piece by piece, whatever compresses them and wherever they lie.

What stood before a cut or a damaged place is given before the verdict is raised. Memory is that of
a piece: zlib is asked for a bounded output, and zstd is fed so little that even the best ratio of
its blocks (128 KiB from four bytes) gives at most CHUNK_BYTES. A local file that fails is a failed
record; a store that fails (credentials that expire, a lost connection) stops the stage, because
the next try may well succeed and a sealed stage is not tried again.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pipeline.addresses import describe, file_system, local_path
from pipeline.errors import StageError
from pipeline.read_record import Unusable
from pipeline.sources import SourceConfig, SourceFile

CHUNK_BYTES = 4 << 20
_GZIP_READ_BYTES = 1 << 16
_ZSTD_READ_BYTES = 128  # 32 blocks of four bytes
MAX_WINDOW_BYTES = 128 << 20  # of zstd --long=27; more is refused by the library
BOMB_BYTES, BOMB_RATIO = 256 << 20, 250  # text of the most repetitive logs shrinks to a 200th
_MAGIC = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}


class SourceStream:
    """A file of a source, opened; its errors say whose they are."""

    def __init__(self, source: SourceConfig, file: SourceFile, cache: str = "readahead") -> None:
        self.source, self.file = source, file
        self.local = local_path(source.place) is not None
        if file.trouble:
            raise Unusable("unreadable", file.trouble)
        self.raw: BinaryIO = self._try(self._open, cache)

    def _open(self, cache: str) -> Any:
        if self.local:
            return Path(self.file.place).open("rb")
        self.fs, _ = file_system(self.source.place)  # held: a zip archive is closed with it
        return self.fs.open(self.file.place, "rb", block_size=CHUNK_BYTES, cache_type=cache)

    def _try(self, act: Any, *arguments: Any) -> Any:
        try:
            return act(*arguments)
        except Exception as error:  # every file system has errors of its own
            if self.local:
                said = error.strerror if isinstance(error, OSError) else None
                raise Unusable("unreadable", said or describe(error)) from error
            if is_damage(error):
                raise Unusable("damaged", describe(error)) from error
            raise unreachable(self.source, self.file, describe(error)) from error

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; Unusable or StageError."""
        found: bytes = self._try(self.raw.read, size)
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of any file: Parquet is read from a stream too."""
        found: int = self._try(self.raw.seek, offset, whence)
        return found

    def tell(self) -> int:
        """Where the next byte is read."""
        return self.raw.tell()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self.raw.closed

    def close(self) -> None:
        """Give the file back."""
        self.raw.close()

    def check_unchanged(self) -> None:
        """Unusable where the local file is not what was listed any more."""
        if not self.local:
            return
        now = os.fstat(self.raw.fileno())
        if (now.st_size, str(now.st_mtime_ns)) != (self.file.bytes, self.file.stamp):
            was = f"{self.file.bytes:,} bytes when it was listed, {now.st_size:,} now"
            raise Unusable("changed_while_read", was)

    def __enter__(self) -> SourceStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def unreachable(source: SourceConfig, file: SourceFile, evidence: str) -> StageError:
    """What a store that cannot be read stops the stage with."""
    return StageError(
        "ingest",
        f"source {source.name!r}: {file.place} cannot be read ({evidence})",
        "renew the credentials or the connection, or exclude the file, and run the same command "
        "again: finished shards are kept",
    )


def is_damage(error: Exception) -> bool:
    """Whether an error is of the bytes themselves, as in a member of a zip archive."""
    import zipfile

    return isinstance(error, zipfile.BadZipFile | zlib.error | EOFError)


def chunks(stream: SourceStream) -> Iterator[bytes]:
    """The file's content, decompressed, in pieces; Unusable where it breaks off, after the last."""
    compression = stream.file.compression
    if not compression:
        yield from iter(lambda: stream.read(CHUNK_BYTES), b"")
        return
    inflated = 0
    for piece in _inflate(stream, compression):
        inflated += len(piece)
        if inflated > max(BOMB_BYTES, BOMB_RATIO * stream.file.bytes):
            raise Unusable(
                "inflates_too_much", f"{stream.file.bytes:,} bytes gave over {inflated:,}"
            )
        yield piece


class _Decoder(Protocol):
    """One frame or member: what zlib and zstandard have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def feed(self, data: bytes) -> Iterator[bytes]: ...


def _inflate(stream: SourceStream, compression: str) -> Iterator[bytes]:
    magic, read_bytes = _MAGIC[compression], _GZIP_READ_BYTES
    data = stream.read(read_bytes)
    if not data:
        raise Unusable("truncated", f"0 bytes are no {compression} file")
    if not data.startswith(magic):
        raise Unusable("wrong_magic", f"it begins with {data[:8]!r}, not as a {compression} file")
    make = _Gzip if compression == ".gz" else _Zstd
    decoder = make()
    while data or (data := stream.read(read_bytes)):
        if decoder.eof:
            data = data.lstrip(b"\x00") if compression == ".gz" else data  # gzip's padding
            if not data:
                continue
            data += stream.read(len(magic)) if len(data) < len(magic) else b""
            if not data.startswith(magic) and not _is_skippable(data, compression):
                raise Unusable("damaged", f"{data[:8]!r} follows the end of the stream")
            decoder = make()
        yield from decoder.feed(data)
        data = decoder.unused_data if decoder.eof else b""
    if not decoder.eof:
        raise Unusable("truncated", f"the {compression} stream breaks off")


def _is_skippable(data: bytes, compression: str) -> bool:
    """Frames 184D2A50 to 5F of zstd hold what decoders pass over (RFC 8878, 3.1.2)."""
    return compression == ".zst" and data[1:4] == b"\x2a\x4d\x18" and data[0] >> 4 == 5


class _Gzip:
    def __init__(self) -> None:
        self.decoder = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self.decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self.decoder.unused_data

    def feed(self, data: bytes) -> Iterator[bytes]:
        piece = b""
        # A full piece may not be all that zlib has, though it took all the data.
        while not self.eof and (data or len(piece) == CHUNK_BYTES):
            before = self.decoder.copy()
            try:
                piece = self.decoder.decompress(data, CHUNK_BYTES)
            except zlib.error as error:
                yield _until_error(before, data)
                raise Unusable("damaged", str(error)) from error
            if piece:
                yield piece
            data = self.decoder.unconsumed_tail


def _until_error(decoder: Any, data: bytes) -> bytes:
    """What zlib still makes of data that it refuses as a whole: it is given byte by byte."""
    pieces: list[bytes] = []
    for i in range(len(data)):
        try:
            pieces.append(decoder.decompress(data[i : i + 1]))
        except zlib.error:
            break
    return b"".join(pieces)


class _Zstd:
    def __init__(self) -> None:
        import zstandard

        self.error = zstandard.ZstdError
        context = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        self.decoder = context.decompressobj(read_across_frames=False)
        self.left = b""

    @property
    def eof(self) -> bool:
        return self.decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self.decoder.unused_data + self.left

    def feed(self, data: bytes) -> Iterator[bytes]:
        pieces: list[bytes] = []
        held = 0
        for start in range(0, len(data), _ZSTD_READ_BYTES):
            end = start + _ZSTD_READ_BYTES
            try:
                piece = self.decoder.decompress(data[start:end])
            except self.error as error:
                yield b"".join(pieces)
                raise Unusable("damaged", str(error)) from error
            pieces.append(piece)
            held += len(piece)
            if self.decoder.eof:
                self.left = data[end:]
                break
            if held >= CHUNK_BYTES:
                yield b"".join(pieces)
                pieces, held = [], 0
        yield b"".join(pieces)
