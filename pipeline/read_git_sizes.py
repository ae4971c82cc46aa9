"""How large a git object is, told from the first bytes of it, before anything is inflated.

A small pack can hold an object of gigabytes, as zeros or as a delta that copies one block over and
over. Every object states its size before its content, and a delta those of its base and its result,
so a few bytes of each link of a delta's chain are enough. Format:
https://git-scm.com/docs/gitformat-pack.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_OFFSET_DELTA, _NAMED_DELTA = 6, 7
_HEAD_BYTES = 512  # the header of a packed object and the sizes in its delta


def object_sizes(store: Any, sha: bytes) -> Iterator[int]:
    """The sizes of an object and of what its delta is built on, its own first (bytes).

    Raises KeyError where the object is not in the store, ValueError or zlib.error where its head
    is damaged.
    """
    for part in (store, *store.alternates):
        loose = Path(part.path) / sha[:2].decode() / sha[2:].decode()
        if loose.exists():
            with loose.open("rb") as file:
                head = zlib.decompressobj().decompress(file.read(_HEAD_BYTES), 64)
            yield int(head.partition(b"\x00")[0].split()[1])
            return
        for pack in part.packs:
            if sha in pack:
                yield from _packed_sizes(pack, sha)
                return
    raise KeyError(sha)


def _packed_sizes(pack: Any, sha: bytes) -> Iterator[int]:
    with Path(pack.data.path).open("rb") as file:
        offset = pack.index.object_offset(sha)
        while True:
            file.seek(offset)
            head = file.read(_HEAD_BYTES)
            kind = head[0] >> 4 & 7
            size, at = _varint(head, 1, head[0] & 15, 4) if head[0] & 128 else (head[0] & 15, 1)
            if kind == _OFFSET_DELTA:
                back, at = _offset(head, at)
                base = offset - back
            elif kind == _NAMED_DELTA:
                base = pack.index.object_offset(head[at : at + 20])
                at += 20
            else:
                yield size
                return
            delta = zlib.decompressobj().decompress(head[at:], 32)
            _, used = _varint(delta, 0, 0, 0)
            yield _varint(delta, used, 0, 0)[0]
            offset = base


def _varint(data: bytes, at: int, value: int, shift: int) -> tuple[int, int]:
    """(value, index after it) of a number in groups of seven bits, the lowest first."""
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 128:
            return value, at


def _offset(data: bytes, at: int) -> tuple[int, int]:
    """(distance back, index after it) of an offset delta, which has a code of its own."""
    value = data[at] & 127
    while data[at] & 128:
        at += 1
        value = ((value + 1) << 7) | (data[at] & 127)
    return value, at + 1
