"""Genetic merit through a fitted network, for individuals old and new.

The breeding value of an individual for a node is the mean of the node given the genotype,

    E[z_k | x] = mu_k + covariates at their mean + sum_j x_j a_jk + u_k
    E[y_t | x] = b_t + sum_k w_kt E[g(z_k) | x] + sum_j x_j d_jt + u_t
    z_k | x ~ N(E[z_k | x], sigma_k^2)

with u the individual's own effect where the equation has a pedigree or precision matrix; other
random effects (herds, dams) have mean zero and add their variance to sigma^2. So intercepts and the
bend of g over the residuals of the omics are in it. JWAS reports ``sum_k w_k g(sum_j x_j a_jk)``:
without the intercept of the omics, and g at the mean instead of the mean of g; with an identity
activation the two differ by a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nnmm_pymc.activations import FUNCTIONS, NUMPY_ACTIVATIONS, gaussian_moments
from nnmm_pymc.correlated_traits import correlated_noise
from nnmm_pymc.data import MISSING, Genotypes
from nnmm_pymc.description import (
    FunctionDescription,
    NodeDescription,
    ParentDescription,
    parameter_names,
    read_description,
)
from nnmm_pymc.errors import InputError
from nnmm_pymc.family_draws import tail_variance
from nnmm_pymc.functions import NodeFunction
from nnmm_pymc.level_draws import level_means, level_spread, member_positions

__all__ = [
    "Batch",
    "NodeMoments",
    "level_variance",
    "merit_draws",
    "node_moments",
    "noise_variance",
    "phenotype_draws",
]

Functions = Mapping[str, Callable[..., Any]]

# Elements of one batch of draws of the genetic values: bounds the memory of a prediction.
BATCH_ELEMENTS = 2_000_000


@dataclass(frozen=True, eq=False)
class NodeMoments:
    """Mean and variance of a node given the genotype, for a batch of draws: (draw, i, column)."""

    mean: np.ndarray
    variance: np.ndarray


@dataclass(frozen=True, eq=False)
class Batch:
    """Parameters of some posterior draws, the leading axis running over the draws.

    `genetic` has what markers, and the individual's own random effects, add to each individual;
    `effects` the random effects of other levels, (draw, level, column).
    """

    index: np.ndarray
    parameters: dict[str, np.ndarray]
    genetic: dict[str, np.ndarray]
    effects: dict[str, np.ndarray] = field(default_factory=dict)


def _batches(
    result: xr.DataTree,
    nodes: list[NodeDescription],
    genotypes: Mapping[str, Genotypes],
    individuals: pd.Index | None,
) -> Iterator[Batch]:
    """Thinned posterior draws with the genetic values they give, some at a time."""
    effects: Any = result["effect_draws"].dataset if "effect_draws" in result.children else None
    posterior = result["posterior"].dataset
    if effects is not None:
        posterior = posterior.isel(draw=np.asarray(effects["draw"].to_numpy(), int))
    n_draws = posterior.sizes["chain"] * posterior.sizes["draw"]
    names = parameter_names(nodes)
    flat = {name: _flat(_stored(posterior, name)) for name in names}
    random = {name: r for node in nodes for name, r in node.random.items()}
    drawn = {name: _flat(effects[name]) for name in random}
    own = {
        name: member_positions(effects[name], r, individuals)
        for name, r in random.items()
        if r.genetic
    }
    n = max([g.n for g in genotypes.values()] + [len(rows) for rows in own.values()], default=1)
    width = max((len(node.columns) for node in nodes), default=1)
    size = max(1, min(n_draws, BATCH_ELEMENTS // max(1, n * width)))
    for start in range(0, n_draws, size):
        index = np.arange(start, min(n_draws, start + size))
        genetic = {name: drawn[name][index][:, rows] for name, rows in own.items()}
        for node in nodes:
            for name, layer in node.markers.items():
                draws = _flat(effects[name])[index]
                genetic[name] = _genetic_values(genotypes[layer], draws)
        yield Batch(
            index,
            {k: v[index] for k, v in flat.items()},
            genetic,
            {name: drawn[name][index] for name in random if name not in own},
        )


def _stored(posterior: xr.Dataset, name: str) -> xr.DataArray:
    if name not in posterior:
        raise InputError(
            f"The posterior does not hold {name!r} draw by draw; fit again with keep=[{name!r}]."
        )
    return posterior[name]


def _flat(array: xr.DataArray) -> np.ndarray:
    values = array.transpose("chain", "draw", ...).to_numpy()
    return values.reshape(-1, *values.shape[2:])


def _genetic_values(genotypes: Genotypes, effects: np.ndarray) -> np.ndarray:
    """(draw, individual, column) genetic values from (draw, marker, column) effects."""
    n_draws, p, k = effects.shape
    out = np.zeros((genotypes.n, n_draws * k), np.float32)
    for start in range(0, p, 512):
        raw = genotypes.dosages[start : start + 512]
        block = raw.astype(np.float32) - genotypes.mean[start : start + 512, None].astype(
            np.float32
        )
        if raw.dtype == np.int8:
            block[raw == MISSING] = 0.0
        columns = effects[:, start : start + 512].transpose(1, 0, 2).reshape(len(raw), -1)
        out += block.T @ columns.astype(np.float32)
    return out.reshape(genotypes.n, n_draws, k).transpose(1, 0, 2).astype(np.float64)


def _linear(
    node: NodeDescription, batch: Batch, n: int, designs: Mapping[str, np.ndarray] | None = None
) -> np.ndarray:
    """Everything of a node's mean but its parents; covariates without a design at their average."""
    mean = np.zeros((len(batch.index), n, len(node.columns)))
    if node.intercept:
        value = batch.parameters[f"{node.name}_Intercept"]
        mean += value.reshape(len(value), 1, -1)
    for name, covariate in node.covariates.items():
        design = (designs or {}).get(name, np.array([covariate.average]))
        mean += design @ _matrices(batch.parameters[name], design.shape[1], len(node.columns))
    for name in node.genetic:
        mean += batch.genetic[name]
    for name, random in node.random.items():
        if name in (designs or {}) and not random.genetic:
            mean += level_means(batch.effects[name], (designs or {})[name])
    return mean


