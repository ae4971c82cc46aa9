"""The stand-in's rubric for prose: five points read off its discourse."""

from __future__ import annotations

import re
import statistics

Points = list[tuple[bool, str]]

# What stands between two marks that end a sentence, within a paragraph. A run is consumed whole,
# match or not, so that the time is linear in the text, whatever it holds.
_RUN = re.compile(r"[^.!?\n]+(?:\n(?![^\S\n]*\n)[^.!?\n]+)*[.!?]?")
_CAPITAL = re.compile(r"[A-Z]")
_CONNECTIVES = re.compile(
    r"\b(because|therefore|thus|hence|however|although|whereas|instead|otherwise|so that|"
    r"which means|in order to|this is why|as a result|rather than|unless|since|if|when|then)\b",
    re.I,
)
_EXAMPLES = re.compile(
    r"(\bfor (example|instance)\b|\be\.g\.|\bsuch as\b|\bconsider\b|\bsuppose\b|"
    r"\bas follows\b|^[ \t]*>>> |^```|::[ \t]*$|\bexamples?\b)",
    re.I | re.M,
)
_DEFINITIONS = re.compile(
    r"\b(is an?|are|is called|is the|refers to|means|is defined|consists of|represents)\b", re.I
)
_LEGAL = re.compile(
    r"\b(warranty|licensee|licensor|redistribut\w+|liability|copyright|indemnif\w+|hereby|"
    r"sublicense|merchantability|trademarks?)\b",
    re.I,
)
_LISTED = re.compile(r"^\s*([-*+•]|\d+[.)])\s|^\s*\S+\s*$|https?://", re.M)
_HEADING = re.compile(r"^(#{1,4} \S|[=\-~^]{4,}\s*$)", re.M)
_CHANGES = re.compile(
    r"\b(fix(ed|es)?|added|removed|deprecated|release[ds]?|changelog|bump(ed)?|pull request|"
    r"version \d|v\d+\.\d)\b",
    re.I,
)


def judge_prose(text: str) -> Points:
    """Whether each of the five points of docs/standin.md holds, and why."""
    words = max(1, len(text.split()))
    lines = [line for line in text.splitlines() if line.strip()]
    sentences = [s for s in find_sentences(text) if len(s.split()) >= 5]
    told_share = sum(len(s.split()) for s in sentences) / words
    legal, changes = (100 * len(p.findall(text)) / words for p in (_LEGAL, _CHANGES))
    listed_share = sum(bool(_LISTED.search(line)) for line in lines) / max(1, len(lines))
    connectives = 100 * len(_CONNECTIVES.findall(text)) / words
    paragraphs = [p for p in re.split(r"\n\s*\n", text) if len(find_sentences(p)) >= 2]
    headings, examples = len(_HEADING.findall(text)), len(_EXAMPLES.findall(text))
    definitions = 100 * len(_DEFINITIONS.findall(text)) / words
    mean_words = statistics.mean([len(s.split()) for s in sentences] or [0])
    subject = len(sentences) >= 3 and legal < 1 and told_share >= 0.3
    points = [
        (subject, f"{len(sentences)} sentences, {legal:.1f} legal words in a hundred"),
        (
            subject and connectives >= 1.2 and listed_share < 0.4 and changes < 1.5,
            f"{connectives:.1f} connectives in a hundred words, {listed_share:.0%} lines of lists",
        ),
        (
            len(paragraphs) >= 3 or (len(paragraphs) >= 2 and headings >= 2),
            f"{len(paragraphs)} paragraphs, {headings} headings",
        ),
        (
            subject and examples >= 2 and definitions >= 0.8,
            f"{examples} marks of examples, {definitions:.1f} definitions in a hundred words",
        ),
    ]
    textbook = all(holds for holds, _ in points) and 10 <= mean_words <= 30
    return [*points, (textbook, f"sentences of {mean_words:.0f} words")]


def find_sentences(text: str) -> list[str]:
    """From a capital to the mark that ends it; where none does, to the last colon of the run."""
    found = []
    for run in _RUN.findall(text):
        start = _CAPITAL.search(run)
        end = len(run) if run[-1] in ".!?" else run.rfind(":") + 1
        if start and start.start() < end:
            found.append(run[start.start() : end])
    return found
