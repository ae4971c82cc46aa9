"""Train one small model for each arm and seed on one GPU, and measure each on what is held out.

Alike in everything but the data: the same first weights for a seed, the same number of tokens, the
same schedule (warm up, stay, decay on the arm's annealing part). It needs torch, numpy and
safetensors alone, so that it runs where Primer is not installed.

    python -m downstream.ablation_train runs/ablation-pack/pack.tar.xz --out OUT

What it costs: the 15M preset reads 2.2 million tokens a second of an H200; five arms of three seeds
and 16 million tokens, with the measuring, take three and a half minutes there.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from downstream.checkpoint import save_model
from downstream.model import Llama
from downstream.muon import Muon
from downstream.shape import shape_of

WINDOW_TOKENS = 1_024
WARMUP_SHARE = 0.02


@dataclass(frozen=True)
class Setting:
    """What is alike for all arms."""

    preset: str
    steps: int
    windows_per_step: int
    muon_rate: float
    adamw_rate: float
    weight_decay: float
    device: str


class Pack:
    """The tokens of every arm, and what is evaluated on."""

    def __init__(self, path: Path) -> None:
        self.files: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(lzma.open(path).read())) as tar:
            for entry in tar:
                file = tar.extractfile(entry)
                self.files[entry.name] = file.read() if file else b""
        self.facts = json.loads(self.files["pack.json"])
        self._tokens = self.array("tokens.npy")
        lengths = self.array("lengths.npy").astype(np.int64)
        self._ends = lengths.cumsum()
        self._begins = self._ends - lengths

    def array(self, name: str) -> np.ndarray[Any, Any]:
        """An array of the pack."""
        array: np.ndarray[Any, Any] = np.load(io.BytesIO(self.files[name]))
        return array

    def part(self, arm: str, part: str) -> np.ndarray[Any, Any]:
        """The tokens of `base` or `anneal` of an arm, in its order."""
        numbers = self.array(f"arms/{arm}/{part}.npy")
        return np.concatenate([self._tokens[self._begins[i] : self._ends[i]] for i in numbers])

    def held_out(self) -> list[np.ndarray[Any, Any]]:
        """Documents to evaluate, each after an end of text."""
        ends = self.array("held_out_lengths.npy").astype(np.int64).cumsum()
        return np.split(self.array("held_out_tokens.npy"), ends[:-1])


def main() -> None:
    """Train and measure every arm and seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pack", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", nargs="*", help="All of the pack where none is named.")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--save-seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--models", type=Path, help="Where models are saved; left out: nowhere.")
    parser.add_argument("--preset", default="15M")
    parser.add_argument("--steps", type=int, default=750)
    parser.add_argument("--windows-per-step", type=int, default=32)
    parser.add_argument("--muon-rate", type=float, default=0.02)
    parser.add_argument("--adamw-rate", type=float, default=0.004)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    pack = Pack(given.pack)
    setting = Setting(
        given.preset, given.steps, given.windows_per_step, given.muon_rate, given.adamw_rate,
        given.weight_decay, given.device,
    )  # fmt: skip
    given.out.mkdir(parents=True, exist_ok=True)
    model = make_model(pack, setting)
    nats, records = {}, []
    for seed in given.seeds:
        for arm in given.arms or pack.facts["arms"]:
            record = train(model, pack, arm, seed, setting)
            nats[f"{arm}/{seed}"] = evaluate(model, pack.held_out(), setting.device)
            record["held_out_nats"] = float(nats[f"{arm}/{seed}"].sum())
            records.append(record)
            print(json.dumps(record), flush=True)
            if given.models and seed in given.save_seeds:
                save(given.models / f"{arm}-{seed}", model, pack)
            # written after every model, so that a run that is cut off has not run in vain
            np.savez_compressed(given.out / "nats.npz", **nats)  # type: ignore[arg-type]
            device = torch.cuda.get_device_name() if setting.device == "cuda" else "cpu"
            told = {"card": device, "torch": torch.__version__, **vars(setting), "runs": records}
            (given.out / "runs.json").write_text(json.dumps(told, indent=1) + "\n")


def make_model(pack: Pack, setting: Setting) -> Llama:
    """One model for all runs, so that it is compiled once."""
    shape = shape_of(setting.preset, pack.facts["vocabulary"], WINDOW_TOKENS)
    model = Llama(shape).to(setting.device)
    return model.compile_blocks() if setting.device == "cuda" else model


