"""Stage 11: one model per arm and seed, alike in everything but the data.

Same first weights, same number of tokens, same schedule, and steps are counted, not seconds. Here
stand the settings and the stage; `training_loop` trains, on the CPU or the one GPU that is there;
`launch` runs the same loop on several.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from downstream.guard import GuardConfig
from downstream.optimizers import OptimizerConfig
from downstream.samples import SamplesConfig
from downstream.schedule import Decay, Schedule
from downstream.shape import PRESETS, Shape, shape_of
from pipeline.config import HOW, Section
from pipeline.errors import InputError
from pipeline.handoff_record import Arm, Handoff, open_handoff
from pipeline.ledger import Ledger
from pipeline.stage import Outcome, Sections, Stage, Workplace

SIZES = ("hidden", "layers", "heads", "kv_heads", "feed_forward")


class DistillationConfig(Section):
    """Learning from a larger model's probabilities as well as from the text."""

    teacher: Path = Field(description="Model directory with the handoff's tokenizer.")
    share: float = Field(0.5, gt=0, le=1, description="Of the loss; the rest is the text's own.")
    temperature: float = Field(1.0, gt=0, le=20, description="Softens both distributions.")


class QuantizationAwareConfig(Section):
    """Train the last steps as the quantized model will compute, and save what that rounds to."""

    type: str = Field("Q4_0", description="The GGUF type whose rounding is learnt.")
    from_share: float = Field(0.7, ge=0, lt=1, description="Share of the steps before it begins.")

    def first_step(self, steps: int) -> int:
        """The first step that computes with rounded weights."""
        return round(steps * self.from_share)


