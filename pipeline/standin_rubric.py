"""The stand-in teacher's answer to "how educational is this?": a published rule, not an LLM.

docs/standin.md states the rule in prose. It reads what a filter's features do not: the parse tree
of code, the discourse of prose. It imports nothing of `classifiers`, so the forest cannot learn
the rule by being handed its inputs. Five points, each with its reason in the justification.
"""

from __future__ import annotations

from typing import Any

from pipeline.rubrics import disclose
from pipeline.standin_code import judge_code
from pipeline.standin_prose import judge_prose

CODE_MARK = "[educational-code@"


def score(messages: list[dict[str, str]]) -> dict[str, Any]:
    """The justification and the score (0 to 5) of the document in the last message.

    Raises ValueError where the messages hold no document or no rubric.
    """
    text = disclose(messages[-1]["content"])
    system = messages[0]["content"]
    if text is None or not system.startswith("[educational-"):
        raise ValueError("no document between markers, or no rubric in the first message")
    points = judge_code(text) if system.startswith(CODE_MARK) else judge_prose(text)
    reasons = "; ".join(f"{'+' if holds else '-'} {reason}" for holds, reason in points)
    return {
        "justification": f"By rules, not by reading: {reasons}.",
        "score": sum(holds for holds, _ in points),
    }
