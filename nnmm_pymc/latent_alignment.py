"""Chains of a network with latent nodes, brought to one order and sign of the nodes.

The posterior is the same when two latent nodes of one layer change places, and when a node and all
that touches it change sign if the activations are odd. Chains that differ only so agree; R-hat must
not call it disagreement. Every chain is matched to the first by the correlation of the nodes'
genetic values (an assignment problem: Kuhn 1955, Nav Res Logist Q 2:83).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment

from nnmm_pymc.build import edge_name
from nnmm_pymc.kernels.genotypes import genetic_values

if TYPE_CHECKING:
    from nnmm_pymc.edges import Node
    from nnmm_pymc.network import Network

__all__ = ["align_latent_nodes"]

ODD = ("identity", "tanh")


def align_latent_nodes(network: Network, result: xr.DataTree) -> None:
    """Permute and reflect the latent nodes of every chain to match the first, in place."""
    for node in network.nodes:
        if node.hidden and node.markers and result["posterior"].sizes["chain"] > 1:
            _align(node, network.nodes, result)


def _align(node: Node, nodes: list[Node], result: xr.DataTree) -> None:
    values = _chain_genetic_values(node, result)
    signed, reflectable = _signed_variables(node, nodes)
    reference = values[0]
    for chain in range(1, len(values)):
        order, sign = _match(reference, values[chain], reflectable, _interchangeable(node, nodes))
        for group in ("posterior", "moments", "effect_draws"):
            if group in result.children:
                data = result[group].dataset.copy()
                for name in list(data.data_vars):
                    data[name] = _rearranged(data[name], chain, node, order, sign, signed)
                result[group] = xr.DataTree(data)


def _chain_genetic_values(node: Node, result: xr.DataTree) -> np.ndarray:
    """(chain, individual, node) genetic values at the mean marker effects."""
    moments = result["moments"].dataset
    values = []
    for edge in node.markers:
        mean = moments[f"{node.name}_{edge.label}_mean"].mean("half").to_numpy()
        genotypes = edge.genotypes
        centre = genotypes.mean.astype(np.float32)
        values.append(
            [genetic_values(genotypes.dosages, centre, np.ascontiguousarray(m)).T for m in mean]
        )
    return np.sum(values, axis=0)


def _signed_variables(node: Node, nodes: list[Node]) -> tuple[set[str], bool]:
    """Variables that change sign with their node, and whether the network allows it at all."""
    signed = {f"{node.name}_Intercept", *(f"{node.name}_{c.label}" for c in node.covariates)}
    signed |= {f"{node.name}_missing_mean"}
    for label in [e.label for e in node.markers] + [e.label for e in node.random]:
        signed |= {f"{node.name}_{label}", f"{node.name}_{label}_mean"}
    reflectable = True
    for child in nodes:
        for link in child.parents:
            if link.node == node.name:
                signed.add(f"{child.name}_{edge_name(child, link)}")
                reflectable &= link.activation in ODD
        for function in child.functions:
            reflectable &= all(name != node.name for name, *_ in function.arguments)
    return signed, reflectable


def _interchangeable(node: Node, nodes: list[Node]) -> bool:
    """Whether nothing but the data tells the nodes of a layer apart."""
    masks = [edge.mask for edge in node.markers]
    masks += [e.mask for child in nodes for e in child.parents if e.node == node.name]
    arguments = [a for child in nodes for f in child.functions for a in f.arguments]
    return all(m is None for m in masks) and all(name != node.name for name, *_ in arguments)


def _match(
    reference: np.ndarray, values: np.ndarray, reflectable: bool, interchangeable: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Column of `values` for each of the reference, and its sign."""
    k = reference.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.nan_to_num(np.corrcoef(reference.T, values.T)[:k, k:])
    score = np.abs(correlation) if reflectable else correlation
    order = linear_sum_assignment(-score)[1] if interchangeable else np.arange(k)
    sign = np.sign(correlation[np.arange(k), order]) if reflectable else np.ones(k)
    return order, np.where(sign == 0, 1.0, sign)


def _rearranged(
    array: xr.DataArray,
    chain: int,
    node: Node,
    order: np.ndarray,
    sign: np.ndarray,
    signed: set[str],
) -> xr.DataArray:
    """One chain of a variable with its nodes in another order, and sign if it has one."""
    name, cells = str(array.name), f"{node.name}_missing_cell"
    if "chain" not in array.dims or not {node.dim, cells} & set(array.dims):
        return array
    axis = array.dims.index(node.dim if node.dim in array.dims else cells)
    values = np.moveaxis(array.to_numpy().copy(), (array.dims.index("chain"), axis), (0, -1))
    shape = values.shape
    # Missing cells of latent nodes: all columns of one individual after the other.
    by_node = values[chain].reshape(*shape[1:-1], -1, len(order))[..., order]
    if name in signed:
        by_node = by_node * sign
    values[chain] = by_node.reshape(shape[1:])
    values = np.moveaxis(values, (0, -1), (array.dims.index("chain"), axis))
    return array.copy(data=values)
