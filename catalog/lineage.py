"""Where a dataset and its models come from, as a graph whose nodes are links, and as a table.

The graph is SVG within the page that holds attributes and classes but no styles or scripts, so it
obeys the page's policy and follows its colours. What passes over a layer is an arc at the side.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from catalog.lineage_drawing import WIDTH, draw_edges, lay_out
from catalog.lineage_graph import trace
from catalog.overview import chain_of
from catalog.render import page
from catalog.runs_index import index_of, open_run


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


ROUTES = [Route("/runs/{run}/lineage", show_lineage)]
