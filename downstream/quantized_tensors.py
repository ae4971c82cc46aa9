"""What a GGUF file really holds: types by tensor, size, and where llama.cpp fell back.

The name of a file's type is a recipe. `Q4_K_M` mixes in Q6_K on purpose, and the head or the tied
embeddings of most recipes have 6 bits. Apart from that, types with blocks of 256 need rows of a
multiple of 256; where a row is none, llama.cpp takes another type with blocks of 32 without a word:

    IQ1, IQ2, IQ3, IQ4_XS -> IQ4_NL    Q2_K, Q3_K -> Q4_0    Q4_K -> Q5_0    Q5_K -> Q5_1
    Q6_K -> Q8_0    and F16 where a row is no multiple of 32

So "Q2_K" of a model with a hidden size of 576 is mostly Q4_0. What was wanted is read backwards
from this table (`tensor_type_fallback` in llama-quant.cpp): exactly, but that Q4_0 and IQ4_NL each
stand for several, for which the type that names the file is told.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

_BLOCK = 256
_SMALL_BLOCK = 32
_WANTED = {"Q5_0": "Q4_K", "Q5_1": "Q5_K", "Q8_0": "Q6_K"}
_WHOLE = {"F32", "F16", "BF16"}


def describe(path: Path) -> dict[str, Any]:
    """MiB, bits a weight, tensors by type, and the tensors that fell back (`fell_back`).

    A row of `fell_back` stands for tensors of one place in all layers: their name with `*` for the
    layer, how many, the row's width, the type that the recipe wanted and the type that they got.
    """
    from gguf import GGUFReader, LlamaFileType

    reader = GGUFReader(path)
    field = reader.get_field("general.file_type")
    recipe = "" if field is None else LlamaFileType(field.contents()).name.split("_", 1)[1]
    weights = sum(int(t.n_elements) for t in reader.tensors)
    kinds = [(t.name, int(t.shape[0]), t.tensor_type.name) for t in reader.tensors]
    return {
        "file": path.name,
        "type": recipe,
        "mib": round(path.stat().st_size / 2**20, 3),
        "bits_per_weight": round(8 * sum(int(t.n_bytes) for t in reader.tensors) / weights, 3),
        "tensors": dict(sorted(Counter(kind for _, _, kind in kinds).items())),
        "fell_back": _fell_back(kinds, recipe),
    }


def _fell_back(kinds: list[tuple[str, int, str]], recipe: str) -> list[dict[str, Any]]:
    found = Counter(
        (re.sub(r"\d+", "*", name, count=1), row, wanted, got)
        for name, row, got in kinds
        if (wanted := wanted_type(recipe, row, got)) != got
    )
    return [
        {"tensor": name, "tensors": count, "row": row, "wanted": wanted, "got": got}
        for (name, row, wanted, got), count in sorted(found.items())
    ]


def wanted_type(recipe: str, row: int, got: str) -> str:
    """What the recipe (such as `Q4_K_M`) wanted for a tensor of this row width that has `got`."""
    named = _named_type(recipe)
    blocks_of_256 = "_K" in recipe or recipe.startswith(("IQ", "TQ"))
    if recipe in _WHOLE or got == "F32" or row % _BLOCK == 0 or got == named:
        return got
    if got == "F16":
        return named if row % _SMALL_BLOCK else got
    if got in {"Q4_0", "IQ4_NL"}:
        return named if blocks_of_256 else got
    # recipes with blocks of 32 mix in Q5_1 by themselves, but nothing of theirs has 8 bits
    return _WANTED.get(got, got) if blocks_of_256 or got == "Q8_0" else got


def _named_type(recipe: str) -> str:
    """`Q4_K` of `Q4_K_M`, `IQ3_S` of `IQ3_M`; the recipe itself where it mixes nothing."""
    if recipe in {"IQ3_M", "IQ3_XS"}:
        return "IQ3_S"
    if recipe in {"IQ2_S", "IQ2_M"}:
        return "IQ2_XS" if recipe == "IQ2_S" else "IQ2_S"
    return re.sub(r"^(Q\d_K)_\w+$", r"\1", recipe)
