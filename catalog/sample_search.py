"""Words looked for in the texts, stretch by stretch: each page reads so many bytes and no more.

There is no index of the words: a corpus is browsed, not served. A stretch is a run of whole files'
rows in the order in which they are stored; the page says how far it looked, and where to go on.
Texts that cleaning dropped are not searched, as they have not been redacted.
What it costs: about 0.3 s for the 64 MB of text that a page looks through, on one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from catalog.parquet_reader import Reader
from catalog.sample_files import Corpus, Files
from catalog.sample_filters import Filters, read_position
from catalog.sample_query import PAGE_ROWS, Place
from catalog.sample_question import question
from pipeline.errors import StageError

STRETCH_BYTES = 64_000_000  # of text, unpacked
STRETCHES = 12  # files looked into for one page at most


@dataclass(frozen=True)
class Stretch:
    """Rows first to end (exclusive) of one file; `before` documents are stored before them."""

    path: str
    shelf: str
    first: int
    end: int
    before: int


@dataclass(frozen=True)
class Found:
    """What a page of a search has: documents, how far it looked, and where the next begins."""

    places: list[Place]
    looked_from: int  # documents, in the order in which they are stored
    looked_to: int
    documents: int
    next: str | None


def search(reader: Reader, corpus: Corpus, filters: Filters, after: str) -> Found:
    """The next documents whose text holds the words, from where `after` says."""
    begin, total = read_position(after or "0"), _documents(corpus)
    places: list[Place] = []
    looked_to, files = begin, 0
    for stretch in _stretches(corpus, begin):
        rows = _matching(reader, corpus, filters, stretch, PAGE_ROWS + 1 - len(places))
        places += rows
        looked_to, files = stretch.before + stretch.end, files + 1
        if len(places) > PAGE_ROWS:
            looked_to = stretch.before + places[PAGE_ROWS].row
            break
        if files == STRETCHES:
            break
    more = looked_to < total
    return Found(
        places[:PAGE_ROWS], begin, looked_to, total, str(looked_to) if more else None
    )  # fmt: skip


def _matching(
    reader: Reader, corpus: Corpus, filters: Filters, stretch: Stretch, most: int
) -> list[Place]:
    """Documents of one stretch that match."""
    source, values = question(corpus, filters, stretch.shelf, stretch.path)
    values |= {"first": stretch.first, "end": stretch.end, "most": most}
    found = reader.rows(
        f"SELECT d.doc_id, d.file_row_number {source} "
        "AND d.file_row_number >= $first AND d.file_row_number < $end "
        "AND contains(lower(d.text), lower($text)) ORDER BY d.file_row_number LIMIT $most",
        values,
    )
    return [Place(r["doc_id"], stretch.shelf, stretch.path, r["file_row_number"]) for r in found]


def _stretches(corpus: Corpus, begin: int) -> Iterator[Stretch]:
    """The rest of the files from a position on, cut where the bytes of a page are used up."""
    room = STRETCH_BYTES
    for shelf, path, before, groups in _layout(corpus):
        first, end = max(0, begin - before), 0
        for rows, n_bytes in groups:
            end += rows
            if end <= first:
                continue
            room -= n_bytes
            if room <= 0:
                break
        if end > first:
            yield Stretch(path, shelf, first, end, before)
        if room <= 0:
            return


def _documents(corpus: Corpus) -> int:
    return sum(rows for *_, groups in _layout(corpus) for rows, _ in groups)


@lru_cache(16)
def _layout(corpus: Corpus) -> list[tuple[str, str, int, list[tuple[int, int]]]]:
    """Of every file that is searched: shelf, path, documents before it, and of each of its row
    groups the rows and the bytes of text; from the files' footers.
    """
    found, before = [], 0
    for shelf, path in _searched(corpus):
        groups = _row_groups(path)
        found.append((shelf, path, before, groups))
        before += sum(rows for rows, _ in groups)
    return found


def _searched(corpus: Corpus) -> Iterator[tuple[str, str]]:
    shelves: list[tuple[str, Files]] = [
        ("passed", corpus.passed), ("synthetic", corpus.synthetic),
    ]  # fmt: skip
    for shelf, files in shelves:
        yield from ((shelf, path) for path in files)


def _row_groups(path: str) -> list[tuple[int, int]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        footer = pq.read_metadata(path)
    except (OSError, pa.ArrowException) as error:
        raise StageError(
            "clean", f"{Path(path).name} is missing or damaged",
            "`primer verify` on this run says more",
        ) from error  # fmt: skip
    text = footer.schema.names.index("text")
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    return [(group.num_rows, group.column(text).total_uncompressed_size) for group in groups]
