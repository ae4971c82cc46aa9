"""Rules for prose as data: each a name, a measure, a limit and its source.

A rule says what it measures and which values are dropped, so a recipe can switch one off, move a
limit, or add its own. The presets hold the limits of the field, in the order in which they are
asked; the first broken rule gives a document's verdict, and every later one can still be asked
of the measures, which are the same for all rules.

A preset gives what datatrove's filter of that name gives with the same word tokenizer (white
space), with these differences: C4 cuts lines, here it drops documents only; sentences are found
by their marks (`pipeline.prose_lines`); a text without words is dropped by `too_few_words`, or by
no rule. Measured agreement and drops by kind of source: docs/prose_rules.md.

The preset "primer" is Gopher's with limits moved where reading showed that the shared prose lost
good documents: code in textbooks repeats lines and runs of words, and tables, formulas and
headings have few letters and many marks.

Sources: Gopher, Rae et al. (arXiv 2112.11446), section A.1.1 and table A1; C4, Raffel et al. (arXiv
1910.10683), section 2.2; FineWeb, Penedo et al. (arXiv 2406.17557), section 3.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from pipeline.clean_rules import Verdict
from pipeline.config import Section
from pipeline.language import LanguageRules, Languages, identify, judge_languages
from pipeline.prose_measures import Measure, Measures, measure

if TYPE_CHECKING:
    import pyarrow as pa

Preset = Literal["primer", "gopher", "c4", "fineweb"]


class Rule(Section):
    """A document is dropped where the measure is under the minimum or over the maximum."""

    name: str = Field(pattern="^[a-z0-9_]+$", description="The reason that a verdict gives.")
    measure: Measure = Field(description="What is measured; docs/prose_rules.md lists all.")
    min: float | None = Field(None, description="Least value that is kept; null for none.")
    max: float | None = Field(None, description="Greatest value that is kept; null for none.")
    source: str = Field("recipe", description="Whose rule this is.")

    @model_validator(mode="after")
    def _keeps_something(self) -> Rule:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"rule {self.name!r}: min {self.min:g} is over max {self.max:g}")
        return self


def _rule(
    source: str, name: str, of: Measure, *, least: float | None = None, most: float | None = None
) -> Rule:
    return Rule(name=name, measure=of, min=least, max=most, source=source)


PRESETS: dict[Preset, tuple[Rule, ...]] = {
    "gopher": (
        _rule("Gopher quality", "too_few_words", "words", least=50),
        _rule("Gopher quality", "too_many_words", "words", most=100_000),
        _rule("Gopher quality", "words_too_short", "mean_word_chars", least=3),
        _rule("Gopher quality", "words_too_long", "mean_word_chars", most=10),
        _rule("Gopher quality", "too_many_hashes", "hashes_per_word", most=0.1),
        _rule("Gopher quality", "too_many_ellipses", "ellipses_per_word", most=0.1),
        _rule("Gopher quality", "too_many_bullet_lines", "bullet_line_share", most=0.9),
        _rule("Gopher quality", "too_many_ellipsis_lines", "ellipsis_line_share", most=0.3),
        _rule("Gopher quality", "too_few_words_with_letters", "letter_word_share", least=0.8),
        _rule("Gopher quality", "too_few_stop_words", "stop_words", least=2),
        _rule("Gopher repetition", "repeated_paragraphs", "repeated_paragraph_share", most=0.3),
        _rule("Gopher repetition", "repeated_paragraph_chars", "repeated_paragraph_char_share",
              most=0.2),
        _rule("Gopher repetition", "repeated_lines", "repeated_row_share", most=0.3),
        _rule("Gopher repetition", "repeated_line_chars", "repeated_row_char_share", most=0.2),
        _rule("Gopher repetition", "frequent_2_gram", "top_2_gram_char_share", most=0.2),
        _rule("Gopher repetition", "frequent_3_gram", "top_3_gram_char_share", most=0.18),
        _rule("Gopher repetition", "frequent_4_gram", "top_4_gram_char_share", most=0.16),
        _rule("Gopher repetition", "repeated_5_grams", "repeated_5_gram_char_share", most=0.15),
        _rule("Gopher repetition", "repeated_6_grams", "repeated_6_gram_char_share", most=0.14),
        _rule("Gopher repetition", "repeated_7_grams", "repeated_7_gram_char_share", most=0.13),
        _rule("Gopher repetition", "repeated_8_grams", "repeated_8_gram_char_share", most=0.12),
        _rule("Gopher repetition", "repeated_9_grams", "repeated_9_gram_char_share", most=0.11),
        _rule("Gopher repetition", "repeated_10_grams", "repeated_10_gram_char_share", most=0.1),
    ),
    "c4": (
        _rule("C4", "lorem_ipsum", "lorem_ipsum_lines", most=0),
        _rule("C4", "curly_bracket", "curly_bracket_lines", most=0),
        _rule("C4", "too_few_sentences", "sentences", least=5),
    ),
    "fineweb": (
        _rule("FineWeb", "too_few_ended_lines", "ended_row_share", least=0.12),
        _rule("FineWeb", "too_many_short_lines", "short_row_share", most=0.67),
        _rule("FineWeb", "repeated_text_lines", "repeated_full_row_char_share", most=0.01),
        _rule("FineWeb", "too_many_newlines", "newlines_per_word", most=0.3),
    ),
    "primer": (
        _rule("Gopher quality", "too_few_words", "words", least=50),
        _rule("Gopher quality", "too_many_words", "words", most=100_000),
        _rule("Gopher quality", "words_too_short", "mean_word_chars", least=3),
        _rule("Gopher quality", "words_too_long", "mean_word_chars", most=10),
        _rule("Gopher quality", "too_few_stop_words", "stop_words", least=2),
        _rule("Gopher quality", "too_many_ellipses", "ellipses_per_word", most=0.1),
        _rule("Gopher quality", "too_many_bullet_lines", "bullet_line_share", most=0.9),
        _rule("Gopher, 0.3", "too_many_ellipsis_lines", "ellipsis_line_share", most=0.5),
        _rule("Gopher, 0.1", "too_many_hashes", "hashes_per_word", most=0.2),
        _rule("Gopher, 0.8", "too_few_words_with_letters", "letter_word_share", least=0.7),
        _rule("Gopher, 0.2 of all rows", "repeated_line_chars", "repeated_full_row_char_share",
              most=0.5),
        _rule("Gopher, 0.2", "repeated_paragraph_chars", "repeated_paragraph_char_share", most=0.3),
        _rule("Gopher repetition", "frequent_2_gram", "top_2_gram_char_share", most=0.2),
        _rule("Gopher repetition", "frequent_3_gram", "top_3_gram_char_share", most=0.18),
        _rule("Gopher repetition", "frequent_4_gram", "top_4_gram_char_share", most=0.16),
        _rule("Gopher, 0.15", "repeated_5_grams", "repeated_5_gram_char_share", most=0.3),
        _rule("Gopher, 0.1", "repeated_10_grams", "repeated_10_gram_char_share", most=0.2),
    ),
}  # fmt: skip


class ProseRules(Section):
    """Which prose is dropped: by language, by presets, and by the recipe's own rules."""

    language: LanguageRules = Field(LanguageRules(), description="Which languages are kept.")
    presets: tuple[Preset, ...] = Field(
        ("primer",),
        description="Sets of rules, in the order in which they are asked; of two rules of one "
        "name the later one counts.",
    )
    rules: tuple[Rule, ...] = Field(
        (),
        description="Rules of one's own; one with the name of a preset's rule takes its place, "
        "and one without limits switches it off.",
    )

    def in_order(self) -> list[Rule]:
        """The rules that have a limit: the presets' own order, then those of the recipe."""
        named = {rule.name: rule for preset in self.presets for rule in PRESETS[preset]}
        named.update((rule.name, rule) for rule in self.rules)
        return [r for r in named.values() if r.min is not None or r.max is not None]


