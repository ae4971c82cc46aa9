"""What the importance matrix and quantization-aware training bring, on one small model.

    python -m benchmarks.quantizing [--quick] [--json FILE] [--keep DIR]

The preset "2M" (hidden size 256, so nothing falls back) is trained on this interpreter's library
with Muon. Over the last fifth of the steps, while the rate decays, two copies go on over the same
batches: one as before, one whose linear layers see their weights as Q4_0 holds them. Both become
GGUF files. The measure is bits per byte and KL from the first copy's F16 (nats a token), on half of
the held-out files; the other half is the calibration text of the importance matrix. With --keep the
models and files stay in DIR, and what is finished there is not made again.
"""

from __future__ import annotations

import copy
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.library_corpus import END, read_library, train_tokenizer
from benchmarks.measured import Row, arguments, report
from downstream.checkpoint import save_model
from downstream.fake_quantize import bake, fake_quantize
from downstream.likeness import measure_likeness
from downstream.model import Llama
from downstream.optimizers import OptimizerConfig, make_optimizers, set_rate
from downstream.perplexity import measure_quality
from downstream.quantize import make_quantized
from downstream.shape import shape_of

PRESET, VOCABULARY, CONTEXT_TOKENS, SEQUENCES = "2M", 2_048, 256, 8
STEPS, QUICK_STEPS, DECAY_SHARE = 2_000, 60, 0.2
TYPES = ("Q8_0", "Q6_K", "Q5_K_M", "Q5_0", "Q4_K_M", "Q4_0", "IQ4_XS", "Q3_K_M", "Q2_K")
AWARE = "Q4_0"
QUICK_TYPES, QUICK_TEXTS = ("Q4_0", "Q3_K_M"), 150
MEASURED_BYTES, QUICK_BYTES = 60_000, 8_000


def main() -> None:
    """Train, quantize in every way, measure."""
    options = arguments(__doc__, keep="keep models and files here")
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory(prefix="primer-quantizing-") as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        train, held_out = read_library()
        types = QUICK_TYPES if options.quick else TYPES
        if not (folder / "aware" / "config.json").exists():
            texts = train[:QUICK_TEXTS] if options.quick else train
            _train(folder, texts, QUICK_STEPS if options.quick else STEPS)
        made = {
            "plain": _quantized(folder, "plain", types, None),
            "importance": _quantized(folder, "plain", types, held_out[::2]),
            "aware": _quantized(folder, "aware", (AWARE,), None),
        }
        documents = _write_documents(folder, held_out[1::2])
        report(_measure(made, documents, types, options.quick), options.json)


def _quantized(folder: Path, model: str, types: tuple[str, ...], texts: list[str] | None) -> Path:
    out = folder / f"{model}-{'plain' if texts is None else 'importance'}"
    make_quantized(folder / model, out, types, texts)
    return out


def _train(folder: Path, texts: list[str], steps: int) -> None:
    tokenizer = train_tokenizer(texts, VOCABULARY)
    tokenizer.save(str(folder / "tokenizer.json"))
    end = tokenizer.token_to_id(END)
    ids = torch.tensor([i for e in tokenizer.encode_batch(texts) for i in (*e.ids, end)])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Llama(shape_of(PRESET, VOCABULARY, CONTEXT_TOKENS)).initialize(0).to(device)
    optimizers = make_optimizers(model, OptimizerConfig())
    fork = round(steps * (1 - DECAY_SHARE))
    _run(model, optimizers, ids, range(fork), steps)
    for name in ("plain", "aware"):
        copied = copy.deepcopy(model)
        resumed = make_optimizers(copied, OptimizerConfig())
        for new, old in zip(resumed, optimizers, strict=True):
            new.load_state_dict(copy.deepcopy(old.state_dict()))
        if name == "aware":
            fake_quantize(copied, AWARE)
        _run(copied, resumed, ids, range(fork, steps), steps)
        bake(copied)
        save_model(folder / name, copied, folder / "tokenizer.json", end, CONTEXT_TOKENS)


def _run(model: Llama, optimizers: Any, ids: torch.Tensor, steps: range, total: int) -> None:
    for step in steps:
        set_rate(optimizers, min(1.0, (step + 1) / 20, (total - step) / (total * DECAY_SHARE)))
        generator = torch.Generator().manual_seed(step)
        begins = torch.randint(len(ids) - CONTEXT_TOKENS - 1, (SEQUENCES, 1), generator=generator)
        batch = ids[begins + torch.arange(CONTEXT_TOKENS + 1)]
        loss = model.loss_nats(batch.to(model.embed_tokens.weight.device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if step % 50 == 0 and sys.stderr.isatty():
            sys.stderr.write(f"step {step} of {total}: {loss.item():.3f} nats\n")


def _write_documents(folder: Path, texts: list[str]) -> Path:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows = [
        {"doc_id": str(i), "kind": "code", "keep": True, "text": text,
         "n_bytes": len(text.encode()), "tokens": tokenizer.encode(text).ids}
        for i, text in enumerate(texts)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "held_out.parquet")
    return folder / "held_out.parquet"


def _measure(
    made: dict[str, Path], documents: Path, types: tuple[str, ...], quick: bool
) -> list[Row]:
    """For each type the plain figure, with those of the other ways beside it."""
    max_bytes = QUICK_BYTES if quick else MEASURED_BYTES
    full = made["plain"] / "model-F16.gguf"
    rows = [Row("F16", _bits_per_byte(full, documents, max_bytes), "bits per byte")]
    lost: dict[str, dict[str, float]] = {}
    for name in types:
        ways = {w: p for w, p in made.items() if (p / f"model-{name}.gguf").exists()}
        bits = {w: _bits_per_byte(p / f"model-{name}.gguf", documents, max_bytes)
                for w, p in ways.items()}  # fmt: skip
        kl = {w: measure_likeness(p / f"model-{name}.gguf", full, documents, CONTEXT_TOKENS,
                                  max_bytes, 2)["kl_mean_nats"]
              for w, p in ways.items()}  # fmt: skip
        lost[name] = {way: value - rows[0].value for way, value in bits.items()}
        for told, unit in ((bits, "bits per byte"), (kl, "nats of KL a token")):
            rows.append(Row(name, told.pop("plain"), unit, peers=told))
    share = lost[AWARE]["aware"] / lost[AWARE]["plain"]
    unit = "of what rounding afterwards loses"
    limit = None if quick else 0.5  # a model of a minute has little to lose
    return [*rows, Row(f"{AWARE} trained for: lost", share, unit, limit, "max")]


def _bits_per_byte(model: Path, documents: Path, max_bytes: int) -> float:
    told = measure_quality(model, documents, CONTEXT_TOKENS, max_bytes, 2)
    nats = float(np.sum([row["nats"] for row in told]))
    return nats / math.log(2) / sum(row["n_bytes"] for row in told)


if __name__ == "__main__":
    main()
