"""How many tokens a text has at least, before there is a tokenizer: its pre-tokens.

A byte-level BPE with GPT-2's pattern never merges across a run of letters, of digits or of other
marks, each with the blank before it, nor across white space beyond that blank (Radford et al. 2019;
https://github.com/openai/gpt-2, encoder.py). Counting these runs needs no vocabulary. English
contractions are counted as two runs more ("don't": don, ', t; the pattern has two), and every
character beyond ASCII as a letter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from classifiers.arrow_text import compiled, text_buffers

_BLANK, _LETTER, _DIGIT, _MARK = range(4)


def count_pretokens(texts: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """int64[N]: the pre-tokens of N texts; 0 for a null."""
    data, offsets = text_buffers(texts)
    counts = np.zeros(len(offsets) - 1, np.int64)
    _count(data, offsets, _classes(), counts)
    return counts


def _classes() -> npt.NDArray[np.uint8]:
    """uint8[256]: what each byte is."""
    classes = np.full(256, _MARK, np.uint8)
    for byte in range(256):
        sign = chr(byte)
        if byte >= 0x80 or sign.isalpha():
            classes[byte] = _LETTER
        elif sign.isdigit():
            classes[byte] = _DIGIT
        elif sign.isspace():
            classes[byte] = _BLANK
    return classes


@compiled
def _count(data: Any, offsets: Any, classes: Any, counts: Any) -> None:
    for k in range(len(offsets) - 1):
        start, end, total = offsets[k], offsets[k + 1], 0
        at = start
        while at < end:
            kind, first = classes[data[at]], at
            while at < end and classes[data[at]] == kind:
                at += 1
            if kind != _BLANK:
                total += 1
            elif at - first > 1 or at == end or data[first] != 32:
                total += 1  # a single blank belongs to the run that follows
        counts[k] = total
