"""What every reader yields: a record with its text, or a refusal with its reason.

A refusal is one record that gives no document, and stands where the record would have stood: a
drop is a decision about a record that was read, a failure is a record that could not be.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pipeline.records import make_doc_id
from pipeline.rejected import Rejected
from pipeline.sources import SourceConfig

DROPS = frozenset({"empty", "no_docstring"})  # the record was read, and holds nothing to keep


@dataclass(frozen=True)
class Record:
    """One record; `address` is its own within the source (a path, or file:row).

    What the record says of itself (where it is from, its licence, ...) is null where it says
    nothing, and then the source's word counts.
    """

    address: str
    text: str
    url_or_path: str | None = None
    licence: str | None = None
    language: str | None = None
    kind: str | None = None
    group: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """Why a record gives no document; `offset` is its row or line from 1, or a byte in archives."""

    address: str
    reason: str
    evidence: str
    offset: int | None = None
    dropped: bool = False  # a decision; otherwise a failure


class Unusable(Rejected):
    """A record that gives no document."""

    def refuse(self, address: str, offset: int | None = None) -> Refusal:
        """The refusal of the record at this address."""
        return Refusal(address, self.reason, self.evidence, offset, self.reason in DROPS)


def make_document(source: SourceConfig, record: Record) -> dict[str, Any]:
    """The document of a record.

    The id is of `address`, which is unique in the source, so that two rows of one text and one
    URL are two documents: joins are on the id alone.
    """
    metadata = {"read": source.read, **record.metadata}
    if source.weight is not None:
        metadata["weight"] = source.weight
    url_or_path = record.url_or_path or record.address
    return {
        "doc_id": make_doc_id(source.name, record.address, record.text),
        "text": record.text,
        "kind": record.kind or source.kind,
        "source": source.name,
        "group": _group(source, record.group or url_or_path, whole=record.group is not None),
        "url_or_path": url_or_path,
        "licence": record.licence or source.licence,
        "language": record.language or source.language,
        "origin": "human",
        "metadata": _as_json(metadata),
    }


def _as_json(metadata: Mapping[str, Any]) -> str:
    """JSON of what tables hold: times and decimals as text, NaN and infinity as null."""
    try:
        return json.dumps(
            metadata, ensure_ascii=False, sort_keys=True, default=str, allow_nan=False
        )
    except ValueError:
        loose = json.dumps(metadata, default=str)
        return _as_json(json.loads(loose, parse_constant=lambda _: None))


def _group(source: SourceConfig, name: str, whole: bool) -> str:
    """The prefix and the given group, or the site of a URL, or the leading parts of a path."""
    prefix = source.group_prefix or source.name
    if whole:
        return f"{prefix}/{name}"
    if name.startswith(("http://", "https://")):
        return f"{prefix}/{_site(name)}"
    parts = [prefix, *name.split("/")[: source.group_depth]]
    return "/".join(parts).removesuffix(".py")


def _site(url: str) -> str:
    try:
        return (urlsplit(url).hostname or url).removeprefix("www.")
    except ValueError:  # such as an address in brackets that is none
        return url


def make_reject(source: SourceConfig, refusal: Refusal) -> dict[str, Any]:
    """The row of a refusal; `offset` is a column of its own where the schema has one."""
    return {
        "source": source.name,
        "url_or_path": refusal.address,
        "offset": refusal.offset,
        "reason": refusal.reason,
        "evidence": refusal.evidence[:500].encode("utf-8", "backslashreplace").decode(),
    }
