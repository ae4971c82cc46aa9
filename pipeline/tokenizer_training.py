"""The tokenizer: a byte-level BPE trained on a stratified sample, or one that is given.

Trained is GPT-2's scheme: any text comes back byte for byte, none is unknown. The sample is drawn
by a hash of the documents' ids from what is not held out. Every source has an equal part of it, or
all that it has, and what small ones leave is shared out: tokens are learnt for all kinds of text,
not for the largest alone. A given `tokenizer.json` must bring text back as exactly, and must have a
token for the end of a text.

What it costs: the sample in memory, and about a second a megabyte on two cores. Source: byte-level
BPE as in GPT-2 (Radford et al. 2019), trained by Hugging Face's `tokenizers`.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.arms import read_once
from pipeline.errors import InputError
from pipeline.mixture import share_out
from pipeline.splits import ValidationConfig, in_validation, place_of
from pipeline.stage import Sealed

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
END_OF_TEXT = "<|endoftext|>"
KNOWN_ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "[EOS]")
ODD_TEXT = (
    "Ça coûte 12 €; naïve ﬁligree e\u0301; 面積は幅×高さ。 한국어 🙂👩\u200d🚀\n\n\tdef f(x):\r\n"
    "        return x['ключ']  # it's we'll 3.14 \x00 end.  "
)


def train_tokenizer(
    arms: Sealed, vocabulary: int, max_bytes: int, seed: int, held_out: ValidationConfig
) -> Tokenizer:
    """A byte-level BPE on a sample of at most `max_bytes` of all arms."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        _sample(arms, max_bytes, seed, held_out),
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[END_OF_TEXT],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.encode_special_tokens = True  # text that spells out the end of text ends nothing
    return tokenizer


def load_tokenizer(path: Path, end: str | None) -> tuple[Tokenizer, str]:
    """A given tokenizer, checked, and its token for the end of a text.

    Raises InputError where it does not bring text back, or where the end is not known.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise InputError(
            "tokenize", f"{path} is not a tokenizer ({error})",
            "give the tokenizer.json of Hugging Face's tokenizers",
        ) from error  # fmt: skip
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    _check_round_trip(path, tokenizer)
    return tokenizer, _find_end(path, tokenizer, end)


def _find_end(path: Path, tokenizer: Tokenizer, end: str | None) -> str:
    found = [name for name in ([end] if end else KNOWN_ENDS) if tokenizer.token_to_id(name)
             is not None]  # fmt: skip
    if not found:
        asked = repr(end) if end else f"any of {', '.join(KNOWN_ENDS)}"
        special = [t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special]
        raise InputError(
            "tokenize",
            f"{path} has no token {asked}; its special tokens are {special[:20]}",
            "name the one that ends a text in tokenize.end_of_text",
        )
    return found[0]


def _check_round_trip(path: Path, tokenizer: Tokenizer) -> None:
    for text in (ODD_TEXT, *KNOWN_ENDS):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        back = tokenizer.decode(ids, skip_special_tokens=False)
        if back != text:
            at = next((i for i, (a, b) in enumerate(zip(text, back, strict=False)) if a != b),
                      min(len(text), len(back)))  # fmt: skip
            raise InputError(
                "tokenize",
                f"{path} does not bring text back: {text[at : at + 12]!r} became "
                f"{back[at : at + 12]!r}",
                "give a byte-level tokenizer without normalization, or leave tokenize.tokenizer "
                "null to train one",
            )


def _sample(arms: Sealed, max_bytes: int, seed: int, held_out: ValidationConfig) -> list[str]:
    """Beginnings of documents in the order of a hash, with equal parts of every source."""
    places, sizes, source_of = array("d"), array("q"), array("q")
    sources: dict[str, int] = {}
    for batch in read_once(arms, ["doc_id", "group", "source", "text"]):
        for row in batch.to_pylist():
            if not in_validation(row["group"], seed, held_out):
                places.append(place_of(row["doc_id"], seed, "tokenizer"))
                sizes.append(len(row["text"].encode()))
                source_of.append(sources.setdefault(row["source"], len(sources)))
    taken = _taken(np.array(places), np.array(sizes), np.array(source_of), sources, max_bytes)
    found: list[tuple[float, str]] = []
    n = 0
    for batch in read_once(arms, ["doc_id", "group", "text"]):
        for row in batch.to_pylist():
            if not in_validation(row["group"], seed, held_out):
                if taken[n]:
                    head = row["text"].encode()[: taken[n]].decode("utf-8", "ignore")
                    found.append((places[n], head))
                n += 1
    return [text for _, text in sorted(found)]


def _taken(
    places: Floats, sizes: Ints, source_of: Ints, sources: dict[str, int], max_bytes: int
) -> Ints:
    """int64[documents]: bytes of the sample that each gives."""
    taken = np.zeros(len(sizes), np.int64)
    names = sorted(sources)  # the parts must not depend on the order of reading
    there = [int(sizes[source_of == sources[name]].sum()) for name in names]
    for name, part in zip(names, share_out(max_bytes, [1.0] * len(names), there), strict=True):
        mine = np.flatnonzero(source_of == sources[name])
        order = mine[np.argsort(places[mine])]
        before = np.cumsum(sizes[order]) - sizes[order]
        taken[order] = np.clip(part - before, 0, sizes[order])
    return taken
