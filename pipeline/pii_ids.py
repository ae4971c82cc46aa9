"""Identity numbers of people: their shapes, their check digits, and the word beside the weak ones.

A shape with separators of its own, or two check digits, or a check digit and a date of birth,
stands for itself; nine bare digits and one check digit do not, and need the number's name within
`WORD_CHARS` before them. Check digits and rules: python-stdnum (https://arthurdejong.org/python-stdnum/).
Letters are read in capitals only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib import import_module
from typing import NamedTuple

from pipeline.pii_config import Find, NationalId

WORD_CHARS = 40
_BEFORE, _AFTER = r"(?<![\w.+])", r"(?![\w]|[.,-]\d)"


class Number(NamedTuple):
    """One kind of number: where its check is, how it is written, and what must stand before it."""

    module: str  # in stdnum
    shape: str
    digits: int  # the fewest that it has in a run
    word: str | None = None


_DATE6 = r"\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
NUMBERS: dict[NationalId, Number] = {
    "us_ssn": Number("us.ssn", r"\d{3}-\d{2}-\d{4}", 9),
    "br_cpf": Number("br.cpf", r"\d{3}\.\d{3}\.\d{3}-\d{2}", 11),
    "fr_nir": Number("fr.nir", r"[12] ?\d\d ?\d\d ?\d[\dAB] ?\d{3} ?\d{3} ?\d\d", 9),
    "be_nn": Number("be.nn", r"\d\d\.\d\d\.\d\d-\d{3}\.\d\d", 11),
    "se_personnummer": Number("se.personnummer", rf"(?:19|20)?{_DATE6}[-+]\d{{4}}", 10),
    "fi_hetu": Number("fi.hetu", r"[0-3]\d[01]\d{3}[-+]\d{3}[0-9A-Y]", 9),
    "no_fodselsnummer": Number(
        "no.fodselsnummer", r"\d{6} ?\d{5}", 11, r"f(?:ø|oe|o)dselsn|fnr|f\.?nr|personn"
    ),
    "cn_ric": Number("cn.ric", r"[1-9]\d{16}[\dX]", 17),
    "kr_rrn": Number("kr.rrn", rf"{_DATE6}-[1-8]\d{{6}}", 13),
    "es_dni": Number("es.dni", r"\d{8}[- ]?[A-Z]", 8),
    "es_nie": Number("es.nie", r"[XYZ][- ]?\d{7}[- ]?[A-Z]", 7),
    "it_codicefiscale": Number(
        "it.codicefiscale", r"[A-Z]{6}\d\d[A-Z]\d\d[A-Z]\d{3}[A-Z]", 0
    ),
    "mx_curp": Number("mx.curp", r"[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z0-9]\d", 0),
    "pl_pesel": Number("pl.pesel", r"\d{11}", 11, r"PESEL"),
    "de_idnr": Number(
        "de.idnr", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", 11, r"IdNr|Steuer|identifikationsnummer|tax id"
    ),
    "nl_bsn": Number("nl.bsn", r"\d{9}|\d{4}\.\d\d\.\d{3}", 9, r"BSN|burgerservice|sofi"),
    "gb_nhs": Number("gb.nhs", r"\d{3}[ -]?\d{3}[ -]?\d{4}", 10, r"NHS"),
    "ca_sin": Number("ca.sin", r"\d{3}[ -]?\d{3}[ -]?\d{3}", 9, r"\bSIN\b|social insurance"),
    "in_aadhaar": Number("in_.aadhaar", r"[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}", 12, r"aadhaa?r|UIDAI"),
    "tr_tckimlik": Number("tr.tckimlik", r"[1-9]\d{10}", 11, r"T\.?C\.?\b|kimlik|TCKN"),
    "za_idnr": Number("za.idnr", r"\d{6} ?\d{4} ?\d{3}", 13, r"\bID\b|identity"),
    "au_tfn": Number("au.tfn", r"\d{3}[ -]?\d{3}[ -]?\d{3}", 9, r"TFN|tax file"),
}  # fmt: skip


class Detector(NamedTuple):
    """A number made ready for use."""

    shape: re.Pattern[str]
    digits: int
    is_valid: Callable[[str], bool]
    word: re.Pattern[str] | None


@lru_cache(maxsize=8)
def _detectors(names: tuple[NationalId, ...]) -> tuple[list[Detector], list[Detector]]:
    """Those that are looked for in runs of digits, and those that are so among capitals."""
    ready = [
        Detector(
            re.compile(f"{_BEFORE}(?:{number.shape}){_AFTER}"),
            number.digits,
            import_module(f"stdnum.{number.module}").is_valid,
            re.compile(number.word, re.I) if number.word else None,
        )
        for number in (NUMBERS[name] for name in names)
    ]
    return [d for d in ready if d.digits], [d for d in ready if not d.digits]


def find_ids_in_runs(
    text: str, runs: Iterable[tuple[int, int, int]], names: tuple[NationalId, ...]
) -> Iterator[Find]:
    """Identity numbers in runs of digits (start, end, digits)."""
    detectors, _ = _detectors(names)
    for start, end, digits in runs:
        for detector in detectors:
            if digits >= detector.digits:
                # Two characters beyond either side: a letter and its separator.
                yield from _matches(text, detector, max(0, start - 2), end + 4)


def find_ids_in_capitals(text: str, names: tuple[NationalId, ...]) -> Iterator[Find]:
    """Identity numbers that mix capitals and digits."""
    for detector in _detectors(names)[1]:
        yield from _matches(text, detector, 0, len(text))


def _matches(text: str, detector: Detector, start: int, end: int) -> Iterator[Find]:
    for found in detector.shape.finditer(text, start, end):
        if detector.is_valid(found.group()) and (
            detector.word is None
            or detector.word.search(text, max(0, found.start() - WORD_CHARS), found.start())
        ):
            yield Find(*found.span(), "national_id")
