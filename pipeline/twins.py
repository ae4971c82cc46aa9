"""Whether a piece says again what an accepted one says: in the same words, or in the same sense.

Words are compared always; sense only where a recipe names an encoder, which takes some 90 ms
a piece and is asked last. Which cosines pairs of texts have: docs/diversity.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from pipeline.config import Section
from pipeline.errors import InputError
from pipeline.near_copies import NearCopies, Signature, signature
from pipeline.near_meaning import NearMeanings, TextEncoder, Vectors, unit_vectors

_OF_AN_ENCODER = frozenset({".json", ".onnx", ".onnx_data", ".data", ".safetensors"})


class TwinsConfig(Section):
    """How alike two accepted pieces may be."""

    max_similarity: float = Field(
        0.7, gt=0.3, lt=1, description="More alike than this is a near copy (Jaccard, 5-grams)."
    )
    encoder: Path | None = Field(
        None, description="Directory of a sentence encoder; null compares words alone."
    )
    max_cosine: float = Field(
        0.95, gt=0, lt=1, description="With an encoder: more alike in sense than this is a copy."
    )


class Twins:
    """Both indices of what was accepted."""

    def __init__(self, config: TwinsConfig) -> None:
        self._copies = NearCopies(config.max_similarity)
        self._meanings = NearMeanings(config.max_cosine)
        self.encoder: TextEncoder | None = None
        if config.encoder is not None:
            self.encoder = _open(config.encoder)

    def twin_of(self, text: str) -> tuple[str, float] | None:
        """The accepted piece that shares too many of its runs of words, and its similarity."""
        return self._copies.twin_of(signature(text))

    def same_words(self, text: str) -> str | None:
        """The same in words, as evidence."""
        return _told(self.twin_of(text), "similarity")

    def settle(self, name: str, text: str) -> str | None:
        """Its twin; without one the text is accepted under this name."""
        sketch: Signature = signature(text)
        twin = _told(self._copies.twin_of(sketch), "similarity")
        vector: Vectors | None = None
        if twin is None and self.encoder is not None:
            vector = unit_vectors(self.encoder, [text])[0]
            twin = _told(self._meanings.twin_of(vector), "cosine")
        if twin is None:
            self._copies.add(name, sketch)
            if vector is not None:
                self._meanings.add(name, vector)
        return twin


def encoder_files(config: TwinsConfig) -> Iterator[tuple[str, Path]]:
    """(name, path) of what an encoder is made of: another one accepts other pieces."""
    if config.encoder is not None:
        for path in sorted(config.encoder.rglob("*")):
            if path.is_file() and path.suffix in _OF_AN_ENCODER:
                yield f"encoder/{path.relative_to(config.encoder)}", path


def _open(directory: Path) -> TextEncoder:
    from classifiers.encoder import Encoder

    try:
        return Encoder.open(directory)
    except ValueError as error:
        raise InputError(
            "synthesize", str(error), "set synthesize.twins.encoder to an encoder's directory"
        ) from error


def _told(twin: tuple[str, float] | None, measure: str) -> str | None:
    return None if twin is None else f"of {twin[0]}, {measure} {twin[1]:.2f}"
