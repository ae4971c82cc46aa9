"""What a recipe says of stage 6: what is written, from what, and what is accepted."""

from __future__ import annotations

from pydantic import Field

from pipeline.book_outline import BookConfig
from pipeline.config import HOW, Section
from pipeline.factors import PlanConfig
from pipeline.flaws import FlawsConfig
from pipeline.gate import GateConfig
from pipeline.instruction import InstructionConfig
from pipeline.rephrase import RephraseConfig
from pipeline.sandbox import SandboxConfig
from pipeline.twins import TwinsConfig


class SynthesizeConfig(Section):
    """What is written, and what is accepted."""

    textbooks: int = Field(200, ge=0, le=10_000_000, description="Slots for pieces of textbooks.")
    exercises: int = Field(100, ge=0, le=10_000_000, description="Slots for exercises.")
    rephrased: int = Field(
        0, ge=0, le=10_000_000, description="Slots for web pages rewritten in textbook style."
    )
    instructions: int = Field(
        0, ge=0, le=10_000_000, description="Slots for pairs of instruction and answer."
    )
    book: BookConfig = Field(BookConfig(), description="Whole books, section by section.")
    rephrase: RephraseConfig = Field(RephraseConfig(), description="Which pages are rewritten.")
    instruction: InstructionConfig = Field(
        InstructionConfig(), description="Which answers of pairs are refused."
    )
    plan: PlanConfig = Field(PlanConfig(), description="Of what the prompts are made.")
    flaws: FlawsConfig = Field(FlawsConfig(), description="What a lesson's text may not be.")
    gate: GateConfig = Field(GateConfig(), description="How good a piece must be.")
    max_redraws: int = Field(
        8, ge=0, le=50,
        description="Further draws of a rejected slot; where the writer finds nothing to teach in "
        "an extract, the slot has another one instead.",
    )  # fmt: skip
    max_twins_in_row: int = Field(
        3, ge=1, le=100,
        description="Near copies one after another, after which an extract is drawn no more.",
    )  # fmt: skip
    slots_at_once: int = Field(
        1_000, ge=1, le=100_000, description="Slots that are asked for in one round."
    )
    twins: TwinsConfig = Field(TwinsConfig(), description="How alike two pieces may be.")
    prose_share: float = Field(
        0.25, ge=0, le=1, description="Share of the extracts for textbooks taken from prose."
    )
    max_extracts: int = Field(
        5_000, ge=1, le=1_000_000, description="Extracts of each kind to draw from at most."
    )
    extract_chars: int = Field(
        4_000, ge=500, le=50_000, description="Characters of an extract at most."
    )
    max_answer_tokens: int = Field(
        4_000, ge=200, le=32_000, description="Tokens of an answer at most."
    )
    sandbox: SandboxConfig = Field(SandboxConfig(), description="Where code is executed.")
    workers: int = Field(
        2, ge=1, le=64, description="Pieces judged at once.", json_schema_extra=HOW
    )
