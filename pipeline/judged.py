"""The verdict on a written piece, and how much of its code stands behind it."""

from __future__ import annotations

from typing import NamedTuple

NOTHING_TO_TEACH = "nothing_to_teach"  # the writer's own refusal, which speaks of its material


class Judged(NamedTuple):
    """`reason` is None for an accepted piece.

    `blocks` of Python were executed, `checked` outputs compared with what was printed, `parsed`
    blocks of data read, and `not_executed` blocks are in other languages.
    """

    reason: str | None
    evidence: str
    blocks: int
    checked: int = 0
    parsed: int = 0
    not_executed: int = 0
