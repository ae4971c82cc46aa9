"""What a reader of samples asks for: read from the address, checked, and bounded.

Choices are checked against what there is; words are cut to a length. Nothing here becomes SQL:
`catalog.sample_query` writes questions of its own and binds these values to them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from urllib.parse import urlencode

from starlette.exceptions import HTTPException

MAX_CHARS = 200  # of a word to look for, or of a name
UNKNOWN = "unknown"  # stands for what is null

# A document has exactly one of these; the first that is true of it.
DECISIONS = {
    "dropped_in_cleaning": "dropped in cleaning",
    "contaminated": "removed: leaks a benchmark",
    "synthetic": "written by the teacher",
    "held_out": "held out for validation",
    "kept": "kept by the filter",
    "below_threshold": "dropped by the filter",
    "not_scored": "passed cleaning, not scored",
}
LABELS = {
    "any": "labelled",
    **{str(score): f"labelled {score}" for score in range(6)},
    "none": "asked, but unlabelled",
}
ORDERS = {
    "score_down": "filter's score, highest first",
    "score_up": "filter's score, lowest first",
    "id": "no order (by id, which is a hash)",
}


HEADINGS = {
    "reason": "dropped in cleaning for",
    "label": "teacher’s label",
    "least": "score at least",
    "most": "score at most",
    "text": "words in the text",
    "address": "part of the address",
}


@dataclass(frozen=True)
class Filters:
    """One question; an empty string or None asks for nothing.

    With `text` the documents come as they are stored, and `order` means nothing.
    """

    decision: str = ""
    reason: str = ""  # why cleaning dropped it
    source: str = ""
    kind: str = ""
    language: str = ""
    licence: str = ""
    arm: str = ""
    label: str = ""
    least: float | None = None  # of the filter's score
    most: float | None = None
    address: str = ""  # a part of it
    text: str = ""
    order: str = "score_down"

    @property
    def asks_score(self) -> bool:
        """Whether only documents that the filter scored can match."""
        decided = self.decision in ("kept", "below_threshold")
        return decided or self.least is not None or self.most is not None

    @property
    def narrowed(self) -> bool:
        """Whether anything but the order is asked for."""
        return bool(self.in_use)

    @property
    def in_use(self) -> list[tuple[str, str, str]]:
        """What is asked for, but for the order: name, and heading and value in words."""
        default = asdict(Filters(order=self.order))
        return [
            (name, HEADINGS.get(name, name), _in_words(name, value))
            for name, value in asdict(self).items()
            if value != default[name]
        ]

    def query(self, **changes: object) -> str:
        """These filters, changed, as the query of an address."""
        default = asdict(Filters())
        given = {**asdict(self), **changes}
        return urlencode(
            {k: v for k, v in given.items() if v not in ("", None) and v != default.get(k)}
        )


def _in_words(name: str, value: object) -> str:
    words = {"decision": DECISIONS, "label": LABELS}.get(name, {}).get(str(value), str(value))
    return words.replace("_", " ") if name == "reason" else words


def read_filters(query: Mapping[str, str]) -> Filters:
    """The filters in an address; 400 for what can be no filter."""
    words = {
        name: read_word(query, name)
        for name in ("reason", "source", "kind", "language", "licence", "arm", "address", "text")
    }
    return Filters(
        **words,
        decision=_choice(query, "decision", DECISIONS),
        label=_choice(query, "label", LABELS),
        order=_choice(query, "order", ORDERS) or "score_down",
        least=_score(query, "least"),
        most=_score(query, "most"),
    )


def read_position(given: str) -> int:
    """The row, character or item that a page begins with; 400 for what no page has made."""
    if not (given.isdecimal() and len(given) < 16):
        raise HTTPException(400, "The address does not say where the page begins.")
    return int(given)


def read_word(query: Mapping[str, str], name: str) -> str:
    """A word to look for; empty where none is given."""
    return query.get(name, "").replace("\x00", "").strip()[:MAX_CHARS]


def _choice(query: Mapping[str, str], name: str, choices: Mapping[str, str]) -> str:
    given = read_word(query, name)
    if given and given not in choices:
        raise HTTPException(400, f"There is no {name} {given!r}; there are {', '.join(choices)}.")
    return given


def _score(query: Mapping[str, str], name: str) -> float | None:
    given = read_word(query, name)
    if not given:
        return None
    try:
        score = float(given)
    except ValueError:
        score = math.nan
    if not 0 <= score <= 1:
        raise HTTPException(400, f"A score is a number from 0 to 1, and {given!r} is none.")
    return score
