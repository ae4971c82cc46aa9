"""Which arm is better, by how much, and how sure that is.

The measure is bits per byte of text that no arm has seen. Two arms are compared on the same
documents with the same seeds, so that what is hard about a document cancels out. Intervals are of
a bootstrap that draws repositories, then documents within each, then pairs of seeds, because the
documents of one repository are alike and a new reader would bring other repositories. Where there
are few repositories such intervals are wide, and still somewhat too narrow (Cameron, Gelbach,
Miller 2008, https://doi.org/10.1162/rest.90.3.414); beside them stands in how many repositories
the difference has the same sign.

    python -m downstream.ablation runs/ablation-pack/pack.tar.xz OUT/nats.npz [QUANTIZED.npz]
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import math
import sys
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError, StageError

DRAWS, SEED = 2_000, 1
PAIRS = (
    ("kept", "raw"), ("kept", "random"), ("kept+synthetic", "raw"), ("kept+synthetic", "random"),
    ("kept+synthetic", "kept"), ("kept-shuffled", "raw"), ("kept", "kept-shuffled"),
)  # fmt: skip

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class HeldOut:
    """One document that was measured."""

    doc_id: str
    group: str
    kind: str
    side: str
    n_bytes: int


@dataclass(frozen=True)
class Difference:
    """Bits per byte of one arm less those of another; below zero the first is better."""

    first: str
    second: str
    subset: str
    bits_per_byte: float
    low: float
    high: float
    documents: int
    groups: int
    groups_better: int
    seeds: int

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def main() -> None:
    """Print the tables, and write them as JSON and as a picture where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pack", type=Path)
    parser.add_argument("nats", type=Path, nargs="+", help="arm/seed or arm@type/seed to nats.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    try:
        documents = read_held_out(given.pack)
        nats = read_nats(given.nats, len(documents))
    except StageError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    told = {form: compare(documents, of_form(nats, form)) for form in forms_of(nats)}
    for form, (levels, differences) in told.items():
        print(f"\n{form}\n\n{as_table(levels, differences)}")
    if given.json:
        record = {f: {"levels": a, "differences": [asdict(d) for d in b]}
                  for f, (a, b) in told.items()}  # fmt: skip
        given.json.write_text(json.dumps(record, indent=1) + "\n")
    if given.plot:
        from downstream.ablation_plot import plot

        plot({form: differences for form, (_, differences) in told.items()}, given.plot)


def read_held_out(pack: Path) -> list[HeldOut]:
    """What was measured, in the order of the nats."""
    if not pack.is_file():
        raise InputError("ablation", f"there is no {pack}", "run downstream.ablation_pack first")
    with tarfile.open(fileobj=io.BytesIO(lzma.open(pack).read())) as tar:
        facts = json.load(tar.extractfile("pack.json"))  # type: ignore[arg-type]
        held = tar.extractfile("held_out_bytes.npy")
        n_bytes = np.load(io.BytesIO(held.read() if held else b""))
    rows = zip(facts["held_out"], n_bytes.tolist(), strict=True)
    return [HeldOut(**row, n_bytes=size) for row, size in rows]


def read_nats(paths: Iterable[Path], documents: int) -> dict[str, Array]:
    """All nats by name; InputError where they are not of a pack with so many documents."""
    nats: dict[str, Array] = {}
    for path in paths:
        if not path.is_file():
            raise InputError(
                "ablation", f"there is no {path}", "run downstream.ablation_train first"
            )
        with np.load(path) as arrays:
            nats |= {name: arrays[name] for name in arrays.files}
        for name, values in nats.items():
            if len(values) != documents:
                raise InputError(
                    "ablation", f"{path} has {len(values)} nats of {name}, the pack {documents} "
                    "documents", "give the nats that were measured with this pack",
                )  # fmt: skip
    return nats


def forms_of(nats: Iterable[str]) -> list[str]:
    """The forms that were measured: "trained" of arm/seed, or the type of arm@type/seed."""
    found = dict.fromkeys(_form(name) for name in nats)
    return sorted(found, key=lambda form: form != "trained")


def of_form(nats: Mapping[str, Array], form: str) -> dict[str, dict[int, Array]]:
    """Nats of every document by arm and seed."""
    found: dict[str, dict[int, Array]] = defaultdict(dict)
    for name, values in nats.items():
        arm, _, seed = name.rpartition("/")
        if _form(name) == form:
            found[arm.partition("@")[0]][int(seed)] = values
    return dict(found)


def _form(name: str) -> str:
    return name.rpartition("/")[0].partition("@")[2] or "trained"


def compare(
    documents: Sequence[HeldOut], nats: Mapping[str, Mapping[int, Array]]
) -> tuple[dict[str, dict[str, float]], list[Difference]]:
    """Bits per byte by subset and arm, and the paired differences."""
    levels: dict[str, dict[str, float]] = {}
    differences = []
    for subset, chosen in subsets_of(documents, nats).items():
        n_bytes = np.array([documents[i].n_bytes for i in chosen], float)
        groups = [documents[i].group for i in chosen]
        levels[subset] = {
            arm: _bits(np.mean([of[chosen] for of in seeds.values()], axis=0), n_bytes)
            for arm, seeds in nats.items()
        }
        for first, second in PAIRS:
            seeds = sorted(nats.get(first, {}).keys() & nats.get(second, {}).keys())
            if seeds:
                pairs = np.stack([nats[first][s][chosen] - nats[second][s][chosen] for s in seeds])
                differences.append(difference(first, second, subset, pairs, n_bytes, groups))
    return levels, differences


def subsets_of(
    documents: Sequence[HeldOut], nats: Mapping[str, Mapping[int, Array]]
) -> dict[str, Array]:
    """Teaching, and its prose and code; the ordinary ones; every benchmark. Measured ones only."""
    measured = np.all([np.isfinite(v) for of in nats.values() for v in of.values()], axis=0)
    found: dict[str, list[int]] = defaultdict(list)
    for i in np.flatnonzero(measured).tolist():
        document = documents[i]
        if document.side == "benchmark":
            found[document.group].append(i)
        else:
            found[document.side].append(i)
            found[f"{document.side} {document.kind}"].append(i)
    order = sorted(found, key=lambda name: (not name.startswith("teaching"), name))
    return {name: np.array(found[name]) for name in order}


def difference(
    first: str, second: str, subset: str, pairs: Array, n_bytes: Array, groups: Sequence[str]
) -> Difference:
    """The difference and its interval; `pairs` is seeds x documents, in nats."""
    names = sorted(set(groups))
    members = [np.flatnonzero(np.array(groups) == name) for name in names]
    drawn = _draws(pairs, n_bytes, members, np.random.default_rng(SEED))
    low, high = np.quantile(drawn, [0.025, 0.975])
    mean = pairs.mean(axis=0)
    better = sum(_bits(mean[rows], n_bytes[rows]) < 0 for rows in members)
    return Difference(
        first, second, subset, _bits(mean, n_bytes), float(low), float(high), len(groups),
        len(names), better, len(pairs),
    )  # fmt: skip


def _draws(
    pairs: Array, n_bytes: Array, members: Sequence[Array], random: np.random.Generator
) -> Array:
    """The difference in every draw: how often each document and each pair of seeds was taken."""
    groups = len(members)
    if groups > 1:
        taken = random.multinomial(groups, np.full(groups, 1 / groups), DRAWS)
    else:  # a benchmark: its items are drawn alone
        taken = np.ones((DRAWS, 1), int)
    nats, sizes = np.zeros((DRAWS, len(pairs))), np.zeros(DRAWS)
    for rows, times in zip(members, taken.T, strict=True):
        count = random.multinomial(times * len(rows), np.full(len(rows), 1 / len(rows)))
        nats += count @ pairs[:, rows].T
        sizes += count @ n_bytes[rows]
    seeds = random.multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), DRAWS) / len(pairs)
    drawn: Array = (nats * seeds).sum(axis=1) / sizes / math.log(2)
    return drawn


def _bits(nats: Array, n_bytes: Array) -> float:
    return float(nats.sum() / n_bytes.sum() / math.log(2))


def as_table(levels: Mapping[str, Mapping[str, float]], differences: Sequence[Difference]) -> str:
    """Markdown: the arms' bits per byte, then the differences."""
    arms = list(next(iter(levels.values())))
    lines = [f"| held out | {' | '.join(arms)} |", "|---|" + "---:|" * len(arms)]
    lines += [
        f"| {subset} | {' | '.join(f'{of[arm]:.4f}' for arm in arms)} |"
        for subset, of in levels.items()
    ]
    lines += ["", "| held out | difference | bits per byte | 95 % interval | repositories better |"]
    lines += ["|---|---|---:|---:|---:|"]
    lines += [
        f"| {d.subset} | {d.first} - {d.second} | {'**' if d.sure else ''}{d.bits_per_byte:+.4f}"
        f"{'**' if d.sure else ''} | {d.low:+.4f} to {d.high:+.4f} | "
        f"{d.groups_better} of {d.groups} |"
        for d in differences
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
