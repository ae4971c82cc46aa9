"""This interpreter's own library as a handoff: a file is a document, held out by file.

Made by hand, without a run before it: the benchmark of the trainer needs text that is on every
machine, and the trainer reads nothing but a handoff.
"""

from __future__ import annotations

import hashlib
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pipeline.handoff_record import (
    Arm,
    Contamination,
    HandedFile,
    Handoff,
    Shard,
    TrainingRecipe,
    Validation,
)

END = "<|endoftext|>"
HELD_OUT_ONE_IN = 20
# others' sources, tests with their tables, and a program that not every Python brings
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib"}


def read_library() -> tuple[list[str], list[str]]:
    """Texts to train on, in the order of a hash of their paths, and those that it holds out."""
    root = Path(sysconfig.get_path("stdlib"))
    found: list[tuple[int, str]] = []
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if not LEFT_OUT & set(name.parts):
            digest = hashlib.md5(name.as_posix().encode(), usedforsecurity=False).hexdigest()
            found.append((int(digest, 16), path.read_text(errors="replace")))
    found = sorted((place, text) for place, text in found if text.strip())
    train = [text for place, text in found if place % HELD_OUT_ONE_IN]
    return train, [text for place, text in found if not place % HELD_OUT_ONE_IN]


def train_tokenizer(texts: list[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE of these texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=[END], show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )  # fmt: skip
    return tokenizer


def make_handoff(folder: Path, vocabulary: int, anneal_share: float) -> Handoff:
    """Write shards, tokenizer and held-out documents, and return the record that names them."""
    train, held_out = read_library()
    tokenizer = train_tokenizer(train, vocabulary)
    tokenizer.save(str(folder / "tokenizer.json"))
    end = tokenizer.token_to_id(END)
    ids = [np.array([*e.ids, end], "<u2") for e in tokenizer.encode_batch(train)]
    early = round(len(ids) * (1 - anneal_share))
    rows = [
        {"doc_id": f"held-out-{i}", "kind": "code", "source": "library", "text": text,
         "n_bytes": len(text.encode()), "tokens": encoded.ids}
        for i, (text, encoded) in enumerate(
            zip(held_out, tokenizer.encode_batch(held_out), strict=True)
        )
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "held_out.parquet")
    parts = {"base": ids[:early], "anneal": ids[early:]}
    shards = {name: [_write(folder, name, part)] for name, part in parts.items()}
    tokens = sum(s.tokens for of_part in shards.values() for s in of_part)
    return Handoff(
        handoff_version=2, dataset="library", fingerprints={}, vocabulary=vocabulary,
        tokenizer=_handed(folder, "tokenizer.json"), end_of_text=end,
        token_dtype="uint16",  # noqa: S106  # no password
        arms=[Arm(name="library", tokens=tokens, documents=len(ids), synthetic_tokens=0,
                  licences={"PSF-2.0": len(ids)}, **shards)],
        validation=Validation(
            documents=_handed(folder, "held_out.parquet"),
            tokens=sum(len(row["tokens"]) for row in rows),
            bytes=sum(row["n_bytes"] for row in rows),
        ),
        mixture={}, contamination=Contamination(verdict="not searched"), teacher={},
        card=_handed(folder, "tokenizer.json"),
        suggestion=TrainingRecipe(
            preset="1M", parameters=1_000_000, tokens=tokens, tokens_per_parameter=1.0,
            schedule="warm up, stay, decay", decay_share=anneal_share,
        ),
    )  # fmt: skip


def _write(folder: Path, name: str, documents: list[np.ndarray[Any, Any]]) -> Shard:
    path = folder / f"{name}.ds"
    whole = np.concatenate(documents)
    path.write_bytes(whole.tobytes())
    ends = np.cumsum([len(ids) for ids in documents]).astype("<u8")
    (folder / f"{name}.ds.index").write_bytes(ends.tobytes())
    return Shard(
        **_handed(folder, path.name).model_dump(),
        tokens=len(whole),
        index=_handed(folder, f"{name}.ds.index"),
    )


def _handed(folder: Path, name: str) -> HandedFile:
    data = (folder / name).read_bytes()
    return HandedFile(path=name, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
