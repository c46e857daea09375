"""What a network says of an individual's traits, given its genotype and what is observed of it.

What is latent for an individual, its missing omics, is integrated out at every posterior draw:

    p(y_i | x_i, z_i) = integral p(y_i | x_i, z_i, u_i) p(u_i | x_i, z_i) du_i

with x_i its genotype, z_i its observed omics and u_i its missing ones. In closed form where none is
missing, or where omics that nothing but markers and covariates acts on enter one trait linearly;
else a mean over draws of u_i, weighted by the density of what is observed and depends on u_i.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnmm_pymc.correlated_traits import traits_given_others
from nnmm_pymc.description import NodeDescription
from nnmm_pymc.edges import Node
from nnmm_pymc.errors import InputError
from nnmm_pymc.level_draws import edge_levels
from nnmm_pymc.merit import Batch, level_variance, node_moments, noise_variance, phenotype_draws

__all__ = ["Cells", "predictive"]

Functions = Mapping[str, Callable[..., Any]]
Means = dict[str, np.ndarray]

#: Effective draws of missing omics below which a mean over them is not to be trusted.
LEAST_EFFECTIVE = 10


@dataclass(frozen=True, eq=False)
class Cells:
    """Data of some individuals, by node: (individual, column) arrays, NaN where there are none.

    Attributes
    ----------
    chosen : dict
        Cells whose density is wanted, of traits.
    given : dict
        Cells that are known beside them, of traits and omics.
    designs : dict
        Design matrices of the covariates, and levels of random effects, by variable.
    """

    chosen: dict[str, np.ndarray]
    given: dict[str, np.ndarray]
    designs: dict[str, np.ndarray]

    @classmethod
    def of(cls, nodes: list[Node], columns: Mapping[str, tuple[str, int]]) -> Cells:
        """Those of a network's individuals; chosen are `columns` of `trait_columns`."""
        chosen, given = {}, {}
        for node in nodes:
            own = [(node.name, k) in columns.values() for k in range(len(node.columns))]
            chosen[node.name] = np.where(own, node.observed, np.nan)
            known = np.where(np.isnan(node.given), node.observed, node.given)
            given[node.name] = np.where(own, np.nan, known)
        designs = {f"{n.name}_{c.label}": c.design for n in nodes for c in n.covariates}
        designs |= {f"{n.name}_{e.label}": edge_levels(e) for n in nodes for e in n.random}
        return cls(chosen, given, designs)

    def take(self, rows: np.ndarray) -> Cells:
        """These individuals."""
        return Cells(*({k: v[rows] for k, v in part.items()} for part in vars(self).values()))

    @property
    def n(self) -> int:
        """Number of individuals."""
        return len(next(iter(self.given.values())))


def predictive(
    nodes: list[NodeDescription],
    batch: Batch,
    cells: Cells,
    imputations: int,
    rng: np.random.Generator,
    functions: Functions,
) -> tuple[Means, np.ndarray]:
    """Mean of the traits given what is known, and log density of the cells that are chosen.

    Parameters
    ----------
    nodes : list of NodeDescription
        Parents before children.
    batch : Batch
        Posterior draws, from `nnmm_pymc.merit.merit_draws` for the individuals of `cells`.
    cells : Cells
    imputations : int
        Draws of missing omics where there is no closed form.
    rng : Generator
    functions : mapping from name to callable
        The network's functions of a user's own.

    Returns
    -------
    means : dict from node to (draw, individual, column) array
        Of nodes that nothing depends on.
    density : (draw, individual) array
        Jointly of all chosen cells of an individual; 0 where it has none.
    """
    shape = (len(batch.index), cells.n)
    means = {n.name: np.empty((*shape, len(n.columns))) for n in nodes if n.terminal}
    density = np.empty(shape)
    closed = _closed_form(nodes, cells)
    for rows, method in ((closed, _exact), (~closed, _sampled)):
        if rows.any():
            genetic = {name: values[:, rows] for name, values in batch.genetic.items()}
            own = replace(batch, genetic=genetic)
            mean, density[:, rows] = method(
                nodes, own, cells.take(rows), imputations, rng, functions
            )
            for name, values in mean.items():
                means[name][:, rows] = values
    return means, density


def _closed_form(nodes: list[NodeDescription], cells: Cells) -> np.ndarray:
    """Individuals whose traits are Gaussian given what is known of them."""
    known = {name: ~np.isnan(values) for name, values in cells.given.items()}
    used = sum(
        int((known[n.name] | ~np.isnan(cells.chosen[n.name])).any(axis=0).sum())
        for n in nodes
        if n.terminal
    )
    linear = used == 1  # the missing omics of several traits would correlate them
    for node in nodes:
        inputs = [(p.node, c) for p in node.parents for c in p.columns]
        linear &= node.terminal or not _depends(node)
        linear &= len(set(inputs)) == len(inputs)
    closed = np.ones(cells.n, bool)
    for node in nodes:
        for parent in node.parents:
            if not (linear and parent.activation == "identity"):
                closed &= known[parent.node][:, parent.columns].all(axis=1)
        for function in node.functions:
            for name, columns, _ in function.arguments:
                closed &= known[name][:, columns].all(axis=1)
    return closed


