"""What `results.json` of an evaluation holds; docs/results.schema.json is made from this page.

The version goes up by one when a field changes its meaning or goes; a new field does not raise it.
Figures that were not measured, or would mislead, are null. Bits per byte need no tokenizer to be
compared; speeds hold for the named machine and build alone.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

RESULTS_VERSION = 1
RESULTS = "results.json"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Prefill(_Record):
    """Reading a prompt; spread is from lowest to highest over the median."""

    tokens: int
    seconds: float
    spread: float
    tokens_per_s: float


class Decode(_Record):
    """Telling tokens one by one after `depth_tokens` others."""

    depth_tokens: int
    tokens_per_s: float
    spread: float
    lowest: float
    highest: float


class Memory(_Record):
    """Where memory goes at a context length; null where it did not fit into this machine."""

    context_tokens: int
    weights_mib: float | None
    kv_cache_mib: float | None
    rest_mib: float | None
    kv_cache_computed_mib: float
    kv_share: float | None = Field(description="Of the three parts together.")
    kv_share_computed: float = Field(description="Of weights and cache, without the rest.")


class MatrixShare(_Record):
    """Time of decoding by kind of operation; `slowdown` is what measuring it cost."""

    depth_tokens: int
    product_share: float
    attention_share: float
    product_ms_per_token: float
    slowdown: float


class Shape(_Record):
    """What the file says of the model."""

    name: str
    layers: int
    kv_heads: int
    key_width: int
    value_width: int
    context_tokens: int
    vocabulary: int
    weights: int
    weight_bytes: int
    read_bytes_per_token: int
    kv_bytes_per_token: int


class Model(_Record):
    """One type of one arm; quality is the mean over its seeds."""

    arm: str
    type: str
    seeds: list[str]
    file_mib: float
    shape: Shape
    bits_per_weight: float
    tensors: dict[str, int] = Field(description="How many tensors really have each type.")
    fell_back: list[dict[str, Any]] = Field(
        description="Tensors whose rows did not fit: what was wanted, and what they got."
    )
    bits_per_byte: float | None
    bits_per_byte_spread: float | None = Field(description="From lowest to highest seed.")
    bits_per_byte_by_kind: dict[str, float | None]
    bits_per_byte_kept: float | None
    bits_per_byte_not_kept: float | None
    likeness: dict[str, Any] | None = Field(description="To F16: see downstream/likeness.py.")
    tasks: list[dict[str, Any]] | None = Field(description="See downstream/tasks.py.")
    prompt_tokens: int
    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    decode_spread: float
    prefill: list[Prefill]
    decode: list[Decode]
    load_s: float
    first_token_s: float = Field(description="From an empty context, the model being loaded.")
    cold_first_token_s: float = Field(description="With loading, nothing warmed up.")
    peak_mem_mib: float = Field(description="Beyond the interpreter, at the context measured.")
    interpreter_mib: float
    memory: list[Memory]
    matrix: MatrixShare | None
    decode_joules_per_token: float | None
    repetitions: int
    others_cpu_share: float | None = Field(description="Of all processors, while it was measured.")
    load_average: float
    lost_bits_per_byte: float | None
    verdict: str | None = Field(description="promote or hold; null without F16.")
    reasons: list[str]


class Results(_Record):
    """The whole of results.json."""

    results_version: int
    of: dict[str, Any] = Field(description="What was evaluated: dataset and fingerprint, or path.")
    machine: dict[str, Any] = Field(description="Processor, build, bandwidth, memory.")
    settings: dict[str, Any]
    models: list[Model]
    comparisons: list[dict[str, Any]] = Field(description="See downstream/differences.py.")
    baselines: dict[str, float | None] = Field(description="Bits per byte without a model.")
    gate: dict[str, Any] = Field(description="verdict, recommended type by arm, reasons.")
    claims: list[dict[str, str]] = Field(description="claim, verdict, figures.")
    profiles: list[dict[str, Any]] = Field(description="The devices, with sources.")
    predictions: list[dict[str, Any]] = Field(description="Each model on each device.")
    recommendations: list[dict[str, Any]] = Field(description="One a device.")
    check_here: list[dict[str, Any]] = Field(description="This machine, predicted and measured.")


def results_schema() -> str:
    """The JSON schema of `results.json`."""
    return json.dumps(Results.model_json_schema(), indent=1, sort_keys=True) + "\n"