class JudgedProse(NamedTuple):
    """Why each of N texts is dropped (None: it is kept), and what it is written in."""

    verdicts: list[Verdict | None]
    languages: Languages


def judge_measures(measures: Measures, rules: Sequence[Rule]) -> list[Verdict | None]:
    """The first rule that each text breaks, with its value; None where it breaks none."""
    size = len(next(iter(measures.values())))
    verdicts: list[Verdict | None] = [None] * size
    judged = np.zeros(size, bool)
    for rule in rules:
        values = measures[rule.measure]
        broken = np.zeros(size, bool)
        if rule.min is not None:
            broken |= values < rule.min
        if rule.max is not None:
            broken |= values > rule.max
        for i in np.flatnonzero(broken & ~judged).tolist():
            verdicts[i] = Verdict(rule.name, f"{values[i]:.6g}")
        judged |= broken
    return verdicts


def judge_prose(texts: pa.Array, rules: ProseRules) -> JudgedProse:
    """Judge N texts: by their language first, then by the rules in order."""
    languages = identify(texts)
    by_language = judge_languages(languages, rules.language)
    by_rule = judge_measures(measure(texts), rules.in_order())
    verdicts = [a or b for a, b in zip(by_language, by_rule, strict=True)]
    return JudgedProse(verdicts, languages)
