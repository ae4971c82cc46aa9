"""What a card says that no manifest can know: names, people, purposes. Null is told as unknown."""

from __future__ import annotations

from pydantic import Field

from pipeline.config import Section


class CardConfig(Section):
    """What the manifests cannot know."""

    title: str = Field(
        "A corpus curated by Primer",
        min_length=3,
        pattern=r"^[^\n\r]+$",
        description="The dataset's name for people.",
    )
    summary: str = Field(
        "Web text and code, filtered for educational value, with synthetic textbooks.",
        min_length=10,
        pattern=r"^[^\n\r]+$",
        description="One sentence on what it is.",
    )
    licence: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9.-]*$",
        description="Licence of the whole, as the hub spells it (apache-2.0); null if unknown.",
    )
    creators: tuple[str, ...] = Field((), description="Who made it; none if unknown.")
    contact: str | None = Field(None, description="How its makers are reached; null if unknown.")
    address: str | None = Field(
        None, pattern="^https?://", description="Its page on the web; null if there is none."
    )
    citation: str | None = Field(None, description="How to cite it (BibTeX); null if unknown.")
    motivation: str | None = Field(None, description="Why it was made; null if unknown.")
    funding: str | None = Field(None, description="Who paid for it; null if unknown.")
    consent: str | None = Field(
        None, description="What the people behind the sources agreed to; null if unknown."
    )
    annotator_demographics: str | None = Field(
        None, description="Who the people are that labelled, if any did; null if unknown."
    )
    maintenance: str | None = Field(
        None, description="Who keeps it up, how errors are reported; null if unknown."
    )
    samples: int = Field(10, ge=1, le=1_000, description="Documents of each arm to read.")
    sample_chars: int = Field(
        1_500, ge=100, le=100_000, description="Characters of a sample at most."
    )
