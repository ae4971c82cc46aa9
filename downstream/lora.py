"""LoRA: a few low-rank matrices beside the frozen ones are trained (arXiv 2106.09685), by peft.

It runs on transformers' own `LlamaForCausalLM`, so that the adapter can be loaded by whoever has
the base. Both are saved: the adapter (rank 8 of a 125M model: 5 MB), and the model with the adapter
multiplied in, which needs no peft and computes the same.

What it costs: the optimizer's state is that of the adapter alone, a few hundredths; the arithmetic
is that of the whole model, but for the gradients of the frozen matrices.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

from pipeline.config import Section
from pipeline.errors import InputError

MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LoraConfig(Section):
    """The adapter's size and place."""

    rank: int = Field(8, ge=1, le=1_024, description="Rank of each pair of matrices.")
    alpha: float = Field(
        16.0, gt=0, le=4_096, description="What the pair adds is multiplied by alpha / rank."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of its inputs left out in training.")
    targets: tuple[str, ...] = Field(
        MATRICES, min_length=1, description="Names of the matrices that get a pair."
    )


def adapt(llama: Any, config: LoraConfig) -> Any:
    """transformers' model with an adapter, drawn from torch's global generator."""
    check_targets("finetune", llama, config)
    with known_noise():
        import peft

        return peft.get_peft_model(llama, peft_config(config))


def check_targets(stage: str, llama: Any, config: LoraConfig) -> None:
    """Raise InputError where the model has no matrix of a name that is to be adapted."""
    names = {name.rpartition(".")[2] for name, _ in llama.named_modules()}
    for target in config.targets:
        if target not in names:
            raise InputError(
                stage, f"the model has no matrix that ends in {target!r}",
                f"set lora.targets to some of {', '.join(MATRICES)}",
            )  # fmt: skip


def peft_config(config: LoraConfig) -> Any:
    """The same in peft's terms."""
    import peft

    return peft.LoraConfig(
        task_type=peft.TaskType.CAUSAL_LM,
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # any number serves
        lora_dropout=config.dropout,
        target_modules=list(config.targets),
    )


def open_llama(folder: Path) -> Any:
    """transformers' model of a directory, at 32 bits."""
    import torch

    with known_noise():
        from transformers import LlamaForCausalLM
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)


def save_adapter(adapted: Any, base_name: str, folder: Path) -> dict[str, Any]:
    """Write the adapter, and return the weights of the model with it multiplied in."""
    adapted.peft_config["default"].base_model_name_or_path = base_name  # not a path of this machine
    # the embedding is the base's own, and peft would ask the hub for it
    adapted.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()  # a card of blanks to fill in
    state: dict[str, Any] = adapted.merge_and_unload().state_dict()
    return state


@contextmanager
def known_noise() -> Iterator[None]:
    """Leave out what peft 0.21 and trl cause and nobody here can change; all else is told."""
    logger = logging.getLogger("torch.utils._pytree")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            old_name = "`is_gradient_checkpointing` is deprecated"
            warnings.filterwarnings("ignore", old_name, FutureWarning)
            yield
    finally:
        logger.setLevel(level)
