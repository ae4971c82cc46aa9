"""Where the shards of a stage are worked on: this machine or a Ray cluster.

A choice of the recipe that changes how fast a stage is, never what it makes. The plain word is
enough (`executor: ray`); the long form is a section of its own (`executor: {kind: ray, address:
...}`). How many shards there are and how many are worked on at a time (`tasks`, `workers`) stand
beside it in the stage's section and mean the same under each.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from pipeline.config import Section


class LocalExecutor(Section):
    """The processors of this machine."""

    kind: Literal["local"] = Field("local", description="Processes of this machine.")


class RayExecutor(Section):
    """Tasks of a Ray cluster whose nodes all see the run's directory."""

    kind: Literal["ray"] = Field("ray", description="Tasks of a Ray cluster.")
    address: str | None = Field(
        None, pattern=r"^(auto|[^/\s]+:[0-9]+)$",
        description="host:port of a cluster that this machine is a node of; auto for the one that "
        "this machine last joined; null starts one of this machine alone, for this stage.",
    )  # fmt: skip
    cpus_per_task: int = Field(1, ge=1, le=1_024, description="CPUs reserved for one shard.")
    mem_per_cpu_gb: float | None = Field(
        None, gt=0, le=4_096, description="GiB of memory reserved per CPU; null reserves none."
    )


def _as_section(given: Any) -> Any:
    return {"kind": given} if isinstance(given, str) else given


_Kind = Annotated[LocalExecutor | RayExecutor, Field(discriminator="kind")]
Executor = Annotated[
    _Kind,
    BeforeValidator(_as_section, json_schema_input_type=Literal["local", "ray"] | _Kind),
]
