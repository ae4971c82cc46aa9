"""A trained model as a Hugging Face directory: what transformers, and everyone else, can load.

Weights keep their own float type unless another is asked for. Where a model is sharded, give the
`weights` that `parallel.gather` put together.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from downstream.model import Llama


def save_model(
    folder: Path,
    model: Llama,
    tokenizer: Path,
    end_of_text: int,
    context_tokens: int,
    weights: Mapping[str, torch.Tensor] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write config.json, model.safetensors and the tokenizer's files."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    named = dict(model.named_parameters()) if weights is None else weights
    dtype = dtype or next(iter(named.values())).dtype
    saved = {_theirs(name): w.detach().cpu().to(dtype).contiguous() for name, w in named.items()}
    save_file(saved, folder / "model.safetensors", metadata={"format": "pt"})
    shape = model.shape
    _write(
        folder / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": shape.vocabulary,
            "hidden_size": shape.hidden,
            "intermediate_size": shape.feed_forward,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "head_dim": shape.head,
            "hidden_act": "silu",
            "max_position_embeddings": context_tokens,
            "rms_norm_eps": shape.norm_epsilon,
            # transformers 5 reads the first, older readers the second
            "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
            "rope_theta": shape.rope_theta,
            "tie_word_embeddings": shape.tied,
            "attention_bias": False,
            "mlp_bias": False,
            "bos_token_id": end_of_text,
            "eos_token_id": end_of_text,
            "dtype": str(dtype).removeprefix("torch."),
        },
    )
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    end = _token_of(tokenizer, end_of_text)
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": end,
            "eos_token": end,
            "model_max_length": context_tokens,
            "clean_up_tokenization_spaces": False,
        },
    )
    _write(
        folder / "generation_config.json",
        {"bos_token_id": end_of_text, "eos_token_id": end_of_text, "do_sample": False},
    )


def _theirs(name: str) -> str:
    """The name that transformers gives a weight."""
    return name if name.startswith("lm_head.") else f"model.{name}"


def _token_of(tokenizer: Path, token_id: int) -> str:
    record = json.loads(tokenizer.read_text())
    return next(str(t["content"]) for t in record["added_tokens"] if t["id"] == token_id)


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")
