"""Everything that is measured of a set of GGUF files, whoever made them.

Stage 13 gives it the files of a run, `primer evaluate` those of a path. Quality is asked of every
file. Cost is asked once for each shape and type: speed and memory do not depend on what the weights
say, so arms and seeds share one measure.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from downstream.cost import Plan
from downstream.cost_memory import Architecture, read_architecture
from downstream.evaluate_config import EvaluateConfig
from downstream.gate import FULL
from downstream.measuring import once, run_measure, summarize_rounds
from downstream.quantized_tensors import describe
from pipeline.errors import StageError

_LN2 = 0.6931471805599453
_SHARE_DEPTH_TOKENS = 64
_UNKNOWN_CONTEXT_TOKENS = 2_048  # where a file does not say what it was trained with

Advance = Callable[..., None]
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Candidate:
    """One file to measure."""

    arm: str
    seed: str | None
    type: str
    path: Path

    @property
    def name(self) -> str:
        """A name for its scratch files."""
        return ".".join(part for part in (self.arm, self.seed, self.type) if part is not None)


@dataclass
class Measured:
    """What is known of all candidates."""

    quality: dict[Candidate, Rows] = field(default_factory=dict)
    likeness: dict[Candidate, dict[str, Any]] = field(default_factory=dict)
    tasks: dict[Candidate, Rows] = field(default_factory=dict)
    cost: dict[Candidate, dict[str, Any]] = field(default_factory=dict)
    rounds: dict[Candidate, Rows] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """The files, the held-out text (a Parquet file as a handoff has it), and where to work."""

    candidates: Sequence[Candidate]
    validation: Path | None
    config: EvaluateConfig
    scratch: Path
    own_tokens: bool = False  # a model that was not made from this text's tokens

    def steps(self) -> int:
        """For the progress bar."""
        quality = len(self.candidates) * (self.validation is not None)
        likeness = self.config.likeness is not None and self.validation is not None
        quality += likeness * len(self._quantized())
        quality += (self.config.tasks is not None) * len(self.candidates)
        measures = self.config.repetitions + len(self.config.memory_contexts) + 1
        return quality + measures * len(set(self._measured_as().values()))

    def run(self, advance: Advance) -> Measured:
        """Measure everything that is not measured yet."""
        found = Measured()
        if self.validation is not None:
            for one in self.candidates:
                found.quality[one] = self._quality(one)
                advance(1, note=one.name)
            if self.config.likeness is not None:
                for one, full in self._quantized().items():
                    found.likeness[one] = self._likeness(one, full)
                    advance(1, note=f"{one.name}: likeness to {FULL}")
        if self.config.tasks is not None:
            for one in self.candidates:
                found.tasks[one] = self._tasks(one)
                advance(1, note=f"{one.name}: tasks")
        self._costs(found, advance)
        return found

    def _text_options(self, max_bytes: int) -> list[str]:
        options = [f"--tokens={self.config.context_tokens}", f"--bytes={max_bytes}",
                   f"--threads={self.config.threads}"]  # fmt: skip
        return [*options, "--own-tokens"] if self.own_tokens else options

    def _quality(self, one: Candidate) -> Rows:
        limit = self.config.max_validation_bytes
        rows: Rows = once(
            self.scratch / f"{one.name}.quality.json",
            lambda: run_measure(
                "perplexity", str(one.path), str(self.validation), *self._text_options(limit)
            ),
        )
        if not rows:
            raise StageError(
                "evaluate",
                f"no held-out document fits into {limit} bytes",
                "raise evaluate.max_validation_bytes",
            )
        return rows

    def _likeness(self, one: Candidate, full: Candidate) -> dict[str, Any]:
        assert self.config.likeness is not None
        limit = min(self.config.likeness.max_bytes, self.config.max_validation_bytes)
        found: dict[str, Any] = once(
            self.scratch / f"{one.name}.likeness.json",
            lambda: run_measure(
                "likeness", str(one.path), str(full.path), str(self.validation),
                *self._text_options(limit),
            ),
        )  # fmt: skip
        return found

    def _tasks(self, one: Candidate) -> Rows:
        from downstream.tasks import score_tasks

        assert self.config.tasks is not None
        folder = self.scratch / f"{one.name}.tasks"
        return score_tasks(one.path, self.config.tasks, folder, self.config.threads)

    def _quantized(self) -> dict[Candidate, Candidate]:
        """Each quantized file with the F16 that it was made from."""
        full = {(one.arm, one.seed): one for one in self.candidates if one.type == FULL}
        return {
            one: full[one.arm, one.seed]
            for one in self.candidates
            if one.type != FULL and (one.arm, one.seed) in full
        }

    def _measured_as(self) -> dict[Candidate, Candidate]:
        """For each file the first of its shape and type, whose cost is its own too."""
        first: dict[tuple[str, Architecture], Candidate] = {}
        return {
            one: first.setdefault((one.type, read_shape(one.path)), one) for one in self.candidates
        }

    def _costs(self, found: Measured, advance: Advance) -> None:
        """Rounds over all distinct files, so that a neighbour's load falls on all alike."""
        measured_as = self._measured_as()
        distinct = list(dict.fromkeys(measured_as.values()))
        rounds: dict[Candidate, Rows] = {one: [] for one in distinct}
        for turn in range(self.config.repetitions):
            for one in distinct:
                rounds[one].append(self._round(one, turn))
                advance(1, note=f"{one.name}, round {turn + 1}")
        cost = {}
        for one in distinct:
            cost[one] = summarize_rounds(rounds[one])
            cost[one] |= {"memory": self._memory(one, advance), "matrix": self._share(one)}
            advance(1)
        found.rounds = rounds
        found.cost = {one: cost[same] for one, same in measured_as.items()}

    def _round(self, one: Candidate, turn: int) -> dict[str, Any]:
        config = self.config
        plan = Plan(
            config.prompts, config.depths, config.decode_tokens, config.prompt_tokens
        ).within(read_shape(one.path).context_tokens or _UNKNOWN_CONTEXT_TOKENS)
        found: dict[str, Any] = once(
            self.scratch / f"{one.name}.{turn}.json",
            lambda: run_measure(
                "cost", str(one.path), f"--threads={config.threads}", *plan.arguments()
            ),
        )
        return found

    def _memory(self, one: Candidate, advance: Advance) -> Rows:
        found = []
        for context in self.config.memory_contexts:
            found.append(
                once(
                    self.scratch / f"{one.name}.memory{context}.json",
                    lambda context=context: run_measure(  # type: ignore[misc]
                        "cost_memory", str(one.path), f"--context={context}",
                        f"--threads={self.config.threads}",
                    ),
                )
            )  # fmt: skip
            advance(1, note=f"{one.name}: memory at {context}")
        return found

    def _share(self, one: Candidate) -> dict[str, Any] | None:
        decode = self.config.share_tokens
        if decode is None:
            return None
        found: dict[str, Any] = once(
            self.scratch / f"{one.name}.share.json",
            lambda: run_measure(
                "cost_share", str(one.path), f"--depth={_SHARE_DEPTH_TOKENS}",
                f"--decode={decode}", f"--threads={self.config.threads}",
            ),
        )  # fmt: skip
        return found


