"""Design matrices and levels for predictions, coded as in the fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nnmm_pymc.data import Genotypes, Table, align
from nnmm_pymc.data.names import joined, some
from nnmm_pymc.data.numbers import as_number
from nnmm_pymc.description import (
    CovariateDescription,
    NodeDescription,
    RandomDescription,
    read_description,
)
from nnmm_pymc.errors import InputError
from nnmm_pymc.io import read_table

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["covariate_designs", "covariate_names"]


def covariate_names(nodes: list[NodeDescription]) -> list[str]:
    """Columns that a fit's predictions take from a table of covariates."""
    names = [n for node in nodes for c in node.covariates.values() for n in c.names]
    for node in nodes:
        for r in node.random.values():
            names += [*r.columns, *([r.slope] if r.slope else [])]
    return list(dict.fromkeys(names))


def covariate_designs(
    result: xr.DataTree,
    data: Any,
    genotypes: Mapping[str, Genotypes],
    individuals: pd.Index,
) -> dict[str, np.ndarray]:
    """Design matrices of covariates and levels of random effects, by variable of the fit.

    Raises
    ------
    InputError
        A column is lacking, a covariate is missing for an individual, has a level that the fit did
        not see, or is a function of columns.
    """
    nodes = read_description(result)
    described = {name: c for node in nodes for name, c in node.covariates.items()}
    random = {n: r for node in nodes for n, r in node.random.items() if not r.genetic}
    if not described and not random:
        raise InputError("The fit has no covariates; predict without covariates.")
    for covariate in described.values():
        if covariate.products is None:
            raise InputError(
                f"The covariate {covariate.label!r} of the fit is a function of columns, which "
                "cannot be made again for others; predict without covariates, or fit with a column "
                "that holds its values."
            )
    table = read_table(data, name="covariates" if isinstance(data, pd.DataFrame) else None)
    # Where records were of the levels of a column, here it is of individuals: their own names.
    owners = {node.individual for node in nodes} - {None, *table.frame.columns}
    named = table.frame.assign(**{str(column): table.individuals for column in owners})
    table = replace(table, frame=named)
    align({**genotypes, "covariates": table})
    slopes = [r.slope for r in random.values() if r.slope is not None]
    for name in covariate_names(nodes):
        if name not in table.frame.columns:
            raise InputError(
                f"{table.source}: there is no column {name!r}, a covariate of the fit."
            )
        needed = name in slopes or any(name in c.names for c in described.values())
        lacking = individuals[table.frame[name].reindex(individuals).isna()]
        if len(lacking) and needed:
            raise InputError(
                f"{table.source}: {name!r} is missing for {len(lacking)} individuals to predict, "
                f"the first {lacking[0]!r}; fill it in or leave them out."
            )
    designs = {name: _design(c, table, individuals) for name, c in described.items()}
    effects = result["effect_draws"].dataset if random else {}
    for name, r in random.items():
        known = effects[name][effects[name].dims[2]].to_index().astype(str)
        designs[name] = _levels(r, known, table, individuals)
    return designs


def _levels(
    random: RandomDescription, known: pd.Index, table: Table, individuals: pd.Index
) -> np.ndarray:
    """Position of each individual's level among those of the fit (-1: unseen), and multiplier."""
    parts = [table.levels(column).reindex(individuals) for column in random.columns]
    names = [joined(p) if all(p) else "" for p in zip(*parts, strict=True)]
    multiplier = np.ones(len(individuals))
    if random.slope is not None:
        values = pd.Series(table.numeric([random.slope])[:, 0], table.individuals)
        multiplier = values.loc[individuals].to_numpy()
    place = known.get_indexer(pd.Index(names, dtype=object))
    _check_codes(random, known, table, [names[i] for i in np.flatnonzero(place < 0)])
    return np.column_stack([place, multiplier])


def _check_codes(
    random: RandomDescription, known: pd.Index, table: Table, unseen: list[str]
) -> None:
    """Refuse a code that is a known one written otherwise: 1 for 01, as a number would be."""
    codes = {as_number(name, ()): name for name in known}
    for name in unseen:
        number = as_number(name, ())
        if np.isfinite(number) and number in codes:
            raise InputError(
                f"{table.source}: level {name!r} in column {random.columns[0]!r} is "
                f"{codes[number]!r} in the fit; write its levels as they are there."
            )


def _design(covariate: CovariateDescription, table: Table, individuals: pd.Index) -> np.ndarray:
    """(individual, column) design matrix of a covariate, coded as in the fit."""
    factors: dict[str, np.ndarray] = {}
    for name, known in covariate.factors.items():
        texts = table.levels(name).loc[individuals].to_numpy(str)
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
