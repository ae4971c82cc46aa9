"""Rules for program text: each a name, a measure or a flag, a limit, its languages and its source.

Facts come first: the language, the licence, the flags of each file (`pipeline.code_language`,
`code_licence`, `code_flags`) stay with the document whatever the rules say. A rule then drops by a
measure, or by a flag, which counts as 1 where it is set. The licence is asked first; after it the
first broken rule gives the verdict, with the measure's value or what told the flag as evidence.

The preset "primer" holds the published rules whose drops, read on the shared code, were mostly
right: generated and minified files, lines too long or too short, encoded data, files with hardly a
letter. Drops by rule, and how many of them were right: docs/code_rules.md.

Sources: Codex, Chen et al. (arXiv 2107.03374), section 3.1; The Stack, Kocetkov et al. (arXiv
2211.15533); StarCoder 2, Lozhkov et al. (arXiv 2402.19173), appendix A; OpenCoder (RefineCode),
Huang et al. (arXiv 2411.04905), with the limits of its code of filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from pipeline.clean_rules import Verdict
from pipeline.code_flags import FACTS, FLAGS, Flag, Flags, flag
from pipeline.code_header import HEAD_CHARS, lead_of, strip_notices
from pipeline.code_language import tell_language
from pipeline.code_licence import licence_of_file
from pipeline.code_licence_rules import LicenceRules, judge_licence
from pipeline.code_measures import CodeMeasure, Measures, measure_code
from pipeline.code_syntax import MOST_CHARS, check_python
from pipeline.config import Section
from pipeline.prose_rules import Rule, judge_measures

if TYPE_CHECKING:
    import pyarrow as pa

CodePreset = Literal["primer", "the_stack", "codex", "starcoder2", "opencoder"]
_SYNTAX_FLAGS: tuple[Flag, ...] = ("python2", "unparsable")
_LOOSE_LINES = ("html", "json", "markdown", "mdx", "roff", "tex", "xml", "svg", "rst", "asciidoc")
_DATA = ("json", "yaml", "csv", "xml")


class CodeRule(Rule):
    """A file is dropped where the measure is under the minimum or over the maximum."""

    measure: Literal[CodeMeasure, Flag] = Field(  # type: ignore[assignment]  # code has measures of its own
        description="What is measured, or a flag (1 where set); docs/code_rules.md lists all."
    )
    languages: tuple[str, ...] = Field((), description="Only of these languages; empty: of all.")
    not_languages: tuple[str, ...] = Field((), description="And of none of these.")

    def asks(self, language: str | None) -> bool:
        """Whether the rule is for this language."""
        return language not in self.not_languages and (
            not self.languages or language in self.languages
        )


def _rule(
    source: str, name: str, of: CodeMeasure | Flag, *, least: float | None = None,
    most: float | None = None, only: tuple[str, ...] = (), but: tuple[str, ...] = (),
) -> CodeRule:  # fmt: skip
    return CodeRule(
        name=name, measure=of, min=least, max=most, source=source, languages=only, not_languages=but
    )  # fmt: skip


def _lines(source: str, but: tuple[str, ...] = ()) -> tuple[CodeRule, CodeRule]:
    """The two limits that all published sets share."""
    return (
        _rule(source, "line_too_long", "max_line_chars", most=1_000, but=but),
        _rule(source, "mean_line_too_long", "mean_line_chars", most=100, but=but),
    )


_PYTHON = ("python",)
PRESETS: dict[CodePreset, tuple[CodeRule, ...]] = {
    "the_stack": (
        *_lines("The Stack"),
        _rule("The Stack", "too_few_alphanumerics", "alnum_share", least=0.25),
    ),
    "codex": (
        _rule("Codex", "generated", "generated", most=0),
        *_lines("Codex"),
        _rule("Codex, limit of The Stack", "too_few_alphanumerics", "alnum_share", least=0.25),
    ),
    "starcoder2": (
        _rule("StarCoder 2", "generated", "generated", most=0),
        _rule("StarCoder 2", "too_many_lines", "lines", most=100_000),
        _rule("StarCoder 2", "too_many_lines_of_data", "lines", most=512, only=_DATA),
        *_lines("StarCoder 2", but=_LOOSE_LINES),
        _rule("StarCoder 2", "too_few_letters", "letter_share", least=0.25),
        _rule("StarCoder 2", "encoded_data", "encoded_share", most=0.5),
        _rule("StarCoder 2", "long_encoded_data", "longest_encoded_chars", most=1_024),
    ),
    "opencoder": (
        _rule("OpenCoder", "generated", "generated", most=0),
        _rule("OpenCoder", "too_few_characters", "chars", least=50),
        _rule("OpenCoder", "too_few_lines", "lines", least=10),
        _rule("OpenCoder", "too_many_lines", "lines", most=100_000),
        *_lines("OpenCoder"),
        _rule("OpenCoder", "mean_line_too_short", "mean_line_chars", least=5),
        _rule("OpenCoder", "too_few_letters", "letters_of_visible_share", least=0.5),
        _rule("OpenCoder", "too_many_digits", "digit_share", most=0.2),
        _rule("OpenCoder", "too_much_white_space", "space_share", most=0.5),
        _rule("OpenCoder", "too_many_comments", "comment_share", most=0.8),
        _rule("OpenCoder", "repeated_lines", "repeated_line_share", most=0.7),
        _rule("OpenCoder", "encoded_data", "encoded_share", most=0.5),
        _rule("OpenCoder", "long_encoded_data", "longest_encoded_chars", most=1_024),
        _rule("OpenCoder", "too_many_hex_numbers", "hex_number_share", most=0.4),
        _rule("OpenCoder", "undone", "undone_line_share", most=0.01),
        _rule("OpenCoder", "too_many_asserts", "assert_line_share", most=0.4),
        _rule("OpenCoder", "too_many_functions", "function_line_share", most=0.2, only=_PYTHON),
        _rule("OpenCoder", "too_many_passes", "pass_line_share", most=0.05, only=_PYTHON),
        _rule("OpenCoder", "too_many_imports", "import_line_share", most=0.3, only=_PYTHON),
        _rule("OpenCoder", "too_many_prints", "print_line_share", most=0.4, only=_PYTHON),
        _rule("OpenCoder", "unparsable", "unparsable", most=0),
        _rule("OpenCoder", "python2", "python2", most=0),
    ),
    "primer": (
        _rule("Codex", "generated", "generated", most=0),
        _rule("Primer", "minified", "minified", most=0),
        _rule("Primer", "too_few_characters", "chars", least=200),
        *_lines("The Stack", but=_LOOSE_LINES),
        _rule("OpenCoder", "mean_line_too_short", "mean_line_chars", least=5),
        _rule("OpenCoder, 0.5", "too_few_letters", "letters_of_visible_share", least=0.25),
        _rule("StarCoder 2", "encoded_data", "encoded_share", most=0.5),
    ),
}  # fmt: skip


class CodeRules(Section):
    """Which program text is dropped: by licence, by presets, and by the recipe's own rules."""

    licences: LicenceRules = Field(LicenceRules(), description="Which licences are kept.")
    presets: tuple[CodePreset, ...] = Field(
        ("primer",),
        description="Sets of rules, in the order in which they are asked; of two rules of one "
        "name the later one counts.",
    )
    rules: tuple[CodeRule, ...] = Field(
        (),
        description="Rules of one's own; one with the name of a preset's rule takes its place, "
        "and one without limits switches it off.",
    )
    check_syntax: bool = Field(
        False,
        description="Parse Python, and flag what does not parse or is Python 2. Dear; done also "
        "where a rule asks for these flags.",
    )
    remove_notices: bool = Field(
        False, description="Take comments with a licence notice from the beginning of files."
    )

    def in_order(self) -> list[CodeRule]:
        """The rules that have a limit: the presets' own order, then those of the recipe."""
        named = {rule.name: rule for preset in self.presets for rule in PRESETS[preset]}
        named.update((rule.name, rule) for rule in self.rules)
        return [r for r in named.values() if r.min is not None or r.max is not None]

    @property
    def parses(self) -> bool:
        """Whether Python is parsed."""
        return self.check_syntax or any(r.measure in _SYNTAX_FLAGS for r in self.in_order())


