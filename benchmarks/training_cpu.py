"""A model of a million parameters on the CPU: does it beat the packers within 90 seconds?

This interpreter's own library, held out by file; preset 1M with a vocabulary of 2,048, Muon and
AdamW, a fixed number of steps, through the very loop that `primer train` runs (checkpoints, guard
and metrics included). Beside its bits per byte of held-out files stand those of gzip, zstd, xz and
of a table of token pairs, which was counted on all the text that the arm has.

    python -m benchmarks.training_cpu [--quick] [--json FILE]

The limit is the figure of xz -9 on all held-out files joined, within 90 s on two quiet cores. How
hard that is depends on the split: xz sees what the held-out files have in common with each other,
the model has each by itself (docs/log.md). --quick trains a fifth of it and has no limit.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from benchmarks.library_corpus import make_handoff
from benchmarks.measured import Row, arguments, report
from downstream.baselines import bigram_bits_per_byte, packed_bits_per_byte
from downstream.held_out import HeldOut
from downstream.load_model import load_model
from downstream.optimizers import OptimizerConfig
from downstream.parallel import start_world
from downstream.train import TrainConfig
from downstream.training_loop import Job, train_model
from pipeline.handoff_record import Handoff
from pipeline.records import read_rows

VOCABULARY = 2_048
STEPS, QUICK_STEPS = 440, 100
MOST_SECONDS = 90.0
# So short a training wants little momentum, high rates of the embeddings and a long decay.
CONFIG = TrainConfig(
    preset="1M", sequence_tokens=128, sequences_per_step=16, checkpoint_steps=100, samples=None,
    optimizer=OptimizerConfig(
        muon_learning_rate=0.014, muon_momentum=0.85, adamw_learning_rate=0.03
    ),
    decay_share=0.6, validation_bytes=None,
)  # fmt: skip


def measure(steps: int) -> dict[str, Any]:
    """Train once, then score the held-out files and the baselines."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        config = CONFIG.model_copy(update={"steps": steps})
        handoff = make_handoff(folder, VOCABULARY, config.decay_share)
        job = Job(
            config, handoff, folder, handoff.arms[0], 1, folder / "model", folder / "checkpoint"
        )
        began, used = time.perf_counter(), time.process_time()
        figures = train_model(job, start_world(), lambda _: nullcontext(lambda *a, **k: None))
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - used
        return {
            "bits_per_byte": _score(job),
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "tokens": figures["tokens"],
            "parameters": figures["parameters"],
            "rollbacks": len(figures["rollbacks"]),
            "peers": _baselines(folder, handoff),
        }


def _score(job: Job) -> float:
    """Bits per byte of all held-out files, of the model as it was saved."""
    tokens, sequences = job.config.sequence_tokens, 32
    held_out = HeldOut(job.documents, job.handoff.end_of_text, tokens, sequences, 10**9)
    found = held_out.bits_per_byte(load_model(job.folder), torch.device("cpu"))
    assert found is not None
    return found


def _baselines(folder: Path, handoff: Handoff) -> dict[str, float]:
    rows = list(read_rows([folder / handoff.validation.documents.path]))
    pairs = bigram_bits_per_byte(
        folder, handoff.arms[0], handoff.token_dtype, VOCABULARY, handoff.end_of_text, rows
    )
    assert pairs is not None
    texts = [row["text"] for row in rows]
    alone = [packed_bits_per_byte([text])["xz -9"] * len(text.encode()) for text in texts]
    return {
        **packed_bits_per_byte(texts),
        "xz -9, each file alone": round(sum(alone) / sum(len(t.encode()) for t in texts), 4),
        "token pairs": pairs,
    }


def main() -> None:
    """Measure and report."""
    given = arguments(__doc__)
    found = measure(QUICK_STEPS if given.quick else STEPS)
    peers = found["peers"]
    xz = None if given.quick else peers["xz -9"]
    most_seconds = None if given.quick else MOST_SECONDS
    report(
        [
            Row("held-out text", found["bits_per_byte"], "bits per byte", xz, "max", peers),
            Row("training", found["seconds"], "s", most_seconds, "max"),
            Row("training, both cores together", found["cpu_seconds"], "CPU s"),
            Row("tokens read", found["tokens"], "tokens"),
            Row("parameters", found["parameters"], "weights"),
            Row("rollbacks", found["rollbacks"], "times", 0, "max"),
        ],
        given.json,
    )


if __name__ == "__main__":
    main()
