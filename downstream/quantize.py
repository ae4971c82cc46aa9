"""Stage 12: every model as GGUF, at F16 and quantized, by llama.cpp itself.

`make_quantized` is the whole of it for one Llama-style Hugging Face directory, so that
`primer evaluate` makes the same files of a model that is not ours: export, check against
transformers, measure the importance matrix if wanted, quantize, and write down what each file holds
and which tensors fell back to another type (`downstream.quantized_tensors`).

Files appear when they are whole, and one that is there is not made again: a crash costs the file
at hand. `source.json` says of which weights and which calibration they are; files of others in the
same folder are made anew.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipeline.config import HOW, Section
from pipeline.errors import InputError, StageError
from pipeline.ledger import Ledger
from pipeline.manifest import hash_file, hash_json
from pipeline.stage import Outcome, Sealed, Stage, Workplace

if TYPE_CHECKING:
    from downstream.importance import Importance

FULL = "F16"
IMPORTANCE = "imatrix.gguf"
TABLE = "quantized.json"
_SOURCE = "source.json"
# All that a GGUF file is made of; timings, which lie beside it, change from run to run.
_KINDS_OF_SOURCE = (
    "*.safetensors", "*.safetensors.index.json", "config.json", "tokenizer*.json",
    "special_tokens_map.json", "*.jinja", "tokenizer.model",
)  # fmt: skip


class QuantizeConfig(Section):
    """Which files are made."""

    types: tuple[str, ...] = Field(
        ("Q8_0", "Q4_K_M", "Q4_0", "Q3_K_M"),
        min_length=1,
        description="llama.cpp's names of quantized types; F16 is always made.",
    )
    importance: bool = Field(
        False,
        description="Whether rounding minds which inputs are large on held-out text (the "
        "importance matrix); types below 3 bits need it.",
    )
    calibration_bytes: int = Field(
        200_000, ge=1_000, le=100_000_000,
        description="Held-out text for the importance matrix at most, in bytes.",
    )  # fmt: skip
    threads: int = Field(
        2, ge=1, le=256, description="Threads of quantizing.", json_schema_extra=HOW
    )


def quantize(place: Workplace) -> Outcome:
    """Export, check and quantize every model that was trained."""
    config, trained = place.section(QuantizeConfig), place.needs["train"]
    check_types(config.types)
    models = [path.parent for path in trained.files("*/model.safetensors")]
    checks = {}
    texts = _calibration_texts(place.needs["handoff"]) if config.importance else None
    with place.bar("files", len(models) * (1 + len(config.types))) as advance:
        for model in models:
            made = make_quantized(
                model, place.out / model.name, config.types, texts, config.calibration_bytes,
                config.threads, partial(_advance, advance, model.name),
            )  # fmt: skip
            checks[model.name] = made["check"]
    files = len(models) * (1 + len(config.types))
    facts = {"checks": checks, "types": [FULL, *config.types], "importance": config.importance}
    return Outcome(Ledger("files", files, files), facts)


def _advance(bar: Callable[..., None], arm: str, type_name: str) -> None:
    bar(1, note=f"{arm} {type_name}")


def _calibration_texts(handoff: Sealed) -> list[str]:
    """The validation documents: the same for every arm, and what no arm was trained on."""
    from pipeline.handoff_record import open_handoff
    from pipeline.records import read_rows

    path = handoff.file("handoff.json")
    documents = path.parent / open_handoff(path, verify=False).validation.documents.path
    return [row["text"] for row in read_rows([documents], ["text"])]


def make_quantized(
    model: Path,
    out: Path,
    types: Iterable[str],
    texts: list[str] | None = None,
    calibration_bytes: int = 200_000,
    threads: int = 2,
    advance: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Write model-F16.gguf, model-<TYPE>.gguf and quantized.json into `out`.

    With calibration `texts` the quantizers use the importance matrix, kept as imatrix.gguf.
    `advance` is called with the type's name after every file. Returns "check" (see
    `check_export`) and "files" (the rows of quantized.json).
    """
    from downstream.export import export_gguf
    from downstream.export_check import check_export
    from downstream.quantized_tensors import describe

    types = check_types(types)
    out.mkdir(parents=True, exist_ok=True)
    _keep_only_files_of(_source(model, texts, calibration_bytes), out)
    _check_room(model, out, types)
    full = out / f"model-{FULL}.gguf"
    if not full.exists():
        export_gguf(model, full)
    check = check_export(model, full)
    advance(FULL)
    importance = _importance(model, out, texts, calibration_bytes)
    for name in types:
        target = out / f"model-{name}.gguf"
        if not target.exists():
            quantize_file(full, target, name, importance, threads)
        advance(name)
    table = [describe(out / f"model-{name}.gguf") for name in (FULL, *types)]
    (out / TABLE).write_text(json.dumps(table, indent=1) + "\n")
    return {"check": check, "files": table}


