"""Any Llama-style Hugging Face directory as our model, to go on training it or to measure it.

Reads `config.json` and safetensors, in one file or in shards, of any float type; the old and the
new place of rope's theta. What our model does not have (biases, stretched positions, other
activations, other architectures) is refused with its name: loaded silently, it would be wrong.
Weights are copied one by one into a model without memory of its own, so peak memory is the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from downstream.model import Llama
from downstream.shape import Shape
from pipeline.errors import InputError

STAGE = "load-model"
INDEX = "model.safetensors.index.json"
MADE_ANEW = ("rotary_emb.inv_freq",)  # old directories keep what follows from the config


def load_model(folder: Path, dtype: torch.dtype = torch.float32) -> Llama:
    """The model of a directory, its weights in `dtype`."""
    folder = Path(folder)
    shape = read_shape(folder)
    with torch.device("meta"):
        model = Llama(shape)
    weights = {
        name.removeprefix("model."): weight.to(dtype)
        for name, weight in _read(folder)
        if not name.endswith(MADE_ANEW) and not (shape.tied and name == "lm_head.weight")
    }
    expected = model.state_dict()
    _check_names(folder, set(weights), set(expected))
    for name, weight in weights.items():
        if weight.shape != expected[name].shape:
            raise _refused(
                folder, f"{name} is {tuple(weight.shape)}, not {tuple(expected[name].shape)}",
                "give a config.json that belongs to these weights",
            )  # fmt: skip
    model.load_state_dict(weights, assign=True)
    return model


def read_shape(folder: Path) -> Shape:
    """The sizes that `config.json` tells."""
    config = _json(Path(folder) / "config.json")
    _check_architecture(folder, config)
    rope = config.get("rope_parameters") or {}
    try:
        return Shape(
            vocabulary=config["vocab_size"],
            hidden=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            kv_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
            feed_forward=config["intermediate_size"],
            context_tokens=config.get("max_position_embeddings", 2_048),
            head=config.get("head_dim"),  # type: ignore[arg-type]
            rope_theta=float(rope.get("rope_theta", config.get("rope_theta", 10_000.0))),
            norm_epsilon=config.get("rms_norm_eps", 1e-6),
            tied=config.get("tie_word_embeddings", False),
        )
    except KeyError as error:
        raise _refused(folder, f"config.json lacks {error}", "complete it") from None
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise _refused(folder, str(error), "correct config.json") from None


def _check_architecture(folder: Path, config: dict[str, Any]) -> None:
    rope = config.get("rope_parameters") or {}
    stretched = config.get("rope_scaling") or {}
    for name, value in (("rope_parameters", rope), ("rope_scaling", stretched)):
        if not isinstance(value, dict):
            raise _refused(folder, f"{name} is {value!r}, no object", "correct config.json")
    kind = stretched.get("rope_type", stretched.get("type", rope.get("rope_type", "default")))
    wanted = {
        "model_type": (config.get("model_type"), "llama"),
        "hidden_act": (config.get("hidden_act", "silu"), "silu"),
        "attention_bias": (config.get("attention_bias", False), False),
        "mlp_bias": (config.get("mlp_bias", False), False),
        "rope_type": (kind, "default"),
        "partial_rotary_factor": (rope.get("partial_rotary_factor", 1.0), 1.0),
    }
    for name, (found, needed) in wanted.items():
        if found != needed:
            raise _refused(
                folder, f"{name} is {found!r}, not {needed!r}",
                "give a Llama without biases and without stretched positions",
            )  # fmt: skip


def _read(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Every weight of the directory, by name."""
    index = folder / INDEX
    if index.exists():
        named = _json(index).get("weight_map")
        if not isinstance(named, dict):
            raise _refused(folder, f"{INDEX} has no weight_map", "save the model as safetensors")
        files = sorted({str(name) for name in named.values()})
    else:
        files = ["model.safetensors"]
    for file in files:
        path = folder / file
        if not path.is_file():
            raise _refused(folder, f"there is no {file}", "save the model as safetensors")
        try:
            with safe_open(path, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118  # it is no dictionary
                    yield name, opened.get_tensor(name)
        except SafetensorError as error:
            raise _refused(folder, f"{file} cannot be read ({error})", "copy it anew") from None


def _check_names(folder: Path, found: set[str], expected: set[str]) -> None:
    for told, names in (("lacks", expected - found), ("has the unknown", found - expected)):
        if names:
            some = ", ".join(sorted(names)[:3])
            raise _refused(
                folder, f"it {told} weights {some} ({len(names)} in all)",
                "give a whole Llama that transformers saved",
            )  # fmt: skip


def _json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _refused(path.parent, f"{path.name} cannot be read ({error})",
                       "give a Hugging Face directory") from None  # fmt: skip
    if not isinstance(record, dict):
        raise _refused(path.parent, f"{path.name} is no object", "give a Hugging Face directory")
    return record


def _refused(folder: Path, what: str, cure: str) -> InputError:
    return InputError(STAGE, f"{folder}: {what}", cure)
