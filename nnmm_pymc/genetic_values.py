"""Breeding values of a fit's candidates: their moments over the draws, and how reliable they are.

With g the breeding value of an individual less what all individuals share, and :math:`V_g` the
genetic variance, the prediction error variance is the posterior variance of g, and the reliability

.. math:: r^2 = 1 - \\mathrm{PEV} / V_g

(Mrode 2014, Linear Models for the Prediction of Animal Breeding Values, section 3.3.3). Where a
node has marker terms and pedigree effects only, g is their sum, and :math:`V_g` the variance of the
genetic values of the markers over individuals plus, for pedigree effects,
:math:`\\sigma^2_a (1 + F)`. Where it depends on other nodes g is the deviation from the average of
the individuals, and :math:`V_g` its variance over them. Variances are posterior means.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from nnmm_pymc.data import Genotypes
from nnmm_pymc.description import NodeDescription, read_description
from nnmm_pymc.edges import node_called
from nnmm_pymc.marker_matching import match_markers
from nnmm_pymc.merit import Batch, NodeMoments, merit_draws

if TYPE_CHECKING:
    from nnmm_pymc.network import Network

__all__ = ["candidates", "genetic_values"]

#: Traits of one equation up to which the covariances of their breeding values are kept.
MOST_TRAITS = 50


def candidates(network: Network) -> pd.Index:
    """Individuals with breeding values: all that are genotyped, or without genotypes all members.

    Members are those of every pedigree or precision matrix whose own effects enter an equation.
    """
    if any(node.markers for node in network.nodes):
        return network.alignment.individuals
    members = [e.levels for node in network.nodes for e in node.random if e.genetic]
    found = members[0] if members else pd.Index([], dtype=str)
    for other in members[1:]:
        found = found[found.isin(other)]
    return found


def genetic_values(network: Network, result: xr.DataTree) -> xr.Dataset:
    """Moments of the breeding values of all candidates over the thinned draws."""
    individuals = candidates(network)
    if not len(individuals):
        return xr.Dataset()
    layers = {e.layer for node in network.nodes for e in node.markers}
    genotypes = {
        name: match_markers(table.take(individuals), result, name)
        for name, table in network.tables.items()
        if isinstance(table, Genotypes) and name in layers
    }
    nodes = read_description(result)
    sums = {node.name: _Sums(node, _relationships(network, node, individuals)) for node in nodes}
    for batch, moments in merit_draws(
        result, genotypes, functions=network.functions, individuals=individuals
    ):
        for name, m in moments.items():
            sums[name].add(batch, m)
    return _dataset(nodes, individuals, result, sums)


def _relationships(
    network: Network, node: NodeDescription, individuals: pd.Index
) -> dict[str, np.ndarray]:
    """Prior variances of the node's own effects over their variance: 1 + F of a pedigree."""
    found = {}
    for edge in node_called(network.nodes, node.name).random:
        if edge.genetic and edge.precision is not None:
            rows = edge.levels.get_indexer(individuals)
            found[f"{node.name}_{edge.label}"] = edge.precision.diagonal()[rows]
    return found


@dataclass
class _Moments:
    """Mean and variance over draws, their differences from the first taken for accuracy."""

    shift: np.ndarray | None = None
    first: Any = 0.0
    second: Any = 0.0
    count: int = 0

    def add(self, values: np.ndarray) -> None:
        if self.shift is None:
            self.shift = values[0]
        away = values - self.shift
        self.first = self.first + away.sum(axis=0)
        self.second = self.second + (away**2).sum(axis=0)
        self.count += len(values)

    @property
    def mean(self) -> np.ndarray:
        return self.shift + self.first / self.count

    @property
    def variance(self) -> np.ndarray:
        return np.maximum(self.second / self.count - (self.first / self.count) ** 2, 0.0)


