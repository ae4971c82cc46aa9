"""All detectors on one text, and one find for each place.

A detector runs where the text bears its mark (`pipeline.pii_marks`); `pii_marks.EVERY` runs them
all, which must find the same. Where two finds overlap the one whose type stands first in `TYPES`
wins: a private key before the e-mail in its header, a card before the telephone in it.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Iterator

from pipeline.pii_addresses import find_emails, find_ips
from pipeline.pii_config import TYPES, Find, PiiConfig
from pipeline.pii_ids import find_ids_in_capitals, find_ids_in_runs
from pipeline.pii_marks import AT, CAPITALS, COLONS, DIGITS, DOTS, literal_mark
from pipeline.pii_numbers import find_cards, find_ibans, find_runs
from pipeline.pii_phones import find_phones
from pipeline.pii_secrets import find_private_keys, find_secrets

_PRIVATE_KEY = literal_mark("PRIVATE KEY") | literal_mark("PuTTY-User-Key-File")
_ADDRESS = DOTS | COLONS


def find(text: str, marks: int, config: PiiConfig) -> list[Find]:
    """What is personal in a text, in its order, without overlaps."""
    return _apart(find_all(text, marks, config))


def find_all(text: str, marks: int, config: PiiConfig) -> Iterator[Find]:
    """What every detector finds, overlaps and all."""
    wanted = config.types
    if "private_key" in wanted and marks & _PRIVATE_KEY:
        yield from find_private_keys(text)
    if "secret" in wanted:
        yield from find_secrets(text, marks, config.assigned_secrets)
    if "email" in wanted and marks & AT:
        yield from find_emails(text)
    if "ip" in wanted and marks & _ADDRESS:
        yield from find_ips(text, marks & DOTS != 0, marks & COLONS != 0)
    if marks & CAPITALS:
        if "iban" in wanted:
            yield from find_ibans(text)
        if "national_id" in wanted:
            yield from find_ids_in_capitals(text, config.national_ids)
    if marks & DIGITS:
        yield from _find_numbers(text, config)


def _find_numbers(text: str, config: PiiConfig) -> Iterator[Find]:
    runs = find_runs(text)
    if "card" in config.types:
        yield from find_cards(text, runs)
    if "national_id" in config.types:
        yield from find_ids_in_runs(text, runs, config.national_ids)
    if "phone" in config.types:
        yield from find_phones(text, runs, config.phone_regions)


def _apart(finds: Iterable[Find]) -> list[Find]:
    """The finds that do not overlap one of an earlier type."""
    chosen: list[Find] = []
    for find in sorted(finds, key=lambda f: (TYPES.index(f.type), f.start, -f.end)):
        at = bisect(chosen, find)
        clear_before = at == 0 or chosen[at - 1].end <= find.start
        clear_after = at == len(chosen) or find.end <= chosen[at].start
        if clear_before and clear_after:
            chosen.insert(at, find)
    return chosen
