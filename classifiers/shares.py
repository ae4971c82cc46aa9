"""Structural numbers of code and prose.

Textbook quality shows in form before it shows in words: explained code has comments, docstrings
and short lines; boilerplate repeats lines, lists links, is all digits and brackets.
`classifiers.counting` counts in one compiled pass; `SHARES` turns the counts into features.

What it costs: 5 to 10 s to compile on a machine's first use (cached beside the module, or in the
user's cache where that is read-only), then about 300 MB/s on one core. docs/filter.md says what
it brings.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from classifiers.tally import Tally

Columns = npt.NDArray[np.float64]


def _per(top: Tally, bottom: Tally) -> Callable[[Columns], Columns]:
    return lambda t: t[:, top] / np.maximum(t[:, bottom], 1)


def _log(column: Tally) -> Callable[[Columns], Columns]:
    return lambda t: np.log1p(t[:, column])


def _line_deviation(t: Columns) -> Columns:
    lines = np.maximum(t[:, Tally.LINES], 1)
    mean = (t[:, Tally.BYTES] - t[:, Tally.NEWLINE]) / lines
    return np.log1p(np.sqrt(np.maximum(t[:, Tally.LINE_SQUARES] / lines - mean**2, 0)))


def _class_entropy(t: Columns) -> Columns:
    """How evenly the bytes are spread over what they can be, from letters to operators."""
    classes = t[:, Tally.LOWER : Tally.NON_ASCII + 1]
    shares = classes / np.maximum(t[:, [Tally.BYTES]], 1)
    entropy: Columns = -np.sum(shares * np.log2(np.maximum(shares, 1e-9)), axis=1)
    return entropy


SHARES: dict[str, Callable[[Columns], Columns]] = {
    "log_bytes": _log(Tally.BYTES),
    "log_lines": _log(Tally.LINES),
    "log_longest_line_bytes": _log(Tally.MAX_LINE),
    "log_line_bytes_deviation": _line_deviation,
    "bytes_per_line": _per(Tally.BYTES, Tally.LINES),
    "byte_class_entropy_bits": _class_entropy,
    "lower_share": _per(Tally.LOWER, Tally.BYTES),
    "upper_share": _per(Tally.UPPER, Tally.BYTES),
    "digit_share": _per(Tally.DIGIT, Tally.BYTES),
    "space_share": _per(Tally.SPACE, Tally.BYTES),
    "control_share": _per(Tally.CONTROL, Tally.BYTES),
    "bracket_share": _per(Tally.BRACKET, Tally.BYTES),
    "quote_share": _per(Tally.QUOTE, Tally.BYTES),
    "operator_share": _per(Tally.OPERATOR, Tally.BYTES),
    "underscore_share": _per(Tally.UNDERSCORE, Tally.BYTES),
    "comma_share": _per(Tally.COMMA, Tally.BYTES),
    "stop_share": _per(Tally.STOP, Tally.BYTES),
    "non_ascii_share": _per(Tally.NON_ASCII, Tally.BYTES),
    "blank_line_share": _per(Tally.BLANK, Tally.LINES),
    "indented_line_share": _per(Tally.INDENTED, Tally.LINES),
    "indent_bytes_per_line": _per(Tally.INDENT_BYTES, Tally.LINES),
    "repeated_line_share": _per(Tally.REPEATED, Tally.LINES),
    "capitalized_line_share": _per(Tally.CAPITALIZED, Tally.LINES),
    "ended_line_share": _per(Tally.ENDED, Tally.LINES),
    "ruled_line_share": _per(Tally.RULED, Tally.LINES),
    "comment_line_share": _per(Tally.COMMENT, Tally.LINES),
    "comment_byte_share": _per(Tally.COMMENT_BYTES, Tally.BYTES),
    "heading_line_share": _per(Tally.HEADING, Tally.LINES),
    "list_line_share": _per(Tally.LISTED, Tally.LINES),
    "decorator_line_share": _per(Tally.DECORATOR, Tally.LINES),
    "prompt_line_share": _per(Tally.PROMPT, Tally.LINES),
    "def_line_share": _per(Tally.DEF, Tally.LINES),
    "class_line_share": _per(Tally.CLASS, Tally.LINES),
    "import_line_share": _per(Tally.IMPORT, Tally.LINES),
    "return_line_share": _per(Tally.RETURN, Tally.LINES),
    "flow_line_share": _per(Tally.FLOW, Tally.LINES),
    "print_line_share": _per(Tally.PRINT, Tally.LINES),
    "assert_line_share": _per(Tally.ASSERT, Tally.LINES),
    "self_line_share": _per(Tally.SELF, Tally.LINES),
    "raise_line_share": _per(Tally.RAISE, Tally.LINES),
    "log_words": _log(Tally.WORDS),
    "bytes_per_word": _per(Tally.WORD_BYTES, Tally.WORDS),
    "long_word_share": _per(Tally.LONG_WORDS, Tally.WORDS),
    "function_word_share": _per(Tally.FUNCTION_WORDS, Tally.WORDS),
    "sentences_per_line": _per(Tally.SENTENCES, Tally.LINES),
    "links_per_line": _per(Tally.LINKS, Tally.LINES),
    "markdown_links_per_line": _per(Tally.MARKDOWN_LINKS, Tally.LINES),
    "tags_per_line": _per(Tally.TAGS, Tally.LINES),
    "fences_per_line": _per(Tally.FENCES, Tally.LINES),
    "side_comments_per_line": _per(Tally.SIDE_COMMENTS, Tally.LINES),
    "quoted_blocks_per_line": _per(Tally.QUOTED_BLOCKS, Tally.LINES),
    "quoted_blocks_per_def": _per(Tally.QUOTED_BLOCKS, Tally.DEF),
    "quoted_byte_share": _per(Tally.QUOTED_BYTES, Tally.BYTES),
}


def shares_of(tallies: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """float32[N, len(SHARES)] features of int64[N, COLUMNS] counts."""
    columns = tallies.astype(np.float64)
    return np.column_stack([share(columns) for share in SHARES.values()]).astype(np.float32)
