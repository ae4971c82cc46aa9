"""Which cosine pairs of texts have, so that a limit for near copies in sense can be set.

    python -m benchmarks.near_meaning --encoder DIR [--quick] [--json FILE]

DIR is a sentence encoder's, as `classifiers.encoder` opens it; each has a scale of its own. Pairs
are pieces of textbooks by the stand-in (rules, no LLM: its pieces share their frame, and a model's
do so less) from real code: a piece and itself with a thirtieth of its words changed, two on one
function with other choices, two on functions of one skill, two on other skills. And news by people:
an article rewritten by teachers for another level, and another article. Two minutes. Without the
data this says so and measures nothing.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median
from time import process_time
from timeit import timeit

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.good_texts import DATA, rewritings
from benchmarks.measured import Row, arguments, report
from classifiers.encoder import Encoder
from pipeline.curriculum import load_curriculum
from pipeline.draws import Draw, Plan
from pipeline.extracts import Extract, extract_all
from pipeline.factors import Factors, PlanConfig
from pipeline.flaws import FlawsConfig
from pipeline.lesson import Lesson
from pipeline.near_meaning import NearMeanings, Vectors, unit_vectors
from pipeline.records import make_doc_id
from pipeline.standin_writer import write

FUNCTIONS, QUICK_FUNCTIONS = 120, 24  # that the stand-in can teach
ARTICLES, QUICK_ARTICLES = 60, 8
CHANGED_SHARE = 1 / 30
LIMITS = (0.8, 0.9, 0.95, 0.98)
FACTORS = Factors.of(PlanConfig(), "lesson")


def main() -> None:
    """Embed all texts once, and tell the cosines of each kind of pair."""
    asked = arguments(__doc__, encoder="of an encoder; needed")
    if asked.encoder is None:
        sys.exit("near_meaning: give --encoder, the folder of an encoder")
    if not DATA.is_dir():
        sys.exit(f"near_meaning: there is no {DATA}; give it the texts")
    try:
        encoder = Encoder.open(asked.encoder)
    except ValueError as error:
        sys.exit(f"near_meaning: {error}")
    groups = {
        **_pieces(QUICK_FUNCTIONS if asked.quick else FUNCTIONS),
        **_news(QUICK_ARTICLES if asked.quick else ARTICLES),
    }
    texts = sorted({text for pairs in groups.values() for pair in pairs for text in pair})
    began = process_time()
    vectors = unit_vectors(encoder, texts)
    took_ms = 1e3 * (process_time() - began) / len(texts)
    at = {text: i for i, text in enumerate(texts)}
    rows = [
        _row(name, np.array([vectors[at[a]] @ vectors[at[b]] for a, b in pairs]))
        for name, pairs in groups.items()
        if pairs
    ]
    rows += [Row("tokens of a text that are read", encoder.max_length_, "at most"),
             Row("the encoder", took_ms, "ms a text")]  # fmt: skip
    sizes = (1_000, 10_000) if asked.quick else (10_000, 100_000)
    report(rows + [_asked(size, encoder.dimensions_) for size in sizes], asked.json)


def _asked(size: int, dimensions: int) -> Row:
    """A question among so many pieces, whose vectors are drawn."""
    drawn = np.random.default_rng(3).normal(size=(size, dimensions)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    index = NearMeanings()
    for i, vector in enumerate(drawn):
        index.add(str(i), vector)
    with threadpool_limits(1):
        took_s = median(
            timeit(lambda: index.twin_of(-drawn[0]), timer=process_time, number=1)
            for _ in range(20)
        )
    kept = {"bytes a piece": index.memory_bytes / size}
    return Row(f"a question among {size:,} pieces, one thread", 1e3 * took_s, "ms", peers=kept)


def _row(name: str, cosines: Vectors) -> Row:
    low, middle, high = np.percentile(cosines, [5, 50, 95])
    over = {f"share over {limit}": float((cosines > limit).mean()) for limit in LIMITS}
    ends = {"5 in 100 under": float(low), "5 in 100 over": float(high)}
    return Row(f"{name}, median ({len(cosines)} pairs)", float(middle), "cosine", peers=ends | over)


def _pieces(count: int) -> dict[str, list[tuple[str, str]]]:
    """Pairs of lessons on real functions that fit a skill, no two functions alike."""
    functions, generator = list(_functions()), np.random.default_rng(7)
    skills = load_curriculum().match([extract.text for extract in functions])
    taught: list[tuple[str, str, str]] = []  # skill, a piece, another on the same function
    for i in generator.permutation(len(functions)).tolist():
        plan, skill = Plan("lesson", [functions[i]], 7, FACTORS), skills[i]
        if skill and (one := _text(plan.draw(0), functions[i])):
            taught.append((skill, one, _text(plan.draw(1), functions[i])))
        if len(taught) == count:
            break
    of_skill = defaultdict(list)
    for skill, one, _ in taught:
        of_skill[skill].append(one)
    order = generator.permutation(len(taught)).tolist()
    mixed = [(taught[i], taught[j]) for i, j in zip(order, [*order[1:], order[0]], strict=True)]
    return {
        "a piece and its copy": [(one, _changed(one, generator)) for _, one, _ in taught],
        "pieces on one function": [(one, other) for _, one, other in taught],
        "pieces on one skill": [pair for some in of_skill.values() for pair in pairwise(some)],
        "pieces on other skills": [(a[1], b[1]) for a, b in mixed if a[0] != b[0]],
    }


def _functions() -> Iterator[Extract]:
    """Of real files, each text once."""
    seen = set()
    with gzip.open(DATA / "code/python_files.jsonl.gz", "rt", encoding="utf-8") as lines:
        for number, row in enumerate(map(json.loads, lines)):
            doc_id = make_doc_id("code", str(number), row["text"])
            known = {**row, "doc_id": doc_id, "kind": "code", "group": row["repo"]}
            for extract in extract_all(known, 4_000):
                if extract.text not in seen:
                    seen.add(extract.text)
                    yield extract


def _text(draw: Draw, extract: Extract) -> str:
    """What the stand-in writes to a draw; empty where it refuses."""
    task = Lesson(FACTORS, None, FlawsConfig())
    return str(write("lesson", list(task.messages(draw, extract)))["text"])


def _changed(text: str, generator: np.random.Generator) -> str:
    return " ".join(
        "other" if generator.random() < CHANGED_SHARE else word for word in text.split(" ")
    )


def _news(count: int) -> dict[str, list[tuple[str, str]]]:
    pairs = rewritings()[: 2 * count : 2]  # an article each
    others: Sequence[tuple[str, str]] = [
        (text, pairs[i - 1][1]) for i, (text, _) in enumerate(pairs)
    ]
    return {"news rewritten by teachers": pairs, "news of other articles": list(others)}


if __name__ == "__main__":
    main()
