"""Take out what is personal: typed placeholders for e-mails, telephones, keys and the like.

A batch of texts is marked first (`pipeline.pii_marks`); only the texts that may hold something are
decoded and searched, and a batch where nothing is found comes back as it came. Prose is redacted.
Program text is redacted in strings and comments, and only if it still parses; a secret anywhere
else drops the file. A verdict names the kind and the line, never the thing itself.
docs/pii.md has the policy, and recall and precision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clean_rules import PERSONAL_DATA, SECRET, Verdict
from pipeline.pii_code import parses, split_finds, without_authors
from pipeline.pii_config import PLACEHOLDERS, SECRETS, Find, PiiConfig
from pipeline.pii_find import find
from pipeline.pii_marks import marks_of

__all__ = ["PiiConfig", "Redacted", "redact", "redact_text"]


class Redacted(NamedTuple):
    """Texts without what was found (as they were where there is a verdict), and what it was."""

    texts: pa.Array
    counts: list[dict[str, int]]  # finds by type, redacted or not; empty for most
    verdicts: list[Verdict | None]  # why a text is to be dropped


class Judged(NamedTuple):
    """One text: what stands for it, what was found, and why it is dropped."""

    text: str
    counts: dict[str, int]
    verdict: Verdict | None


def redact(texts: pa.Array | pa.ChunkedArray, kinds: Sequence[str], config: PiiConfig) -> Redacted:
    """Redact N texts, whose kinds ("web", "code") say how; a null stays null."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    counts: list[dict[str, int]] = [{} for _ in range(len(texts))]
    verdicts: list[Verdict | None] = [None] * len(texts)
    changed: dict[int, str] = {}
    marks = marks_of(texts)
    for row in marks.nonzero()[0].tolist() if config.types else ():
        text = texts[row].as_py()
        judged = redact_text(text, kinds[row], config, int(marks[row]))
        counts[row], verdicts[row] = judged.counts, judged.verdict
        if judged.text is not text:
            changed[row] = judged.text
    return Redacted(_replaced(texts, changed), counts, verdicts)


def redact_text(text: str, kind: str, config: PiiConfig, marks: int) -> Judged:
    """Redact one text that bears these marks; `pii_marks.EVERY` when they are not known."""
    finds = find(text, marks, config)
    if not finds:
        return Judged(text, {}, None)
    return (
        _redact_code(text, finds, config) if kind == "code" else _redact_prose(text, finds, config)
    )


def _redact_prose(text: str, finds: list[Find], config: PiiConfig) -> Judged:
    if config.prose == "drop":
        return Judged(text, _counts(finds), _verdict(text, finds))
    return Judged(_put_placeholders(text, finds), _counts(finds), None)


def _redact_code(text: str, finds: list[Find], config: PiiConfig) -> Judged:
    if config.keep_author_emails:
        finds = without_authors(text, finds)
    is_python = parses(text)
    can, cannot = split_finds(text, finds, is_python)
    secrets = [find for find in cannot if find.type in SECRETS]
    if is_python:  # what else stands in the code is code
        finds = sorted(can + secrets)
    if not finds:
        return Judged(text, {}, None)
    counts = _counts(finds)
    if secrets or config.code == "drop":
        return Judged(text, counts, _verdict(text, secrets or finds))
    if cannot and not is_python and config.unparsed_code == "drop":
        return Judged(text, counts, _verdict(text, cannot))
    edited = _put_placeholders(text, can)
    if is_python and not parses(edited):
        return Judged(text, counts, _verdict(text, finds))
    return Judged(edited, counts, None)


def _counts(finds: list[Find]) -> dict[str, int]:
    return dict(sorted(Counter(find.type for find in finds).items()))


def _verdict(text: str, finds: list[Find]) -> Verdict:
    """The first secret, or the first find where there is none, by kind and line."""
    first = min(finds, key=lambda find: (find.type not in SECRETS, find.start))
    line = text.count("\n", 0, first.start) + 1
    reason = SECRET if first.type in SECRETS else PERSONAL_DATA
    return Verdict(reason, f"{first.type} at line {line}")


def _put_placeholders(text: str, finds: list[Find]) -> str:
    parts, at = [], 0
    for found in finds:
        parts += [text[at : found.start], PLACEHOLDERS[found.type]]
        at = found.end
    return "".join([*parts, text[at:]])


def _replaced(texts: pa.Array, changed: dict[int, str]) -> pa.Array:
    """The texts with these rows changed; the same array when there are none."""
    if not changed:
        return texts
    mask = [False] * len(texts)
    for row in changed:
        mask[row] = True
    new = pa.array([changed[row] for row in sorted(changed)], texts.type)
    return pc.replace_with_mask(texts, pa.array(mask), new)