def read_shape(path: Path) -> Architecture:
    """The architecture of a GGUF file; StageError where it is none."""
    try:
        return read_architecture(path)
    except (ValueError, KeyError, IndexError, OSError) as error:
        raise StageError(
            "evaluate", f"{path} is no GGUF file of a model ({error})", "give a whole GGUF file"
        ) from error


def summarize(evaluation: Evaluation, found: Measured) -> list[dict[str, Any]]:
    """One row for each arm and type, quality averaged over the seeds."""
    together: dict[tuple[str, str], list[Candidate]] = {}
    for one in evaluation.candidates:
        together.setdefault((one.arm, one.type), []).append(one)
    return [_row(arm, kind, some, found) for (arm, kind), some in together.items()]


def _row(arm: str, kind: str, some: Sequence[Candidate], found: Measured) -> dict[str, Any]:
    rows = [row for one in some for row in found.quality.get(one, ())]
    by_seed = [bits_per_byte(found.quality.get(one, ())) for one in some]
    known = [value for value in by_seed if value is not None]
    shape = read_shape(some[0].path)
    described = _described(some[0].path, shape)
    return {
        "arm": arm,
        "type": kind,
        "seeds": [one.seed for one in some if one.seed is not None],
        "file_mib": round(some[0].path.stat().st_size / 2**20, 3),
        "shape": {
            **{name: value for name, value in asdict(shape).items() if name != "tensors"},
            "kv_bytes_per_token": shape.kv_bytes_per_token,
        },
        **{name: described[name] for name in ("bits_per_weight", "tensors", "fell_back")},
        "bits_per_byte": bits_per_byte(rows),
        "bits_per_byte_spread": round(max(known) - min(known), 5) if len(known) > 1 else None,
        "bits_per_byte_by_kind": {
            kind: bits_per_byte([r for r in rows if r["kind"] == kind])
            for kind in sorted({r["kind"] for r in rows})
        },
        "bits_per_byte_kept": bits_per_byte([r for r in rows if r["keep"]]),
        "bits_per_byte_not_kept": bits_per_byte([r for r in rows if not r["keep"]]),
        "likeness": _mean_likeness([found.likeness[one] for one in some if one in found.likeness]),
        "tasks": _mean_tasks([found.tasks[one] for one in some if one in found.tasks]),
        **found.cost[some[0]],
    }


def _described(path: Path, shape: Architecture) -> dict[str, Any]:
    """What `describe` says; nothing of fallbacks where the file's type is newer than the reader."""
    try:
        return describe(path)
    except ValueError:
        bits = round(8 * shape.weight_bytes / shape.weights, 3)
        return {"bits_per_weight": bits, "tensors": dict(shape.tensors), "fell_back": []}


def bits_per_byte(rows: Sequence[dict[str, Any]]) -> float | None:
    """All nats over all bytes, in bits; null where no token was scored. Seeds count alike."""
    size = sum(row["n_bytes"] for row in rows if row["scored_tokens"])
    return round(sum(row["nats"] for row in rows) / _LN2 / size, 5) if size else None


def _mean_likeness(found: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Means over the seeds; counts and standard errors are those of the first."""
    if not found:
        return None
    means = ("kl_mean_nats", "kl_median_nats", "kl_99th_percentile_nats", "top1_agreement")
    return {
        **found[0],
        **{name: sum(one[name] for one in found) / len(found) for name in means},
    }


def _mean_tasks(found: Sequence[Rows]) -> Rows | None:
    """Scores averaged over the seeds, with the standard error of one of them.

    A task of which no item fits the context has no score.
    """
    if not found:
        return None
    return [
        {**same[0], "value": None if None in values else statistics.fmean(values)}
        for same in zip(*found, strict=True)
        for values in [[row["value"] for row in same]]
    ]


def write_rounds(path: Path, found: Measured) -> None:
    """Every repetition of every distinct file."""
    told = {one.name: rounds for one, rounds in found.rounds.items()}
    path.write_text(json.dumps(told, indent=1) + "\n")
