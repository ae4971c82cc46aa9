"""A web archive as documents: its records in their order, HTML given to the extractors.

One row for each record, in the order of the file whatever the number of workers: a `WebDocument`,
or `Skipped` or `Failed` with a reason, those of the extractors among them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from pipeline.archives import ArchiveConfig, Page, Row, Skipped, read_archive
from pipeline.archives_charset import Decoded
from pipeline.archives_records import Failed
from pipeline.extraction import Extracted, Extractors, Result

MAX_ASIDE = 1_000  # records without a page that wait for a page before them


@dataclass(frozen=True, slots=True)
class WebDocument:
    """The text of a page, and all that the archive says of it.

    Title and language hint are empty where the page names none; so is `extractor` for plain text.
    """

    url: str
    offset: int
    inside: int
    text: str
    title: str
    language_hint: str
    extractor: str  # name and version
    charset: str
    charset_by: str  # "bom", "header", "meta" or "detected"
    wrong_bytes: int  # that the charset did not explain
    date: str
    truncated: str  # why the crawler cut the page


def read_documents(
    address: str, config: ArchiveConfig, extractors: Extractors
) -> Iterator[WebDocument | Skipped | Failed]:
    """Every record of the archive as a document or as what became of it; see `read_archive`."""
    rows = read_archive(address, config)
    for first in rows:  # each turn takes many: up to a page of plain text, or enough aside
        aside: deque[Skipped | Failed] = deque()
        plain: list[Page] = []
        html = _html(chain([first], rows), aside, plain)
        for (page, decoded), result in extractors.run(html):
            while aside and _place(aside[0]) < _place(page):
                yield aside.popleft()
            yield _document(page, decoded, result)
        yield from aside
        for page in plain:
            yield _plain(page)


def _html(
    rows: Iterator[Row], aside: deque[Skipped | Failed], plain: list[Page]
) -> Iterator[tuple[tuple[Page, Decoded], str]]:
    """HTML pages up to one of plain text or `MAX_ASIDE` others, so that the order is kept."""
    for row in rows:
        if not isinstance(row, Page):
            aside.append(row)
            if len(aside) >= MAX_ASIDE:
                return
        elif row.is_html:
            decoded = row.decode()
            yield (row, decoded._replace(text="")), decoded.text
        else:
            plain.append(row)
            return


def _place(row: Row) -> tuple[int, int]:
    return row.offset, row.inside


def _document(page: Page, decoded: Decoded, result: Result) -> WebDocument | Skipped | Failed:
    if isinstance(result, Extracted):
        return WebDocument(
            page.url, page.offset, page.inside, result.text, result.title, result.language,
            result.extractor, *decoded[1:], page.date, page.truncated,
        )  # fmt: skip
    evidence = f"{result.evidence} ({result.extractor})"
    if result.is_failure:
        return Failed(page.offset, page.inside, result.reason, evidence, page.url)
    return Skipped(page.url, page.offset, page.inside, result.reason, evidence)


def _plain(page: Page) -> WebDocument | Skipped:
    decoded = page.decode()
    text = decoded.text.replace("\0", "").strip()
    if not text:
        return Skipped(page.url, page.offset, page.inside, "no_text", f"{len(page.body)} bytes")
    return WebDocument(
        page.url, page.offset, page.inside, text, "", "", "", *decoded[1:], page.date,
        page.truncated,
    )  # fmt: skip
