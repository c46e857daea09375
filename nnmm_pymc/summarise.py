"""Tables of a fitted network: breeding values, marker effects, heritabilities, weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nnmm_pymc.description import NodeDescription, read_description, traits_first
from nnmm_pymc.diagnose import moment_rhat
from nnmm_pymc.errors import InputError

__all__ = ["breeding_values", "heritability", "marker_effects", "summary", "tails", "weights"]


def summary(draws: np.ndarray, levels: tuple[float, float], name: str = "") -> dict[str, Any]:
    """Mean, sd and interval of draws (draw, ...) as columns: mean, sd, lower, upper.

    With a name they are called name, name_sd, name_lower, name_upper.
    """
    lower, upper = np.quantile(draws, levels, axis=0)
    of = f"{name}_" if name else ""
    return {
        name or "mean": draws.mean(axis=0),
        f"{of}sd": draws.std(axis=0),
        f"{of}lower": lower,
        f"{of}upper": upper,
    }


def tails(probability: float) -> tuple[float, float]:
    """Levels of the quantiles between which an interval of this probability lies.

    Raises
    ------
    InputError
        If it is not between 0 and 1.
    """
    number = isinstance(probability, int | float | np.number) and not isinstance(probability, bool)
    if not number or not 0.0 < probability < 1.0:
        raise InputError(
            f"probability={probability!r} must be between 0 and 1, such as 0.9 for 90 %."
        )
    return (1 - probability) / 2, (1 + probability) / 2


def _genetic_values(result: xr.DataTree) -> tuple[list[NodeDescription], xr.Dataset]:
    """Nodes, traits first, and what the fit says of their breeding values."""
    nodes = traits_first(read_description(result))
    values = result["genetic_values"].dataset if "genetic_values" in result.children else None
    if not values:
        raise InputError(
            "The result has no breeding values; its network has no genotypes or pedigree in an "
            "equation."
        )
    return nodes, values


def breeding_values(result: xr.DataTree) -> pd.DataFrame:
    """Estimated breeding values of every candidate; omics are traits too.

    Candidates are the genotyped individuals, or without genotypes all members of the pedigree. The
    breeding value is the expected genetic merit through the network given the genotype,
    intercepts and the non-linearity included (`nnmm_pymc.merit` has the formula and how JWAS's
    definition differs). Of random effects it has those of the individual itself, ``ped``, and not
    what it would be as a dam, ``ped(dam)``: `nnmm_pymc.level_effects` has these.

    Parameters
    ----------
    result : DataTree
        From `Network.fit`.

    Returns
    -------
    DataFrame
        Columns individual, trait, ebv (posterior mean), sd (posterior standard deviation), pev
        (prediction error variance: posterior variance of the breeding value less what all share),
        reliability (1 - pev over the genetic variance, `nnmm_pymc.genetic_values`; below zero by
        Monte Carlo error where nothing is known); traits in the order of the equations, then omics.

    Raises
    ------
    InputError
        If the result is not that of `Network.fit`, or its network has no genotypes or pedigree.
    """
    nodes, values = _genetic_values(result)
    columns = {"ebv": "mean", "sd": "sd", "pev": "pev", "reliability": "reliability"}
    frames = []
    for node in nodes:
        mean = values[f"{node.name}_mean"]
        for k, column in enumerate(node.columns):
            frames.append(
                pd.DataFrame(
                    {
                        "individual": mean["individual"].to_numpy(),
                        "trait": column,
                    }
                    | {c: values[f"{node.name}_{v}"].to_numpy()[:, k] for c, v in columns.items()}
                )
            )
    return pd.concat(frames, ignore_index=True)


def marker_effects(result: xr.DataTree) -> pd.DataFrame:
    """Posterior mean, sd and inclusion probability (PIP) of every marker effect.

    Parameters
    ----------
    result : DataTree
        From `Network.fit` or `sample`.

    Returns
    -------
    DataFrame
        Columns marker, trait (omic or trait; traits first), mean, sd, pip, r_hat; and ``term``
        where the model has several marker terms.
    """
    moments = result["moments"].dataset
    names = _marker_terms(result)
    if not names:
        raise InputError("The result has no marker effects.")
    frames = [_effect_table(moments, name) for name in names]
    if len(names) > 1:
        for name, frame in zip(names, frames, strict=True):
            frame.insert(0, "term", name)
    return pd.concat(frames, ignore_index=True)


def _marker_terms(result: xr.DataTree) -> list[str]:
    """Variables with marker effects: as the traits come, or by name where no network is known."""
    # The moments do not tell: a file keeps no order of variables.
    kept = [str(name) for name in result["moments"].dataset.data_vars]
    names = sorted(name.removesuffix("_included") for name in kept if name.endswith("_included"))
    nodes = traits_first(read_description(result)) if "network" in result.attrs else []
    known = [name for node in nodes for name in node.markers if name in names]
    return [*known, *(name for name in names if name not in known)]


def _effect_table(moments: xr.Dataset, name: str) -> pd.DataFrame:
    mean, variance = moments[f"{name}_mean"], moments[f"{name}_variance"]
    included = moments[f"{name}_included"]
    count = moments["count"].to_numpy()
    used = count > 0
    share = count / count.sum()
    m, v = mean.to_numpy()[:, used], variance.to_numpy()[:, used]
    w = share[used].reshape(1, -1, *([1] * (m.ndim - 2))) / m.shape[0]
    pooled = (w * m).sum(axis=(0, 1))
    second = (w * (v + (m - pooled) ** 2)).sum(axis=(0, 1))
    pip = (w * included.to_numpy()[:, used]).sum(axis=(0, 1))
    rhat = moment_rhat(m, v, count[used])
    markers = mean[mean.dims[2]].to_numpy()
    if pooled.ndim == 1:
        pooled, second, pip, rhat = (a[:, None] for a in (pooled, second, pip, rhat))
        columns = np.array([name])
    else:
        columns = mean[mean.dims[3]].to_numpy()
    return pd.DataFrame(
        {
            "marker": np.tile(markers, len(columns)),
            "trait": np.repeat(columns, len(markers)),
            "mean": pooled.T.ravel(),
            "sd": np.sqrt(second).T.ravel(),
            "pip": pip.T.ravel(),
            "r_hat": rhat.T.ravel(),
        }
    )


def heritability(result: xr.DataTree, probability: float = 0.9) -> pd.DataFrame:
    """Heritability of every omic and trait: variance of the breeding values over total variance.

    For a trait the total is the variance of its breeding values, plus what the residuals of the
    omics bring through the network, plus its own residual variance and those of its other random
    effects (herds, dams). Breeding values vary over the candidates of `breeding_values`; for the
    additive variance of a pedigree over the total see `variance_components`.

    Parameters
    ----------
    result : DataTree
        From `Network.fit`.
    probability : float
        Of the interval.

    Returns
    -------
    DataFrame
        Columns trait, mean, sd, lower, upper, genetic_variance (posterior mean); traits in the
        order of the equations, then omics.

    Raises
    ------
    InputError
        If the result is not that of `Network.fit`, or its network has no genotypes.
    """
    nodes, values = _genetic_values(result)
    levels = tails(probability)
    rows = []
    for node in nodes:
        draws = values[f"{node.name}_heritability"]
        genetic = values[f"{node.name}_genetic_variance"]
        for k, column in enumerate(node.columns):
            row = {"trait": column, **summary(draws.to_numpy()[..., k].ravel(), levels)}
            rows.append(row | {"genetic_variance": float(genetic.to_numpy()[..., k].mean())})
    return pd.DataFrame(rows)


def weights(result: xr.DataTree, probability: float = 0.9) -> pd.DataFrame:
    """Posterior of the weights with which omics act on what follows them in the network.

    Parameters
    ----------
    result : DataTree
        From `Network.fit`.
    probability : float
        Of the interval.

    Returns
    -------
    DataFrame
        Columns trait, omic, mean, sd, lower, upper: change of the trait for one unit of the
        activated omic; and pip, the share of draws that are not zero (1 unless the prior of the
        weights has a spike). A connection that the network leaves out has no row; a network
        without omics has none at all.
    """
    nodes = {node.name: node for node in read_description(result)}
    levels = tails(probability)
    rows = []
    for node in nodes.values():
        for parent in node.parents:
            stored = result["posterior"].dataset[parent.weights]
            shape = (len(parent.columns), len(node.columns))
            draws = stored.to_numpy().reshape(-1, *shape)
            connected = np.ones(shape, bool) if parent.mask is None else np.asarray(parent.mask)
            for j, k in np.argwhere(connected):
                w = draws[:, j, k]
                omic = nodes[parent.node].columns[parent.columns[j]]
                row = {"trait": node.columns[k], "omic": omic, **summary(w, levels)}
                rows.append(row | {"pip": np.mean(w != 0.0)})
    return pd.DataFrame(rows, columns=["trait", "omic", "mean", "sd", "lower", "upper", "pip"])
