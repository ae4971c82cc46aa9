"""The two things that fine-tuning moves: all weights of our own model, or an adapter of peft's.

Both answer to the same calls, and both read rows of several examples with attention masked between
them: ours by its document mask, transformers' by the same mask given whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from downstream.attention import documents_of
from downstream.cross_entropy import cross_entropy
from downstream.load_model import load_model
from downstream.lora import LoraConfig, adapt, open_llama, save_adapter
from downstream.weight_files import write_like


class TunedWhole(nn.Module):
    """Our own model, all of whose weights move."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.llama = load_model(folder).float()

    def loss_nats(self, ids_BT: Tensor, end_of_text: int, weights_BT: Tensor) -> Tensor:
        """Mean nats of the weighted tokens; `ids_BT` has one column more than the weights."""
        loss: Tensor = self.llama.loss_nats(ids_BT, end_of_text, weights_BT)
        return loss

    def write(self, source: Path, name: str, folder: Path) -> None:
        """Write a model directory like `source`, whose name is `name`."""
        state = {
            part if part.startswith("lm_head.") else f"model.{part}": weight
            for part, weight in self.llama.named_parameters()
        }
        write_like(source, folder, state)


class TunedAdapter(nn.Module):
    """transformers' model with an adapter; the weights below it stay."""

    def __init__(self, folder: Path, config: LoraConfig, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)  # the adapter's first matrices are drawn from it
        self.adapted: Any = adapt(open_llama(folder), config)

    def loss_nats(self, ids_BT: Tensor, end_of_text: int, weights_BT: Tensor) -> Tensor:
        """As above, through the adapter."""
        llama = self.adapted.get_base_model()
        inputs_BT = ids_BT[:, :-1]
        mask = _whole_mask(inputs_BT, end_of_text)
        x_BTD = llama.model(input_ids=inputs_BT, attention_mask=mask).last_hidden_state
        return cross_entropy(x_BTD, llama.lm_head.weight, ids_BT[:, 1:], weights_BT)

    def write(self, source: Path, name: str, folder: Path) -> None:
        """As above with the adapter multiplied in, and the adapter by itself beside it."""
        write_like(source, folder, save_adapter(self.adapted, name, folder / "adapter"))


Tuned = TunedWhole | TunedAdapter


def open_tuned(folder: Path, lora: LoraConfig | None, seed: int) -> Tuned:
    """The model of a directory, ready to be tuned, on the GPU where there is one."""
    tuned = TunedWhole(folder) if lora is None else TunedAdapter(folder, lora, seed)
    return tuned.to("cuda") if torch.cuda.is_available() else tuned


def _whole_mask(ids_BT: Tensor, end_of_text: int) -> Tensor:
    """B x 1 x T x T, true where a token may look: back, within its own example."""
    documents_BT = documents_of(ids_BT, end_of_text)
    tokens = ids_BT.shape[1]
    causal_TT = torch.ones(tokens, tokens, dtype=torch.bool, device=ids_BT.device).tril()
    return ((documents_BT[:, :, None] == documents_BT[:, None, :]) & causal_TT)[:, None]