def noise_variance(
    node: NodeDescription, batch: Batch, n: int, designs: Mapping[str, np.ndarray] | None = None
) -> np.ndarray:
    """Variance of a node given its parents, (draw, individual, column).

    The residual's, and that of random effects of levels that are not known.
    """
    value = batch.parameters[node.residual_variance]
    residual = np.zeros((len(value), n, len(node.columns))) + value.reshape(len(value), 1, -1)
    return level_variance(node, batch, residual, designs)


def level_variance(
    node: NodeDescription,
    batch: Batch,
    residual: np.ndarray,
    designs: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Variance (draw, individual, column) with that of random effects of unknown levels added."""
    variance, n = residual.copy(), residual.shape[1]
    for name, random in node.random.items():
        if not random.genetic:
            own = batch.parameters[random.variance].reshape(len(variance), 1, -1)
            variance += own * level_spread(random, n, (designs or {}).get(name))
    return variance


def _weights(parent: ParentDescription, batch: Batch, width: int) -> np.ndarray:
    weights = _matrices(batch.parameters[parent.weights], len(parent.columns), width)
    return weights if parent.mask is None else weights * np.asarray(parent.mask, float)


def _matrices(draws: np.ndarray, height: int, width: int) -> np.ndarray:
    """(draw, height, width) of a parameter that rows or columns may share."""
    if draws.ndim < 3:
        draws = draws.reshape(len(draws), 1, -1)
    return np.broadcast_to(draws, (len(draws), height, width))


def node_moments(
    nodes: list[NodeDescription],
    batch: Batch,
    n: int,
    observed: Mapping[str, np.ndarray] | None = None,
    functions: Functions | None = None,
    designs: Mapping[str, np.ndarray] | None = None,
) -> dict[str, NodeMoments]:
    """Mean and variance of every node given genotypes, and given what is `observed` of it.

    The variance of a node behind two non-linear layers takes the inner layer as Gaussian; functions
    of a user's own are averaged over points of the residuals (`NodeFunction.moments`).
    """
    moments: dict[str, NodeMoments] = {}
    for node in nodes:
        mean = _linear(node, batch, n, designs)
        variance = noise_variance(node, batch, n, designs)
        for parent in node.parents:
            inner = moments[parent.node]
            centre, scale = np.asarray(parent.centre), np.asarray(parent.scale)
            g_mean, g_variance = gaussian_moments(
                parent.activation,
                (inner.mean[..., parent.columns] - centre) / scale,
                np.sqrt(inner.variance[..., parent.columns]) / scale,
            )
            weights = _weights(parent, batch, len(node.columns))
            mean += g_mean @ weights
            variance += g_variance @ weights**2
        for described in node.functions:
            function = _function(described, functions)
            inputs = [(moments[name], columns, m) for name, columns, m in described.arguments]
            means = [_argument(of.mean, columns, m) for of, columns, m in inputs]
            sds = [_argument(np.sqrt(of.variance), columns, m) for of, columns, m in inputs]
            own = {name: batch.parameters[name] for name in described.parameters}
            f_mean, f_variance = function.moments(means, sds, own, batch.index)
            weights = _matrices(
                batch.parameters[described.weights], f_mean.shape[2], len(node.columns)
            )
            mean += f_mean @ weights
            variance += f_variance @ weights**2
        if observed is not None and node.name in observed:
            known = ~np.isnan(observed[node.name])
            mean = np.where(known, observed[node.name], mean)
            variance = np.where(known, 0.0, variance)
        moments[node.name] = NodeMoments(mean, variance)
    return moments


def _argument(values: np.ndarray, columns: list[int], matrix: bool) -> np.ndarray:
    return values[..., columns] if matrix else values[..., columns[0]]


def _function(described: FunctionDescription, functions: Functions | None) -> NodeFunction:
    known = {**FUNCTIONS, **(functions or {})}
    if described.name not in known:
        raise InputError(
            f"The network has a function {described.name!r} of your own, which a result does not "
            f"hold; give functions={{{described.name!r}: ...}}."
        )
    ranks = tuple(2 if matrix else 1 for *_, matrix in described.arguments)
    return NodeFunction(described.name, known[described.name], ranks)


def merit_draws(
    result: xr.DataTree,
    genotypes: Mapping[str, Genotypes],
    observed: Mapping[str, np.ndarray] | None = None,
    functions: Functions | None = None,
    individuals: pd.Index | None = None,
) -> Iterator[tuple[Batch, dict[str, NodeMoments]]]:
    """Moments of every node for batches of posterior draws.

    Parameters
    ----------
    result : DataTree
        From `Network.fit`.
    genotypes : mapping from layer to Genotypes
        With the markers of the fit (`match_markers`), all of the same individuals.
    observed : mapping from node to (individual, column) array, optional
        Known values, NaN where unknown.
    functions : mapping from name to callable, optional
        The network's functions of a user's own.
    individuals : pandas.Index, optional
        Whose pedigree effects are meant: those of the genotypes by default, or all members.

    Raises
    ------
    InputError
        An individual is not in the pedigree of the fit.
    """
    nodes = read_description(result)
    if individuals is None and genotypes:
        individuals = next(iter(genotypes.values())).individuals
    n = 0 if individuals is None else len(individuals)
    if not n and observed:
        n = max(len(v) for v in observed.values())
    for batch in _batches(result, nodes, genotypes, individuals):
        n = next((values.shape[1] for values in batch.genetic.values()), n)
        yield batch, node_moments(nodes, batch, n, observed, functions)


def phenotype_draws(
    nodes: list[NodeDescription],
    batch: Batch,
    n: int,
    observed: Mapping[str, np.ndarray],
    designs: Mapping[str, np.ndarray],
    rng: np.random.Generator,
    functions: Functions | None = None,
) -> dict[str, np.ndarray]:
    """One draw of every node for every posterior draw, residuals included.

    Parameters
    ----------
    nodes : list of NodeDescription
        Parents before children.
    batch : Batch
        From `merit_draws`.
    n : int
        Individuals.
    observed : mapping from node to (individual, column) array
        Known values, which are held; NaN where unknown.
    designs : mapping from variable to (individual, design column) array
        Covariates, others are at their average in the fit; and levels and multipliers of random
        effects (`nnmm_pymc.level_draws`), others being new levels.
    rng : Generator
    functions : mapping from name to callable, optional
        The network's functions of a user's own.

    Returns
    -------
    dict from node to (draw, individual, column) array
    """
    values: dict[str, np.ndarray] = {}
    for node in nodes:
        mean = _linear(node, batch, n, designs)
        for parent in node.parents:
            z = (values[parent.node][..., parent.columns] - parent.centre) / parent.scale
            mean += NUMPY_ACTIVATIONS[parent.activation](z) @ _weights(
                parent, batch, len(node.columns)
            )
        for described in node.functions:
            function = _function(described, functions)
            for d in range(len(mean)):
                at = [
                    _argument(values[name][d], columns, matrix)
                    for name, columns, matrix in described.arguments
                ]
                own = {name: batch.parameters[name][d] for name in described.parameters}
                out = function.evaluate(at, own)
                weights = batch.parameters[described.weights][d]
                mean[d] += out @ weights.reshape(-1, len(node.columns))
        variance = noise_variance(node, batch, n, designs)
        variance += tail_variance(node, batch, mean.shape, rng)
        white = rng.standard_normal(mean.shape)
        if node.residual_covariance is None:
            value = mean + np.sqrt(variance) * white
        else:
            levels = level_variance(node, batch, np.zeros(mean.shape), designs)
            value = mean + correlated_noise(batch.parameters[node.residual_covariance], white)
            if levels.any():
                value += np.sqrt(levels) * rng.standard_normal(mean.shape)
        if node.name in observed:
            value = np.where(np.isnan(observed[node.name]), value, observed[node.name])
        values[node.name] = value
    return values