@dataclass
class _Sums:
    """What is summed up of one node; parts of its genetic variance are kept by draw."""

    node: NodeDescription
    relationships: dict[str, np.ndarray]
    merit: _Moments = field(default_factory=_Moments)
    genetic: _Moments = field(default_factory=_Moments)
    expected: _Moments = field(default_factory=_Moments)
    by_draw: dict[str, list[np.ndarray]] = field(default_factory=dict)
    kept: list[np.ndarray] = field(default_factory=list)
    crossed: list[np.ndarray] = field(default_factory=list)

    def add(self, batch: Batch, m: NodeMoments) -> None:
        """Take in some draws."""
        node, variance = self.node, m.mean.var(axis=1)
        total = variance + m.variance.mean(axis=1)
        parts = {"genetic_variance": variance, "phenotypic_variance": total}
        parts["heritability"] = variance / total
        self.merit.add(m.mean)
        if node.parents or node.functions:
            self.genetic.add(m.mean - m.mean.mean(axis=1, keepdims=True))
            self.expected.add(variance[:, None, :])
        else:
            self.genetic.add(sum((batch.genetic[n] for n in node.genetic), np.zeros_like(m.mean)))
            expected = np.zeros_like(m.mean)
            for name in node.markers:
                expected += batch.genetic[name].var(axis=1, keepdims=True)
            for name, ratio in self.relationships.items():
                own = batch.parameters[node.random[name].variance]
                expected += own.reshape(len(own), 1, -1) * ratio[None, :, None]
            self.expected.add(expected)
        for name in node.markers:
            explained = batch.genetic[name].var(axis=1)
            parts[f"{name.removeprefix(node.name + '_')}_explained"] = explained
        for label, values in parts.items():
            self.by_draw.setdefault(label, []).append(values)
        if node.terminal and 1 < len(node.columns) <= MOST_TRAITS:
            away = m.mean - m.mean.mean(axis=1, keepdims=True)
            self.crossed.append(away.swapaxes(1, 2) @ away / away.shape[1])
        if node.terminal:
            # Less where they start: float32 would hold nothing of small values around a large mean.
            self.kept.append((m.mean - self.merit.shift).astype(np.float32))


def _dataset(
    nodes: list[NodeDescription],
    individuals: pd.Index,
    result: xr.DataTree,
    sums: dict[str, _Sums],
) -> xr.Dataset:
    draws = result["effect_draws"].dataset
    shape = (draws.sizes["chain"], draws.sizes["draw"])
    leading = {"chain": draws["chain"].to_numpy(), "draw": draws["draw"].to_numpy()}
    people = np.asarray(individuals, str)
    out = {}
    for node in nodes:
        own, columns = sums[node.name], {node.dim: node.columns}
        by_individual = {"individual": people, **columns}
        error, expected = own.genetic.variance, own.expected.mean
        expected = np.broadcast_to(expected, error.shape)
        reliability = np.full(error.shape, np.nan)
        np.divide(expected - error, expected, out=reliability, where=expected > 0)
        for label, values in (
            ("mean", own.merit.mean),
            ("sd", np.sqrt(own.merit.variance)),
            ("pev", error),
            ("reliability", reliability),
        ):
            out[f"{node.name}_{label}"] = _array(values, by_individual)
        for label, parts in own.by_draw.items():
            values = np.concatenate(parts).reshape(*shape, -1)
            out[f"{node.name}_{label}"] = _array(values, leading | columns)
        if own.crossed:
            values = np.concatenate(own.crossed).reshape(*shape, *own.crossed[0].shape[1:])
            other = {f"{node.dim}_other": node.columns}
            out[f"{node.name}_genetic_covariance"] = _array(values, leading | columns | other)
        if node.terminal and shape[0] > 1:
            import arviz_stats  # Slow to import.

            by_draw = np.concatenate(own.kept).reshape(*shape, len(people), -1)
            # Values that never move, of a trait without included markers, agree.
            with np.errstate(invalid="ignore"):
                r_hat = arviz_stats.rhat(_array(by_draw, leading | by_individual)).fillna(1.0)
            out[f"{node.name}_r_hat"] = r_hat
    return xr.Dataset(out)


def _array(values: np.ndarray, coords: dict[str, Any]) -> xr.DataArray:
    return xr.DataArray(values, dims=list(coords), coords=coords)
