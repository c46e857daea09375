"""The picture of a fitted network: layers from left to right, posterior weights as edges."""

from __future__ import annotations

from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from nnmm_pymc.description import NodeDescription, ParentDescription, read_description

__all__ = ["plot_network"]

#: Circles drawn for one node; of more columns, those with the largest weights.
MOST_COLUMNS = 20
# Blue and vermilion of Okabe and Ito: told apart with any colour vision.
POSITIVE, NEGATIVE, MARKERS = "#0072B2", "#D55E00", "#7f7f7f"
#: Height of a genotype box over which its edges spread, and the lowest point of the axes.
BOX_HEIGHT, BOTTOM = 0.12, -0.4


class _Edge(NamedTuple):
    """What an edge looks like, and between whom; a source without column is a genotype layer."""

    source: tuple[str, str | None]
    target: tuple[str, str]
    width: float
    colour: str
    alpha: float
    style: Any = "-"


class _Place(NamedTuple):
    depth: float
    y: float


def plot_network(result: xr.DataTree, ax: Axes | None = None) -> Axes:
    """Draw a fitted network from genotypes (left) to traits (right).

    An edge between two columns is as wide as the absolute posterior mean of its weight, relative to
    the largest of its term; blue is positive, vermilion negative, and the fainter it is the less
    certain (fully drawn from two posterior standard deviations off zero). An edge from genotypes is
    as wide as the heritability of the column it reaches; dashed and not to scale where the column
    has other sources of heritability too. Covariates are not drawn.

    Parameters
    ----------
    result : DataTree
        From `Network.fit`.
    ax : matplotlib Axes, optional
        A new figure by default.

    Returns
    -------
    matplotlib Axes
        Each edge is a patch whose gid is ``"parent -> child"``.

    Examples
    --------
    >>> ax = plot_network(result)  # doctest: +SKIP
    """
    nodes = read_description(result)
    if ax is None:
        _, ax = plt.subplots(figsize=(7, 5), layout="constrained")
    weights = {
        (node.name, p.weights): _weight_moments(result, node, p)
        for node in nodes
        for p in node.parents
    }
    shown = {node.name: _shown_columns(node, nodes, weights) for node in nodes}
    places = _layout(nodes, shown)
    edges = _marker_edges(result, nodes) + _weight_edges(nodes, weights)
    drawn = [e for e in edges if e.source in places and e.target in places]
    scale = min(1.0, 12 / max(len(columns) for columns in shown.values()))
    for edge in drawn:
        _draw_edge(ax, edge, places, scale)
    _draw_nodes(ax, result, nodes, shown, places)
    _finish(ax, nodes, shown, drawn, max(p.depth for p in places.values()))
    return ax


