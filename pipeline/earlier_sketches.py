"""The sketches of all documents that earlier versions kept, before those of the new ones.

A first version does not seal its sketches (some 820 bytes a document, which few need). So the
second version sketches the first one's documents once, seals these and its own, and from then on a
version links its parent's sketches and sketches new documents alone: what an append costs does not
grow with the corpus, but for the pass that looks for shared keys, which reads 256 bytes a document.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.copies_runs import SketchShard
from pipeline.increment import link_files
from pipeline.ledger import Ledger
from pipeline.shard_pass import ShardWork
from pipeline.stage import Sealed

SKETCHES = "sketches"


def bring_earlier(
    parent: Sealed, home: Path, pass_over: Callable[[str, ShardWork, int], Ledger]
) -> int:
    """Lay the parent's sketches below `home`; how many shards they are, numbered from 0."""
    sealed = [name for name in parent.manifest.files if name.startswith(f"{SKETCHES}/")]
    if sealed:
        link_files(parent, sealed, home.parent)
        return 1 + max(int(Path(name).parent.name) for name in sealed)
    documents = parent.files("documents/*.parquet")
    pass_over("sketching-earlier", SketchShard(documents, home), len(documents))
    return len(documents)
