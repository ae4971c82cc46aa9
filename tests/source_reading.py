"""Read a source as the stage does, without the stage: documents and rejects, in order."""

from pathlib import Path
from typing import Any

from pipeline.read_record import Record, make_document, make_reject
from pipeline.read_source import Limits, read_piece
from pipeline.sources import SourceConfig
from pipeline.sources_plan import check_mapping, list_source, make_pieces

MAX_BYTES = 10_000


def source(address: Path | str, **fields: Any) -> SourceConfig:
    """A source with plain defaults."""
    return SourceConfig(**{"name": "here", "address": str(address), "kind": "web", **fields})


def read(
    address: Path | str, max_bytes: int = MAX_BYTES, **fields: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(documents, rejects) of a source."""
    given = source(address, **fields)
    listed = list_source(given)
    check_mapping(listed)
    documents, rejects = [], []
    for piece in make_pieces([listed]):
        for found in read_piece(given, piece, Limits(max_bytes)):
            if isinstance(found, Record):
                documents.append(make_document(given, found))
            else:
                rejects.append({**make_reject(given, found), "dropped": found.dropped})
    return documents, rejects


def reasons(rejects: list[dict[str, Any]]) -> dict[str, str]:
    """The reason of each refused address."""
    return {row["url_or_path"]: row["reason"] for row in rejects}
