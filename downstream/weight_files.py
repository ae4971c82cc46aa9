"""Weights on disk, one tensor at a time: read from any number of safetensors files, written to one.

A safetensors file is the length of a JSON header (8 bytes, little-endian), the header (name, type,
shape and place of each tensor) and the tensors' bytes. As shapes are known before the values, a
file larger than the memory can be written in one pass.
Source: https://huggingface.co/docs/safetensors (format), whose own `save_file` wants all of them.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from downstream.derived import copy_beside, weight_paths, write_json
from pipeline.errors import InputError

_NAMES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_SAFETENSORS_NAME = {dtype: name for name, dtype in _NAMES.items()}


class WeightFiles:
    """The tensors of a model directory, each read when it is asked for.

    Raises InputError where a file is missing, cut short or holds numbers of another type.
    """

    def __init__(self, folder: Path) -> None:
        self._file_of: dict[str, Path] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, torch.dtype] = {}
        for path in weight_paths(folder):
            try:
                self._note(path)
            except (OSError, SafetensorError) as error:
                raise InputError(
                    "weights", f"{path} cannot be read ({error})",
                    "give a directory with whole *.safetensors files",
                ) from error  # fmt: skip

    def _note(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118, it is no dictionary
                part = file.get_slice(name)
                if part.get_dtype() not in _NAMES:
                    raise InputError(
                        "weights", f"{path} holds {name!r} as {part.get_dtype()}",
                        f"give weights as one of {', '.join(_NAMES)}",
                    )  # fmt: skip
                self._file_of[name] = path
                self.shapes[name] = tuple(part.get_shape())
                self.dtypes[name] = _NAMES[part.get_dtype()]

    def __getitem__(self, name: str) -> Tensor:
        with safe_open(self._file_of[name], "pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor


def write_weights(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, torch.dtype],
    make: Callable[[str], Tensor],
) -> None:
    """Write the tensors that `make(name)` gives, in the order of their names, one at a time."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(shapes):
        begin = end
        count = 1
        for size in shapes[name]:
            count *= size
        end += count * dtypes[name].itemsize
        header[name] = {
            "dtype": _SAFETENSORS_NAME[dtypes[name]],
            "shape": shapes[name],
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(shapes):
            tensor = make(name).to(dtypes[name]).contiguous()
            file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
        file.flush()
        os.fsync(file.fileno())


def write_like(source: Path, target: Path, state: Mapping[str, Tensor]) -> None:
    """Write a model directory like `source`, with the weights of `state` under the same names.

    Everything else is copied, and `config.json` says the weights' type.
    """
    shapes = {name: shape for name, shape in WeightFiles(source).shapes.items() if name in state}
    dtypes = {name: state[name].dtype for name in shapes}
    write_weights(
        target / "model.safetensors", shapes, dtypes, lambda name: state[name].detach().cpu()
    )
    config = json.loads((source / "config.json").read_text())
    config["dtype"] = str(next(iter(dtypes.values()))).removeprefix("torch.")
    config.pop("torch_dtype", None)
    write_json(target / "config.json", config)
    copy_beside(source, target)
