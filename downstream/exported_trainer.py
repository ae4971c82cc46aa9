"""Train with the Hugging Face Trainer: `python train.py`, beside train.json and windows.py.

train.json holds the model's shape, the `TrainingArguments` and where the shards lie. Documents are
told apart by their positions, from which transformers masks attention between them. On several
GPUs: `torchrun --nproc-per-node 8 train.py`, with the batch of a device divided in train.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from windows import Windows, positions  # type: ignore[import-not-found]  # beside it when exported

HERE = Path(__file__).resolve().parent


def train(config: dict[str, Any]) -> Any:
    """Train as train.json says, and save the model with its tokenizer."""
    torch.manual_seed(config["seed"])
    end_of_text = config["model"]["eos_token_id"]

    def collate(windows: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        ids = torch.stack(windows)
        placed = torch.stack([positions(window, end_of_text) for window in windows])
        return {"input_ids": ids, "labels": ids, "position_ids": placed}

    out = HERE / "model"
    trainer = Trainer(
        model=LlamaForCausalLM(LlamaConfig(**config["model"])),
        args=TrainingArguments(str(out), bf16=torch.cuda.is_available(), **config["arguments"]),
        train_dataset=Windows(**config["windows"]),
        data_collator=collate,
    )
    trainer.train()
    trainer.save_model(str(out))
    for path in (HERE / "tokenizer").iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    return trainer


if __name__ == "__main__":
    train(json.loads((HERE / "train.json").read_text()))
