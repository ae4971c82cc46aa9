"""Designs of a plan: which pairs of choices 2,000 rows have, by seven ways to spread them.

    python -m benchmarks.plan_design [--quick] [--json FILE]

The skills come from real extracts, matched with the built-in curriculum: many of them, unevenly,
and fixed before. Beside each, a design chooses the levels of the nine other factors: the topic and
the built-in audiences, formats, styles and difficulties, 48 personas of real documents, three
words. Coverage is that of `pipeline.coverage`, so 100 % is what rows spread evenly would have.
Unevenness is (count - expected)^2 / expected over the pairs that are expected five times or more,
the mean for two factors and then over all such two; chance has about 1. Figures are means over five
seeds, in about a minute. Without the data this says so and measures nothing.

Then drafts are rejected: 77 % of the extracts teach nothing, a tenth of the other drafts are near
copies, both drawn at random, and a slot is drawn anew up to eight times.

The other designs: levels drawn at random; each factor's levels in shuffled cycles; the additive
recurrence R_d (M. Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018); Sobol
with a linear scramble, its first axis left to the skills, whose order is that axis; Faure (Acta
Arithmetica 41, 1982) in base 11, scrambled likewise; residues of the row's number, for each factor
in a cycle that has no divisor in common with the others' (the Chinese remainder theorem).
"""

from __future__ import annotations

import gzip
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measured import Row, arguments, medians, report
from pipeline.coverage import measure_coverage
from pipeline.curriculum import load_curriculum
from pipeline.draws import FACTORS, Plan
from pipeline.extracts import Extract, extract_all
from pipeline.personas import Persona, personas_of

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FILES = (("code/python_files.jsonl.gz", "code"), ("web/prose.jsonl.gz", "web"))
ROWS, SEEDS, PERSONAS, EXTRACT_CHARS = 2_000, 5, 48, 4_000
BASE = 11  # of Faure's sequence: the first prime that is no less than the number of factors
_FEWEST_EXPECTED = 5  # in a cell, for chi-squared to mean something (Cochran, Biometrics 10, 1954)
BARREN_SHARE, REJECTED_SHARE, REDRAWS = 0.77, 0.1, 8  # extracts refused; pieces, of the rest

Levels = npt.NDArray[np.int64]  # [rows, factors]
Design = Callable[[int, Sequence[int], int], Levels]


def main() -> None:
    """Measure the plan's own design beside six others."""
    options = arguments(__doc__)
    if not DATA.is_dir():
        sys.exit(f"plan_design: there is no {DATA}; give it real files")
    documents = list(_documents(400 if options.quick else None))
    extracts = [one for row in documents for one in extract_all(row, EXTRACT_CHARS)]
    found: dict[str, list[list[float]]] = {}
    timed_ms, same = [], []
    for seed in range(1 if options.quick else SEEDS):
        personas = personas_of(documents, PERSONAS, seed)
        plan = _plan(extracts, personas, seed)
        began = time.perf_counter()
        drawn = [plan.draw(slot).record() for slot in range(ROWS)]
        timed_ms.append((time.perf_counter() - began) / ROWS * 1e3)
        longer = _plan(extracts, personas, seed)
        backwards = [longer.draw(slot).record() for slot in reversed(range(2 * ROWS))]
        same.append(drawn == backwards[::-1][:ROWS])
        shares = plan.shares()
        for name, design in {"as drawn": None, **DESIGNS}.items():
            records = drawn if design is None else _redrawn(drawn, shares, design, seed)
            found.setdefault(name, []).append(_measured(records, shares))
    rows = [*_rows(found, timed_ms, same), *_after_rejections(plan)]
    report([*rows, *_timed(documents, extracts, plan)], options.json)


def _rows(
    found: Mapping[str, list[list[float]]], timed_ms: list[float], same: list[bool]
) -> Iterator[Row]:
    means = {name: np.mean(measured, axis=0).tolist() for name, measured in found.items()}
    ours = means.pop("as drawn")
    what = (
        (f"pairs that occur, of what {ROWS:,} rows can have", "%", 95.0),
        ("the same, of the worst two factors", "%", None),
        ("unevenness", "", None),
    )
    for i, (name, unit, limit) in enumerate(what):
        peers = {design: measured[i] for design, measured in means.items()}
        yield Row(name, ours[i], unit, limit, "min", peers)
    share = 100 * sum(same) / len(same)
    yield Row(f"plans of {2 * ROWS:,} whose first {ROWS:,} are the same", share, "%", 100, "min")
    yield Row("a row, made and drawn", float(np.median(timed_ms)), "ms")


