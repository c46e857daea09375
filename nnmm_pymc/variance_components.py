"""Variance components of a fit, their shares of the phenotypic variance, and repeatability."""

from __future__ import annotations

import warnings
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nnmm_pymc.description import NodeDescription, read_description, traits_first
from nnmm_pymc.errors import InputError
from nnmm_pymc.summarise import summary, tails

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["repeatability", "trait_correlations", "variance_components"]


def variance_components(result: xr.DataTree, probability: float = 0.9) -> pd.DataFrame:
    """Variances of every omic and trait: random effects, markers, residual, and what they sum to.

    A random effect's variance is its parameter: of a pedigree the additive variance of the base
    population, of a random slope that of the slopes. That of markers is the variance of their
    genetic values over the candidates of `breeding_values`. Shares are of the sum of what the terms
    of the own equation add to the average individual, draw by draw: of a pedigree effect the share
    is the heritability in the narrow sense of an animal model. What an equation gets through omics
    is not in it (`mediated_heritability` has that).

    Parameters
    ----------
    result : DataTree
        From `Network.fit`.
    probability : float
        Of the intervals.

    Returns
    -------
    DataFrame
        Columns trait, component (a term, or "residual"), mean, sd, lower, upper of the variance,
        and share, share_sd, share_lower, share_upper.

    Raises
    ------
    InputError
        If the result is not that of `Network.fit`.
    """
    levels = tails(probability)
    rows = []
    for node in traits_first(read_description(result)):
        variances, added = _drawn(result, node)
        total = sum(added.values())
        for k, trait in enumerate(node.columns):
            for label, draws in variances.items():
                share = summary((added[label] / total)[:, k], levels, "share")
                row = {"trait": trait, "component": label}
                rows.append(row | summary(draws[:, k], levels) | share)
    return pd.DataFrame(rows)


def _drawn(
    result: xr.DataTree, node: NodeDescription
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Draws (draw, column) of each variance, and of what it adds to the average individual."""
    posterior = result["posterior"].dataset
    if node.markers or node.random:
        posterior = posterior.sel(draw=result["effect_draws"]["draw"].to_numpy())

    def stored(name: str) -> np.ndarray:
        if name not in posterior:
            raise InputError(f"The posterior does not hold {name!r}; fit again.")
        values = posterior[name].transpose("chain", "draw", ...).to_numpy()
        flat = values.reshape(values.shape[0] * values.shape[1], -1)
        return np.broadcast_to(flat, (len(flat), len(node.columns)))

    variances, added = {}, {}
    for name in node.markers:
        label = name.removeprefix(f"{node.name}_")
        explained = result["genetic_values"].dataset[f"{node.name}_{label}_explained"]
        variances[label] = added[label] = explained.to_numpy().reshape(-1, len(node.columns))
    for random in node.random.values():
        variances[random.label] = stored(random.variance)
        added[random.label] = variances[random.label] * random.mean_square
    variances["residual"] = added["residual"] = stored(node.residual_variance)
    return variances, added


def trait_correlations(result: xr.DataTree, probability: float = 0.9) -> pd.DataFrame:
    """Genetic and residual correlations of the traits of one equation.

    The genetic correlation is that of the breeding values over the candidates of
    `breeding_values`, draw by draw; that of a pedigree term with a covariance matrix (``ped``) is
    a parameter, of the base population, and so is the residual one of ``residual="correlated"``.
    Effects that are independent a priori, of a pedigree or of markers without a joint prior, draw
    the genetic one towards 0 as far as the traits leave it open: a warning says so.

    Parameters
    ----------
    result : DataTree
        From `Network.fit`.
    probability : float
        Of the intervals.

    Returns
    -------
    DataFrame
        Columns trait, other, component ("genetic", a pedigree term, or "residual"), mean, sd,
        lower, upper; a row for each pair.

    Raises
    ------
    InputError
        If the result is not that of `Network.fit`, or no equation has several traits.
    """
    levels = tails(probability)
    rows = []
    for node in read_description(result):
        _warn_of_independent(result, node)
        for component, draws in _covariances(result, node).items():
            sd = np.sqrt(np.diagonal(draws, axis1=1, axis2=2))
            for i, j in combinations(range(len(node.columns)), 2):
                with np.errstate(invalid="ignore"):
                    own = draws[:, i, j] / (sd[:, i] * sd[:, j])
                row = {"trait": node.columns[i], "other": node.columns[j], "component": component}
                # Traits without an included marker have no genetic correlation in a draw.
                rows.append(row | summary(own[np.isfinite(own)], levels))
    if not rows:
        raise InputError("No equation of the fit has several traits with genetic terms.")
    return pd.DataFrame(rows)


def _warn_of_independent(result: xr.DataTree, node: NodeDescription) -> None:
    """Warn where the prior knows of no correlation of the effects on different traits."""
    posterior = result["posterior"].dataset
    names = [*(name for name, r in node.random.items() if r.genetic), *node.markers]
    terms = [
        name.removeprefix(f"{node.name}_")
        for name in names
        if f"{name}_covariance" not in posterior
    ]
    if terms and node.terminal and len(node.columns) > 1:
        warnings.warn(
            f"Equation {node.formula!r}: effects of {', '.join(terms)} on different traits are "
            "independent a priori, which draws the genetic correlation towards 0; JointBayesC() "
            "and JointRRBLUP() for markers, and HalfTCovariance() for a pedigree, let them "
            "correlate.",
            stacklevel=3,
        )


def _covariances(result: xr.DataTree, node: NodeDescription) -> dict[str, np.ndarray]:
    """Draws (draw, trait, trait) of the covariance matrices of a node."""
    found = {}
    genetic = f"{node.name}_genetic_covariance"
    values = result["genetic_values"].dataset if "genetic_values" in result.children else {}
    if genetic in values:
        found["genetic"] = values[genetic]
    posterior = result["posterior"].dataset
    for name, random in node.random.items():
        if f"{name}_covariance" in posterior:
            found[random.label] = posterior[f"{name}_covariance"]
    if node.residual_covariance is not None:
        found["residual"] = result["posterior"].dataset[node.residual_covariance]
    size = len(node.columns)
    return {k: v.to_numpy().reshape(-1, size, size) for k, v in found.items()}


def repeatability(result: xr.DataTree, probability: float = 0.9) -> pd.DataFrame:
    """Repeatability of every trait with repeated records: what its records have in common.

    The share of the variance between individuals, which is that of their markers and pedigree
    effects and of the permanent environment, ``(1|cow)`` with the column that says of whom a record
    is, in the sum of the variances of the terms of the equation (`variance_components`).

    Parameters
    ----------
    result : DataTree
        From `Network.fit`.
    probability : float
        Of the interval.

    Returns
    -------
    DataFrame
        Columns trait, mean, sd, lower, upper.

    Raises
    ------
    InputError
        If the result is not that of `Network.fit`, or no equation has repeated records.
    """
    levels = tails(probability)
    rows = []
    for node in traits_first(read_description(result)):
        if node.individual is None:
            continue
        _, added = _drawn(result, node)
        between = [name.removeprefix(f"{node.name}_") for name in node.genetic]
        between += [r.label for r in node.random.values() if r.columns == [node.individual]]
        own = sum((added[label] for label in between), np.zeros_like(added["residual"]))
        share = own / sum(added.values())
        for k, trait in enumerate(node.columns):
            rows.append({"trait": trait, **summary(share[:, k], levels)})
    if not rows:
        raise InputError(
            "No equation of the fit has repeated records; give the layer of the records "
            "individual='column'."
        )
    return pd.DataFrame(rows)