def _depends(node: NodeDescription) -> bool:
    return bool(node.parents or node.functions)


def _exact(
    nodes: list[NodeDescription],
    batch: Batch,
    cells: Cells,
    imputations: int,
    rng: np.random.Generator,
    functions: Functions,
) -> tuple[Means, np.ndarray]:
    """`predictive` where traits are Gaussian; other traits that are given say nothing then."""
    known = {n.name: cells.given[n.name] for n in nodes if not n.terminal}
    values = _at_means(nodes, batch, cells, known, functions)
    moments = node_moments(nodes, batch, cells.n, known, functions, cells.designs)
    means = {n.name: values[n.name] for n in nodes if n.terminal}
    density = np.zeros((len(batch.index), cells.n))
    by_name = {n.name: n for n in nodes}
    for name, mean in means.items():
        node = by_name[name]
        if node.residual_covariance is not None:
            own = batch.parameters[node.residual_covariance]
            levels = level_variance(node, batch, np.zeros(mean.shape), cells.designs)
            data = cells.given[name], cells.chosen[name], levels
            means[name], log_density = traits_given_others(mean, own, *data)
            density += log_density
        else:
            density += _log_normal(cells.chosen[name], mean, moments[name].variance)
    return means, density


def _sampled(
    nodes: list[NodeDescription],
    batch: Batch,
    cells: Cells,
    imputations: int,
    rng: np.random.Generator,
    functions: Functions,
) -> tuple[Means, np.ndarray]:
    """`predictive` by draws of what is missing: p(chosen | given) = p(chosen, given) / p(given)."""
    shape = (len(batch.index), cells.n)
    correlated = [n for n in nodes if n.residual_covariance is not None]
    if correlated:
        raise InputError(
            f"Equation {correlated[0].formula!r}: its residuals correlate and depend on omics that "
            "some individuals lack; predictive densities are not available then."
        )
    variance = {n.name: noise_variance(n, batch, cells.n, cells.designs) for n in nodes}
    if not any(variance[n.name].any() for n in nodes if not n.terminal):
        imputations = 1  # nodes without residual are known by their parents
    roots = [n for n in nodes if not _depends(n)]
    fixed = _at_means(roots, batch, cells, {}, functions)
    means = {n.name: np.zeros((*shape, len(n.columns))) for n in nodes if n.terminal}
    joint, marginal, square = (np.full(shape, -np.inf) for _ in range(3))
    for _ in range(imputations):
        drawn: Means = {}
        at: Means = {}
        of_given, of_chosen = np.zeros(shape), np.zeros(shape)
        for i, node in enumerate(nodes):
            name, given = node.name, cells.given[node.name]
            if name in fixed:
                at[name] = fixed[name]
            else:
                line = [*map(_bare, nodes[:i]), node]
                at[name] = _at_means(line, batch, cells, drawn, functions)[name]
                of_given += _log_normal(given, at[name], variance[name])
            of_chosen += _log_normal(cells.chosen[name], at[name], variance[name])
            residual = np.sqrt(variance[name]) * rng.standard_normal(at[name].shape)
            drawn[name] = np.where(np.isnan(given), at[name] + residual, given)
        joint = np.logaddexp(joint, of_given + of_chosen)
        marginal = np.logaddexp(marginal, of_given)
        square = np.logaddexp(square, 2 * (of_given + of_chosen))
        share = np.exp(of_given - marginal)[..., None]
        for name, mean in means.items():
            mean += share * (at[name] - mean)
    _warn_if_few(np.exp(2 * joint - square), imputations)
    return means, joint - marginal


def _warn_if_few(effective: np.ndarray, imputations: int) -> None:
    """Warn of individuals for which few draws (effective numbers, draw by individual) count."""
    doubtful = int((np.median(effective, axis=0) < min(LEAST_EFFECTIVE, 0.9 * imputations)).sum())
    if doubtful:
        warnings.warn(
            f"Fewer than {LEAST_EFFECTIVE} of {imputations} draws of the missing omics of "
            f"{doubtful} individuals agree with what is observed after them in the network; raise "
            "imputations=.",
            stacklevel=2,
        )


class _NoResiduals:
    """In the place of random numbers: every node is drawn at its mean."""

    @staticmethod
    def standard_normal(shape: tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape)


def _at_means(
    nodes: list[NodeDescription],
    batch: Batch,
    cells: Cells,
    known: Mapping[str, np.ndarray],
    functions: Functions,
) -> Means:
    """Every node at its mean given its parents, where it is not known."""
    still: Any = _NoResiduals()
    return phenotype_draws(nodes, batch, cells.n, known, cells.designs, still, functions)


def _bare(node: NodeDescription) -> NodeDescription:
    """A node of which nothing but values is wanted."""
    return replace(
        node, intercept=False, markers={}, parents=[], functions=[], covariates={}, random={}
    )


def _log_normal(values: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Log density of the values that are there, summed over the columns."""
    if np.isnan(values).all():
        return np.zeros(mean.shape[:-1])
    density = -0.5 * ((values - mean) ** 2 / variance + np.log(2 * np.pi * variance))
    return np.where(np.isnan(values), 0.0, density).sum(axis=-1)