class TrainConfig(Section):
    """The model's size and how it is trained."""

    arms: tuple[str, ...] | None = Field(None, description="Arms to train; null for all.")
    seeds: int = Field(
        1, ge=1, le=100, description="Models of each arm: the recipe's seed and those after it."
    )
    preset: str | None = Field(
        None, description=f"Named size ({', '.join(PRESETS)}), instead of the five fields below."
    )
    hidden: int = Field(
        256, ge=64, le=16_384, description="Model width; K-quants need 256 to divide it."
    )
    layers: int = Field(4, ge=1, le=128, description="Blocks.")
    heads: int = Field(4, ge=1, le=128, description="Query heads.")
    kv_heads: int = Field(2, ge=1, le=128, description="Heads of keys and values.")
    feed_forward: int = Field(768, ge=64, le=65_536, description="Width of the feed-forward part.")
    initial: Path | None = Field(
        None, description="Go on from this model directory, whose tokenizer is the handoff's."
    )
    sequence_tokens: int = Field(256, ge=16, le=131_072, description="Tokens of a sequence.")
    sequences_per_step: int = Field(8, ge=1, le=65_536, description="Sequences of a step.")
    sequences_per_micro_batch: int | None = Field(
        None, ge=1, le=65_536,
        description="Sequences computed at once on a device, their gradients added up; null: all.",
    )  # fmt: skip
    steps: int = Field(500, ge=2, le=10_000_000, description="Steps of each model.")
    tokens_per_parameter: float | None = Field(
        None, gt=0, le=100_000, description="Instead of steps; Chinchilla's optimum is about 20."
    )
    optimizer: OptimizerConfig = Field(OptimizerConfig(), description="What moves the weights.")
    warmup_share: float = Field(0.04, ge=0, lt=0.5, description="Share of the steps that warm up.")
    decay_share: float = Field(
        0.3, gt=0, lt=1, description="Share of the steps that decay, on the annealing data."
    )
    decay: Decay = Field("linear", description="How the rate falls to zero.")
    gradient_clip: float = Field(1.0, gt=0, description="Largest norm of a step's gradient.")
    mask_documents: bool = Field(True, description="Attention stays within a document.")
    precision: Literal["float32", "bfloat16"] | None = Field(
        None, description="Of products; null: float32 on the CPU, bfloat16 on a GPU."
    )
    compile: Literal["blocks"] | None = Field(
        "blocks", description="Compile the block once for all layers; on a GPU only."
    )
    parallel: Literal["none", "ddp", "fsdp"] = Field(
        "none", description="How several processes share the work (downstream.launch).",
        json_schema_extra=HOW,
    )  # fmt: skip
    distillation: DistillationConfig | None = Field(None, description="Learn from a teacher too.")
    quantization_aware: QuantizationAwareConfig | None = Field(
        None, description="Learn to bear the rounding of a quantized type."
    )
    guard: GuardConfig = Field(GuardConfig(), description="When to go back to a checkpoint.")
    checkpoint_steps: int = Field(
        50, ge=1, description="Steps between checkpoints, to which the guard goes back."
    )
    validation_bytes: int | None = Field(
        50_000, ge=1_000, description="Held-out text scored at the end (bytes); null: none."
    )
    validation_steps: int | None = Field(
        None, ge=1, description="Steps between scores of it; null: at the end only."
    )
    samples: SamplesConfig | None = Field(SamplesConfig(), description="samples.md; null: none.")
    tensorboard: bool = Field(
        False, description="Write events for TensorBoard.", json_schema_extra=HOW
    )
    threads: int = Field(
        2, ge=1, le=256, description="Threads of arithmetic: the order of sums depends on them."
    )

    @model_validator(mode="after")
    def _agrees(self) -> TrainConfig:
        given = self.model_fields_set
        by_hand = [name for name in SIZES if name in given]
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r} is not one of {', '.join(PRESETS)}")
        if (self.preset is not None or self.initial is not None) and by_hand:
            raise ValueError(f"{by_hand[0]} is given beside preset or initial, which settle it")
        if self.preset is not None and self.initial is not None:
            raise ValueError("give preset or initial, not both")
        if self.tokens_per_parameter is not None and "steps" in given:
            raise ValueError("give steps or tokens_per_parameter, not both")
        if self.hidden % self.heads:
            raise ValueError("hidden must be a multiple of heads")
        if self.heads % self.kv_heads or (self.hidden // self.heads) % 2:
            raise ValueError("heads must be a multiple of kv_heads, and a head's width even")
        return self

    @property
    def tokens_per_step(self) -> int:
        """Tokens that the weights are moved by at once."""
        return self.sequences_per_step * self.sequence_tokens

    def shape(self, vocabulary: int) -> Shape:
        """The sizes of the model, where it does not start from another."""
        if self.preset is not None:
            return shape_of(self.preset, vocabulary, self.sequence_tokens)
        return Shape(
            vocabulary, self.hidden, self.layers, self.heads, self.kv_heads, self.feed_forward,
            self.sequence_tokens,
        )  # fmt: skip

    def schedule(self, parameters: int) -> Schedule:
        """The steps of a model of so many parameters, and their learning rates."""
        steps = self.steps
        if self.tokens_per_parameter is not None:
            tokens = self.tokens_per_parameter * parameters
            steps = max(2, math.ceil(tokens / self.tokens_per_step))
        return Schedule(steps, self.warmup_share, self.decay_share, self.decay)

    def precision_on(self, device_type: str) -> str:
        """The precision of products on a kind of device."""
        return self.precision or ("float32" if device_type == "cpu" else "bfloat16")


def train(place: Workplace) -> Outcome:
    """Train every model that is not finished yet."""
    config = place.section(TrainConfig)
    path = place.needs["handoff"].file("handoff.json")
    handoff = open_handoff(path)
    facts = {}
    for arm in chosen_arms(handoff, config.arms):
        for seed in range(place.seed, place.seed + config.seeds):
            name = arm.name if seed == place.seed else f"{arm.name}@{seed}"
            done = place.scratch / f"{name}.json"
            if not done.exists():
                record = _train_one(place, config, handoff, path.parent, arm, name, seed)
                temporary = done.with_suffix(".writing")
                temporary.write_text(json.dumps(record))
                temporary.rename(done)
            facts[name] = json.loads(done.read_text())
    fingerprint = place.needs["handoff"].manifest.fingerprint
    return Outcome(
        Ledger("models", len(facts), len(facts)),
        {"arms": facts, "dataset_fingerprint": fingerprint},
    )


def chosen_arms(handoff: Handoff, names: Iterable[str] | None) -> list[Arm]:
    """The arms of these names, or all; InputError naming the known ones."""
    known = {arm.name: arm for arm in handoff.arms}
    for name in names or ():
        if name not in known:
            raise InputError(
                "train", f"train.arms has {name!r}", f"the handoff has {', '.join(known)}"
            )
    return [known[name] for name in names or known]


def _train_one(
    place: Workplace, config: TrainConfig, handoff: Handoff, root: Path, arm: Arm, name: str,
    seed: int,
) -> dict[str, Any]:  # fmt: skip
    from downstream.parallel import start_world
    from downstream.training_loop import Job, train_model

    job = Job(
        config, handoff, root, arm, seed, place.out / name, place.scratch / f"{name}.checkpoint"
    )
    return train_model(job, start_world(), lambda steps: place.bar(name, steps))


def _outside(recipe: Sections) -> Iterable[tuple[str, Path]]:
    return files_outside(recipe.section(TrainConfig))


def files_outside(config: TrainConfig) -> Iterable[tuple[str, Path]]:
    """The files of the models that the settings name; InputError where there is no model."""
    teacher = config.distillation.teacher if config.distillation else None
    for field, folder in (("initial", config.initial), ("distillation.teacher", teacher)):
        if folder is None:
            continue
        if not (folder / "config.json").exists():
            raise InputError(
                "train", f"train.{field} {folder} is no model directory",
                "give a Hugging Face directory with config.json and safetensors",
            )  # fmt: skip
        for path in sorted(folder.iterdir()):
            if path.suffix in {".json", ".safetensors"}:
                yield f"{field}/{path.name}", path


STAGE = Stage(
    number=11,
    name="train",
    version=3,
    needs=("handoff",),
    makes=("*/model.safetensors", "*/config.json", "*/metrics.jsonl", "*/loss.png"),
    sees=(TrainConfig,),
    work=train,
    volatile=("*/timing.json", "*/timing.jsonl", "*/tensorboard/*"),
    inputs=_outside,
)
