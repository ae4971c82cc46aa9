"""A finished book as one document, its structure kept: headings in the text, offsets beside it."""

from __future__ import annotations

import re
from typing import Any

from pipeline.book import Book
from pipeline.book_section import glossary_of

_PARTS = re.compile(r"(^```.*?^```[ \t]*$)", re.M | re.S)
_HIGH_HEADING = re.compile(r"^#{1,2} ", re.M)


def book_text(book: Book) -> tuple[str, list[dict[str, Any]]]:
    """The Markdown of a kept book, and where in it each section stands, in characters."""
    assert book.outline is not None
    text, places = f"# {book.outline.title}\n", []
    for number, (planned, one) in enumerate(
        zip(book.outline.sections, book.written, strict=False), 1
    ):
        start = len(text) + 1
        text += f"\n## {number}. {planned.title}\n\n{_under_heading(one.text, planned.title)}"
        grounds = book.materials[planned.material]
        places.append(
            {"title": planned.title, "start": start, "end": len(text), "terms": list(one.terms),
             "prompt_id": one.prompt_id, "early_terms": list(one.early_terms),
             "grounded_in": grounds.doc_id, "licence": grounds.licence}
        )  # fmt: skip
    terms = glossary_of(book.written).items()
    lines = "\n".join(f"- **{term}**: {meaning}" for term, meaning in terms)
    return f"{text}\n## Glossary\n\n{lines}\n", places


def book_row(book: Book) -> dict[str, Any]:
    """Text, licence, group and metadata of a kept book.

    The licence is that of all its materials, joined as SPDX does where they differ, and null where
    one is unknown. The group is that of its first section's material.
    """
    assert book.outline is not None
    text, places = book_text(book)
    grounds = [book.materials[one.material] for one in book.outline.sections[: len(places)]]
    licences = {one.licence for one in grounds}
    known = sorted(licence for licence in licences if licence is not None)
    return {
        "text": text,
        "kind": "web",
        "language": "en",
        "group": grounds[0].group,
        "url_or_path": book.name,
        "licence": " AND ".join(known) if len(known) == len(licences) else None,
        "metadata": {
            "grounded_in": list(dict.fromkeys(one.doc_id for one in grounds)),
            "grounded_licences": list(dict.fromkeys(one.licence for one in grounds)),
            "draw": book.record(),
            "outline": book.outline.record(),
            "glossary": glossary_of(book.written),
            "sections": places,
            "complete": book.ended_by is None,
            "ended_by": book.ended_by[0] if book.ended_by else None,
        },
    }


def _under_heading(text: str, title: str) -> str:
    """A section under its own heading: no heading as high, and none that says the title again."""
    first, _, rest = text.partition("\n")
    if first.startswith("#") and first.strip("# ").casefold() == title.casefold():
        text = rest.lstrip("\n")
    return lower_headings(text)


def lower_headings(text: str) -> str:
    """The text with no heading above the third level; code stays as it is."""
    return "".join(
        part if part.startswith("```") else _HIGH_HEADING.sub("### ", part)
        for part in _PARTS.split(text)
    )
