"""How much of the heritability of a trait runs through omics: direct and mediated variance.

The breeding value (`nnmm_pymc.merit`) of trait t is, but for a constant, a sum of what reaches it,

    direct_t   = sum_j x_j d_jt
    mediated_t = sum_k w_kt E[g(z_k) | x]

and its variance over individuals is V(direct) + V(mediated) + 2 Cov(direct, mediated). What an omic
brings includes all that comes to it from omics before it in the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nnmm_pymc.activations import gaussian_moments
from nnmm_pymc.data import Genotypes, align
from nnmm_pymc.description import (
    NodeDescription,
    ParentDescription,
    read_description,
    traits_first,
)
from nnmm_pymc.marker_matching import match_markers
from nnmm_pymc.merit import Batch, Functions, NodeMoments, merit_draws
from nnmm_pymc.prediction import genotype_layers, genotypes_by_layer
from nnmm_pymc.summarise import summary, tails

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["fitted_genotypes", "mediated_heritability", "omic_shares"]

# Of one trait: (draw, individual) by layer and source.
Brought = dict[tuple[str, str], np.ndarray]
# By name: a variance and the numerator of its shares, both (draw,).
Parts = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]


def fitted_genotypes(result: xr.DataTree, genotypes: Any) -> dict[str, Genotypes]:
    """Genotypes by layer, with the markers of the fit and the individuals that all layers have.

    Parameters
    ----------
    result : DataTree
        From `Network.fit` or `load`.
    genotypes : path, DataFrame, array, Genotypes, or mapping from layer to one of these

    Raises
    ------
    InputError
        A layer is unknown, lacking or unreadable, or shares no marker with the fit.
    """
    layers = genotype_layers(read_description(result))
    given = genotypes_by_layer(genotypes, layers)
    individuals = align(given).individuals
    return {name: match_markers(g.take(individuals), result, name) for name, g in given.items()}


def mediated_heritability(
    result: xr.DataTree,
    genotypes: Any,
    *,
    functions: Functions | None = None,
    probability: float = 0.9,
) -> pd.DataFrame:
    """Genetic variance of every trait split into direct, mediated by omics, and their covariance.

    Parameters
    ----------
    result : DataTree
        From `Network.fit` or `load`.
    genotypes : path, DataFrame, array, Genotypes, or mapping from layer to one of these
        Variances are over these individuals; usually those of the fit.
    functions : mapping from name to callable, optional
        The network's functions of your own, which a result cannot hold (`Network.functions`).
    probability : float
        Of the intervals.

    Returns
    -------
    DataFrame
        Column trait: traits in the order of the equations, then omics that other omics reach.
        Columns part and layer:

        - total: the breeding values;
        - direct: marker terms, and pedigree effects, of the trait's own equation;
        - mediated: through omics; through all of them first, then, where there are several layers,
          through each alone (functions of your own count as a layer "functions");
        - covariance: twice that of direct and mediated, so that it, direct and mediated sum to the
          total in every draw.

        Columns variance, share (of the genetic variance; 0 in a draw without any) and heritability
        (share of the phenotypic variance), each with _sd, _lower and _upper. The total heritability
        is that of `heritability`.

    Raises
    ------
    InputError
        The result is not that of `Network.fit`, or the genotypes are not those of its layers.

    References
    ----------
    Yao, O'Connor, Price, Gusev (2020) Nature Genetics 52:626: heritability mediated by gene
    expression. There it is defined over markers with random effects, here over individuals.
    """
    return _table(result, genotypes, functions, probability, ("part", "layer"), _split)


def omic_shares(
    result: xr.DataTree,
    genotypes: Any,
    *,
    functions: Functions | None = None,
    probability: float = 0.9,
) -> pd.DataFrame:
    """Share of every single omic, and of direct marker effects, in the genetic variance of traits.

    The share of omic k is Cov(w_k E[g(z_k) | x], breeding value) / V(breeding value): the
    covariance of two omics goes half to each, and the shares sum to 1. It is negative for an omic
    that works against the rest.

    Parameters
    ----------
    result, genotypes, functions, probability
        As in `mediated_heritability`.

    Returns
    -------
    DataFrame
        Columns trait, layer, source (an omic, "direct", or "functions" for all functions of your
        own together), variance (of what this source brings, alone), share and heritability (the
        share of the trait's heritability), each with _sd, _lower and _upper. An omic that the
        network does not connect with the trait has no row.

    Raises
    ------
    InputError
        As in `mediated_heritability`.
    """
    return _table(result, genotypes, functions, probability, ("layer", "source"), _single)


def _table(
    result: xr.DataTree,
    genotypes: Any,
    functions: Functions | None,
    probability: float,
    keys: tuple[str, str],
    parts: Callable[[NodeDescription, Brought, np.ndarray], Parts],
) -> pd.DataFrame:
    """Summaries over the draws of what `parts` says of every trait."""
    levels = tails(probability)
    nodes = {node.name: node for node in traits_first(read_description(result))}
    explained = [node for node in nodes.values() if node.terminal or node.parents or node.functions]
    drawn: dict[tuple[str, ...], list[np.ndarray]] = {}
    matched = fitted_genotypes(result, genotypes)
    for batch, moments in merit_draws(result, matched, functions=functions):
        for node in explained:
            merit = moments[node.name]
            genetic = merit.mean.var(axis=1)
            phenotypic = genetic + merit.variance.mean(axis=1)
            for t, brought in enumerate(_brought(node, nodes, batch, moments)):
                for part, (variance, shared) in parts(node, brought, merit.mean[..., t]).items():
                    values = np.stack([variance, shared, genetic[:, t], phenotypic[:, t]])
                    drawn.setdefault((node.name, node.columns[t], *part), []).append(values)
    rows = []
    for (_, trait, *names), batches in drawn.items():
        row = {"trait": trait, **dict(zip(keys, names, strict=True))}
        rows.append(row | _summary(np.concatenate(batches, axis=1), levels))
    return pd.DataFrame(rows)


def _summary(draws: np.ndarray, levels: tuple[float, float]) -> dict[str, float]:
    """Mean, sd and interval of a variance and of its genetic and phenotypic shares."""
    variance, shared, genetic, phenotypic = draws
    share = np.divide(shared, genetic, out=np.zeros_like(shared), where=genetic > 0)
    row: dict[str, Any] = {}
    measures = {"variance": variance, "share": share, "heritability": shared / phenotypic}
    for name, values in measures.items():
        row |= summary(values, levels, name)
    return row


def _brought(
    node: NodeDescription,
    nodes: Mapping[str, NodeDescription],
    batch: Batch,
    moments: Mapping[str, NodeMoments],
) -> list[Brought]:
    """What reaches each column of a node, but for constants."""
    columns: list[Brought] = [{} for _ in node.columns]
    for name, layer in node.genetic.items():
        for t, brought in enumerate(columns):
            brought[layer, "direct"] = batch.genetic[name][..., t]
    for parent in node.parents:
        inner = nodes[parent.node]
        activated = _activated(parent, moments[parent.node])
        weights = _weights(parent, batch, len(node.columns))
        connected = np.ones(weights.shape[1:]) if parent.mask is None else np.asarray(parent.mask)
        for k, t in np.argwhere(connected):
            source = (inner.layer, inner.columns[parent.columns[k]])
            term = activated[..., k] * weights[:, k, t, None]
            columns[t][source] = columns[t].get(source, 0.0) + term
    if node.functions:
        merit = moments[node.name].mean
        for t, brought in enumerate(columns):
            brought["functions", "functions"] = merit[..., t] - sum(brought.values())
    return columns


def _activated(parent: ParentDescription, inner: NodeMoments) -> np.ndarray:
    """E[g(z) | x] of the columns that a node depends on; (draw, individual, column)."""
    centre, scale = np.asarray(parent.centre), np.asarray(parent.scale)
    mean = (inner.mean[..., parent.columns] - centre) / scale
    sd = np.sqrt(inner.variance[..., parent.columns]) / scale
    return gaussian_moments(parent.activation, mean, sd)[0]


def _weights(parent: ParentDescription, batch: Batch, width: int) -> np.ndarray:
    """(draw, parent's column, column), where rows or columns may share one."""
    draws = batch.parameters[parent.weights]
    if draws.ndim < 3:
        draws = draws.reshape(len(draws), 1, -1)
    return np.broadcast_to(draws, (len(draws), len(parent.columns), width))


def _split(node: NodeDescription, brought: Brought, merit: np.ndarray) -> Parts:
    """Total, direct, mediated and twice their covariance; mediated by layer too, if by several."""
    layers: dict[str, np.ndarray] = {}
    for (layer, _), values in brought.items():
        layers[layer] = layers.get(layer, 0.0) + values
    direct = sum((layers.pop(layer) for layer in node.genetic.values()), np.zeros_like(merit))
    total, alone = merit.var(axis=1), direct.var(axis=1)
    parts = {("total", ""): total, ("direct", ""): alone}
    if layers:
        mediated = (merit - direct).var(axis=1)
        parts["mediated", " + ".join(layers)] = mediated
        parts["covariance", ""] = total - alone - mediated
    if len(layers) > 1:
        parts |= {("mediated", layer): values.var(axis=1) for layer, values in layers.items()}
    return {part: (variance, variance) for part, variance in parts.items()}


def _single(node: NodeDescription, brought: Brought, merit: np.ndarray) -> Parts:
    """Variance of each source, and its covariance with the breeding value."""
    centred = merit - merit.mean(axis=1, keepdims=True)
    return {
        source: (values.var(axis=1), (values * centred).mean(axis=1))
        for source, values in brought.items()
    }
