"""Pictures of the labels: how they are spread, how far annotators agree, what has no label."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCORES = tuple(str(score) for score in range(6))
MOST_ROWS = 40  # of bars in one picture; what is rarer is one row together

_PAIRS_A_ROW = 3
_NAME_CHARS = 34  # of a line of a name


def plot_labels(path: Path, counts: Mapping[str, Mapping[str, int]], title: str) -> None:
    """Draw a bar for each source or kind, parted by score ("0" to "5"), with the counts in it."""
    from matplotlib import colormaps

    names, table = _largest(counts, SCORES)
    if len(names) > 1:
        names, table = ["all", *names], np.vstack([table.sum(axis=0), table])
    with _bars(path, len(names), title) as axes:
        if not names:
            _say(axes, "nothing is labelled")
            return
        _stack(axes, _shares(table), "score", SCORES, colormaps["viridis"](np.linspace(0, 1, 6)))
        _write_counts(axes, table)
        _name_rows(axes, [f"{n} ({sum(t):,})" for n, t in zip(names, table.tolist(), strict=True)])
        axes.set(xlabel="share of the labelled documents", xlim=(0, 1))


def plot_unlabelled(path: Path, reasons: Mapping[str, Mapping[str, int]]) -> None:
    """Draw a bar for each reason why a document has no label, parted by annotator."""
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    by_reason: dict[str, dict[str, int]] = {}
    for annotator, found in reasons.items():
        for reason, count in found.items():
            by_reason.setdefault(reason, {})[annotator] = count
    annotators = [name for name in reasons if sum(reasons[name].values())]
    names, table = _largest(by_reason, annotators)
    with _bars(path, len(names), "what could not be labelled") as axes:
        if not names:
            _say(axes, "every answer could be used")
            return
        colours = colormaps["tab10"](np.arange(len(annotators)) % 10)
        _stack(axes, table, "annotator", annotators, colours)
        _name_rows(axes, names)
        axes.set(xlabel="answers")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def plot_agreement(path: Path, report: Mapping[str, Any]) -> None:
    """Draw the confusion of every pair in what `measure_agreement` returned."""
    pairs = report["pairs"]
    columns = min(max(len(pairs), 1), _PAIRS_A_ROW)
    rows = max(-(-len(pairs) // columns), 1)
    with _picture(path, (4.2 * columns, 4.4 * rows if pairs else 1.5)) as figure:
        cells = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, pair in zip(cells, pairs, strict=False):
            _draw_pair(axes, pair)
        for axes in cells[len(pairs) :]:
            axes.set_axis_off()
        if pairs:
            figure.suptitle(f"all annotators: alpha {_figure_of(report['alpha'], 'value')}")
        else:
            _say(cells[0], "nothing to compare: no document has two scores")


def _draw_pair(axes: Axes, pair: Mapping[str, Any]) -> None:
    table = np.array(pair["confusion"])
    axes.imshow(table, cmap="Blues", vmin=0, vmax=max(table.max(), 1))
    for (i, j), count in np.ndenumerate(table):
        if count:
            dark = count > table.max() * 0.6
            axes.text(j, i, f"{count:,}", ha="center", va="center", color="w" if dark else "k",
                      fontsize=8)  # fmt: skip
    a, b = map(_wrapped, pair["annotators"])
    axes.set(xlabel=b, ylabel=a, xticks=range(6), yticks=range(6))
    axes.set_title(
        f"kappa {_figure_of(pair, 'kappa')}\nexact {pair['exact']:.0%}, within one "
        f"{pair['within_one']:.0%}, bias {pair['bias']:+.2f}",
        fontsize=10,
    )


def _figure_of(found: Mapping[str, Any], name: str) -> str:
    """A figure with its interval and what it is of, or that it is not defined."""
    if found[name] is None:
        return f"not defined (n = {found['n']:,})"
    low, high = found["interval"] or (float("nan"),) * 2
    return f"{found[name]:.2f} [{low:.2f}, {high:.2f}], n = {found['n']:,}"


def _largest(
    counts: Mapping[str, Mapping[str, int]], parts: Sequence[str]
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Names and int[names, parts], the largest first; what exceeds `MOST_ROWS` is one row."""
    names = sorted(counts, key=lambda name: (-sum(counts[name].values()), name))
    table = np.array([[counts[n].get(part, 0) for part in parts] for n in names], np.int64)
    table = table.reshape(len(names), len(parts))
    if len(names) > MOST_ROWS:
        kept, rest = names[: MOST_ROWS - 1], len(names) - MOST_ROWS + 1
        table = np.vstack([table[: len(kept)], table[len(kept) :].sum(axis=0)])
        names = [*kept, f"{rest:,} others"]
    return names, table


def _shares(table: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.asarray(table / np.maximum(table.sum(axis=1, keepdims=True), 1))


def _stack(
    axes: Axes,
    widths: npt.NDArray[Any],
    title: str,
    parts: Sequence[str],
    colours: npt.NDArray[Any],
) -> None:
    """Bars from above to below, one a row, each parted in the order of the columns."""
    left = np.zeros(len(widths))
    for width, colour in zip(widths.T, colours, strict=True):
        axes.barh(range(len(widths)), width, left=left, color=colour)
        left += width
    # beside the bars, never on them; named here, since a label of its own may begin with no "_"
    axes.legend(
        axes.containers, [_wrapped(part) for part in parts], title=title, fontsize=8,
        loc="upper left", bbox_to_anchor=(1.01, 1),
    )  # fmt: skip


def _write_counts(axes: Axes, table: npt.NDArray[np.int64]) -> None:
    """The counts on bars that are shares, where there is room for them."""
    shares = _shares(table)
    middles = np.cumsum(shares, axis=1) - shares / 2
    for (row, score), count in np.ndenumerate(table):
        text = f"{count:,}"
        if shares[row, score] > 0.013 * len(text):
            axes.text(float(middles[row, score]), row, text, ha="center", va="center", fontsize=7,
                      color="w" if score < 3 else "k")  # fmt: skip


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_wrapped(name) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _say(axes: Axes, what: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, what, ha="center", va="center", transform=axes.transAxes)


def _wrapped(name: str, line_chars: int = _NAME_CHARS) -> str:
    lines = textwrap.wrap(name, line_chars, break_on_hyphens=False)
    # two dollars would make a formula of what stands between them
    return "\n".join(lines).replace("$", r"\$")


@contextmanager
def _bars(path: Path, n_rows: int, title: str) -> Iterator[Axes]:
    with _picture(path, (7.5, 1.5 + 0.3 * max(n_rows, 1))) as figure:
        axes = figure.subplots()
        axes.set_title(_wrapped(title, 2 * _NAME_CHARS), fontsize=11)
        yield axes


@contextmanager
def _picture(path: Path, inches: tuple[float, float]) -> Iterator[Figure]:
    """A figure that is written at the end; the same bytes for the same figures."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained")
    yield figure
    figure.savefig(path, dpi=110, metadata={"Software": None})
