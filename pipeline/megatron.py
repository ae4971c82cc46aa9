"""Megatron's indexed dataset: `.bin` and `.idx`, for those who train with Megatron-LM or NeMo.

Written from the description of the format in Megatron-LM (megatron/core/datasets/
indexed_dataset.py): the `.idx` is the marker `MMIDIDX` and two zero bytes, then little-endian a
version (uint64, 1), the code of the ids' type (uint8), the number of sequences S (uint64), the
number of entries D of the document index (uint64), S lengths (int32), S byte offsets (int64) and
D sequence numbers (int64) at which documents begin, the last being S. A document is one sequence
here. Of the types, uint16 is 8 and int32 is 4: there is no uint32, and no id needs it.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.mixed_stage import MixedStage
from pipeline.token_shards import read_blocks
from pipeline.token_store import TokenStore

MARKER = b"MMIDIDX\x00\x00"
VERSION = 1
TYPE_CODES = {"<u2": 8, "<i4": 4}


def write_megatron(prefix: Path, stage: MixedStage, store: TokenStore) -> None:
    """Write a stage of an arm as `<prefix>.bin` and `<prefix>.idx`."""
    dtype: np.dtype[Any] = np.dtype("<u2" if store.dtype.itemsize == 2 else "<i4")
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with prefix.with_suffix(".bin").open("wb") as file:
        for tokens, _ in read_blocks(stage, store):
            file.write(tokens.astype(dtype).tobytes())
    lengths = stage.lengths
    offsets = (np.cumsum(lengths) - lengths) * dtype.itemsize
    begins = np.arange(len(lengths) + 1)
    with prefix.with_suffix(".idx").open("wb") as file:
        file.write(MARKER)
        file.write(struct.pack("<QB", VERSION, TYPE_CODES[dtype.str]))
        file.write(struct.pack("<QQ", len(lengths), len(begins)))
        for column, kind in ((lengths, "<i4"), (offsets, "<i8"), (begins, "<i8")):
            file.write(column.astype(kind).tobytes())
