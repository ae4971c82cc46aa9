"""The waterfall: rows, bytes and tokens before and after every rule, which adds up.

Rules stand in the order in which they are asked, those for prose and for code beside each other,
since a document meets only one of the two; then redaction, which shortens texts, and copies.
Tokens are pre-tokens (`pipeline.pretokens`): what a tokenizer makes of a text at least.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

UNITS = ("rows", "bytes", "tokens")
REDACTED = "redacted"
Sizes = tuple[int, int, int]  # in UNITS


@dataclass
class Flow:
    """What came in, what each reason took away, what went out; by kind of document."""

    came: dict[str, Counter[str]] = field(default_factory=dict)
    took: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)  # by (kind, reason)
    left: dict[str, Counter[str]] = field(default_factory=dict)
    redacted: Counter[str] = field(default_factory=Counter)  # passages, by type

    def redact(self, counts: Mapping[str, int]) -> None:
        """Count redacted passages."""
        self.redacted.update(counts)

    def come(self, batch: pa.RecordBatch) -> None:
        """Count documents that came in."""
        _count(self.came, batch)

    def leave(self, batch: pa.RecordBatch) -> None:
        """Count documents that went out."""
        _count(self.left, batch)

    def take(self, dropped: pa.RecordBatch) -> None:
        """Count rows of `records.DROPPED`."""
        for row in dropped.drop_columns(["doc_id", "evidence"]).to_pylist():
            counts = self.took.setdefault((row["kind"], row["reason"]), Counter())
            counts.update(rows=1, bytes=row["bytes"], tokens=row["tokens"])

    def shorten(self, before: pa.RecordBatch, after: pa.RecordBatch) -> None:
        """Count what redaction took from the same documents."""
        old, new = Flow(), Flow()
        old.come(before)
        new.come(after)
        for kind, sizes in old.came.items():
            counts = self.took.setdefault((kind, REDACTED), Counter())
            for unit in ("bytes", "tokens"):  # a placeholder may be longer than what it hides
                counts[unit] += sizes[unit] - new.came[kind][unit]

    def add(self, other: Flow) -> None:
        """Take in another flow."""
        for mine, theirs in (
            (self.came, other.came), (self.took, other.took), (self.left, other.left),
        ):  # fmt: skip
            _merge(mine, theirs)
        self.redacted.update(other.redacted)

    def rows_by_reason(self) -> dict[str, int]:
        """How many documents each reason took, for the ledger."""
        rows: Counter[str] = Counter()
        for (_, reason), counts in sorted(self.took.items()):
            rows[reason] += counts["rows"]
        return dict(sorted((+rows).items()))

    def facts(self) -> dict[str, Any]:
        """What went out, and what was redacted, for the manifest."""
        left: Counter[str] = Counter()
        for counts in self.left.values():
            left.update(counts)
        return {
            "documents": left["rows"], "bytes": left["bytes"], "pretokens": left["tokens"],
            "redacted": dict(sorted(self.redacted.items())),
        }  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """For a shard's scratch."""
        took = [[*key, dict(counts)] for key, counts in self.took.items()]
        return {"came": self.came, "took": took, "left": self.left, "redacted": self.redacted}

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Flow:
        """What `as_json` gave."""
        return cls(
            {kind: Counter(counts) for kind, counts in given["came"].items()},
            {(kind, reason): Counter(counts) for kind, reason, counts in given["took"]},
            {kind: Counter(counts) for kind, counts in given["left"].items()},
            Counter(given["redacted"]),
        )


def fall(stage: str, flow: Flow, order: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each rule of each kind, in order; StageError where it does not add up.

    A row has `kind`, `rule`, and for each of UNITS what came in, what was dropped, what went on.
    """
    table = []
    for kind in sorted(flow.came):
        at = dict(flow.came[kind])
        reasons = [reason for of, reason in flow.took if of == kind]
        for rule in sorted(set(reasons), key=lambda r: (_place(r, order), r)):
            took = flow.took[kind, rule]
            row: dict[str, Any] = {"kind": kind, "rule": rule}
            for unit in UNITS:
                row |= {f"{unit}_in": at[unit], f"{unit}_dropped": took[unit]}
                at[unit] -= took[unit]
                row[f"{unit}_out"] = at[unit]
            table.append(row)
        left = flow.left.get(kind, Counter())
        if any(at[unit] != left[unit] for unit in UNITS):
            raise StageError(
                stage,
                f"the waterfall of {kind!r} ends at {at}, but {dict(left)} went out",
                "this is a fault of the program: please report it",
            )
    return table


def _place(rule: str, order: Sequence[str]) -> int:
    return order.index(rule) if rule in order else len(order)


def _count(into: dict[str, Counter[str]], batch: pa.RecordBatch) -> None:
    for kind, n_bytes, tokens in zip(
        *(batch[name].to_pylist() for name in ("kind", "bytes", "tokens")), strict=True
    ):
        into.setdefault(kind, Counter()).update(rows=1, bytes=n_bytes, tokens=tokens)


def _merge(into: dict[Any, Counter[str]], other: Mapping[Any, Counter[str]]) -> None:
    for key, counts in other.items():
        into.setdefault(key, Counter()).update(counts)


def as_markdown(table: Iterable[Mapping[str, Any]]) -> str:
    """The waterfall as a table."""
    lines = ["| kind | rule | " + " | ".join(f"{u} dropped | {u} left" for u in UNITS) + " |",
             "|---|---|" + "---:|" * 2 * len(UNITS)]  # fmt: skip
    for row in table:
        cells = (f"{row[f'{u}_dropped']:,} | {row[f'{u}_out']:,}" for u in UNITS)
        lines.append(f"| {row['kind']} | {row['rule']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def plot_waterfall(table: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Tokens left after every rule, one column of bars for each kind."""
    from matplotlib.figure import Figure

    kinds = sorted({row["kind"] for row in table})
    most = max((sum(row["kind"] == kind for row in table) for kind in kinds), default=1)
    figure = Figure(figsize=(7 * max(1, len(kinds)), 1.2 + 0.32 * most), layout="constrained")
    for axes, kind in zip(
        figure.subplots(1, max(1, len(kinds)), squeeze=False)[0], kinds, strict=False
    ):
        rows = [row for row in table if row["kind"] == kind]
        whole = max(1, rows[0]["tokens_in"])
        names = [row["rule"].replace("_", " ") for row in rows]
        left = [row["tokens_out"] / whole for row in rows]
        taken = [row["tokens_dropped"] / whole for row in rows]
        axes.barh(names, left, color="#4c72b0", label="left")
        axes.barh(names, taken, left=left, color="#c44e52", label="taken by this rule")
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of the tokens that came in")
        axes.set_title("prose" if kind == "web" else kind)
        axes.legend(loc="lower right")
    figure.savefig(path, dpi=110, metadata={"Software": None})
