"""Pointwise log likelihoods of phenotypes, for leave-one-out comparison of networks by ArviZ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from nnmm_pymc.data import Genotypes
from nnmm_pymc.description import describe, parameter_names, read_description, to_json
from nnmm_pymc.edges import Node
from nnmm_pymc.errors import InputError
from nnmm_pymc.log_density import SAMPLE, effect_draws
from nnmm_pymc.marker_matching import match_markers
from nnmm_pymc.merit import merit_draws
from nnmm_pymc.predictive import Cells, predictive

if TYPE_CHECKING:
    from nnmm_pymc.network import Network

__all__ = [
    "check_imputations",
    "compare_networks",
    "matched_genotypes",
    "phenotype_log_likelihood",
    "trait_columns",
]


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
        for batch, _ in merit_draws(result, genotypes, cells.given, network.functions, individuals)
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


def compare_networks(log_likelihoods: Mapping[str, xr.DataTree], **options: Any) -> pd.DataFrame:
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
    if not isinstance(log_likelihoods, Mapping) or len(log_likelihoods) < 2:
        raise InputError("Give a mapping from labels to two or more results, to compare networks.")
    for label, result in log_likelihoods.items():
        if "phenotypes" not in getattr(result, "children", {}).get("log_likelihood", {}):
            raise InputError(
                f"{label!r} has no log likelihood of phenotypes; give what "
                "phenotype_log_likelihood(network, result) returns."
            )
    first, *others = log_likelihoods
    for other in others:
        data = [log_likelihoods[label]["observed_data"].dataset for label in (first, other)]
        if not data[0].identical(data[1]):
            raise InputError(
                f"{first!r} and {other!r} are not of the same phenotypes; fit both to the same "
                "individuals, and name the traits= of both."
            )
    import arviz_stats  # Slow to import.

    return arviz_stats.compare(dict(log_likelihoods), **options)


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
    for node in nodes:
        plain = node.records is None and node.weights is None
        if not plain or node.equation.family != "gaussian":
            raise InputError(
                f"Equation {node.equation.formula!r}: phenotypes are withheld only where they are "
                "Gaussian, one record of each individual, without weights."
            )
    known = {
        c: (node.name, k) for node in nodes if node.terminal for k, c in enumerate(node.columns)
    }
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
        name: match_markers(table.reindexed(individuals), result, name)
        for name, table in layers.items()
        if isinstance(table, Genotypes)
    }