def _after_rejections(plan: Plan) -> Iterator[Row]:
    """The last plan, with drafts rejected at random, by what is drawn anew after one."""
    rng = np.random.default_rng(3)
    barren = set(np.flatnonzero(rng.random(len(plan.extracts)) < BARREN_SHARE).tolist())
    arms = {
        "all is turned at every attempt, refused extracts come again": (True, False),
        "all is turned at every attempt, refused extracts are passed over": (True, True),
        "all but the extract is turned when a piece was rejected, refused ones are passed over":
            (False, True),
    }  # fmt: skip
    for name, (always, passed_over) in arms.items():
        refused: set[int] = set()
        accepted, asked = [], 0
        slots = [(slot, 0) for slot in range(ROWS)]  # and how many of its pieces were rejected
        for attempt in range(1 + REDRAWS):
            draws = [
                (plan.draw(slot, attempt, attempt if always else turn,
                           refused if passed_over else frozenset()), turn)
                for slot, turn in slots
            ]  # fmt: skip
            asked += len(draws)
            slots = []
            for one, turn in draws:
                if one.extract in barren:
                    slots.append((one.slot, turn))
                elif rng.random() < REJECTED_SHARE:
                    slots.append((one.slot, turn + 1))
                else:
                    accepted.append(one.record())
            refused |= {one.extract for one, _ in draws} & barren
        share = 100 * measure_coverage(accepted, plan.shares(barren))["share"]
        counts = {"accepted": len(accepted), "asked": asked}
        yield Row(f"pairs that occur after rejections; {name}", share, "%", peers=counts)


def _timed(documents: list[dict[str, Any]], extracts: list[Extract], plan: Plan) -> Iterator[Row]:
    texts, looked_at = [one.text for one in extracts], documents[: 20 * PERSONAS]
    drawn = [plan.draw(slot).record() for slot in range(ROWS)]
    shares, curriculum = plan.shares(), load_curriculum()
    works: dict[str, tuple[Callable[[], object], int]] = {
        "a draw whose row is made": (lambda: [plan.draw(i) for i in range(ROWS)], ROWS),
        "an extract matched with a skill": (lambda: curriculum.match(texts), len(texts)),
        "a document looked at for personas": (
            lambda: personas_of(looked_at, PERSONAS, 7), len(looked_at)
        ),
        "a record counted for the coverage": (lambda: measure_coverage(drawn, shares), ROWS),
    }  # fmt: skip
    times = medians({name: work for name, (work, _) in works.items()}, 3)
    for name, (_, count) in works.items():
        yield Row(name, times[name][0] / count * 1e6, "microseconds")


def _documents(most: int | None) -> Iterator[dict[str, Any]]:
    for name, kind in FILES:
        with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
            for i, line in zip(range(most or sys.maxsize), lines, strict=False):
                row = json.loads(line)
                path = str(row.get("path") or row.get("url") or "")
                yield {"doc_id": f"{name} {i}", "kind": kind, "group": row["repo"],
                       "licence": None, "url_or_path": path, "text": row["text"]}  # fmt: skip


def _plan(extracts: list[Extract], personas: list[Persona], seed: int) -> Plan:
    return Plan("lesson", extracts, seed, curriculum=load_curriculum(), personas=personas)


