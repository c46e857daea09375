"""From effects of the eigenvectors of a relationship matrix to effects of the markers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nnmm_pymc.alphabet import GBLUP
from nnmm_pymc.node_priors import is_deterministic, node_priors
from nnmm_pymc.record import EFFECT_DRAWS_BYTES

if TYPE_CHECKING:
    from nnmm_pymc.edges import MarkerEdge, Node
    from nnmm_pymc.network import Network

__all__ = ["genetic_variances", "smooth_effects", "to_effect_draws", "to_marker_space"]


def to_marker_space(network: Network, result: xr.DataTree, random_seed: int | None) -> None:
    """Replace draws and moments of `GBLUP`'s effects by those of the markers, in place.

    A draw of marker effects is the one that belongs to the eigenvectors' effects plus a prior draw
    of what the individuals say nothing about (`GenomicRelationship.marker_effects`).
    """
    rng = np.random.default_rng(random_seed)
    for node, edge in _by_eigenvectors(network):
        _replace(result, f"{node.name}_{edge.label}", edge, node.dim, rng)


def genetic_variances(network: Network) -> list[str]:
    """Genetic variances of which `to_marker_space` needs the draws."""
    found = _by_eigenvectors(network)
    return [f"{node.name}_{edge.label}_genetic_variance" for node, edge in found]


def _by_eigenvectors(network: Network) -> Iterator[tuple[Node, MarkerEdge]]:
    for node in network.nodes:
        priors = node_priors(node, network.nodes)
        for edge in node.markers:
            if isinstance(priors[edge.label], GBLUP) and edge.relationship is not None:
                yield node, edge


def smooth_effects(network: Network) -> list[str]:
    """Marker effects that are no `MarkerEffects`: of nodes without residual."""
    return [
        f"{node.name}_{edge.label}"
        for node in network.nodes
        if is_deterministic(node, node_priors(node, network.nodes))
        for edge in node.markers
    ]


def to_effect_draws(result: xr.DataTree, names: list[str]) -> None:
    """Move marker effects that were kept draw by draw to where all marker effects are, in place."""
    if not names:
        return
    posterior = result["posterior"].dataset
    have = "effect_draws" in result.children
    draws = result["effect_draws"].to_dataset() if have else xr.Dataset()
    n_draws = posterior.sizes["draw"]
    kept = (
        draws["draw"].to_numpy()
        if have
        else np.unique(np.linspace(0, n_draws - 1, 500).round().astype(int))
    )
    moments = result["moments"].to_dataset()
    for name in names:
        effects = posterior[name]
        draws[name] = effects.isel(draw=kept).astype(np.float32)
        halves = [
            effects.isel(draw=slice(0, n_draws // 2)),
            effects.isel(draw=slice(n_draws // 2, None)),
        ]
        for part, values in (
            ("mean", [h.mean("draw") for h in halves]),
            ("variance", [h.var("draw", ddof=1) for h in halves]),
            ("included", [(h != 0).mean("draw") for h in halves]),
        ):
            dims = ("chain", "half", *effects.dims[2:])
            joined = xr.concat(values, dim="half").assign_coords(half=[0, 1])
            moments[f"{name}_{part}"] = joined.transpose(*dims)
    result["effect_draws"] = xr.DataTree(draws)
    result["moments"] = xr.DataTree(moments)
    # The connected ones alone, as NUTS has them, say the same.
    parts = [v for n in names for v in (n, f"{n}_connected") if v in posterior]
    axes = {d for v in parts for d in posterior[v].dims} - {"chain", "draw"}
    posterior = posterior.drop_vars(parts)
    unused = [d for d in axes if d in posterior.coords and d not in posterior.sizes]
    result["posterior"] = xr.DataTree(posterior.drop_vars(unused))


def _replace(
    result: xr.DataTree, name: str, edge: MarkerEdge, dim: str, rng: np.random.Generator
) -> None:
    draws = result["effect_draws"].dataset
    effects = draws[name]
    own = edge.relationship
    assert own is not None
    n_chains, n_draws, _, k = effects.shape
    p = len(own.loadings)
    n_kept = int(np.clip(EFFECT_DRAWS_BYTES // (4 * n_chains * p * k), 20, n_draws))
    kept = np.unique(np.linspace(0, n_draws - 1, n_kept).round().astype(int))
    effects = effects.isel(draw=kept)
    variance = result["posterior"].dataset[f"{name}_genetic_variance"].sel(draw=effects["draw"])
    sd = np.sqrt(variance.to_numpy() / own.total_variance)
    marker_draws = np.empty((n_chains, len(kept), p, k), np.float32)
    for chain, draw in np.ndindex(n_chains, len(kept)):
        noise = sd[chain, draw] * rng.standard_normal((p, k))
        marker_draws[chain, draw] = own.marker_effects(effects.to_numpy()[chain, draw], noise)
    labels = {edge.dim: np.asarray(edge.genotypes.markers, str), dim: effects[dim].to_numpy()}
    coords = {"chain": effects["chain"].to_numpy(), "draw": effects["draw"].to_numpy(), **labels}
    # All marker effects of a result share their draws.
    rest = draws.drop_vars([name, effects.dims[2]]).isel(draw=kept)
    rest[name] = xr.DataArray(marker_draws, dims=list(coords), coords=coords)
    result["effect_draws"] = xr.DataTree(rest)
    _replace_moments(result, name, own, marker_draws, effects["draw"].to_numpy(), labels)
    posterior = result["posterior"].dataset
    if name in posterior:
        result["posterior"] = xr.DataTree(posterior.drop_vars([name, effects.dims[2]]))


def _replace_moments(result, name, own, marker_draws, at, labels) -> None:
    """Means follow from the means; variances from the draws that were kept."""
    moments = result["moments"].dataset
    mean = moments[f"{name}_mean"]
    n_draws = int(moments["count"].sum())
    late = at >= n_draws // 2
    shape = (*mean.shape[:2], len(own.loadings), mean.shape[3])
    means, variances = np.zeros(shape), np.zeros(shape)
    for chain in range(shape[0]):
        for half, chosen in enumerate((~late, late)):
            if chosen.any():
                zero = np.zeros(shape[2:])
                means[chain, half] = own.marker_effects(mean.to_numpy()[chain, half], zero)
                variances[chain, half] = marker_draws[chain, chosen].var(axis=0)
    coords = {"chain": mean["chain"].to_numpy(), "half": mean["half"].to_numpy(), **labels}
    parts = ("mean", "variance", "included")
    new = moments.drop_vars([*(f"{name}_{part}" for part in parts), mean.dims[2]])
    for part, values in zip(parts, (means, variances, np.ones(shape)), strict=True):
        new[f"{name}_{part}"] = xr.DataArray(values, dims=list(coords), coords=coords)
    result["moments"] = xr.DataTree(new)
