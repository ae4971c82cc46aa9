"""Token shards as datatrove and nanotron read them: `.ds`, `.ds.index` and `.ds.metadata`.

`.ds` is ids, little-endian uint16 or uint32; `.ds.index` the end of every document in tokens,
uint64. datatrove's own `TokenizedFile` writes them, so that they are what its readers expect. Its
steps around it, `DocumentTokenizer` and `DocumentTokenizerMerger`, are not used: they shuffle by
the number of files, cannot mix nor cut to a number of tokens, and tokenize each arm anew
(docs/mixing.md has the figures). A document that is cut still ends with the end of text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.mixed_stage import MixedStage
from pipeline.token_store import Ints, TokenStore

Tokens = npt.NDArray[np.unsignedinteger[Any]]
_BLOCK_TOKENS = 4_000_000  # written at once
INDEX = ".index"


def write_shards(
    folder: Path, stage: MixedStage, store: TokenStore, max_tokens: int,
    advance: Callable[..., None],
) -> list[Path]:  # fmt: skip
    """Write a stage of an arm as shards of at most so many tokens, documents kept whole."""
    from datatrove.pipeline.tokens.tokenizer import TokenizedFile

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (first, last) in enumerate(_shards(stage.lengths, max_tokens)):
        name = f"{number:05}.ds"
        file = TokenizedFile(
            str(folder), name, tokenizer_name_or_path="tokenizer.json", save_final_metadata=True,
            token_size=store.dtype.itemsize,
        )  # fmt: skip
        part = MixedStage(stage.rows[first:last], stage.lengths[first:last], stage.by_cell)
        for tokens, ends in read_blocks(part, store):
            file.write_bytes(tokens.tobytes(), ends.tolist())
            advance(len(ends))
        file.close()
        paths.append(folder / name)
    return paths


def read_blocks(stage: MixedStage, store: TokenStore) -> Iterator[tuple[Tokens, Ints]]:
    """The tokens of the documents in order, a block at a time, and where each ends in the block."""
    spilled = store.tokens()
    for first, last in _shards(stage.lengths, _BLOCK_TOKENS):
        lengths = stage.lengths[first:last]
        ends = np.cumsum(lengths)
        block = np.empty(int(ends[-1]), store.dtype)
        starts = store.start[stage.rows[first:last]]
        for start, length, end in zip(starts, lengths, ends, strict=True):
            block[end - length : end] = spilled[start : start + length]
        block[ends - 1] = store.end_of_text  # of a whole document it is so already
        yield block, ends


def read_index(path: Path) -> npt.NDArray[np.uint64]:
    """The ends of a shard's documents, in tokens from the shard's begin."""
    return np.fromfile(path.with_name(path.name + INDEX), "<u8")


def _shards(lengths: Ints, max_tokens: int) -> Iterator[tuple[int, int]]:
    """Ranges of documents with at most so many tokens, but at least one document."""
    ends = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + max_tokens, "right")))
        yield first, last
        first = last
