"""What a training leaves behind: the model directory, its samples, its last plot, its figures."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any

import torch

from downstream.checkpoint import save_model
from downstream.fake_quantize import bake, fake_quantize
from downstream.model import Llama
from downstream.parallel import gather
from downstream.samples import write_samples

if TYPE_CHECKING:
    from downstream.metrics import Metrics
    from downstream.training_loop import Training


def finish(training: Training) -> dict[str, Any]:
    """Save the model and return the figures worth stating; empty but on the first process.

    Every process calls it: where each holds a part of the weights, they are gathered here.
    """
    weights = gather(training.model)
    if training.metrics is None:
        return {}
    job, device = training.job, training.world.device
    model = Llama(training.shape)  # uncompiled and unwrapped: a sample has any length
    model.load_state_dict(weights)
    if job.config.quantization_aware is not None:
        fake_quantize(model, job.config.quantization_aware.type)
        bake(model)
    folder, end = job.folder, job.handoff.end_of_text
    context_tokens = max(training.shape.context_tokens, job.config.sequence_tokens)
    save_model(folder, model, job.tokenizer, end, context_tokens)
    if job.config.samples is not None:
        write_samples(
            folder / "samples.md", model.to(device), job.documents, job.tokenizer, end,
            job.config.samples, job.seed, device,
        )  # fmt: skip
    training.metrics.close()
    return _figures(training, training.metrics)


def _figures(training: Training, metrics: Metrics) -> dict[str, Any]:
    rows = metrics.rows()
    losses = [row["loss_nats"] for row in rows]
    timing: dict[str, Any] = {
        "seconds": round(metrics.seconds(), 2),
        "tokens_per_s": round(metrics.tokens_per_s()) if metrics.steps_here else None,
    }
    if metrics.peak_flops is not None and metrics.steps_here:
        timing["mfu"] = metrics.mfu(metrics.seconds() / metrics.steps_here)
    (metrics.folder / "timing.json").write_text(json.dumps(timing) + "\n")
    return {
        "loss_first_nats": round(statistics.fmean(losses[:5]), 4),
        "loss_last_nats": round(statistics.fmean(losses[-20:]), 4),
        "bits_per_byte": rows[-1].get("bits_per_byte"),
        "steps": len(rows),
        "tokens": rows[-1]["tokens"],
        "parameters": sum(p.numel() for p in training.model.parameters()),
        "rollbacks": training.guard.rollbacks,
        "peak_mem_gib": _peak_mem_gib(training.world.device),
        **timing,
    }


def _peak_mem_gib(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    return round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
