"""Which licence a repository's licence file holds, by comparing it with the texts of SPDX.

The texts are those of the package `identify` (35 licences in common use). A file is compared by its
pairs of neighbouring words, without lines of copyright: its licence is the text that shares most of
them, if that is at least 90 % (Dice's measure) and no other text shares as much. A file that holds
several licences, or one with changes, has none. Of GNU licences the file alone does not say "only"
or "or later", so the answer is SPDX's older id, such as GPL-3.0.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from itertools import pairwise

LEAST_ALIKE = 0.9
LICENCE_FILES = ("LICENSE", "LICENCE", "COPYING", "UNLICENSE")  # beginnings of their names
MOST_CHARS = 200_000  # the longest text has 36,000
_COPYRIGHT = re.compile(
    r"^.{0,10}(?:copyright\b|\(c\)|©).{0,200}$|all rights reserved\.?", re.I | re.M
)
_WORD = re.compile(r"[a-z0-9]+")


def is_licence_file(path: str) -> bool:
    """Whether a file at the top of a repository is where its licence stands."""
    return "/" not in path and path.upper().startswith(LICENCE_FILES)


def licence_of_text(text: str) -> str | None:
    """The SPDX id of a licence file's text, or None."""
    if len(text) > MOST_CHARS:
        return None
    pairs = _pairs(text)
    size = sum(pairs.values())
    alike = sorted(
        (
            (2 * (pairs & known).total() / max(1, size + known.total()), name)
            for name, known in _known()
        ),
        reverse=True,
    )
    (best, name), (next_best, _) = alike[:2]
    return name if best >= LEAST_ALIKE and best > next_best else None


def _pairs(text: str) -> Counter[tuple[str, str]]:
    words = _WORD.findall(_COPYRIGHT.sub("", text).lower())
    return Counter(pairwise(words))


@lru_cache(maxsize=1)
def _known() -> list[tuple[str, Counter[tuple[str, str]]]]:
    from identify.vendor.licenses import LICENSES

    return [(name, _pairs(text)) for name, text in LICENSES]
