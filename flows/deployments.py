"""A recipe's deployments as `prefect.yaml` words them: one table for one machine and for several.

`primer serve` registers it itself; `primer serve --dry-run` prints it as a prefect.yaml, for
`prefect deploy --all` and as many workers as there are machines. A deployment runs in the folder
that its worker was started in, where the recipe's relative paths and the runs are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from flows.bootstrap import TAG, WORK_POOL
from flows.new_shards import ARRIVED, dataset_resource
from flows.recipe import Recipe
from flows.schedule import FlowSchedule

FLOWS = ("curate", "label", "synthesize", "handoff", "train", "evaluate")
_APPENDING = {"curate", "label", "synthesize"}  # a scheduled run sees only what is new
_BUSY = {"wait": "ENQUEUE", "cancel": "CANCEL_NEW"}
_ANCHOR = "2020-01-01T00:00:00+00:00"  # of intervals: they stay where they are when served again
# Our lines stand in Prefect's log of a run.
_LOGGED = {"PREFECT_LOGGING_EXTRA_LOGGERS": "primer", "PREFECT_LOGGING_LEVEL": "INFO"}


def plan_deployments(recipe: Recipe, with_schedules: bool = True) -> list[dict[str, Any]]:
    """Every deployment of a recipe; without schedules, events start nothing either."""
    # one object for all, which YAML writes once and refers to
    given = recipe.model_dump(mode="json", exclude_unset=True)
    planned = [_deployment(name, recipe, getattr(recipe.schedule, name), given) for name in FLOWS]
    watch = recipe.schedule.watch
    if watch is not None:
        looks = FlowSchedule(interval_s=watch.interval_s, when_busy="cancel")
        planned.append(_deployment("new_shards", recipe, looks, given))
        planned[0]["triggers"] = [_trigger(recipe.name)]
    if not with_schedules:
        for one in planned:
            one.update(schedules=[], triggers=[])
    return planned


def _deployment(
    flow: str, recipe: Recipe, when: FlowSchedule, given: dict[str, Any]
) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "entrypoint": f"flows.deployed.{flow}",
        "tags": [TAG, recipe.name],
        "parameters": {"recipe": given},
        "enforce_parameter_schema": True,
        "schedules": list(_schedules(flow, when, recipe.schedule.timezone)),
        "triggers": [],
        "concurrency_limit": {
            "limit": when.runs_at_once,
            "collision_strategy": _BUSY[when.when_busy],
        },
        "work_pool": {
            "name": WORK_POOL,
            "job_variables": {"working_dir": ".", "env": dict(_LOGGED)},
        },
    }


def _schedules(flow: str, when: FlowSchedule, timezone: str) -> Iterable[dict[str, Any]]:
    more = {"parameters": {"append": True}} if flow in _APPENDING else {}
    if when.cron is not None:
        yield {"slug": "cron", "cron": when.cron, "timezone": timezone, **more}
    if when.interval_s is not None:
        seconds = {"interval": when.interval_s, "anchor_date": _ANCHOR}
        yield {"slug": "interval", **seconds, "timezone": timezone, **more}


def _trigger(name: str) -> dict[str, Any]:
    return {
        "name": f"{name}: new shards",
        "description": "New shards have arrived: make the dataset's next version of them.",
        "match": {"prefect.resource.id": dataset_resource(name)},
        "expect": [ARRIVED],
        "threshold": 1,
        "within": 0,
        "parameters": {"append": True},
    }


def as_prefect_yaml(planned: Sequence[dict[str, Any]]) -> str:
    """All deployments as a prefect.yaml."""
    head = (
        "# Printed by `primer serve RECIPE... --dry-run`: print it again where a recipe changes.\n"
        "# `prefect deploy --all` registers these deployments; docs/scheduling.md tells the rest.\n"
    )
    content = {"name": "primer", "pull": [], "deployments": list(planned)}
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
