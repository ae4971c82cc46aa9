"""Whether a piece says again what an accepted one says: in the same words, or in the same sense.

Words are compared always; sense only where a recipe names an encoder, which takes 50 ms a piece and
is asked last.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from pipeline.config import Section
from pipeline.near_copies import NearCopies, Signature, signature
from pipeline.near_meaning import NearMeanings, TextEncoder, Vectors, unit_vectors


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
            from classifiers.encoder import Encoder

            self.encoder = Encoder.open(config.encoder)

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


def _told(twin: tuple[str, float] | None, measure: str) -> str | None:
    return None if twin is None else f"of {twin[0]}, {measure} {twin[1]:.2f}"
