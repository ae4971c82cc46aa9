"""A person's decision about a handoff: approve or reject, always with a name and a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import InputError
from pipeline.handoff_journal import Entry, append_entry


class Decision(BaseModel):
    """What the suspended flow waits for, and what a command or a web page sends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision: Literal["approve", "reject"] = Field(description="approve starts the training.")
    by: str = Field(pattern=r"\S", max_length=200, description="Who decides: a person's name.")
    reason: str = Field(pattern=r"\S", max_length=4_096, description="Why.")


def parse_decision(decision: str, by: str | None, reason: str | None) -> Decision:
    """A decision from what a person gave; InputError where the name or the reason is missing."""
    try:
        return Decision.model_validate({"decision": decision, "by": by, "reason": reason})
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        raise InputError(
            "handoff", f"{wrong['loc'][0]} = {wrong['input']!r}: {wrong['msg'].lower()}",
            "a decision needs --by NAME and --reason TEXT",
        ) from error  # fmt: skip


def decide(run: Path, decision: Decision, dataset: str | None = None) -> Entry:
    """Put a decision into the journal; InputError where another one was there first."""
    state = "approved" if decision.decision == "approve" else "rejected"
    return append_entry(
        run, state, by=decision.by, reason=decision.reason, after={"waiting"}, fingerprint=dataset
    )
