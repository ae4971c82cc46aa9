"""Pages of a web archive as records, and a refusal for everything in it that is no page.

The reader of archives and the guarded extractors are joined in `pipeline.extraction_archive`; here
its documents become records. Extractor, charset and date are kept with every record; the page's own
word for its language is kept as a hint, and is not taken for its language.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.addresses import file_system, local_path
from pipeline.archives import ArchiveConfig, Skipped
from pipeline.archives_records import Failed
from pipeline.extraction import ExtractionConfig, Extractors
from pipeline.extraction_archive import WebDocument, read_documents
from pipeline.read_bytes import unreachable
from pipeline.read_record import Record, Refusal, Unusable
from pipeline.sources import SourceConfig, SourceFile

_FACTS = ("title", "language_hint", "extractor", "charset", "charset_by", "wrong_bytes", "date",
          "truncated", "offset")  # fmt: skip


def read_archive(
    source: SourceConfig, file: SourceFile, max_bytes: int, archives: ArchiveConfig,
    extraction: ExtractionConfig,
) -> Iterator[Record | Refusal]:  # fmt: skip
    """What became of every record of one archive, in its order."""
    if file.trouble:
        yield Refusal(file.name, "unreadable", file.trouble)
        return
    with Extractors(extraction) as extractors:
        for found in read_documents(_address(source, file), archives, extractors):
            address = f"{file.name}:{found.offset}" + (f"+{found.inside}" if found.inside else "")
            if isinstance(found, WebDocument):
                try:
                    yield _record(address, found, max_bytes)
                except Unusable as verdict:
                    yield verdict.refuse(address, found.offset)
            else:
                yield _refuse(source, file, address, found)


def _address(source: SourceConfig, file: SourceFile) -> str:
    """The file's address for whoever opens it anew."""
    if local_path(source.place) is not None:
        return file.place
    outer = source.place.partition("::")[2]
    if outer:  # within another file, such as zip://inner::outer
        return f"{source.place.partition('://')[0]}://{file.place}::{outer}"
    return str(file_system(source.place)[0].unstrip_protocol(file.place))


def _record(address: str, page: WebDocument, max_bytes: int) -> Record:
    size = len(page.text.encode())
    if size > max_bytes:
        raise Unusable("too_large", f"{page.url}: {size} bytes of text")
    facts = {name: getattr(page, name) for name in _FACTS}
    kept = {name: value for name, value in facts.items() if value}
    return Record(address, page.text, page.url or None, metadata=kept)


def _refuse(source: SourceConfig, file: SourceFile, address: str, row: Skipped | Failed) -> Refusal:
    evidence = f"{row.url}: {row.evidence}" if row.url else row.evidence
    if row.reason == "unreadable" and local_path(source.place) is None:
        raise unreachable(source, file, evidence)
    return Refusal(address, row.reason, evidence, row.offset, dropped=isinstance(row, Skipped))
