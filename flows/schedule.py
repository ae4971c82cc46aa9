"""When the flows of a recipe run by themselves, and how patient they are.

No stage sees this section, so nothing in it changes what a run makes or throws finished work away.
`flows.deployments` turns it into Prefect's schedules, triggers and limits.
"""

from __future__ import annotations

from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from pipeline.config import Section


class FlowSchedule(Section):
    """When one flow runs, and what it puts up with."""

    cron: str | None = Field(
        None,
        pattern=r"^(@(hourly|daily|midnight|weekly|monthly|yearly|annually)|\S+( +\S+){4})$",
        description="Five fields, such as `30 2 * * *`; null runs it when asked only.",
    )
    interval_s: int | None = Field(
        None, ge=10, le=31_536_000, description="Instead of cron: one run each so many seconds."
    )
    runs_at_once: int = Field(1, ge=1, le=100, description="Runs of this deployment at once.")
    when_busy: Literal["wait", "cancel"] = Field(
        "wait", description="What a run does that finds as many at work."
    )
    retries: int = Field(
        3, ge=0, le=20, description="More tries of a stage that network, teacher or store failed."
    )
    backoff_s: float = Field(
        30.0, gt=0, le=3_600, description="Before the second try (s); each wait doubles the last."
    )
    time_limit_s: float | None = Field(
        None, gt=0, description="A stage that takes longer fails, and can be gone on with (s)."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> FlowSchedule:
        if self.cron is not None and self.interval_s is not None:
            raise ValueError("cron and interval_s are both set; take one")
        return self


class WatchConfig(Section):
    """An address where new shards arrive: when some have, the dataset gets a new version."""

    address: str = Field(
        min_length=1, description="A directory or glob, here or where fsspec reaches (s3://)."
    )
    include: tuple[str, ...] = Field(("*",), description="Patterns of relative paths.")
    interval_s: int = Field(300, ge=10, le=86_400, description="Between two looks (s).")
    quiet_s: int = Field(
        30, ge=0, le=86_400, description="A local file changed since may still be written to (s)."
    )


class ScheduleConfig(Section):
    """The schedules of a recipe's deployments; all are off unless they are set."""

    timezone: str = Field("UTC", description="Of every cron, such as Europe/Berlin.")
    curate: FlowSchedule = Field(FlowSchedule(), description="Sources to handoff, new shards only.")
    label: FlowSchedule = Field(FlowSchedule(), description="Sources to labels.")
    synthesize: FlowSchedule = Field(FlowSchedule(), description="Sources to textbooks.")
    handoff: FlowSchedule = Field(FlowSchedule(), description="Preview, approval, training.")
    train: FlowSchedule = Field(FlowSchedule(), description="One model for each arm.")
    evaluate: FlowSchedule = Field(FlowSchedule(), description="Quantized models, measured.")
    watch: WatchConfig | None = Field(
        None, description="Where new shards arrive; null looks nowhere."
    )

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"no time zone is called {name!r}") from None
        return name