def _redrawn(
    drawn: list[dict[str, Any]], shares: Mapping[str, Mapping[str | None, float]], design: Design,
    seed: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """The rows with their extracts and skills, and every other choice by another design."""
    # a level with twice the share stands twice
    names = [
        [level for level, share in shares[factor].items()
         for _ in range(round(share / min(shares[factor].values())))]
        for factor in FACTORS
    ]  # fmt: skip
    rows = design(len(drawn), [len(levels) for levels in names], seed)
    chosen = ([levels[i] for levels, i in zip(names, row, strict=True)] for row in rows)
    return [
        {**one, **dict(zip(FACTORS, levels, strict=True)), "words": levels[-3:]}
        for one, levels in zip(drawn, chosen, strict=True)
    ]


def _measured(
    records: list[dict[str, Any]], shares: Mapping[str, Mapping[str | None, float]]
) -> list[float]:
    """Pairs that occur and those of the worst two factors in percent, and the unevenness."""
    covered = measure_coverage(records, shares)
    chosen = [{**one, **dict(zip(FACTORS[-3:], one["words"], strict=True))} for one in records]
    at, fair = {}, {}
    for name, levels in shares.items():
        place = {level: i for i, level in enumerate(levels)}
        at[name] = np.array([place[one[name]] for one in chosen])
        fair[name] = np.array(list(levels.values()))
    fair["skill"] = np.bincount(at["skill"], minlength=len(shares["skill"])) / len(records)
    uneven = []
    for one, other in combinations(shares, 2):
        expected = len(records) * np.outer(fair[one], fair[other])
        counts = np.zeros_like(expected)
        np.add.at(counts, (at[one], at[other]), 1)
        cells = expected >= _FEWEST_EXPECTED
        if cells.any():
            uneven.append(((counts - expected)[cells] ** 2 / expected[cells]).mean())
    return [100 * covered["share"], 100 * covered["lowest_share"], float(np.mean(uneven))]


def at_random(rows: int, sizes: Sequence[int], seed: int) -> Levels:
    """Every level drawn by itself."""
    return np.random.default_rng(seed).integers(0, sizes, (rows, len(sizes)))


def shuffled_cycles(rows: int, sizes: Sequence[int], seed: int) -> Levels:
    """Each factor's levels once in an order drawn anew, and again."""
    rng = np.random.default_rng(seed)
    columns = [
        np.concatenate([rng.permutation(size) for _ in range(-(-rows // size))])[:rows]
        for size in sizes
    ]
    return np.column_stack(columns)


def additive_recurrence(rows: int, sizes: Sequence[int], seed: int) -> Levels:
    """Multiples of the powers of 1 / phi, where phi^(d + 1) = phi + 1."""
    phi = 2.0
    for _ in range(60):
        phi = (1 + phi) ** (1 / (len(sizes) + 1))
    steps = phi ** -np.arange(1, len(sizes) + 1)
    start = np.random.default_rng(seed).random(len(sizes))
    return _scaled((start + np.outer(np.arange(rows), steps)) % 1, sizes)


def sobol(rows: int, sizes: Sequence[int], seed: int) -> Levels:
    """Sobol's points in the order of their numbers, not of Gray's code, as scipy gives them."""
    from scipy.stats import qmc  # type: ignore[import-untyped]

    bits = (rows - 1).bit_length()
    points = qmc.Sobol(1 + len(sizes), scramble=True, rng=seed).random_base2(bits)
    numbers = np.arange(1 << bits)
    return _scaled(points[np.argsort(numbers ^ (numbers >> 1)), 1:][:rows], sizes)


def faure(rows: int, sizes: Sequence[int], seed: int) -> Levels:
    """Digits of the row's number, by powers of Pascal's triangle and a lower triangle drawn."""
    rng, digits = np.random.default_rng(seed), math.ceil(math.log(rows, BASE))
    numbers = np.arange(rows)[:, None] // BASE ** np.arange(digits) % BASE  # [rows, digits]
    columns = []
    for k in range(len(sizes)):
        power = np.array([[math.comb(j, i) * k ** max(0, j - i) % BASE for j in range(digits)]
                          for i in range(digits)])  # fmt: skip
        scramble = np.tril(rng.integers(0, BASE, (digits, digits)), -1)
        scramble += np.diag(rng.integers(1, BASE, digits))
        turned = (numbers @ (scramble @ power % BASE).T + rng.integers(0, BASE, digits)) % BASE
        columns.append(turned @ (1.0 / BASE) ** np.arange(1, digits + 1))
    return _scaled(np.column_stack(columns), sizes)


def coprime_residues(rows: int, sizes: Sequence[int], seed: int) -> Levels:
    """The row's number in the shortest cycles that are coprime, and odd: skills halve by twos."""
    cycles: list[int] = []
    for size in sizes:
        cycle = size
        while any(math.gcd(cycle, other) > 1 for other in [2, *cycles]):
            cycle += 1
        cycles.append(cycle)
    start = np.random.default_rng(seed).integers(0, cycles)
    return _scaled((start + np.arange(rows)[:, None]) % cycles / cycles, sizes)


def _scaled(points: npt.NDArray[np.float64], sizes: Sequence[int]) -> Levels:
    """Levels of points in the unit cube, [rows, factors]."""
    levels: Levels = np.minimum(points * sizes, np.array(sizes) - 1).astype(np.int64)
    return levels


DESIGNS: dict[str, Design] = {
    "at random": at_random, "shuffled cycles": shuffled_cycles, "R_d": additive_recurrence,
    "Sobol": sobol, "Faure": faure, "coprime residues": coprime_residues,
}  # fmt: skip


if __name__ == "__main__":
    main()
