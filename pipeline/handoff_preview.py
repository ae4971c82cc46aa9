"""The preview of a handoff: what a person reads before they approve, on one page of Markdown.

Head figures come from the manifests and from `handoff.json` alone. What they do not know is
"unknown"; text that came with the data (names of sources and licences) is kept from being markup.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.handoff_record import Handoff
from pipeline.manifest import Manifest
from pipeline.training_config import TrainingConfig

Stages = Mapping[str, tuple[Path, Manifest]]


def write_preview(
    run: Path, fingerprint: str, handoff: Handoff, stages: Stages, training: TrainingConfig,
    would_start: str,
) -> str:  # fmt: skip
    """The page; `would_start` says in words what an approval starts."""
    parts = (
        _head(run, fingerprint, handoff),
        _waterfall(stages),
        _arms(handoff),
        _licences(handoff, training.arm),
        _contamination(handoff),
        _cost(stages),
        _changes(stages),
        _training(handoff, training, would_start),
    )
    return "\n".join(line for part in parts for line in part) + "\n"


def plain(text: object) -> str:
    """Text of unknown origin on one line, as itself in Markdown and HTML."""
    cleaned = " ".join(str(text).split())[:300]
    return re.sub(r"[\\`*_\[\]<>|#!&]", lambda mark: f"&#{ord(mark[0])};", cleaned)


def _head(run: Path, fingerprint: str, handoff: Handoff) -> Iterator[str]:
    teacher = handoff.teacher
    yield f"# Handoff of {plain(run.name)}: {plain(handoff.dataset)}"
    yield ""
    yield f"- Dataset fingerprint: `{fingerprint}`"
    yield f"- Card: {plain(run / '09-card' / 'README.md')}"
    yield f"- Labels by: {plain(teacher.get('annotator', 'unknown'))}"
    yield f"- Signed: {handoff.signature.key_variable if handoff.signature else 'no'}"
    held_out = handoff.validation
    yield f"- Held-out text: {held_out.bytes:,} bytes, {held_out.tokens:,} tokens"


def _waterfall(stages: Stages) -> Iterator[str]:
    yield from ("", "## What became of the rows", "", "| stage | unit | in | kept |")
    yield "|---|---|---:|---:|"
    for name, (_, manifest) in stages.items():
        if name in {"ingest", "clean", "label", "apply-filter", "synthesize", "decontaminate"}:
            ledger = manifest.ledger
            yield f"| {name} | {ledger['unit']} | {ledger['rows_in']:,} | {ledger['kept']:,} |"


def _arms(handoff: Handoff) -> Iterator[str]:
    yield from ("", "## Arms", "", "| arm | tokens | documents | synthetic tokens |")
    yield "|---|---:|---:|---:|"
    for arm in handoff.arms:
        share = arm.synthetic_tokens / arm.tokens if arm.tokens else 0
        yield (
            f"| {plain(arm.name)} | {arm.tokens:,} | {arm.documents:,} "
            f"| {arm.synthetic_tokens:,} ({share:.1%}) |"
        )


def _licences(handoff: Handoff, chosen: str) -> Iterator[str]:
    arm = next(arm for arm in handoff.arms if arm.name == chosen)
    yield from ("", f"## Licences of {plain(arm.name)}, before the cut to equal tokens", "")
    for licence, documents in sorted(arm.licences.items(), key=lambda row: (-row[1], row[0])):
        yield f"- {plain(licence)}: {documents:,} documents"


def _contamination(handoff: Handoff) -> Iterator[str]:
    found = handoff.contamination.model_dump()
    yield from ("", "## Contamination", "", f"- Verdict: {found['verdict']}")
    for benchmark, hits in sorted((found.get("hits") or {}).items()):
        yield f"- {plain(benchmark)}: {hits:,} documents taken out"
    if found.get("planted"):
        planted_found = found.get("planted_found", "unknown")
        yield f"- Planted leaks found: {planted_found} of {found['planted']}"


def _cost(stages: Stages) -> Iterator[str]:
    yield from ("", "## Cost of the teacher", "")
    spends = [(name, m.spend) for name, (_, m) in stages.items() if m.spend is not None]
    for name, spend in spends:
        cached = f", {spend.cached_calls:,} of them known already" if spend.cached_calls else ""
        yield f"- {name}: {spend.cost:,.4f} {spend.currency}, {spend.calls:,} calls{cached}"
    if not spends:
        yield "- unknown"


def _changes(stages: Stages) -> Iterator[str]:
    """What changed since the parent version, as the card states it; nothing for a first one."""
    directory, manifest = stages["card"]
    if "changes.json" not in manifest.files:
        return
    changes: dict[str, Any] = json.loads((directory / "changes.json").read_text())
    if not changes.get("parent"):
        return
    yield from ("", "## Since the parent version", "")
    for name, value in changes.items():
        yield f"- {plain(name.replace('_', ' '))}: {plain(json.dumps(value, ensure_ascii=False))}"


def _training(handoff: Handoff, training: TrainingConfig, would_start: str) -> Iterator[str]:
    hint = handoff.suggestion
    yield from ("", "## Training", "")
    size = f"{hint.parameters:,} parameters (near {hint.preset})"
    yield f"- Suggested: {size}, {hint.tokens:,} tokens"
    yield f"- Arm: {plain(training.arm)}"
    yield f"- An approval starts: {plain(would_start)}"
