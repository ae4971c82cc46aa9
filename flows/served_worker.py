"""The worker of `primer serve`: Prefect's, but what it stops with it is planned again.

A worker that is stopped ends the processes of its runs, and Prefect goes on to show them as running
until somebody misses their heartbeats. We know better: they are planned again at once, and go on
with the next worker of the pool, each in the stage where it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.states import Scheduled
from prefect.workers.process import (
    ProcessJobConfiguration,
    ProcessWorker,
    ProcessWorkerResult,
)

from flows.bootstrap import RESUMED, WORK_POOL

if TYPE_CHECKING:
    from anyio.abc import TaskStatus
    from prefect.client.schemas.objects import FlowRun, State


class ServedWorker(ProcessWorker):
    """Knows which runs it has begun and not seen the end of."""

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(work_pool_name=WORK_POOL, name=name, limit=limit)
        self._under_way: set[UUID] = set()

    @classmethod
    def __dispatch_key__(cls) -> str:
        """Its own, so that it takes the place of no other worker in Prefect's register."""
        return "process-served"

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Run a flow run as a process, to its end."""
        self._under_way.add(flow_run.id)
        result = await super().run(flow_run, configuration, task_status)
        self._under_way.discard(flow_run.id)
        return result

    async def plan_again(self) -> list[str]:
        """Plan what was cut short; returns the names of the runs."""
        names = []
        async with get_client() as client:
            for found in self._under_way:
                try:
                    flow_run = await client.read_flow_run(found)
                except ObjectNotFound:  # deleted in the meantime
                    continue
                state = flow_run.state
                if state is None or (state.is_final() and not state.is_crashed()):
                    continue
                again: State[Any] = Scheduled(
                    name=RESUMED, message="planned again: its worker was stopped"
                )
                await client.set_flow_run_state(found, again, force=True)
                names.append(flow_run.name)
        return names
