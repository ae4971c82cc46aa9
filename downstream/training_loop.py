"""The loop that trains one model: the same in the stage, in one process and under torchrun.

A training is a row of stretches, each of which ends in a checkpoint. Where the guard sees trouble
in a stretch, it is begun again from its checkpoint without the windows that did it; a killed run
goes on from the same place. A step's loss is read from the device when the next step has been
launched, so an accelerator never waits for Python; a checkpoint waits for all of them, so nothing
that the guard has not seen is ever kept.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from downstream.batches import Batches, Portion, read_ahead
from downstream.distill import Teacher
from downstream.fake_quantize import fake_quantize
from downstream.finished_model import finish
from downstream.guard import Guard, Trouble
from downstream.held_out import HeldOut
from downstream.metrics import Metrics, peak_flops_of
from downstream.model import Llama, loss_nats
from downstream.optimizers import make_optimizers, set_rate
from downstream.parallel import World, accumulating, clip, spread
from downstream.resume import Parts, load_checkpoint, save_checkpoint
from downstream.shape import flops_per_token
from downstream.starting_model import starting_model
from downstream.train import files_outside
from pipeline.errors import InputError
from pipeline.handoff_record import Arm, Handoff
from pipeline.manifest import hash_file, hash_json
from pipeline.metrics import count_tokens

if TYPE_CHECKING:
    from downstream.train import TrainConfig

Advance = Callable[..., None]
Bar = Callable[[int], AbstractContextManager[Advance]]

log = logging.getLogger("primer")


@dataclass(frozen=True)
class Job:
    """One model to train; `root` is the folder of handoff.json."""

    config: TrainConfig
    handoff: Handoff
    root: Path
    arm: Arm
    seed: int
    folder: Path
    checkpoint: Path

    @cached_property
    def plan(self) -> str:
        """Names the training: a checkpoint of another one is refused.

        The models that it starts or learns from count by their bytes, which takes seconds a GB.
        """
        models = [hash_file(path) for _, path in files_outside(self.config)]
        shards = [s.sha256 for s in (*self.arm.base, *self.arm.anneal)]
        return hash_json(
            [self.config.what(), shards, self.handoff.tokenizer.sha256, self.seed, *models]
        )

    @property
    def documents(self) -> Path:
        """The pinned held-out documents."""
        return self.root / self.handoff.validation.documents.path

    @property
    def tokenizer(self) -> Path:
        """The handoff's tokenizer.json."""
        return self.root / self.handoff.tokenizer.path


def train_model(job: Job, world: World, bar: Bar) -> dict[str, Any]:
    """Train to the end, save the model directory, and return the figures worth stating."""
    training = Training(job, world)
    with bar(training.schedule.steps) as advance:
        training.run(advance)
    return finish(training)


