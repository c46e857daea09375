"""Chains of a network with latent nodes, brought to one order and sign of the nodes.

The posterior is the same when two latent nodes of one layer change places, and when a node and all
that touches it change sign, where the density of the model says so: that of a point drawn from the
prior is compared with that of the same point moved. Chains that differ only so agree; R-hat must
not call it disagreement. Every chain is matched to the first by the correlation of the nodes'
values (an assignment problem: Kuhn 1955, Nav Res Logist Q 2:83).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytensor
import xarray as xr
from scipy.optimize import linear_sum_assignment

from nnmm_pymc.build import edge_name, parent_dim
from nnmm_pymc.edges import node_called
from nnmm_pymc.kernels.genotypes import genetic_values
from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point

if TYPE_CHECKING:
    import pymc as pm

    from nnmm_pymc.edges import Node
    from nnmm_pymc.network import Network

__all__ = ["align_latent_nodes"]

# Of a density and of what follows from a point: what single precision leaves of them.
CLOSE = 1e-5


def align_latent_nodes(network: Network, result: xr.DataTree) -> None:
    """Permute and reflect the latent nodes of every chain to match the first, in place."""
    if result["posterior"].sizes["chain"] < 2:
        return
    hidden = {n.name: _columns_of_dims(n, network.nodes) for n in network.nodes if n.hidden}
    if not hidden:
        return
    density = _Density(network.model, {dim for columns in hidden.values() for dim in columns})
    for node in network.nodes:
        if node.hidden:
            symmetry = _Symmetry(density, hidden[node.name])
            if symmetry.reflectable or symmetry.interchangeable:
                _align(node, symmetry, result)


def _columns_of_dims(node: Node, nodes: list[Node]) -> dict[str, np.ndarray]:
    """Dims that run over the nodes of a layer, or some of them, and which node each element is of.

    Missing cells of latent nodes stand individual by individual.
    """
    k = len(node.columns)
    dims = {node.dim: np.arange(k), f"{node.name}_missing_cell": np.arange(node.latent.size) % k}
    for edge in node.markers:
        # Of nodes without residual, which have the effects that a mask lets through as one vector.
        reached = np.ones((edge.genotypes.p, k)) if edge.mask is None else edge.mask
        dims[f"{node.name}_{edge.label}_connection"] = np.nonzero(reached)[1]
    for child in nodes:
        for link in child.parents:
            if link.node == node.name:
                dim = parent_dim(child, link, node_called(nodes, link.node))
                dims[dim] = np.array([node.columns.index(c) for c in link.columns])
    return dims


class _Density:
    """Density of a model, and what follows from a point that has some dims, at a prior draw.

    Attributes
    ----------
    dims : dict
        Of all variables that have one of them.
    names : dict
        Names of the variables by those of their values.
    signed : set of str
        Variables whose value is the variable itself, so that it may change sign.
    followers : list of str
        Deterministic variables.
    point, reference : dict and list of arrays
        The draw, and there the followers and the sums of the density's factors.
    """

    def __init__(self, model: pm.Model, dims: set[str]):
        self.dims = {v: own for v, own in model.named_vars_to_dims.items() if dims & set(own)}
        self.names = {value.name: rv.name for rv, value in model.rvs_to_values.items()}
        self.signed = {v.name for v in model.free_RVs if model.rvs_to_transforms[v] is None}
        self.followers = [v.name for v in model.deterministics if v.name in self.dims]
        graphs = model.replace_rvs_by_values([model[name] for name in self.followers])
        factors = [factor.sum() for factor in model.logp(sum=False)]
        self.inputs = [value.name for value in model.value_vars]
        self.function = pytensor.function(
            model.value_vars, [*graphs, *factors], mode=QUICK_MODE, on_unused_input="ignore"
        )
        self.point = ConditionalModel(model).prior_points(seed=20_270, size=1)[0]
        self.reference = self(self.point)

    def __call__(self, point: Point) -> list[np.ndarray]:
        return self.function(*(point[name] for name in self.inputs))


class _Symmetry:
    """What the density of a model says of moving the nodes of a latent layer.

    Parameters
    ----------
    density : _Density
    columns : dict
        From `_columns_of_dims`.

    Attributes
    ----------
    reflectable, interchangeable : bool
        Whether each node may change sign, and whether any two of a layer may change places.
    signed : set of str
        Variables whose elements change sign with their node.
    """

    def __init__(self, density: _Density, columns: dict[str, np.ndarray]):
        self.density, self.columns = density, columns
        self.dims = {v: own for v, own in density.dims.items() if set(own) & set(columns)}
        self.signed = density.signed & set(self.dims)
        size = 1 + max(c.max() for c in columns.values())
        same, turned = np.arange(size), 1.0 - 2.0 * np.eye(size)
        self.reflectable = all(self._holds(same, sign) for sign in turned)
        swaps = [_swapped(same, k) for k in range(size - 1)]
        self.interchangeable = size > 1 and all(self._holds(o, np.ones(size)) for o in swaps)

    def _holds(self, order: np.ndarray, sign: np.ndarray) -> bool:
        """Whether the density is the same after a move, and what follows from the point moves too.

        Those of the latter that change sign are taken down.
        """
        density, moved = self.density, dict[str, np.ndarray]()
        for value, array in density.point.items():
            found = self.move(density.names[value], array, order, sign)
            if found is None:
                return False
            moved[value] = found
        outputs, n = density(moved), len(density.followers)
        for name, before, after in zip(density.followers, density.reference, outputs, strict=False):
            plain = self.move(name, before, order, np.ones(len(order)))
            turned = self.move(name, before, order, sign, signed=True)
            if plain is None or turned is None:
                return False
            if _close(turned, after):
                self.signed |= set() if _close(turned, plain) else {name}
            elif not _close(plain, after):
                return False
        return all(map(_close, density.reference[n:], outputs[n:]))

    def move(
        self,
        name: str,
        array: np.ndarray,
        order: np.ndarray,
        sign: np.ndarray,
        signed: bool | None = None,
    ) -> np.ndarray | None:
        """An array of a variable after node `order[k]` took place k, times `sign[k]`.

        The dims of the variable are the last axes; None where it has no element to put in a place.
        """
        dims = self.dims.get(name, ())
        signed = name in self.signed if signed is None else signed
        for axis, dim in enumerate(dims, array.ndim - len(dims)):
            if dim in self.columns:
                columns = self.columns[dim]
                source = _sources(columns, order)
                if source is None:
                    return None
                array = array.take(source, axis=axis)
                if signed:
                    array = array * sign[columns].reshape(-1, *[1] * (array.ndim - axis - 1))
        return array


def _swapped(order: np.ndarray, first: int) -> np.ndarray:
    order = order.copy()
    order[[first, first + 1]] = order[[first + 1, first]]
    return order


def _sources(columns: np.ndarray, order: np.ndarray) -> np.ndarray | None:
    """Element that takes the place of each, in its own round of the columns; None if one lacks."""
    if np.array_equal(order, np.arange(len(order))):
        return np.arange(len(columns))
    width = len(np.unique(columns))
    rounds = columns.reshape(-1, width) if len(columns) % width == 0 else columns[None]
    place = np.full(len(order), -1)
    place[rounds[0]] = np.arange(rounds.shape[1])
    own = place[order[columns]]
    if np.any(own < 0) or np.any(rounds != rounds[0]):
        return None
    return np.arange(len(columns)) // width * width + own


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    scale = CLOSE * (1.0 + np.abs(a[np.isfinite(a)]).max(initial=0.0))
    return a.shape == b.shape and np.allclose(a, b, rtol=0.0, atol=scale, equal_nan=True)


def _align(node: Node, symmetry: _Symmetry, result: xr.DataTree) -> None:
    values = _chain_values(node, result)
    for chain in range(1, len(values)):
        order, sign = _match(values[0], values[chain], symmetry)
        for group in ("posterior", "moments", "effect_draws"):
            if group in result.children:
                data = result[group].dataset.copy()
                for name in map(str, data.data_vars):
                    # Moments are called after their variable: its mean, variance, share included.
                    of = name.rpartition("_")[0] if group == "moments" else name
                    if of in symmetry.dims:
                        signed = of in symmetry.signed and name in (of, f"{of}_mean")
                        move = partial(symmetry.move, of, order=order, sign=sign, signed=signed)
                        data[name] = _with_chain(data[name], chain, move)
                result[group] = xr.DataTree(data)


def _chain_values(node: Node, result: xr.DataTree) -> np.ndarray:
    """(chain, individual, node): means of the nodes' values.

    Where they have no residual those of what markers give them; where they have no markers either,
    of the weights that reach them, (chain, weight, node).
    """
    values = _chain_means(f"{node.name}_missing", result)
    if values is not None:
        return values.reshape(len(values), -1, len(node.columns))
    found = []
    for edge in node.markers:
        effects = _chain_means(f"{node.name}_{edge.label}", result)
        dosages, centre = edge.genotypes.dosages, edge.genotypes.mean.astype(np.float32)
        if effects is not None:
            own = [genetic_values(dosages, centre, np.ascontiguousarray(e, float)) for e in effects]
            found.append(np.swapaxes(own, 1, 2))
    if found:
        return np.sum(found, axis=0)
    weights = [f"{node.name}_{edge_name(node, link)}" for link in node.parents]
    kept = [v for name in weights if (v := _chain_means(name, result)) is not None]
    if not kept:
        raise KeyError(f"Nothing that tells the chains of the latent layer {node.name!r} is kept.")
    return np.concatenate(kept, axis=1)


def _chain_means(name: str, result: xr.DataTree) -> np.ndarray | None:
    """Mean over the draws of a variable, or of its moments, by chain; None if neither is kept."""
    for group in ("posterior", "effect_draws", "moments"):
        if group in result.children:
            array = result[group].dataset.get(name, result[group].dataset.get(f"{name}_mean"))
            if array is not None:
                return array.mean("draw" if "draw" in array.dims else "half").to_numpy()
    return None


def _match(
    reference: np.ndarray, values: np.ndarray, symmetry: _Symmetry
) -> tuple[np.ndarray, np.ndarray]:
    """Column of `values` for each of the reference, and its sign."""
    k = reference.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.nan_to_num(np.corrcoef(reference.T, values.T)[:k, k:])
    score = np.abs(correlation) if symmetry.reflectable else correlation
    order = linear_sum_assignment(-score)[1] if symmetry.interchangeable else np.arange(k)
    own = np.sign(correlation[np.arange(k), order])
    return order, np.where((own == 0) | (not symmetry.reflectable), 1.0, own)


def _with_chain(array: xr.DataArray, chain: int, move: Callable[..., Any]) -> xr.DataArray:
    """A variable with one of its chains moved."""
    first = array.dims.index("chain")
    values = np.moveaxis(array.to_numpy(), first, 0).copy()
    values[chain] = move(array=values[chain])
    return array.copy(data=np.moveaxis(values, 0, first))
