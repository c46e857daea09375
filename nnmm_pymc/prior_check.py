"""What the priors of a network imply before any data: heritability, number of causal markers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import arviz_base
import numpy as np
import pandas as pd
import pytensor.tensor as pt
import xarray as xr
from pymc.distributions.continuous import FlatRV, HalfFlatRV
from pymc.pytensorf import compile as pymc_compile
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors

from nnmm_pymc.data import Genotypes, Relationship
from nnmm_pymc.description import describe, parameter_names, to_json
from nnmm_pymc.edges import node_called
from nnmm_pymc.errors import InputError
from nnmm_pymc.merit import merit_draws
from nnmm_pymc.node_priors import column_scale
from nnmm_pymc.steps.conditional import QUICK_MODE

if TYPE_CHECKING:
    from nnmm_pymc.edges import MarkerEdge, Node
    from nnmm_pymc.network import Network

__all__ = ["implied_prior", "marker_dims", "prior_sampler"]

# Marker effects held at a time: bounds the memory (40 MB of float32).
BATCH_EFFECTS = 10_000_000


def implied_prior(
    network: Network,
    draws: int = 500,
    random_seed: int | None = None,
    probability: float = 0.9,
) -> pd.DataFrame:
    """Heritabilities and numbers of causal markers that the priors of a network imply.

    Parameters are drawn from their priors and go through the network with the genotypes of the
    individuals of the model. Omics and phenotypes only set the scales of default priors. A flat
    prior has no draws: an intercept is then held at the mean of its column, effects of a covariate
    at zero.

    Parameters
    ----------
    network : Network
    draws : int
        Draws from the prior.
    random_seed : int, optional
    probability : float
        Of the intervals.

    Returns
    -------
    DataFrame
        Columns quantity, term, trait (omic or trait), mean, sd, lower, median, upper. The quantity
        is ``heritability``, as defined in `nnmm_pymc.heritability`, or ``causal_markers``, the
        number of markers with an effect in a marker term (none of GBLUP).

    Raises
    ------
    InputError
        If the network has no genotypes, or a prior no draws that arithmetic can hold.

    Examples
    --------
    >>> import nnmm_pymc as nn
    >>> from nnmm_pymc.prior_check import implied_prior
    >>> data = nn.simulate(n_individuals=100, n_markers=50, n_omics=2, random_seed=1)
    >>> network = nn.Network(
    ...     [nn.Layer("geno", data.genotypes), nn.Layer("omics", data.omics)],
    ...     [nn.Equation("omics ~ 1 + geno", priors={"geno": nn.BayesC(inclusion=0.1)})],
    ... )
    >>> table = implied_prior(network, draws=1000, random_seed=1)
    >>> table.loc[table["quantity"] == "causal_markers", "mean"].round().tolist()
    [5.0, 5.0]
    """
    if not isinstance(draws, int) or draws < 1:
        raise InputError(f"draws={draws!r} must be a whole number of at least 1.")
    if not 0.0 < probability < 1.0:
        raise InputError(f"probability={probability!r} must lie between 0 and 1.")
    tails = [(1 - probability) / 2, 0.5, (1 + probability) / 2]
    rows = []
    for (quantity, term, name), values in _implied_draws(network, draws, random_seed).items():
        for column, x in zip(node_called(network.nodes, name).columns, values.T, strict=True):
            rows.append((quantity, term, column, x.mean(), x.std(), *np.quantile(x, tails)))
    names = ["quantity", "term", "trait", "mean", "sd", "lower", "median", "upper"]
    return pd.DataFrame(rows, columns=names)


def _implied_draws(
    network: Network, draws: int, random_seed: int | None
) -> dict[tuple[str, str, str], np.ndarray]:
    """Draws (draw, column) by quantity, term and node."""
    nodes = sorted(network.nodes, key=lambda node: not node.terminal)
    found: dict[tuple[str, str, str], list[np.ndarray]] = {
        ("heritability", "", node.name): [] for node in nodes
    }
    for node in nodes:
        for edge in node.markers:
            if _of_markers(network, node, edge):
                found["causal_markers", edge.label, node.name] = []
    genotypes = _genotypes(network)
    for prior in _prior_trees(network, draws, random_seed):
        for _, moments in merit_draws(prior, genotypes):
            for name, m in moments.items():
                with np.errstate(all="ignore"):
                    genetic = m.mean.var(axis=1)
                    share = genetic / (genetic + m.variance.mean(axis=1))
                found["heritability", "", name].append(_finite(share, f"heritability of {name}"))
        for (quantity, term, name), values in found.items():
            if quantity == "causal_markers":
                effects = prior["effect_draws"][f"{name}_{term}"].to_numpy()[0]
                values.append((effects != 0.0).sum(axis=1))
    return {key: np.concatenate(values) for key, values in found.items()}


def marker_dims(network: Network) -> set[str]:
    """Dims of effects, of missing cells and of individuals; a hyper-parameter has none of them."""
    dims = {"individual", *(f"{node.name}_missing_cell" for node in network.nodes)}
    for node in network.nodes:
        for edge in node.markers:
            connection = f"{node.name}_{edge.label}_connection"
            dims |= {edge.dim, _effect_dim(network, node, edge), connection}
        dims |= {edge.dim for edge in node.random}
    return dims


def _effect_dim(network: Network, node: Node, edge: MarkerEdge) -> str:
    return str(network.model.named_vars_to_dims[f"{node.name}_{edge.label}"][0])


def _of_markers(network: Network, node: Node, edge: MarkerEdge) -> bool:
    """Whether the effects are of markers, not of the eigenvectors of a relationship matrix."""
    given = isinstance(edge.genotypes, Relationship)
    return not given and _effect_dim(network, node, edge) == edge.dim


def _genotypes(network: Network) -> dict[str, Genotypes]:
    """What effects multiply in the model, by their name."""
    out: dict[str, Genotypes] = {}
    for node in network.nodes:
        for edge in node.markers:
            own = None if _of_markers(network, node, edge) else edge.relationship
            out[f"{node.name}_{edge.label}"] = edge.genotypes if own is None else own.eigenvectors
    if not out and not any(edge.genetic for node in network.nodes for edge in node.random):
        raise InputError(
            "The network has no genotypes or pedigree, so its priors imply no heritability."
        )
    return out


def prior_sampler(
    network: Network, names: Sequence[str], random_seed: int | None
) -> Callable[[], list[np.ndarray]]:
    """A function of no argument that draws the named variables of a network from their prior.

    Raises
    ------
    InputError
        If a flat prior is not of an intercept or covariate, or (then) a draw is not finite.
    """
    outputs: list[Any] = [network.model[name] for name in names]
    fixed = _flat_variables(network, outputs)
    if fixed:
        outputs = graph_replace(outputs, fixed, strict=False)
    draw = pymc_compile([], outputs, random_seed=random_seed, mode=QUICK_MODE)

    def sampler() -> list[np.ndarray]:
        with np.errstate(all="ignore"):
            try:
                values = draw()
            except ZeroDivisionError:
                raise InputError(_too_vague(f"one of {', '.join(names)}")) from None
        return [_finite(np.asarray(v), n) for v, n in zip(values, names, strict=True)]

    return sampler


def _flat_variables(network: Network, outputs: list[Any]) -> dict[Any, Any]:
    """Values for the flat variables behind `outputs`: only a shift of all individuals may be."""
    used = set(ancestors(outputs))
    flat = [
        rv
        for rv in network.model.free_RVs
        if rv in used and isinstance(rv.owner.op, FlatRV | HalfFlatRV)
    ]
    if not flat:
        return {}
    shifts: dict[str, Any] = {}
    for node in network.nodes:
        shifts[f"{node.name}_Intercept"] = column_scale(node)[0]
        shifts |= {f"{node.name}_{covariate.label}": 0.0 for covariate in node.covariates}
    shapes = network.model.eval_rv_shapes()
    fixed = {}
    for rv in flat:
        if rv.name not in shifts:
            raise InputError(
                f"The prior of {rv.name!r} is flat, so it has no draws and implies nothing; give "
                "it a proper prior."
            )
        value = shifts[rv.name] if shapes[rv.name] else np.mean(shifts[rv.name])
        fixed[rv] = pt.as_tensor(np.broadcast_to(value, shapes[rv.name]).astype(rv.dtype))
    return fixed


def _prior_trees(network: Network, draws: int, random_seed: int | None) -> Iterator[xr.DataTree]:
    """Prior draws in the layout of a result, some at a time: what `merit_draws` reads."""
    described = [
        replace(node, markers={name: name for name in node.markers})
        for node in describe(network.nodes)
    ]
    effects = [name for node in described for name in (*node.markers, *node.random)]
    parameters = parameter_names(described)
    names = [*parameters, *effects]
    sampler = prior_sampler(network, names, random_seed)
    size = sum(e.genotypes.p * len(n.columns) for n in network.nodes for e in n.markers)
    size += sum(len(e.levels) * len(n.columns) for n in network.nodes for e in n.random)
    dims = {f"{n.name}_{e.label}": [e.dim, n.dim] for n in network.nodes for e in n.random}
    coords = {e.dim: list(e.levels) for n in network.nodes for e in n.random}
    batch = max(1, BATCH_EFFECTS // size)
    for start in range(0, draws, batch):
        number = min(batch, draws - start)
        kept: dict[str, Any] = {}
        for i in range(number):
            for name, value in zip(names, sampler(), strict=True):
                dtype = np.float32 if name in effects else np.float64
                with np.errstate(over="ignore"):
                    value = _finite(value.astype(dtype), name)
                kept.setdefault(name, np.empty((1, number, *value.shape), dtype))[0, i] = value
        tree = arviz_base.from_dict(
            {
                "posterior": {name: kept[name] for name in parameters},
                "effect_draws": {name: kept[name] for name in effects},
            },
            coords=coords,
            dims=dims,
        )
        tree.attrs["network"] = to_json(described)
        yield tree


def _finite(values: np.ndarray, name: str) -> np.ndarray:
    if not np.isfinite(values).all():
        raise InputError(_too_vague(name))
    return values


def _too_vague(name: str) -> str:
    return (
        f"The prior of {name} has draws that arithmetic cannot hold; make it, or that of its "
        "hyper-parameters, less vague."
    )
