"""Merging checkpoints: several fine-tuned models of one shape become one, with no training.

It streams tensor by tensor: one tensor of each model is in memory, whatever the models' size. The
models must be of one shape and one tokenizer. TIES and DARE also need the base that all of them
were tuned from. The methods stand in `merge_methods`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from downstream.derived import (
    begin,
    copy_beside,
    describe_model,
    hash_tokenizer,
    read_config,
    read_result,
    write_json,
)
from pipeline.config import Section
from pipeline.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from downstream.weight_files import WeightFiles

STAGE = "merge"
_NOT_OF_THE_SHAPE = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache",
                     "bos_token_id", "eos_token_id", "pad_token_id"}  # fmt: skip


class MergeConfig(Section):
    """How models are merged."""

    method: Literal["linear", "slerp", "ties", "dare"] = Field(
        "linear", description="Mean; great circle of two; TIES and DARE on differences from a base."
    )
    weights: tuple[float, ...] | None = Field(
        None, description="Of each model, relative to each other; null for alike. Not for slerp."
    )
    share: float = Field(
        0.5, ge=0, le=1, description="Slerp: how far from the first to the second."
    )
    density: float = Field(
        0.5, gt=0, le=1, description="TIES and DARE: the share of each difference that is kept."
    )
    scale: float = Field(
        1.0, gt=0, le=10, description="TIES and DARE: the merged difference is multiplied by it."
    )
    elect_signs: bool = Field(False, description="DARE: elect signs as TIES does.")
    seed: int = Field(0, ge=0, description="DARE: what is dropped depends on it.")

    @model_validator(mode="after")
    def _weighs(self) -> MergeConfig:
        if self.weights is not None and (min(self.weights) < 0 or sum(self.weights) <= 0):
            raise ValueError("weights must not be negative, and one must be positive")
        return self


def merge(
    models: Sequence[Path], base: Path | None, out: Path, config: MergeConfig
) -> dict[str, Any]:
    """Merge the models into the directory `out`; what came out, as in its lineage."""
    _check_number(models, base, config)
    every = [*models] if base is None else [*models, base]
    described = {folder: describe_model(STAGE, folder) for folder in every}
    record = {
        "merged_from": [described[folder] for folder in models],
        "base": None if base is None else described[base],
        "settings": config.what(),
    }
    derived = begin(STAGE, out, record)
    if derived is None:
        return read_result(out)
    from downstream.weight_files import write_weights

    parts = _fitting(every)
    first = parts[0]
    make = _maker(parts[: len(models)], None if base is None else parts[-1], config)
    write_weights(derived.folder / "model.safetensors", first.shapes, first.dtypes, make)
    write_json(derived.folder / "config.json", read_config(STAGE, models[0]))
    copy_beside(models[0], derived.folder)
    result = {"tensors": len(first.shapes), "method": config.method}
    derived.seal(result)
    return result


def _check_number(models: Sequence[Path], base: Path | None, config: MergeConfig) -> None:
    count = len(models)
    if count < 2 or (config.method == "slerp" and count != 2):
        raise InputError(
            STAGE, f"{config.method} of {count} models",
            "give two" if config.method == "slerp" else "give two or more",
        )  # fmt: skip
    if (base is None) == (config.method in {"ties", "dare"}):
        raise InputError(
            STAGE, f"{config.method} {'without' if base is None else 'with'} a base",
            "give --base, what the models were tuned from, with ties and dare alone",
        )  # fmt: skip
    if config.weights is not None and (config.method == "slerp" or len(config.weights) != count):
        raise InputError(
            STAGE, f"{len(config.weights)} weights for {config.method} of {count} models",
            "set share instead" if config.method == "slerp" else "give one weight for each model",
        )  # fmt: skip


def _fitting(folders: Sequence[Path]) -> list[WeightFiles]:
    """The models' weights; InputError where shape or tokenizer differ from the first one's."""
    from downstream.weight_files import WeightFiles

    parts = [WeightFiles(folder) for folder in folders]
    first, shape = folders[0], _shape_of(folders[0])
    tokenizer = hash_tokenizer(first / "tokenizer.json")
    for folder, part in zip(folders[1:], parts[1:], strict=True):
        other = _shape_of(folder)
        for name in sorted({*shape, *other}):
            if shape.get(name) != other.get(name):
                raise InputError(
                    STAGE, f"{name} is {shape.get(name)} in {first}, {other.get(name)} in {folder}",
                    "merge models of one shape",
                )  # fmt: skip
        if hash_tokenizer(folder / "tokenizer.json") != tokenizer:
            raise InputError(
                STAGE, f"{first} and {folder} have different tokenizers",
                "merge models of one vocabulary",
            )  # fmt: skip
        if part.shapes != parts[0].shapes:
            odd = sorted(set(part.shapes.items()) ^ set(parts[0].shapes.items()))[0][0]
            raise InputError(
                STAGE, f"{first} and {folder} do not both have {odd} of one size",
                "merge models of one shape",
            )  # fmt: skip
    return parts


def _shape_of(folder: Path) -> dict[str, Any]:
    config = read_config(STAGE, folder)
    return {name: value for name, value in config.items() if name not in _NOT_OF_THE_SHAPE}


def _maker(
    parts: Sequence[WeightFiles], base: WeightFiles | None, config: MergeConfig
) -> Callable[[str], Tensor]:
    """The function that gives the merged tensor of a name."""
    import torch

    from downstream.merge_methods import dare, linear, slerp, ties

    weights = config.weights or (1.0,) * len(parts)

    def make(name: str) -> Tensor:
        tensors = [part[name] for part in parts]
        if config.method == "slerp":
            return slerp(tensors[0], tensors[1], config.share)
        if base is None:
            return linear(tensors, weights)
        if config.method == "ties":
            return ties(base[name], tensors, weights, config.density, config.scale)
        generators = [
            torch.Generator().manual_seed(_seed_of(config.seed, name, i)) for i in range(len(parts))
        ]
        return dare(
            base[name], tensors, weights, config.density, config.scale, config.elect_signs,
            generators,
        )  # fmt: skip

    return make


def _seed_of(seed: int, name: str, model: int) -> int:
    """Each tensor of each model has its own, so that the order of reading does not matter."""
    digest = hashlib.sha256(f"{seed}\x00{name}\x00{model}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
