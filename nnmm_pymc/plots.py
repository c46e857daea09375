"""Pictures of a fit: markers, predictions, the network, and all three on one figure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnmm_pymc.description import NodeDescription, read_description
from nnmm_pymc.errors import InputError
from nnmm_pymc.network_plot import plot_network
from nnmm_pymc.summarise import marker_effects

__all__ = ["plot_fit", "plot_network", "plot_pip", "plot_predicted"]

# Ten colours told apart with any colour vision (Petroff 2021, arXiv:2107.02270).
COLOURS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
    "#94a4a2",
)
OTHERS = "#d9d9d9"


def plot_pip(
    result: xr.DataTree,
    node: str | None = None,
    trait: str | None = None,
    map: pd.DataFrame | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Posterior inclusion probability (PIP) of the markers along the genome.

    Parameters
    ----------
    result : DataTree
        From `Network.fit`.
    node : str, optional
        Left side of an equation with markers; the first by default.
    trait : str, optional
        One omic or trait of it; all by default, the ten with the largest values in colour.
    map : DataFrame, optional
        Index marker, columns chromosome and position; markers stand in the order of the fit
        without.
    ax : matplotlib Axes, optional
        A new figure by default.

    Returns
    -------
    matplotlib Axes
        Where the prior includes every marker (RR-BLUP), the height is the absolute posterior mean
        of the effect instead, and the axis says so.

    Raises
    ------
    InputError
        For an unknown node or trait, or a marker that the map lacks.

    Examples
    --------
    >>> ax = plot_pip(result, trait="gene2", map=snp_map)  # doctest: +SKIP
    """
    chosen = _node_with_markers(read_description(result), node, trait)
    effects = _effects(result, chosen)
    always = np.isclose(effects["pip"], 0) | np.isclose(effects["pip"], 1)
    if always.all():
        effects = effects[effects["pip"] > 0.5].assign(height=lambda e: e["mean"].abs())
    else:
        effects = effects.assign(height=effects["pip"])
    if ax is None:
        _, ax = plt.subplots(figsize=(8, 3.5), layout="constrained")
    effects["x"] = _positions(effects["marker"], map, ax)
    columns = chosen.columns if trait is None else [trait]
    _draw_markers(ax, effects, columns)
    of = f" on {columns[0]}" if len(columns) == 1 else ""
    if always.all():
        ax.set(ylabel="|posterior mean effect|", ylim=(0, None))
        ax.set_title(f"Marker effects{of} (the prior includes every marker)")
    else:
        ax.set(ylabel="inclusion probability", ylim=(0, 1.03))
        ax.set_title(f"Inclusion of markers{of}")
    return ax


def _node_with_markers(
    nodes: list[NodeDescription], name: str | None, trait: str | None
) -> NodeDescription:
    candidates = [n for n in nodes if n.markers]
    if not candidates:
        raise InputError("The result has no marker effects to plot.")
    if name is not None:
        candidates = _matching(candidates, name, lambda n: [n.name], "node", "with markers")
    if trait is not None:
        candidates = _matching(candidates, trait, lambda n: n.columns, "trait", "with markers")
    return candidates[0]


def _matching(nodes, name, names_of, word, kind) -> list[NodeDescription]:
    found = [n for n in nodes if name in names_of(n)]
    if not found:
        choices = ", ".join(repr(c) for n in nodes for c in names_of(n))
        raise InputError(f"No {word} {kind} is called {name!r}; choose one of {choices}.")
    return found


def _effects(result: xr.DataTree, node: NodeDescription) -> pd.DataFrame:
    """Rows of `marker_effects` of one node."""
    table = marker_effects(result)
    return table[table["term"].isin(list(node.markers))] if "term" in table else table


