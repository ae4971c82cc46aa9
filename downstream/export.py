"""A Llama-style Hugging Face directory as a GGUF file at F16, which llama.cpp runs.

Any such directory: weights in one or more safetensors files, as F32, F16 or BF16; a head of its own
or tied; heads of any size; biases; rope scaling `linear` and `llama3`. Tensors are read and
written one at a time, so the memory is that of the largest. What cannot be said in a GGUF file is
refused, with what was found, before anything is written.

llama.cpp turns pairs of neighbouring dimensions where transformers turns halves, so the rows of
query and key matrices are permuted, per head; left out, the file loads and is silently wrong. So
`downstream.export_check` holds every file against transformers.

Source: the format, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from downstream.export_tokenizer import write_tokenizer
from pipeline.errors import InputError

_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip
_WHOLE = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
_MODEL_TYPES = ("llama", "mistral")
_SIZES = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads",
          "vocab_size", "max_position_embeddings")  # fmt: skip


def export_gguf(model: Path, target: Path) -> None:
    """Write the model at F16 (norms and biases at F32); the file appears when it is whole."""
    import gguf

    from downstream.weight_files import WeightFiles

    config = read_config(model)
    weights = WeightFiles(model)
    names = _exported_names(model, config, weights.shapes)
    unfinished = target.with_name(f"{target.name}.partial")
    extra = _rope_tensors(config)
    with closing(gguf.GGUFWriter(unfinished, "llama")) as writer:
        _write_shape(writer, config)
        write_tokenizer(writer, model, config["vocab_size"])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
        for name, tensor in extra.items():
            writer.add_tensor_info(name, tensor.shape, tensor.dtype, tensor.nbytes)
        for name in names:
            shape, kind = weights.shapes[name], _kind_of(weights.shapes[name])
            writer.add_tensor_info(rename(name), shape, kind, math.prod(shape) * kind.itemsize)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in extra.values():
            writer.write_tensor_data(tensor)
        for name in names:
            weight = weights[name].float().numpy()
            writer.write_tensor_data(_converted(model, name, weight, config))
    os.replace(unfinished, target)


def read_config(model: Path) -> dict[str, Any]:
    """`config.json` with its defaults filled in; InputError where llama.cpp has no words for it."""
    try:
        config: dict[str, Any] = json.loads((model / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise _refusal(model, f"no config.json that can be read ({error})") from error
    if config.get("model_type") not in _MODEL_TYPES:
        raise _refusal(model, f"model_type {config.get('model_type')!r}")
    if config.get("quantization_config"):
        raise _refusal(model, "weights that are quantized already (quantization_config)")
    if config.get("hidden_act", "silu") != "silu":
        raise _refusal(model, f"hidden_act {config['hidden_act']!r}")
    if config.get("sliding_window"):
        raise _refusal(model, f"sliding_window {config['sliding_window']}")
    for name in _SIZES:
        if not isinstance(config.get(name), int):
            raise _refusal(model, f"{name} {config.get(name)!r} in config.json")
    config.setdefault("num_key_value_heads", config["num_attention_heads"])
    config.setdefault("rms_norm_eps", 1e-6)
    config["tie_word_embeddings"] = bool(config.get("tie_word_embeddings", False))
    config["head_dim"] = config.get("head_dim") or (
        config["hidden_size"] // config["num_attention_heads"]
    )
    return config


def _refusal(model: Path, found: str) -> InputError:
    return InputError(
        "quantize", f"{model} has {found}", "give a Llama-style Hugging Face directory"
    )


def _exported_names(
    model: Path, config: dict[str, Any], shapes: dict[str, tuple[int, ...]]
) -> list[str]:
    """The tensors to write; old checkpoints also hold frequencies, and tied ones a head."""
    left_out = ("rotary_emb.inv_freq", *(["lm_head.weight"] * config["tie_word_embeddings"]))
    names = [name for name in sorted(shapes) if not name.endswith(left_out)]
    for name in names:
        if rename(name) == "":
            raise _refusal(model, f"a tensor {name!r}")
    needed = ["model.embed_tokens.weight", "model.norm.weight"]
    needed += [] if config["tie_word_embeddings"] else ["lm_head.weight"]
    needed += [
        f"model.layers.{i}.{part}.weight"
        for i in range(config["num_hidden_layers"])
        for part in _NAMES
    ]
    missing = sorted(set(needed) - set(names))
    if missing:
        raise _refusal(model, f"no tensor {missing[0]!r}")
    return names


def rename(name: str) -> str:
    """llama.cpp's name of a tensor of `LlamaForCausalLM`; empty where there is none."""
    parts = name.removeprefix("model.").split(".")
    if parts[0] == "layers" and ".".join(parts[2:-1]) in _NAMES:
        return f"blk.{parts[1]}.{_NAMES['.'.join(parts[2:-1])]}.{parts[-1]}"
    return f"{_WHOLE[parts[0]]}.{parts[-1]}" if parts[0] in _WHOLE else ""


def _kind_of(shape: tuple[int, ...]) -> np.dtype[Any]:
    return np.dtype(np.float32 if len(shape) == 1 else np.float16)


def _converted(
    model: Path, name: str, weight: npt.NDArray[Any], config: dict[str, Any]
) -> npt.NDArray[Any]:
    kind = _kind_of(weight.shape)
    if kind == np.float16 and not np.abs(weight).max() <= np.finfo(np.float16).max:
        raise _refusal(model, f"a weight in {name!r} that is no number or too large for F16")
    if ".q_proj." in name:
        weight = permute(weight, config["num_attention_heads"])
    elif ".k_proj." in name:
        weight = permute(weight, config["num_key_value_heads"])
    return np.ascontiguousarray(weight, dtype=kind)


def permute(weight: npt.NDArray[Any], heads: int) -> npt.NDArray[Any]:
    """Rows (or biases) of each head from halves side by side to neighbours in pairs."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def _write_shape(writer: Any, config: dict[str, Any]) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(_rope(config)["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    if _rope(config)["rope_type"] == "linear":
        import gguf

        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(_rope(config)["factor"])


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """What transformers 5 keeps in `rope_parameters`, and older ones in two places."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    rope.setdefault("rope_theta", config.get("rope_theta", 10_000.0))
    rope["rope_type"] = rope.get("rope_type") or rope.get("type") or "default"
    if rope["rope_type"] not in {"default", "linear", "llama3"}:
        raise InputError(
            "quantize", f"config.json has a rope scaling of type {rope['rope_type']!r}",
            "default, linear and llama3 are supported",
        )  # fmt: skip
    return rope


def _rope_tensors(config: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """Llama 3.1's scaling as the tensor in which llama.cpp wants it: what divides a frequency."""
    rope = _rope(config)
    if rope["rope_type"] != "llama3":
        return {}
    divisors = np.fromiter(_llama3_divisors(rope, config["head_dim"]), dtype=np.float32)
    return {"rope_freqs.weight": divisors}


def _llama3_divisors(rope: dict[str, Any], head: int) -> Iterator[float]:
    """1 for short waves, `factor` for long ones, between them a blend (transformers' rule)."""
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    trained_tokens = rope["original_max_position_embeddings"]
    for i in range(0, head, 2):
        wave_tokens = 2 * math.pi * rope["rope_theta"] ** (i / head)
        turns = trained_tokens / wave_tokens
        blend = min(1.0, max(0.0, (turns - low) / (high - low)))
        yield 1 / ((1 - blend) / factor + blend)
