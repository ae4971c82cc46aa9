"""One file, one record: its text, or the docstring of a Python module, or the reason for neither.

The encoding is UTF-8 unless the source states another, a byte order mark is there, or a Python file
names its own (PEP 263). A file that is not wholly in its encoding is refused with the place of the
first wrong byte: text is never mended by guesses.
"""

from __future__ import annotations

import codecs
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

from pipeline.read_bytes import SourceStream, chunks
from pipeline.read_record import Record, Refusal, Unusable
from pipeline.sources import SourceConfig, SourceFile

_MARKS = {  # the longer ones first: that of UTF-32-LE begins as that of UTF-16-LE
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text_file(
    source: SourceConfig, file: SourceFile, max_bytes: int
) -> Iterator[Record | Refusal]:
    """The one record of a file."""
    try:
        raw = read_whole(source, file, max_bytes)
        yield Record(file.name, text_of_file(source, file.name, raw))
    except Unusable as verdict:
        yield verdict.refuse(file.name)


def read_whole(source: SourceConfig, file: SourceFile, max_bytes: int) -> bytes:
    """The bytes of a file that has at most so many; no more than that is ever held."""
    if not file.compression and file.bytes > max_bytes:
        raise Unusable("too_large", f"{file.bytes} bytes")
    if file.bytes == 0 and not file.trouble and not file.compression:
        raise Unusable("empty", "0 bytes")
    parts: list[bytes] = []
    size = 0
    with SourceStream(source, file) as stream:
        for piece in chunks(stream):
            parts.append(piece)
            size += len(piece)
            if size > max_bytes:
                raise Unusable("too_large", f"over {max_bytes} bytes")
        stream.check_unchanged()
    return b"".join(parts)


def text_of_file(source: SourceConfig, name: str, raw: bytes) -> str:
    """The text, or the docstring, that the source asks of a file's bytes."""
    text = decode(raw, name, source.encoding)
    return docstring(text) if source.read == "docstring" else text


def decode(raw: bytes, name: str, encoding: str | None = None) -> str:
    """The text of a file's bytes; Unusable where it has none."""
    marked = next((found for mark, found in _MARKS.items() if raw.startswith(mark)), None)
    if b"\x00" in raw and marked is None and not _is_wide(encoding):
        raise Unusable("binary", f"NUL byte at offset {raw.index(0)}")
    try:
        if encoding is None:
            encoding = marked or "utf-8-sig"
            if name.endswith(".py") and marked is None:
                encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
        text = raw.decode(encoding)
        text.encode()
    except (UnicodeError, SyntaxError, LookupError) as error:
        raise Unusable("undecodable", str(error)) from error
    if not text.strip():
        raise Unusable("empty", f"{len(raw)} bytes")
    return text


def _is_wide(encoding: str | None) -> bool:
    return encoding is not None and codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def docstring(text: str) -> str:
    """The module docstring of a Python file, found without parsing what comes after it."""
    import ast
    import inspect

    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.STRING:
                value = ast.literal_eval(token.string)
                if isinstance(value, str) and value.strip():
                    return inspect.cleandoc(value)
                break
            if token.type not in {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING}:
                break
    except (tokenize.TokenError, SyntaxError, ValueError) as error:
        raise Unusable("unparsable", str(error)) from error
    raise Unusable("no_docstring", "the module does not begin with a string")


def read_text(path: Path, max_bytes: int) -> str:
    """The text of a local file outside any source; Unusable with the reason where it has none."""
    try:
        if path.stat().st_size > max_bytes:
            raise Unusable("too_large", f"{path.stat().st_size} bytes")
        raw = path.read_bytes()
    except OSError as error:
        raise Unusable("unreadable", error.strerror or type(error).__name__) from error
    return decode(raw, path.name)
