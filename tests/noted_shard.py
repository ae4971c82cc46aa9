"""The filter's work on a shard, which notes on which node of Ray it began, and takes a while."""

import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.filter_shard import FilterShard


@dataclass(frozen=True, kw_only=True)
class NotedShard(FilterShard):
    """In a module of its own: a worker imports nothing else of the tests."""

    notes: Path
    pause_s: float = 0.0
    fails_at: int | None = None

    def __call__(self, rank, world_size):
        import ray

        (self.notes / f"{rank}-{ray.util.get_node_ip_address()}").touch()
        time.sleep(self.pause_s)
        if rank == self.fails_at:
            raise ValueError("no bread in this shard")
        return super().__call__(rank, world_size)


def nodes_of(notes):
    """The addresses of the nodes on which each rank began."""
    seen = {}
    for path in notes.iterdir():
        rank, node = path.name.split("-")
        seen.setdefault(int(rank), set()).add(node)
    return seen
