"""Stage 13: how good, how fast and how large every arm's every quantized model is.

Quality is bits per byte of the pinned validation text, through llama.cpp, per document: it does not
depend on the tokenizer or on the clock. Speed and memory are measured in fresh processes, all
models in turn, several times round; the median is reported with its spread.
"""

from __future__ import annotations

import json
import lzma
import statistics
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from downstream.device import system_info
from downstream.report import write_reports
from pipeline.config import Section
from pipeline.errors import StageError
from pipeline.handoff_record import open_handoff
from pipeline.ledger import Ledger
from pipeline.records import read_rows, write_table
from pipeline.stage import Outcome, Stage, Workplace

_LN2 = 0.6931471805599453

RESULT = pa.schema(
    [
        pa.field("arm", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("keep", pa.bool_(), nullable=False),  # whether the filter would keep it
        pa.field("n_bytes", pa.int64(), nullable=False),
        pa.field("scored_tokens", pa.int64(), nullable=False),
        pa.field("nats", pa.float64(), nullable=False),
    ]
)


class EvaluateConfig(Section):
    """What is measured, and what a quantized model may lose."""

    context_tokens: int = Field(256, ge=16, le=131_072, description="Window of the quality measure")
    max_validation_bytes: int = Field(
        100_000, ge=1_000, description="Held-out text that each model is scored on (bytes)."
    )
    prompt_tokens: int = Field(128, ge=4, le=131_072, description="Prompt of the prefill measure.")
    decode_tokens: int = Field(64, ge=4, le=131_072, description="Tokens decoded after it.")
    repetitions: int = Field(3, ge=1, le=100, description="Rounds of speed over all models.")
    threads: int = Field(2, ge=1, le=256, description="Threads of llama.cpp.")
    max_loss_bits_per_byte: float = Field(
        0.05, gt=0, description="Lost against F16 by more than this, a type is put on hold."
    )


@dataclass(frozen=True)
class Candidate:
    """One file to measure."""

    arm: str
    type: str
    path: Path

    @property
    def name(self) -> str:
        """A name for its scratch files."""
        return f"{self.arm}.{self.type}"


def evaluate(place: Workplace) -> Outcome:
    """Measure every file, and write results and reports per arm."""
    config = place.section(EvaluateConfig)
    handed = place.needs["handoff"].file("handoff.json")
    handoff = open_handoff(handed)
    validation = handed.parent / handoff.validation.documents.path
    candidates = _candidates(place)
    work = len(candidates) * (1 + config.repetitions)
    with place.bar("measuring", work) as advance:
        quality = {c: _quality(place, config, c, validation, advance) for c in candidates}
        speed = _speeds(place, config, candidates, advance)
    models = [_summary(c, quality[c], speed[c]) for c in candidates]
    _judge(models, config.max_loss_bits_per_byte)
    about = {
        "dataset": handoff.dataset,
        "dataset_fingerprint": place.needs["handoff"].manifest.fingerprint,
        "teacher": handoff.teacher,
        "build": system_info(),
        "settings": config.model_dump(),
        "baselines": _baselines(validation, config.max_validation_bytes),
    }
    for arm in sorted({c.arm for c in candidates}):
        folder = place.out / arm
        rows = [
            {"arm": c.arm, "type": c.type, **row}
            for c in candidates
            for row in quality[c]
            if c.arm == arm
        ]
        write_table(folder / "results.parquet", rows, RESULT)
        (folder / "speed.json").write_text(
            json.dumps({c.type: speed[c] for c in candidates if c.arm == arm}, indent=1) + "\n"
        )
        write_reports(folder, arm, models, about)
    return Outcome(
        Ledger("models", len(candidates), len(candidates)),
        {"models": models, "baselines": about["baselines"]},
    )


def _candidates(place: Workplace) -> list[Candidate]:
    order = place.needs["quantize"].facts["types"]
    files = place.needs["quantize"].files("*/model-*.gguf")
    found = [Candidate(p.parent.name, p.stem.removeprefix("model-"), p) for p in files]
    return sorted(found, key=lambda c: (c.arm, order.index(c.type)))


def _quality(
    place: Workplace, config: EvaluateConfig, one: Candidate, validation: Path,
    advance: Callable[..., None],
) -> list[dict[str, Any]]:  # fmt: skip
    def measure() -> Any:
        return _run(
            "quality", str(one.path), str(validation), f"--tokens={config.context_tokens}",
            f"--bytes={config.max_validation_bytes}", f"--threads={config.threads}",
        )  # fmt: skip

    rows: list[dict[str, Any]] = _once(place.scratch / f"{one.name}.quality.json", measure)
    if not rows:
        raise StageError(
            "evaluate",
            f"no held-out document fits into {config.max_validation_bytes} bytes",
            "raise evaluate.max_validation_bytes",
        )
    advance(1, note=f"{one.arm} {one.type}")
    return rows


def _speeds(
    place: Workplace, config: EvaluateConfig, candidates: list[Candidate],
    advance: Callable[..., None],
) -> dict[Candidate, list[dict[str, float]]]:  # fmt: skip
    """Rounds over all candidates, so that a neighbour's load falls on all alike."""
    rounds: dict[Candidate, list[dict[str, float]]] = {one: [] for one in candidates}
    for turn in range(config.repetitions):
        for one in candidates:

            def measure(one: Candidate = one) -> Any:
                return _run(
                    "speed", str(one.path), f"--prompt={config.prompt_tokens}",
                    f"--decode={config.decode_tokens}", f"--threads={config.threads}",
                )  # fmt: skip

            rounds[one].append(_once(place.scratch / f"{one.name}.{turn}.json", measure))
            advance(1, note=f"{one.arm} {one.type}, round {turn + 1}")
    return rounds


def _run(*arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "downstream.device", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise StageError(
            "evaluate", f"measuring {arguments[1]} failed ({done.returncode}): {told}",
            "run the same command again; see that memory suffices",
        )  # fmt: skip
    return json.loads(done.stdout)


def _once(path: Path, measure: Callable[[], Any]) -> Any:
    """What was measured before a crash is not measured again."""
    if not path.exists():
        temporary = path.with_suffix(".writing")
        temporary.write_text(json.dumps(measure()))
        temporary.rename(path)
    return json.loads(path.read_text())


def _summary(
    one: Candidate, rows: list[dict[str, Any]], speed: list[dict[str, float]]
) -> dict[str, Any]:
    def middle(name: str) -> float:
        return round(statistics.median(s[name] for s in speed), 3)

    decode = [s["decode_tokens_per_s"] for s in speed]
    return {
        "arm": one.arm,
        "type": one.type,
        "bits_per_byte": bits_per_byte(rows),
        "bits_per_byte_by_kind": {
            kind: bits_per_byte(r for r in rows if r["kind"] == kind)
            for kind in sorted({r["kind"] for r in rows})
        },
        "bits_per_byte_kept": bits_per_byte(r for r in rows if r["keep"]),
        "bits_per_byte_not_kept": bits_per_byte(r for r in rows if not r["keep"]),
        "prefill_tokens_per_s": middle("prefill_tokens_per_s"),
        "decode_tokens_per_s": middle("decode_tokens_per_s"),
        "decode_spread": round((max(decode) - min(decode)) / statistics.median(decode), 3),
        "load_s": middle("load_s"),
        "peak_mem_mib": middle("peak_mem_mib"),
        "interpreter_mib": middle("interpreter_mib"),
        "file_mib": round(one.path.stat().st_size / 2**20, 3),
    }


def bits_per_byte(rows: Iterable[dict[str, Any]]) -> float | None:
    """All nats over all bytes, in bits; null without rows."""
    nats, size = 0.0, 0
    for row in rows:
        nats, size = nats + row["nats"], size + row["n_bytes"]
    return round(nats / _LN2 / size, 5) if size else None


def _judge(models: list[dict[str, Any]], max_loss: float) -> None:
    """The gate: what a type loses against F16 of its own arm."""
    full = {m["arm"]: m["bits_per_byte"] for m in models if m["type"] == "F16"}
    for model in models:
        lost = model["bits_per_byte"] - full[model["arm"]]
        model["lost_bits_per_byte"] = round(lost, 5)
        model["verdict"] = "promote" if lost <= max_loss else "hold"


def _baselines(validation: Path, max_bytes: int) -> dict[str, float]:
    """What packers need for the same text, in bits per byte: a model that has learnt beats them."""
    texts, taken = [], 0
    for row in read_rows([validation], ["text", "n_bytes"]):
        if taken + row["n_bytes"] <= max_bytes:
            taken += row["n_bytes"]
            texts.append(row["text"])
    raw = "\n".join(texts).encode()
    packed = {"gzip -9": zlib.compress(raw, 9), "xz -9": lzma.compress(raw, preset=9)}
    return {name: round(8 * len(data) / len(raw), 4) for name, data in packed.items()}


STAGE = Stage(
    number=13,
    name="evaluate",
    version=2,
    needs=("quantize", "handoff"),
    makes=("*/results.parquet", "*/speed.json", "*/report.md", "*/report.html", "*/*.png"),
    sees=(EvaluateConfig,),
    work=evaluate,
    volatile=("*/speed.json", "*/report.md", "*/report.html", "*/speed.png"),
)
