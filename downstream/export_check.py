"""An exported file held against the directory that it was made of, by transformers and tokenizers.

Two things are checked on every export, because a mistake in either loads and runs:

    tokens    llama.cpp cuts odd text (accents, CJK, emoji, blanks, digits, code) into the same ids
    logits    over a text's tokens, as distributions (KL) and as numbers

F16 rounds each weight, and llama.cpp the activations too, by up to 1 part in 2,048, so the logits
of a right file differ by a share of their own span. Measured: 0.006 of 20 (0.03 %) in models of the
demo, 0.1 of 31 (0.3 %) in one trained longer for Q4_0 (benchmarks/quantizing.py), at a mean KL
below 1e-5. Without the permutation of q and k logits are off by whole units and the KL is 0.5.
Hence the limits: 0.02, or 1 % of the span where that is more, and a KL of 0.001.

Cost: one pass of both models over the text; the reference takes 4 bytes a parameter.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from downstream.export_tokenizer import read_tokenizer
from downstream.gguf_model import GgufModel, count_shared
from pipeline.errors import StageError

MAX_KL_NATS = 1e-3
MAX_LOGIT_DIFFERENCE = 0.02
MAX_SHARE_OF_SPAN = 0.01  # where logits are so large that 0.02 is finer than F16 itself
CHECK_TEXT = (
    "def area(width, height):\n    return width * height  # naïve, über, 面積, 🙂\n"
    "The area of a rectangle is its width times its height, because each row has the same length."
)
ODD_TEXTS = (
    CHECK_TEXT,
    "Ça coûte 12 €; 面積は幅×高さ。 한국어 🙂👩\u200d🚀 Привет, мир! שלום",
    "\tif x == 3.14159 or y >= 1234567:\r\n        print(f'{x!r}')  \n\n\n",
    " a blank first, then  two,   three; it's we'll DON'T I'M 've __init__ a_b != ==",
    "<|end <|x|> <s >",
)


def check_export(model: Path, exported: Path, tokens: list[int] | None = None) -> dict[str, float]:
    """Compare tokens and logits; StageError where they differ by more than rounding does.

    Returns the largest difference of a logit, the span of the logits and the mean KL in nats.
    """
    taken = tokens or check_tokens(model)
    right = _right_logits(model, taken).astype(np.float64)
    ours = _logits_of(model, exported, taken).astype(np.float64)
    kl_nats = float(np.mean(_kl(right, ours)))
    difference = float(np.abs(right - ours).max())
    span = float(right.max() - right.min())
    allowed = max(MAX_LOGIT_DIFFERENCE, MAX_SHARE_OF_SPAN * span)
    if not (kl_nats < MAX_KL_NATS and difference < allowed):
        raise StageError(
            "quantize",
            f"{exported.name} does not compute what {model.name} does: KL {kl_nats:.4g} nats, a "
            f"logit differs by {difference:.4g}",
            f"at most {MAX_KL_NATS} and {allowed:.4g} may be; this is a bug in the export, please "
            "report it",
        )
    return {"max_logit_difference": difference, "logit_span": span, "kl_nats": kl_nats}


def check_tokens(model: Path) -> list[int]:
    """The tokens of a short text, begun as the model begins one."""
    config = json.loads((model / "config.json").read_text())
    begin = config.get("bos_token_id")
    ids = open_tokenizer(model).encode(CHECK_TEXT, add_special_tokens=False).ids
    return [*([] if begin is None else [begin]), *ids][: config["max_position_embeddings"]]


def open_tokenizer(model: Path) -> Any:
    """The tokenizer of a directory, by the library `tokenizers`."""
    from tokenizers import Tokenizer

    return Tokenizer.from_str(json.dumps(read_tokenizer(model)))


def _right_logits(model: Path, tokens: list[int]) -> npt.NDArray[Any]:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # the stage has a bar of its own
    reference = AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32, local_files_only=True
    ).eval()
    with torch.inference_mode():
        logits: npt.NDArray[Any] = reference(torch.tensor([tokens])).logits[0].numpy()
    return logits


def _logits_of(model: Path, exported: Path, tokens: list[int]) -> npt.NDArray[Any]:
    with GgufModel(exported, len(tokens), threads=1) as llama:
        _check_tokens_of(model, llama)
        return np.concatenate([rows.copy() for rows in llama.logits(tokens)])


def _check_tokens_of(model: Path, llama: Any) -> None:
    record = read_tokenizer(model)
    # where a text begins with a blank, newer ones of Llama 2's kind put none before; llama.cpp does
    spares_blank = "Metaspace" in json.dumps(record.get("pre_tokenizer"))
    tokenizer = open_tokenizer(model)
    for odd in ODD_TEXTS:
        text = odd.lstrip(" ") if spares_blank else odd
        wanted = tokenizer.encode(text, add_special_tokens=False).ids
        found = llama.tokenize(text)
        if found != wanted:
            at = count_shared(found, wanted)
            raise StageError(
                "quantize",
                f"llama.cpp cuts {text!r} into other tokens than {model.name}: after {at} equal "
                f"ones {found[at : at + 3]}, not {wanted[at : at + 3]}",
                "this tokenizer cannot be said in a GGUF file; please report it",
            )


def _kl(right: npt.NDArray[Any], ours: npt.NDArray[Any]) -> npt.NDArray[Any]:
    p, q = log_softmax(right), log_softmax(ours)
    total: npt.NDArray[Any] = (np.exp(p) * (p - q)).sum(axis=-1)
    return total


def log_softmax(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Log-probabilities in nats over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: npt.NDArray[Any] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
