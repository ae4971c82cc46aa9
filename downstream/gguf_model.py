"""A GGUF file, opened for the logits of given tokens, with sequences that share a beginning.

llama-cpp-python's own class keeps one sequence and, asked for the logits of all tokens, one row of
the vocabulary for each token of the context: 2 GiB at 4,096 tokens of 128,000 words. This one goes
through llama.cpp's batches: rows come as they are computed, at most `ROWS` at once, and a prefix
that several continuations share is computed once (`hold`), then lent to each (`branch`) without a
copy, because all sequences live in one key-value cache. Flash attention is off: it rounds
differently, and scores are to equal those of transformers.

Source: `llama.h` of llama.cpp (llama_decode, llama_memory_seq_cp).
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.errors import InputError, StageError

ROWS = 128  # of logits at once: 64 MiB where the vocabulary has 128,000 tokens
Rows = npt.NDArray[np.float32]


@functools.cache
def _mute() -> Any:
    import llama_cpp

    llama_cpp.llama_backend_init()
    return llama_cpp.llama_log_callback(lambda level, text, data: None)


class GgufModel:
    """A loaded model and its key-value cache; a context manager."""

    def __init__(
        self, path: Path, context_tokens: int | None, threads: int, sequences: int = 1
    ) -> None:
        """`context_tokens` None takes what the model was trained with; `sequences` may branch."""
        import llama_cpp

        self._api: Any = llama_cpp
        self._api.llama_log_set(_mute(), ctypes.c_void_p())
        self._model = self._api.llama_model_load_from_file(
            str(path).encode(), self._api.llama_model_default_params()
        )
        if not self._model:
            raise InputError(
                "evaluate", f"llama.cpp cannot load {path}", "give a whole GGUF file of a model"
            )
        self._vocab = self._api.llama_model_get_vocab(self._model)
        self.context_tokens = context_tokens or int(self._api.llama_model_n_ctx_train(self._model))
        self.sequences = sequences
        self._context = self._open_context(threads)
        self._memory = self._api.llama_get_memory(self._context)
        self._batch_tokens = int(self._api.llama_n_batch(self._context))  # a short context's own
        self._batch = self._api.llama_batch_init(self._batch_tokens, 0, 1)
        self._held: list[int] = []

    def _open_context(self, threads: int) -> Any:
        params = self._api.llama_context_default_params()
        # branches of the longest item beside what is held
        params.n_ctx = self.context_tokens * (2 if self.sequences > 1 else 1)
        params.n_batch = params.n_ubatch = ROWS
        params.n_threads = params.n_threads_batch = threads
        params.n_seq_max = self.sequences + (self.sequences > 1)
        params.kv_unified = True
        params.flash_attn_type = self._api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        context = self._api.llama_init_from_model(self._model, params)
        if not context:
            self._api.llama_model_free(self._model)
            raise StageError(
                "evaluate", f"no memory for a context of {params.n_ctx} tokens", "take fewer"
            )
        return context

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._api.llama_batch_free(self._batch)
        self._api.llama_free(self._context)
        self._api.llama_model_free(self._model)

    @property
    def cells(self) -> int:
        """Tokens that the cache holds, of all sequences together; shared ones count once."""
        return int(self._api.llama_n_ctx(self._context))

    @property
    def vocabulary(self) -> int:
        """Tokens that the model knows."""
        return int(self._api.llama_vocab_n_tokens(self._vocab))

    @property
    def end_of_text(self) -> int:
        """The token that ends, and begins, a document."""
        return int(self._api.llama_vocab_eos(self._vocab))

    @property
    def begin_of_text(self) -> int:
        """The token before a document; where the file names none, the one that ends it."""
        begin = int(self._api.llama_vocab_bos(self._vocab))
        return self.end_of_text if begin < 0 else begin

    def ends(self, token: int) -> bool:
        """Whether this token ends an answer."""
        return bool(self._api.llama_vocab_is_eog(self._vocab, token))

    def tokenize(self, text: str, add_special: bool = False) -> list[int]:
        """Ids of a text; special tokens in it count as such, as in a Hugging Face tokenizer.

        `add_special` adds what the file says belongs before and after a text.
        """
        raw = text.encode()
        room = 3 * len(raw) + 4  # a token is at least a byte, and a blank may become three
        ids = (self._api.llama_token * room)()
        n = self._api.llama_tokenize(self._vocab, raw, len(raw), ids, room, add_special, True)
        assert n >= 0
        return list(ids[:n])

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text of ids, special ones left out."""
        given = (self._api.llama_token * len(ids))(*ids)
        size = 16 * len(ids) + 16
        for _ in range(2):
            room = ctypes.create_string_buffer(size)
            n = self._api.llama_detokenize(self._vocab, given, len(ids), room, size, False, False)
            if n >= 0:
                return room.raw[:n].decode("utf-8", "replace")
            size = -n
        raise AssertionError("llama.cpp did not keep to the size that it named")

    def logits(self, tokens: Sequence[int]) -> Iterator[Rows]:
        """What follows each of the tokens: rows of the vocabulary, in order, some at a time.

        A block of rows is valid until the next one is asked for.
        """
        n = len(tokens)
        if n > self.context_tokens:
            raise InputError(
                "evaluate", f"{n} tokens for a context of {self.context_tokens}", "take fewer"
            )
        self.hold([])
        yield from self.decode(tokens, range(n), [0] * n, [True] * n)
        self.hold([])

    def hold(self, prefix: list[int]) -> None:
        """Have exactly `prefix` in sequence 0; what it shares with what is held stays."""
        shared = count_shared(self._held, prefix)
        self._api.llama_memory_seq_rm(self._memory, 0, shared, -1)
        self._held = prefix
        n = len(prefix) - shared
        for _ in self.decode(prefix[shared:], range(shared, len(prefix)), [0] * n, [False] * n):
            pass

    def branch(self, count: int) -> None:
        """Have sequences 1 to `count` continue what is held, and no others."""
        for sequence in range(1, self.sequences + 1):
            self._api.llama_memory_seq_rm(self._memory, sequence, -1, -1)
            if sequence <= count:
                self._api.llama_memory_seq_cp(self._memory, 0, sequence, -1, -1)

    def decode(
        self, tokens: Sequence[int], positions: Sequence[int], sequences: Sequence[int],
        wanted: Sequence[bool],
    ) -> Iterator[Rows]:  # fmt: skip
        """Feed tokens, each at its position of its sequence; yield the rows of those wanted."""
        batch = self._batch
        for begin in range(0, len(tokens), self._batch_tokens):
            some = range(begin, min(begin + self._batch_tokens, len(tokens)))
            batch.n_tokens = len(some)
            for i, j in enumerate(some):
                batch.token[i], batch.pos[i] = tokens[j], positions[j]
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequences[j]
                batch.logits[i] = wanted[j]
            problem = self._api.llama_decode(self._context, batch)
            if problem:
                raise StageError(
                    "evaluate",
                    f"llama.cpp could not compute {len(some)} tokens (code {problem})",
                    "see that memory suffices, or lower the context",
                )
            rows = sum(wanted[j] for j in some)
            if rows:
                told = self._api.llama_get_logits(self._context)
                yield np.ctypeslib.as_array(told, (rows, self.vocabulary))


def count_shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    most = min(len(one), len(other))
    return next((i for i in range(most) if one[i] != other[i]), most)


def log_probabilities(
    rows: Rows, targets: Iterable[int]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """For each row of logits: nats of its target, and whether that is the likeliest."""
    ids = np.fromiter(targets, dtype=np.int64)
    most = rows.max(axis=1, keepdims=True)
    norms = np.log(np.exp((rows - most).astype(np.float64)).sum(axis=1)) + most[:, 0]
    return rows[np.arange(len(ids)), ids] - norms, rows.argmax(axis=1) == ids
