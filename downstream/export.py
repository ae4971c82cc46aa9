"""A Hugging Face Llama directory as a GGUF file at F16, checked against transformers.

llama.cpp turns pairs of neighbouring dimensions where transformers turns halves, so the rows of
query and key matrices are permuted, per head; left out, the file loads and is silently wrong. So
every export is checked: the logits of llama.cpp against those of transformers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import StageError

MAX_KL_NATS = 1e-3  # measured: 5e-6 when right, 0.59 without the permutation
_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip


def export_gguf(model: Path, target: Path) -> None:
    """Write the model at F16 (norms at F32)."""
    import gguf
    from safetensors.numpy import load_file

    config = json.loads((model / "config.json").read_text())
    writer = gguf.GGUFWriter(target, "llama")
    _write_shape(writer, config)
    _write_tokenizer(writer, model, config)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    for name, weight in sorted(load_file(model / "model.safetensors").items()):
        kind = np.float32 if weight.ndim == 1 else np.float16
        rows = _in_llama_cpp_order(name, weight, config)
        writer.add_tensor(_rename(name), np.ascontiguousarray(rows, dtype=kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _in_llama_cpp_order(
    name: str, weight: npt.NDArray[Any], config: dict[str, Any]
) -> npt.NDArray[Any]:
    if name.endswith("q_proj.weight"):
        return permute(weight, config["num_attention_heads"])
    if name.endswith("k_proj.weight"):
        return permute(weight, config["num_key_value_heads"])
    return weight


def permute(weight: npt.NDArray[Any], heads: int) -> npt.NDArray[Any]:
    """Rows of each head from halves side by side to neighbours in pairs."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def _rename(name: str) -> str:
    parts = name.removeprefix("model.").split(".")
    if parts[0] == "layers":
        return f"blk.{parts[1]}.{_NAMES['.'.join(parts[2:-1])]}.weight"
    whole = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
    return f"{whole[parts[0]]}.weight"


def _write_shape(writer: Any, config: dict[str, Any]) -> None:
    rope = config.get("rope_parameters") or {}
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_rope_freq_base(rope.get("rope_theta") or config["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])


def _write_tokenizer(writer: Any, model: Path, config: dict[str, Any]) -> None:
    import gguf

    record = json.loads((model / "tokenizer.json").read_text())
    vocabulary: dict[str, int] = dict(record["model"]["vocab"])
    special = {t["content"]: t["id"] for t in record["added_tokens"] if t["special"]}
    vocabulary |= special
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    kinds = [
        gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens
    ]
    merges = [m if isinstance(m, str) else " ".join(m) for m in record["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)


def check_export(model: Path, exported: Path, tokens: list[int]) -> dict[str, float]:
    """Compare logits over a text's tokens; StageError where the distributions differ.

    Returns the largest difference of a logit and the mean KL divergence in nats.
    """
    import torch
    from transformers import LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    from downstream.device import opened

    disable_progress_bar()  # the stage has a bar of its own
    reference = LlamaForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    with torch.no_grad():
        right = reference(torch.tensor([tokens])).logits[0].double().numpy()
    with opened(exported, len(tokens), threads=1, all_logits=True) as llama:
        llama.eval(tokens)
        ours = llama.scores[: len(tokens)].astype(np.float64)
    kl_nats = float(np.mean(_kl(right, ours)))
    difference = float(np.abs(right - ours).max())
    if not kl_nats < MAX_KL_NATS:
        raise StageError(
            "quantize",
            f"{exported.name} does not compute what {model.name} does: KL {kl_nats:.4g} nats",
            f"it must be under {MAX_KL_NATS}; this is a bug in the export, please report it",
        )
    return {"max_logit_difference": difference, "kl_nats": kl_nats}


def _kl(right: npt.NDArray[Any], ours: npt.NDArray[Any]) -> npt.NDArray[Any]:
    p, q = log_softmax(right), log_softmax(ours)
    total: npt.NDArray[Any] = (np.exp(p) * (p - q)).sum(axis=-1)
    return total


def log_softmax(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Log-probabilities in nats over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: npt.NDArray[Any] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