class Training:
    """Everything that changes while a model is trained."""

    def __init__(self, job: Job, world: World) -> None:
        config, handoff = job.config, job.handoff
        if world.size > 1 and config.parallel == "none":
            raise InputError(
                "train", f"train.parallel is none, and there are {world.size} processes",
                "set it to ddp, or to fsdp where one device cannot hold the model",
            )  # fmt: skip
        torch.set_num_threads(config.threads)
        torch.manual_seed(job.seed)
        self.job, self.world, self.config = job, world, config
        model = starting_model(config, handoff.vocabulary, job.tokenizer, job.seed)
        self.shape = model.shape
        self.schedule = config.schedule(model.parameters_count)
        if config.compile is not None and world.device.type == "cuda":
            model.compile_blocks()
        if config.quantization_aware is not None:  # a type that cannot be is refused at once
            with torch.device("meta"):
                fake_quantize(Llama(self.shape), config.quantization_aware.type)
        precision = config.precision_on(world.device.type)
        self.model = spread(model, world, config.parallel, precision)
        optimizers = make_optimizers(self.model, config.optimizer, world.group)
        self.parts = Parts(self.model, optimizers, world)
        portion = Portion(config.sequences_per_step, config.sequence_tokens, world.rank, world.size)
        self.batches = Batches(
            job.root, handoff, job.arm, job.seed, portion, self.schedule.base_steps
        )
        self.teacher = self._open_teacher()
        self.guard = Guard(config.guard, math.log(handoff.vocabulary))
        self.held_out = self._open_held_out()
        self.metrics = self._open_metrics() if world.rank == 0 else None
        self.step = 0

    def _open_teacher(self) -> Teacher | None:
        if self.config.distillation is None:
            return None
        teacher = Teacher(self.config.distillation.teacher, self.world.device)
        teacher.check_tokenizer(self.job.tokenizer)
        return teacher

    def _open_held_out(self) -> HeldOut | None:
        config = self.config
        if config.validation_bytes is None:
            return None
        sequences = config.sequences_per_step // self.world.size
        return HeldOut(
            self.job.documents, self.job.handoff.end_of_text, config.sequence_tokens,
            config.sequences_per_micro_batch or sequences, config.validation_bytes,
        )  # fmt: skip

    def _open_metrics(self) -> Metrics:
        config, world = self.config, self.world
        name = torch.cuda.get_device_name() if world.device.type == "cuda" else None
        peak = peak_flops_of(name)
        return Metrics(
            self.job.folder, self.job.arm.name, self.schedule.steps, config.tokens_per_step,
            config.tokens_per_step * flops_per_token(self.shape, config.sequence_tokens),
            None if peak is None else peak * world.size, config.tensorboard,
        )  # fmt: skip

    def run(self, advance: Advance) -> None:
        """Take up the checkpoint that a killed run left, and train to the end."""
        resumed = self.job.checkpoint.exists()
        self.world.wait()  # or a slow process would find what the first has just written
        if resumed:
            self._load()
        else:
            if self.metrics is not None:
                self.metrics.open_at(0)
            self._save()
        advance(self.step)
        steps = self.schedule.steps
        while self.step < steps:
            end = self._next_checkpoint()
            trouble = self._stretch(end, advance)
            if trouble is None:
                self.step, self.guard.tries = end, 0
                self._save()
            else:
                self._roll_back(trouble)
                advance(self.step - trouble.step)

    def _next_checkpoint(self) -> int:
        """Also where the rounding begins, so that no stretch is trained in both ways."""
        every = self.config.checkpoint_steps
        ends = [self.schedule.steps, (self.step // every + 1) * every]
        if self.config.quantization_aware is not None:
            ends.append(self.config.quantization_aware.first_step(self.schedule.steps))
        return min(end for end in ends if end > self.step)

    def _stretch(self, end: int, advance: Advance) -> Trouble | None:
        """Train from the last checkpoint up to `end`, or until the guard sees trouble."""
        rounding = self.config.quantization_aware
        if rounding is not None and self.step >= rounding.first_step(self.schedule.steps):
            fake_quantize(self.model, rounding.type)
        begun: tuple[int, Tensor, Tensor] | None = None
        steps = range(self.step, end)
        for step, ids_BT in read_ahead(self.batches.at, steps, self.world.device):
            told = self._train_step(step, ids_BT)
            if begun is not None and (trouble := self._settle(*begun, advance)) is not None:
                return trouble
            begun = (step, *told)
            if self._scores_after(step):  # the next step would change the weights
                if (trouble := self._settle(*begun, advance)) is not None:
                    return trouble
                begun = None
        return None if begun is None else self._settle(*begun, advance)

    def _train_step(self, step: int, ids_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Move the weights once; the mean loss of all processes and the gradient's norm."""
        set_rate(self.parts.optimizers, self.schedule.rate_at(step))
        micro_batches = torch.split(ids_BT, self.config.sequences_per_micro_batch or len(ids_BT))
        loss_nats = torch.zeros((), device=ids_BT.device)
        for number, micro_BT in enumerate(micro_batches):
            last = number == len(micro_batches) - 1
            with accumulating(self.model, last):
                with self._arithmetic():
                    part = self._loss_nats(micro_BT) * (len(micro_BT) / len(ids_BT))
                part.backward()  # type: ignore[no-untyped-call]
            loss_nats += part.detach()
        norm = clip(self.model, self.config.gradient_clip)
        for optimizer in self.parts.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return self.world.mean(loss_nats), norm

    def _settle(self, step: int, loss: Tensor, norm: Tensor, advance: Advance) -> Trouble | None:
        """Read what a step gave, let the guard judge it, and write its row."""
        loss_nats, gradient_norm = float(loss), float(norm)
        trouble = self.guard.judge(step, loss_nats, gradient_norm)
        if trouble is not None:
            return trouble
        row: dict[str, Any] = {
            "step": step,
            "tokens": (step + 1) * self.config.tokens_per_step,
            "loss_nats": loss_nats,
            "gradient_norm": gradient_norm,
            **self._rates(step),
        }
        if self._scores_after(step):
            row["bits_per_byte"] = self._bits_per_byte()
        note = ""
        if self.metrics is not None:
            note = self.metrics.write(row)
            count_tokens("trained", self.config.tokens_per_step)
        advance(1, note=note)
        return None

    def _rates(self, step: int) -> dict[str, float]:
        share = self.schedule.rate_at(step)
        return {
            f"{type(o).__name__.lower()}_learning_rate": o.param_groups[0]["peak_lr"] * share
            for o in self.parts.optimizers
        }

    def _scores_after(self, step: int) -> bool:
        every = self.config.validation_steps
        due = step + 1 == self.schedule.steps or (every is not None and (step + 1) % every == 0)
        return due and self.held_out is not None

    def _bits_per_byte(self) -> float | None:
        assert self.held_out is not None
        with self._arithmetic():
            return self.held_out.bits_per_byte(self.model, self.world.device)

    def _arithmetic(self) -> AbstractContextManager[object]:
        """Products in 16 bits over weights in 32, where the settings and the device say so."""
        if self.config.precision_on(self.world.device.type) == "float32":
            return nullcontext()
        return torch.autocast(self.world.device.type, torch.bfloat16)

    def _loss_nats(self, ids_BT: Tensor) -> Tensor:
        end = self.job.handoff.end_of_text if self.config.mask_documents else None
        learnt = self.config.distillation
        if self.teacher is None or learnt is None:
            return loss_nats(self.model, ids_BT, end)
        return self.teacher.loss_nats(self.model, ids_BT, end, learnt.share, learnt.temperature)

    def _roll_back(self, trouble: Trouble) -> None:
        """Back to the last checkpoint, and never again to the windows that did it."""
        steps = self.guard.roll_back(trouble, self.step)
        log.warning(
            "train: %s at step %d: back to step %d, without the windows of %d steps",
            trouble.reason, trouble.step, self.step, len(steps),
        )  # fmt: skip
        self.batches.skip(steps)
        learnt = self.guard.tries, self.guard.rollbacks, self.batches.skipped
        self._load()
        self.guard.tries, self.guard.rollbacks, self.batches.skipped = learnt

    def _save(self) -> None:
        progress = {
            "step": self.step,
            "guard": self.guard.state(),
            "skipped": self.batches.skipped,
            "metrics_bytes": self.metrics.size_bytes() if self.metrics is not None else 0,
        }
        save_checkpoint(self.job.checkpoint, self.parts, progress, self.job.plan)

    def _load(self) -> None:
        progress = load_checkpoint(self.job.checkpoint, self.parts, self.job.plan)
        self.step = progress["step"]
        self.guard.load(progress["guard"])
        self.batches.skipped = [(late, turn) for late, turn in progress["skipped"]]
        if self.metrics is not None:
            self.metrics.open_at(progress["metrics_bytes"])