def _positions(markers: pd.Series, map: pd.DataFrame | None, ax: Axes) -> np.ndarray:
    """Place of each marker on the x axis, which gets its ticks and chromosome bands."""
    if map is None:
        ax.set_xlabel("marker (in order)")
        return pd.factorize(markers)[0] + 1
    lacking = {"chromosome", "position"} - set(map.columns)
    if lacking:
        raise InputError(f"The map lacks the column {sorted(lacking)[0]!r}; it has {list(map)}.")
    unknown = markers[~markers.isin(map.index)].unique()
    if len(unknown):
        raise InputError(
            f"The map lacks {len(unknown)} markers of the fit, the first {unknown[0]!r}; add them."
        )
    used = map.loc[markers.unique()]
    chromosomes = sorted(used["chromosome"].unique(), key=_chromosome_order)
    position = pd.to_numeric(used["position"])
    span = position.groupby(used["chromosome"]).agg(["min", "max"]).loc[chromosomes]
    gap = 0.01 * (span["max"] - span["min"]).sum() or 1.0
    width = span["max"] - span["min"] + gap
    start = width.cumsum() - width
    for chromosome in chromosomes[::2]:
        left = start[chromosome]
        ax.axvspan(left, left + width[chromosome], color="#f2f2f2", zorder=0, lw=0)
    ax.set_xticks(start + width / 2, [str(c) for c in chromosomes])
    ax.tick_params(axis="x", length=0)
    ax.set_xlim(0, width.sum())
    ax.set_xlabel("chromosome")
    offset = used["chromosome"].map(start - span["min"]) + gap / 2
    return (position + offset).loc[markers].to_numpy()


def _chromosome_order(name: object) -> tuple[float, str]:
    text = str(name).removeprefix("chr")
    return (float(text) if text.isdigit() else np.inf, text)


def _draw_markers(ax: Axes, effects: pd.DataFrame, columns: list[str]) -> None:
    """One colour a column; of more than there are colours, the highest in colour."""
    highest = effects.groupby("trait")["height"].max().reindex(columns).fillna(0)
    ranked = list(highest.sort_values(ascending=False, kind="stable").index)
    coloured = [c for c in columns if c in set(ranked[: len(COLOURS)])]
    rest = effects[effects["trait"].isin(ranked[len(COLOURS) :])]
    size = 22 if len(effects) < 5000 else 8
    style: dict[str, Any] = {"s": size, "lw": 0, "rasterized": len(effects) > 5000}
    if len(rest):
        label = f"{len(columns) - len(coloured)} others"
        ax.scatter(rest["x"], rest["height"], color=OTHERS, label=label, zorder=2, **style)
    for colour, column in zip(COLOURS, coloured, strict=False):
        part = effects[effects["trait"] == column]
        ax.scatter(
            part["x"], part["height"], color=colour, label=column, alpha=0.85, zorder=3, **style
        )
    ax.spines[["top", "right"]].set_visible(False)
    if len(columns) > 1:
        ax.legend(
            loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8, handletextpad=0.1
        )