class JudgedCode(NamedTuple):
    """Why each of N files is dropped (None: it is kept), and what is known of it."""

    verdicts: list[Verdict | None]
    languages: list[str | None]
    licences: list[str | None]  # what the file says of itself, else what was given
    flags: list[Flags]
    texts: pa.Array  # without licence notices, where the rules ask for that
    removed_chars: list[int]  # of the notices

    @property
    def facts(self) -> list[dict[str, Any]]:
        """What to keep with each document; what is not known, or nothing, is left out."""
        columns = zip(self.languages, self.licences, self.flags, self.removed_chars, strict=True)
        names = ("language", "licence", "flags", "removed_notice_chars")
        return [
            {name: value for name, value in zip(names, row, strict=True) if value}
            for row in columns
        ]


def judge_code(
    texts: pa.Array,
    paths: Sequence[str],
    licences: Sequence[str | None],
    rules: CodeRules,
    languages: Sequence[str | None] | None = None,
) -> JudgedCode:
    """Judge N files: by their licence first, then by the rules in order.

    `licences` and `languages` are what the source says of each: a file's own notice counts before
    the first, its name and first lines count after the second. Measures are of what is left when
    notices are removed; licences and flags are told before.
    """
    import pyarrow.compute as pc

    heads = [head or "" for head in pc.utf8_slice_codeunits(texts, 0, HEAD_CHARS).to_pylist()]
    stated = languages or [None] * len(heads)
    told = [known or tell_language(p, h) for known, p, h in zip(stated, paths, heads, strict=True)]
    owned = [licence_of_file(lead_of(h)) or given for h, given in zip(heads, licences, strict=True)]
    removed = [0] * len(heads)
    if rules.remove_notices:
        texts, removed = strip_notices(texts)
    measures = measure_code(texts, told)
    columns = zip(*(measures[name].tolist() for name in FACTS), strict=True)
    flags = [
        flag(path, head, language, dict(zip(FACTS, values, strict=True)))
        for path, head, language, values in zip(paths, heads, told, columns, strict=True)
    ]
    if rules.parses:
        _check_syntax(texts, told, flags)
    verdicts = [judge_licence(licence, rules.licences) for licence in owned]
    _judge_rules(rules.in_order(), measures, told, flags, verdicts)
    return JudgedCode(verdicts, told, owned, flags, texts, removed)


def _check_syntax(texts: pa.Array, languages: Sequence[str | None], flags: list[Flags]) -> None:
    for text, language, found in zip(texts, languages, flags, strict=True):
        if language == "python" and text.is_valid:
            source = text.as_py()
            problem = check_python(source) if len(source) <= MOST_CHARS else None
            if problem:
                found[problem.flag] = problem.evidence


def _judge_rules(
    rules: Sequence[CodeRule], measures: Measures, languages: Sequence[str | None],
    flags: Sequence[Flags], verdicts: list[Verdict | None],
) -> None:  # fmt: skip
    """Fill in the first rule that each file breaks, where there is no verdict yet."""
    marks: Measures = {
        name: np.array([name in found for found in flags], np.float64) for name in FLAGS
    }
    for rule in rules:
        values = (marks if rule.measure in marks else measures)[rule.measure]
        asked = np.array([rule.asks(language) for language in languages], bool)
        broken = judge_measures({rule.measure: np.where(asked, values, np.nan)}, [rule])
        for i, verdict in enumerate(broken):
            if verdict and verdicts[i] is None:
                evidence = flags[i].get(rule.measure, verdict.evidence)
                verdicts[i] = Verdict(rule.name, evidence)
