"""The ablation's models as a device would run them: quantized, and measured through llama.cpp.

The same documents as on the GPU, cut to what two cores manage: of each side so many, drawn by the
hash of their ids, so that every repository gives its share.

    python -m downstream.ablation_quantized runs/ablation-pack/pack.tar.xz MODELS --out NATS.npz

What it costs: half a minute a file for 120 documents (75,000 tokens) of the 15M preset, two cores.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from downstream.ablation_train import WINDOW_TOKENS, Pack
from downstream.gguf_model import log_probabilities
from downstream.next_tokens import NextTokens, open_next_tokens
from downstream.quantize import make_quantized
from pipeline.errors import StageError

TYPES = ("Q8_0", "Q4_K_M", "Q4_0")
FULL = "F16"


def main() -> None:
    """Quantize every model of a folder and write its nats."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pack", type=Path)
    parser.add_argument("models", type=Path, help="Folders named ARM-SEED.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--types", nargs="*", default=TYPES)
    parser.add_argument("--documents", type=int, default=120, help="Of each side, at most.")
    parser.add_argument("--sides", nargs="*", default=("teaching",))
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    pack = Pack(given.pack)
    chosen = choose(pack.facts["held_out"], given.sides, given.documents)
    nats: dict[str, np.ndarray[Any, Any]] = {}
    try:
        for folder in sorted(path.parent for path in given.models.glob("*/model.safetensors")):
            arm, _, seed = folder.name.rpartition("-")
            make_quantized(folder, folder / "gguf", given.types, threads=given.threads)
            for name in (FULL, *given.types):
                file = folder / "gguf" / f"model-{name}.gguf"
                told = measure(file, pack.held_out(), chosen, given.threads)
                nats[f"{arm}@{name}/{seed}"] = told
                print(f"{folder.name} {name}: {np.nansum(told):.0f} nats", flush=True)
                np.savez_compressed(given.out, **nats)  # type: ignore[arg-type]
    except StageError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


def choose(rows: Sequence[dict[str, str]], sides: Sequence[str], documents: int) -> list[int]:
    """The places of the documents to measure: of each side the first by id, a hash."""
    found: list[int] = []
    for side in sides:
        places = [i for i, row in enumerate(rows) if row["side"] == side]
        found += sorted(places, key=lambda i: rows[i]["doc_id"])[:documents]
    return sorted(found)


def measure(
    file: Path, documents: Sequence[np.ndarray[Any, Any]], chosen: Sequence[int], threads: int
) -> np.ndarray[Any, Any]:
    """Nats of the chosen documents, each alone; NaN for the others."""
    nats = np.full(len(documents), np.nan, np.float32)
    with open_next_tokens(file, WINDOW_TOKENS, threads) as model:
        for i in chosen:
            nats[i] = _nats(model, documents[i].tolist())
    return nats


def _nats(model: NextTokens, tokens: list[int]) -> float:
    targets = iter(tokens[1:])
    nats = 0.0
    for rows in model.logits(tokens[:-1]):
        told, _ = log_probabilities(rows, (next(targets) for _ in range(len(rows))))
        nats -= float(told.sum())
    return nats


if __name__ == "__main__":
    main()
