"""Repetition inside one text, by the measures and limits of Gopher, and loops at its end.

Shares are of the characters of the words. One in seventeen chapters of good textbooks on
programming exceeds Gopher's limits for repeated 5- to 10-grams (`python -m benchmarks.good_texts`),
since they show things in variants; so those limits are looser here, and a long run that stands
there twice is looked for by itself. A text of few words repeats itself by chance: under
`LEAST_WORDS`, only its lines and its end are looked at.

Source: Rae et al., "Scaling Language Models: Methods, Analysis & Insights from Training Gopher"
(2021), arXiv 2112.11446, table A1. A model that loops was described by Holtzman et al., "The
Curious Case of Neural Text Degeneration" (2020), arXiv 1904.09751.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

MAX_DUPLICATE_LINES = 0.3
MAX_TOP_GRAM = {2: 0.20, 3: 0.18, 4: 0.16}
MAX_DUPLICATE_GRAMS = {5: 0.30, 10: 0.25}  # Gopher's own, 0.15 and 0.10, are for web pages
LONGEST_RUN = 60  # words that may stand there twice
LEAST_WORDS = 80
_LEAST_LINES = 6
_LOOP_TURNS = 3
_LEAST_LOOP_WORDS = 12
_LONGEST_LOOP = 60  # words


def find_repetition(lines: Sequence[str], words: Sequence[str]) -> str | None:
    """What repeats itself, in words and figures; None where nothing does."""
    told = _loop_at_the_end(words)
    if told is None and len(lines) >= _LEAST_LINES:
        share = duplicate_share(lines)
        if share > MAX_DUPLICATE_LINES:
            told = f"{share:.2f} of its lines are repeated, such as {_most(lines)[:80]!r}"
    if told is None and len(words) >= LEAST_WORDS:
        told = _repeated_grams(words)
    return told


def duplicate_share(items: Sequence[str]) -> float:
    """Share of the items that stood there before."""
    return 1 - len(set(items)) / len(items) if items else 0.0


def top_gram_share(words: Sequence[str], n: int) -> tuple[float, str]:
    """Share of the characters in the n-gram that takes most of them, and that n-gram."""
    counts = Counter(zip(*(words[i:] for i in range(n)), strict=False))
    repeated = [(sum(map(len, g)) * times, g) for g, times in counts.items() if times > 1]
    if not repeated:
        return 0.0, ""
    most, gram = max(repeated)
    return most / sum(map(len, words)), " ".join(gram)


def duplicate_gram_share(words: Sequence[str], n: int) -> float:
    """Share of the characters in n-grams that stood there before, each character once."""
    seen: set[tuple[str, ...]] = set()
    covered, until = 0, 0
    for i, gram in enumerate(zip(*(words[k:] for k in range(n)), strict=False)):
        if gram in seen:
            covered += sum(map(len, words[max(i, until) : i + n]))
            until = i + n
        seen.add(gram)
    return covered / max(1, sum(map(len, words)))


def _repeated_grams(words: Sequence[str]) -> str | None:
    for n, limit in MAX_TOP_GRAM.items():
        share, gram = top_gram_share(words, n)
        if share > limit:
            return f"{share:.2f} of it is {gram!r}"
    for n, limit in MAX_DUPLICATE_GRAMS.items():
        share = duplicate_gram_share(words, n)
        if share > limit:
            return f"{share:.2f} of it are runs of {n} words that stood there before"
        if not share:
            return None  # nor is any longer run repeated
    if duplicate_gram_share(words, LONGEST_RUN):
        return f"a run of {LONGEST_RUN} words or more stands there twice"
    return None


def _loop_at_the_end(words: Sequence[str]) -> str | None:
    """The last words, where they are the same ones three times over."""
    for length in range(1, min(_LONGEST_LOOP, len(words) // _LOOP_TURNS) + 1):
        turns = max(_LOOP_TURNS, -(-_LEAST_LOOP_WORDS // length))
        tail = list(words[-length * turns :])
        if len(tail) == length * turns and tail == tail[:length] * turns:
            return f"it ends in a loop: {' '.join(tail[:length])[:80]!r}, {turns} times or more"
    return None


def _most(lines: Sequence[str]) -> str:
    return Counter(lines).most_common(1)[0][0]
