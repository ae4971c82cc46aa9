"""Offer a dataset for approval: verify all of it, and publish the page that a person decides by.

Nothing here waits or starts anything, and nothing knows of a server: a flow, a command and a test
call the same functions. `Offer.handoff_sha256` binds an approval to the bytes that were shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.addresses import describe, whole_file
from pipeline.errors import InputError, StageError
from pipeline.handoff_journal import (
    Entry,
    append_entry,
    attempt_of,
    dataset_fingerprint,
    journal_directory,
    last_with,
    read_journal,
)
from pipeline.handoff_preview import write_preview
from pipeline.handoff_record import HANDOFF, open_handoff
from pipeline.manifest import hash_file
from pipeline.training_config import TrainingConfig
from pipeline.verify import sealed_stages, verify_run

PREVIEW = "preview.md"
ENDED = ("rejected", "failed", "promoted", "held")


@dataclass(frozen=True)
class Offer:
    """A dataset that verifies: its page, and the hash of the `handoff.json` that it is about."""

    preview: str
    handoff_sha256: str
    figures: Mapping[str, int]


def handoff_file(run: Path) -> Path:
    """Where the sealed handoff of a run lies."""
    return run / "10-handoff" / HANDOFF


def request_handoff(run: Path, by: str, again: str | None = None) -> Entry:
    """Begin an attempt; with `again` (the reason) also where one has ended or started a training.

    Raises InputError where there was one: the same dataset starts no second training by itself.
    """
    attempt = attempt_of(read_journal(run))
    now = attempt[-1] if attempt else None
    if again is None:
        return append_entry(run, "requested", by=by, after={None, *_retried(attempt)})
    if now is not None and now.state not in ENDED:
        raise InputError(
            "handoff", f"the handoff of {run} is {now.state}: --again is for one that has ended",
            "decide it, or report how the training ended",
        )  # fmt: skip
    after = {None if now is None else now.state}
    return append_entry(run, "requested", by=by, reason=again, details={"again": True}, after=after)


def _retried(attempt: list[Entry]) -> set[str]:
    """A dataset that did not verify may be asked for again: it has started nothing."""
    did_not_verify = bool(attempt) and last_with(attempt, "verified") is None
    return {"failed"} if did_not_verify else set()


def may_request(run: Path) -> bool:
    """Whether a handoff begins now without a reason to do it again."""
    attempt = attempt_of(read_journal(run))
    return not attempt or attempt[-1].state in _retried(attempt)


def make_offer(
    run: Path, training: TrainingConfig, key_variable: str | None, would_start: str
) -> Offer:
    """Verify every byte, ledger and signature of the dataset, and write its page.

    Raises StageError naming the first thing that does not verify.
    """
    problems = verify_run(run)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise StageError("handoff", problems[0] + more, "run the recipe again, or restore the file")
    path = handoff_file(run)
    handoff = open_handoff(path, key_variable=key_variable)
    if training.arm not in {arm.name for arm in handoff.arms}:
        known = ", ".join(arm.name for arm in handoff.arms)
        raise InputError("handoff", f"training.arm {training.arm!r}", f"known: {known}")
    stages = sealed_stages(run)
    fingerprint = dataset_fingerprint(run)
    preview = write_preview(run, fingerprint, handoff, stages, training, would_start)
    files = sum(len(manifest.files) for _, manifest in stages.values())
    figures = {"stages": len(stages), "files": files}
    return Offer(preview, hash_file(path), figures)


def publish_preview(run: Path, offer: Offer, address: str | None) -> list[str]:
    """Write the page beside the journal, and to the recipe's address; where it is now."""
    directory = journal_directory(run)
    places = [str(directory / PREVIEW)]
    if address is not None:
        places.append(f"{address.rstrip('/')}/{run.name}-{directory.name}.md")
    for place in places:
        try:
            with whole_file(place) as path:
                path.write_text(offer.preview)
        except OSError as error:
            raise StageError(
                "handoff", f"the preview cannot be written to {place} ({describe(error)})",
                "see training.preview_address, and its credentials",
            ) from error  # fmt: skip
    return places


def check_still_offered(run: Path) -> None:
    """Raises StageError where the handoff is not the very file that was verified and shown."""
    shown = last_with(attempt_of(read_journal(run)), "verified")
    now = hash_file(handoff_file(run))
    if shown is None or shown.details["handoff_sha256"] != now:
        raise StageError(
            "handoff", f"{handoff_file(run)} is not the file that was shown for approval",
            "ask for the handoff --again",
        )  # fmt: skip
