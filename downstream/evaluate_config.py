"""What is measured, and what a quantized model may lose."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from downstream.gate import GateConfig
from downstream.profiles import Budget
from downstream.task_config import TasksConfig
from pipeline.config import Section


class LikenessConfig(Section):
    """KL divergence from F16, and how often both put the same token first."""

    max_bytes: int = Field(20_000, ge=100, description="Held-out text compared on (bytes).")


class BudgetConfig(Section):
    """What the user of a device grants; null is no limit."""

    context_tokens: int = Field(2_048, ge=16, description="Context whose cache must fit.")
    min_decode_tokens_per_s: float | None = Field(
        10.0, gt=0, description="Slower types are not recommended (tokens/s)."
    )
    max_first_token_s: float | None = Field(
        None, gt=0, description="Types whose first token comes later are not recommended (s)."
    )
    max_memory_mib: float | None = Field(
        None, gt=0, description="Types that take more are not recommended (MiB)."
    )

    def granted(self) -> Budget:
        """As the profiles take it."""
        return Budget(**self.model_dump())


class EvaluateConfig(Section):
    """What is measured, and what a quantized model may lose."""

    context_tokens: int = Field(256, ge=16, le=131_072, description="Window of quality (tokens).")
    max_validation_bytes: int = Field(
        100_000, ge=100, description="Held-out text that each model is scored on (bytes)."
    )
    likeness: LikenessConfig | None = Field(
        LikenessConfig(), description="Likeness to F16; null to leave it out."
    )
    tasks: TasksConfig | None = Field(None, description="Benchmark tasks; null for none.")
    prompt_tokens: int = Field(
        128, ge=4, le=131_072, description="Prompt of the prefill figure and of the first token."
    )
    prompts: tuple[int, ...] = Field(
        (32, 512, 2_048, 4_096), max_length=16,
        description="Further prompts to read (tokens); those beyond the context are left out.",
    )  # fmt: skip
    decode_tokens: int = Field(64, ge=4, le=131_072, description="Tokens decoded at each depth.")
    depths: tuple[int, ...] = Field(
        (0, 128, 1_024), min_length=1, max_length=16,
        description="Tokens before those that are decoded; those beyond the context are left out.",
    )  # fmt: skip
    repetitions: int = Field(3, ge=1, le=100, description="Rounds of speed over all models.")
    memory_contexts: tuple[int, ...] = Field(
        (32_000,), max_length=16, description="Contexts at which memory is split (tokens)."
    )
    share_tokens: int | None = Field(
        8, ge=2, le=1_024,
        description="Tokens decoded, four times, for the share of matrix products; null for none.",
    )  # fmt: skip
    threads: int = Field(2, ge=1, le=256, description="Threads of llama.cpp, pinned.")
    gate: GateConfig = Field(GateConfig(), description="What a quantized model may lose.")
    budget: BudgetConfig = Field(BudgetConfig(), description="What a device must grant.")

    @field_validator("prompts", "depths", "memory_contexts")
    @classmethod
    def _counts(cls, tokens: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        least = 0 if info.field_name == "depths" else 1
        for count in tokens:
            if count < least:
                raise ValueError(f"{count} tokens are too few; give {least} or more")
        return tokens
