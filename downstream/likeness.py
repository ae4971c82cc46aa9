"""How alike a quantized model and its reference are: KL divergence, and the same first choice.

    python -m downstream.likeness MODEL REFERENCE VALIDATION --tokens N --bytes N --threads N

prints one JSON object. Both models run side by side over the same windows as the bits per byte, a
block of rows at a time, so that no logits are kept: the memory is that of two models and two blocks
of rows, whatever the vocabulary. KL is from the reference to the model, in nats a token
(llama.cpp's `llama-perplexity --kl-divergence` defines it so, and keeps a file of logits); it moves
where the bits per byte, in which losses and gains cancel, do not (arXiv 2407.09141).

Tokens of a document depend on each other: the standard errors are of a ratio over documents.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from downstream.gguf_model import Rows
from downstream.next_tokens import NextTokens, open_next_tokens
from downstream.perplexity import chosen_documents, windows
from pipeline.errors import InputError

Floats = npt.NDArray[np.float64]


def measure_likeness(
    model: Path, reference: Path, documents: Path, context_tokens: int, max_bytes: int,
    threads: int, own_tokens: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """KL to the reference (mean, median, 99th percentile; nats) and the share of equal choices.

    `documents` is the Parquet file of the validation set; `own_tokens` as in `measure_quality`.
    Standard errors are null for fewer than two documents.
    """
    with (
        open_next_tokens(model, context_tokens, threads) as ours,
        open_next_tokens(reference, context_tokens, threads) as theirs,
    ):
        if ours.vocabulary != theirs.vocabulary:
            raise InputError(
                "evaluate",
                f"{model} has {ours.vocabulary} tokens, {reference} {theirs.vocabulary}",
                "compare models of one tokenizer",
            )
        found = [
            _compare(ours, theirs, _tokens(theirs, row, own_tokens), context_tokens)
            for row in chosen_documents(documents, max_bytes)
        ]
    if not found:
        raise InputError("evaluate", f"no document within {max_bytes} bytes", "raise the limit")
    return _summary([kl for kl, _ in found], [same for _, same in found])


def _tokens(model: NextTokens, row: dict[str, Any], own_tokens: bool) -> list[int]:
    return model.tokenize(row["text"]) if own_tokens else list(row["tokens"])


def _compare(
    ours: NextTokens, theirs: NextTokens, tokens: list[int], context_tokens: int
) -> tuple[Floats, Floats]:
    """For each token of a document: KL in nats, and whether both would choose the same."""
    divergences, same = [], []
    for window in windows(tokens, theirs.end_of_text, context_tokens):
        told = zip(ours.logits(window[:-1]), theirs.logits(window[:-1]), strict=True)
        for mine, right in told:
            divergences.append(kl_nats(right, mine))
            same.append(mine.argmax(axis=1) == right.argmax(axis=1))
    if not divergences:
        return np.zeros(0), np.zeros(0)
    return np.concatenate(divergences), np.concatenate(same).astype(np.float64)


def kl_nats(right: Rows, ours: Rows) -> Floats:
    """KL divergence of two blocks of logits, one number a row (nats)."""
    p, q = _log_softmax(right), _log_softmax(ours)
    total: Floats = (np.exp(p) * (p - q)).sum(axis=1)
    return total


def _log_softmax(rows: Rows) -> Floats:
    shifted = (rows - rows.max(axis=1, keepdims=True)).astype(np.float64)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _summary(divergences: list[Floats], same: list[Floats]) -> dict[str, Any]:
    every = np.concatenate(divergences)
    kl, kl_error = ratio_over_documents(divergences)
    agreement, agreement_error = ratio_over_documents(same)
    return {
        "documents": len(divergences),
        "tokens": len(every),
        "kl_mean_nats": kl,
        "kl_stderr_nats": kl_error,
        "kl_median_nats": float(np.median(every)),
        "kl_99th_percentile_nats": float(np.quantile(every, 0.99)),
        "top1_agreement": agreement,
        "top1_agreement_stderr": agreement_error,
    }


def ratio_over_documents(parts: list[Floats]) -> tuple[float, float | None]:
    """The mean over all tokens and its standard error, documents being what was drawn."""
    sums = np.array([part.sum() for part in parts])
    sizes = np.array([len(part) for part in parts])
    mean, n = float(sums.sum() / sizes.sum()), len(parts)
    if n < 2:
        return mean, None
    squares = float(((sums - mean * sizes) ** 2).sum())
    return mean, math.sqrt(n / (n - 1) * squares) / float(sizes.sum())


def main(arguments: list[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m downstream.likeness")
    for name in ("model", "reference", "validation"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--bytes", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--own-tokens", action="store_true")
    given = parser.parse_args(arguments)
    told = measure_likeness(
        given.model, given.reference, given.validation, given.tokens, given.bytes, given.threads,
        given.own_tokens,
    )  # fmt: skip
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
