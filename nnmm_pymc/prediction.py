"""Predictions for new individuals from files, frames or tables, and from the result of a fit alone.

What is given is read and matched by name; the arithmetic of a draw is in `nnmm_pymc.merit`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nnmm_pymc.data import Genotypes, Table, align
from nnmm_pymc.data.names import name_text, some
from nnmm_pymc.description import CovariateDescription, NodeDescription, read_description
from nnmm_pymc.errors import InputError
from nnmm_pymc.io import read_genotypes, read_table
from nnmm_pymc.merit import match_markers, merit_draws, phenotype_draws
from nnmm_pymc.summarise import tails

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["overlap", "predict_network"]


def predict_network(
    result: xr.DataTree,
    genotypes: Any,
    omics: Any = None,
    covariates: Any = None,
    *,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    probability: float = 0.9,
    random_seed: int = 0,
) -> pd.DataFrame:
    """Breeding values and phenotypes of individuals the fit need not have seen.

    Parameters
    ----------
    result : DataTree
        From `Network.fit` or `load`.
    genotypes : path, DataFrame, array, Genotypes, or mapping from layer to one of these
        Markers are matched by name; one that is missing is imputed by its mean in the fit.
    omics : path, DataFrame, Table, or mapping from layer to one of these, optional
        Known omics, NaN where unknown; the predicted phenotype uses them, the breeding value, which
        is what the genotype alone says, does not. Columns are matched by name.
    covariates : path, DataFrame or Table, optional
        The columns that the fit had as covariates, without missing cells, factors with levels that
        the fit knows. The predicted phenotype uses them; the breeding value, and everything without
        them, holds covariates at their average in the fit.
    functions : mapping from name to callable, optional
        The network's functions of your own, which a result cannot hold (`Network.predict` has
        them).
    probability : float
        Of the intervals.
    random_seed : int
        For the predictive draws.

    Returns
    -------
    DataFrame
        Columns individual, trait, ebv, ebv_sd, ebv_lower, ebv_upper, prediction, prediction_sd,
        prediction_lower, prediction_upper.

    Raises
    ------
    InputError
        A layer is unknown, lacking or unreadable, or shares no marker, individual or omic with
        what it must match; a covariate is missing, has a level that the fit did not see, or was
        transformed in the equation (``log(age)``: such a column cannot be made again).

    Examples
    --------
    >>> import nnmm_pymc as nn
    >>> result = nn.load("run")  # doctest: +SKIP
    >>> nn.predict_network(result, "new.bed", omics="new_omics.csv")  # doctest: +SKIP
    """
    nodes = read_description(result)
    levels = tails(probability)
    layers = _genotype_layers(nodes)
    given = {
        name: read_genotypes(data, drop_constant=False)
        for name, data in _by_layer(genotypes, "genotype", layers).items()
    }
    lacking = sorted(set(layers) - set(given))
    if lacking:
        raise InputError(f"The fit needs genotypes of layer {lacking[0]!r} too.")
    individuals = align(given).individuals
    given = {name: g.take(individuals) for name, g in given.items()}
    observed: dict[str, np.ndarray] = {}
    middle = [node for node in nodes if not node.terminal]
    if isinstance(omics, Mapping):
        names = list(dict.fromkeys(node.layer for node in middle))
        for layer, data in _by_layer(omics, "omics", names).items():
            observed |= _known([n for n in middle if n.layer == layer], data, given, individuals)
    elif omics is not None:
        observed = _known(middle, omics, given, individuals)
    designs = {} if covariates is None else _designs(nodes, covariates, given, individuals)
    matched = {name: match_markers(g, result, name) for name, g in given.items()}
    rng = np.random.default_rng(random_seed)
    return _predicted(result, matched, observed, designs, functions, levels, rng)


def _predicted(
    result: xr.DataTree,
    genotypes: Mapping[str, Genotypes],
    observed: Mapping[str, np.ndarray],
    designs: Mapping[str, np.ndarray],
    functions: Mapping[str, Callable[..., Any]] | None,
    levels: tuple[float, float],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """The table of `predict_network` from what was matched; `levels` are those of the quantiles."""
    nodes = read_description(result)
    individuals = next(iter(genotypes.values())).individuals
    terminal = [node for node in nodes if node.terminal]
    merit: dict[str, list[np.ndarray]] = {node.name: [] for node in terminal}
    phenotype: dict[str, list[np.ndarray]] = {node.name: [] for node in terminal}
    for batch, moments in merit_draws(result, genotypes, functions=functions):
        drawn = phenotype_draws(nodes, batch, len(individuals), observed, designs, rng, functions)
        for node in terminal:
            merit[node.name].append(moments[node.name].mean)
            phenotype[node.name].append(drawn[node.name])
    frames = []
    for node in terminal:
        m, y = np.concatenate(merit[node.name]), np.concatenate(phenotype[node.name])
        for k, trait in enumerate(node.columns):
            table = pd.DataFrame({"individual": individuals, "trait": trait})
            for name, draws in (("ebv", m[..., k]), ("prediction", y[..., k])):
                table[name], table[f"{name}_sd"] = draws.mean(axis=0), draws.std(axis=0)
                quantiles = np.quantile(draws, levels, axis=0)
                table[f"{name}_lower"], table[f"{name}_upper"] = quantiles
            frames.append(table)
    return pd.concat(frames, ignore_index=True)


def overlap(
    result: xr.DataTree,
    genotypes: Genotypes,
    omics: Table | None = None,
    covariates: Table | None = None,
) -> str:
    """How much of what was fitted new data hold, in words; for a fit with one genotype layer."""
    nodes = read_description(result)
    layers = _genotype_layers(nodes)
    if len(layers) != 1:
        raise InputError(
            f"The fit has {len(layers)} genotype layers ({', '.join(layers)}) where one belongs; "
            "give each its genotypes with nnmm_pymc.predict_network in Python."
        )
    mean_dosage = result["constant_data"].dataset[f"{layers[0]}_mean_dosage"]
    markers = mean_dosage[mean_dosage.dims[0]].to_index().astype(str)
    held = int(markers.isin(genotypes.markers).sum())
    lines = [
        f"{genotypes.source}: {genotypes.n} individuals; {held} of the {len(markers)} markers of "
        f"the fit ({len(markers) - held} absent, taken as their mean)."
    ]
    for node in nodes:
        if omics is None or node.terminal:
            continue
        columns = omics.frame.columns.intersection(node.columns)
        values = omics.frame.loc[omics.individuals.isin(genotypes.individuals), columns]
        lines.append(
            f"{omics.source}: {len(columns)} of the {len(node.columns)} {node.name} of the fit, "
            f"for {values.notna().any(axis=1).sum()} of the {genotypes.n} individuals."
        )
    names = _covariate_names(nodes)
    if covariates is not None:
        lines.append(f"{covariates.source}: covariates {', '.join(names)}.")
    elif names:
        lines.append(f"Covariates ({', '.join(names)}): at their averages in the fit.")
    return "\n".join(lines)


def _genotype_layers(nodes: list[NodeDescription]) -> list[str]:
    return sorted({layer for node in nodes for layer in node.markers.values()})


def _by_layer(given: Any, word: str, names: list[str]) -> dict[str, Any]:
    """Data by layer: as given, or the one thing given for the one layer there is."""
    if not names:
        raise InputError(f"The fit has no {word} layer; predict without {word}.")
    if isinstance(given, Mapping):
        unknown = sorted(set(given) - set(names))
        if unknown:
            raise InputError(f"{unknown[0]!r} is no {word} layer of the fit ({', '.join(names)}).")
        return dict(given)
    if len(names) != 1:
        raise InputError(
            f"The fit has {len(names)} {word} layers ({', '.join(names)}); give a mapping from "
            "their names to data."
        )
    return {names[0]: given}


def _known(
    nodes: list[NodeDescription],
    data: Any,
    genotypes: Mapping[str, Genotypes],
    individuals: pd.Index,
) -> dict[str, np.ndarray]:
    """Known values of these nodes in the order of the fit, NaN where unknown."""
    if not nodes:
        raise InputError("The fit has no omics layer; predict without omics.")
    table = read_table(data, name="omics" if isinstance(data, pd.DataFrame) else None)
    align({**genotypes, "omics": table})
    known: dict[str, np.ndarray] = {}
    seen: dict[str, str] = {}
    for node in nodes:
        columns = [c for c in node.columns if c in table.frame.columns]
        for column in columns:
            if seen.setdefault(column, node.layer) != node.layer:
                raise InputError(
                    f"{table.source}: column {column!r} is in layers {seen[column]!r} and "
                    f"{node.layer!r} of the fit; give a mapping from layers to tables."
                )
        if columns:
            frame = pd.DataFrame(table.numeric(columns), table.individuals, columns)
            frame = frame.reindex(index=individuals, columns=list(node.columns))
            known[node.name] = frame.to_numpy()
    if not known:
        raise InputError(
            f"{table.source}: none of its columns (first: {table.frame.columns[0]!r}) is an omic "
            f"of the fit (first: {nodes[0].columns[0]!r}); check the names."
        )
    return known


def _covariate_names(nodes: list[NodeDescription]) -> list[str]:
    return list(
        dict.fromkeys(n for node in nodes for c in node.covariates.values() for n in c.names)
    )


def _designs(
    nodes: list[NodeDescription],
    data: Any,
    genotypes: Mapping[str, Genotypes],
    individuals: pd.Index,
) -> dict[str, np.ndarray]:
    """Design matrices of the covariates, by variable of the fit."""
    described = {name: c for node in nodes for name, c in node.covariates.items()}
    if not described:
        raise InputError("The fit has no covariates; predict without covariates.")
    for covariate in described.values():
        if covariate.products is None:
            raise InputError(
                f"The covariate {covariate.label!r} of the fit is a function of columns, which "
                "cannot be made again for others; predict without covariates, or fit with a column "
                "that holds its values."
            )
    table = read_table(data, name="covariates" if isinstance(data, pd.DataFrame) else None)
    align({**genotypes, "covariates": table})
    for name in _covariate_names(nodes):
        if name not in table.frame.columns:
            raise InputError(
                f"{table.source}: there is no column {name!r}, a covariate of the fit."
            )
        lacking = individuals[table.frame[name].reindex(individuals).isna()]
        if len(lacking):
            raise InputError(
                f"{table.source}: {name!r} is missing for {len(lacking)} individuals to predict, "
                f"the first {lacking[0]!r}; fill it in or leave them out."
            )
    return {name: _design(c, table, individuals) for name, c in described.items()}


def _design(covariate: CovariateDescription, table: Table, individuals: pd.Index) -> np.ndarray:
    """(individual, column) design matrix of a covariate, coded as in the fit."""
    factors: dict[str, np.ndarray] = {}
    for name, known in covariate.factors.items():
        texts = np.array([name_text(level) for level in table.frame.loc[individuals, name]])
        unseen = np.flatnonzero(~np.isin(texts, known))
        if len(unseen):
            raise InputError(
                f"{table.source}: {str(texts[unseen[0]])!r} in column {name!r}, individual "
                f"{individuals[unseen[0]]!r}, is a level that the fit did not see; it saw "
                f"{some(known, 8)}."
            )
        factors[name] = texts
    numbers = {
        name: pd.Series(table.numeric([name])[:, 0], table.individuals).loc[individuals].to_numpy()
        for product in covariate.products or ()
        for name, level in product
        if level is None
    }
    columns = [
        np.prod([numbers[n] if v is None else factors[n] == v for n, v in product], axis=0)
        for product in covariate.products or ()
    ]
    return np.column_stack(columns).astype(float)
