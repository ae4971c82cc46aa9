"""The model that a training starts from: drawn from the seed, or read from a model directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from downstream import mup
from downstream.derived import describe_model, hash_tokenizer
from downstream.model import Llama
from pipeline.errors import InputError

if TYPE_CHECKING:
    from downstream.train import TrainConfig


def starting_model(config: TrainConfig, vocabulary: int, tokenizer: Path, seed: int) -> Llama:
    """The model on the CPU; InputError where `initial` reads other tokens than the handoff."""
    if config.initial is None:
        model, base = Llama(config.shape(vocabulary)), config.optimizer.mup_base_hidden
        return model.initialize(seed) if base is None else mup.initialize(model, seed, base)
    from downstream.load_model import load_model

    describe_model("train", config.initial)  # refuses what is no whole Llama-style directory
    if hash_tokenizer(config.initial / "tokenizer.json") != hash_tokenizer(tokenizer):
        raise InputError(
            "train", f"train.initial {config.initial} has another tokenizer than the handoff",
            "run the recipe again from tokenize with that model's tokenizer.json",
        )  # fmt: skip
    return load_model(config.initial).float().train()
