"""One search for leaks, by every way that the recipe asks for, over batches of texts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from pipeline.benchmark_items import Item
from pipeline.leak_code import CodeIndex, CodeRules, find_code, make_code_index
from pipeline.leak_index import Index, WordRules, make_index
from pipeline.leak_meaning import MeaningIndex, MeaningRules, find_meaning, make_meaning_index
from pipeline.leak_words import find_words


class SearchRules(WordRules):
    """What counts as a leak: the same words; the same program; the same meaning."""

    code: CodeRules | None = Field(
        CodeRules(), description="Search for renamed programs; null: by their words only."
    )
    meaning: MeaningRules | None = Field(
        None, description="Search by a sentence encoder too; slow, and off by default."
    )


@dataclass(frozen=True)
class LeakSearch:
    """The items and their indexes; made once, used by every worker."""

    items: tuple[Item, ...]
    rules: SearchRules
    words: Index
    code: CodeIndex | None
    meaning: MeaningIndex | None

    @classmethod
    def of(cls, items: Sequence[Item], rules: SearchRules) -> LeakSearch:
        """Index the items."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of other people's program text
            code = make_code_index(items, rules.code) if rules.code else None
        meaning = make_meaning_index(items, rules.meaning) if rules.meaning else None
        return cls(tuple(items), rules, make_index(items, rules), code, meaning)

    @property
    def searched(self) -> Any:
        """bool[items]: whether an item is searched for at all."""
        found = self.words.searched.copy()
        if self.code is not None:
            found[self.code.searched] = True
        return found

    def find(self, texts: Any, doc_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The evidence rows (`leak_records.LEAK`) of N texts, an Arrow array of strings."""
        yield from find_words(texts, doc_ids, self.items, self.words, self.rules.near_words)
        if self.code is not None and self.rules.code is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                yield from find_code(texts, doc_ids, self.items, self.code, self.rules.code)
        if self.meaning is not None and self.rules.meaning is not None:
            yield from find_meaning(texts, doc_ids, self.items, self.meaning, self.rules.meaning)
