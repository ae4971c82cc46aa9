"""One small file with all that the ablation's training needs, to carry to a machine with a GPU.

Arms share most of their documents and read some more than once, so each document's tokens stand in
the pack once, and an arm is a list of their numbers. What is evaluated on travels too, as tokens
with the bytes that they stand for. A held-out document that shares more than a twentieth of its
runs of 13 words with any document of any arm is left out: it would measure memory.

    python -m downstream.ablation_pack runs/ablation --part test

What it costs: a minute, most of it for xz; 33 million different tokens come to 19 MB.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from downstream.ablation_corpus import FOLDER
from pipeline.errors import InputError, StageError
from pipeline.handoff_record import Handoff, Shard, open_handoff

PACK = Path("runs/ablation-pack/pack.tar.xz")
MAX_PACK_BYTES = 60 << 20
SHUFFLED = "kept-shuffled"
WINDOW_TOKENS = 1_024  # what a model sees at once, in training and in evaluation
RUN_WORDS, MAX_SHARED_RUNS = 13, 0.05

Tokens = np.ndarray[Any, np.dtype[np.uint16]]
Runs = np.ndarray[Any, np.dtype[np.uint64]]


class Pool:
    """Documents as tokens, each held once."""

    def __init__(self) -> None:
        self._number: dict[bytes, int] = {}

    def add(self, tokens: Tokens) -> int:
        """The number of a document."""
        return self._number.setdefault(tokens.tobytes(), len(self._number))

    def documents(self) -> list[Tokens]:
        """All documents by number."""
        return [np.frombuffer(held, np.uint16) for held in self._number]


def main() -> None:
    """Pack a run's handoff."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="The run's directory, handed off.")
    parser.add_argument("--part", choices=("dev", "test"), default="dev")
    parser.add_argument("--corpus", type=Path, default=FOLDER)
    parser.add_argument("--out", type=Path, default=PACK)
    given = parser.parse_args()
    try:
        told = make_pack(given.run, given.corpus / f"{given.part}.jsonl.gz", given.out)
    except StageError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    print(json.dumps(told, indent=1))


def make_pack(run: Path, held_out: Path, out: Path) -> dict[str, Any]:
    """Write the pack; what is in it."""
    folder = _handoff_folder(run)
    if not held_out.is_file():
        raise InputError(
            "ablation", f"there is no {held_out}", "run downstream.ablation_corpus first"
        )
    handoff = open_handoff(folder / "handoff.json")
    if handoff.vocabulary > 1 << 16:
        raise InputError("ablation", f"{handoff.vocabulary} tokens", "train up to 65,536 of them")
    pool, arms = Pool(), {}
    for arm in handoff.arms:
        for part, shards in (("base", arm.base), ("anneal", arm.anneal)):
            numbers = [pool.add(tokens) for tokens in read_documents(folder, shards)]
            arms[f"{arm.name}/{part}"] = np.array(numbers, np.int32)
    arms |= shuffled(arms, pool.documents())
    rows, kept = _held_out_rows(folder / handoff.tokenizer.path, held_out, handoff, pool)
    if not kept:
        raise InputError(
            "ablation", f"of {len(rows)} documents of {held_out} none is new to the arms",
            "part the corpus again, and run the recipe on what is left",
        )  # fmt: skip
    told = {a.name: {"tokens": a.tokens, "documents": a.documents} for a in handoff.arms}
    facts = {
        "vocabulary": handoff.vocabulary,
        "end_of_text": handoff.end_of_text,
        "fingerprints": handoff.fingerprints,
        "arms": told | {SHUFFLED: told["kept"]},
        "held_out": [{k: r[k] for k in ("doc_id", "group", "kind", "side")} for r in kept],
    }
    tokenizer = (folder / handoff.tokenizer.path).read_bytes()
    n_bytes = write_pack(out, pool.documents(), arms, kept, facts, tokenizer)
    return {
        "arms": facts["arms"], "pool_tokens": sum(map(len, pool.documents())),
        "held_out": len(kept), "left_out_as_seen": len(rows) - len(kept), "bytes": n_bytes,
    }  # fmt: skip


def shuffled(
    arms: Mapping[str, np.ndarray[Any, Any]], documents: list[Tokens]
) -> dict[str, np.ndarray[Any, Any]]:
    """The documents of `kept` in any order, so that it shows what the order alone brings."""
    base = arms["kept/base"]
    both = np.random.default_rng(0).permutation(np.concatenate([base, arms["kept/anneal"]]))
    lengths = np.array([len(documents[i]) for i in both])
    wanted = sum(len(documents[i]) for i in base)
    cut = int(np.searchsorted(lengths.cumsum(), wanted))
    return {f"{SHUFFLED}/base": both[:cut], f"{SHUFFLED}/anneal": both[cut:]}


