"""A model as the lm-evaluation-harness takes it, and its plain answers to prompts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_BATCH = 8  # sequences at once through transformers


@contextlib.contextmanager
def open_lm(model: Path, context_tokens: int | None, seed: int, threads: int) -> Iterator[Any]:
    """lm-eval's own `hf` for a directory, ours over llama.cpp for a GGUF file."""
    import torch

    torch.set_num_threads(threads)
    if model.is_dir():
        from lm_eval.models.huggingface import HFLM

        yield HFLM(
            pretrained=str(model), dtype="float32", batch_size=_BATCH, max_length=context_tokens,
            device="cuda" if torch.cuda.is_available() else "cpu",
        )  # fmt: skip
    else:
        from downstream.gguf_model import GgufModel
        from downstream.llama_cpp_lm import SEQUENCES, LlamaCppLM

        with GgufModel(model, context_tokens, threads, SEQUENCES) as opened:
            yield LlamaCppLM(opened, seed)


def answer_prompts(
    model: Path, prompts: Sequence[str], answer_tokens: int, threads: int
) -> list[str]:
    """What the model writes after each prompt, greedily, up to the end of text."""
    asked = {"until": [], "max_gen_toks": answer_tokens, "do_sample": False}
    with open_lm(model, None, 0, threads) as lm:
        from lm_eval.api.instance import Instance

        requests = [
            Instance("generate_until", {}, (prompt, asked), i) for i, prompt in enumerate(prompts)
        ]
        answers: list[str] = lm.generate_until(requests, disable_tqdm=True)
    return answers
