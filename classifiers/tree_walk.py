"""The exported forest, walked by a compiled loop: the same ONNX file, some times faster.

ONNX Runtime takes each row through each tree, and waits for every node that it fetches. Here a
block of rows goes through one tree together, one level at a time: their fetches do not depend on
each other, so the processor overlaps them, and the tree stays in the nearest cache. A leaf is its
own child, so that every row takes the same number of steps and no branch can be guessed wrong.
The votes are added up in double precision, in the order of the trees.

Source: Asadi, Lin and de Vries, "Runtime Optimizations for Tree-Based Machine Learning Models"
(2014), arXiv 1212.2287, whose vectorized walk this is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.arrow_text import compiled

# Unsigned: numba would ask of every signed index whether it counts from the end.
NODE = np.dtype([("threshold", np.float32), ("feature", np.uint32), ("below", np.uint32)])
ROWS_PER_BLOCK = 64


@dataclass(frozen=True)
class TreeWalk:
    """Trees laid level by level: a node's children are `below` and `below + 1`."""

    nodes: npt.NDArray[np.void]  # NODE[M]
    roots: npt.NDArray[np.uint32]  # [trees]
    depths: npt.NDArray[np.int64]  # [trees]
    votes: npt.NDArray[np.float64]  # [M, classes]: what a leaf adds to the share of the votes

    @classmethod
    def read(cls, onnx: bytes) -> TreeWalk:
        """The forest of an ONNX graph whose one tree ensemble has rules `x <= threshold`.

        Raises ValueError where the graph is of another kind.
        """
        tables = _tree_tables(onnx)
        if set(tables["nodes_modes"]) - {b"BRANCH_LEQ", b"LEAF"}:
            raise ValueError(f"the forest asks {sorted(set(tables['nodes_modes']))}, not <=")
        return _lay_out(tables)

    def weigh(self, features: npt.NDArray[np.float32], values: Any) -> npt.NDArray[np.float64]:
        """float64[N, K]: the votes on float32[N, F] features times float64[classes, K] values."""
        sums = np.zeros((len(features), values.shape[1]))
        _walk(features, self.nodes, self.roots, self.depths, self.votes @ values, sums)
        return sums


@compiled
def _walk(features: Any, nodes: Any, roots: Any, depths: Any, leaves: Any, sums: Any) -> None:
    at = np.empty(ROWS_PER_BLOCK, np.uint32)
    for first in range(0, len(features), ROWS_PER_BLOCK):
        block = features[first : first + ROWS_PER_BLOCK]
        rows = np.uint32(len(block))
        for tree in range(len(roots)):
            at[:] = roots[tree]
            for _ in range(depths[tree]):
                for row in range(rows):
                    node = nodes[at[row]]
                    right = block[row, node.feature] > node.threshold
                    at[row] = node.below + np.uint32(right)
            for row in range(rows):
                leaf = leaves[at[row]]
                for column in range(len(leaf)):
                    sums[first + row, column] += leaf[column]


def _tree_tables(graph: bytes) -> dict[str, Any]:
    """The attributes of the graph's tree ensemble, by name."""
    import onnx

    found = [node for node in onnx.load_from_string(graph).graph.node if "Tree" in node.op_type]
    if [node.op_type for node in found] != ["TreeEnsembleClassifier"]:
        raise ValueError(f"the graph holds {[node.op_type for node in found]}, not one forest")
    return {a.name: onnx.helper.get_attribute_value(a) for a in found[0].attribute}


def _lay_out(tables: dict[str, Any]) -> TreeWalk:
    """Level by level over all trees, so that two children are neighbours."""
    names = ("nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_values",
             "nodes_truenodeids", "nodes_falsenodeids")  # fmt: skip
    tree, number, feature, threshold, yes, no = (np.array(tables[name]) for name in names)
    is_leaf = np.array(tables["nodes_modes"]) == b"LEAF"
    place = _places(tree, number)
    level = place(np.unique(tree), 0)
    roots, depths = np.arange(len(level), dtype=np.uint32), np.zeros(len(level), np.int64)
    rank_of = np.searchsorted(tree[level], tree)
    nodes, laid, end = np.zeros(len(tree), NODE), np.zeros(len(tree), np.uint32), 0
    for depth in range(len(tree)):
        here = end + np.arange(len(level))
        laid[level], end = here, end + len(level)
        depths[rank_of[level]] = depth
        inner = ~is_leaf[level]
        nodes["threshold"][here] = np.where(inner, threshold[level], np.inf)
        nodes["feature"][here] = np.where(inner, feature[level], 0)
        nodes["below"][here] = np.where(inner, end + 2 * (np.cumsum(inner) - 1), here)
        parents = level[inner]
        if len(parents) == 0:
            break
        children = (place(tree[parents], side[parents]) for side in (yes, no))
        level = np.column_stack(list(children)).ravel()
    leaves = laid[place(np.array(tables["class_treeids"]), np.array(tables["class_nodeids"]))]
    votes = np.zeros((len(nodes), len(tables["classlabels_int64s"])))
    votes[leaves, tables["class_ids"]] = tables["class_weights"]
    return TreeWalk(nodes, roots, depths, votes)


def _places(tree: Any, number: Any) -> Callable[[Any, Any], Any]:
    """Where in the tables a tree's node of a number stands."""
    width = number.max() + 1
    keys = tree * width + number
    order = np.argsort(keys)
    known = keys[order]
    return lambda trees, numbers: order[np.searchsorted(known, trees * width + numbers)]