def check_types(types: Iterable[str]) -> tuple[str, ...]:
    """The names as they are; InputError for one that llama.cpp does not know."""
    import llama_cpp

    types = tuple(types)
    if len(set(types)) < len(types):
        raise InputError(
            "quantize", f"quantize.types has {', '.join(types)}", "name each type once"
        )
    for name in types:
        # quantizing F16 to F16 would overwrite what it reads
        if name == FULL or not hasattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}"):
            raise InputError(
                "quantize", f"quantize.types has {name!r}",
                f"use llama.cpp's names, such as Q4_K_M; {FULL} is always made",
            )  # fmt: skip
    return types


def quantize_file(
    full: Path, target: Path, type_name: str, importance: Importance | None, threads: int
) -> None:
    """Make a file of this type of one at F16; it appears when it is whole."""
    import llama_cpp

    from downstream.device import silence

    silence()
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{type_name}")
    parameters.nthread = threads
    if importance is not None:
        entries = importance.as_llama_cpp_wants_it()  # lives as long as the call
        parameters.imatrix = entries
    unfinished = target.with_name(f"{target.name}.partial")
    failed = llama_cpp.llama_model_quantize(
        str(full).encode(), str(unfinished).encode(), ctypes.byref(parameters)
    )
    if failed:
        unfinished.unlink(missing_ok=True)
        raise StageError(
            "quantize", f"llama.cpp could not make {target.name} (code {failed})",
            "see that the disk has room; types below 3 bits need quantize.importance",
        )  # fmt: skip
    os.replace(unfinished, target)


def _importance(
    model: Path, out: Path, texts: list[str] | None, calibration_bytes: int
) -> Importance | None:
    from downstream.importance import load_importance, measure_importance

    if texts is None:
        return None
    kept = out / IMPORTANCE
    if not kept.exists():
        measure_importance(model, texts, calibration_bytes).save(kept)
    return load_importance(kept)


def _source(model: Path, texts: list[str] | None, calibration_bytes: int) -> dict[str, Any]:
    files = sorted({path for kind in _KINDS_OF_SOURCE for path in model.glob(kind)})
    calibration = None if texts is None else hash_json([calibration_bytes, texts])
    return {"files": {p.name: hash_file(p) for p in files}, "calibration": calibration}


def _keep_only_files_of(source: dict[str, Any], out: Path) -> None:
    noted = out / _SOURCE
    if _noted(noted) == source:
        return
    for path in [*out.glob("model-*.gguf"), out / IMPORTANCE]:
        path.unlink(missing_ok=True)
    unfinished = noted.with_name(f"{noted.name}.partial")
    unfinished.write_text(json.dumps(source, indent=1) + "\n")
    os.replace(unfinished, noted)


def _noted(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # none yet, or cut short: the files are of nobody
        return None


def _check_room(model: Path, out: Path, types: tuple[str, ...]) -> None:
    """Refuse early, with a figure, what the disk cannot hold."""
    from downstream.weight_files import WeightFiles

    weights = sum(math.prod(shape) for shape in WeightFiles(model).shapes.values())
    missing = [name for name in (FULL, *types) if not (out / f"model-{name}.gguf").exists()]
    needed = int(weights * sum(_bits(name) for name in missing) / 8 * 1.05)  # tokens, padding
    free = shutil.disk_usage(out).free
    if needed > free:
        raise StageError(
            "quantize",
            f"{out} has {free / 2**20:.0f} MiB free, the files of {model.name} need about "
            f"{needed / 2**20:.0f}",
            "free some space, or make fewer types",
        )


def _bits(name: str) -> int:
    """Bits a weight at most: scales, and embeddings of more bits, add to what the name says."""
    said = int(re.findall(r"\d+", name)[0])
    return said if said > 8 else said + 3


STAGE = Stage(
    number=12,
    name="quantize",
    version=3,
    needs=("train", "handoff"),
    makes=(f"*/model-{FULL}.gguf", "*/model-[!F]*.gguf", f"*/{TABLE}"),
    sees=(QuantizeConfig,),
    work=quantize,
)
