"""Who the teacher is, what it may cost, and how hard it may be asked."""

from __future__ import annotations

from pydantic import Field

from pipeline.config import HOW, Section

STANDIN_MODEL = "primer-standin-1"


class PriceTable(Section):
    """What tokens cost, as of a date."""

    input_per_million: float = Field(0.0, ge=0, description="Currency per million prompt tokens.")
    output_per_million: float = Field(
        0.0, ge=0, description="Currency per million completion tokens."
    )
    currency: str = Field("USD", pattern="^[A-Z]{3}$", description="ISO 4217 code.")
    as_of: str | None = Field(
        None, pattern=r"^\d{4}-\d{2}-\d{2}$", description="When these prices were looked up."
    )


class TeacherConfig(Section):
    """An OpenAI-compatible endpoint, or the stand-in that Primer starts itself."""

    base_url: str | None = Field(
        None,
        pattern="^https?://",
        description="The endpoint, such as http://localhost:8000/v1; null starts the rule-based "
        "stand-in, which is not an LLM, on loopback.",
    )
    model: str = Field(STANDIN_MODEL, min_length=1, description="The model's name there.")
    key_variable: str | None = Field(
        None, description="NAME of the environment variable that holds the key; null for none."
    )
    prices: PriceTable = Field(PriceTable(), description="What tokens cost.")
    max_cost: float | None = Field(
        None,
        ge=0,
        description="Hard cap in the prices' currency for one stage; it counts what is in flight "
        "and is never passed. Null for no cap.",
        json_schema_extra=HOW,
    )
    max_concurrency: int = Field(
        16, ge=1, le=1_024, description="Requests in flight.", json_schema_extra=HOW
    )
    timeout_seconds: float = Field(120, gt=0, description="For one request.", json_schema_extra=HOW)
    max_retries: int = Field(
        5,
        ge=0,
        le=20,
        description="Further tries of a request after 429, 5xx or a lost connection.",
        json_schema_extra=HOW,
    )

    @property
    def is_llm(self) -> bool:
        """Whether the answers come from a language model, as far as the recipe says."""
        return self.base_url is not None

    @property
    def name(self) -> str:
        """What rows, cards and reports call the teacher."""
        return self.model if self.is_llm else f"{self.model} (rule-based stand-in, not an LLM)"

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What so many tokens cost, in the prices' currency."""
        prices = self.prices
        return (
            prompt_tokens * prices.input_per_million + completion_tokens * prices.output_per_million
        ) / 1e6
