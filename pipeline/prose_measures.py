"""The measures that rules for prose are made of, each a number for a text.

All come from one reading (`pipeline.prose_reading`); shares are of 0 to 1 and are 0 where there
is nothing to share. `MEASURES` says what each is; whose definition it is stands in brackets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from pipeline.prose_counts import Count
from pipeline.ratios import column_ratio, share_of

if TYPE_CHECKING:
    import pyarrow as pa

Measures = dict[str, npt.NDArray[np.float64]]
Measure = Literal[
    "words", "mean_word_chars", "hashes_per_word", "ellipses_per_word", "bullet_line_share",
    "ellipsis_line_share", "letter_word_share", "stop_words",
    "repeated_row_share", "repeated_row_char_share", "repeated_paragraph_share",
    "repeated_paragraph_char_share", "top_2_gram_char_share", "top_3_gram_char_share",
    "top_4_gram_char_share", "repeated_5_gram_char_share", "repeated_6_gram_char_share",
    "repeated_7_gram_char_share", "repeated_8_gram_char_share", "repeated_9_gram_char_share",
    "repeated_10_gram_char_share",
    "lorem_ipsum_lines", "curly_bracket_lines", "sentences", "open_line_share",
    "few_word_line_share", "long_word_line_share", "javascript_line_share", "policy_line_share",
    "ended_row_share", "short_row_share", "repeated_full_row_share",
    "repeated_full_row_char_share", "newlines_per_word",
]  # fmt: skip

# Each measure is a count, or a count over another one: what it counts, and per what.
_RATIOS: dict[str, tuple[Count, Count | None]] = {
    "words": (Count.PLAIN_WORDS, None),
    "mean_word_chars": (Count.PLAIN_WORD_CHARS, Count.PLAIN_WORDS),
    "hashes_per_word": (Count.HASHES, Count.WORDS),
    "ellipses_per_word": (Count.ELLIPSES, Count.WORDS),
    "bullet_line_share": (Count.BULLET_LINES, Count.LINES),
    "ellipsis_line_share": (Count.ELLIPSIS_LINES, Count.LINES),
    "letter_word_share": (Count.LETTER_WORDS, Count.WORDS),
    "stop_words": (Count.STOP_WORDS, None),
    "repeated_row_share": (Count.REPEATED_ROWS, Count.ROWS),
    "repeated_row_char_share": (Count.REPEATED_ROW_CHARS, Count.CHARS),
    "repeated_paragraph_share": (Count.REPEATED_PARAGRAPHS, Count.PARAGRAPHS),
    "repeated_paragraph_char_share": (Count.REPEATED_PARAGRAPH_CHARS, Count.CHARS),
    **{
        f"top_{n}_gram_char_share": (Count[f"TOP_{n}_GRAM_CHARS"], Count.CHARS) for n in range(2, 5)
    },
    **{
        f"repeated_{n}_gram_char_share": (Count[f"REPEATED_{n}_GRAM_CHARS"], Count.CHARS)
        for n in range(5, 11)
    },
    "lorem_ipsum_lines": (Count.LOREM_LINES, None),
    "curly_bracket_lines": (Count.CURLY_LINES, None),
    "sentences": (Count.SENTENCES, None),
    "open_line_share": (Count.OPEN_LINES, Count.FULL_LINES),
    "few_word_line_share": (Count.FEW_WORD_LINES, Count.FULL_LINES),
    "long_word_line_share": (Count.LONG_WORD_LINES, Count.FULL_LINES),
    "javascript_line_share": (Count.JAVASCRIPT_LINES, Count.FULL_LINES),
    "policy_line_share": (Count.POLICY_LINES, Count.FULL_LINES),
    "ended_row_share": (Count.ENDED_ROWS, Count.FULL_ROWS),
    "short_row_share": (Count.SHORT_ROWS, Count.FULL_ROWS),
    "repeated_full_row_share": (Count.REPEATED_FULL_ROWS, Count.FULL_ROWS),
    "newlines_per_word": (Count.NEWLINES, Count.WORDS),
}


def measure(texts: pa.Array | pa.ChunkedArray) -> Measures:
    """Every measure of N texts, each float64[N]."""
    from pipeline.prose_reading import count_texts

    counts = count_texts(texts)
    found = {name: column_ratio(counts, *ratio) for name, ratio in _RATIOS.items()}
    in_rows = counts[:, Count.CHARS] - counts[:, Count.NEWLINES]
    found["repeated_full_row_char_share"] = share_of(
        counts[:, Count.REPEATED_FULL_ROW_CHARS], in_rows
    )
    return found
