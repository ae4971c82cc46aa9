"""The stand-in teacher's answer to "how educational is this?": a published rule, not an LLM.

docs/standin.md states the rule in prose. It reads what a filter's features do not: the parse tree
of code, the discourse of prose. It imports nothing of `classifiers`, so the forest cannot learn
the rule by being handed its inputs. Five points, each with its reason in the justification.
"""

from __future__ import annotations

import re
from typing import Any

from pipeline.rubrics import LEFT_OUT, disclose
from pipeline.standin_code import judge_code
from pipeline.standin_prose import judge_prose

JUDGES = {
    "educational-prose": judge_prose,
    "educational-code": judge_code,
    "phi1-value": judge_code,  # the same points: rules do not weigh a whole
}

_RUBRIC = re.compile(r"\[([a-z0-9-]+)@")  # as `ask_about` begins the first message
_BEFORE = re.compile(rf"\A{re.escape(LEFT_OUT)}\d+ characters \.\.\.\]\n")


def score(messages: list[dict[str, str]]) -> dict[str, Any]:
    """The justification and the score (0 to 5) of the document in the last message.

    Raises ValueError where the messages hold no document, or no rubric that is known here.
    """
    text = disclose(messages[-1]["content"])
    named = _RUBRIC.match(messages[0]["content"])
    judge = JUDGES.get(named[1]) if named else None
    if text is None or judge is None:
        raise ValueError("no document between markers, or no known rubric in the first message")
    points = judge(_BEFORE.sub("", text))
    reasons = "; ".join(f"{'+' if holds else '-'} {reason}" for holds, reason in points)
    return {
        "justification": f"By rules, not by reading: {reasons}.",
        "score": sum(holds for holds, _ in points),
    }
