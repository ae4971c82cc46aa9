"""What was made from what, from manifests alone: sources, stages, arms and models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalog.render import number, size
from catalog.runs_index import Run

# Where a stage is shown best, below the run's own address.
PAGE_OF = {
    "ingest": "",
    "clean": "/waterfall",
    "label": "/review",
    "train-filter": "/filter",
    "apply-filter": "/samples",
    "synthesize": "/samples",
    "decontaminate": "/contamination",
    "card": "/card",
    "handoff": "/handoff",
    "train": "/models",
    "quantize": "/models",
    "evaluate": "/models",
}


@dataclass(frozen=True)
class Node:
    """Something that was made, or given; `brief` is what is told of it where there is no room."""

    name: str
    label: str
    told: str
    kind: str
    address: str | None = None
    brief: str | None = None


def trace(run: Run, ancestors: Sequence[Run]) -> tuple[list[list[Node]], list[tuple[str, str]]]:
    """Layers of nodes, top first, and (from, to) by their names."""
    layers: list[list[Node]] = []
    edges: list[tuple[str, str]] = []
    given = [*_parents(ancestors), *_sources(run)]
    if given:
        layers.append(given)
        edges += [(node.name, "ingest") for node in given if "ingest" in run.stages]
    for name, sealed in run.stages.items():
        layers.append([_stage(run, name)])
        edges += [(need, name) for need in sealed.manifest.needs if need in run.stages]
        made = [*_made(run, name)]
        if made:
            layers.append(made)
            edges += [(name, node.name) for node in made]
            edges += [(node.name, reader) for node in made for reader in _readers(run, node)]
    return layers, edges


def _parents(ancestors: Sequence[Run]) -> list[Node]:
    return [
        Node(
            f"parent {one.name}",
            one.name,
            "parent version",
            "given",
            f"{one.address}/lineage",
        )
        for one in ancestors[:1]
    ]


def _sources(run: Run) -> list[Node]:
    if "ingest" not in run.stages:
        return []
    ingest = run.stages["ingest"]
    files: Mapping[str, Any] = ingest.facts.get("files_by_source", {})
    sources = ingest.manifest.config.get("IngestConfig", {}).get("sources", [])
    names = [str(source.get("name")) for source in sources if isinstance(source, dict)]
    return [
        Node(f"source {name}", name, _files_told(files.get(name)), "given")
        for name in names or sorted(files)
    ]


def _files_told(files: Any) -> str:
    return "source" if files is None else f"{number(files)} files"


def _stage(run: Run, name: str) -> Node:
    account = run.stages[name].ledger
    rest = PAGE_OF.get(name)
    address = None if rest is None else f"{run.address}{rest}"
    kind = "stale" if name in run.stale else "stage"
    return Node(name, name, f"{number(account.kept)} {account.unit} kept", kind, address)


def _made(run: Run, name: str) -> Iterator[Node]:
    """What a stage made of which there are several: arms, trained models, quantized models."""
    sealed, models = run.stages[name], f"{run.address}/models"
    if name == ("handoff" if "handoff" in run.stages else "tokenize"):
        sealed = run.stages["tokenize"]
        for arm, one in sorted(sealed.facts.get("arms", {}).items()):
            yield Node(f"arm {arm}", arm, f"{number(one.get('tokens'))} tokens", "made")
    elif name == "train":
        for arm, one in sorted(sealed.facts.get("arms", {}).items()):
            told = f"{number(one.get('parameters'))} weights"
            yield Node(f"model {arm}", arm, told, "made", models)
    elif name == "quantize":
        for file, entry in sorted(sealed.manifest.files.items()):
            if file.endswith(".gguf"):
                arm, _, kind = file.removesuffix(".gguf").rpartition("/")
                label = kind.removeprefix("model-")
                told = f"{arm}, {size(entry.bytes)}"
                yield Node(f"file {file}", label, told, "made", models, arm)


def _readers(run: Run, node: Node) -> list[str]:
    """The stages that go on with something made: an arm is trained on, a file is measured."""
    kind = node.name.partition(" ")[0]
    wanted = {"arm": "train", "model": "quantize", "file": "evaluate"}[kind]
    trained = run.stages["train"].facts.get("arms", {}) if "train" in run.stages else {}
    if wanted not in run.stages or (kind == "arm" and node.label not in trained):
        return []
    return [wanted]