def plot_predicted(
    result: xr.DataTree,
    phenotypes: pd.DataFrame | None = None,
    trait: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Observed phenotypes against the breeding values (EBV) that the fit gives.

    Parameters
    ----------
    result : DataTree
        From `Network.fit`.
    phenotypes : DataFrame, optional
        Observed values, index individual, one column a trait: for instance those kept from the
        fit. The values that the model saw by default.
    trait : str, optional
        Trait or omic; the first trait by default.
    ax : matplotlib Axes, optional
        A new figure by default.

    Returns
    -------
    matplotlib Axes
        With the identity, the regression of the phenotype on the EBV, and their correlation. A
        slope of 1 means no inflation in phenotypes that the fit did not see; in those it did see,
        shrinkage makes it larger.

    Raises
    ------
    InputError
        For an unknown trait, or one of which nothing is observed.

    Examples
    --------
    >>> ax = plot_predicted(result, trait="y")  # doctest: +SKIP
    """
    nodes = sorted(read_description(result), key=lambda n: not n.terminal)
    trait = nodes[0].columns[0] if trait is None else trait
    node = _matching(nodes, trait, lambda n: n.columns, "trait", "or omic")[0]
    pairs = _pairs(result, node, trait, phenotypes)
    if ax is None:
        _, ax = plt.subplots(figsize=(4.5, 4.5), layout="constrained")
    ebv, observed = pairs["ebv"].to_numpy(), pairs["observed"].to_numpy()
    alpha = float(np.clip(30 / np.sqrt(len(pairs)), 0.15, 0.7))
    ax.scatter(
        ebv, observed, s=16, color=COLOURS[0], alpha=alpha, lw=0, rasterized=len(pairs) > 5000
    )
    ends = np.array([ebv.min(), ebv.max()])
    ax.plot(ends, ends, color="#7f7f7f", lw=1.2, ls="--", label="identity")
    title = f"{trait}: {len(pairs)} individuals"
    if ebv.std() > 0 and observed.std() > 0:
        slope, intercept = np.polyfit(ebv, observed, 1)
        label = f"regression, slope {slope:.2f}"
        ax.plot(ends, intercept + slope * ends, color="#333333", lw=1.6, label=label)
        title = f"{trait}: r = {np.corrcoef(ebv, observed)[0, 1]:.2f}, {len(pairs)} individuals"
    ax.set(xlabel="estimated breeding value", ylabel=f"observed {trait}", title=title)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=8, loc="upper left", framealpha=0.85, edgecolor="none")
    return ax


def _pairs(
    result: xr.DataTree, node: NodeDescription, trait: str, phenotypes: pd.DataFrame | None
) -> pd.DataFrame:
    """EBV and observed value of the individuals that have both."""
    values = result["genetic_values"].dataset
    if f"{node.name}_mean" not in values:
        raise InputError("The result has no breeding values; its network has no genotype layer.")
    ebv = values[f"{node.name}_mean"].sel({node.dim: trait}).to_series()
    ebv.index = ebv.index.astype(str)
    if phenotypes is None and node.individual is not None:
        raise InputError(f"{trait!r} has several records of some; give their means as phenotypes.")
    if phenotypes is None:
        observed = _observed(result, node, trait, ebv.index)
    elif trait in phenotypes:
        observed = phenotypes[trait].set_axis(phenotypes.index.astype(str))
    else:
        raise InputError(f"The phenotypes have no column {trait!r}; they have {list(phenotypes)}.")
    pairs = pd.DataFrame({"ebv": ebv, "observed": observed.reindex(ebv.index)}).dropna()
    if len(pairs) < 2:
        raise InputError(
            f"{trait!r} is observed in {len(pairs)} genotyped individuals; a plot needs two or "
            "more. Give other values as phenotypes."
        )
    return pairs


def _observed(
    result: xr.DataTree, node: NodeDescription, trait: str, individuals: pd.Index
) -> pd.Series:
    data = result["observed_data"].dataset
    if node.name in data:
        return data[node.name].sel({node.dim: trait}).to_series()
    if node.residual_covariance is not None:
        # One variable for all individuals with values in the same columns.
        parts = [
            values.sel({f"{name}_{node.dim}": trait}).to_series()
            for name, values in data.items()
            if trait in data.get(f"{name}_{node.dim}", ())
        ]
        return pd.concat([part.set_axis(part.index.astype(str)) for part in parts])
    cells = data[f"{node.name}_observed"]
    values = pd.Series(cells.to_numpy(), cells[cells.dims[0]].to_index().astype(str))
    # Labels are made, not split: IDs and names of traits may both contain ':'.
    labels = individuals if len(node.columns) == 1 else individuals + f":{trait}"
    return values.reindex(labels).set_axis(individuals)


def plot_fit(result: xr.DataTree) -> Figure:
    """One figure of a fit: the network, the markers, predicted against observed.

    Parameters
    ----------
    result : DataTree
        From `Network.fit`. The last panel is of the first trait; it is left out where individuals
        have several records or no breeding values, that of the markers where there are none.

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> figure = plot_fit(result)  # doctest: +SKIP
    """
    nodes = sorted(read_description(result), key=lambda n: not n.terminal)
    values = result["genetic_values"].dataset if "genetic_values" in result.children else {}
    panels: list[tuple[Callable[..., Axes], float]] = []
    if any(node.markers for node in nodes):
        panels.append((plot_pip, 1.0))
    if nodes[0].individual is None and f"{nodes[0].name}_mean" in values:
        panels.append((plot_predicted, 1.3))
    figure = plt.figure(figsize=(12, 6.5), layout="constrained")
    widths, heights = (1.1, 1)[: 1 + bool(panels)], [height for _, height in panels] or [1]
    grid = figure.add_gridspec(
        len(heights), len(widths), width_ratios=widths, height_ratios=heights
    )
    plot_network(result, ax=figure.add_subplot(grid[:, 0]))
    for row, (plot, _) in enumerate(panels):
        plot(result, ax=figure.add_subplot(grid[row, 1]))
    return figure
