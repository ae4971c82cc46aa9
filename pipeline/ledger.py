"""Nothing vanishes: rows in = kept + dropped by reason + failed by reason.

A drop is a decision about a good row; a failure is a row that could not be judged. Both carry
their reason, and a stage whose ledger does not add up fails instead of sealing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.errors import StageError


@dataclass(frozen=True)
class Ledger:
    """The account of one stage, or of one shard of it, in rows of `unit`."""

    unit: str
    rows_in: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)

    @property
    def rows_out(self) -> int:
        """Rows accounted for, whatever became of them."""
        return self.kept + sum(self.dropped.values()) + sum(self.failed.values())

    def check(self, stage: str) -> Ledger:
        """Return self, or raise StageError naming the rows that are not accounted for."""
        if self.rows_in != self.rows_out or min(self.numbers()) < 0:
            raise StageError(
                stage,
                f"the ledger does not add up: {self.rows_in} {self.unit} in, {self.rows_out} "
                f"accounted for ({asdict(self)})",
                "nothing was sealed; this is a bug in the stage, please report it",
            )
        return self

    def numbers(self) -> list[int]:
        """Every count in the ledger."""
        return [self.rows_in, self.kept, *self.dropped.values(), *self.failed.values()]

    @classmethod
    def total(cls, unit: str, parts: Iterable[Ledger]) -> Ledger:
        """The sum of the shards' ledgers; reasons are sorted, so the order of shards is unseen."""
        rows_in = kept = 0
        dropped: Counter[str] = Counter()
        failed: Counter[str] = Counter()
        for part in parts:
            rows_in, kept = rows_in + part.rows_in, kept + part.kept
            dropped.update(part.dropped)
            failed.update(part.failed)
        return cls(unit, rows_in, kept, dict(sorted(dropped.items())), dict(sorted(failed.items())))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Ledger:
        """The inverse of `dataclasses.asdict`."""
        return cls(**record)
