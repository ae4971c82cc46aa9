"""Runs of digits, and the card and bank account numbers among them.

A run is `LEAST_DIGITS` digits or more with at most three separators between two of them; it is
found once, and cards, identity numbers and telephones are looked for in runs only. A card number
has an issuer's range and length and a valid Luhn digit (ISO/IEC 7812); an IBAN its country's
structure and check digits (ISO 13616, by python-stdnum). The numbers that payment firms publish
for tests are nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pipeline.pii_config import Find

Run = tuple[int, int, int]  # start, end, digits

_RUN = re.compile(r"[0-9](?:[ \t.\-()/+\u00a0\u2010-\u2015\u202f]{0,3}[0-9]){6,}")
_GAP = r"[ \u00a0-]"
# A lookahead, so that a year in front of a card does not hide it.
_CARD = re.compile(
    rf"(?<![\w.])(?=(\d{{4}}{_GAP}\d{{4}}{_GAP}\d{{4}}{_GAP}\d{{4}}(?:{_GAP}\d{{3}})?"
    rf"|\d{{4}}{_GAP}\d{{6}}{_GAP}\d{{4,5}}|(?<![/=#-])\d{{13,19}})(?!\w|[.-]\d))"
)
# Issuers' ranges of first digits, each with the lengths that its cards have.
_ISSUERS = (
    (re.compile(r"4"), (13, 16, 19)),  # Visa
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),  # Mastercard
    (re.compile(r"3[47]"), (15,)),  # American Express
    (re.compile(r"6011|64[4-9]|65"), (16, 19)),  # Discover
    (re.compile(r"30[0-5]|3095|36|3[89]"), (14, 16)),  # Diners Club
    (re.compile(r"35(?:2[89]|[3-8])"), (16,)),  # JCB
    (re.compile(r"62|81"), (16, 17, 18, 19)),  # UnionPay
)
_TEST_CARDS = frozenset((
    "4111111111111111", "4242424242424242", "4012888888881881", "4000056655665556",
    "5555555555554444", "5105105105105100", "2223003122003222", "378282246310005",
    "371449635398431", "6011111111111117", "6011000990139424", "30569309025904", "38520000023237",
    "3530111333300000", "3566002020360505",
))  # fmt: skip
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}(?![A-Za-z0-9])")
_LEAST_IBAN_CHARS = 15  # Norway


def find_runs(text: str) -> list[Run]:
    """The runs of digits of a text."""
    return [(*run.span(), sum(map(str.isdecimal, run.group()))) for run in _RUN.finditer(text)]


def find_cards(text: str, runs: Iterable[Run]) -> Iterator[Find]:
    """Numbers of payment cards."""
    for start, end, digits in runs:
        if digits >= 13:
            for found in _CARD.finditer(text, start, end + 2):
                if _is_card(re.sub(r"\D", "", found.group(1))):
                    yield Find(*found.span(1), "card")


def _is_card(number: str) -> bool:
    from stdnum import luhn

    issued = any(len(number) in lengths and head.match(number) for head, lengths in _ISSUERS)
    return issued and number not in _TEST_CARDS and len(set(number)) > 3 and luhn.is_valid(number)


def find_ibans(text: str) -> Iterator[Find]:
    """International bank account numbers; what follows in capitals is not taken with them."""
    from stdnum import iban

    for found in _IBAN.finditer(text):
        start, end = found.span()
        while end - start >= _LEAST_IBAN_CHARS:
            if iban.is_valid(text[start:end]):
                yield Find(start, end, "iban")
                break
            end = max(text.rfind(" ", start, end), text.rfind("-", start, end))
