"""Where a dataset and its models come from, as a graph: sources, stages, arms, quantized models.

The graph is drawn from manifests alone, top to bottom, into SVG that holds attributes and classes
but no styles or scripts, so it obeys the page's policy, follows the colours of the page, and its
nodes are links. What passes over a layer is drawn as an arc at the side. A table says the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from catalog.overview import chain_of
from catalog.render import number, page, segment, size
from catalog.runs_index import Run, index_of, open_run

WIDTH, HEIGHT, GAP_X, GAP_Y, PAD, MOST_IN_ROW, BOX = 600, 46, 12, 34, 10, 5, 140
FRAME = " frame"
LETTER_PX, SMALL_LETTER_PX = 8.2, 6.4  # of what stands in a box, so that it can be cut
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


@dataclass(frozen=True)
class Box:
    """A node, or the frame around a layer of several rows, where it is drawn."""

    node: Node
    x: float
    y: float
    width: float
    height: float = HEIGHT

    @property
    def label(self) -> str:
        """The label, cut to the box."""
        return _cut(self.node.label, int((self.width - 12) / LETTER_PX))

    @property
    def told(self) -> str:
        """What is told of it, cut to the box."""
        told = self.node.told if self.node.brief is None else self.node.brief
        return _cut(told, int((self.width - 8) / SMALL_LETTER_PX))

    @property
    def middle(self) -> float:
        """Half way across."""
        return round(self.x + self.width / 2, 1)


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"


def show_lineage(request: Request) -> Response:
    """The graph, and the table of what was made from what."""
    run = open_run(request)
    by_name = {other.name: other for other in index_of(request).all()}
    layers, edges = trace(run, chain_of(run, by_name)[1:])
    boxes, height = lay_out(layers)
    return page(
        request,
        "lineage.html",
        run=run,
        boxes=boxes,
        lines=draw_edges(boxes, edges, layers),
        width=WIDTH,
        height=height,
        stages=run.stages.values(),
        labels={node.name: node.label for layer in layers for node in layer},
        edges=edges,
    )


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
            f"/runs/{segment(one.name)}/lineage",
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
    address = None if rest is None else f"/runs/{segment(run.name)}{rest}"
    kind = "stale" if name in run.stale else "stage"
    return Node(name, name, f"{number(account.kept)} {account.unit} kept", kind, address)


def _made(run: Run, name: str) -> Iterator[Node]:
    """What a stage made of which there are several: arms, trained models, quantized models."""
    sealed, models = run.stages[name], f"/runs/{segment(run.name)}/models"
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


def lay_out(layers: Sequence[Sequence[Node]]) -> tuple[dict[str, Box], float]:
    """A box for each node, layers from top to bottom, and the height of it all.

    A layer of several rows is framed, under the name of its first node and `FRAME`: each of its
    nodes has the same edges, and the frame has them once.
    """
    boxes: dict[str, Box] = {}
    y = 4.0
    for layer in layers:
        rows, top = _rows_of(layer), y
        if len(rows) > 1:
            y += PAD
        for row in rows:
            most = len(rows[0])
            width = round(min(BOX, (WIDTH - 2 * PAD - GAP_X * (most - 1)) / most), 1)
            x = (WIDTH - len(row) * width - GAP_X * (len(row) - 1)) / 2
            for i, node in enumerate(row):
                boxes[node.name] = Box(node, round(x + i * (width + GAP_X), 1), y, width)
            y += HEIGHT + GAP_X
        y -= GAP_X
        if len(rows) > 1:
            y += PAD
            name = layer[0].name + FRAME
            boxes[name] = Box(Node(name, "", "", "frame"), 1, top, WIDTH - 2, y - top)
        y += GAP_Y
    return boxes, y - GAP_Y + 4


def _rows_of(layer: Sequence[Node]) -> list[Sequence[Node]]:
    """Rows of much the same length; models that were quantized alike stand in one."""
    rows = -(-len(layer) // MOST_IN_ROW)
    each = -(-len(layer) // max(rows, 1))
    return [layer[i : i + each] for i in range(0, len(layer), each)]


def draw_edges(
    boxes: Mapping[str, Box], edges: Sequence[tuple[str, str]], layers: Sequence[Sequence[Node]]
) -> list[tuple[str, str]]:
    """(class, path) of each edge: straight on where it leads to the next layer, else an arc."""
    place: dict[str, tuple[int, Box]] = {}
    for i, layer in enumerate(layers):
        for node in layer:
            place[node.name] = (i, boxes.get(layer[0].name + FRAME, boxes[node.name]))
    drawn = {}
    for start, end in edges:
        (i, a), (j, b) = place[start], place[end]
        if j == i + 1:
            drawn[_curve(a.middle, a.y + a.height, b.middle, b.y)] = "near"
        else:
            drawn[_arc(a, b, layers_between=j - i - 1)] = "far"
    return [(kind, path) for path, kind in drawn.items()]


def _curve(x1: float, y1: float, x2: float, y2: float) -> str:
    """Down from one point and down into another."""
    half = (y1 + y2) / 2
    return f"M{x1:.1f} {y1:.1f}C{x1:.1f} {half:.1f} {x2:.1f} {half:.1f} {x2:.1f} {y2:.1f}"


def _arc(a: Box, b: Box, layers_between: int) -> str:
    """From the right side of one box to that of another, the farther out the longer the way."""
    x1, x2 = a.x + a.width, b.x + b.width
    y1, y2 = a.y + a.height / 2, b.y + b.height / 2
    out = min(WIDTH - 2, max(x1, x2) + 16 + 24 * layers_between)
    return f"M{x1:.1f} {y1:.1f}C{out:.1f} {y1:.1f} {out:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"


ROUTES = [Route("/runs/{run}/lineage", show_lineage)]
