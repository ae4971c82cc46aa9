"""Splits by group: a repository, package or site falls wholly on one side, for ever.

A split depends on the group's name, the recipe's seed and the split's own name, on nothing else:
not on the number of shards, not on the order of reading, not on which other groups exist.
"""

import hashlib

from pydantic import Field

from pipeline.config import Section


class ValidationConfig(Section):
    """The held-out text on which every arm's model is measured; no arm ever trains on it."""

    share: float = Field(
        0.05, gt=0, lt=0.5, description="Share of the groups held out for validation."
    )
    max_bytes: int = Field(
        400_000, ge=10_000, description="At most this much text (bytes) is used for validation."
    )


def place_of(group: str, seed: int, split: str) -> float:
    """A fixed place in [0, 1) for a group, uniform over groups and independent between splits."""
    digest = hashlib.sha256(f"{split}\x00{seed}\x00{group}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def in_validation(group: str, seed: int, config: ValidationConfig) -> bool:
    """Whether a group is held out of every arm, and of everything synthetic."""
    return place_of(group, seed, "validation") < config.share