def _weight_moments(
    result: xr.DataTree, node: NodeDescription, parent: ParentDescription
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean and sd of the weights, (parent column, column); NaN where not connected."""
    draws = result["posterior"].dataset[parent.weights].transpose("chain", "draw", ...).to_numpy()
    draws = draws.reshape(draws.shape[0] * draws.shape[1], len(parent.columns), -1)
    shape = (len(parent.columns), len(node.columns))
    mean = np.broadcast_to(draws.mean(axis=0), shape).copy()
    if parent.mask is not None:
        mean[~np.asarray(parent.mask)] = np.nan
    return mean, np.broadcast_to(draws.std(axis=0), shape)


def _shown_columns(node: NodeDescription, nodes: list[NodeDescription], weights) -> list[str]:
    """Columns to draw: all, or those with the largest weights to children (else from parents)."""
    if len(node.columns) <= MOST_COLUMNS:
        return node.columns
    size = np.zeros(len(node.columns))
    for child in nodes:
        for p in child.parents:
            largest = np.nan_to_num(np.abs(weights[child.name, p.weights][0]))
            if p.node == node.name:
                size[p.columns] = np.maximum(size[p.columns], largest.max(axis=1))
            elif child is node and node.terminal:
                size = np.maximum(size, largest.max(axis=0))
    kept = np.sort(np.argsort(-size, kind="stable")[:MOST_COLUMNS])
    return [node.columns[k] for k in kept]


def _layout(nodes: list[NodeDescription], shown: dict[str, list[str]]) -> dict[tuple, _Place]:
    """Depth of every genotype layer and column, and its height between 0 and 1."""
    layers = list(dict.fromkeys(layer for node in nodes for layer in node.markers.values()))
    groups: dict[int, list[list[tuple]]] = {0: [[(layer, None)] for layer in layers]}
    depth: dict[str, int] = {}
    for node in nodes:
        depth[node.name] = 1 + max((depth[p.node] for p in node.parents), default=0)
        group = [(node.name, column) for column in shown[node.name]]
        groups.setdefault(depth[node.name], []).append(group)
    places = {}
    for level, stack in groups.items():
        slots = sum(map(len, stack)) + len(stack) - 1
        step = min(0.4 if level == 0 else 0.25, 1 / max(1, slots))
        y = 0.5 + step * (slots - 1) / 2
        for group in stack:
            for key in group:
                places[key] = _Place(level, y)
                y -= step
            y -= step
    return places


def _marker_edges(result: xr.DataTree, nodes: list[NodeDescription]) -> list[_Edge]:
    edges = []
    for node in nodes:
        if not node.markers:
            continue
        alone = len(node.markers) == 1 and not node.parents
        heritability = result["genetic_values"].dataset[f"{node.name}_heritability"]
        share = heritability.mean(("chain", "draw")).to_numpy()
        for name, layer in node.markers.items():
            included = result["moments"].dataset[f"{name}_included"]
            reached = included.max(("chain", "half", included.dims[2])).to_numpy() > 0
            for k, column in enumerate(node.columns):
                if reached[k]:
                    width, style = (0.6 + 6 * share[k], "-") if alone else (1.2, "--")
                    target = (node.name, column)
                    edges.append(_Edge((layer, None), target, width, MARKERS, 0.7, style))
    return edges


def _weight_edges(nodes: list[NodeDescription], weights) -> list[_Edge]:
    by_name = {node.name: node for node in nodes}
    edges = []
    for node in nodes:
        for p in node.parents:
            mean, sd = weights[node.name, p.weights]
            largest = np.nanmax(np.abs(mean), initial=1e-300)
            for j, k in np.argwhere(~np.isnan(mean)):
                size = abs(mean[j, k])
                certainty = min(1.0, size / max(2 * sd[j, k], 1e-300))
                edges.append(
                    _Edge(
                        (p.node, by_name[p.node].columns[p.columns[j]]),
                        (node.name, node.columns[k]),
                        0.6 + 5.4 * size / largest,
                        POSITIVE if mean[j, k] >= 0 else NEGATIVE,
                        0.15 + 0.85 * certainty,
                    )
                )
    return edges


def _draw_edge(ax: Axes, edge: _Edge, places: dict[tuple, _Place], scale: float) -> None:
    """An S-curve from centre to centre, under boxes and labels; over a layer it runs below."""
    (start, y), (end, end_y) = places[edge.source], places[edge.target]
    if edge.source[1] is None:
        y += BOX_HEIGHT * (end_y - 0.5)
    path: list[tuple[float, float]] = [(start, y)]
    if end - start > 1:
        low = 0.14 * y - 0.24  # apart from those of the layer's other columns
        path += [(start + 0.35, y), (start + 0.15, low), (start + 0.6, low)]
        path += [(start + 0.6, low), (end - 0.6, low), (end - 0.6, low)]
        path += [(end - 0.15, low), (end - 0.35, end_y), (end, end_y)]
    else:
        middle = (start + end) / 2
        path += [(middle, y), (middle, end_y), (end, end_y)]
    patch = PathPatch(
        Path(path, [Path.MOVETO] + [Path.CURVE4] * (len(path) - 1)),
        fill=False,
        edgecolor=edge.colour,
        linewidth=edge.width * scale,
        alpha=edge.alpha,
        linestyle=edge.style,
        capstyle="butt",
        zorder=1,
    )
    patch.set_gid(f"{edge.source[1] or edge.source[0]} -> {edge.target[1]}")
    ax.add_patch(patch)


def _draw_nodes(ax: Axes, result: xr.DataTree, nodes, shown, places) -> None:
    for (name, column), (depth, y) in places.items():
        if column is None:
            n = result["constant_data"].dataset[f"{name}_mean_dosage"].size
            box = {"boxstyle": "round,pad=0.9", "facecolor": "#eeeeee", "edgecolor": "#333333"}
            text = f"{name}\n{n:,} markers"
            ax.text(depth, y, text, ha="center", va="center", fontsize=9, bbox=box, zorder=4)
    above = None
    for node in nodes:
        columns = shown[node.name]
        spots = [places[node.name, column] for column in columns]
        crowded = len(columns) > 8
        ax.scatter(
            [spot.depth for spot in spots],
            [spot.y for spot in spots],
            s=70 if crowded else 170,
            zorder=3,
            facecolor="#333333" if node.terminal else "white",
            edgecolor="#333333",
        )
        for column, spot in zip(columns, spots, strict=True):
            ax.annotate(
                column,
                spot,
                (6 if crowded else 8.5, 0),
                textcoords="offset points",
                ha="left",
                va="center",
                fontsize=8 if crowded else 9,
                zorder=2,
                bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "lw": 0},
            )
        heading = (spots[0].depth, node.layer)
        if heading != above and columns != [node.layer]:
            ax.annotate(
                node.layer,
                spots[0],
                (0, 14),
                textcoords="offset points",
                ha="center",
                fontsize=9,
                fontweight="bold",
                zorder=4,
            )
        above = heading


def _finish(ax: Axes, nodes, shown, drawn: list[_Edge], depth: float) -> None:
    styles = {(e.colour, e.style) for e in drawn}
    meaning: dict[tuple[str, Any], str] = {
        (POSITIVE, "-"): "positive weight",
        (NEGATIVE, "-"): "negative weight",
        (MARKERS, "-"): "markers (width: heritability)",
        (MARKERS, "--"): "direct markers (not to scale)",
    }
    handles = [
        Line2D([], [], color=style[0], linestyle=style[1], linewidth=2, label=label)
        for style, label in meaning.items()
        if style in styles
    ]
    ax.legend(handles=handles, loc="lower center", ncols=2, frameon=False, fontsize=8)
    left_out = [
        f"{len(n.columns) - len(shown[n.name])} of {len(n.columns)} {n.layer} left out"
        for n in nodes
        if len(shown[n.name]) < len(n.columns)
    ]
    title = "Network" + (f" ({', '.join(left_out)})" if left_out else "")
    ax.set(xlim=(-0.3, depth + 0.4), ylim=(BOTTOM, 1.15), title=title)
    ax.axis("off")