def train(model: Llama, pack: Pack, arm: str, seed: int, setting: Setting) -> dict[str, Any]:
    """Train the model anew on an arm; what came of it."""
    _begin_anew(model, seed)
    parts = {part: pack.part(arm, part) for part in ("base", "anneal")}
    decay_share = len(parts["anneal"]) / sum(map(len, parts.values()))
    decay_steps = max(1, round(setting.steps * decay_share))
    streams = {p: torch.from_numpy(t.astype(np.int32)).to(setting.device) for p, t in parts.items()}
    optimizers = _optimizers(model, setting)
    peaks = (setting.muon_rate, setting.adamw_rate)
    losses, began = [], time.perf_counter()
    for step in range(setting.steps):
        part, turn = "base", step
        if step >= setting.steps - decay_steps:
            part, turn = "anneal", step - (setting.steps - decay_steps)
        ids_BT = batch(streams[part], turn, setting.windows_per_step, (seed, part))
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            warm = min(1.0, (step + 1) / (setting.steps * WARMUP_SHARE))
            rate = peak * min(warm, (setting.steps - step) / (decay_steps + 1))
            optimizer.param_groups[0]["lr"] = rate
        with torch.autocast(setting.device, torch.bfloat16, enabled=setting.device == "cuda"):
            loss = model.loss_nats(ids_BT)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.detach())
    losses_nats = torch.stack(losses).cpu()
    tokens = setting.steps * setting.windows_per_step * WINDOW_TOKENS
    return {
        "arm": arm, "seed": seed, "tokens": tokens,
        "seconds": round(time.perf_counter() - began, 2),
        "loss_last_nats": round(float(losses_nats[-20:].mean()), 4),
        "epochs": round(tokens / sum(map(len, parts.values())), 3),
    }  # fmt: skip


def batch(stream: torch.Tensor, step: int, windows: int, seed: tuple[int, str]) -> torch.Tensor:
    """The ids (windows x 1,025) of a step: windows in an order drawn anew for every epoch."""
    count = (len(stream) - 1) // WINDOW_TOKENS
    rows = []
    for i in range(step * windows, (step + 1) * windows):
        epoch, place = divmod(i, count)
        order = _order(count, seed[0], int(seed[1] == "anneal"), epoch)
        begin = int(order[place]) * WINDOW_TOKENS
        rows.append(stream[begin : begin + WINDOW_TOKENS + 1])
    return torch.stack(rows).long()


_ORDERS: dict[tuple[int, int, int, int], np.ndarray[Any, Any]] = {}


def _order(count: int, seed: int, late: int, epoch: int) -> np.ndarray[Any, Any]:
    key = (count, seed, late, epoch)
    if key not in _ORDERS:
        _ORDERS.clear()
        _ORDERS[key] = np.random.default_rng([seed, late, epoch]).permutation(count)
    return _ORDERS[key]


@torch.no_grad()
def evaluate(
    model: Llama, documents: list[np.ndarray[Any, Any]], device: str, windows: int = 64
) -> np.ndarray[Any, Any]:
    """Nats of every document, each alone, in 32 bits."""
    nats = np.zeros(len(documents), np.float32)
    by_length = sorted(range(len(documents)), key=lambda i: len(documents[i]))
    for begin in range(0, len(by_length), windows):
        chosen = by_length[begin : begin + windows]
        ids_BT = torch.zeros(len(chosen), WINDOW_TOKENS, dtype=torch.long)
        for row, i in enumerate(chosen):
            ids_BT[row, : len(documents[i])] = torch.from_numpy(documents[i].astype(np.int64))
        ids_BT = ids_BT.to(device)
        logits_BTV = model(ids_BT[:, :-1])
        told_BT = functional.cross_entropy(
            logits_BTV.flatten(0, 1), ids_BT[:, 1:].flatten(), reduction="none"
        ).view(len(chosen), -1)
        for row, i in enumerate(chosen):
            nats[i] = float(told_BT[row, : len(documents[i]) - 1].double().sum())
    return nats


def save(folder: Path, model: Llama, pack: Pack) -> None:
    """The model as a Hugging Face directory, in 16 bits."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = folder.parent / "tokenizer.json"
    tokenizer.write_bytes(pack.files["tokenizer.json"])
    save_model(
        folder, model, tokenizer, pack.facts["end_of_text"], WINDOW_TOKENS, dtype=torch.float16
    )


@torch.no_grad()
def _begin_anew(model: Llama, seed: int) -> None:
    """First weights that depend on the seed alone: drawn on the CPU, whatever trains."""
    fresh = Llama(model.shape).initialize(seed)
    for ours, theirs in zip(model.parameters(), fresh.parameters(), strict=True):
        ours.copy_(theirs)
        ours.grad = None


def _optimizers(model: Llama, setting: Setting) -> list[torch.optim.Optimizer]:
    matrices = [p for block in model.layers for p in block.parameters() if p.ndim == 2]
    moved = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in moved]
    return [
        Muon(matrices, lr=setting.muon_rate, weight_decay=setting.weight_decay),
        torch.optim.AdamW(
            others, lr=setting.adamw_rate, betas=(0.9, 0.95), weight_decay=0.0,
            fused=setting.device == "cuda",
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
