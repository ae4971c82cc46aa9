"""What a person asked a run for, kept beside its stages, so that `primer resume` asks the same.

{"start": null, "until": "tokenize"}    is written before the first stage, each time
"""

from __future__ import annotations

import json
import os
from pathlib import Path

ASKED = "asked.json"


def note_asked(run: Path, start: str | None, until: str | None) -> None:
    """Put it down: whole, or as it was."""
    beside = run / f".{ASKED}.partial"
    with beside.open("w") as file:
        json.dump({"start": start, "until": until}, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(run / ASKED)


def asked_of(run: Path) -> tuple[str | None, str | None]:
    """The stages to start at and to stop after; the whole journey where nothing was put down."""
    try:
        found = json.loads((run / ASKED).read_text())
        return found["start"], found["until"]
    except (OSError, ValueError, KeyError, TypeError):
        return None, None
