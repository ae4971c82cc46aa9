"""Stage 12: every arm's model as GGUF, at F16 and quantized, by llama.cpp itself.

K-quants need rows of a multiple of 256; where they are not, llama.cpp falls back to another type
without a word. So the types that tensors really have are read back and listed.
"""

from __future__ import annotations

import ctypes
import json
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import Field

from downstream.export import check_export, export_gguf
from pipeline.config import HOW, Section
from pipeline.errors import InputError, StageError
from pipeline.ledger import Ledger
from pipeline.stage import Outcome, Stage, Workplace

FULL = "F16"
CHECK_TEXT = (
    "def area(width, height):\n    return width * height  # naïve, über, 面積, 🙂\n"
    "The area of a rectangle is its width times its height, because each row has the same length."
)


class QuantizeConfig(Section):
    """Which files are made."""

    types: tuple[str, ...] = Field(
        ("Q8_0", "Q4_K_M", "Q4_0", "Q3_K_M"),
        min_length=1,
        description="llama.cpp's names of quantized types; F16 is always made.",
    )
    threads: int = Field(
        2, ge=1, le=256, description="Threads of quantizing.", json_schema_extra=HOW
    )


def quantize(place: Workplace) -> Outcome:
    """Export, check and quantize the models of all arms."""
    config, trained = place.section(QuantizeConfig), place.needs["train"]
    file_types = {name: _file_type(name) for name in config.types}
    models = [path.parent for path in trained.files("*/model.safetensors")]
    checks = {}
    with place.bar("files", len(models) * (1 + len(file_types))) as advance:
        for model in models:
            folder = place.out / model.name
            folder.mkdir(exist_ok=True)
            full = folder / f"model-{FULL}.gguf"
            export_gguf(model, full)
            checks[model.name] = check_export(model, full, _check_tokens(model))
            advance(1, note=model.name)
            for name, file_type in file_types.items():
                _quantize(full, folder / f"model-{name}.gguf", file_type, config.threads)
                advance(1, note=f"{model.name} {name}")
            table = [_describe(path) for path in sorted(folder.glob("*.gguf"))]
            (folder / "quantized.json").write_text(json.dumps(table, indent=1) + "\n")
    files = len(models) * (1 + len(file_types))
    facts = {"checks": checks, "types": [FULL, *config.types]}
    return Outcome(Ledger("files", files, files), facts)


def _file_type(name: str) -> int:
    import llama_cpp

    found: int | None = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}", None)
    if found is None or name == FULL:  # quantizing F16 to F16 would overwrite what it reads
        raise InputError(
            "quantize", f"quantize.types has {name!r}",
            f"use llama.cpp's names, such as Q4_K_M; {FULL} is always made",
        )  # fmt: skip
    return found


def _check_tokens(model: Path) -> list[int]:
    from tokenizers import Tokenizer

    config = json.loads((model / "config.json").read_text())
    ids = Tokenizer.from_file(str(model / "tokenizer.json")).encode(CHECK_TEXT).ids
    return [config["bos_token_id"], *ids][: config["max_position_embeddings"]]


def _quantize(source: Path, target: Path, file_type: int, threads: int) -> None:
    import llama_cpp

    from downstream.device import silence

    silence()
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype, parameters.nthread = file_type, threads
    failed = llama_cpp.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(parameters)
    )
    if failed:
        raise StageError(
            "quantize", f"llama.cpp could not make {target.name} (code {failed})",
            "see that the disk has room; some types need an importance matrix",
        )  # fmt: skip


def _describe(path: Path) -> dict[str, Any]:
    """What a file really holds: MiB, bits a weight, tensors by type."""
    from gguf import GGUFReader

    tensors = GGUFReader(path).tensors
    weights = sum(int(t.n_elements) for t in tensors)
    return {
        "file": path.name,
        "mib": round(path.stat().st_size / 2**20, 3),
        "bits_per_weight": round(8 * sum(int(t.n_bytes) for t in tensors) / weights, 3),
        "tensors": dict(sorted(Counter(t.tensor_type.name for t in tensors).items())),
    }


STAGE = Stage(
    number=12,
    name="quantize",
    version=1,
    needs=("train",),
    makes=(f"*/model-{FULL}.gguf", "*/model-[!F]*.gguf", "*/quantized.json"),
    sees=(QuantizeConfig,),
    work=quantize,
)
