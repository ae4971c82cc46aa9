"""What a recipe says of stage 4: the forest, its tuning and calibration, what the cut is for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config import HOW, Section


class KeepShare(Section):
    """Keep the best part of the corpus."""

    kind: Literal["keep_share"] = Field("keep_share", description="A share of the corpus.")
    value: float = Field(0.3, gt=0, le=1, description="Share of the corpus's documents to keep.")


class PrecisionFloor(Section):
    """Keep as much as possible while enough of it is good."""

    kind: Literal["precision_floor"] = Field("precision_floor", description="A precision to reach.")
    value: float = Field(0.8, gt=0, lt=1, description="Least precision of the positive class.")


class ExpectedScore(Section):
    """Keep what is expected to score at least so much."""

    kind: Literal["expected_score"] = Field(
        "expected_score", description="An expected score to reach."
    )
    value: float = Field(3.0, ge=0, le=5, description="Least expected score, 0 to 5.")


class TokenBudget(Section):
    """Keep the best of the corpus, as much as a training run will read."""

    kind: Literal["token_budget"] = Field("token_budget", description="A number of tokens.")
    value: int = Field(1_000_000_000, ge=1, description="Tokens of the corpus to keep at most.")
    bytes_per_token: float = Field(
        4.0, ge=1, le=16,
        description="Bytes of text in a token; about 4 for English and a large vocabulary.",
    )  # fmt: skip


class Tuning(Section):
    """A search for better settings of the forest, bounded in forests grown, not in seconds."""

    settings: int = Field(
        12, ge=2, le=100, description="Settings tried, the recipe's own first, each on every fold."
    )
    trees: int = Field(60, ge=10, le=2_000, description="Trees in each forest that is tried.")


class TrainFilterConfig(Section):
    """The forest that learns from the labels, and where it cuts."""

    positive_score_min: int = Field(
        3, ge=1, le=5, description="A label of at least this score (0 to 5) is positive."
    )
    purpose: Annotated[
        KeepShare | PrecisionFloor | ExpectedScore | TokenBudget, Field(discriminator="kind")
    ] = Field(KeepShare(), description="What the threshold is for: what it must reach.")
    trees: int = Field(200, ge=10, le=2_000, description="Trees in the forest.")
    max_depth: int | None = Field(
        20, ge=1, le=64, description="Levels of a tree at most; null for no limit."
    )
    min_samples_leaf: int = Field(3, ge=1, le=1_000, description="Labels in a leaf at least.")
    folds: int = Field(5, ge=2, le=20, description="Parts of the training labels, by group.")
    tuning: Tuning | None = Field(
        None, description="Search for better settings of the forest; null to take those given here."
    )
    calibration: Literal["isotonic", "platt", "auto"] = Field(
        "platt",
        description="How votes become probabilities; auto takes the lower cross-validated Brier.",
    )
    learning_curve_draws: int | None = Field(
        4, ge=2, le=50,
        description="Random orders of the labels for the learning curve; null for no curve.",
    )  # fmt: skip
    embedding_dimensions: int = Field(
        32, ge=2, le=256, description="Axes of the word embedding that is trained on the corpus."
    )
    embedding_buckets: int = Field(
        16_384, ge=256, le=1_048_576, description="Rows of the embedding's table of hashed words."
    )
    corpus_sample: int = Field(
        2_000, ge=50, le=100_000,
        description="Documents drawn from the corpus for the embedding and for the kept share.",
    )  # fmt: skip
    workers: int = Field(
        2, ge=1, le=256, description="Trees grown at a time.", json_schema_extra=HOW
    )
