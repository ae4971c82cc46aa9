"""Which licences are kept: lists of SPDX ids to allow and to deny, asked of SPDX expressions.

`A OR B` is kept if one of them is, `A AND B` if both are, `A WITH exception` as A is. Patterns may
hold `*`: "GPL-*" stands for all versions. What is no SPDX expression is one id as it stands.

Source: https://spdx.github.io/spdx-spec/v2.3/SPDX-license-expressions/
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Literal

from pydantic import Field

from pipeline.clean_rules import Verdict
from pipeline.config import Section

_TOKEN = re.compile(r"\(|\)|[^\s()]+")


class LicenceRules(Section):
    """Which program text is kept by its licence."""

    allow: tuple[str, ...] | None = Field(
        None, min_length=1, description="SPDX ids that are kept, * for any; null allows all."
    )
    deny: tuple[str, ...] = Field((), description="SPDX ids that are not, even if allowed above.")
    unknown: Literal["keep", "drop"] = Field(
        "keep", description="What becomes of text whose licence is not known."
    )


def judge_licence(licence: str | None, rules: LicenceRules) -> Verdict | None:
    """Why text under this licence is dropped, or None."""
    if licence is None:
        return Verdict("licence_unknown", "null") if rules.unknown == "drop" else None
    return _judge(licence, rules)


@lru_cache(maxsize=4_096)
def _judge(licence: str, rules: LicenceRules) -> Verdict | None:
    def allowed(name: str) -> bool:
        return rules.allow is None or _matches(name, rules.allow)

    if not holds(licence, allowed):
        return Verdict("licence_not_allowed", licence)
    if not holds(licence, lambda name: allowed(name) and not _matches(name, rules.deny)):
        return Verdict("licence_denied", licence)
    return None


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)


def holds(expression: str, good: Callable[[str], bool]) -> bool:
    """Whether an SPDX expression can be met by licences that are good."""
    tokens = _TOKEN.findall(expression)
    try:
        answer, rest = _either(tokens, good)
    except ValueError:
        return good(expression)
    return good(expression) if rest else answer


def _either(tokens: list[str], good: Callable[[str], bool]) -> tuple[bool, list[str]]:
    answer, tokens = _both(tokens, good)
    while tokens and tokens[0].upper() == "OR":
        other, tokens = _both(tokens[1:], good)
        answer = answer or other
    return answer, tokens


def _both(tokens: list[str], good: Callable[[str], bool]) -> tuple[bool, list[str]]:
    answer, tokens = _one(tokens, good)
    while tokens and tokens[0].upper() == "AND":
        other, tokens = _one(tokens[1:], good)
        answer = answer and other
    return answer, tokens


def _one(tokens: list[str], good: Callable[[str], bool]) -> tuple[bool, list[str]]:
    if not tokens or tokens[0].upper() in {")", "OR", "AND", "WITH"}:
        raise ValueError("an operand is missing")
    if tokens[0] == "(":
        answer, tokens = _either(tokens[1:], good)
        if not tokens or tokens[0] != ")":
            raise ValueError("a bracket is open")
        return answer, tokens[1:]
    if len(tokens) > 1 and tokens[1].upper() == "WITH":
        if len(tokens) == 2:
            raise ValueError("an exception is missing")
        return good(tokens[0]), tokens[3:]
    return good(tokens[0]), tokens[1:]
