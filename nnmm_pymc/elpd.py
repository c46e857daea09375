"""How likely phenotypes are under a fitted network, individual by individual, for ArviZ's LOO.

What is latent for an individual, its missing omics, is integrated out at every posterior draw:

    p(y_i | x_i, z_i) = integral p(y_i | x_i, z_i, u_i) p(u_i | x_i, z_i) du_i

with x_i its genotype, z_i its observed omics and u_i its missing ones. In closed form where none is
missing, or where omics that nothing but markers and covariates acts on enter one trait linearly;
else a mean over draws of u_i, weighted by the density of what is observed and depends on u_i.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr

from nnmm_pymc.data import Genotypes
from nnmm_pymc.description import (
    NodeDescription,
    describe,
    parameter_names,
    read_description,
    to_json,
)
from nnmm_pymc.errors import InputError
from nnmm_pymc.log_density import SAMPLE, effect_draws
from nnmm_pymc.merit import Batch, match_markers, merit_draws, node_moments, phenotype_draws
from nnmm_pymc.nodes import Node

if TYPE_CHECKING:
    from nnmm_pymc.network import Network

__all__ = [
    "Cells",
    "compare_networks",
    "matched_genotypes",
    "phenotype_log_likelihood",
    "predictive",
    "trait_columns",
]

Functions = Mapping[str, Callable[..., Any]]
Means = dict[str, np.ndarray]


def phenotype_log_likelihood(
    network: Network,
    result: xr.DataTree,
    *,
    traits: Sequence[str] | None = None,
    imputations: int = 100,
    random_seed: int = 0,
) -> xr.DataTree:
    """A result with the log likelihood of each individual's phenotypes, as ``arviz.loo`` takes it.

    To leave an individual out is to leave out its phenotypes, all traits at once; its genotype and
    observed omics stay. So networks that differ in what they say of omics can be compared by how
    they foresee phenotypes.

    Parameters
    ----------
    network : Network
    result : DataTree
        A fit of `network`.
    traits : sequence of str, optional
        Columns whose values are the phenotypes: those that nothing depends on, unless named. What
        else is observed of an individual is given, as its omics are.
    imputations : int
        Draws of the missing omics for each posterior draw, where there is no closed form. With half
        of a trait's variance given its genotype in missing omics, the log likelihood at a draw has
        a Monte Carlo error of about ``0.4 / sqrt(imputations)``.
    random_seed : int
        Of these.

    Returns
    -------
    DataTree
        Groups ``posterior`` (parameters at the draws of which marker effects were kept),
        ``log_likelihood`` (``phenotypes`` by chain, draw, individual) and ``observed_data``.

    Raises
    ------
    InputError
        If the result is of another network, or a trait is none.

    References
    ----------
    Vehtari, Gelman, Gabry (2017) Stat Comput 27:1413. Merkle, Furr, Rabe-Hesketh (2019)
    Psychometrika 84:802, for leaving out what is latent of an individual with its data.

    Examples
    --------
    >>> import arviz as az
    >>> az.loo(phenotype_log_likelihood(network, network.fit()))  # doctest: +SKIP
    """
    check_imputations(imputations)
    if result.attrs.get("network") != to_json(describe(network.nodes)):
        raise InputError("The result is not a fit of this network.")
    columns = trait_columns(network.nodes, traits)
    cells = Cells.of(network.nodes, columns)
    rows = np.any([~np.isnan(y).all(axis=1) for y in cells.chosen.values()], axis=0)
    cells, individuals = cells.take(rows), network.individuals[rows]
    genotypes = matched_genotypes(network, result, individuals)
    rng, nodes = np.random.default_rng(random_seed), read_description(result)
    parts = [
        predictive(nodes, batch, cells, imputations, rng, network.functions)[1]
        for batch, _ in merit_draws(result, genotypes, cells.given, network.functions)
    ]
    posterior = result["posterior"].dataset[parameter_names(nodes)]
    effects = effect_draws(result)
    if effects:
        posterior = posterior.sel(draw=effects["draw"])
    coords = {d: posterior[d].to_numpy() for d in SAMPLE} | {"individual": list(individuals)}
    density = np.concatenate(parts).reshape([len(x) for x in coords.values()])
    observed = {
        f"phenotypes_{column}": ("individual", cells.chosen[node][:, k])
        for column, (node, k) in columns.items()
    }
    return xr.DataTree.from_dict(
        {
            "posterior": posterior,
            "log_likelihood": xr.Dataset({"phenotypes": ([*coords], density)}, coords),
            "observed_data": xr.Dataset(observed, {"individual": list(individuals)}),
        }
    )


def compare_networks(
    log_likelihoods: Mapping[str, xr.DataTree], **options: Any
) -> pd.DataFrame:
    """Networks by how they foresee the same phenotypes: ``arviz.compare`` after a check of these.

    Parameters
    ----------
    log_likelihoods : mapping
        From a label to what `phenotype_log_likelihood` gives.
    **options
        As in ``arviz.compare``: method, reference, ...

    Returns
    -------
    DataFrame
        Best first: elpd, the difference to the best, the standard errors of both (se, dse), and how
        many individuals have weights that cannot be trusted (diag_elpd).

    Raises
    ------
    InputError
        If their phenotypes differ.

    Examples
    --------
    >>> fits = {"indirect": (a, a.fit()), "direct": (b, b.fit())}  # doctest: +SKIP
    >>> compare_networks(
    ...     {label: phenotype_log_likelihood(*fit) for label, fit in fits.items()}
    ... )  # doctest: +SKIP
    """
    first, *others = log_likelihoods
    for other in others:
        data = [log_likelihoods[label]["observed_data"].dataset for label in (first, other)]
        if not data[0].identical(data[1]):
            raise InputError(
                f"{first!r} and {other!r} are not of the same phenotypes; fit both to the same "
                "individuals, and name the traits= of both."
            )
    return az.compare(dict(log_likelihoods), **options)


def check_imputations(imputations: int) -> None:
    """Refuse what is no number of draws."""
    if not isinstance(imputations, int) or imputations < 1:
        raise InputError(f"imputations={imputations!r} must be a whole number of at least 1.")


def trait_columns(nodes: list[Node], traits: Sequence[str] | None) -> dict[str, tuple[str, int]]:
    """Node and column number of every trait.

    Raises
    ------
    InputError
        If one is no column that is modelled and that nothing depends on.
    """
    known = {c: (node.name, k) for node in nodes if node.terminal for k, c in enumerate(node.columns)}
    if traits is None:
        return known
    wanted = [traits] if isinstance(traits, str) else list(traits)
    unknown = [trait for trait in wanted if trait not in known]
    if unknown or not wanted:
        what = f"{unknown[0]!r} is none" if unknown else "none is named"
        raise InputError(f"traits: {what} of the network's traits ({', '.join(known)}).")
    return {trait: known[trait] for trait in wanted}


def matched_genotypes(
    network: Network, result: xr.DataTree, individuals: pd.Index
) -> dict[str, Genotypes]:
    """Genotypes of these individuals by layer, centred as in the fit."""
    layers = {edge.layer: network.tables[edge.layer] for n in network.nodes for edge in n.markers}
    return {
        name: match_markers(table.take(individuals), result, name)
        for name, table in layers.items()
        if isinstance(table, Genotypes)
    }


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
        Design matrices of the covariates, by variable.
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
            given[node.name] = np.where(own, np.nan, node.observed)
        designs = {f"{n.name}_{c.label}": c.design for n in nodes for c in n.covariates}
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
    moments = node_moments(nodes, batch, cells.n, known, functions)
    means = {n.name: values[n.name] for n in nodes if n.terminal}
    density = np.zeros((len(batch.index), cells.n))
    for name, mean in means.items():
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
    variance = {n.name: batch.parameters[n.residual_variance] for n in nodes}
    variance = {name: v.reshape(len(v), 1, -1) for name, v in variance.items()}
    roots = [n for n in nodes if not _depends(n)]
    fixed = _at_means(roots, batch, cells, {}, functions)
    means = {n.name: np.zeros((*shape, len(n.columns))) for n in nodes if n.terminal}
    joint, marginal = np.full(shape, -np.inf), np.full(shape, -np.inf)
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
        share = np.exp(of_given - marginal)[..., None]
        for name, mean in means.items():
            mean += share * (at[name] - mean)
    return means, joint - marginal


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
    return replace(node, intercept=False, markers={}, parents=[], functions=[], covariates={})


def _log_normal(values: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Log density of the values that are there, summed over the columns."""
    density = -0.5 * ((values - mean) ** 2 / variance + np.log(2 * np.pi * variance))
    return np.where(np.isnan(values), 0.0, density).sum(axis=-1)
