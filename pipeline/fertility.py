"""Fertility: how many tokens the tokenizer makes of text, by kind and by source.

Few bytes per token, or many tokens per word, mean that a kind of text costs more of the budget and
of the context than another (Rust et al., arXiv 2012.15613, measure tokens per word). Words are what
stands between white space; the token that ends a document is not counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Figures = dict[str, float | None]


@dataclass
class Fertility:
    """Bytes, words and tokens by (source, kind)."""

    bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    words: Counter[tuple[str, str]] = field(default_factory=Counter)
    tokens: Counter[tuple[str, str]] = field(default_factory=Counter)

    def count(self, row: dict[str, Any], tokens: int) -> None:
        """Add one document."""
        at = (row["source"], row["kind"])
        self.bytes[at] += len(row["text"].encode())
        self.words[at] += len(row["text"].split())
        self.tokens[at] += tokens

    def facts(self) -> dict[str, dict[str, Figures]]:
        """Bytes per token and tokens per word, by kind and by source."""
        return {
            name: {key: self._of(part, key) for key in sorted({at[part] for at in self.tokens})}
            for name, part in (("by_kind", 1), ("by_source", 0))
        }

    def _of(self, part: int, key: str) -> Figures:
        size, words, tokens = (
            sum(n for at, n in counter.items() if at[part] == key)
            for counter in (self.bytes, self.words, self.tokens)
        )
        return {
            "bytes": size, "words": words, "tokens": tokens,
            "bytes_per_token": round(size / tokens, 3) if tokens else None,
            "tokens_per_word": round(tokens / words, 3) if words else None,
        }  # fmt: skip