def write_pack(
    out: Path, pool: list[Tokens], arms: Mapping[str, np.ndarray[Any, Any]],
    held_out: list[dict[str, Any]], facts: dict[str, Any], tokenizer: bytes,
) -> int:  # fmt: skip
    """Write the tar; its bytes. `held_out` rows need `tokens` and `n_bytes`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {
        "tokens.npy": np.concatenate(pool),
        "lengths.npy": np.array([len(d) for d in pool], np.uint32),
        "held_out_tokens.npy": np.concatenate([row["tokens"] for row in held_out]),
        "held_out_lengths.npy": np.array([len(row["tokens"]) for row in held_out], np.uint32),
        "held_out_bytes.npy": np.array([row["n_bytes"] for row in held_out], np.uint32),
        **{f"arms/{name}.npy": numbers for name, numbers in arms.items()},
    }
    partial = out.with_name(f"{out.name}.partial")  # a pack that is there is whole
    with tarfile.open(partial, "w:xz", preset=6) as tar:
        for name, value in {
            "pack.json": json.dumps(facts).encode(),
            "tokenizer.json": tokenizer,
            **{name: _npy(array) for name, array in arrays.items()},
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(value)
            tar.addfile(entry, io.BytesIO(value))
    n_bytes = partial.stat().st_size
    if n_bytes > MAX_PACK_BYTES:
        partial.unlink()
        raise StageError("ablation", f"{out} has {n_bytes} bytes", "lower tokenize.budget_tokens")
    partial.replace(out)
    return n_bytes


def read_documents(folder: Path, shards: Iterable[Shard]) -> Iterator[Tokens]:
    """The documents of shards in order; one read twice comes twice."""
    for shard in shards:
        tokens = np.fromfile(folder / shard.path, "<u2")
        ends = np.fromfile(folder / shard.index.path, "<u8").astype(np.int64)
        for begin, end in zip(np.concatenate([[0], ends[:-1]]), ends, strict=True):
            yield tokens[begin:end]


class Seen:
    """Which runs of 13 words of some texts stand in others too."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._runs = np.unique(np.concatenate([np.zeros(0, np.uint64), *map(runs_of, texts)]))
        self._seen = np.zeros(len(self._runs), bool)

    def look(self, text: str) -> None:
        """Take note of what stands in this text."""
        places, known = self._find(runs_of(text))
        self._seen[places[known]] = True

    def share(self, text: str) -> float:
        """Share of the runs of one of the texts that were seen; 0 where it has none."""
        places, _ = self._find(runs_of(text))
        return float(self._seen[places].mean()) if len(places) else 0.0

    def _find(self, runs: Runs) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        if not len(self._runs):
            return np.zeros(0, int), np.zeros(0, bool)
        places = np.searchsorted(self._runs, runs).clip(max=len(self._runs) - 1)
        return places, self._runs[places] == runs


def runs_of(text: str) -> Runs:
    """Hashes of the different runs of 13 words (parted by white space) of a text."""
    words = np.fromiter((hash(word) for word in text.split()), np.int64).astype(np.uint64)
    n = max(0, len(words) - RUN_WORDS + 1)
    runs = np.zeros(n, np.uint64)
    for i in range(RUN_WORDS):
        runs = runs * np.uint64(0x9E3779B97F4A7C15) + words[i : i + n]
    return np.unique(runs)


def _held_out_rows(
    tokenizer: Path, path: Path, handoff: Handoff, pool: Pool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All held-out documents, and those that no arm has seen, cut to a window, as tokens."""
    from tokenizers import Tokenizer

    known = Tokenizer.from_file(str(tokenizer))
    known.encode_special_tokens = True
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    seen = Seen(row["text"] for row in rows)
    for document in pool.documents():
        seen.look(known.decode(document.tolist()))
    kept = [row for row in rows if seen.share(row["text"]) <= MAX_SHARED_RUNS]
    for row in kept:
        ids = known.encode(row["text"], add_special_tokens=False).ids[: WINDOW_TOKENS - 1]
        row["tokens"] = np.array([handoff.end_of_text, *ids], np.uint16)
        row["n_bytes"] = len(known.decode(ids).encode())
    return rows, kept


def _handoff_folder(run: Path) -> Path:
    found = sorted(path.parent for path in run.glob("*/handoff.json"))
    if not found:
        raise InputError("ablation", f"{run} has no handoff", "run recipes/ablation.yaml first")
    return found[-1]


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
