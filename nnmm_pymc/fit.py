"""Fitting a network: sample its model, then add what the layers let us say."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import arviz as az
import numpy as np
import xarray as xr

from nnmm_pymc.data import Genotypes
from nnmm_pymc.description import describe, parameter_names, read_description, to_json
from nnmm_pymc.diagnose import ConvergenceWarning, warn_if_doubtful
from nnmm_pymc.latent_alignment import align_latent_nodes
from nnmm_pymc.marker_space import smooth_effects, to_effect_draws, to_marker_space
from nnmm_pymc.merit import match_markers, merit_draws
from nnmm_pymc.sample import sample

if TYPE_CHECKING:
    from nnmm_pymc.network import Network

__all__ = ["fit_network"]


def fit_network(network: Network, **options: Any) -> xr.DataTree:
    """Sample a network's model and add its genetic values to the result.

    Parameters
    ----------
    network : Network
    **options
        As in `nnmm_pymc.sample.sample`.

    Returns
    -------
    xarray.DataTree
        With the groups of `sample`, ``constant_data`` (mean dosage of each marker) and
        ``genetic_values`` (mean and sd of each individual; heritability and genetic variance by
        draw).
    """
    described = describe(network.nodes)
    # Predictions need the draws of these, however many there are.
    needed = [n for n in parameter_names(described) if n in network.model.named_vars]
    smooth = smooth_effects(network)
    needed += smooth
    keep = [*options.pop("keep", ()), *needed]
    with warnings.catch_warnings():
        # Latent nodes may differ between chains until they are aligned; the verdict comes after.
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = sample(network.model, keep=keep, **options)
    to_effect_draws(result, smooth)
    align_latent_nodes(network, result)
    to_marker_space(network, result, result.attrs["random_seed"])
    result.attrs["network"] = to_json(described)
    result["constant_data"] = xr.DataTree(_constants(network))
    result["genetic_values"] = xr.DataTree(_genetic_values(network, result))
    if not options.get("quiet", False):
        warn_if_doubtful(result)
    return result


def _constants(network: Network) -> xr.Dataset:
    out = {}
    for node in network.nodes:
        for edge in node.markers:
            out[f"{edge.layer}_mean_dosage"] = xr.DataArray(
                edge.genotypes.mean,
                dims=[edge.dim],
                coords={edge.dim: np.asarray(edge.genotypes.markers, str)},
            )
            if edge.genotypes.info is not None:
                alleles = edge.genotypes.info.reindex(edge.genotypes.markers)
                for allele in ("effect_allele", "other_allele"):
                    values = np.asarray(alleles[allele].astype(str), str)
                    out[f"{edge.layer}_{allele}"] = xr.DataArray(values, dims=[edge.dim])
    return xr.Dataset(out)


def _genetic_values(network: Network, result: xr.DataTree) -> xr.Dataset:
    """Moments of the breeding values of all genotyped individuals over the thinned draws."""
    individuals = network.alignment.individuals
    layers = {e.layer for node in network.nodes for e in node.markers}
    genotypes = {
        name: match_markers(table.take(individuals), result, name)
        for name, table in network.tables.items()
        if isinstance(table, Genotypes) and name in layers
    }
    if not genotypes:
        return xr.Dataset()
    nodes = read_description(result)
    sums: dict[str, list[Any]] = {node.name: [0.0, 0.0] for node in nodes}
    shift: dict[str, np.ndarray] = {}
    heritability: dict[str, list[np.ndarray]] = {node.name: [] for node in nodes}
    variance: dict[str, list[np.ndarray]] = {node.name: [] for node in nodes}
    merit: dict[str, list[np.ndarray]] = {node.name: [] for node in nodes if node.terminal}
    n_draws = 0
    for batch, moments in merit_draws(result, genotypes, functions=network.functions):
        n_draws += len(batch.index)
        for name, m in moments.items():
            at = shift.setdefault(name, m.mean[0])
            sums[name][0] = sums[name][0] + (m.mean - at).sum(axis=0)
            sums[name][1] = sums[name][1] + ((m.mean - at) ** 2).sum(axis=0)
            genetic = m.mean.var(axis=1)
            variance[name].append(genetic)
            heritability[name].append(genetic / (genetic + m.variance.mean(axis=1)))
            if name in merit:
                merit[name].append(m.mean.astype(np.float32))
    return _dataset(nodes, individuals, result, n_draws, shift, sums, heritability, variance, merit)


def _dataset(
    nodes, individuals, result, n_draws, shift, sums, heritability, variance, merit
) -> xr.Dataset:
    draws = result["effect_draws"].dataset
    shape = (draws.sizes["chain"], draws.sizes["draw"])
    leading = {"chain": draws["chain"].to_numpy(), "draw": draws["draw"].to_numpy()}
    people = np.asarray(individuals, str)
    out = {}
    for node in nodes:
        columns = {node.dim: node.columns}
        by_individual = {"individual": people, **columns}
        first, second = (s / n_draws for s in sums[node.name])
        spread = np.sqrt(np.maximum(second - first**2, 0.0))
        out[f"{node.name}_mean"] = _array(shift[node.name] + first, by_individual)
        out[f"{node.name}_sd"] = _array(spread, by_individual)
        for label, parts in (("heritability", heritability), ("genetic_variance", variance)):
            values = np.concatenate(parts[node.name]).reshape(*shape, -1)
            out[f"{node.name}_{label}"] = _array(values, leading | columns)
        if node.terminal and shape[0] > 1:
            by_draw = np.concatenate(merit[node.name]).reshape(*shape, len(people), -1)
            out[f"{node.name}_r_hat"] = az.rhat(_array(by_draw, leading | by_individual))
    return xr.Dataset(out)


def _array(values: np.ndarray, coords: dict[str, Any]) -> xr.DataArray:
    return xr.DataArray(values, dims=list(coords), coords=coords)
