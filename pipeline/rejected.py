"""A verdict on some bytes, a record or a body, which ends in a row and not in a traceback."""

from __future__ import annotations


class Rejected(Exception):  # noqa: N818  # not an error of the program
    """Why something is not used: `reason` is a word, `evidence` what was seen."""

    def __init__(self, reason: str, evidence: str) -> None:
        super().__init__(reason, evidence)
        self.reason, self.evidence = reason, evidence
