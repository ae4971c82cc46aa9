"""The importance matrix: which columns of a weight matrix see large inputs, so that rounding errs
elsewhere.

llama.cpp's quantizers minimize the squared error of the weights; given the mean square of each
input of a linear layer over some text, they weigh the columns by it, which is about the error of
the layer's output. It is measured on calibration text (held-out documents, the same for every arm)
by PyTorch hooks on the model before its export: at full precision, with no callback into C, and in
30 lines. The file is llama.cpp's own form (GGUF, sums of squares and counts by tensor), and
`llama-imatrix` on the same tokens gives the same numbers (tests/test_importance_matrix.py).
As there, head and embeddings are left out: they keep 6 or 8 bits anyway.

Cost: one forward pass over the calibration text, 4 bytes a parameter. What it brings:
docs/quantizing.md.
Source: https://github.com/ggml-org/llama.cpp/tree/master/tools/imatrix
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from downstream.export import read_config, rename
from downstream.export_check import open_tokenizer
from pipeline.errors import InputError

if TYPE_CHECKING:
    import torch

CHUNK_TOKENS = 512  # llama-imatrix's own
BATCH_TOKENS = 4_096


@dataclass(frozen=True)
class Importance:
    """For each tensor of a GGUF file: float32[columns] sums of squares over `tokens` inputs."""

    sums: dict[str, npt.NDArray[np.float32]]
    tokens: int
    chunk_tokens: int

    def means(self) -> dict[str, npt.NDArray[np.float32]]:
        """The mean square of each column."""
        return {name: sums / np.float32(self.tokens) for name, sums in self.sums.items()}

    def save(self, path: Path) -> None:
        """Write the file that llama.cpp's tools read; it appears when it is whole."""
        import gguf

        unfinished = path.with_name(f"{path.name}.partial")
        with closing(gguf.GGUFWriter(unfinished, "imatrix")) as writer:
            writer.add_type("imatrix")
            writer.add_array("imatrix.datasets", ["validation"])
            writer.add_uint32("imatrix.chunk_count", self.tokens // self.chunk_tokens)
            writer.add_uint32("imatrix.chunk_size", self.chunk_tokens)
            for name, sums in sorted(self.sums.items()):
                writer.add_tensor(f"{name}.in_sum2", sums[None])
                writer.add_tensor(f"{name}.counts", np.array([[self.tokens]], np.float32))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        os.replace(unfinished, path)

    def as_llama_cpp_wants_it(self) -> Any:
        """A C array of name, values and length, ended by an entry without a name."""
        import llama_cpp

        means = self.means()
        entries = (llama_cpp.llama_model_imatrix_data * (len(means) + 1))()
        for entry, (name, values) in zip(entries, sorted(means.items()), strict=False):
            kept = (ctypes.c_float * len(values))(*values)  # ctypes keeps what fields point to
            entry.name, entry.data, entry.size = name.encode(), kept, len(values)
        return entries


def load_importance(path: Path) -> Importance:
    """Read a file of ours or of llama-imatrix."""
    from gguf import GGUFReader

    reader = GGUFReader(path)
    chunk = reader.get_field("imatrix.chunk_size")
    if chunk is None:
        raise InputError("quantize", f"{path} is no importance matrix", "give an imatrix.gguf")
    sums, counts = {}, set()
    for tensor in reader.tensors:
        name, _, what = tensor.name.rpartition(".")
        if what == "in_sum2":
            sums[name] = np.array(tensor.data, np.float32).reshape(-1)
        else:
            counts.add(int(np.array(tensor.data).reshape(-1)[0]))
    (tokens,) = counts  # a dense model feeds every layer the same tokens
    return Importance(sums, tokens, int(chunk.contents()))


def measure_importance(model: Path, texts: Iterable[str], max_bytes: int) -> Importance:
    """Run the model of a directory over texts, whole ones, up to `max_bytes` together."""
    config, tokenizer = read_config(model), open_tokenizer(model)
    end = config.get("eos_token_id")
    ends = [end[0] if isinstance(end, list) else end] if end is not None else []
    tokens: list[int] = []
    for text in taken(texts, max_bytes):
        tokens += [*tokenizer.encode(text, add_special_tokens=False).ids, *ends]
    chunk_tokens = min(CHUNK_TOKENS, config["max_position_embeddings"])
    return sum_squares(model, tokens, chunk_tokens, config.get("bos_token_id"))


def taken(texts: Iterable[str], max_bytes: int) -> Iterable[str]:
    """The first texts that fit; one in which the bytes run out is left out whole."""
    left = max_bytes
    for text in texts:
        if len(text.encode()) <= left:
            left -= len(text.encode())
            yield text


def sum_squares(
    model: Path, tokens: Sequence[int], chunk_tokens: int, begin: int | None = None
) -> Importance:
    """Sums over whole chunks of the tokens, the first of each replaced by `begin` if given."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    chunks = len(tokens) // chunk_tokens
    if not chunks:
        raise InputError(
            "quantize", f"the calibration text has {len(tokens)} tokens, fewer than {chunk_tokens}",
            "raise quantize.calibration_bytes, or give more validation text",
        )  # fmt: skip
    disable_progress_bar()
    reader = AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32, local_files_only=True
    ).eval()
    ids = torch.tensor(tokens[: chunks * chunk_tokens]).reshape(chunks, chunk_tokens)
    if begin is not None:
        ids[:, 0] = begin
    sums: dict[str, torch.Tensor] = {}
    for name, layer in reader.named_modules():
        if isinstance(layer, torch.nn.Linear) and ".layers." in name:
            layer.register_forward_pre_hook(_adding(sums, rename(f"{name}.weight")))
    with torch.inference_mode():
        for batch in torch.split(ids, max(1, BATCH_TOKENS // chunk_tokens)):
            reader.base_model(input_ids=batch, use_cache=False)
    found = {name: total.float().numpy() for name, total in sums.items()}
    return Importance(found, ids.numel(), chunk_tokens)


def _adding(sums: dict[str, torch.Tensor], name: str) -> Any:
    def add(_layer: object, inputs: tuple[torch.Tensor]) -> None:
        squares = inputs[0].detach().double().square().flatten(0, -2).sum(0)
        sums[name] = sums[name] + squares if name in sums else squares

    return add
