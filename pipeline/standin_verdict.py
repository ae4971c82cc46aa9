"""The stand-in's answer to "which of two answers is better?": rules, not reading.

The answer with more points of the stand-in's prose rubric is better; where they are equal, the one
that repeats itself less. The place in which an answer stands counts for nothing, so asked in both
orders it never disagrees with itself.
"""

from __future__ import annotations

import re
from typing import Any

from pipeline.standin_prose import judge_prose

SCHEMA_NAME = "pairwise_verdict"
_LEAST_DIFFERENCE = 0.05  # of the share of distinct word triples; less is chance
_SHOWN = r"<{name} ([0-9a-f]+)>\n(.*?)\n</{name} \1>"


def compare(messages: list[dict[str, str]]) -> dict[str, Any]:
    """The reason and the better of the two answers; ValueError where they are not both shown."""
    shown = messages[-1]["content"]
    first, second = (_weigh(_part(shown, name)) for name in ("first", "second"))
    better = "tie"
    if first[0] != second[0]:
        better = "first" if first[0] > second[0] else "second"
    elif abs(first[1] - second[1]) >= _LEAST_DIFFERENCE:
        better = "first" if first[1] > second[1] else "second"
    reason = (
        f"By rules, not by reading: {first[0]} points against {second[0]}; of its word triples "
        f"{first[1]:.0%} are distinct against {second[1]:.0%}."
    )
    return {"reason": reason, "better": better}


def _part(shown: str, name: str) -> str:
    found = re.search(_SHOWN.format(name=name), shown, re.DOTALL)
    if found is None:
        raise ValueError(f"no answer between markers of {name!r}")
    return found[2]


def _weigh(text: str) -> tuple[int, float]:
    words = text.split()
    triples = list(zip(words, words[1:], words[2:], strict=False))
    distinct = len(set(triples)) / len(triples) if triples else 0.0
    return sum(holds for holds, _ in judge_prose(text)), distinct
