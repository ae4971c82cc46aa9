"""What a model says of the next token, whether it lies in a GGUF file or a Hugging Face directory.

One protocol with two implementations, so that every measure of quality is the same code for both,
and a difference between them is a difference of the models. Rows of logits come in blocks of
`gguf_model.ROWS`, never the whole window at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from downstream.gguf_model import ROWS, GgufModel, Rows
from pipeline.errors import InputError


class NextTokens(Protocol):
    """A model that is asked for logits."""

    @property
    def vocabulary(self) -> int: ...

    @property
    def end_of_text(self) -> int: ...

    def tokenize(self, text: str) -> list[int]: ...

    def logits(self, tokens: Sequence[int]) -> Iterator[Rows]:
        """What follows each of the tokens: blocks of at most ROWS rows, in order."""


class TransformersModel:
    """A directory that `AutoModelForCausalLM` loads, at full precision."""

    def __init__(self, folder: Path, threads: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        torch.set_num_threads(threads)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            loaded = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, local_files_only=True
            )
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise InputError(
                "evaluate", f"transformers cannot load {folder} ({error})",
                "give a directory with config.json, weights and a tokenizer",
            ) from error  # fmt: skip
        self._model: Any = loaded.to(self._device).eval()

    @property
    def vocabulary(self) -> int:
        """Rows of the head."""
        return int(self._model.config.vocab_size)

    @property
    def end_of_text(self) -> int:
        """The token that ends, and begins, a document."""
        return int(self._tokenizer.eos_token_id)

    def tokenize(self, text: str) -> list[int]:
        """Ids of a text, nothing added."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def logits(self, tokens: Sequence[int]) -> Iterator[Rows]:
        """As the protocol says: the stream of the whole window is kept, its logits are not."""
        import torch

        with torch.inference_mode():
            ids = torch.tensor([list(tokens)], device=self._device)
            stream = self._model.base_model(input_ids=ids, use_cache=False)[0][0]
        head = self._model.get_output_embeddings()
        for begin in range(0, len(tokens), ROWS):
            # never held over a yield: the caller would compute in this mode, and perhaps stay in it
            with torch.inference_mode():
                rows = head(stream[begin : begin + ROWS]).float().cpu().numpy()
            yield rows


def open_next_tokens(
    model: Path, context_tokens: int, threads: int
) -> AbstractContextManager[NextTokens]:
    """A GGUF file or a Hugging Face directory, for the block that follows."""
    if model.is_dir():
        return nullcontext(TransformersModel(model, threads))
    return GgufModel(model, context_tokens, threads)
