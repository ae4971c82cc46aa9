"""What follows an approved handoff: who trains, how they are told, and what a model must show.

No stage sees this section, so turning it throws no finished work away. Exactly one trigger is
given, or none: then an approved handoff waits for a trainer who comes by themselves and reports.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator

from pipeline.config import Section
from pipeline.errors import InputError
from pipeline.promotion import PromoteConfig

REPORT_KEY = "PRIMER_REPORT_KEY"
NAMES = {
    "handoff": "the absolute path of handoff.json",
    "run": "the absolute path of the run",
    "name": "the run's name",
    "arm": "the arm to train",
    "out": "an absolute path that is this attempt's own, for the model",
    "fingerprint": "the dataset's fingerprint",
    "delivery": "the id of this attempt: it is the same whenever the trigger is tried again",
    "primer": "the path of this Primer's own command",
}
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"


class DeploymentTrigger(Section):
    """Training as a run of a Prefect deployment, which may work on any machine."""

    by: Literal["deployment"] = Field(description="Started as a Prefect deployment.")
    name: str = Field(pattern=r"^[^/]+/[^/]+$", description="FLOW/DEPLOYMENT, such as train/demo.")
    parameters: dict[str, Any] = Field(
        {"run": "{name}"},
        description="Over the deployment's own; {placeholders} in their texts are filled in.",
    )

    @field_validator("parameters")
    @classmethod
    def _known(cls, given: dict[str, Any]) -> dict[str, Any]:
        _check_placeholders(given)
        return given


class CommandTrigger(Section):
    """Training as a program on this machine: arguments as they are, and never a shell.

    It goes on when the flow, the worker and the server are gone; its output is kept beside the
    journal. What its exit code says is noted, unless it reported by itself.
    """

    by: Literal["command"] = Field(description="Started as a program.")
    arguments: tuple[str, ...] = Field(
        min_length=1,
        description="Program and arguments; known in each: "
        + ", ".join(f"{{{name}}} ({meaning})" for name, meaning in NAMES.items()),
    )
    model: str | None = Field(
        "{out}",
        description="Where the model lies when it exits with 0; null for the run's own stage 11.",
    )

    @field_validator("arguments", "model")
    @classmethod
    def _known(cls, given: Any) -> Any:
        _check_placeholders(given)
        return given


class WebhookTrigger(Section):
    """Training by a signed POST to a receiver (docs/handing-over.md has one to start from)."""

    by: Literal["webhook"] = Field(description="Started by a signed POST.")
    url: str = Field(
        pattern=r"^https?://", description="Where to POST; redirects are not followed."
    )
    key_variable: str = Field(
        "PRIMER_WEBHOOK_KEY", pattern=_VARIABLE,
        description="Environment variable with the key that signs (HMAC-SHA256).",
    )  # fmt: skip
    timeout_s: float = Field(10, gt=0, le=300, description="For one try, in seconds.")
    tries: int = Field(
        6, ge=1, le=50, description="On 5xx, 408, 429 and a lost connection it is tried again."
    )
    first_wait_s: float = Field(
        1, gt=0, le=600, description="Before the second try, in seconds; doubled before each more."
    )


Trigger = Annotated[DeploymentTrigger | CommandTrigger | WebhookTrigger, Field(discriminator="by")]


class TrainingConfig(Section):
    """The handoff after the dataset: approval, trigger, report, and the rules of promotion."""

    trigger: Trigger | None = Field(
        None,
        description="Exactly one of deployment, command, webhook (`by`); null starts nothing.",
    )
    arm: str = Field("kept+synthetic", description="The arm that {arm} stands for.")
    approval_days: float = Field(
        30, gt=0, le=3_650,
        description="Days that a suspended flow waits for a person; then it is Failed, and the "
        "handoff still waits: the same command goes on.",
    )  # fmt: skip
    training_days: float = Field(
        30, gt=0, le=3_650, description="Days that a suspended flow waits for the trainer's report."
    )
    preview_address: str | None = Field(
        None,
        description="Directory (local, or s3:// and the like) that gets the preview as well.",
    )
    dataset_address: str | None = Field(
        None, description="Where a trainer elsewhere finds the run's files; told in the webhook."
    )
    report_address: str | None = Field(
        None, pattern=r"^https?://", description="Where a trainer POSTs reports, if anywhere."
    )
    report_key_variable: str = Field(
        REPORT_KEY, pattern=_VARIABLE,
        description="Environment variable with the key that signs reports (HMAC-SHA256).",
    )  # fmt: skip
    promote: PromoteConfig = Field(PromoteConfig(), description="Rules: promote or hold.")


def read_training_config(run: Path) -> TrainingConfig:
    """The section of the recipe that a run was made with, without reading the rest of it."""
    try:
        fields = yaml.safe_load((run / "recipe.yaml").read_text())
        return TrainingConfig.model_validate(fields.get("training") or {})
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise InputError(
            "handoff", f"{run / 'recipe.yaml'} has no training section that can be read ({error})",
            "correct the recipe",
        ) from error  # fmt: skip


def fill_in(given: Any, values: dict[str, str]) -> Any:
    """Texts with their placeholders filled in, once: what a value holds stays as it is."""
    if isinstance(given, str):
        return _PLACEHOLDER.sub(lambda match: values[match[1]], given)
    if isinstance(given, dict):
        return {name: fill_in(value, values) for name, value in given.items()}
    if isinstance(given, list | tuple):
        return [fill_in(value, values) for value in given]
    return given


def _check_placeholders(given: Any) -> None:
    if isinstance(given, dict):
        given = list(given.values())
    if isinstance(given, list | tuple):
        for value in given:
            _check_placeholders(value)
    elif isinstance(given, str):
        for name in _PLACEHOLDER.findall(given):
            if name not in NAMES:
                raise ValueError(f"unknown placeholder {{{name}}}; known: {', '.join(NAMES)}")
