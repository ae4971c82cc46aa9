"""Where the nodes of a lineage stand, layer below layer, and the lines between them.

In units of the picture. Plain arithmetic and no layout engine: a journey is a chain of stages, with
here and there a layer of things that were made side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from catalog.lineage_graph import Node

WIDTH, HEIGHT, GAP_X, GAP_Y, PAD, MOST_IN_ROW, BOX = 600, 46, 12, 34, 10, 5, 152
FRAME = " frame"
LETTER_PX, SMALL_LETTER_PX = 7.6, 6.4  # of what stands in a box, so that it can be cut


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
