"""The likelihood of a node: its observed cells, missing ones that are unknowns, and given ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt

from nnmm_pymc.edges import Node
from nnmm_pymc.errors import InputError
from nnmm_pymc.families import COUNTS
from nnmm_pymc.steps.bounds import Liability, register_liability

__all__ = ["add_likelihood"]

#: Sets of traits that individuals may have records of.
MOST_PATTERNS = 64


def add_likelihood(
    node: Node,
    mean: Any,
    variance: Any,
    individuals: pd.Index,
    shape: Any = None,
    covariance: Any = None,
) -> Any:
    """Variables of a node's cells around their means, with residual variances by column.

    Parameters
    ----------
    node : Node
    mean : (row, column) expression
    variance : (column,) expression
    individuals : pandas.Index
    shape : (column,) expression, optional
        Degrees of freedom of a t, dispersion of a negative binomial.
    covariance : (column, column) expression, optional
        Of correlated residuals.

    Returns
    -------
    (row, column) expression
        Values that the node's children see.
    """
    sd = pt.sqrt(variance) * np.ones(len(node.columns))
    if node.weights is not None:
        sd = sd / np.sqrt(node.weights)[:, None]
    present = ~np.isnan(node.observed)
    if covariance is not None:
        return _correlated(node, mean, covariance, present, individuals)
    if node.equation.family == "student_t":
        sd = sd * _tails(node, shape, present, individuals)
    elif node.equation.family != "gaussian":
        return _liabilities(node, mean, sd, present, individuals, shape)
    if present.all():
        dims = (node.row_dim, node.dim)
        return pm.Normal(node.name, mean, sd, observed=node.observed, dims=dims)
    values = pt.zeros(present.shape)
    if present.any():
        seen = _cell_variable(
            f"{node.name}_observed", node, mean, sd, present, individuals, node.observed[present]
        )
        # Of the observed cells the random variable, not its data: prior draws go through.
        values = pt.set_subtensor(values[np.nonzero(present)], seen)
    if node.terminal:
        return values
    if node.latent.any():
        missing = _cell_variable(
            f"{node.name}_missing", node, mean, sd, node.latent, individuals, None
        )
        rows, columns = np.nonzero(node.latent)
        values = pt.set_subtensor(values[rows, columns], missing)
    given = ~np.isnan(node.given)
    if given.any():
        values = pt.set_subtensor(values[np.nonzero(given)], node.given[given])
    return pm.Deterministic(node.name, values, dims=(node.row_dim, node.dim))


def _correlated(
    node: Node, mean: Any, covariance: Any, present: np.ndarray, individuals: pd.Index
) -> Any:
    """Rows around their means: one variable for all individuals with values in the same columns.

    So cells that are missing are no unknowns: what is known of an individual has the covariance of
    those columns.
    """
    if present.all():
        dims = (node.row_dim, node.dim)
        return pm.MvNormal(node.name, mean, covariance, observed=node.observed, dims=dims)
    patterns, group = np.unique(present, axis=0, return_inverse=True)
    if len(patterns) > MOST_PATTERNS:
        raise InputError(
            f"Equation {node.equation.formula!r}: individuals have values in {len(patterns)} "
            f"different sets of columns, more than {MOST_PATTERNS}; residual='correlated' needs "
            "fewer traits or more complete ones."
        )
    model = pm.modelcontext(None)
    for k, pattern in enumerate(patterns):
        columns, rows = np.flatnonzero(pattern), np.flatnonzero(group.ravel() == k)
        if not len(columns):
            continue
        names = [node.columns[c] for c in columns]
        name = f"{node.name}_observed_{'+'.join(names)}"
        dims = (f"{name}_individual", f"{name}_{node.dim}")
        model.add_coords({dims[0]: list(node.row_names(individuals)[rows]), dims[1]: names})
        own = covariance[columns][:, columns]
        observed = node.observed[np.ix_(rows, columns)]
        pm.MvNormal(name, mean[rows][:, columns], own, observed=observed, dims=dims)
    return mean


def _tails(node: Node, df: Any, present: np.ndarray, individuals: pd.Index) -> Any:
    """What standard deviations of a t are multiplied by, given a precision for each cell."""
    name, (rows, columns) = f"{node.name}_precision", np.nonzero(present)
    _add_cells(f"{name}_cell", node, rows, columns, individuals)
    half = 0.5 * df[columns]
    precision = pm.Gamma(name, half, half, dims=f"{name}_cell")
    factor = pt.sqrt((1.0 - 1.0 / half) / precision)
    return pt.set_subtensor(pt.ones(present.shape)[rows, columns], factor)


def _liabilities(
    node: Node, mean: Any, sd: Any, present: np.ndarray, individuals: pd.Index, shape: Any
) -> Any:
    """Gaussian liabilities of the cells, and what is observed of them (`nnmm_pymc.families`)."""
    family, name = node.equation.family, f"{node.name}_liability"
    if node.bounds is not None:
        return _censored(node, mean, sd, present, individuals)
    liability = _cell_variable(name, node, mean, sd, present, individuals, None)
    values, dim = node.observed[present], f"{name}_cell"
    if family in COUNTS:
        name_observed, count = f"{node.name}_observed", pt.exp(liability)
        if family == "poisson":
            pm.Poisson(name_observed, count, observed=values, dims=dim)
        else:
            size = 1.0 / shape[np.nonzero(present)[1]]
            pm.NegativeBinomial(name_observed, mu=count, alpha=size, observed=values, dims=dim)
        unbounded = np.full(len(values), -np.inf), np.full(len(values), np.inf)
        register_liability(pm.modelcontext(None), Liability(name, *unbounded, count=True))
        return liability
    codes = values.astype(int)
    cuts: Any = np.zeros(1)
    gaps = None
    if node.categories is not None:
        model = pm.modelcontext(None)
        model.add_coord(f"{node.name}_gap", [str(k) for k in range(2, len(node.categories))])
        gaps = pm.Exponential(f"{node.name}_gaps", 1.0, dims=f"{node.name}_gap")
        cuts = pt.concatenate([np.zeros(1), pt.cumsum(gaps)])
        model.add_coord(f"{node.name}_cutpoint", [str(k) for k in range(1, len(node.categories))])
        cuts = pm.Deterministic(f"{node.name}_cutpoints", cuts, dims=f"{node.name}_cutpoint")
    pm.CustomDist(
        f"{node.name}_observed",
        liability,
        cuts,
        logp=_threshold_logp,
        random=_threshold_random,
        signature="(),(c)->()",
        observed=codes,
        dims=dim,
    )
    lower, upper = np.where(codes > 0, 0.0, -np.inf), np.where(codes > 0, np.inf, 0.0)
    gap_value = None if gaps is None else f"{node.name}_gaps_log__"
    register_liability(pm.modelcontext(None), Liability(name, lower, upper, codes, gap_value))
    return liability


def _threshold_logp(value: Any, liability: Any, cuts: Any) -> Any:
    """0 where the liability lies in its category, else minus infinity."""
    category = pt.sum(liability[..., None] > cuts, axis=-1)
    return pt.switch(pt.eq(category, value), 0.0, -np.inf)


def _threshold_random(liability: Any, cuts: Any, rng: Any = None, size: Any = None) -> Any:
    return np.sum(np.asarray(liability)[..., None] > cuts, axis=-1)


def _censored(node: Node, mean: Any, sd: Any, present: np.ndarray, individuals: pd.Index) -> Any:
    """Values that are known, and liabilities of those between bounds."""
    assert node.bounds is not None
    between, name = ~np.isnan(node.bounds[0]), f"{node.name}_liability"
    known = present & ~between
    values = pt.zeros(present.shape)
    if known.any():
        seen = _cell_variable(
            f"{node.name}_observed", node, mean, sd, known, individuals, node.observed[known]
        )
        values = pt.set_subtensor(values[np.nonzero(known)], seen)
    if between.any():
        hidden = _cell_variable(name, node, mean, sd, between, individuals, None)
        lower, upper = (bound[between] for bound in node.bounds)
        inside = (hidden > lower) & (hidden <= upper)
        pm.Potential(f"{node.name}_bounds", pt.sum(pt.switch(inside, 0.0, -np.inf)))
        register_liability(pm.modelcontext(None), Liability(name, lower, upper))
        values = pt.set_subtensor(values[np.nonzero(between)], hidden)
    return values


def _add_cells(
    dim: str, node: Node, rows: np.ndarray, columns: np.ndarray, individuals: pd.Index
) -> None:
    """The coordinate of some cells: their individual, and column where there are several."""
    single, names = len(node.columns) == 1, node.row_names(individuals)
    labels = [
        names[r] if single else f"{names[r]}:{node.columns[c]}"
        for r, c in zip(rows, columns, strict=True)
    ]
    pm.modelcontext(None).add_coord(dim, labels)


def _cell_variable(
    name: str,
    node: Node,
    mean: Any,
    sd: Any,
    cells: np.ndarray,
    individuals: pd.Index,
    observed: np.ndarray | None,
) -> Any:
    """Normal variable of some cells, individual by individual; their labels are its coordinate."""
    rows, columns = np.nonzero(cells)
    dim = f"{name}_cell"
    _add_cells(dim, node, rows, columns, individuals)
    whole_rows = np.array_equal(
        cells, np.repeat(cells.any(axis=1), cells.shape[1]).reshape(cells.shape)
    )
    if whole_rows:
        kept = np.flatnonzero(cells.any(axis=1))
        cell_mean = mean[kept].ravel()
        sd = sd if sd.ndim == 1 else sd[kept]
        cell_sd = pt.broadcast_to(sd, (len(kept), cells.shape[1])).ravel()
    else:
        cell_mean = mean[rows, columns]
        cell_sd = sd[columns] if sd.ndim == 1 else sd[rows, columns]
    return pm.Normal(name, cell_mean, cell_sd, observed=observed, dims=dim)
