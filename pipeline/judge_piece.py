"""Whether a written piece is accepted: nothing wrong to be seen, and its code does what it says.

The text is looked at first (`flaws`), because that is a thousand times cheaper than running its
code (`run_blocks`). Exercises are judged by their tests (`judge_exercise`).
"""

from __future__ import annotations

from typing import Any

from pipeline.flaws import FlawsConfig, find_flaw
from pipeline.judge_exercise import judge_exercise, without_body
from pipeline.judged import Judged
from pipeline.run_blocks import run_blocks
from pipeline.sandbox import Sandbox

__all__ = ["Judged", "judge_exercise", "judge_lesson", "without_body"]

_NO_WISHES = FlawsConfig()


def judge_lesson(
    content: dict[str, Any], sandbox: Sandbox, prompt: str = "", flaws: FlawsConfig = _NO_WISHES
) -> Judged:
    """Judge a lesson's text; `prompt` is what asked for it, of which nothing may be left in it."""
    flaw = find_flaw(content["text"], prompt, flaws)
    if flaw:
        return Judged(*flaw, 0)
    return run_blocks(content["text"], sandbox, flaws.unexecuted_code)
