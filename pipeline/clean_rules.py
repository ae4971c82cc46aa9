"""What a rule of clean says of a document, and the reasons that are no rule's own name."""

from __future__ import annotations

from typing import NamedTuple

SECRET, PERSONAL_DATA = "secret", "personal_data"
EXACT_COPY, NEAR_COPY = "exact_copy", "near_copy"
COPY_OF_EARLIER = "copy_of_earlier_version"


class Verdict(NamedTuple):
    """Why a document is dropped, and what was seen."""

    reason: str
    evidence: str
