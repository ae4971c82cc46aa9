"""Which texts a slow detector must see: marks that a text bears wherever the detector finds.

Reading the bytes of a batch leaves a uint64 for each text. The low bits say what shape of
thing is there (an at sign, seven digits, four dotted numbers, ...), each of the others that one
literal is ("ghp_", "AKIA", ...). Every mark is a *necessary* condition of the detectors that ask
for it, so leaving out the texts without it loses nothing; tests hold that. About 4 microseconds
for 3 kB.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

# Plain integers: the operators of enum.IntFlag cost more than the detectors.
AT = 1
DIGITS = 2  # at least LEAST_DIGITS, with separators of at most three characters between
DOTS = 4  # four dotted numbers
COLONS = 8  # hexadecimal groups with "::" or seven colons, one of them of a public IPv6 address
CAPITALS = 16  # a run of capitals and digits that may be an IBAN
LONG = 32  # LONG_BYTES of [A-Za-z0-9_+/-] in a row, with a letter
VALUE = 64  # VALUE_BYTES of them with letters and digits, after a quote, = or :
JOINED = 128  # LONG_BYTES of them after a dot
EVERY = (1 << 64) - 1  # sends a text past all detectors

LEAST_DIGITS, CAPITALS_BYTES, LONG_BYTES, VALUE_BYTES = 7, 15, 24, 20
FIRST_LITERAL = 9  # bit of the first literal
LITERALS = (
    "AKIA", "ASIA", "ABIA", "ACCA", "A3T", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_",
    "xox", "xapp-", "hooks.slack.com/services/", "sk-", "k_live_", "SG.", "sq0csp-", "eyJ",
    "AccountKey=", "glpat-", "gldt-", "glft-", "glsoat-", "glrt-", "GR1348941", "glcbt-", "glimt-",
    "glptt-", "glagent-", "gloas-", "npm_", ":_authToken=", "pypi-AgE", "AIza", "hf_", "AKC", "AC",
    "SK", "-us", "://", "PRIVATE KEY", "PuTTY-User-Key-File", "ya29.", "dop_v1_", "shpat_",
)  # fmt: skip


def literal_mark(literal: str) -> int:
    """The mark of a literal; ValueError for one that is not looked for."""
    return 1 << (FIRST_LITERAL + LITERALS.index(literal))


def marks_of(texts: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """uint64[N]: the marks of N texts; none for a null."""
    from classifiers.arrow_text import text_buffers
    from pipeline.pii_loops import mark_texts

    data, offsets = text_buffers(texts)
    pairs, lengths, letters = _literal_tables()
    marks: npt.NDArray[np.uint64] = mark_texts(data, offsets, pairs, lengths, letters)
    return marks


def _literal_tables() -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """The literals as arrays: bool[65536] by first two bytes, lengths, uint8[L, longest]."""
    encoded = [literal.encode() for literal in LITERALS]
    pairs = np.zeros(1 << 16, np.bool_)
    letters = np.zeros((len(encoded), max(map(len, encoded))), np.uint8)
    for row, literal in enumerate(encoded):
        pairs[literal[0] << 8 | literal[1]] = True
        letters[row, : len(literal)] = list(literal)
    return pairs, np.array([len(literal) for literal in encoded]), letters
