"""The stand-in's answers on a corpus: a course from a cluster's words, a persona as it stands.

Not an LLM. The words of a cluster are taken two by two, the most telling first: each pair is a
concept, and its skills are what can be asked about any two things. The persona that rules made is
handed back; a rule has nothing to add to a rule.
"""

from __future__ import annotations

import re
from typing import Any

_LINE = re.compile(r"^(terms|so far): (.+)$", re.M)


def name_cluster(message: str) -> dict[str, Any]:
    """The answer to a question of `pipeline.curriculum_from_corpus`; ValueError without terms."""
    terms = _told(message, "terms").split(", ")
    pairs = list(zip(terms[::2], terms[1::2], strict=False))[:5]
    if not pairs:
        raise ValueError("a cluster needs at least two terms")
    return {
        "subject": f"All about {terms[0]}",
        "topic": f"{terms[0].capitalize()} and {terms[1]}",
        "concepts": [
            {
                "name": f"{one.capitalize()} with {other}",
                "skills": [
                    f"say what {one} is for",
                    f"tell {one} from {other}",
                    f"use {one} together with {other}",
                ],
            }
            for one, other in pairs
        ],
    }


def word_persona(message: str) -> dict[str, Any]:
    """The answer to a question of `pipeline.personas`; ValueError where none is proposed."""
    return {"persona": _told(message, "so far")}


def _told(message: str, label: str) -> str:
    head = message.partition("<document ")[0]
    found = [str(line[2]).strip() for line in _LINE.finditer(head) if line[1] == label]
    if not found:
        raise ValueError(f"the prompt has no line of {label!r}")
    return found[0]
