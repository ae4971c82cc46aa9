"""Words for datatrove's steps by any function that splits a text.

datatrove's own word splitters want spaCy or NLTK and its models; a comparison wants the same words
on both sides, so it hands its own splitter to both. Sentences end after a full stop, an exclamation
mark or a question mark that white space follows, which is enough for a measure of speed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_SENTENCE = re.compile(r"\S.*?(?:[.!?](?=\s)|\Z)", re.DOTALL)


def words_of(split: Callable[[str], list[str]]) -> Any:
    """A word splitter for datatrove's steps: its words are those of `split`."""
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Words(WordTokenizer):  # type: ignore[misc]  # datatrove is not typed
        def word_tokenize(self, text: str) -> list[str]:
            return split(text)

        def sent_tokenize(self, text: str) -> list[str]:
            return [text[begin:end] for begin, end in self.span_tokenize(text)]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [found.span() for found in _SENTENCE.finditer(text.rstrip())]

    return Words()
