"""Genetic merit through a fitted network, for individuals old and new.

The breeding value of an individual for a node is the mean of the node given the genotype,

    E[z_k | x] = mu_k + covariates at their mean + sum_j x_j a_jk
    E[y_t | x] = b_t + sum_k w_kt E[g(z_k) | x] + sum_j x_j d_jt
    z_k | x ~ N(E[z_k | x], sigma_k^2)

so intercepts and the bend of g over the residuals of the omics are in it. JWAS reports
``sum_k w_k g(sum_j x_j a_jk)``: without the intercept of the omics, and g at the mean instead of
the mean of g; with an identity activation the two differ by a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nnmm_pymc.activations import FUNCTIONS, NUMPY_ACTIVATIONS, gaussian_moments
from nnmm_pymc.data import MISSING, Genotypes
from nnmm_pymc.description import (
    FunctionDescription,
    NodeDescription,
    ParentDescription,
    parameter_names,
    read_description,
)
from nnmm_pymc.errors import InputError
from nnmm_pymc.functions import NodeFunction

__all__ = ["Batch", "NodeMoments", "match_markers", "merit_draws", "phenotype_draws"]

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
    """Parameters of some posterior draws, the leading axis running over the draws."""

    index: np.ndarray
    parameters: dict[str, np.ndarray]
    genetic: dict[str, np.ndarray]


def match_markers(genotypes: Genotypes, result: xr.DataTree, layer: str) -> Genotypes:
    """Genotypes with the markers of the fit, in its order and centred as in it.

    A marker of the fit that the new genotypes lack is imputed by its mean, as a missing call is.
    Where alleles are known (PLINK) a dosage of the other allele is turned; text files must count
    the allele that the fit counted.
    """
    constants = result["constant_data"].dataset
    name = f"{layer}_mean_dosage"
    wanted = constants[name][constants[name].dims[0]].to_index().astype(str)
    mean = constants[name].to_numpy()
    position = genotypes.markers.get_indexer(wanted)
    if (position < 0).all():
        raise InputError(
            f"{genotypes.source}: none of its markers (first: {genotypes.markers[0]!r}) is in the "
            f"fit (first: {wanted[0]!r}); check the marker names."
        )
    dosages = genotypes.dosages[np.maximum(position, 0)]
    if dosages.dtype == np.int8:
        dosages[position < 0] = MISSING
    else:
        dosages[position < 0] = np.nan
        dosages = np.where(np.isnan(dosages), mean[:, None], dosages).astype(np.float32)
    swapped = _swapped_alleles(genotypes, constants, layer, wanted) & (position >= 0)
    if swapped.any():
        count = dosages[swapped]
        missing = count < 0 if dosages.dtype == np.int8 else np.zeros(count.shape, bool)
        dosages[swapped] = np.where(missing, count, 2 - count)
    return Genotypes(
        np.ascontiguousarray(dosages),
        genotypes.individuals,
        wanted,
        mean,
        genotypes.report,
        None,
        genotypes.source,
    )


def _swapped_alleles(
    genotypes: Genotypes, constants: xr.Dataset, layer: str, wanted: pd.Index
) -> np.ndarray:
    """Markers whose dosage counts the other allele than in the fit (PLINK counts the minor one)."""
    if genotypes.info is None or f"{layer}_effect_allele" not in constants:
        return np.zeros(len(wanted), bool)
    info = genotypes.info.reindex(wanted)
    absent = info["effect_allele"].isna().to_numpy()
    new = [info[f"{which}_allele"].astype(str).to_numpy() for which in ("effect", "other")]
    old = [constants[f"{layer}_{which}_allele"].to_numpy() for which in ("effect", "other")]

    def agree(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a == b) | (a == "0") | (b == "0")  # 0: the allele was not seen in that file

    same = agree(new[0], old[0]) & agree(new[1], old[1])
    swapped = agree(new[0], old[1]) & agree(new[1], old[0]) & ~same
    strange = ~(same | swapped | absent)
    if strange.any():
        j = int(np.argmax(strange))
        raise InputError(
            f"{genotypes.source}: marker {wanted[j]!r} has alleles {new[0][j]}/{new[1][j]}, in the "
            f"fit {old[0][j]}/{old[1][j]} ({strange.sum()} such markers); bring them to one strand "
            "or leave them out."
        )
    return swapped & ~absent


def _batches(
    result: xr.DataTree, nodes: list[NodeDescription], genotypes: Mapping[str, Genotypes]
) -> Iterator[Batch]:
    """Thinned posterior draws with the genetic values they give, some at a time."""
    effects: Any = result["effect_draws"].dataset if "effect_draws" in result.children else None
    posterior = result["posterior"].dataset
    if effects is not None:
        posterior = posterior.isel(draw=np.asarray(effects["draw"].to_numpy(), int))
    n_draws = posterior.sizes["chain"] * posterior.sizes["draw"]
    names = parameter_names(nodes)
    flat = {name: _flat(_stored(posterior, name)) for name in names}
    n = max((g.n for g in genotypes.values()), default=1)
    width = max((len(node.columns) for node in nodes), default=1)
    size = max(1, min(n_draws, BATCH_ELEMENTS // max(1, n * width)))
    for start in range(0, n_draws, size):
        index = np.arange(start, min(n_draws, start + size))
        genetic = {}
        for node in nodes:
            for name, layer in node.markers.items():
                draws = _flat(effects[name])[index]
                genetic[name] = _genetic_values(genotypes[layer], draws)
        yield Batch(index, {k: v[index] for k, v in flat.items()}, genetic)


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


def _residual_variance(node: NodeDescription, batch: Batch) -> np.ndarray:
    value = batch.parameters[node.residual_variance]
    return np.broadcast_to(value.reshape(len(value), -1), (len(value), len(node.columns)))


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
    for name in node.markers:
        mean += batch.genetic[name]
    return mean


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
) -> dict[str, NodeMoments]:
    """Mean and variance of every node given genotypes, and given what is `observed` of it.

    The variance of a node behind two non-linear layers takes the inner layer as Gaussian; functions
    of a user's own are averaged over draws of the residuals (`nnmm_pymc.functions.N_RESIDUALS`).
    """
    moments: dict[str, NodeMoments] = {}
    for node in nodes:
        mean = _linear(node, batch, n)
        variance = np.repeat(_residual_variance(node, batch)[:, None, :], n, axis=1)
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
            # The same residuals for every batch: batches must not differ by them.
            rng = np.random.default_rng(0)
            f_mean, f_variance = function.moments(means, sds, own, rng)
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
    """
    nodes = read_description(result)
    n = max((g.n for g in genotypes.values()), default=0)
    if not n and observed:
        n = max(len(v) for v in observed.values())
    for batch in _batches(result, nodes, genotypes):
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
        Covariates; others are at their average in the fit.
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
        sd = np.sqrt(_residual_variance(node, batch))[:, None, :]
        value = mean + sd * rng.standard_normal(mean.shape)
        if node.name in observed:
            value = np.where(np.isnan(observed[node.name]), value, observed[node.name])
        values[node.name] = value
    return values
