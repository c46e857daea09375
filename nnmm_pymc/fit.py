"""Fitting a network: sample its model, then add what the layers let us say."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from nnmm_pymc.description import describe, parameter_names, to_json
from nnmm_pymc.diagnose import ConvergenceWarning, warn_if_doubtful
from nnmm_pymc.genetic_values import genetic_values
from nnmm_pymc.latent_alignment import align_latent_nodes
from nnmm_pymc.marker_space import (
    genetic_variances,
    smooth_effects,
    to_effect_draws,
    to_marker_space,
)
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
        ``genetic_values`` (mean, sd, prediction error variance and reliability of each individual;
        heritability, genetic and phenotypic variance by draw).
    """
    described = describe(network.nodes)
    # Predictions need the draws of these, however many there are.
    needed = [n for n in parameter_names(described) if n in network.model.named_vars]
    smooth = smooth_effects(network)
    needed += [*smooth, *genetic_variances(network)]
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
    result["genetic_values"] = xr.DataTree(genetic_values(network, result))
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
