"""Telephone numbers, by the numbering plans of phonenumbers (Google's libphonenumber).

A number with its country code (+49 30 ...) is one when its plan knows it. Without it, ten digits
may be anything: it must be written as numbers are written in North America or with a leading zero
in groups as its country writes them, or stand after a word ("Tel.", "fax", "call"). The library's
own matcher reads a text at 1 MB/s; this puts only what looks like a number to the library.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from pipeline.pii_config import Find
from pipeline.pii_numbers import Run

_GAP = r"[ \t.\-()/\u00a0\u2010-\u2015\u202f]"
_ABROAD = re.compile(rf"(?<![\w+.])(?:\+|\+\(|\(\+|00)[1-9](?:{_GAP}{{0,3}}[0-9]){{6,14}}(?!\w)")
_NORTH_AMERICAN = re.compile(
    r"(?<![\w.+-])(?:\+?1[ .-])?(?:\([2-9]\d\d\)[ \u00a0]?[2-9]\d\d[ .-]\d{4}"
    r"|[2-9]\d\d([.-])[2-9]\d\d\1\d{4})(?!\w|[.-]\d)"
)
_TRUNK = re.compile(
    r"(?<![\w.,+/-])(?<!\d[ \t:])(?!\d{5}-\d{4}\b)"  # the last is an American postcode
    rf"\(?0\d{{1,4}}\)?(?:{_GAP}{{1,3}}\d{{2,8}}){{1,5}}(?!\w|[.,]\d|-\w)"
)
_PLAIN = re.compile(rf"(?<![\w./])[(+]?\d(?:{_GAP}{{0,3}}\d){{6,14}}(?!\w)")
_WORD = re.compile(
    r"\b(?:tel|tele(?:phone|fon|fono|foon)|t[ée]l(?:[ée]phone|[ée]fono)|phone|fax|mobile?|cell"
    r"|cellular|call|dial|hotline|whatsapp|sms|fon|handy|m[oó]vil|portable|ph|telefax)\b"
    r"[^0-9\n]{0,20}$",
    re.I,
)
_WORD_CHARS = 36
_DATE = re.compile(r"\d{1,2}[/.-]\d{1,2}[/.-](?:19|20)\d\d\b|(?:19|20)\d\d[/.-]\d\d?[/.-]\d\d?\b")
_LEAST_CUT_DIGITS = 9  # of a number that stood in front of another
_GROUP_END = re.compile(r"\d(?=\D+\d)")
# Reserved for stories in North America, or counted up on the keys.
_FICTION = re.compile(r"555\D{0,2}01\d\d$|123\D?456\D?789")


def find_phones(text: str, runs: Iterable[Run], regions: tuple[str, ...]) -> Iterator[Find]:
    """Telephone and fax numbers."""
    for start, end, digits in runs:
        low, high = max(0, start - 3), end + 3
        for found in _ABROAD.finditer(text, low, high):
            yield from _longest(text, *found.span(), (None,))
        if digits >= 10 and "US" in regions:
            for found in _NORTH_AMERICAN.finditer(text, low, high):
                yield from _longest(text, *found.span(), ("US",))
        if digits >= 9 and text.find("0", start, end - 6) >= 0:
            for found in _TRUNK.finditer(text, low, high):
                if _is_grouped(found.group(), regions):
                    yield Find(*found.span(), "phone")
        plain = _PLAIN.match(text, start - (start > 0 and text[start - 1] in "(+"))
        if (
            plain
            and not _DATE.match(plain.group())
            and _WORD.search(text[max(0, plain.start() - _WORD_CHARS) : plain.start()])
        ):
            yield from _longest(text, *plain.span(), regions)


def _longest(
    text: str, start: int, end: int, regions: tuple[str, ...] | tuple[None]
) -> Iterator[Find]:
    """The number that begins here, without the numbers that may follow it."""
    groups = [cut.end() for cut in _GROUP_END.finditer(text, start, end)]
    for cut in (end, *groups[:-4:-1]):
        written = text[start:cut]
        if cut < end and sum(map(str.isdecimal, written)) < _LEAST_CUT_DIGITS:
            return
        if any(_parsed(written, region) for region in regions):
            if not _FICTION.search(written):
                yield Find(start, cut, "phone")
            return


def _parsed(written: str, region: str | None) -> str | None:
    """A valid number as its country writes it, or None."""
    import phonenumbers

    if region is None:
        written = "+" + re.sub(r"^\D*(?:00)?", "", written)
    try:
        number = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    national = phonenumbers.PhoneNumberFormat.NATIONAL
    return str(phonenumbers.format_number(number, national))


def _is_grouped(written: str, regions: tuple[str, ...]) -> bool:
    """Whether a country of these has this number and writes it in these groups."""
    groups = re.findall(r"\d+", written)
    return not _FICTION.search(written) and any(
        (shown := _parsed(written, region)) and re.findall(r"\d+", shown) == groups
        for region in regions
        if _leads_with_zero(region)
    )


@lru_cache(maxsize=256)
def _leads_with_zero(region: str) -> bool:
    """Whether numbers are dialled with a zero in front within this country."""
    import phonenumbers

    plan = phonenumbers.PhoneMetadata.metadata_for_region(region)
    return plan is not None and (plan.national_prefix == "0" or region == "IT")
