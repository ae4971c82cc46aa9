"""The measures that rules for program text are made of, each a number for a text.

All come from one reading (`pipeline.code_reading`); shares are of 0 to 1, and 0 where there is
nothing to share. The comments of a language whose marks are not known are NaN, which breaks no
limit. docs/code_rules.md says what each measure is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from pipeline.code_counts import SYNTAX, Count
from pipeline.ratios import column_ratio, share_of

if TYPE_CHECKING:
    import pyarrow as pa

Measures = dict[str, npt.NDArray[np.float64]]
CodeMeasure = Literal[
    "chars", "lines", "full_lines", "max_line_chars", "mean_line_chars", "letter_share",
    "alnum_share", "letters_of_visible_share", "digit_share", "space_share", "non_ascii_share",
    "comment_share", "comment_line_share", "repeated_line_share", "literal_line_share",
    "encoded_share", "longest_encoded_chars", "hex_number_share", "undone_line_share",
    "assert_line_share", "import_line_share", "function_line_share", "pass_line_share",
    "print_line_share", "test_functions",
]  # fmt: skip

# Each measure is a count, or a count over another one: what it counts, and per what.
_RATIOS: dict[str, tuple[Count, Count | None]] = {
    "chars": (Count.CHARS, None),
    "lines": (Count.LINES, None),
    "full_lines": (Count.FULL_LINES, None),
    "max_line_chars": (Count.MAX_LINE_CHARS, None),
    "mean_line_chars": (Count.LINE_CHARS, Count.LINES),
    "letter_share": (Count.LETTERS, Count.CHARS),
    "alnum_share": (Count.ALNUMS, Count.CHARS),
    "digit_share": (Count.DIGITS, Count.CHARS),
    "space_share": (Count.SPACES, Count.CHARS),
    "non_ascii_share": (Count.NON_ASCII, Count.CHARS),
    "comment_share": (Count.COMMENT_CHARS, Count.CHARS),
    "comment_line_share": (Count.COMMENT_LINES, Count.FULL_LINES),
    "repeated_line_share": (Count.REPEATED_LINES, Count.FULL_LINES),
    "literal_line_share": (Count.LITERAL_LINES, Count.FULL_LINES),
    "encoded_share": (Count.ENCODED_CHARS, Count.CHARS),
    "longest_encoded_chars": (Count.LONGEST_ENCODED_CHARS, None),
    "hex_number_share": (Count.HEX_NUMBER_CHARS, Count.CHARS),
    "undone_line_share": (Count.UNDONE_LINES, Count.LINES),
    "assert_line_share": (Count.ASSERT_LINES, Count.FULL_LINES),
    "import_line_share": (Count.IMPORT_LINES, Count.FULL_LINES),
    "function_line_share": (Count.FUNCTION_LINES, Count.FULL_LINES),
    "pass_line_share": (Count.PASS_LINES, Count.FULL_LINES),
    "print_line_share": (Count.PRINT_LINES, Count.FULL_LINES),
    "test_functions": (Count.TEST_FUNCTIONS, None),
}


def measure_code(texts: pa.Array | pa.ChunkedArray, languages: Sequence[str | None]) -> Measures:
    """Every measure of N texts by name, each float64[N]."""
    from pipeline.code_reading import count_code

    counts = count_code(texts, languages)
    found = {name: column_ratio(counts, *ratio) for name, ratio in _RATIOS.items()}
    visible = counts[:, Count.CHARS] - counts[:, Count.SPACES]
    found["letters_of_visible_share"] = share_of(counts[:, Count.LETTERS], visible)
    unmarked = np.array([language not in SYNTAX for language in languages], bool)
    for name in ("comment_share", "comment_line_share"):
        found[name][unmarked] = np.nan
    return found
