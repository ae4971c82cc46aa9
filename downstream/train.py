"""Stage 11: one model per arm, alike in everything but the data.

Same first weights, same number of tokens, same schedule: warm up, stay, decay to zero on the
annealing data (MiniCPM, arXiv 2404.06395). Matrices are moved by Muon (Jordan et al., 2024,
https://kellerjordan.github.io/posts/muon/), embeddings and norms by AdamW. Steps are counted, not
seconds. A checkpoint is written every so many steps; a killed run goes on from it and ends with the
same bytes, for what a step reads depends on its number alone and the recipe fixes the threads.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from downstream.batches import Batches
from downstream.checkpoint import save_model
from pipeline.config import HOW, Section
from pipeline.errors import InputError, StageError
from pipeline.handoff_record import Arm, Handoff, open_handoff
from pipeline.ledger import Ledger
from pipeline.stage import Outcome, Stage, Workplace

if TYPE_CHECKING:
    import torch

    from downstream.model import Llama


class TrainConfig(Section):
    """The model's size and how it is trained."""

    arms: tuple[str, ...] | None = Field(None, description="Arms to train; null for all.")
    hidden: int = Field(
        256, ge=64, le=8_192, description="Model width; K-quants need 256 to divide it."
    )
    layers: int = Field(4, ge=1, le=64, description="Blocks.")
    heads: int = Field(4, ge=1, le=128, description="Query heads.")
    kv_heads: int = Field(2, ge=1, le=128, description="Heads of keys and values.")
    feed_forward: int = Field(768, ge=64, le=32_768, description="Width of the feed-forward part.")
    sequence_tokens: int = Field(256, ge=16, le=32_768, description="Tokens of a sequence.")
    sequences_per_step: int = Field(8, ge=1, le=65_536, description="Sequences of a step.")
    steps: int = Field(500, ge=2, le=10_000_000, description="Steps of each arm.")
    muon_learning_rate: float = Field(0.02, gt=0, le=1, description="Peak rate of the matrices.")
    adamw_learning_rate: float = Field(
        0.004, gt=0, le=1, description="Peak rate of embeddings and norms."
    )
    warmup_share: float = Field(0.04, ge=0, lt=0.5, description="Share of the steps that warm up.")
    decay_share: float = Field(
        0.3, gt=0, lt=1, description="Share of the steps that decay, on the annealing data."
    )
    gradient_clip: float = Field(1.0, gt=0, description="Largest norm of a step's gradient.")
    threads: int = Field(
        2, ge=1, le=256, description="Threads of arithmetic: the order of sums depends on them."
    )
    checkpoint_steps: int = Field(
        50, ge=1, description="Steps between checkpoints.", json_schema_extra=HOW
    )

    @model_validator(mode="after")
    def _divides(self) -> TrainConfig:
        if (
            self.hidden % self.heads
            or self.heads % self.kv_heads
            or (self.hidden // self.heads) % 2
        ):
            raise ValueError(
                "hidden must be a multiple of heads, heads of kv_heads, and a head's width even"
            )
        return self

    @property
    def decay_steps(self) -> int:
        """Steps on the annealing data, at least one."""
        return max(1, round(self.steps * self.decay_share))

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, as a share of the peak."""
        warm = min(1.0, (step + 1) / max(1.0, self.steps * self.warmup_share))
        return min(warm, (self.steps - step) / (self.decay_steps + 1))


@dataclass
class State:
    """What a checkpoint holds."""

    model: Llama
    optimizers: list[torch.optim.Optimizer]
    losses_nats: list[float]

    def save(self, path: Path) -> None:
        """Write the checkpoint whole or not at all."""
        import torch

        temporary = path.with_suffix(".writing")
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimizers": [o.state_dict() for o in self.optimizers],
                "losses_nats": self.losses_nats,
            },
            temporary,
        )
        temporary.rename(path)

    def load(self, path: Path) -> None:
        """Take up a checkpoint. Tensors and numbers only: no code in it is ever run."""
        import torch

        saved = torch.load(path, weights_only=True)
        self.model.load_state_dict(saved["model"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.losses_nats = saved["losses_nats"]


def train(place: Workplace) -> Outcome:
    """Train every arm that is not finished yet."""
    config = place.section(TrainConfig)
    path = place.needs["handoff"].file("handoff.json")
    handoff = open_handoff(path)
    arms = _chosen(handoff, config)
    facts = {}
    for arm in arms:
        done = place.scratch / f"{arm.name}.json"
        if not done.exists():
            record = _train_arm(place, config, handoff, arm, path.parent)
            temporary = done.with_suffix(".writing")
            temporary.write_text(json.dumps(record))
            temporary.rename(done)
        facts[arm.name] = json.loads(done.read_text())
    fingerprint = place.needs["handoff"].manifest.fingerprint
    return Outcome(
        Ledger("models", len(arms), len(arms)), {"arms": facts, "dataset_fingerprint": fingerprint}
    )


def _chosen(handoff: Handoff, config: TrainConfig) -> list[Arm]:
    known = {arm.name: arm for arm in handoff.arms}
    for name in config.arms or ():
        if name not in known:
            raise InputError(
                "train", f"train.arms has {name!r}", f"the handoff has {', '.join(known)}"
            )
    return [known[name] for name in config.arms or known]


def _start(config: TrainConfig, handoff: Handoff, seed: int) -> State:
    import torch

    from downstream.model import Llama, Shape

    torch.set_num_threads(config.threads)
    shape = Shape(
        handoff.vocabulary, config.hidden, config.layers, config.heads, config.kv_heads,
        config.feed_forward, config.sequence_tokens,
    )  # fmt: skip
    model = Llama(shape).initialize(seed)
    matrices = [p for block in model.layers for p in block.parameters() if p.ndim == 2]
    moved = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in moved]
    return State(
        model,
        [
            torch.optim.Muon(matrices, lr=config.muon_learning_rate, weight_decay=0.0),
            torch.optim.AdamW(
                others, lr=config.adamw_learning_rate, betas=(0.9, 0.95), weight_decay=0.0
            ),
        ],
        [],
    )


def _train_arm(
    place: Workplace, config: TrainConfig, handoff: Handoff, arm: Arm, root: Path
) -> dict[str, Any]:
    state = _start(config, handoff, place.seed)
    checkpoint = place.scratch / f"{arm.name}.pt"
    if checkpoint.exists():
        state.load(checkpoint)
    batches = Batches(
        root, handoff, arm, place.seed, (config.sequences_per_step, config.sequence_tokens),
        config.steps - config.decay_steps,
    )  # fmt: skip
    began, first = time.perf_counter(), len(state.losses_nats)
    with place.bar(arm.name, config.steps) as advance:
        advance(first)
        _steps(state, batches, config, checkpoint, advance)
    seconds = time.perf_counter() - began
    folder = place.out / arm.name
    save_model(
        folder, state.model, root / handoff.tokenizer.path, handoff.end_of_text,
        config.sequence_tokens,
    )  # fmt: skip
    tokens_a_step = config.sequences_per_step * config.sequence_tokens
    timing = {
        "seconds": round(seconds, 2),
        "tokens_per_s": round((config.steps - first) * tokens_a_step / seconds),
    }
    (folder / "timing.json").write_text(json.dumps(timing) + "\n")
    _write_metrics(folder / "metrics.jsonl", state.losses_nats, config)
    _plot(folder / "loss.png", state.losses_nats, arm.name)
    return {
        "loss_first_nats": round(statistics.fmean(state.losses_nats[:5]), 4),
        "loss_last_nats": round(statistics.fmean(state.losses_nats[-20:]), 4),
        "steps": config.steps,
        "tokens": config.steps * tokens_a_step,
        "parameters": state.model.parameters_count,
        **timing,
    }


def _steps(
    state: State, batches: Batches, config: TrainConfig, checkpoint: Path,
    advance: Callable[..., None],
) -> None:  # fmt: skip
    import torch

    peaks = [config.muon_learning_rate, config.adamw_learning_rate]
    guess_nats = math.log(state.model.shape.vocabulary)
    for step in range(len(state.losses_nats), config.steps):
        for optimizer, peak in zip(state.optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * config.rate_at(step)
        loss = state.model.loss_nats(batches.at(step))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.gradient_clip)
        for optimizer in state.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        loss_nats = float(loss.detach())
        if not loss_nats < 2 * guess_nats:  # a NaN is not less either
            raise StageError(
                "train",
                f"the loss became {loss_nats:.4g} nats at step {step}, where a blind guess has "
                f"{guess_nats:.4g}",
                "lower train.muon_learning_rate or train.adamw_learning_rate",
            )
        state.losses_nats.append(loss_nats)
        advance(1, note=f"loss {loss_nats:.3f} nats")
        if (step + 1) % config.checkpoint_steps == 0:
            state.save(checkpoint)


def _write_metrics(path: Path, losses_nats: list[float], config: TrainConfig) -> None:
    with path.open("w") as file:
        for step, loss_nats in enumerate(losses_nats):
            rate = config.muon_learning_rate * config.rate_at(step)
            row = {"step": step, "loss_nats": loss_nats, "muon_learning_rate": rate}
            file.write(json.dumps(row) + "\n")


def _plot(path: Path, losses_nats: list[float], arm: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(losses_nats, linewidth=0.8)
    axes.set(xlabel="step", ylabel="loss (nats a token)", title=f"arm {arm}")
    figure.savefig(path, dpi=110, metadata={"Software": None})


STAGE = Stage(
    number=11,
    name="train",
    version=1,
    needs=("handoff",),
    makes=("*/model.safetensors", "*/config.json", "*/metrics.jsonl", "*/loss.png"),
    sees=(TrainConfig,),
    work=train,
    volatile=("*/timing.json",),
)
