"""Unicode's code points, read out of UTF-8 in a compiled loop."""

from __future__ import annotations

from typing import Any

import numpy as np

from classifiers.arrow_text import compiled

_LAST_POINT = 0x10FFFF


@compiled
def code_point(text: Any, at: int) -> Any:
    """The code point that begins here, and how many bytes it has; three more must lie behind it.

    Bytes that are no UTF-8 give some code point.
    """
    byte = np.int64(text[at])
    if byte < 0x80:
        return byte, 1
    second = np.int64(text[at + 1]) & 0x3F
    if byte < 0xE0:
        return (byte & 0x1F) << 6 | second, 2
    third = np.int64(text[at + 2]) & 0x3F
    if byte < 0xF0:
        return (byte & 0x0F) << 12 | second << 6 | third, 3
    fourth = np.int64(text[at + 3]) & 0x3F
    point = (byte & 0x07) << 18 | second << 12 | third << 6 | fourth
    return min(point, _LAST_POINT), 4
