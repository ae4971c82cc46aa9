"""Who the teacher is, what it may cost, and how hard it may be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from pipeline.config import HOW, Section

STANDIN_MODEL = "primer-standin-1"


class PriceTable(Section):
    """What tokens cost, as of a date."""

    input_per_million: float = Field(0.0, ge=0, description="Currency per million prompt tokens.")
    output_per_million: float = Field(
        0.0, ge=0, description="Currency per million completion tokens, reasoning included."
    )
    batch_factor: float = Field(
        0.5, ge=0, le=1, description="What a token costs in a batch, as a part of these prices."
    )
    currency: str = Field("USD", pattern="^[A-Z]{3}$", description="ISO 4217 code.")
    as_of: str | None = Field(
        None, pattern=r"^\d{4}-\d{2}-\d{2}$", description="When these prices were looked up."
    )


class BatchConfig(Section):
    """How the endpoint's Batch API is used: half the price, an answer within a day."""

    max_requests: int = Field(
        10_000, ge=1, le=50_000, description="Requests of one batch; OpenAI takes 50,000."
    )
    max_megabytes: float = Field(
        100, gt=0, le=200, description="Size of one batch's file; OpenAI takes 200 MB."
    )
    poll_seconds: float = Field(30, gt=0, le=3_600, description="Between looks at a batch.")


class TeacherConfig(Section):
    """An OpenAI-compatible endpoint, a GGUF file, or the stand-in; Primer starts the last two."""

    base_url: str | None = Field(
        None,
        pattern="^https?://",
        description="The endpoint, such as http://localhost:8000, with /v1 or without; null, "
        "without gguf, starts the rule-based stand-in, which is not an LLM, on loopback.",
    )
    gguf: Path | None = Field(
        None,
        description="A model file that Primer serves with llama.cpp on loopback instead.",
    )
    context_tokens: int = Field(
        8_192, ge=256, le=1_048_576, description="The context that a gguf is served with."
    )
    model: str = Field(STANDIN_MODEL, min_length=1, description="The model's name there.")
    key_variable: str | None = Field(
        None, description="NAME of the environment variable that holds the key; null for none."
    )
    structured_output: Literal["auto", "json_schema", "json_object", "text"] = Field(
        "auto",
        description="How JSON is asked for; auto tries what the endpoint can do, the strictest "
        "first, with a few short requests, and remembers it.",
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
        16,
        ge=1,
        le=1_024,
        description="Requests in flight at most; fewer while the endpoint is slow or pushes back.",
        json_schema_extra=HOW,
    )
    requests_per_minute: int | None = Field(
        None, ge=1, description="The endpoint's limit; null for none.", json_schema_extra=HOW
    )
    tokens_per_minute: int | None = Field(
        None,
        ge=1,
        description="The endpoint's limit, where an answer counts as its longest; null for none.",
        json_schema_extra=HOW,
    )
    batch: BatchConfig | None = Field(
        None,
        description="Ask through the Batch API, at the batch price; null asks at once.",
        json_schema_extra=HOW,
    )
    timeout_seconds: float = Field(120, gt=0, description="For one request.", json_schema_extra=HOW)
    max_retries: int = Field(
        5,
        ge=0,
        le=20,
        description="Further tries of a request after 5xx or a lost connection, and four times as "
        "many after 429.",
        json_schema_extra=HOW,
    )
    patience_seconds: float = Field(
        60,
        gt=0,
        description="How long nothing may succeed before the endpoint counts as down.",
        json_schema_extra=HOW,
    )

    @field_validator("base_url")
    @classmethod
    def _holds_no_key(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "")
        if parts.username or parts.password or parts.query:
            raise ValueError("an address holds no key: name its variable in key_variable")
        return url

    @model_validator(mode="after")
    def _is_one_teacher(self) -> Self:
        if self.gguf is not None and self.base_url is not None:
            raise ValueError("give base_url or gguf, not both")
        if self.batch is not None and self.base_url is None:
            raise ValueError("only an endpoint (base_url) has a Batch API")
        return self

    @property
    def is_llm(self) -> bool:
        """Whether the answers come from a language model, as far as the recipe says."""
        return self.base_url is not None or self.gguf is not None

    @property
    def name(self) -> str:
        """What rows, cards and reports call the teacher."""
        return self.model if self.is_llm else f"{self.model} (rule-based stand-in, not an LLM)"

    def cost(self, prompt_tokens: int, completion_tokens: int, batched: bool = False) -> float:
        """What so many tokens cost, in the prices' currency."""
        prices = self.prices
        full = (
            prompt_tokens * prices.input_per_million + completion_tokens * prices.output_per_million
        ) / 1e6
        return full * prices.batch_factor if batched else full
