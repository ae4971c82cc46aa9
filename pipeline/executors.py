"""Where the shards of a stage are worked on: this machine, a Ray cluster, or Slurm.

A choice of the recipe that changes how fast a stage is, never what it makes. The plain word is
enough (`executor: ray`); the long form is a section of its own (`executor: {kind: ray, address:
...}`). How many shards there are and how many are worked on at a time (`tasks`, `workers`) stand
beside it in the stage's section and mean the same under each. `docs/engines.md` says what the
machines of a cluster must share.
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


class SlurmExecutor(Section):
    """Job arrays of a Slurm cluster whose nodes all see the run's directory."""

    kind: Literal["slurm"] = Field("slurm", description="Job arrays of a Slurm cluster.")
    partition: str | None = Field(
        None, min_length=1, description="Slurm's partition; null for the cluster's default."
    )
    time: str | None = Field(
        None, pattern=r"^[0-9:-]+$",
        description="Time limit of one shard (hours:minutes:seconds); null for the partition's.",
    )  # fmt: skip
    cpus_per_task: int = Field(1, ge=1, le=1_024, description="CPUs reserved for one shard.")
    mem_per_cpu_gb: float | None = Field(
        None, gt=0, le=4_096, description="GiB of memory per CPU; null for the partition's default."
    )
    env_command: str | None = Field(
        None, min_length=1,
        description="Shell command that makes Primer's Python environment the current one on a "
        "node; null where the environment of this process lies at the same path there.",
    )  # fmt: skip
    sbatch_args: dict[str, str | int] = Field(
        {}, description="Further options of sbatch, by their long names: {account: x, qos: y}."
    )


def _as_section(given: Any) -> Any:
    return {"kind": given} if isinstance(given, str) else given


_Kind = Annotated[LocalExecutor | RayExecutor | SlurmExecutor, Field(discriminator="kind")]
Executor = Annotated[
    _Kind,
    BeforeValidator(_as_section, json_schema_input_type=Literal["local", "ray", "slurm"] | _Kind),
]
